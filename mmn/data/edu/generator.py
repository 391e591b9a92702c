"""A generated course in the real on-disk format, shaped like the paper's (`dsp-001`, 10 weeks from Monday 2013-02-18).

What is planted: each student's engagement (how long he stays, how much he clicks and submits) and ability (his grades),
both in `truth/`. Auditors watch, never submit in the first two weeks and hardly ever pass: the two-week filter should
find them. Clicks are heavy-tailed, activity decays, videos are seen before their scheduled date. A few rows are faulty
on purpose, so that the reader's counts are not zero. The same size and seed give the same bytes.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc

from mmn.data.edu.contracts import TABLES, check_key, check_table
from mmn.data.errors import ParamsError
from mmn.data.files import write_bytes, write_json
from mmn.data.manifest import TRUTH_FILE

COURSE = "dsp-001"
START = pd.Timestamp("2013-02-18")
NUM_WEEKS = 10
NUM_STUDENTS = {"tiny": 120, "demo": 700, "medium": 8_700}
VIDEOS_PER_WEEK = 7
PROBLEM_POINTS = (10.0, 5.0, 5.0)  # of the problems of each week: a quiz and two assignment parts
PASS_SHARE = 0.70  # of all points
MAX_SESSIONS = 3
_DAY = 86_400


def generate(raw: Path, size: str, seed: int) -> None:
    """Raises ParamsError for an unknown size."""
    if size not in NUM_STUDENTS:
        raise ParamsError(f"edu: unknown size '{size}'; known: {', '.join(NUM_STUDENTS)}.")
    write_world(raw, NUM_STUDENTS[size], seed, size=size)


def write_world(raw: Path, num_students: int, seed: int, *, size: str = "custom", load_only: bool = False) -> None:
    """load_only: the player logs nothing but Video.Load, as the paper's course does."""
    rng = np.random.default_rng(seed)
    schedule = _schedule(rng)
    students = _students(rng, num_students)
    visits = _visits(rng, students, schedule)
    video = _video_events(rng, students, schedule, visits[visits["stream"] == "video"])
    problem = _problem_events(rng, students, schedule, visits[visits["stream"] == "problem"])
    grades = _grades(rng, students, schedule, problem)
    forum = _forum_events(rng, students, visits)
    video, problem = _with_faults(rng, video, problem)
    if load_only:
        video = video[video["event_type"] == "Video.Load"]

    for table, frame in (("video_event", video), ("problem_event", problem), ("forum_event", forum)):
        order = np.lexsort((frame["user_id"].to_numpy(dtype=object), frame["timestamp"].to_numpy()))
        _write(raw / table / f"{COURSE}.csv.gz", frame.iloc[order], table)
    _write(raw / "schedule" / f"{COURSE}.csv.gz", schedule.drop(columns=["week", "quiz"]), "schedule")
    _write(raw / "grade" / f"{COURSE}.csv.gz", grades, "grade")
    _write(raw / "metadata.csv", _metadata(), "metadata")
    truth = students[["user_id", "engagement", "ability", "auditor", "last_week"]].round(6)
    _write(raw / "truth" / f"{COURSE}.csv.gz", truth)
    write_json(
        raw / TRUTH_FILE,
        {
            "generated": True,
            "dataset": "edu",
            "size": size,
            "seed": seed,
            "num_students": num_students,
            "num_events": {"video": len(video), "problem": len(problem), "forum": len(forum)},
            "pass_share": round(float((grades["pass-fail"] == "Passed").mean()), 4),
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


def _students(rng: np.random.Generator, num: int) -> pd.DataFrame:
    engagement = rng.standard_normal(num)
    ability = 0.4 * engagement + np.sqrt(1 - 0.4**2) * rng.standard_normal(num)
    auditor = rng.random(num) < _sigmoid(-1.1 - 0.8 * engagement)
    hazard = _sigmoid(-2.7 - 1.5 * engagement + 0.7 * auditor)
    last_week = np.minimum(rng.geometric(hazard) - 1, NUM_WEEKS - 1)
    return pd.DataFrame(
        {
            "user_id": (100_000 + rng.choice(8_900_000, size=num, replace=False)).astype(str),
            "engagement": engagement,
            "ability": ability,
            "auditor": auditor,
            "last_week": last_week,
            "peak_hour": rng.normal(18, 4, num) % 24,
            "restless": np.exp(0.4 * engagement + rng.standard_normal(num)),  # mean player actions per video
        }
    )


def _visits(rng: np.random.Generator, students: pd.DataFrame, schedule: pd.DataFrame) -> pd.DataFrame:
    """One row per (student, thing, time he came to it): `student`, `thing` (row of the schedule), `stream`, `week` in
    which he came, `start` (Unix s), `span` (s). What happens in one session follows one after the other."""
    num, weeks = len(students), np.arange(NUM_WEEKS)
    engagement, auditor = students["engagement"].to_numpy()[:, None], students["auditor"].to_numpy()[:, None]
    active = (weeks <= students["last_week"].to_numpy()[:, None]) & (rng.random((num, NUM_WEEKS)) < 0.93)

    is_video = (schedule["type"] == "video").to_numpy()
    planned = schedule["week"].to_numpy()
    # Some come a week late, a few a week early.
    shift = rng.choice([-1, 0, 1], p=[0.06, 0.82, 0.12], size=(num, len(schedule)))
    came = np.clip(planned + shift, 0, NUM_WEEKS - 1)
    watches = _sigmoid(0.5 + 0.8 * engagement)
    submits = np.where(auditor, np.where(came < 2, 0.0, 0.02), _sigmoid(1.3 + 1.9 * engagement))
    does = rng.random(came.shape) < np.where(is_video, watches, submits)
    does &= np.take_along_axis(active, came, axis=1)
    student, thing = np.nonzero(does)
    again = is_video[thing] & (rng.random(len(student)) < 0.2 * _sigmoid(engagement[student, 0]))
    student, thing = np.concatenate([student, student[again]]), np.concatenate([thing, thing[again]])

    visits = pd.DataFrame({"student": student, "thing": thing, "week": came[student, thing]})
    visits["stream"] = np.where(is_video[thing], "video", "problem")
    visits["watched"] = rng.beta(3, 1.2, len(visits))
    visits["attempts"] = np.minimum(rng.geometric(0.6, len(visits)), 6)
    playing = visits["watched"] * schedule["duration"].fillna(0).to_numpy()[thing]
    visits["span"] = np.where(is_video[thing], playing * 1.2 + 30, visits["attempts"] * 400.0)

    num_sessions = rng.integers(1, MAX_SESSIONS + 1, (num, NUM_WEEKS))
    visits["session"] = (rng.random(len(visits)) * num_sessions[visits["student"], visits["week"]]).astype(int)
    visits = visits.iloc[rng.permutation(len(visits))]
    visits = visits.sort_values(["student", "week", "session"], kind="stable", ignore_index=True)
    before = visits.groupby(["student", "week", "session"])["span"].cumsum() - visits["span"]

    shape = (num, NUM_WEEKS, MAX_SESSIONS)
    any_day = rng.random(shape) < 0.15  # the rest come early in the week, soon after the videos appear
    day = np.where(any_day, rng.integers(0, 7, shape), np.minimum(rng.exponential(1.1, shape).astype(int), 6))
    hour = (students["peak_hour"].to_numpy()[:, None, None] + rng.normal(0, 1.5, shape)) % 24
    begin = (weeks[None, :, None] * 7 + day) * _DAY + hour * 3600
    at = (visits["student"], visits["week"], visits["session"])
    visits["start"] = _unix(START) + begin[at] + before
    return visits


def _video_events(
    rng: np.random.Generator, students: pd.DataFrame, schedule: pd.DataFrame, visits: pd.DataFrame
) -> pd.DataFrame:
    """Load, Play, then pauses (with the Play that ends them), seeks and changes of speed, and mostly a Stop."""
    visits = visits.reset_index(drop=True)
    duration = schedule["duration"].to_numpy()[visits["thing"]]
    load, play = visits["start"].to_numpy(), visits["start"].to_numpy() + rng.uniform(2, 10, len(visits))
    seen = visits["watched"].to_numpy() * duration
    num_actions = np.minimum(rng.poisson(students["restless"].to_numpy()[visits["student"]]), 60)

    # One row per action, in order within its visit.
    visit = np.repeat(np.arange(len(visits)), num_actions)
    position = rng.random(len(visit)) * seen[visit]
    position = position[np.lexsort((position, visit))]
    kind = rng.choice(["pause", "seek", "speed"], p=[0.5, 0.35, 0.15], size=len(visit))
    rest = np.where(kind == "pause", rng.exponential(40, len(visit)), 0.0)
    rest = np.where((kind == "pause") & (rng.random(len(visit)) < 0.02), 4000.0, rest)  # away from the keyboard
    total = np.cumsum(rest)
    first = np.cumsum(num_actions) - num_actions
    rested = total - rest - (total - rest)[np.minimum(first, max(len(total) - 1, 0))][visit] if len(visit) else total
    clock = play[visit] + position + rested
    to = np.clip(position + rng.choice([-1, 1], len(visit)) * rng.exponential(60, len(visit)), 0, duration[visit])
    speed = rng.choice([1.0, 1.25, 1.5, 2.0], size=len(visit))

    def rows(which: np.ndarray, event: str, clock: np.ndarray, **fields: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame({"visit": which, "event_type": f"Video.{event}", "timestamp": clock, **fields})

    everyone = np.arange(len(visits))
    paused, sought, sped = kind == "pause", kind == "seek", kind == "speed"
    old_speed = pd.Series(speed[sped]).groupby(visit[sped]).shift(1).fillna(1.0).to_numpy()
    rested_in_all = np.bincount(visit, weights=rest, minlength=len(visits))
    stops = rng.random(len(visits)) < 0.7
    events = pd.concat(
        [
            rows(everyone, "Load", load, current_time=np.zeros(len(visits))),
            rows(everyone, "Play", play, current_time=np.zeros(len(visits))),
            rows(visit[paused], "Pause", clock[paused], current_time=position[paused]),
            rows(visit[paused], "Play", (clock + rest)[paused], current_time=position[paused]),
            rows(visit[sought], "Seek", clock[sought], current_time=position[sought],
                 old_time=position[sought], new_time=to[sought]),
            rows(visit[sped], "SpeedChange", clock[sped], current_time=position[sped],
                 old_speed=old_speed, new_speed=speed[sped]),
            rows(everyone[stops], "Stop", (play + seen + rested_in_all)[stops], current_time=seen[stops]),
        ],
        ignore_index=True,
    )  # fmt: skip
    whose = visits.iloc[events["visit"]]
    return pd.DataFrame(
        {
            "user_id": students["user_id"].to_numpy()[whose["student"]],
            "video_id": schedule["id"].to_numpy()[whose["thing"]],
            "event_type": events["event_type"],
            "timestamp": np.floor(events["timestamp"]),
            "seek_type": pd.Series(pd.NA, events.index, dtype="str"),
            **{name: events[name].round(1) for name in ("old_time", "current_time", "new_time")},
            **{name: events[name] for name in ("old_speed", "new_speed")},
        }
    )


def _problem_events(
    rng: np.random.Generator, students: pd.DataFrame, schedule: pd.DataFrame, visits: pd.DataFrame
) -> pd.DataFrame:
    """Each visit is a run of submissions; what was learnt in one helps in the next."""
    visits = visits.reset_index(drop=True)
    points = schedule["grade_max"].to_numpy()[visits["thing"]]
    base = _sigmoid(1.0 + 1.1 * students["ability"].to_numpy()[visits["student"]] + rng.normal(0, 0.7, len(visits)))
    attempts = visits["attempts"].to_numpy()
    visit = np.repeat(np.arange(len(visits)), attempts)
    number = np.arange(len(visit)) - np.repeat(np.cumsum(attempts) - attempts, attempts) + 1
    share = np.clip(base[visit] + 0.12 * (number - 1) + rng.normal(0, 0.1, len(visit)), 0, 1)
    whose = visits.iloc[visit]
    return pd.DataFrame(
        {
            "user_id": students["user_id"].to_numpy()[whose["student"]],
            "problem_id": schedule["id"].to_numpy()[whose["thing"]],
            "event_type": "Problem.Check",
            "timestamp": np.floor(whose["start"].to_numpy() + number * 400.0 - rng.uniform(0, 300, len(visit))),
            "problem_type": np.where(schedule["quiz"].to_numpy()[whose["thing"]], "Quiz", "Assignment Part"),
            "grade": np.round(share * points[visit]),
            "submission_number": number.astype(float),
        }
    )


def _forum_events(rng: np.random.Generator, students: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    reads = rng.random(len(visits)) < 0.04
    return pd.DataFrame(
        {
            "user_id": students["user_id"].to_numpy()[visits["student"][reads]],
            "event_type": "Forum.Thread.View",
            "timestamp": np.floor((visits["start"] + visits["span"])[reads].to_numpy()),
        }
    )


def _grades(
    rng: np.random.Generator, students: pd.DataFrame, schedule: pd.DataFrame, problem: pd.DataFrame
) -> pd.DataFrame:
    """The final grade is the share of all points, of 100. Some who enrolled never came: a row, and no event."""
    best = problem.groupby(["user_id", "problem_id"])["grade"].max().groupby("user_id").sum()
    share = best.reindex(students["user_id"], fill_value=0.0).to_numpy() / schedule["grade_max"].sum()
    never_came = (9_000_000 + np.arange(len(students) // 50)).astype(str)
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


def _with_faults(
    rng: np.random.Generator, video: pd.DataFrame, problem: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Player errors, clicks from before the course, clicks of a user without a grade, submissions logged twice."""

    def some(frame: pd.DataFrame, share: float) -> pd.DataFrame:
        return frame.iloc[np.sort(rng.choice(len(frame), max(1, int(share * len(frame))), replace=False))]

    loads = video[video["event_type"] == "Video.Load"]
    errors = some(loads, 0.005).assign(event_type="Video.Error")
    early = some(loads, 0.003)
    early = early.assign(timestamp=_unix(START) - 3 * _DAY)
    ghosts = some(loads, 0.002).assign(user_id="99999999")
    return (
        pd.concat([video, errors, early, ghosts], ignore_index=True),
        pd.concat([problem, some(problem, 0.004)], ignore_index=True),
    )


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


def _write(path: Path, frame: pd.DataFrame, table: str | None = None) -> None:
    """csv, or csv.gz without a time stamp, so that the same table gives the same bytes. Checked by its own contract."""
    frame = frame.reset_index(drop=True)
    texts = {name: frame[name].astype("str") for name in frame if not pd.api.types.is_numeric_dtype(frame[name])}
    frame = frame.assign(**texts)
    if table:
        check_table(frame, TABLES[table], str(path))
        if table in ("schedule", "grade", "metadata"):
            check_key(frame, table, str(path))
    whole = {name: "int64" for name in ("timestamp", "submission_number") if name in frame}
    content = pa.Table.from_pandas(frame.astype(whole), preserve_index=False)
    text = io.BytesIO()
    text.write((",".join(frame.columns) + "\n").encode())
    pc.write_csv(content, text, pc.WriteOptions(include_header=False, quoting_style="needed"))
    data = text.getvalue()
    if path.suffix == ".gz":
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=6, mtime=0) as stream:
            stream.write(data)
        data = packed.getvalue()
    write_bytes(path, data)


def _unix(time: pd.Timestamp) -> float:
    return time.tz_localize("UTC").timestamp()


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))
