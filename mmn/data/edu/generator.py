"""A generated course in the real on-disk format, shaped like the paper's (`dsp-001`, 10 weeks from Monday 2013-02-18).

What is planted: each student's engagement (how long he stays, how much he clicks and submits) and ability (his grades),
both in `truth/`. Auditors watch, never submit in the first two weeks and hardly ever pass: the two-week filter should
find them. As in the true course, a good third is removed and 27 % of the rest pass. Clicks are heavy-tailed, activity
decays, videos are seen before their scheduled date. A few rows are faulty on purpose, so that the reader's counts are
not zero. The same size and seed give the same bytes.
"""

from __future__ import annotations

import gzip
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc

from mmn.data.edu.contracts import KEYS, TABLES, check_key, check_table
from mmn.data.edu.generated_clicks import (
    NUM_WEEKS,
    START,
    forum_events,
    make_students,
    make_visits,
    problem_events,
    video_events,
    with_faults,
)
from mmn.data.errors import ParamsError
from mmn.data.evidence import CLICK_STREAMS
from mmn.data.files import atomic_path, write_json
from mmn.data.manifest import TRUTH_FILE

COURSE = "dsp-001"
NUM_STUDENTS = {"tiny": 120, "demo": 700, "dsp": 8_870, "medium": 8_700}
CHUNK = 4_000
VIDEOS_PER_WEEK = 7
PROBLEM_POINTS = (10.0, 5.0, 5.0)  # of the problems of each week: a quiz and two assignment parts
PASS_SHARE = 0.73  # of all points


def generate(raw: Path, size: str, seed: int) -> None:
    """Raises ParamsError for an unknown size. "dsp" is the paper's course: so many students that about
    8,679 ever click, and a player that logs nothing but Video.Load."""
    if size not in NUM_STUDENTS:
        raise ParamsError(f"edu: unknown size '{size}'; known: {', '.join(NUM_STUDENTS)}.")
    write_world(raw, NUM_STUDENTS[size], seed, size=size, load_only=size == "dsp")


def write_world(
    raw: Path, num_students: int, seed: int, *, size: str = "custom", load_only: bool = False, restless: float = 1.0,
    plain: bool = False,
) -> None:  # fmt: skip
    """load_only: the player logs nothing but Video.Load, and no position. restless: times the usual number of player
    actions per video. plain: csv, not csv.gz. Students are made CHUNK at a time, so that memory does not grow with
    them; the rows of one chunk are in time order."""
    rng = np.random.default_rng(seed)
    schedule = _schedule(rng)
    users = (100_000 + rng.choice(8_900_000, size=num_students, replace=False)).astype(str)
    suffix = ".csv" if plain else ".csv.gz"
    num_events: Counter[str] = Counter()
    grades, truth = [], []
    with ExitStack() as files:
        logs = {
            stream: files.enter_context(_Csv(raw / f"{stream}_event" / f"{COURSE}{suffix}", f"{stream}_event"))
            for stream in CLICK_STREAMS
        }
        for chunk, begin in enumerate(range(0, num_students, CHUNK)):
            rng = np.random.default_rng([seed, chunk])
            students = make_students(rng, users[begin : begin + CHUNK], restless)
            visits = make_visits(rng, students, schedule)
            video = video_events(rng, students, schedule, visits[visits["stream"] == "video"])
            problem = problem_events(rng, students, schedule, visits[visits["stream"] == "problem"])
            grades.append(_grades(rng, students, schedule, problem, 9_000_000 + begin))
            truth.append(students[["user_id", "engagement", "ability", "auditor", "last_week"]].round(6))
            forum = forum_events(rng, students, visits)
            video, problem = with_faults(rng, video, problem)
            if load_only:
                video = video[video["event_type"] == "Video.Load"].assign(current_time=np.nan)
            for stream, frame in (("video", video), ("problem", problem), ("forum", forum)):
                order = np.lexsort((frame["user_id"].to_numpy(dtype=object), frame["timestamp"].to_numpy()))
                logs[stream].write(frame.iloc[order])
                num_events[stream] += len(frame)
    final = pd.concat(grades, ignore_index=True)
    for table, frame in (("schedule", schedule.drop(columns=["week", "quiz"])), ("grade", final)):
        with _Csv(raw / table / f"{COURSE}{suffix}", table) as file:
            file.write(frame)
    with _Csv(raw / "metadata.csv", "metadata") as file:
        file.write(_metadata())
    with _Csv(raw / "truth" / f"{COURSE}{suffix}") as file:
        file.write(pd.concat(truth, ignore_index=True))
    write_json(
        raw / TRUTH_FILE,
        {
            "generated": True,
            "dataset": "edu",
            "size": size,
            "seed": seed,
            "num_students": num_students,
            "num_events": dict(num_events),
            "pass_share": round(float((final["pass-fail"] == "Passed").mean()), 4),
            "load_only": load_only,
            "truth": "truth/ holds each student's planted engagement and ability.",
        },
    )


