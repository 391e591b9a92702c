"""Features that we made in HAIM's way, written as HAIM's file and imported again, are the same numbers."""

import numpy as np
import pytest

from mmn.data.embeddings import embeddings_from_rows
from mmn.data.haim import MIMIC_HAIM
from mmn.data.haim.params import HaimParams
from mmn.data.mimic import MIMIC
from mmn.data.mimic.haim_columns import export_haim
from mmn.data.mimic.params import CxrParams
from mmn.featurizers import load_featurizer
from tests.data.mimic_worlds import tiny_world

EVENTS = ("chart_events", "lab_events", "procedures")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(the cohort, our embeddings, the folder with the file): a world of MIMIC-IV 1.0, as HAIM had it."""
    folder = tmp_path_factory.mktemp("haim")
    raw, out = tiny_world(folder / "mimic", 3, "1.0"), folder / "haim" / "cxr_ic_fusion_1103.csv"
    params = CxrParams(mode="haim", haim_dummies=False)
    cohort = MIMIC.build_cohort(raw, params)
    embeddings = {}
    for modality in ("demographics", *EVENTS):
        evidence = MIMIC.read_evidence(raw, modality, cohort, params)
        featurizer = load_featurizer(MIMIC.modality(modality).featurizer)
        mode = {"mode": "haim"} if modality in EVENTS else {}
        settings = type(featurizer.defaults)(**mode)
        made = featurizer.run(evidence, cohort, modality, settings, lambda done, total: None)
        embeddings[modality] = made.embeddings
    # A stand-in of the notes' width: some of the notes are absent.
    rng = np.random.default_rng(0)
    vectors, there = rng.standard_normal((len(cohort), 768)), rng.random(len(cohort)) < 0.7
    embeddings["notes"] = embeddings_from_rows(cohort.items["item"].to_numpy(), vectors, there)
    out.parent.mkdir()
    export_haim(raw, cohort, params, out, embeddings, {})
    return cohort, embeddings, out.parent


def test_the_same_items_labels_and_folds_come_back(made):
    cohort, _, folder = made
    back = MIMIC_HAIM.build_cohort(folder, HaimParams())
    assert list(back.items["item"]) == list(cohort.items["item"])
    assert back.excluded == {}
    for task, target in cohort.targets.items():
        np.testing.assert_array_equal(back.targets[task], target)
    columns = ["item", "fold", "split"]
    ours, theirs = (c.folds[columns].sort_values(columns).reset_index(drop=True) for c in (cohort, back))
    assert ours.equals(theirs)


@pytest.mark.parametrize("modality", ["demographics", *EVENTS, "notes"])
def test_every_number_comes_back_as_it_was(made, modality):
    _, embeddings, folder = made
    params = HaimParams(dummies=False)
    cohort = MIMIC_HAIM.build_cohort(folder, params)
    evidence = MIMIC_HAIM.read_evidence(folder, modality, cohort, params)
    given = load_featurizer("given")
    back = given.run(evidence, cohort, modality, given.defaults, lambda done, total: None).embeddings
    np.testing.assert_array_equal(back.present, embeddings[modality].present)
    np.testing.assert_array_equal(back.values, embeddings[modality].values)
