"""EDU's reader: what it keeps, what it counts, and what it says of bad files."""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import Cohort
from mmn.data.edu import EDU
from mmn.data.edu.clicks import read_clicks
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.prepared import prepare
from mmn.data.edu.reader import read_course
from mmn.data.edu.students import read_students
from mmn.data.errors import CohortError, ContractError, MmnError, RawFileError
from mmn.data.evidence import CLICK_STREAMS
from mmn.data.manifest import files_of, make_manifest

COURSE = "dsp-001"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    raw = tmp_path_factory.mktemp("edu") / "raw"
    EDU.generate(raw, "tiny", 3)
    return raw


@pytest.fixture
def raw(world, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(world, tmp_path / "raw"))


def table(raw: Path, name: str) -> Path:
    return raw / "metadata.csv" if name == "metadata" else raw / name / f"{COURSE}.csv.gz"


def log_of(raw: Path, course: str = "", **settings) -> pd.DataFrame:
    """The clean log of everyone with a grade row."""
    return blocks_of(raw, course, **settings)[0]


def read_all(raw: Path) -> None:
    """Every table, as the cohort does; and the log again, as the prepared table does: both must refuse alike."""
    with pytest.raises(MmnError) as first:
        read_students(read_course(raw))
    try:
        prepare(raw, "events", raw.parent / "events.parquet", {}, lambda done, total: None)
    except MmnError as error:
        assert str(error) == str(first.value)
    assert not list(raw.parent.glob(".*.tmp"))
    raise first.value


def blocks_of(raw: Path, course: str = "", block_rows: int = 1 << 19, mode: str = "clean"):
    students = read_students(read_course(raw, course, mode=mode))
    users = students.course.users.to_numpy()
    items = pd.DataFrame({"item": users, "course": students.course.name})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame(), num_steps=students.course.weeks)
    evidence = read_clicks(raw, cohort, EduCohortParams(mode=mode), {}, block_rows)
    blocks = list(evidence.blocks())
    names = ("item", "week", "time", "stream", "event", "content")
    frames = [pd.DataFrame({**{n: getattr(block, n) for n in names}, **block.facts}) for block in blocks]
    counts = sum((Counter(block.quarantined) for block in blocks), Counter())
    log = pd.concat(frames, ignore_index=True)
    return log.assign(item=users[log["item"]], stream=np.array(CLICK_STREAMS)[log["stream"]]), counts, students


def edit(raw: Path, name: str, change) -> None:
    path = table(raw, name)
    frame = pd.read_csv(path, dtype={"user_id": str, "id": str, "video_id": str, "problem_id": str})
    change(frame).to_csv(path, index=False)


def test_every_click_is_kept_or_counted(world):
    log, counts, students = blocks_of(world)
    for stream in ("video", "problem", "forum"):
        total = len(pd.read_csv(table(world, f"{stream}_event")))
        kept = int((log["stream"] == stream).sum())
        counted = sum(n for reason, n in counts.items() if reason.startswith(f"{stream} events"))
        assert kept + counted == total
    assert students.quarantined == dict(counts)  # the cohort's pass and the features' count the same
    assert {reason.split(": ")[1] for reason in counts} >= {
        "outside the course's dates", "of a type that is not used", "student without a grade row", "repeated",
    }  # fmt: skip


