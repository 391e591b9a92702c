"""The published feature arrays: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mmn.data.cohort import check_cohort
from mmn.data.edu import EDU
from mmn.data.edu.arrays import SET_COLUMNS, clean_name, other_sign, read_arrays
from mmn.data.edu.generator import write_world
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.prepared import prepare
from mmn.data.errors import CohortError, ContractError, MmnError, RawFileError
from mmn.data.files import EMPTY_KEY, version_of
from mmn.data.manifest import files_of
from mmn.featurizers.weekly_clicks import WEEKLY_CLICKS, WeeklyClicksParams
from mmn.featurizers.weekly_clicks.export import export_arrays
from mmn.orchestration.checks import sources

PARAMS = EduCohortParams(mode="compat", filter="none")
CHEN = "eq_week-chen_cui-dsp_001"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    raw = tmp_path_factory.mktemp("edu") / "raw"
    write_world(raw, 150, 4)
    cohort = EDU.build_cohort(raw, PARAMS)
    export_arrays(raw, cohort, PARAMS, raw.parent / "arrays")
    return raw, cohort, raw.parent / "arrays"


@pytest.fixture
def arrays(world, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(world[2], tmp_path / "arrays"))


def test_the_export_has_the_published_form(world):
    _, cohort, folder = world
    with np.load(folder / CHEN / "feature_values.npz", allow_pickle=False) as file:
        values = file["feature_values"]
    assert values.dtype == np.float64 and values.shape == (len(cohort), cohort.num_steps, 13)
    labels = pd.read_csv(folder / CHEN / "feature_labels.csv")
    assert list(labels) == ["user_index", "label-grade", "label-pass-fail", "label-dropout", "label-stopout"]
    assert json.loads((folder / CHEN / "settings.txt").read_text())["feature_names"] == list(SET_COLUMNS["chen_cui"])
    mapping = pd.read_csv(folder / "user_id_mapping-dsp-001.csv", dtype=str)
    assert list(mapping["user_id"]) == list(cohort.items["item"])


def test_one_means_fail_there_and_passed_here(world):
    _, cohort, folder = world
    labels = pd.read_csv(folder / CHEN / "feature_labels.csv")
    np.testing.assert_array_equal(labels["label-pass-fail"], 1 - cohort.targets["pass_course"])
    assert (
        labels.loc[labels["label-pass-fail"] == 1, "label-grade"].max()
        < labels.loc[labels["label-pass-fail"] == 0, "label-grade"].min()
    )
    np.testing.assert_array_equal(read_arrays(folder).passed, cohort.targets["pass_course"])
    np.testing.assert_array_equal(other_sign(np.array([0.0, 1.0, np.nan])), [1.0, 0.0, np.nan])


def test_stopout_is_the_last_week_with_a_video_click_and_dropout_whether_it_came_early(world):
    folder = world[2]
    labels = pd.read_csv(folder / CHEN / "feature_labels.csv")
    videos = read_arrays(folder).values["TotalClicksVideo"]
    for row, stopout in enumerate(labels["label-stopout"]):
        seen = np.flatnonzero(videos[row])
        assert stopout == (seen[-1] if len(seen) else -1)
    np.testing.assert_array_equal(labels["label-dropout"], labels["label-stopout"] < 9)


def test_a_cohort_and_features_from_the_arrays_are_those_from_the_log(world):
    raw, cohort, folder = world
    again = EDU.build_cohort(folder, PARAMS)
    check_cohort(again, "arrays")
    assert list(again.items["item"]) == list(cohort.items["item"])
    for task, target in cohort.targets.items():
        np.testing.assert_allclose(again.targets[task], target, atol=1e-12)
    params = WeeklyClicksParams(mode="compat")
    for modality in ("problem", "video"):
        made = [
            WEEKLY_CLICKS.run(EDU.read_evidence(source, modality, c, PARAMS), c, modality, params, lambda a, b: None)
            for source, c in ((folder, again), (raw, cohort))
        ]
        np.testing.assert_array_equal(made[0].embeddings.values, made[1].embeddings.values)
        assert made[0].card["share of silent weeks"] == made[1].card["share of silent weeks"]


def test_the_same_cohort_gives_the_same_bytes(world, tmp_path):
    raw, cohort, folder = world
    export_arrays(raw, cohort, PARAMS, tmp_path / "again")
    assert version_of(tmp_path / "again") == version_of(folder)


def test_inspection_and_manifests_find_them(world):
    inspection = EDU.inspect(world[2])
    assert inspection.problem is None and "published weekly features: dsp_001" in inspection.version
    for patterns in EDU.sources.values():
        assert len(files_of(world[2], patterns)) >= 12


def test_the_prepared_table_of_arrays_alone_is_empty_says_why_and_is_let_pass(world, tmp_path):
    prepare(world[2], "events", tmp_path / "events.parquet", {}, lambda done, total: None)
    assert b"no log" in pq.read_metadata(tmp_path / "events.parquet").metadata[EMPTY_KEY]
    assert sources._table(tmp_path / "events.parquet") == ({"rows": 0, "columns": 14}, None)
    # An empty table that does not say so is one whose rows were lost.
    bare = pq.read_table(tmp_path / "events.parquet").replace_schema_metadata({})
    pq.write_table(bare, tmp_path / "lost.parquet")
    assert "it has no row" in sources._table(tmp_path / "lost.parquet")[1]


def test_where_the_log_is_too_it_is_read_unless_the_arrays_are_asked_for(world, tmp_path):
    raw, _, folder = world
    shutil.copytree(raw, tmp_path / "both")
    shutil.copytree(folder, tmp_path / "both" / "arrays")
    assert "not read" in EDU.inspect(tmp_path / "both").found["feature arrays dsp_001"]
    assert "cleaned in mode compat" in EDU.build_cohort(tmp_path / "both", PARAMS).notes[0]
    asked = EduCohortParams(mode="compat", filter="none", source="arrays")
    assert "from published feature arrays" in EDU.build_cohort(tmp_path / "both", asked).notes[0]


def test_the_two_week_filter_needs_grades_that_arrays_do_not_have_but_the_rule_without_labels_works(arrays):
    with pytest.raises(CohortError, match=r'needs grades, and feature arrays hold none.*"no_submission" or "none"'):
        EDU.build_cohort(arrays, EduCohortParams(mode="compat"))
    cohort = EDU.build_cohort(arrays, EduCohortParams(mode="compat", filter="no_submission"))
    assert cohort.excluded["two-week filter (no_submission)"] > 0


def test_arrays_that_were_filtered_before_are_not_filtered_again_and_the_bias_is_told(arrays):
    for path in arrays.glob("*/feature_labels.csv"):
        labels = pd.read_csv(path)
        labels.insert(0, "Unnamed: 0", np.arange(len(labels)))
        labels.to_csv(path, index=False)
    cohort = EDU.build_cohort(arrays, EduCohortParams(mode="compat"))
    assert not cohort.excluded and any("Selection bias" in note for note in cohort.notes)


def test_addresses_in_names_are_cleaned():
    assert clean_name("time_<function mean at 0x7f2a10>_x") == "time_mean_x"
    assert clean_name("TotalClicks") == "TotalClicks"


def _no_array(folder: Path) -> None:
    np.savez(folder / "feature_values.npz", other=np.zeros((2, 2, 13)))


def _pickled(folder: Path) -> None:
    np.savez(folder / "feature_values.npz", feature_values=np.array([[[{"a": 1}] * 13]], dtype=object))


def _no_zip(folder: Path) -> None:
    (folder / "feature_values.npz").write_bytes(b"\x80\x04not a zip")


def _narrow(folder: Path) -> None:
    np.savez(folder / "feature_values.npz", feature_values=np.zeros((2, 10, 12)))


def _infinite(folder: Path) -> None:
    np.savez(folder / "feature_values.npz", feature_values=np.full((2, 10, 13), np.inf))


def _short(folder: Path) -> None:
    labels = pd.read_csv(folder / "feature_labels.csv")
    labels.iloc[:-1].to_csv(folder / "feature_labels.csv", index=False)


def _other_students(folder: Path) -> None:
    labels = pd.read_csv(folder / "feature_labels.csv")
    labels["label-grade"] += 1
    labels.to_csv(folder / "feature_labels.csv", index=False)


def _no_label(folder: Path) -> None:
    pd.read_csv(folder / "feature_labels.csv").drop(columns="label-pass-fail").to_csv(
        folder / "feature_labels.csv", index=False
    )


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda f: (f / "feature_values.npz").unlink(), RawFileError, "feature_values.npz is missing"),
        (lambda f: (f / "feature_labels.csv").unlink(), RawFileError, "feature_labels.csv is missing"),
        (_no_array, ContractError, "no array 'feature_values'"),
        (_pickled, RawFileError, "no sound npz file of plain numbers"),
        (_no_zip, RawFileError, "no sound npz file of plain numbers"),
        (_narrow, ContractError, r"expected floats \(students, weeks, 13\)"),
        (_infinite, ContractError, "260 of 260 values are infinite"),
        (_short, ContractError, "in the labels"),
        (_other_students, ContractError, "not those of the other sets"),
        (_no_label, ContractError, "column 'label-pass-fail' missing"),
        (lambda f: (f / "settings.txt").write_text("{"), ContractError, "not JSON"),
        (
            lambda f: (f / "settings.txt").write_text('{"feature_names": ["a"]}'),
            ContractError,
            "1 feature_names for 13",
        ),
        (lambda f: shutil.rmtree(f), RawFileError, "no video_event/ or problem_event/ folder"),
    ],
)
def test_arrays_that_are_not_as_promised_are_refused(arrays, spoil, error, message):
    spoil(arrays / CHEN)
    with pytest.raises(error, match=message):
        EDU.build_cohort(arrays, PARAMS)


def test_a_course_that_is_not_among_the_arrays_is_named(arrays):
    with pytest.raises(MmnError, match="dsp_001"):
        EDU.build_cohort(arrays, EduCohortParams(mode="compat", source="arrays", course="dsp-002"))
