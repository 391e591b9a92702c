"""Settings that Python gives are refused by name where they are not what they must be, as those of params.yaml are."""

import re

import numpy as np
import pytest
import torch

from mmn.data.errors import ParamsError
from mmn.modeling.inputs import Member
from mmn.modeling.packed import Dropout
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import train
from mmn.modeling.xgboost_fusion import fit_xgboost
from mmn.modeling.xgboost_settings import XGBoostSettings
from tests.modeling.worlds import LEVEL, NOISE, SICK, make_world, quick


@pytest.fixture(scope="module")
def world():
    return make_world(num_items=60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skip": "itme"}, "skip is 'itme'; it must be one of item, batch"),
        ({"scaler": "std"}, "scaler is 'std'; it must be one of standard, minmax"),
        ({"loss": "logit"}, "loss is 'logit'; it must be one of logits, published"),
        ({"select_by": "auroc"}, "select_by is 'auroc'; it must be one of auto, bac+auroc, accuracy, mse"),
        ({"loss": ["logits"]}, "loss is ['logits']; it must be one of"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a number"),
        ({"clip_norm": float("inf")}, "clip_norm is inf; it must be a number"),
        ({"learning_rate": "1e-3"}, "learning_rate is '1e-3'; it must be a number"),
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"epochs": True}, "epochs is True; it must be a whole number"),
        ({"seed": -1}, "seed is -1; it must not be negative"),
        ({"shuffle": 1}, "shuffle is 1; it must be True or False"),
        ({"select_task": None}, "select_task is None; it must be a word"),
        ({"encoders": ["a"]}, "encoders is ['a']; it must be a block of settings"),
        ({"task_weights": {"sick": float("inf")}}, "task_weights.sick is inf; it must be a number of at least 0"),
        ({"dropout": 0.999999}, "dropout is 0.999999; it must be at least 0 and below 1 (at most 65535/65536)"),
        ({"mlp_dropout": 1.0}, "mlp_dropout is 1.0; it must be at least 0 and below 1"),
        ({"encoders": {"a": {"kind": ["gru"]}}}, "encoders.a: there is no encoder of kind ['gru']"),
        (
            {"encoders": {"a": {"kind": "resnet", "shape": [3, 4, 4], "stages": "2"}}},
            "encoders.a: stages is '2'; it must be a whole number of at least 1",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TrainingSettings(**change)


def test_the_greatest_dropout_drops_almost_all_and_not_nothing():
    dropout = TrainingSettings(dropout=65_535 / 65_536).dropout
    keep = Dropout([np.random.default_rng(0)], 100_000, dropout, torch.float32, torch.device("cpu")).draw([1], 1)
    assert keep is not None and 0 <= float((keep > 0).float().mean()) < 1e-3


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "no member was given"),
        ([Member(fold=0), Member(fold=3)], "member 1 (fold 3, seed 0): the cohort has no such fold; it has 3"),
        ([Member(fold=0, seed=-1)], "member 0 (fold 0, seed -1): a seed must not be negative"),
        ([Member(fold=0, absent={"z": np.ones(60, bool)})], "it is to lose 'z', which is none of a, b, c"),
        ([Member(fold=0, absent={"a": np.ones(5, bool)})], "what is absent of 'a' is bool of shape (5,)"),
        ([Member(fold=0, absent={"a": np.arange(60)})], "what is absent of 'a' is int64 of shape (60,)"),
    ],
)
def test_members_that_cannot_be_trained_are_refused_by_networks_and_trees_alike(world, members, message):
    with pytest.raises(ParamsError, match=re.escape(message)):
        train(*world, (SICK,), "multimodn", quick(), members)
    with pytest.raises(ParamsError, match=re.escape(message)):
        fit_xgboost(*world, SICK, XGBoostSettings(n_estimators=2), members)


def test_the_same_task_twice_is_refused(world):
    with pytest.raises(ParamsError, match="tasks are sick, level, sick; name each once"):
        train(*world, (SICK, LEVEL, SICK), "multimodn", quick())


def test_a_device_that_is_not_here_is_refused(world):
    there = "cuda:99" if torch.cuda.is_available() else "cuda"
    for device in (there, "abacus"):
        with pytest.raises(ParamsError, match=f"device '{device}' is none that torch has here; give auto, cpu or cuda"):
            train(*world, (NOISE,), "multimodn", quick(device=device))


def test_training_trees_as_a_network_names_what_trains_them(world):
    with pytest.raises(ParamsError, match=r"unknown model 'xgboost'.*mmn\.modeling\.xgboost_fusion\.fit_xgboost"):
        train(*world, (SICK,), "xgboost", quick())
