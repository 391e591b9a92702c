"""From the raw files of three versions of MIMIC-IV to features: the same people give the same numbers."""

import numpy as np
import pytest

from mmn.data.embeddings import Embeddings, check_embeddings
from mmn.data.mimic import MIMIC, MIMIC_ICU
from mmn.data.mimic.params import CxrParams, IcuParams
from mmn.featurizers import load_featurizer
from tests.data.mimic_worlds import tiny_world

VERSIONS = ("1.0", "2.2", "3.1")
WIDTHS = {"demographics": 27, "chart_events": 99, "lab_events": 242, "procedures": 110}
CASES = {
    "X-rays, clean": (MIMIC, CxrParams()),
    "X-rays, haim": (MIMIC, CxrParams(mode="haim", haim_dummies=False)),
    "ICU stays": (MIMIC_ICU, IcuParams()),
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    root = tmp_path_factory.mktemp("worlds")
    return {version: tiny_world(root / version, 3, version) for version in VERSIONS}


@pytest.mark.parametrize("case", CASES)
def test_three_versions_of_the_same_people_give_the_same_features(worlds, case):
    dataset, params = CASES[case]
    cohorts = {version: dataset.build_cohort(raw, params) for version, raw in worlds.items()}
    for modality, width in WIDTHS.items():
        made: dict[str, Embeddings] = {}
        for version, cohort in cohorts.items():
            evidence = dataset.read_evidence(worlds[version], modality, cohort, params)
            featurizer = load_featurizer(dataset.modality(modality).featurizer)
            mode = {"mode": params.mode} if hasattr(featurizer.defaults, "mode") else {}
            settings = type(featurizer.defaults)(**mode)
            made[version] = featurizer.run(evidence, cohort, modality, settings, lambda done, total: None).embeddings
            check_embeddings(made[version], cohort.items["item"].to_numpy(), modality)
            codes = modality == "demographics" and params.mode == "haim"
            assert made[version].values.shape == (1, len(cohort), 1, 6 if codes else width)
        assert 0.2 < made["2.2"].present.mean() <= 1
        if modality == "demographics":
            continue  # each version has its own words for race, language and insurance
        for version in VERSIONS:
            np.testing.assert_array_equal(made[version].values, made["2.2"].values)
            np.testing.assert_array_equal(made[version].present, made["2.2"].present)