def _schedule(rng: np.random.Generator) -> pd.DataFrame:
    """Videos and problems share their numbers (1, 2, ...), as the real ones do. Dates are the week's last minute."""
    week = np.repeat(np.arange(NUM_WEEKS), VIDEOS_PER_WEEK)
    videos = pd.DataFrame(
        {
            "id": np.arange(1, len(week) + 1).astype(str),
            "type": "video",
            "week": week,
            "chapter": week + 1,
            "subchapter": np.tile(np.arange(1, VIDEOS_PER_WEEK + 1), NUM_WEEKS),
            "duration": rng.integers(300, 1200, len(week)).astype(float),
            "grade_max": np.nan,
            "quiz": False,
        }
    )
    week = np.repeat(np.arange(NUM_WEEKS), len(PROBLEM_POINTS))
    problems = pd.DataFrame(
        {
            "id": np.arange(1, len(week) + 1).astype(str),
            "type": "problem",
            "week": week,
            "chapter": week + 1,
            "subchapter": np.tile(np.arange(1, len(PROBLEM_POINTS) + 1), NUM_WEEKS),
            "duration": np.nan,
            "grade_max": np.tile(PROBLEM_POINTS, NUM_WEEKS),
            "quiz": np.tile(np.arange(len(PROBLEM_POINTS)) == 0, NUM_WEEKS),
        }
    )
    schedule = pd.concat([videos, problems], ignore_index=True)
    due = START + pd.to_timedelta(schedule["week"] * 7 + 6, unit="D")
    schedule["date"] = due.dt.strftime("%Y-%m-%d") + " 23:59:00"
    return schedule


def _grades(
    rng: np.random.Generator, students: pd.DataFrame, schedule: pd.DataFrame, problem: pd.DataFrame, ghost: int
) -> pd.DataFrame:
    """The final grade is the share of all points, of 100. Some who enrolled never came: a row, and no event; their ids
    begin at `ghost`."""
    best = problem.groupby(["user_id", "problem_id"])["grade"].max().groupby("user_id").sum()
    share = best.reindex(students["user_id"], fill_value=0.0).to_numpy() / schedule["grade_max"].sum()
    never_came = (ghost + np.arange(len(students) // 50)).astype(str)
    share = np.concatenate([share, np.zeros(len(never_came))])
    grades = pd.DataFrame(
        {
            "user_id": np.concatenate([students["user_id"].to_numpy(dtype=object), never_came.astype(object)]),
            "grade": np.round(100 * share, 2),
            "date": "2013-05-06",
            "pass-fail": np.where(share >= PASS_SHARE, "Passed", "Failed"),
        }
    )
    return grades.iloc[rng.permutation(len(grades))].reset_index(drop=True)


def _metadata() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "course_id": [COURSE],
            "title": ["Digital Signal Processing (generated)"],
            "start_date": ["2013-02-18"],
            "end_date": ["2013-04-29"],
            "weeks": [float(NUM_WEEKS)],
            "grade_thr": [PASS_SHARE],
            "grade_max": [100.0],
        }
    )


class _Csv:
    """csv, or csv.gz without a time stamp, so that the same tables give the same bytes; each part is checked by the
    contract of `table`. It takes its place when it is whole."""

    def __init__(self, path: Path, table: str | None = None) -> None:
        self._path, self._table = path, table
        self._stack = ExitStack()
        self._empty = True

    def __enter__(self) -> _Csv:
        temporary = self._stack.enter_context(atomic_path(self._path))
        self._stream: IO[bytes] | gzip.GzipFile = self._stack.enter_context(temporary.open("wb"))
        if self._path.suffix == ".gz":
            packed = gzip.GzipFile(filename="", fileobj=self._stream, mode="wb", compresslevel=6, mtime=0)
            self._stream = self._stack.enter_context(packed)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, frame: pd.DataFrame) -> None:
        frame = frame.reset_index(drop=True)
        texts = {name: frame[name].astype("str") for name in frame if not pd.api.types.is_numeric_dtype(frame[name])}
        frame = frame.assign(**texts)
        if self._table:
            check_table(frame, TABLES[self._table], str(self._path))
            if self._table in KEYS:
                check_key(frame, self._table, str(self._path))
        if self._empty:
            self._stream.write((",".join(frame.columns) + "\n").encode())
            self._empty = False
        whole = {name: "int64" for name in ("timestamp", "submission_number") if name in frame}
        content = pa.Table.from_pandas(frame.astype(whole), preserve_index=False)
        pc.write_csv(content, self._stream, pc.WriteOptions(include_header=False, quoting_style="needed"))
