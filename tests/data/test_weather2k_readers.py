"""Weather2K's readers: what is found, what it becomes, and what is refused with which words."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from mmn.data.errors import ContractError, RawFileError
from mmn.data.manifest import files_of
from mmn.data.weather2k import WEATHER2K
from mmn.data.weather2k.quality import check_plausible, clean
from mmn.data.weather2k.series import duplicate_groups
from mmn.data.weather2k.sources import find_layout, inspect, open_series
from mmn.data.weather2k.units import COMPASS, convert, relative_humidity, saturation_pressure
from mmn.data.weather2k.variables import GROUPS, V1_ORDER, V2_ORDER, VARIABLES, names_of_group
from tests.data.weather2k_worlds import plain_array, plain_v2, prsa_table, write_array, write_tables


def every_hour(series, names):
    stations = np.arange(len(series.stations))
    return series.take(stations, np.tile(np.arange(series.num_hours), (len(stations), 1)), names)


def test_the_23_variables_fall_into_five_groups_of_3_10_4_5_and_1():
    assert len(VARIABLES) == 23
    assert [len(names_of_group(group)) for group in GROUPS] == [3, 10, 4, 5, 1]
    assert V1_ORDER[4] == "t" and V1_ORDER[8] == "rh" and V1_ORDER[15] == "wd" and V1_ORDER[21] == "hv2"
    assert [len(names_of_group(group, V2_ORDER)) for group in GROUPS] == [3, 5, 4, 1, 0]


@pytest.mark.parametrize("folder", ["", "Weather2K-R", "a/b/c/d"])
def test_the_array_is_found_within_four_levels_and_stays_on_disk(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    np.save(tmp_path / folder / "data.npy", plain_array(3, 60))
    series = open_series(tmp_path)
    assert isinstance(series.values, np.memmap)
    assert (series.layout, series.num_hours, series.stations[2]) == ("v1", 60, "S0002")
    assert [path.name for path in files_of(tmp_path, WEATHER2K.sources["stations"])] == ["data.npy"]


def test_a_3_hourly_record_is_the_last_hour_of_its_three(tmp_path):
    write_array(tmp_path, plain_v2())
    series = open_series(tmp_path)
    values, _ = every_hour(series, ("t",))
    assert (series.layout, series.hours_per_record, series.num_hours) == ("v2", 3, 900)
    np.testing.assert_allclose(values[5, 2::3, 0], 0.5 + np.arange(300) / 100, atol=1e-5)
    assert np.isnan(values[:, 0::3]).all() and np.isnan(values[:, 1::3]).all()
    # Record 0 is midnight of 2017-01-01.
    assert series.start + pd.Timedelta(hours=2) == pd.Timestamp("2017-01-01")


def test_missing_value_codes_and_impossible_values_become_nan_and_are_counted():
    block = np.full((4, 24, 2), 10.0)
    block[0, :3, 0] = 999_999
    block[1, 0, 0] = 480.0
    block[:, :, 1] = 50.0
    block[2, :12, 1] = -7.0  # nobody documented this code, but no humidity repeats like that
    cleaned, counts = clean(block, ("t", "rh"))
    assert counts == {
        "t: missing-value code 999999": 3,
        "t: outside [-55, 52] °C": 1,
        "rh: missing-value code -7": 12,
    }
    assert np.isnan(cleaned).sum() == 16
    assert np.nanmax(cleaned) == 50.0


def test_a_site_table_gets_humidity_from_its_dewpoint_and_rain_sums_from_its_rain(tmp_path):
    table = prsa_table("A", 100)
    table.loc[:, "RAIN"] = 1.0
    table.loc[50, "RAIN"] = np.nan
    write_tables(tmp_path, table)
    series = open_series(tmp_path)
    values, _ = every_hour(series, ("rh", "wvp", "p1", "p2", "p5"))
    np.testing.assert_allclose(
        values[0, :, 0], relative_humidity(table["TEMP"].to_numpy(), table["DEWP"].to_numpy()), rtol=1e-4
    )
    np.testing.assert_allclose(values[0, :, 1], saturation_pressure(table["DEWP"].to_numpy()), rtol=1e-5)
    assert values[0, 2, 3] == 3.0 and np.isnan(values[0, 1, 3]), "a sum needs all its hours"
    assert np.isnan(values[0, 50:53, 3]).all() and values[0, 53, 3] == 3.0
    assert np.isnan(values[0, 50:74, 4]).all() and values[0, 74, 4] == 24.0


def test_magnus_gives_the_textbook_values():
    # Saturation over water at 20 °C is 23.4 hPa; air of 20 °C with a dewpoint of 10 °C has 52.5 % humidity.
    assert saturation_pressure(np.array(20.0)) == pytest.approx(23.37, abs=0.05)
    assert relative_humidity(np.array(20.0), np.array(10.0)) == pytest.approx(52.5, abs=0.2)
    assert relative_humidity(np.array(5.0), np.array(5.1)) == 100.0
    assert np.isnan(relative_humidity(np.array(5.0), np.array(6.0)))


def test_the_compass_has_north_at_360_and_a_calm_hour_has_direction_0(tmp_path):
    assert (COMPASS["N"], COMPASS["E"], COMPASS["NNW"]) == (360.0, 90.0, 337.5)
    table = prsa_table("A", 60)
    table.loc[:, "wd"] = "N"
    table.loc[7, "WSPM"] = 0.2
    table.loc[8, "wd"] = np.nan
    table.loc[9, "wd"] = "north-ish"
    write_tables(tmp_path, table)
    series = open_series(tmp_path)
    direction = every_hour(series, ("wd",))[0][0, :, 0]
    assert direction[6] == 360.0 and direction[7] == 0.0
    assert np.isnan(direction[8]) and np.isnan(direction[9])
    assert series.quarantined == {"wd: not readable as 16 points": 1}


def test_units_convert_to_weather2k_s():
    assert convert(np.array(212.0), "°F", "°C", "x") == pytest.approx(100.0)
    assert convert(np.array(10.0), "mph", "m/s", "x") == pytest.approx(4.4704)
    with pytest.raises(ContractError, match=r"unit 'furlong' cannot be turned into 'm'\. Known here: ft, km, m, mile"):
        convert(np.array(1.0), "furlong", "m", "table")


def test_a_custom_column_map_reads_any_hourly_table(tmp_path):
    time = pd.date_range("2020-01-01", periods=60, freq="h", tz="Europe/Oslo")
    for name in ("x", "y"):
        pd.DataFrame({"site": name, "at": time.map(str), "kelvin": 280.0, "gone": 5}).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    pd.DataFrame({"id": ["x", "y"], "lat": [59.9, 60.4], "lon": [10.7, 5.3], "height": [100, 50]}).to_csv(
        tmp_path / "sites.csv", index=False
    )
    (tmp_path / "columns.yaml").write_text(
        'name: oslo\nstation: site\ntime: at\nvariables:\n  t: {column: kelvin, unit: "K"}\n'
        "coordinates: {file: sites.csv, station: id, alt: height, alt_unit: ft}\n"
    )
    series = open_series(tmp_path)
    assert series.stations == ("x", "y") and series.variables == ("lat", "lon", "alt", "t")
    assert series.start == pd.Timestamp("2019-12-31 23:00")
    values, _ = every_hour(series, ("alt", "t"))
    np.testing.assert_allclose(values[0, 0], [30.48, 6.85], rtol=1e-5)
    assert set(inspect(tmp_path).skipped) == {"humidity_1d", "visibility_1d", "air", "wind", "rain", "land"} - {"air"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("station: a\ntime: t\nvariables: {temp: x, t: x}", "unknown key 'temp'; the nearest known one is"),
        ("station: a\nvariables: {t: x}", "key `time` is missing"),
        ("time: t\nvariables: {t: x}", "give either `station`"),
        ("station: a\ntime: [y, m]\nvariables: {t: x}", "`time` names 2 columns"),
        ("station: [", "not readable as YAML"),
    ],
)
def test_a_column_map_that_cannot_be_read_says_which_key(tmp_path, text, message):
    (tmp_path / "columns.yaml").write_text(text)
    (tmp_path / "a.csv").write_text("a,t,x\n")
    with pytest.raises(ContractError, match=message):
        find_layout(tmp_path)


def test_an_empty_folder_is_a_problem_that_says_what_is_expected(tmp_path):
    said = inspect(tmp_path)
    assert said.problem is not None and "Weather2K-R/data.npy" in said.problem and "columns.yaml" in said.problem
    with pytest.raises(RawFileError, match=r"neither data\.npy nor a csv is there"):
        open_series(tmp_path)


def test_a_missing_column_is_named_with_what_there_is(tmp_path):
    write_tables(tmp_path, prsa_table("A").drop(columns="TEMP"))
    with pytest.raises(ContractError, match=r"column 'TEMP' is missing.*'prsa-beijing'.*There is: No, year"):
        open_series(tmp_path)


def test_a_repeated_station_hour_is_refused_with_its_key(tmp_path):
    table = prsa_table("A", 50)
    write_tables(tmp_path, pd.concat([table, table.iloc[[3]]]))
    with pytest.raises(
        ContractError, match=r"1 of 51 rows repeat a station and hour, the first at A, 2014-01-01 03:00"
    ):
        open_series(tmp_path)


def test_a_time_that_cannot_be_read_is_refused_with_its_row(tmp_path):
    table = prsa_table("A", 50)
    table.loc[10, "month"] = 13
    write_tables(tmp_path, table)
    with pytest.raises(ContractError, match=r"1 of 50 rows have no readable time.*the first in row 12"):
        open_series(tmp_path)


def test_a_table_cut_short_is_refused(tmp_path):
    write_tables(tmp_path, prsa_table("A"))
    path = tmp_path / "PRSA_Data_0.csv.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(RawFileError, match="cut short or is damaged"):
        open_series(tmp_path)
    path.write_bytes(b"<html>no such file</html>")
    with pytest.raises(RawFileError, match="not readable"):
        open_series(tmp_path)


def test_a_truncated_array_is_refused_with_both_sizes(tmp_path):
    path = write_array(tmp_path, plain_array(3, 60))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RawFileError, match=r"16,588 bytes, but its header promises 16,688: the file was cut short"):
        open_series(tmp_path)
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(RawFileError, match=r"not a NumPy array.*Git-LFS pointer"):
        open_series(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((60, 3, 23), np.float32), r"shape \(60, 3, 23\), expected \(stations, 23, hours\).*transpose"),
        (np.zeros((23, 60), np.float32), r"shape \(23, 60\)"),
        (np.zeros((3, 23, 40), np.float32), "less than 48 hours"),
        (np.zeros((3, 23, 60), "U3"), "expected plain numbers"),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(tmp_path, values, message):
    write_array(tmp_path, values)
    with pytest.raises(ContractError, match=message):
        open_series(tmp_path)


def test_pickled_objects_are_refused_without_being_opened(tmp_path):
    path = write_array(tmp_path, np.zeros((3, 23, 60), np.float32))
    np.save(path, np.empty((3, 23, 60), dtype=object), allow_pickle=True)
    with pytest.raises(ContractError, match="Unpickling is refused"):
        open_series(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("t", lambda x: x + 273.15, r"'t' \(air temperature\) does not look like °C: 2400 of 2400.*\[-55, 52\]"),
        ("ap", lambda x: x * 100, r"'ap' .*does not look like hPa"),
        ("hv2", lambda x: x / 1000, r"'hv2' .*does not look like m: 0 of 2400 .*median is 9\."),
        ("rh", lambda x: x / 100, r"'rh' .*does not look like %.*columns\.yaml"),
        ("dt", lambda x: x * 0 + 19.0, "relative humidity 'rh' differs from what 't' and 'dt' give"),
        ("lat", lambda x: x + np.linspace(0, 5, 60), r"'lat' changes over time at 40 of 40 .*transpose the array"),
    ],
)
def test_a_variable_in_a_wrong_unit_or_place_is_named(tmp_path, name, change, message):
    values = plain_array(40, 60)
    position = V1_ORDER.index(name)
    values[:, position] = change(values[:, position])
    write_array(tmp_path, values)
    with pytest.raises(ContractError, match=message):
        check_plausible(open_series(tmp_path), "here")


def test_what_contradicts_itself_is_noted_but_not_refused(tmp_path):
    values = plain_array(4, 60)
    values[:, V1_ORDER.index("mnt"), 5] += 3
    values[:, V1_ORDER.index("p1"), 7] = 5.0
    write_array(tmp_path, values)
    notes = check_plausible(open_series(tmp_path), "here")
    assert any(note.startswith("mnt exceeds t in") for note in notes)
    assert any(note.startswith("p1 exceeds p2 in") for note in notes)


def test_stations_with_one_instrument_are_one_group_though_a_digit_differs(tmp_path):
    one, two = prsa_table("A", seed=1), prsa_table("B", seed=2)
    copy = one.assign(station="C")
    copy["TEMP"] = copy["TEMP"] + 1e-5
    near = one.assign(station="D", TEMP=one["TEMP"] + 0.1, DEWP=one["DEWP"] + 0.1, PRES=two["PRES"] + 1)
    write_tables(tmp_path, one, two, copy, near)
    series = open_series(tmp_path)
    assert series.stations == ("A", "B", "C", "D")
    # Wind speed is 1.5 everywhere: a constant proves nothing.
    assert duplicate_groups(series).tolist() == [0, 1, 0, 3]


def test_inspect_reads_headers_only(tmp_path):
    header = ",".join(prsa_table("A", 1).columns)
    with gzip.open(tmp_path / "PRSA_Data_A.csv.gz", "wt") as stream:
        stream.write(header + "\nnonsense\n")
    said = inspect(tmp_path)
    assert said.problem is None and said.version == "hourly tables (prsa-beijing), 1 files"
    assert set(said.skipped) == {"visibility_1d", "geographic", "land"}
    assert "needs 'hv2'" in said.skipped["visibility_1d"]
    assert "lay a table coordinates.csv (station,lat,lon,alt) beside them" in said.skipped["geographic"]
    assert not said.generated


def test_the_3_hourly_release_skips_visibility_and_land_and_says_so(tmp_path):
    write_array(tmp_path, plain_v2())
    said = inspect(tmp_path)
    assert set(said.skipped) == {"visibility_1d", "land"}
    assert said.version == "v2, 40 stations x 13 variables x 900 h"


def test_a_short_array_skips_the_tasks_it_cannot_reach(tmp_path):
    write_array(tmp_path, plain_array(40, 743))
    assert inspect(tmp_path).skipped == {"temperature_30d": "needs 744 hours in a row, the file holds 743"}
