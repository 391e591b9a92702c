"""The binarised tasks: thresholds of training stations, in physical units; the published ones are said to leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmn.data.cohort import read_cohort, write_cohort
from mmn.data.errors import ContractError
from mmn.data.weather2k import WEATHER2K
from mmn.data.weather2k.binarised import binarise, thresholds
from mmn.data.weather2k.variables import V1_ORDER
from tests.data.weather2k_worlds import plain_array, write_array

DEFAULTS = replace(WEATHER2K.cohort_defaults, gradient_boosting=False)


@pytest.fixture
def cohort(tmp_path):
    write_array(tmp_path, plain_array())
    return WEATHER2K.build_cohort(tmp_path, DEFAULTS)


def test_a_threshold_is_the_mean_of_the_folds_training_targets(cohort):
    table = thresholds(cohort).set_index(["task", "fold"])
    for fold in range(cohort.num_folds):
        train = cohort.items["station_index"].to_numpy()[cohort.rows(fold, "train")]
        # Temperature is station / 10 + hour / 100, and the target hours are 24 to 47.
        row = table.loc[("temperature_1d", fold)]
        assert row["threshold"] == pytest.approx(train.mean() / 10 + 0.355, abs=1e-3)
        assert row["unit"] == "°C" and row["rule"] == "mean of the training targets"
    assert table.loc[("humidity_1d", 0), "unit"] == "%" and table.loc[("visibility_1d", 0), "unit"] == "m"


def test_held_out_stations_move_no_threshold(cohort):
    targets = {name: target.copy() for name, target in cohort.targets.items()}
    for target in targets.values():
        target[cohort.rows(2, "test")] += 1_000
    before, after = (thresholds(c).query("fold == 2") for c in (cohort, replace(cohort, targets=targets)))
    assert before["threshold"].tolist() == after["threshold"].tolist()
    assert before["prevalence_test"].tolist() != after["prevalence_test"].tolist()


def test_labels_are_of_the_read_out_and_missing_where_the_target_is(cohort):
    target = cohort.targets["temperature_3d"].copy()
    target[5, 23] = np.nan
    cohort = replace(cohort, targets={**cohort.targets, "temperature_3d": target})
    labels = binarise(cohort, "temperature_3d", 0)
    threshold = thresholds(cohort).set_index(["task", "fold"]).loc[("temperature_3d", 0), "threshold"]
    assert np.isnan(labels[5]) and np.flatnonzero(np.isnan(labels)).tolist() == [5]
    known = ~np.isnan(labels)
    np.testing.assert_array_equal(labels[known], target[known, 23] > threshold)
    with pytest.raises(ContractError, match="task 'rain'"):
        binarise(cohort, "rain", 0)


def test_a_share_outside_5_to_95_percent_is_flagged(cohort):
    # Visibility is the same everywhere: nothing lies above the mean.
    table = thresholds(cohort).set_index(["task", "fold"])
    assert table.loc[("visibility_1d", 0), "unusual"] and not table.loc[("temperature_1d", 0), "unusual"]
    assert any("Binarised visibility_1d: in 5 of 5 folds" in note for note in cohort.notes)
    assert any(note.startswith("Binarised (mean of the training targets, by fold): temp") for note in cohort.notes)


def test_the_published_thresholds_come_from_all_stations_and_the_note_says_so(tmp_path):
    write_array(tmp_path, plain_array())
    cohort = WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, mode="published"))
    table = thresholds(cohort)
    # 800 hours, so all of them: temperature runs from 0 to 3.9 + 7.99.
    warm = table[table["task"] == "temperature_1d"]
    assert warm["threshold"].to_numpy() == pytest.approx(np.full(5, 0.3 * 11.89), abs=1e-3)
    humid = table[table["task"] == "humidity_1d"]["threshold"].to_numpy()
    assert humid == pytest.approx(np.full(5, 38 + 0.75 * 11.89), abs=1e-3)
    assert set(table["rule"]) == {"published"}
    assert "The published thresholds were picked on all stations, test stations among them." in cohort.notes
    write_cohort(tmp_path / "cohort", cohort, {})
    assert thresholds(read_cohort(tmp_path / "cohort")).equals(table)


def test_a_missing_value_code_moves_no_published_threshold(tmp_path):
    values = plain_array()
    values[3, V1_ORDER.index("t"), 100] = 999_999
    write_array(tmp_path, values)
    cohort = WEATHER2K.build_cohort(tmp_path, replace(DEFAULTS, mode="published"))
    assert cohort.items["published_threshold_temperature_1d"].iloc[0] == pytest.approx(0.3 * 11.89, abs=1e-3)
