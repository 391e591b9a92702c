"""The prepared click log: its order and bytes, the blocks that are read from it, and the published cleaning."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import mmn.data.edu.prepared as module
from mmn.data.cohort import write_cohort
from mmn.data.dataset import Inspection
from mmn.data.edu import EDU
from mmn.data.edu.clicks import read_clicks
from mmn.data.edu.generator import write_world
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.prepared import SCHEMA, prepare
from mmn.data.edu.reader import read_course
from mmn.data.edu.sorted_log import SortedLog, pieces
from mmn.data.edu.students import read_students
from mmn.data.errors import ParamsError, RawFileError, StaleInputError
from mmn.data.evidence import CLICK_FACTS
from mmn.data.files import read_provenance, version_of
from mmn.featurizers.weekly_clicks import WEEKLY_CLICKS, WeeklyClicksParams
from mmn.orchestration.steps import Active, build_steps

STREAMS = ("video_event", "problem_event", "forum_event")


def quiet(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    raw = tmp_path_factory.mktemp("edu") / "raw"
    write_world(raw, 120, 3)
    return raw


@pytest.fixture(scope="module")
def table(world) -> Path:
    path = world.parent / "events.parquet"
    prepare(world, "events", path, {"by": "test"}, quiet)
    return path


def test_every_row_of_every_log_is_there_by_course_student_and_time(world, table):
    frame = pq.read_table(table).to_pandas()
    total = sum(len(pd.read_csv(world / stream / "dsp-001.csv.gz")) for stream in STREAMS)
    assert len(frame) == total and list(frame) == SCHEMA.names
    keys = frame[["course", "user_id", "time", "stream", "row"]]
    pd.testing.assert_frame_equal(keys, keys.sort_values(list(keys), ignore_index=True))
    raw = pd.read_csv(world / "video_event" / "dsp-001.csv.gz", dtype={"user_id": str})
    mine = frame[frame["stream"] == 0].sort_values("row")
    assert list(mine["user_id"]) == list(raw["user_id"])
    np.testing.assert_array_equal(mine["time"] / 1e6, raw["timestamp"])
    np.testing.assert_array_equal(mine["new_time"], raw["new_time"])
    assert read_provenance(table) == {"by": "test"}


@pytest.mark.parametrize(("name", "value"), [("SORT_MEMORY", "64MB"), ("ROW_GROUP", None)])
def test_the_same_log_gives_the_same_bytes_whatever_memory_there_is_to_sort_in(
    world, table, tmp_path, monkeypatch, name, value
):
    if value:
        monkeypatch.setattr(module, name, value)
    prepare(world, "events", tmp_path / "again.parquet", {"by": "test"}, quiet)
    assert version_of(tmp_path / "again.parquet") == version_of(table)


def test_progress_reaches_its_end_and_nothing_is_left_lying(world, tmp_path):
    seen = []
    prepare(world, "events", tmp_path / "a" / "events.parquet", {}, lambda *at: seen.append(at))
    assert seen == sorted(seen) and seen[-1] == (100, 100)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["events.parquet"]


def test_courses_share_the_table_and_each_reads_its_own(world, tmp_path):
    raw = Path(shutil.copytree(world, tmp_path / "raw"))
    for name in ("video_event", "problem_event", "schedule", "grade"):
        shutil.copy(raw / name / "dsp-001.csv.gz", raw / name / "dsp-002.csv.gz")
    metadata = pd.read_csv(raw / "metadata.csv")
    pd.concat([metadata, metadata.assign(course_id="dsp-002")]).to_csv(raw / "metadata.csv", index=False)
    prepare(raw, "events", tmp_path / "events.parquet", {}, quiet)
    sizes = {}
    for course in ("dsp-001", "dsp-002"):
        params = EduCohortParams(course=course, filter="none")
        cohort = EDU.build_cohort(raw, params)
        evidence = EDU.read_evidence(raw, "video", cohort, params, {"events": tmp_path / "events.parquet"})
        sizes[course] = sum(len(block.item) for block in evidence.blocks())
    forum = len(pd.read_csv(raw / "forum_event" / "dsp-001.csv.gz"))
    assert 0 < sizes["dsp-001"] - sizes["dsp-002"] <= forum


@pytest.mark.parametrize("mode", ["clean", "compat"])
def test_blocks_hold_whole_students_and_the_features_do_not_depend_on_their_size(
    world, table, mode, monkeypatch, tmp_path
):
    monkeypatch.setattr(module, "ROW_GROUP", 501)
    prepare(world, "events", tmp_path / "small.parquet", {}, quiet)
    params = EduCohortParams(mode=mode, filter="no_submission")
    cohort = EDU.build_cohort(world, params)
    found = []
    for path, rows in (
        (table, 1 << 19),
        (table, 1),
        (tmp_path / "small.parquet", 1),
        (tmp_path / "small.parquet", 3_000),
    ):
        evidence = read_clicks(world, cohort, params, {"events": path}, rows)
        blocks = list(evidence.blocks())
        students = [set(block.item) for block in blocks]
        assert sum(map(len, students)) == len(set.union(*students)) == len(cohort)
        counts = sum((Counter(block.quarantined) for block in blocks), Counter())
        made = [
            WEEKLY_CLICKS.run(evidence, cohort, m, WeeklyClicksParams(mode=mode, leaky=True), quiet)
            for m in ("video", "problem")
        ]
        found.append((len(blocks), counts, made))
    assert len({number for number, _, _ in found}) > 2
    for _, counts, made in found[1:]:
        assert counts == found[0][1]
        for one, other in zip(made, found[0][2], strict=True):
            np.testing.assert_array_equal(one.embeddings.values, other.embeddings.values)
            assert one.card == other.card


def test_without_a_prepared_table_one_is_made_for_the_time_of_reading(world, table, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    params = EduCohortParams(filter="none")
    cohort = EDU.build_cohort(world, params)
    alone = EDU.read_evidence(world, "video", cohort, params)
    given = EDU.read_evidence(world, "video", cohort, params, {"events": table})
    for one, other in zip(alone.blocks(), given.blocks(), strict=True):
        for name in ("item", "week", "time", "stream", "event", "content"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name in CLICK_FACTS:
            np.testing.assert_array_equal(one.facts[name], other.facts[name])
    assert list(tmp_path.iterdir())
    del alone
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["clean", "compat"])
def test_the_cohort_of_the_prepared_table_has_the_bytes_of_the_one_that_makes_its_own(world, table, tmp_path, mode):
    params = EduCohortParams(mode=mode)
    write_cohort(tmp_path / "given", EDU.build_cohort(world, params, {"events": table}), {})
    write_cohort(tmp_path / "made", EDU.build_cohort(world, params), {})
    assert version_of(tmp_path / "given") == version_of(tmp_path / "made")


def test_the_cohort_is_read_from_the_prepared_table_and_not_from_the_logs(world, table, tmp_path):
    raw = Path(shutil.copytree(world, tmp_path / "raw"))
    for stream in STREAMS:
        (raw / stream / "dsp-001.csv.gz").write_bytes(b"")
    pd.testing.assert_frame_equal(
        EDU.build_cohort(raw, EduCohortParams(), {"events": table}).items,
        EDU.build_cohort(world, EduCohortParams()).items,
    )


def test_what_is_known_of_each_student_does_not_depend_on_the_size_of_the_blocks(world, table, monkeypatch):
    course = read_course(world)
    whole = read_students(course, SortedLog(table))
    monkeypatch.setattr("mmn.data.edu.students.pieces", partial(pieces, block_rows=1))
    single = read_students(course, SortedLog(table))
    for name in ("first", "active", "performance", "early", "silent"):
        np.testing.assert_array_equal(getattr(single, name), getattr(whole, name))
    assert (single.quarantined, single.unscheduled) == (whole.quarantined, whole.unscheduled)


def test_wrong_requests_and_stale_tables_are_refused(world, table, tmp_path):
    with pytest.raises(ParamsError, match="unknown prepared table 'clicks'; known: events"):
        prepare(world, "clicks", tmp_path / "x.parquet", {}, quiet)
    with pytest.raises(RawFileError, match="no course with all its tables"):
        prepare(tmp_path, "events", tmp_path / "x.parquet", {}, quiet)
    pq.write_table(pq.read_table(table).drop_columns("row"), tmp_path / "old.parquet")
    params = EduCohortParams(filter="none")
    cohort = EDU.build_cohort(world, params)
    with pytest.raises(StaleInputError, match="Prepare it again"):
        list(EDU.read_evidence(world, "video", cohort, params, {"events": tmp_path / "old.parquet"}).blocks())
    for mode in ("clean", "compat"):
        with pytest.raises(StaleInputError, match="Prepare it again"):
            EDU.build_cohort(world, EduCohortParams(mode=mode), {"events": tmp_path / "old.parquet"})


def test_in_compat_mode_the_weeks_end_with_the_last_event(world, tmp_path):
    raw = Path(shutil.copytree(world, tmp_path / "raw"))
    for stream in STREAMS:
        path = raw / stream / "dsp-001.csv.gz"
        frame = pd.read_csv(path, dtype={"user_id": str})
        frame[frame["timestamp"] < pd.Timestamp("2013-04-20", tz="UTC").timestamp()].to_csv(path, index=False)
    clean = read_students(read_course(raw)).course
    compat = read_students(read_course(raw, mode="compat")).course
    assert (clean.weeks, compat.weeks) == (10, 9)
    assert compat.schedule["week"].max() == 8
    assert compat.quarantined["schedule: outside the course's weeks"] == (clean.schedule["week"] == 9).sum()
    cohort = EDU.build_cohort(raw, EduCohortParams(mode="compat", filter="none"))
    assert cohort.num_steps == 9
    # The same clicks, the same weeks: what the two modes know of each student agrees.
    other = EDU.build_cohort(raw, EduCohortParams(filter="none"))
    np.testing.assert_array_equal(cohort.targets["stays_active"][:, :8], other.targets["stays_active"][:, :8])


@pytest.mark.parametrize("year", [2012, 2014, 2015, 2018])
def test_weeks_go_on_over_the_new_year_and_compat_loses_them_only_where_the_year_has_53_mondays(world, tmp_path, year):
    """A Monday-based count of the year, wrapped at 52. 2012 and 2018 have a 53rd Monday, on 31 December."""
    raw = Path(shutil.copytree(world, tmp_path / "raw"))
    start = pd.Timestamp(year, 12, 3)
    start += pd.Timedelta(days=(7 - start.weekday()) % 7)
    end = start + pd.Timedelta(weeks=10)
    facts = {"course_id": "dsp-001", "start_date": str(start.date()), "end_date": str(end.date()), "weeks": 10.0}
    pd.DataFrame([facts]).to_csv(raw / "metadata.csv", index=False)
    schedule = pd.read_csv(raw / "schedule" / "dsp-001.csv.gz")
    schedule.assign(date=str(start.date())).to_csv(raw / "schedule" / "dsp-001.csv.gz", index=False)
    days = np.arange(69) * 86_400_000_000 + start.to_datetime64().astype("datetime64[us]").astype("int64")
    clean, compat = (read_course(raw, mode=mode).week_of(days) for mode in ("clean", "compat"))
    np.testing.assert_array_equal(clean, np.arange(69) // 7)
    assert (clean == compat).all() == (year not in (2012, 2018))


def test_the_step_of_the_cohort_depends_on_the_prepared_table_and_on_no_log():
    steps = build_steps({"edu": Active(dataset=EDU, inspection=Inspection(version="any", found={}, skipped={}))})
    assert steps["cohorts/edu"].deps == ("raw/edu/course", "prepared/edu/events")
    assert set(steps["prepared/edu/events"].deps) == {f"raw/edu/{source}" for source in EDU.sources}
