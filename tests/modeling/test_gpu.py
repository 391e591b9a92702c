"""Training on a GPU, where there is one, gives what it gives on the CPU, within what docs/models.md states.

Without one the same comparisons run on the CPU against itself, so that they are never unread.
"""

import dataclasses

import numpy as np
import pytest
import torch

from mmn.modeling import MODELS, SINGLE_TASK
from mmn.modeling.inputs import Member
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, SICK, make_world, quick

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-3)])
@pytest.mark.parametrize("architecture", MODELS)
def test_predictions_of_a_short_training_are_those_of_the_cpu(architecture, dtype, tolerance):
    cohort, embeddings = make_world(num_items=80, unlabelled=0.1)
    tasks = (SICK,) if architecture in SINGLE_TASK else (SICK, LEVEL)
    settings = quick(dtype=dtype, dropout=0.2, epochs=3, device="cpu", select_by="mse")
    members = [Member(fold=fold, seed=seed) for fold in range(2) for seed in range(2)]
    found = [
        train(cohort, embeddings, tasks, architecture, dataclasses.replace(settings, device=device), members)
        for device in ("cpu", DEVICE)
    ]
    for column in ("train_loss", "validation_score"):
        here, there = (trained.history[column].to_numpy() for trained in found)
        np.testing.assert_allclose(there, here, atol=tolerance)
    if DEVICE == "cpu":
        assert found[0].predictions.equals(found[1].predictions)
