"""The students of one course, what is to be predicted of them, and the folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.edu.contracts import PASSED
from mmn.data.edu.filter import (
    early_grades,
    fail_probability,
    fail_probability_by_fold,
    filter_curve,
    no_early_submission,
)
from mmn.data.edu.params import READ_STEP, EduCohortParams
from mmn.data.edu.performance import moving_average, weekly_performance
from mmn.data.edu.reader import Course, click_evidence, read_course
from mmn.data.errors import CohortError
from mmn.data.evidence import ClickEvidence
from mmn.data.folds import subject_folds


def build_cohort(raw: Path, params: EduCohortParams) -> Cohort:
    """Raises RawFileError, ContractError, and CohortError where too little is left."""
    course = read_course(raw, params.course, params.num_weeks)
    if course.num_weeks <= READ_STEP + 1:
        raise CohortError(
            f"{course.name}: {course.num_weeks} weeks; results are read after week {READ_STEP + 1} and a later week is "
            "needed to predict. Choose a longer course (edu.cohort.course, edu.cohort.num_weeks)."
        )
    items, excluded = _students(course)
    if items.empty:
        raise CohortError(f"{course.name}: no student has both a grade row and an event. Excluded: {excluded}.")
    evidence = click_evidence(course, items)
    passed = pass_label(items["item"], course)
    notes = list(_notes(course, passed))

    folds = None
    if params.filter == "train_fold":
        folds, dropped, note = _filter_by_fold(evidence, items, passed, params)
    else:
        dropped, note = _filter(evidence, items, passed, params)
    notes.append(note)
    if dropped.any():
        excluded[f"two-week filter ({params.filter})"] = int(dropped.sum())
    if dropped.all():
        raise CohortError(f'{course.name}: the two-week filter left nobody. Set edu.cohort.filter to "none".')
    items, passed = items[~dropped].reset_index(drop=True), passed[~dropped]
    if folds is None:
        folds = subject_folds(items, _stratum(passed), params.num_folds, params.seed)

    names = items["item"].to_numpy()
    active = weekly_activity(evidence, names)
    average = moving_average(weekly_performance(evidence, names).mean(), params.moving_average_weeks)
    return Cohort(
        items=items,
        targets={
            "pass_course": passed,
            "stays_active": stays_active(active),
            "next_week_performance": next_week(average),
        },
        folds=folds,
        num_steps=course.num_weeks,
        baselines=pd.concat(
            [
                _baseline(names, "stays_active", "active_this_week", active[:, READ_STEP].astype(float)),
                _baseline(names, "next_week_performance", "persistence", average[:, READ_STEP]),
            ],
            ignore_index=True,
        ),
        excluded=excluded,
        notes=tuple(notes),
    )


def pass_label(users: pd.Series, course: Course) -> np.ndarray:
    """(N,) 1 = passed, 0 = failed, NaN = not known. The only place where the sign is set: EPFL's `label-pass-fail` is
    1 for FAIL, ours is the paper's task 3. Without the column pass-fail: by the metadata's threshold."""
    grades = course.grades.set_index("user_id").reindex(users)
    if "pass-fail" in grades:
        verdict = grades["pass-fail"]
        return np.where(verdict.isna(), np.nan, (verdict == PASSED).astype(float))
    if course.grade_threshold is None:
        raise CohortError(
            f"{course.name}: grade/ has no column pass-fail, and metadata.csv no grade_thr and grade_max to make it "
            "from. Add one of them."
        )
    grade = grades["grade"].to_numpy()
    return np.where(np.isnan(grade), np.nan, (grade >= course.grade_threshold).astype(float))


def weekly_activity(evidence: ClickEvidence, items: np.ndarray) -> np.ndarray:
    """(N, T) bool: a video or problem event in that week. From the events, never from scaled or filled features."""
    events = evidence.events[evidence.events["stream"].isin(["video", "problem"])]
    row = pd.Categorical(events["item"], categories=items).codes
    active = np.zeros((len(items), evidence.num_weeks), dtype=bool)
    active[row[row >= 0], events["week"].to_numpy()[row >= 0]] = True
    return active


def stays_active(active: np.ndarray) -> np.ndarray:
    """(N, T) 1 where any later week is active, else 0; the last week has no later one: NaN."""
    later = np.flip(np.logical_or.accumulate(np.flip(active, axis=1), axis=1), axis=1).astype(float)
    return next_week(later)


def next_week(weekly: np.ndarray) -> np.ndarray:
    """(N, T): the value of week t + 1 at t; NaN in the last week."""
    return np.pad(weekly[:, 1:], ((0, 0), (0, 1)), constant_values=np.nan)


def _students(course: Course) -> tuple[pd.DataFrame, dict[str, int]]:
    """Those with a grade row and a video or problem event, by their first event."""
    events = course.events[course.events["stream"].isin(["video", "problem"])]
    first = events.groupby("user_id", observed=True)["time"].min().reset_index()
    first["user_id"] = first["user_id"].astype("str")
    names = first.sort_values(["time", "user_id"])["user_id"].to_numpy()
    items = pd.DataFrame({"item": names, "subject": names})
    items["prediction_time"] = course.start + pd.Timedelta(weeks=READ_STEP + 1)
    items["course"] = course.name
    silent = len(course.grades) - len(items)
    return items, {"a grade row, but no video or problem event": silent} if silent else {}


def _filter(
    evidence: ClickEvidence, items: pd.DataFrame, passed: np.ndarray, params: EduCohortParams
) -> tuple[np.ndarray, str]:
    names = items["item"].to_numpy()
    if params.filter == "none":
        return np.zeros(len(items), dtype=bool), "No two-week filter: all students of the log are in the cohort."
    if params.filter == "no_submission":
        dropped = no_early_submission(evidence, names)
        return dropped, f"Two-week filter by a rule without labels: {_removed(dropped, passed)}."
    probability = fail_probability(early_grades(evidence, names), passed, params.seed)
    dropped = probability >= params.filter_threshold
    curve = filter_curve(probability, passed)
    return dropped, (
        f"Selection bias: the two-week filter chose this population by labels, those of test students included. "
        f"{_removed(dropped, passed)} at p(fail) >= {params.filter_threshold}. The threshold tuned here would be "
        f"{curve.tuned}; balanced accuracy by threshold: {curve.balanced_accuracy}. Controls: edu.cohort.filter = "
        "train_fold, no_submission, none."
    )


def _filter_by_fold(
    evidence: ClickEvidence, items: pd.DataFrame, passed: np.ndarray, params: EduCohortParams
) -> tuple[pd.DataFrame, np.ndarray, str]:
    """Folds first, then each is filtered by what its training part knows; left out are those in no fold."""
    folds = subject_folds(items, _stratum(passed), params.num_folds, params.seed)
    grades = early_grades(evidence, items["item"].to_numpy())
    kept = []
    for fold, rows in folds.groupby("fold"):
        train = np.flatnonzero(items["item"].isin(rows.loc[rows["split"] == "train", "item"]))
        probability = fail_probability_by_fold(grades, passed, train, params.seed + int(str(fold)))
        stay = items["item"][probability < params.filter_threshold]
        kept.append(rows[rows["item"].isin(stay)])
    folds = pd.concat(kept, ignore_index=True)
    dropped = ~items["item"].isin(folds["item"]).to_numpy()
    note = f"Two-week filter fitted inside each fold's training part: {_removed(dropped, passed)} from every fold."
    return folds, dropped, note


def _removed(dropped: np.ndarray, passed: np.ndarray) -> str:
    labels = passed[dropped & ~np.isnan(passed)]
    share = f" ({1 - labels.mean():.1%} of them failed in the end)" if len(labels) else ""
    return f"{int(dropped.sum())} of {len(dropped)} students removed{share}"


def _stratum(passed: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(passed), 2, passed).astype(int)


def _notes(course: Course, passed: np.ndarray):
    yield f"Course {course.name} ({course.title}), {course.num_weeks} weeks from {course.start:%Y-%m-%d}."
    if unknown := int(np.isnan(passed).sum()):
        yield f"{unknown} students have no pass label: they take part in the other tasks only."
    if round(0.6 * course.num_weeks) - 1 != READ_STEP:
        yield (
            f"Results are read after week {READ_STEP + 1}, which is {(READ_STEP + 1) / course.num_weeks:.0%} of this "
            "course and not the 60 % of the paper's ten-week course."
        )
    for reason, count in course.quarantined.items():
        yield f"Rows left out: {reason}: {count}."


def _baseline(items: np.ndarray, task: str, name: str, prediction: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"item": items, "task": task, "baseline": name, "fold": -1, "prediction": prediction})
