"""Real stations through the whole road: both models beside the floors, in °C, % and m."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.stations import compact, nested, score_protocol
from mmn.modeling.metrics import BY_UNIT, mean_absolute_log_error, once
from tests.data.weather2k_worlds import NYCFLIGHTS

UNITS = {"temperature_1d": "°C", "temperature_3d": "°C", "temperature_30d": "°C", "humidity_1d": "%",
         "visibility_1d": "m"}  # fmt: skip
# Of the road, not of the scores: the models are hardly trained.
QUICK = ["training.epochs=1", "autoencoder.epochs=1", "autoencoder.least_updates=1", "autoencoder.least_explained=-1e9"]


@pytest.fixture(scope="module")
def airports(tmp_path_factory):
    if not NYCFLIGHTS.is_dir():
        pytest.skip("the real tables of nycflights13-weather are not beside the repository")
    cohort = {"max_items": 150, "gradient_boosting": False}
    folder = tmp_path_factory.mktemp("stations") / "both"
    return score_protocol(NYCFLIGHTS, folder, "both", cohort, nested(QUICK), False)


def test_both_models_reach_the_scores_beside_the_floors_in_physical_units(airports):
    error = airports[airports["metric"] == "rmse"]
    assert dict(zip(error["task"], error["unit"], strict=True)) == UNITS
    for task, of_task in error.groupby("task"):
        assert set(of_task.loc[of_task["kind"] == "model", "model"]) == {"multimodn", "p_fusion"}, task
        assert {"persistence", "climatology", "damped anomaly", "ridge on 24 h", "training mean"} <= set(
            of_task["model"]
        )
        assert of_task["estimate"].notna().all() and (of_task["num_folds"] == 3).all()
    # Airports of one city: a day's persistence errs by a few degrees, whoever predicts.
    persistence = error[(error["model"] == "persistence") & (error["task"] == "temperature_1d")]["estimate"].item()
    assert 2 < persistence < 6


def test_the_table_says_who_loses_to_the_best_floor(airports):
    table = compact(airports).set_index("task")
    assert list(table.index) == list(UNITS) and (table["floor 1"] <= table["floor 2"]).all()
    for task, row in table.iterrows():
        losers = [name for name in ("MultiModN", "P-Fusion") if not row[name] < row["floor 1"]]
        assert row["loses"] == (", ".join(losers) or "none"), task
    # One epoch: a model that has seen this little does not beat a ridge regression.
    assert "MultiModN" in table.loc["temperature_1d", "loses"]


def test_visibility_alone_is_judged_on_a_log_scale_too(airports):
    metrics = airports.groupby("task")["metric"].agg(set)
    assert [task for task, found in metrics.items() if "mae_log10" in found] == ["visibility_1d"]
    found = airports[airports["metric"] == "mae_log10"].set_index("model")
    assert (found["estimate"] > 0).all() and (found["unit"] == "").all()
    best = found.loc[found["kind"] == "floor", "estimate"].min()
    assert found.loc["multimodn", "best_floor"] == pytest.approx(best), "lower is better"


def test_a_log_error_of_one_is_a_factor_of_ten_and_fog_ends_at_the_finest_report():
    y, p = np.array([1_000.0, 1_000.0, 0.0]), np.array([10_000.0, 1_000.0, 100.0])
    assert mean_absolute_log_error(y, p, once(3)) == pytest.approx([1 / 3])
    assert mean_absolute_log_error(np.array([0.0]), np.array([-50.0]), once(1)) == pytest.approx([0.0])
    assert set(BY_UNIT) == {"m"}


def test_settings_given_as_words_become_blocks():
    assert nested(["autoencoder.unit=window", "training.epochs=3"])["autoencoder"] == {"unit": "window"}
    assert nested(["training.batch_size=128"])["training"]["batch_size"] == 128


def test_a_model_without_a_floor_to_lose_to_is_not_called_a_loser():
    row = {"task": "t", "metric": "rmse", "unit": "°C", "num_items": 5, "task_set": "multitask", "kind": "model"}
    scores = pd.DataFrame([
        {**row, "model": "multimodn", "estimate": 2.0, "beats_floor": None},
        {**row, "model": "training mean", "kind": "floor", "estimate": float("nan"), "beats_floor": None},
        {**row, "model": "persistence", "kind": "floor", "estimate": float("nan"), "beats_floor": None},
    ]).astype({"beats_floor": "boolean"})  # fmt: skip
    assert compact(scores)["loses"].item() == "none"
