"""Bad input for EDU: each fault is named with its place and its count, and no value of a student's is shown."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmn.data.edu import EDU
from mmn.data.edu.params import EduCohortParams, reading_steps
from mmn.data.edu.prepared import prepare
from mmn.data.edu.reader import read_course
from mmn.data.edu.students import read_students
from mmn.data.errors import CohortError, ContractError, RawFileError
from mmn.data.manifest import make_manifest

NONE = EduCohortParams(filter="none")
PIECE = 1 << 16


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    raw = tmp_path_factory.mktemp("edu") / "raw"
    EDU.generate(raw, "tiny", 9)
    return raw


@pytest.fixture
def raw(world, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(world, tmp_path / "raw"))


def edit(raw: Path, name: str, change) -> None:
    path = raw / "metadata.csv" if name == "metadata" else raw / name / "dsp-001.csv.gz"
    texts = {"user_id": str, "id": str, "video_id": str, "problem_id": str}
    change(pd.read_csv(path, dtype=texts)).to_csv(path, index=False)


def text_of(raw: Path, name: str) -> tuple[Path, str]:
    path = raw / name / "dsp-001.csv.gz"
    return path, gzip.decompress(path.read_bytes()).decode()


def where(column: str, rows, value):
    return lambda frame: frame.assign(**{column: frame[column].astype(object).where(~frame.index.isin(rows), value)})


def test_a_log_cut_short_anywhere_is_refused_by_reader_table_and_manifest(raw):
    path = raw / "video_event" / "dsp-001.csv.gz"
    whole = path.read_bytes()
    cuts = [*range(PIECE, len(whole), PIECE), 100, len(whole) - 1]
    assert len(cuts) > 3
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(RawFileError, match=r"cut short|unreadable"):
            read_students(read_course(raw))
        with pytest.raises(RawFileError):
            make_manifest(raw, EDU.sources["video_events"], version="x")
    with pytest.raises(RawFileError, match=r"cut short|unreadable"):
        prepare(raw, "events", raw / "events.parquet", {}, lambda done, total: None)
    assert not (raw / "events.parquet").exists()


def test_line_ends_marks_and_further_columns_change_nothing(raw, world):
    for name in ("video_event", "problem_event", "forum_event", "schedule", "grade"):
        path, text = text_of(raw, name)
        lines = text.splitlines()
        lines = [lines[0] + ",remark", *(line + ',"two\nlines, and a comma"' for line in lines[1:])]
        path.write_bytes(gzip.compress(("\ufeff" + "\r\n".join(lines) + "\r\n").encode()))
    spoilt, plain = (EDU.build_cohort(folder, NONE) for folder in (raw, world))
    pd.testing.assert_frame_equal(spoilt.items, plain.items)
    for task in plain.targets:
        np.testing.assert_array_equal(spoilt.targets[task], plain.targets[task])


def test_a_row_of_another_width_is_refused_and_counted(raw):
    path, text = text_of(raw, "problem_event")
    lines = text.splitlines()
    lines[10] += ",9"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(RawFileError, match=r"a row has 8 fields where the header has 7; .* of another version"):
        read_students(read_course(raw))


@pytest.mark.parametrize(("table", "cell"), [("video_event", '"Video.Load"'), ("grade", '"Failed"')])
def test_a_quotation_mark_left_open_is_refused_and_swallows_no_row(raw, table, cell):
    """In the middle of a row and at its end, where the next rows would become one long cell."""
    path, text = text_of(raw, table)
    path.write_bytes(gzip.compress(text.replace(cell, cell[:-1], 1).encode()))
    with pytest.raises(RawFileError, match=r"a quotation mark is open there|fields where the header has"):
        read_students(read_course(raw))


def test_a_column_that_is_there_twice_is_refused(raw):
    path, text = text_of(raw, "grade")
    lines = text.splitlines()
    lines = [lines[0] + ",grade", *(line + ",1" for line in lines[1:])]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(ContractError, match="column 'grade' is there twice"):
        read_course(raw)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("video_event", "timestamp", np.inf), ("video_event", "timestamp", -999.0),
        ("video_event", "timestamp", np.nan),
        ("video_event", "current_time", -999.0), ("video_event", "new_time", np.inf), ("video_event", "new_speed", 0.0),
        ("problem_event", "grade", np.inf), ("problem_event", "submission_number", 0.0),
        ("grade", "grade", -999.0), ("schedule", "duration", -999.0), ("schedule", "grade_max", np.inf),
        ("schedule", "type", "essay"), ("metadata", "weeks", 0.0),
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_refused_with_its_place_and_count_and_not_shown(raw, table, column, value):
    edit(raw, table, where(column, [0], value))
    with pytest.raises(ContractError, match=rf"'{column}' breaks .* in 1 of \d+ rows.*first in data row 1\b") as error:
        read_students(read_course(raw))
    assert "999" not in str(error.value) and error.value.__cause__ is None


def test_durations_in_minutes_are_refused(raw):
    edit(raw, "schedule", lambda frame: frame.assign(duration=frame["duration"] / 60))
    with pytest.raises(ContractError, match=r"\d+ of \d+ positions .* past the end of their video.*must be seconds"):
        read_students(read_course(raw))


@pytest.mark.parametrize(
    ("table", "column", "stream"), [("video_event", "video_id", "video"), ("problem_event", "problem_id", "problem")]
)
def test_ids_of_another_course_are_refused_and_a_few_strange_ones_are_counted(raw, table, column, stream):
    edit(raw, table, where(column, range(20, 400), "extra"))
    notes = EDU.build_cohort(raw, NONE).notes
    assert any(f"{stream} events are of a {stream} that the schedule does not have" in note for note in notes)
    edit(raw, table, lambda frame: frame.assign(**{column: "v" + frame[column]}))
    with pytest.raises(ContractError, match=rf"\d+ of \d+ rows name a {stream} that is not in .*schedule"):
        EDU.build_cohort(raw, NONE)


def test_grades_of_other_students_leave_nobody_and_the_error_says_so(raw):
    edit(raw, "grade", lambda frame: frame.assign(user_id="x" + frame["user_id"]))
    with pytest.raises(CohortError, match=r"no student has both a grade row and .*Compare the user_id"):
        EDU.build_cohort(raw, NONE)


def test_dates_that_miss_the_log_leave_nobody_and_count_the_clicks(raw):
    edit(raw, "metadata", lambda frame: frame.assign(start_date="2014-02-18", end_date="2014-04-29"))
    edit(raw, "schedule", lambda frame: frame.assign(date=frame["date"].str.replace("2013", "2014")))
    with pytest.raises(CohortError, match=r"outside the course's dates.: \d+"):
        EDU.build_cohort(raw, NONE)


def test_a_course_of_one_student_or_one_outcome_is_refused_where_folds_need_more(raw):
    edit(raw, "grade", lambda frame: frame.iloc[:8])
    with pytest.raises(CohortError, match="too few for 5 folds"):
        EDU.build_cohort(raw, NONE)


def test_a_log_without_a_video_event_leaves_the_other_modality_whole(raw):
    edit(raw, "video_event", lambda frame: frame.iloc[:0])
    cohort = EDU.build_cohort(raw, NONE)
    blocks = list(EDU.read_evidence(raw, "video", cohort, NONE).blocks())
    assert {0} & set(np.concatenate([block.stream for block in blocks])) == set()


def test_dates_that_end_before_they_begin_are_refused(raw):
    edit(raw, "metadata", lambda frame: frame.assign(end_date="2013-02-01"))
    with pytest.raises(ContractError, match="ends on or before the day it starts"):
        read_course(raw)


def test_without_a_pass_mark_or_a_threshold_no_label_is_made_up(raw):
    edit(raw, "grade", lambda frame: frame.drop(columns="pass-fail"))
    edit(raw, "metadata", lambda frame: frame.drop(columns="grade_thr"))
    with pytest.raises(CohortError, match=r"no column pass-fail, and metadata\.csv no grade_thr"):
        EDU.build_cohort(raw, NONE)


def test_a_schedule_without_an_early_graded_problem_cannot_be_filtered_by_grades(raw):
    edit(raw, "schedule", lambda frame: frame.assign(grade_max=np.nan))
    with pytest.raises(CohortError, match=r"graded problem in the first 2 weeks.*filter to .none."):
        EDU.build_cohort(raw, EduCohortParams())
    target = EDU.build_cohort(raw, NONE).targets["next_week_performance"]
    assert np.nanmax(target) == 0  # no performance can be measured: 0, as where nothing was handed in


def test_no_event_later_than_the_read_week_moves_what_is_known_until_then(raw):
    """Every click of week 6 and later is put an hour later: targets of the past and early grades stay."""
    border = pd.Timestamp("2013-04-01", tz="UTC").timestamp()
    before = EDU.build_cohort(raw, EduCohortParams(filter="crossfit"))
    for name in ("video_event", "problem_event", "forum_event"):
        edit(raw, name, lambda f: f.assign(timestamp=f["timestamp"] + 3600 * (f["timestamp"] >= border)))
    after = EDU.build_cohort(raw, EduCohortParams(filter="crossfit"))
    assert list(after.items["item"]) == list(before.items["item"])
    np.testing.assert_array_equal(
        after.targets["next_week_performance"][:, :5], before.targets["next_week_performance"][:, :5]
    )


def test_the_steps_of_40_60_and_100_percent_are_those_of_the_paper():
    assert reading_steps(10) == {0.4: 3, 0.6: 5, 1.0: 9}
    assert reading_steps(8) == {0.4: 2, 0.6: 4, 1.0: 7}
    assert reading_steps(1, [0.1]) == {0.1: 0}
    with pytest.raises(ValueError, match="no share of a course"):
        reading_steps(10, [60])
