"""MultiBench's data sets are read in the paper's tokens, alone and together, unless a person says otherwise."""

import numpy as np
import pytest

from mmn.data import load_dataset
from mmn.data.errors import ParamsError
from mmn.data.multibench.enrico import EnricoParams
from mmn.featurizers import load_featurizer
from mmn.modeling.batch import ModalityShape
from mmn.modeling.highmmt.serialise import declare
from mmn.orchestration.settings import highmmt_training, training_settings
from mmn.orchestration.steps import check_params
from tests.data import multibench_worlds as worlds

# Axes and channels as the specification has them (1.2); pictures of Vision & Touch are shrunk to 32 x 32.
PAPER = {
    "avmnist": {"image": ((7, 7), 16), "audio": ((7, 7), 256)},
    "mosei": {"vision": ((50,), 35), "audio": ((50,), 74), "text": ((50,), 300)},
    "mimic_iii": {"facts": ((5,), 1), "series": ((24, 12), 1)},
    "enrico": {"screenshot": ((256, 128), 3), "wireframe": ((256, 128), 3)},
    "gentle_push": {
        "position": ((16,), 3), "sensors": ((16,), 7), "image": ((16, 32, 32), 1), "control": ((16,), 7),
    },
    "vision_touch": {
        "image": ((32, 32), 3), "force": ((6,), 32), "proprio": ((1,), 8), "depth": ((32, 32), 1), "action": ((1,), 4),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_a_data_sets_modalities_are_cut_as_in_the_paper(tmp_path, name):
    dataset = load_dataset(name)
    small = {"enrico": {"num": 12}, "vision_touch": {"numbers": 1, "num_steps": 3}}
    getattr(worlds, name)(tmp_path, **small.get(name, {}))
    params = EnricoParams() if name == "enrico" else dataset.cohort_defaults
    cohort = dataset.build_cohort(tmp_path, params)
    tokens = training_settings({}, dataset, "highmmt").tokens
    assert training_settings({}, dataset, "multimodn").tokens == {}
    for modality in dataset.modalities:
        featurizer = load_featurizer(modality.featurizer)
        evidence = dataset.read_evidence(tmp_path, modality.name, cohort, params)
        made = featurizer.run(evidence, cohort, modality.name, featurizer.defaults, lambda done, total: None)
        e = made.embeddings
        shape = ModalityShape(name=modality.name, width=e.width, num_steps=e.num_steps)
        one = declare(shape, tokens.get(modality.name))
        assert (one.axes, one.channels) == PAPER[name][modality.name]
        assert np.prod(one.axes) * one.channels == e.width * e.num_steps


def test_data_sets_in_one_model_keep_their_tokens_and_a_persons_stand_over_them():
    mine = {"shape": [1, 28, 28], "patch": [7, 7]}
    params = {
        "highmmt": {"datasets": ["avmnist", "mimic_iii"]},
        "avmnist": {"training": {"highmmt": {"tokens": {"image": mine}}}},
    }
    check_params(params)
    found = highmmt_training(params, "measuring").tokens
    assert found == {"image": mine, "series": {"shape": [1, 12], "bands": 6}}
    with pytest.raises(ParamsError, match=r"avmnist\.training\.tokens has no setting 'picture'"):
        check_params({"avmnist": {"training": {"highmmt": {"tokens": {"picture": mine}}}}})
