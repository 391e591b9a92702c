"""What cannot be a measurement is found, counted and never clipped; what contradicts itself is said."""

from __future__ import annotations

import numpy as np
import pytest

from mmn.data.weather2k import series as series_room
from mmn.data.weather2k.quality import Faults, check_plausible, clean, count_faults, rules_for
from mmn.data.weather2k.sources import open_series
from mmn.data.weather2k.variables import V1_ORDER, VARIABLES
from tests.data.weather2k_worlds import plain_array, prsa_table, write_array, write_tables


def at(name):
    return V1_ORDER.index(name)


def test_the_archives_codes_are_codes_within_the_range_of_visibility_too():
    block = np.full((1, 24, 2), 9_000.0)
    block[0, :2, 0] = 32_744
    block[0, 2, 0] = 9_999  # a habit elsewhere; here it is a visibility
    block[0, 3, 1] = 999_990
    cleaned, counts = clean(block, ("hv2", "hv1"))
    assert counts == {"hv2: missing-value code 32744": 2, "hv1: missing-value code 999990": 1}
    assert np.isnan(cleaned[0, :2, 0]).all() and cleaned[0, 2, 0] == 9_999


def test_a_code_is_told_from_a_stray_value_by_its_share_of_all_that_was_read():
    """Seven of a kind in each of two blocks: only together are they ten or more."""
    faults = Faults(names=("t",))
    for _ in range(2):
        block = np.full((10, 10, 1), 5.0)
        block[0, :7, 0] = -77.0
        block[1, 0, 0] = 300.0 + faults.num_values
        assert np.isnan(faults.clean(block)).sum() == 8
    assert faults.reasons() == {"t: missing-value code -77": 14, "t: outside [-55, 52] °C": 2}


def test_windows_cleaned_a_few_at_a_time_are_what_they_are_at_once(tmp_path, monkeypatch):
    values = plain_array()
    values[3:9, at("t"), 5:7] = 999_999
    write_array(tmp_path, values)
    series = open_series(tmp_path)
    hours = np.tile(np.arange(24), (40, 1))
    whole = series.take(np.arange(40), hours, ("t", "rh"))
    monkeypatch.setattr(series_room, "_VALUES_AT_ONCE", 100)
    parts = series.take(np.arange(40), hours, ("t", "rh"))
    np.testing.assert_array_equal(whole[0], parts[0])
    assert whole[1] == parts[1] == {"t: missing-value code 999999": 12}


def test_faults_are_counted_by_station_and_variable(tmp_path):
    values = plain_array(40, 60)
    values[7, at("t"), :5] = 999_999
    values[7, at("t"), 6] = 70.0
    values[9, at("rh"), :3] = np.nan
    values[11, at("mnt"), 10] += 5
    values[12, at("wd"), :4] = 0  # the wind blows at 2 m/s
    values[13, at("ws"), :2] = 0.1  # calm, and still a direction
    values[14, at("lat"), 30:] += 1
    write_array(tmp_path, values)
    table = count_faults(open_series(tmp_path))
    found = {(row.station, row.variable, row.reason): row.hours for row in table.itertuples()}
    assert found == {
        ("S0007", "t", "missing-value code 999999"): 5,
        ("S0007", "t", "outside [-55, 52]"): 1,
        ("S0009", "rh", "not known"): 3,
        ("S0011", "mnt", "mnt exceeds t"): 1,
        ("S0012", "wd", "wd is 0 (calm) though ws is above 0.2"): 4,
        ("S0013", "wd", "wd is not 0 though ws is calm"): 2,
        ("S0014", "lat", "changes over time"): 1,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mxt": -3.0}, "t exceeds mxt in"),
        ({"dt": 15.0}, "dt exceeds t in"),
        ({"mws": -2.0}, "ws exceeds mws in"),
        ({"p4": 1.0}, "p4 exceeds p5 in"),
        ({"wd": -90.0}, "wd is 0 (calm) though ws is above 0.2 in"),
    ],
)
def test_each_broken_rule_between_variables_is_said_with_its_count(tmp_path, change, said):
    values = plain_array(4, 60)
    for name, amount in change.items():
        values[:, at(name), 5] += amount
    write_array(tmp_path, values)
    notes = check_plausible(open_series(tmp_path), "here")
    assert [note for note in notes if note.startswith(said) and note.endswith(" of 240 sampled hours.")], notes


def test_rules_are_asked_only_of_what_is_there():
    assert rules_for(("t", "rh", "ws")) == ()
    assert {rule.text for rule in rules_for(("p1", "p5", "t"))} == {"p1 exceeds p5"}


def test_north_is_360_in_a_table_too(tmp_path):
    table = prsa_table("A", 60)
    table["wd"] = np.where(np.arange(60) < 30, 0, 90)
    table.loc[3, "WSPM"] = 0.0
    write_tables(tmp_path, table)
    (tmp_path / "columns.yaml").write_text(
        "station: station\ntime: [year, month, day, hour]\n"
        "variables: {t: TEMP, wd: {column: wd, unit: '°'}, ws: WSPM}\n"
    )
    direction = open_series(tmp_path).values[0, 1]
    assert direction[3] == 0 and direction[4] == 360 and direction[40] == 90


def test_every_variable_has_a_median_that_its_range_allows():
    for variable in VARIABLES:
        assert variable.low <= variable.median_low < variable.median_high <= variable.high, variable.name
