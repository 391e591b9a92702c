"""Weather2k's protocols: who may sit on which side of a fold, and what is said where a protocol is impossible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import check_cohort, read_cohort, write_cohort
from mmn.data.errors import CohortError, ContractError, ParamsError
from mmn.data.weather2k import WEATHER2K
from mmn.data.weather2k.params import Weather2kCohortParams, fixed_borders
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.splits import at_most_per_station
from mmn.data.weather2k.variables import V1_ORDER
from tests.data.weather2k_worlds import plain_array, prsa_table, write_array, write_tables

DEFAULTS = replace(WEATHER2K.cohort_defaults, gradient_boosting=False)
SIDES = ("train", "validation", "test")


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Six sites of a year; two stand in one cell of 1 degree, two in another."""
    raw = tmp_path_factory.mktemp("sites")
    write_tables(raw, *(prsa_table(f"site{i}", 9_000, seed=i) for i in range(6)))
    pd.DataFrame({
        "station": [f"site{i}" for i in range(6)], "lat": [40.1, 40.2, 41.5, 41.6, 42.5, 43.5], "lon": 116.5, "alt": 50,
    }).to_csv(raw / "coordinates.csv", index=False)  # fmt: skip
    return raw


@pytest.fixture(scope="module")
def forecast(sites):
    return WEATHER2K.build_cohort(sites, replace(DEFAULTS, protocol="chronological", max_items=600))


def sides_of(cohort, fold):
    return {side: cohort.items.iloc[cohort.rows(fold, side)] for side in SIDES}


def test_a_forecast_for_known_stations_is_tested_on_their_later_hours(forecast):
    check_cohort(forecast, "weather2k")
    assert forecast.notes[0] == "Protocol: chronological." and forecast.fold_group == "station_in_period"
    for fold in range(forecast.num_folds):
        sides = sides_of(forecast, fold)
        assert set(sides["test"]["station"]) <= set(sides["train"]["station"])
        for early, late in (("train", "validation"), ("validation", "test")):
            gap = sides[late]["start_hour"].min() - sides[early]["start_hour"].max()
            assert gap >= 744, "the last target hour of one part comes before the first input hour of the next"


def test_each_late_window_is_tested_in_one_fold_and_each_station_in_one(forecast):
    tests = forecast.folds[forecast.folds["split"] == "test"].merge(forecast.items, on="item")
    assert forecast.num_folds == 5 and tests["item"].is_unique
    assert tests.groupby("subject")["fold"].nunique().eq(1).all() and tests["subject"].nunique() == 6


def test_the_group_of_a_forecasts_folds_survives_the_disk(forecast, tmp_path):
    write_cohort(tmp_path / "cohort", forecast, {})
    again = read_cohort(tmp_path / "cohort")
    check_cohort(again, "weather2k")
    assert again.fold_group == "station_in_period"


def test_folds_with_the_same_training_items_share_one_fit(forecast):
    fitted = forecast.baselines.query("baseline == 'ridge on 24 h' and task == 'temperature_1d'")
    validation = fitted[fitted["item"].isin(forecast.items["item"].iloc[forecast.rows(0, "validation")])]
    assert validation.groupby("item")["prediction"].nunique().eq(1).all()
    assert validation.groupby("item")["fold"].nunique().eq(forecast.num_folds).all()


def test_a_single_station_can_be_forecast(tmp_path):
    write_tables(tmp_path, prsa_table("alone", 9_000))
    cohort = WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, protocol="chronological"))
    check_cohort(cohort, "weather2k")
    assert cohort.num_folds == 1
    with pytest.raises(CohortError, match="or use protocol 'chronological'"):
        WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, protocol="both"))


def test_blocked_holds_out_whole_cells_at_the_same_hours(sites):
    params = replace(DEFAULTS, protocol="blocked", block_degrees=1.0, windows_per_station=20)
    cohort = WEATHER2K.build_cohort(sites, params)
    check_cohort(cohort, "weather2k")
    assert cohort.items["subject"].nunique() == 4 and len(cohort) == 6 * 20
    assert any("whole cells of 1° are held out (4 cells)" in note for note in cohort.notes)
    for fold in range(cohort.num_folds):
        stations = {side: set(items["station"]) for side, items in sides_of(cohort, fold).items()}
        for pair in ({"site0", "site1"}, {"site2", "site3"}):
            assert sum(bool(pair & names) for names in stations.values()) == 1
    assert {"geography k-NN", "geography ridge"} <= set(cohort.baselines["baseline"])


def test_both_can_hold_out_cells_and_later_hours(sites):
    cohort = WEATHER2K.build_cohort(sites, replace(DEFAULTS, protocol="both", block_degrees=1.0, max_items=600))
    check_cohort(cohort, "weather2k")
    for fold in range(cohort.num_folds):
        sides = sides_of(cohort, fold)
        assert not set(sides["test"]["subject"]) & set(sides["train"]["subject"])
        assert sides["test"]["start_hour"].min() > sides["train"]["start_hour"].max()


