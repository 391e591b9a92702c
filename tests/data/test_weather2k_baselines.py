"""The rules that need no model: answers worked by hand, and what they may know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmn.data.weather2k import WEATHER2K, baselines
from mmn.data.weather2k.climatology import calendar_means, damping, look_up
from mmn.data.weather2k.variables import V1_ORDER
from tests.data.weather2k_worlds import plain_array, prsa_table, write_array, write_tables

DEFAULTS = WEATHER2K.cohort_defaults


def test_calendar_means_take_the_same_hour_of_the_days_around():
    clock = pd.date_range("2015-01-01", "2015-12-31 23:00", freq="h")
    day, hour = clock.day_of_year.to_numpy(), clock.hour.to_numpy()
    means = calendar_means((day + 1_000.0 * hour)[None], clock, half_width_days=15)
    assert means.shape == (1, 366, 24)
    # Day 100: the mean of days 85 to 115 is 100. Hours do not mix.
    assert means[0, 99, 6] == pytest.approx(6_100.0)
    # Day 1, around the end of the year: days 1 to 16, and 352 to 366, of which 366 is not in 2015.
    assert means[0, 0, 0] == pytest.approx(np.mean([*range(1, 17), *range(352, 366)]))
    assert look_up(means, np.array([0]), pd.DatetimeIndex(["2016-04-09 06:00"]))[0] == pytest.approx(6_100.0)


def test_a_mean_of_nothing_is_not_known_and_unknown_hours_do_not_count():
    clock = pd.date_range("2015-03-01", periods=24 * 40, freq="h")
    values = np.ones((2, len(clock)))
    values[0, ::2] = np.nan
    means = calendar_means(values, clock)
    assert np.isnan(means[0, :, 0]).all() and (means[0, 59:99, 1] == 1).all()
    assert np.isnan(means[1, 200]).all()


def test_damping_is_the_share_that_is_left():
    now, then = np.array([1.0, -2.0, 3.0, np.nan, 5.0]), np.array([0.5, -1.0, 1.5, 9.0, np.nan])
    assert damping(now, then) == pytest.approx(0.5)


@pytest.fixture(scope="module")
def forecast(tmp_path_factory):
    raw = tmp_path_factory.mktemp("sites")
    write_tables(raw, *(prsa_table(f"site{i}", 17_600, seed=i) for i in range(4)))
    pd.DataFrame({
        "station": [f"site{i}" for i in range(4)], "lat": [40.1, 40.2, 41.5, 41.6], "lon": 116.5, "alt": [50, 9, 5, 7],
    }).to_csv(raw / "coordinates.csv", index=False)  # fmt: skip
    return WEATHER2K.build_cohort(raw, replace(DEFAULTS, protocol="chronological", max_items=400))


def test_every_rule_of_the_specification_is_there_in_a_forecast(forecast):
    assert set(forecast.baselines["baseline"]) == set(baselines.NAMES)
    for _, rows in forecast.baselines.groupby("task"):
        assert set(rows["baseline"]) == set(baselines.NAMES)


def test_fitted_rules_beat_the_mean_where_there_is_something_to_learn(forecast):
    """The sites have a daily course and noise of 1 °C; all windows end at 23 h, so the mean knows the hour, too."""
    truth = pd.Series(forecast.targets["temperature_1d"][:, 23], index=forecast.items["item"])
    rows = forecast.baselines.query("task == 'temperature_1d'")
    error = ((rows["prediction"] - truth[rows["item"]].to_numpy()) ** 2).groupby(rows["baseline"]).mean() ** 0.5
    # Noise on both sides for persistence: the root of 2.
    assert error["persistence"] == pytest.approx(2**0.5, abs=0.15)
    for name in ("training mean", "ridge on 24 h", "gradient boosting on 24 h", "climatology", "damped anomaly"):
        assert error[name] == pytest.approx(1.0, abs=0.15), name


def test_directions_enter_the_linear_rules_as_components(tmp_path):
    """Humidity is high where the wind comes from 350 to 10 degrees: degrees alone would average to south."""
    values = plain_array(100, 800)
    rng = np.random.default_rng(0)
    north = rng.random(100) < 0.5
    angle = np.where(north, rng.choice([350.0, 355.0, 5.0, 10.0], 100), rng.choice([160.0, 170.0, 190.0, 200.0], 100))
    values[:, V1_ORDER.index("wd")] = angle[:, None]
    values[:, V1_ORDER.index("rh"), 47] += np.where(north, 25.0, 0.0)
    write_array(tmp_path, values)
    cohort = WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, gradient_boosting=False))
    truth = pd.Series(cohort.targets["humidity_1d"], index=cohort.items["item"])
    rows = cohort.baselines.query("task == 'humidity_1d' and fold >= 0")
    error = ((rows["prediction"] - truth[rows["item"]].to_numpy()) ** 2).groupby(rows["baseline"]).mean() ** 0.5
    assert error["training mean"] > 10 and error["ridge on 24 h"] < 3


def test_many_training_rows_are_thinned_out_and_a_note_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "_MOST_ROWS", 20)
    write_array(tmp_path, plain_array())
    cohort = WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, gradient_boosting=False))
    assert any("fitted on 20 evenly spaced training items" in note for note in cohort.notes)


def test_without_a_year_of_training_there_is_no_climatology_and_a_note_says_so(tmp_path):
    write_tables(tmp_path, *(prsa_table(f"site{i}", 9_000, seed=i) for i in range(4)))
    params = replace(DEFAULTS, protocol="chronological", max_items=300, gradient_boosting=False)
    cohort = WEATHER2K.build_cohort(tmp_path, params)
    assert "climatology" not in set(cohort.baselines["baseline"])
    assert any(note.startswith("No climatology: the training hours of a fold span") for note in cohort.notes)
    assert any(note.startswith("No baseline of geography only") for note in cohort.notes)
