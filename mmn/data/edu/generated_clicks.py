"""What the students of a generated course do: when they come, and what they then click. See `generator`."""

from __future__ import annotations

import numpy as np
import pandas as pd

START = pd.Timestamp("2013-02-18")
NUM_WEEKS = 10
MAX_SESSIONS = 3
_DAY = 86_400


def make_students(rng: np.random.Generator, users: np.ndarray, restless: float) -> pd.DataFrame:
    num = len(users)
    engagement = rng.standard_normal(num)
    ability = 0.4 * engagement + np.sqrt(1 - 0.4**2) * rng.standard_normal(num)
    auditor = rng.random(num) < _sigmoid(-1.7 - 0.8 * engagement)
    hazard = _sigmoid(-2.4 - 1.5 * engagement + 0.7 * auditor)
    last_week = np.minimum(rng.geometric(hazard) - 1, NUM_WEEKS - 1)
    return pd.DataFrame(
        {
            "user_id": users,
            "engagement": engagement,
            "ability": ability,
            "auditor": auditor,
            "last_week": last_week,
            "peak_hour": rng.normal(18, 4, num) % 24,
            "restless": restless * np.exp(0.4 * engagement + rng.standard_normal(num)),  # mean player actions per video
        }
    )


def make_visits(rng: np.random.Generator, students: pd.DataFrame, schedule: pd.DataFrame) -> pd.DataFrame:
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
    submits = np.where(auditor, np.where(came < 2, 0.0, 0.02), _sigmoid(1.5 + 1.9 * engagement))
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


def video_events(
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


def problem_events(
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


def forum_events(rng: np.random.Generator, students: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    reads = rng.random(len(visits)) < 0.04
    return pd.DataFrame(
        {
            "user_id": students["user_id"].to_numpy()[visits["student"][reads]],
            "event_type": "Forum.Thread.View",
            "timestamp": np.floor((visits["start"] + visits["span"])[reads].to_numpy()),
        }
    )


def with_faults(
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


def _unix(time: pd.Timestamp) -> float:
    return time.tz_localize("UTC").timestamp()


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))