def test_the_log_is_sorted_and_lies_in_the_weeks_of_the_course(world):
    course = read_course(world)
    log = log_of(world)
    assert course.start == pd.Timestamp("2013-02-18") and course.num_weeks == 10
    assert log["week"].between(0, 9).all()
    assert ((log["time"] - course.start.timestamp()) // (7 * 86_400) == log["week"]).all()
    assert (log.groupby("item")["time"].diff().dropna() >= 0).all()
    assert (log["item"] != log["item"].shift()).sum() == log["item"].nunique()  # a student's clicks lie together


def test_a_video_and_a_problem_may_share_a_number(world):
    schedule = read_course(world).schedule
    assert schedule["content"].duplicated().any() and not schedule.duplicated(["stream", "content"]).any()


def test_two_students_may_submit_in_the_same_second_but_one_may_not_twice(raw):
    def change(frame):
        first = frame.iloc[[0]]
        other = frame[frame["user_id"] != first["user_id"].iloc[0]]["user_id"].iloc[0]
        return pd.concat([frame, first, first.assign(user_id=other)])

    before, counts, _ = blocks_of(raw)
    edit(raw, "problem_event", change)
    after, counts_after, _ = blocks_of(raw)
    assert len(after) == len(before) + 1
    assert counts_after["problem events: repeated"] == counts["problem events: repeated"] + 1
    # The published cleaning leaves the student out: of the two, whose row comes first in the file keeps it.
    published, counts_published, _ = blocks_of(raw, mode="compat")
    assert counts_published["problem events: repeated"] > counts_after["problem events: repeated"]
    assert len(published) < len(after)


def test_ids_that_pandas_wrote_as_floats_are_repaired(raw, world):
    edit(raw, "video_event", lambda frame: frame.assign(video_id=frame["video_id"].astype(float)))
    pd.testing.assert_frame_equal(log_of(raw), log_of(world))


@pytest.mark.parametrize("depth", ["", "coursera", "data/course/mooc/coursera"])
def test_the_course_is_found_within_four_levels(world, tmp_path, depth):
    raw = tmp_path / "outer"
    shutil.copytree(world, raw / depth)
    assert EDU.inspect(raw).problem is None
    assert len(log_of(raw)) == len(log_of(world))
    for source, patterns in EDU.sources.items():
        assert len(files_of(raw, patterns)) == {"video_events": 1, "problem_events": 1, "course": 4}[source]
        make_manifest(raw, patterns, version="x")


def test_plain_csv_reads_as_compressed_does(raw, world):
    path = table(raw, "video_event")
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    pd.testing.assert_frame_equal(log_of(raw), log_of(world))


def test_a_course_without_a_forum_is_whole(raw):
    shutil.rmtree(raw / "forum_event")
    assert EDU.inspect(raw).problem is None
    assert set(log_of(raw)["stream"]) == {"video", "problem"}


def test_weeks_come_from_the_dates_where_the_metadata_has_none(raw):
    edit(raw, "metadata", lambda frame: frame.drop(columns="weeks").assign(end_date="2013-04-28"))
    assert read_course(raw).num_weeks == 10


def test_inspection_tells_a_generated_world(world):
    inspection = EDU.inspect(world)
    assert inspection.generated and inspection.problem is None and COURSE in inspection.version


def test_several_courses_ask_for_a_choice(raw):
    for name in ("video_event", "problem_event", "schedule", "grade"):
        shutil.copy(table(raw, name), raw / name / "dsp-002.csv.gz")
    with pytest.raises(CohortError, match=r"2 courses.*dsp-001, dsp-002.*edu\.cohort\.course"):
        read_course(raw)
    assert read_course(raw, COURSE).name == COURSE
    with pytest.raises(ContractError, match="no row with course_id 'dsp-002'"):
        read_course(raw, "dsp-002")
    with pytest.raises(CohortError, match=r"'nope'.*dsp-001, dsp-002"):
        read_course(raw, "nope")


def test_an_empty_folder_says_what_belongs_there(tmp_path):
    assert "video_event/COURSE.csv" in str(EDU.inspect(tmp_path).problem)
    with pytest.raises(RawFileError, match="no video_event/ or problem_event/ folder within 4 levels"):
        read_course(tmp_path)


def test_a_missing_table_is_named(raw):
    shutil.rmtree(raw / "schedule")
    (raw / "metadata.csv").unlink()
    with pytest.raises(RawFileError, match=r"lacks schedule/, metadata\.csv"):
        read_course(raw)
    assert "lacks schedule/, metadata.csv" in str(EDU.inspect(raw).problem)


def test_a_table_that_is_there_twice_is_refused(raw):
    path = table(raw, "grade")
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    with pytest.raises(RawFileError, match="both there"):
        read_course(raw)
    assert "both there" in str(EDU.inspect(raw).problem)


@pytest.mark.parametrize(
    ("name", "column"),
    [("video_event", "current_time"), ("problem_event", "grade"), ("schedule", "date"), ("grade", "user_id"),
     ("metadata", "start_date")],
)  # fmt: skip
def test_a_missing_column_is_named(raw, name, column):
    edit(raw, name, lambda frame: frame.drop(columns=column))
    with pytest.raises(ContractError, match=f"column '{column}' missing"):
        read_all(raw)


@pytest.mark.parametrize(("factor", "unit"), [(1_000, "milliseconds"), (1_000_000, "microseconds")])
def test_timestamps_in_another_unit_are_refused_by_name(raw, factor, unit):
    edit(raw, "video_event", lambda frame: frame.assign(timestamp=frame["timestamp"] * factor))
    with pytest.raises(ContractError, match=f"'timestamp' is in {unit}, Unix seconds"):
        read_all(raw)


@pytest.mark.parametrize(("name", "key"), [("schedule", "id, type"), ("grade", "user_id")])
def test_a_repeated_key_is_refused(raw, name, key):
    edit(raw, name, lambda frame: pd.concat([frame, frame.iloc[[4]]]))
    with pytest.raises(ContractError, match="repeat the key") as error:
        read_all(raw)
    assert key in str(error.value)


def test_a_truncated_gzip_is_refused(raw):
    path = table(raw, "video_event")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(RawFileError, match="cut short"):
        read_all(raw)


def test_a_value_out_of_range_is_placed_but_not_shown(raw):
    edit(raw, "problem_event", lambda frame: frame.assign(grade=frame["grade"].where(frame.index != 6, -777.0)))
    with pytest.raises(ContractError, match=r"'grade' breaks .* in 1 of .*first in data row 7") as error:
        read_all(raw)
    assert "777" not in str(error.value) and error.value.__cause__ is None


def test_text_in_a_number_column_is_named_but_not_shown(raw):
    def change(frame):
        frame["timestamp"] = frame["timestamp"].astype(object)
        frame.loc[3, "timestamp"] = "SECRET"
        return frame

    edit(raw, "problem_event", change)
    with pytest.raises(ContractError, match="column 'timestamp' of problem_event") as error:
        read_all(raw)
    assert "SECRET" not in str(error.value)


def test_an_unreadable_date_is_refused(raw):
    edit(raw, "schedule", lambda frame: frame.assign(date=frame["date"].where(frame.index != 2, "24/02/2013")))
    with pytest.raises(ContractError, match=r"'date': 1 of .* unreadable, the first in data row 3"):
        read_course(raw)


def test_a_log_with_a_header_and_no_row_is_an_empty_log(raw):
    edit(raw, "forum_event", lambda frame: frame.iloc[:0])
    edit(raw, "video_event", lambda frame: frame.iloc[:0])
    assert set(log_of(raw)["stream"]) == {"problem"}
    edit(raw, "grade", lambda frame: frame.iloc[:0])
    with pytest.raises(ContractError, match="a header and no row"):
        read_course(raw)


@pytest.mark.parametrize("name", ["video_event", "grade"])
def test_a_file_of_no_bytes_is_refused(raw, name):
    table(raw, name).unlink()
    table(raw, name).with_suffix("").write_text("")
    with pytest.raises(MmnError, match="empty"):
        read_all(raw)
