"""Weather2K-S, the single stations as csv, and `idx2stat.txt`: what is read, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmn.data.errors import ContractError, RawFileError
from mmn.data.weather2k import WEATHER2K
from mmn.data.weather2k.sources import find_layout, open_series
from mmn.data.weather2k.variables import V1_ORDER
from tests.data.weather2k_worlds import plain_array, write_array


def write_stations(raw, values, places=(79, 114, 1201), header=True, **extra):
    folder = raw / "Weather2K-S"
    folder.mkdir(parents=True, exist_ok=True)
    for place, one in zip(places, values, strict=False):
        table = pd.DataFrame(one.T, columns=list(V1_ORDER)).assign(**extra)
        table.to_csv(folder / f"{place}.csv", index=False, header=header)
    return folder


@pytest.mark.parametrize("header", [True, False])
def test_station_files_hold_what_the_array_holds(tmp_path, header):
    values = plain_array(3, 100)
    write_stations(tmp_path, values, header=header)
    series = open_series(tmp_path)
    assert series.layout == "v1-s" and series.stations == ("S0079", "S0114", "S1201")
    assert series.variables == V1_ORDER and series.start == pd.Timestamp("2017-01-01")
    np.testing.assert_allclose(series.values, values, rtol=1e-6)
    assert bool(series.notes) is not header
    said = WEATHER2K.inspect(tmp_path)
    assert said.version == "v1-s, 3 stations (Weather2K-S)" and said.problem is None and not said.skipped


def test_a_time_column_sets_the_clock_and_an_index_column_nothing(tmp_path):
    time = pd.date_range("2018-05-01 07:00", periods=100, freq="h")
    write_stations(tmp_path, plain_array(3, 100), time=time, Index=range(100))
    assert open_series(tmp_path).start == time[0]


def test_columns_may_stand_in_any_order_and_case(tmp_path):
    values = plain_array(1, 50)
    table = pd.DataFrame(values[0].T, columns=[name.upper() for name in V1_ORDER])[["WS", "T", "RH"]]
    table.to_csv(tmp_path / "79.csv", index=False)
    series = open_series(tmp_path)
    assert series.variables == ("t", "rh", "ws")
    np.testing.assert_allclose(series.values[0, 0], values[0, V1_ORDER.index("t")], rtol=1e-6)


def test_single_stations_make_a_cohort_of_other_stations_and_later_hours(tmp_path):
    rng = np.random.default_rng(0)
    values = plain_array(5, 9_000)
    for name in ("t", "mxt", "mnt", "dt", "st"):
        values[:, V1_ORDER.index(name)] = 10.0 + (0, 0.1, -0.1, -13, 0)[("t", "mxt", "mnt", "dt", "st").index(name)]
    values[:, V1_ORDER.index("rh")] = 40
    values[:, V1_ORDER.index("ap")] += rng.normal(size=(5, 9_000))
    write_stations(tmp_path, values.round(2), places=(1, 2, 3, 4, 5))
    cohort = WEATHER2K.build_cohort(tmp_path, replace(WEATHER2K.cohort_defaults, gradient_boosting=False))
    assert cohort.notes[0] == "Protocol: both." and len(cohort.targets) == 5


def test_the_array_is_read_where_both_are_there_and_inspect_says_so(tmp_path):
    write_array(tmp_path, plain_array(3, 800))
    write_stations(tmp_path, plain_array(3, 100))
    assert find_layout(tmp_path).array is not None
    assert WEATHER2K.inspect(tmp_path).found["stations"].endswith("; 3 tables are not read: the array is there")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.rename(columns={"rh": "humidity"}), ContractError, "expected lat, lon.*Write a columns.yaml"),
        (lambda t: t.drop(columns="t"), ContractError, "'t' among them"),
        (lambda t: t.iloc[:-4], ContractError, "96 hours from .*, where 79.csv has 100.*cut short"),
        (lambda t: t.drop(columns="st"), ContractError, "other columns than 79.csv"),
        (lambda t: t.iloc[:0], RawFileError, "a header and no row"),
    ],
)
def test_station_files_that_do_not_agree_are_refused(tmp_path, change, error, message):
    folder = write_stations(tmp_path, plain_array(3, 100))
    change(pd.read_csv(folder / "114.csv")).to_csv(folder / "114.csv", index=False)
    with pytest.raises(error, match=message):
        open_series(tmp_path)


def test_an_hour_that_is_left_out_is_refused(tmp_path):
    time = pd.date_range("2018-05-01", periods=101, freq="h").delete(50)
    write_stations(tmp_path, plain_array(3, 100), time=time)
    with pytest.raises(ContractError, match="1 of 99 rows do not follow the one before by an hour"):
        open_series(tmp_path)


def test_a_transposed_file_is_refused(tmp_path):
    pd.DataFrame(plain_array(1, 500)[0]).to_csv(tmp_path / "79.csv", index=False)
    with pytest.raises(ContractError, match=r"500 columns.*Transpose it"):
        open_series(tmp_path)


def test_text_among_the_numbers_is_missing_and_counted(tmp_path):
    folder = write_stations(tmp_path, plain_array(3, 100))
    table = pd.read_csv(folder / "79.csv").astype(object)
    table.loc[3:5, "t"] = "n.a. today"
    table.to_csv(folder / "79.csv", index=False)
    series = open_series(tmp_path)
    assert series.quarantined == {"t: not readable as a number": 3}
    assert np.isnan(series.values[0, V1_ORDER.index("t"), 3:6]).all()


def test_the_stations_numbers_travel_with_the_items(tmp_path):
    write_array(tmp_path, plain_array())
    (tmp_path / "idx2stat.txt").write_text("".join(f"{i} {50_000 + 7 * i}\n" for i in range(40)))
    cohort = WEATHER2K.build_cohort(tmp_path, replace(WEATHER2K.cohort_defaults, gradient_boosting=False))
    assert cohort.items.set_index("station")["station_number"]["S0003"] == "50021"


@pytest.mark.parametrize("text", ["0 50000\n1 50007\n", "".join(f"{i + 1} {i}\n" for i in range(40)), "0\n" * 81])
def test_numbers_of_another_array_are_refused(tmp_path, text):
    write_array(tmp_path, plain_array())
    (tmp_path / "idx2stat.txt").write_text(text)
    with pytest.raises(ContractError, match=r"pairs of place and number for 40 stations.*belongs to another array"):
        open_series(tmp_path)
