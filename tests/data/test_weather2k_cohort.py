"""Weather2k's windows, targets, folds and baselines, on arrays and tables whose every number is known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmn.data.cohort import check_cohort, read_cohort, write_cohort
from mmn.data.errors import CohortError, ContractError, ParamsError
from mmn.data.weather2k import WEATHER2K
from mmn.data.weather2k.splits import Borders, thin_out
from mmn.data.weather2k.tasks import FORECASTS, INPUT_HOURS, TASKS, target_index
from mmn.data.weather2k.variables import V1_ORDER
from tests.data.weather2k_worlds import plain_array, plain_v2, prsa_table, write_array, write_tables

DEFAULTS = replace(WEATHER2K.cohort_defaults, gradient_boosting=False)  # it takes most of the time


@pytest.fixture
def array(tmp_path):
    write_array(tmp_path, plain_array())
    return tmp_path


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    raw = tmp_path_factory.mktemp("weather2k")
    WEATHER2K.generate(raw, "tiny", 0)
    return raw


def two_years(raw, num_sites=5):
    # 9,000 hours leave room for a window of 744 hours in each part.
    write_tables(raw, *(prsa_table(f"site{i}", 9_000, seed=i) for i in range(num_sites)))
    return raw


def test_the_last_read_out_is_about_hours_47_95_and_743():
    assert [task.number for task in TASKS] == [6, 7, 8, 9, 10]
    assert {name: target_index(forecast) for name, forecast in FORECASTS.items()} == {
        "temperature_1d": 47, "temperature_3d": 95, "temperature_30d": 743, "humidity_1d": 47, "visibility_1d": 47,
    }  # fmt: skip
    assert all(task.read_step == 23 for task in TASKS)


def test_no_target_hour_lies_in_the_input_window():
    for forecast in FORECASTS.values():
        first_target = forecast.lead_hours if forecast.per_step else target_index(forecast)
        assert first_target >= INPUT_HOURS


def test_targets_are_the_values_at_exactly_their_hours(array):
    cohort = WEATHER2K.build_cohort(array, DEFAULTS)
    check_cohort(cohort, "weather2k")
    station = cohort.items["station_index"].to_numpy()
    steps = np.arange(24)
    for task, lead in (("temperature_1d", 24), ("temperature_3d", 72), ("temperature_30d", 720)):
        expected = station[:, None] / 10 + (steps + lead) / 100
        np.testing.assert_allclose(cohort.targets[task], expected, atol=1e-4)
    np.testing.assert_allclose(cohort.targets["humidity_1d"], 38.47 + station / 10, atol=1e-4)
    np.testing.assert_allclose(cohort.targets["visibility_1d"], 9047.0)
    assert cohort.items["item"].iloc[7] == "S0007@0"
    assert (cohort.items["prediction_time"] == pd.Timestamp("2017-01-01 23:00")).all()


def test_evidence_holds_the_24_input_hours_and_nothing_later(array):
    cohort = WEATHER2K.build_cohort(array, DEFAULTS)
    air = WEATHER2K.read_evidence(array, "air", cohort, DEFAULTS)
    assert air.values.shape == (40, 24, 10) and air.values.dtype == np.float32
    assert air.names == ("ap", "t", "mxt", "mnt", "dt", "rh", "wvp", "hv1", "hv2", "vv")
    assert air.units[:2] == ("hPa", "°C")
    np.testing.assert_allclose(air.values[3, :, 1], 0.3 + np.arange(24) / 100, atol=1e-6)
    later = plain_array()
    later[:, :, 24:] += 1.0
    later[:, :3] = plain_array()[:, :3]
    write_array(array, later)
    np.testing.assert_array_equal(WEATHER2K.read_evidence(array, "air", cohort, DEFAULTS).values, air.values)


def test_the_3_hourly_release_has_a_target_at_the_read_step(tmp_path):
    write_array(tmp_path, plain_v2())
    cohort = WEATHER2K.build_cohort(tmp_path, DEFAULTS)
    assert set(cohort.targets) == {"temperature_1d", "temperature_3d", "temperature_30d", "humidity_1d"}
    # Record 7 closes the input day; 24 h are 8 records.
    station = cohort.items["station_index"].to_numpy()
    np.testing.assert_allclose(cohort.targets["temperature_1d"][:, 23], station / 10 + 0.15, atol=1e-4)
    np.testing.assert_allclose(cohort.targets["temperature_30d"][:, 23], station / 10 + 2.47, atol=1e-4)
    assert np.isnan(cohort.targets["temperature_1d"][:, :2]).all()
    assert (cohort.items["prediction_time"] == pd.Timestamp("2017-01-01 21:00")).all()
    assert any("3-hourly" in note for note in cohort.notes)
    with pytest.raises(ParamsError, match="must be multiples of 3"):
        WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, start_hour=1))


def test_the_duplicated_station_shares_its_subject_and_its_side(generated):
    cohort = WEATHER2K.build_cohort(generated, DEFAULTS)
    subjects = cohort.items.set_index("station")["subject"]
    assert subjects["S0039"] == subjects["S0000"] == "S0000"
    assert cohort.items["subject"].nunique() == 39
    assert any("1 of 40 stations repeat another's series" in note for note in cohort.notes)
    check_cohort(cohort, "weather2k")


def test_test_stations_of_the_papers_protocol_share_nobody_and_cover_everybody(generated):
    cohort = WEATHER2K.build_cohort(generated, DEFAULTS)
    tests = cohort.folds[cohort.folds["split"] == "test"]["item"]
    assert cohort.num_folds == 5 and tests.is_unique
    assert cohort.folds.groupby("fold").size().eq(40).all()
    assert cohort.notes[0] == "Protocol: stations." and "interpolation in space" in " ".join(cohort.notes)


def test_a_forecast_holds_out_other_stations_and_later_hours(tmp_path):
    cohort = WEATHER2K.build_cohort(two_years(tmp_path), DEFAULTS)
    check_cohort(cohort, "weather2k")
    assert cohort.notes[0] == "Protocol: both."
    for fold in range(cohort.num_folds):
        sides = {side: cohort.items.iloc[cohort.rows(fold, side)] for side in ("train", "validation", "test")}
        for early, late in (("train", "validation"), ("validation", "test")):
            assert not set(sides[early]["subject"]) & set(sides[late]["subject"])
            gap = sides[late]["start_hour"].min() - sides[early]["start_hour"].max()
            assert gap >= 744, "the last target hour of one part comes before the first input hour of the next"
    assert cohort.excluded["window within the embargo before a border in time"] > 0


def test_sites_that_share_a_weather_station_never_straddle_a_fold(tmp_path):
    two_years(tmp_path, 4)
    prsa_table("copy of site0", 9_000, seed=0).to_csv(tmp_path / "PRSA_Data_copy.csv", index=False)
    cohort = WEATHER2K.build_cohort(tmp_path, DEFAULTS)
    assert cohort.items["subject"].nunique() == 4 and cohort.items["station"].nunique() == 5
    check_cohort(cohort, "weather2k")


def test_the_cap_on_items_keeps_every_station_and_season(tmp_path):
    raw = two_years(tmp_path)
    full = WEATHER2K.build_cohort(raw, DEFAULTS)
    capped = WEATHER2K.build_cohort(raw, replace(DEFAULTS, max_items=200))
    assert 190 <= len(capped) <= 200
    assert set(capped.items["station"]) == set(full.items["station"])
    assert set(capped.items["prediction_time"].dt.month) == set(full.items["prediction_time"].dt.month)
    assert capped.excluded["window thinned out to stay within max_items = 200"] == len(full) - len(capped)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 200), st.integers(1, 3000))
def test_thinning_keeps_at_most_what_is_asked_and_not_much_less(num_stations, num_starts, max_items):
    stations = np.repeat(np.arange(num_stations), num_starts)
    starts = np.tile(np.arange(num_starts) * 72, num_stations)
    kept = thin_out(stations, starts, max_items)
    assert kept.sum() <= max_items
    assert kept.sum() >= min(max_items, len(starts)) - num_stations - 0.01 * len(starts)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 5000), min_size=1), st.integers(744, 3000), st.integers(744, 2000), st.integers(720, 900)
)
def test_no_window_reaches_over_a_border(starts, first, length, gap):
    starts = np.array(starts)
    part = Borders(validation=first, test=first + length, gap_hours=gap).part(starts)
    last_target = starts + INPUT_HOURS - 1 + 720
    assert (last_target[part == "train"] < first).all()
    assert (starts[part == "validation"] >= first).all() and (last_target[part == "validation"] < first + length).all()


def test_persistence_is_the_last_known_value_at_the_read_step(tmp_path):
    values = plain_array()
    values[2, V1_ORDER.index("t"), 22:24] = np.nan
    write_array(tmp_path, values)
    baselines = WEATHER2K.build_cohort(tmp_path, DEFAULTS).baselines
    baselines = baselines.set_index(["task", "baseline", "fold", "item"]).sort_index()
    persistence = baselines.loc[("temperature_3d", "persistence", -1)]["prediction"]
    assert persistence["S0005@0"] == pytest.approx(0.73, abs=1e-4)
    assert persistence["S0002@0"] == pytest.approx(0.41, abs=1e-4)
    assert "S0002@0" not in baselines.loc[("temperature_3d", "diurnal persistence", -1)].index


def test_fitted_baselines_speak_of_held_out_items_only_and_know_nothing_of_them(array):
    cohort = WEATHER2K.build_cohort(array, WEATHER2K.cohort_defaults)
    fitted = cohort.baselines[cohort.baselines["fold"] >= 0]
    assert set(fitted["baseline"]) == {
        "training mean", "ridge on 24 h", "gradient boosting on 24 h", "geography k-NN", "geography ridge",
    }  # fmt: skip
    sides = fitted.merge(cohort.folds, on=["item", "fold"])
    assert len(sides) == len(fitted) and set(sides["split"]) == {"validation", "test"}
    # Change the test stations' future: what the rules predict for them stays as it was.
    values = plain_array()
    test = cohort.items["station_index"].to_numpy()[cohort.rows(0, "test")]
    values[test, V1_ORDER.index("rh"), 40:] += 20
    write_array(array, values)
    again = WEATHER2K.build_cohort(array, WEATHER2K.cohort_defaults)
    key = ["item", "task", "baseline", "fold"]
    before, after = (c.baselines.query("task == 'humidity_1d' and fold == 0").set_index(key) for c in (cohort, again))
    pd.testing.assert_frame_equal(before, after)


def test_the_nearest_stations_are_those_on_the_great_circle(array):
    cohort = WEATHER2K.build_cohort(array, DEFAULTS)
    train = cohort.items.iloc[cohort.rows(0, "train")]
    item = cohort.items.iloc[cohort.rows(0, "test")[0]]
    # The stations stand on a line, so the nearest are those of the nearest numbers.
    nearest = train.iloc[(train["station_index"] - item["station_index"]).abs().argsort(kind="stable")[:4]]
    said = cohort.baselines.query("task == 'temperature_1d' and baseline == 'geography k-NN' and fold == 0")
    said = float(said.set_index("item").loc[item["item"], "prediction"])
    assert abs(said - (nearest["station_index"].mean() / 10 + 0.47)) < 0.1


def test_windows_without_any_target_or_input_are_left_out_and_counted(tmp_path):
    values = plain_array()
    values[3, 3:, 24:] = np.nan
    values[4, 3:, :24] = 999_999
    write_array(tmp_path, values)
    cohort = WEATHER2K.build_cohort(tmp_path, DEFAULTS)
    assert len(cohort) == 38
    assert cohort.excluded == {"no target is known": 1, "no input is known": 1}


def test_a_sentinel_in_a_target_is_a_missing_label_never_a_number(tmp_path):
    values = plain_array()
    values[6, V1_ORDER.index("hv2"), 47] = 999_999
    write_array(tmp_path, values)
    cohort = WEATHER2K.build_cohort(tmp_path, DEFAULTS)
    assert np.flatnonzero(np.isnan(cohort.targets["visibility_1d"])).tolist() == [6]
    assert any("visibility_1d, hv2: missing-value code 999999: 1" in note for note in cohort.notes)


def test_whole_cells_are_held_out_where_asked(array):
    cohort = WEATHER2K.build_cohort(array, replace(DEFAULTS, protocol="blocked", num_folds=3))
    check_cohort(cohort, "weather2k")
    assert cohort.items["subject"].iloc[0] == "cell 20 90"
    assert cohort.items["subject"].nunique() == 10


def test_impossible_tasks_are_simply_not_in_the_cohort(tmp_path):
    raw = two_years(tmp_path)
    cohort = WEATHER2K.build_cohort(raw, DEFAULTS)
    assert set(cohort.targets) == {"temperature_1d", "temperature_3d", "temperature_30d", "humidity_1d"}
    with pytest.raises(ContractError, match="no variable of the modality 'land'"):
        WEATHER2K.read_evidence(raw, "land", cohort, DEFAULTS)


def test_a_cohort_survives_the_disk_and_is_the_same_twice(generated, tmp_path):
    cohort = WEATHER2K.build_cohort(generated, DEFAULTS)
    for name in ("a", "b"):
        write_cohort(tmp_path / name, WEATHER2K.build_cohort(generated, DEFAULTS), {})
    for file in ("items.parquet", "folds.parquet", "baselines.parquet", "card.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    again = read_cohort(tmp_path / "a")
    np.testing.assert_array_equal(again.targets["temperature_30d"], cohort.targets["temperature_30d"])
    assert again.items["prediction_time"].equals(cohort.items["prediction_time"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"protocol": "station"}, ParamsError, "did you mean 'stations'"),
        ({"train_until": 0.9}, ParamsError, "must rise within 0 and 1"),
        ({"num_folds": 1}, ParamsError, "num_folds is 1; it must be at least 2"),
        ({"windows_per_station": 4}, ParamsError, "needs 744 hours, but there are 800"),
        ({"mode": "publishd"}, ParamsError, "mode 'publishd' is unknown"),
        ({"mode": "published", "protocol": "both"}, ParamsError, "mode 'published' is the paper's protocol"),
        ({"block_degrees": 1.0}, ParamsError, "block_degrees 1 means nothing in protocol 'stations'"),
        ({"test_from": "2017-01-20"}, ParamsError, "mean nothing in protocol 'stations'"),
        ({"protocol": "both", "test_from": "soon"}, ParamsError, "test_from 'soon' is no date"),
        ({"protocol": "both", "test_from": "2030-01-01"}, ParamsError, "lies outside the series, 2017-01-01 to"),
        ({"protocol": "chronological"}, CohortError, "of 800 hours, training has 520 and validation 160; a window"),
        ({"num_folds": 30}, CohortError, "too few for 30 folds"),
    ],
)
def test_impossible_settings_say_what_to_do(array, change, error, message):
    with pytest.raises(error, match=message):
        WEATHER2K.build_cohort(array, replace(DEFAULTS, **change))


def test_two_stations_are_too_few_for_a_forecast(tmp_path):
    with pytest.raises(CohortError, match=r"2 distinct stations.*at least 3"):
        WEATHER2K.build_cohort(two_years(tmp_path, 2), DEFAULTS)


def test_many_stations_with_few_windows_each_still_make_a_forecast(tmp_path, monkeypatch):
    """Thinned to about two windows a station, hardly any station has one in validation and one in test."""
    from mmn.data.weather2k import generator

    monkeypatch.setitem(generator.SIZES, "wide", (120, 9_000))
    WEATHER2K.generate(tmp_path, "wide", 0)
    cohort = WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, protocol="both", max_items=240))
    check_cohort(cohort, "weather2k")
    assert cohort.num_folds == 5 and cohort.items["station"].nunique() > 115


def test_the_definitions_load_without_scikit_learn_or_torch():
    code = "import sys, mmn.data.weather2k; sys.exit(bool({'torch', 'sklearn', 'scipy.signal'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