def test_cells_need_positions(tmp_path):
    write_tables(tmp_path, *(prsa_table(f"site{i}", 9_000, seed=i) for i in range(4)))
    for change in ({"protocol": "blocked"}, {"protocol": "both", "block_degrees": 1.0}):
        with pytest.raises(ParamsError, match=r"needs the stations' positions.*`coordinates` in columns\.yaml"):
            WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, **change))
    pd.DataFrame({"station": ["site0"], "lat": [40], "lon": [116], "alt": [5]}).to_csv(
        tmp_path / "coordinates.csv", index=False
    )
    with pytest.raises(ContractError, match="windows have a station without a position"):
        WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, protocol="blocked", windows_per_station=3))


def test_few_stations_give_fewer_folds_of_the_papers_protocol(sites):
    cohort = WEATHER2K.build_cohort(sites, replace(DEFAULTS, protocol="stations", windows_per_station=3))
    check_cohort(cohort, "weather2k")
    assert cohort.num_folds == 5 and any("6 distinct stations give 5 folds" in note for note in cohort.notes)


def test_the_published_mode_is_the_papers_protocol_whatever_the_files(sites):
    cohort = WEATHER2K.build_cohort(sites, replace(DEFAULTS, mode="published"))
    assert cohort.notes[0] == "Protocol: stations." and len(cohort) == 6
    assert WEATHER2K.modes == ("clean", "published")


def test_windows_per_station_is_kept_in_each_part_of_time(sites):
    cohort = WEATHER2K.build_cohort(sites, replace(DEFAULTS, protocol="chronological", windows_per_station=7))
    counts = cohort.items.groupby("station_in_period").size()
    assert counts.max() == 7 and len(counts) == 18
    assert cohort.excluded["window beyond windows_per_station = 7 in its part of time"] > 0


def test_at_most_so_many_windows_are_spread_evenly():
    kept = at_most_per_station(np.repeat([0, 1], [100, 3]), np.full(103, "train"), 5)
    assert np.flatnonzero(kept[:100]).tolist() == [19, 39, 59, 79, 99] and kept[100:].all()


def series_of(layout: str, num_hours: int) -> StationSeries:
    values = np.broadcast_to(np.float32(0), (40, len(V1_ORDER), num_hours))
    return StationSeries(
        layout=layout, stations=tuple("abcd"), variables=V1_ORDER, start=pd.Timestamp("2017-01-01"), values=values
    )


def test_weather2ks_own_span_trains_to_2019_and_tests_in_2021():
    full = series_of("v1", 40_896)
    first, second = fixed_borders(Weather2kCohortParams(), full)
    assert first == 3 * 365 * 24 and second == first + 366 * 24
    assert fixed_borders(Weather2kCohortParams(train_until=0.5), full) == (None, None)
    assert fixed_borders(Weather2kCohortParams(), series_of("v1", 17_520)) == (None, None)
    assert fixed_borders(Weather2kCohortParams(), series_of("tables", 40_896)) == (None, None)


def test_dates_set_the_borders(sites):
    params = replace(DEFAULTS, protocol="chronological", validation_from="2014-06-01", test_from="2014-09-01")
    cohort = WEATHER2K.build_cohort(sites, params)
    assert any("Validation begins 2014-06-01, test 2014-09-01" in note for note in cohort.notes)
    late = cohort.items[cohort.items["station_in_period"].str.endswith("test")]
    assert late["prediction_time"].min() >= pd.Timestamp("2014-09-01 23:00")
    with pytest.raises(CohortError, match="move the borders"):
        WEATHER2K.build_cohort(sites, replace(params, validation_from="2014-08-20"))


def test_climatology_of_a_known_station_is_its_own_and_of_an_unknown_one_the_others(tmp_path):
    """Two years, the sites 10 degrees apart: only a station's own past knows which one it is."""
    for place in range(6):
        table = prsa_table(f"site{place}", 17_600, seed=place)
        table["TEMP"] += 4.0 * place
        table["DEWP"] += 4.0 * place
        write_tables(tmp_path / f"{place}", table)
    error = {}
    for protocol in ("chronological", "both"):
        cohort = WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, protocol=protocol, max_items=900))
        said = cohort.baselines.query("task == 'temperature_30d' and baseline == 'climatology'")
        truth = pd.Series(cohort.targets["temperature_30d"][:, 23], index=cohort.items["item"])
        error[protocol] = np.sqrt(((said["prediction"] - truth[said["item"]].to_numpy()) ** 2).mean())
    # The sites' noise has a standard deviation of 1.
    assert error["chronological"] < 1.3 and error["both"] > 3


def test_evidence_of_another_state_of_the_files_is_refused(tmp_path):
    write_array(tmp_path, plain_array())
    cohort = WEATHER2K.build_cohort(tmp_path, DEFAULTS)
    write_array(tmp_path, plain_array(num_stations=20))
    with pytest.raises(ContractError, match=r"no longer those of the cohort\. Make the cohort again"):
        WEATHER2K.read_evidence(tmp_path, "air", cohort, DEFAULTS, {})
    moved = replace(cohort, items=cohort.items.assign(start_hour=790))
    write_array(tmp_path, plain_array())
    with pytest.raises(ContractError, match="the series is shorter"):
        WEATHER2K.read_evidence(tmp_path, "air", moved, DEFAULTS, {})
