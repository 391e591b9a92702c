"""Real station hours: numbers that were measured once by other means must come out again."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import check_cohort
from mmn.data.weather2k import WEATHER2K
from mmn.data.weather2k.series import duplicate_groups
from mmn.data.weather2k.sources import open_series
from tests.data.weather2k_worlds import NYCFLIGHTS, PRSA

beijing = pytest.mark.skipif(not PRSA.is_dir(), reason="the real tables of prsa-beijing are not beside the repository")
new_york = pytest.mark.skipif(not NYCFLIGHTS.is_dir(), reason="nycflights13-weather is not beside the repository")


def hours_of(series, name):
    stations = np.arange(len(series.stations))
    return series.take(stations, np.tile(np.arange(series.num_hours), (len(stations), 1)), (name,))


@beijing
@pytest.mark.parametrize(
    ("name", "lead", "mae", "rmse"),
    [("t", 24, 2.55, 3.39), ("t", 72, 3.27, 4.22), ("t", 720, 5.59, 6.89), ("rh", 24, None, 21.4)],
)
def test_persistence_in_beijing_errs_as_measured_before(name, lead, mae, rmse):
    """Test year March 2016 to February 2017, all hours, all 12 sites."""
    series = open_series(PRSA)
    values = hours_of(series, name)[0][..., 0].astype(np.float64)
    clock = series.start + pd.to_timedelta(np.arange(series.num_hours), unit="h")
    # The target hour lies in the test year, and so does the hour it is predicted from.
    now = np.flatnonzero(clock >= pd.Timestamp("2016-03-01"))
    now = now[now + lead < series.num_hours]
    error = values[:, now + lead] - values[:, now]
    assert np.sqrt(np.nanmean(error**2)) == pytest.approx(rmse, abs=0.06)
    if mae is not None:
        assert np.nanmean(np.abs(error)) == pytest.approx(mae, abs=0.04)


@beijing
def test_beijings_twelve_sites_are_eight_weather_stations():
    series = open_series(PRSA)
    groups = pd.Series(series.stations).groupby(duplicate_groups(series)).apply(set)
    assert len(groups) == 8
    shared = [group for group in groups if len(group) > 1]
    assert {"Aotizhongxin", "Guanyuan"} in shared and {"Changping", "Dingling"} in shared
    assert {"Dongsi", "Nongzhanguan", "Tiantan"} in shared


@beijing
def test_beijing_rains_in_four_hours_of_a_hundred():
    rain = hours_of(open_series(PRSA), "p1")[0]
    assert np.nanmean(rain == 0) == pytest.approx(0.96, abs=0.01)


@beijing
def test_beijings_cohort_is_built_within_seconds_and_keeps_its_promises():
    begin = time.perf_counter()
    cohort = WEATHER2K.build_cohort(PRSA, WEATHER2K.cohort_defaults)
    assert time.perf_counter() - begin < 15
    check_cohort(cohort, "weather2k")
    assert 3_500 < len(cohort) <= 4_000 and cohort.items["subject"].nunique() == 8
    assert cohort.notes[0] == "Protocol: chronological." and cohort.num_folds == 5
    assert {"climatology", "damped anomaly", "ridge on 24 h", "persistence"} <= set(cohort.baselines["baseline"])
    truth = pd.Series(cohort.targets["temperature_30d"][:, 23], index=cohort.items["item"])
    error = {
        name: np.sqrt(((rows["prediction"] - truth[rows["item"]].to_numpy()) ** 2).mean())
        for name, rows in cohort.baselines.query("task == 'temperature_30d'").groupby("baseline")
    }
    assert error["climatology"] < 4 < 6 < error["persistence"], "a month ahead the season knows more than today"
    assert set(WEATHER2K.inspect(PRSA).skipped) == {"visibility_1d", "geographic", "land"}


@new_york
def test_the_gale_of_1048_mph_is_caught_and_counted():
    series = open_series(NYCFLIGHTS)
    values, quarantined = hours_of(series, "ws")
    assert quarantined == {"ws: outside [0, 60] m/s": 1}
    assert np.nanmax(values) < 60
    # Portland's dewpoint of 3,282.8 °F goes the same way.
    assert hours_of(series, "dt")[1] == {"dt: outside [-70, 40] °C": 1}


@new_york
def test_airports_give_positions_and_the_end_of_summer_time_repeats_no_hour():
    series = open_series(NYCFLIGHTS)
    assert series.stations == ("EWR", "JFK", "LGA", "PDX", "SEA")
    lat, alt = (hours_of(series, name)[0][:, 0, 0] for name in ("lat", "alt"))
    assert lat[0] == pytest.approx(40.69, abs=0.01)
    assert alt[4] == pytest.approx(433 * 0.3048, abs=0.1)
    visibility = hours_of(series, "hv2")[0]
    assert np.nanmax(visibility) == pytest.approx(10 * 1609.344, abs=0.1)


@new_york
def test_three_airports_give_three_folds_and_all_tasks():
    cohort = WEATHER2K.build_cohort(NYCFLIGHTS, WEATHER2K.cohort_defaults)
    check_cohort(cohort, "weather2k")
    assert len(cohort.targets) == 5 and cohort.num_folds == 3
    # Portland and Seattle report in 2014 only: they train, and are never tested.
    later = cohort.folds[cohort.folds["split"] != "train"].merge(cohort.items, on="item")
    assert set(later["station"]) == {"EWR", "JFK", "LGA"}
    assert any("5 distinct stations give 3 folds" in note for note in cohort.notes)
