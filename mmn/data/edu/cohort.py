"""The students of one course, what is to be predicted of them, and the folds; from the log or from feature arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.edu.arrays import PERFORMANCE, read_arrays
from mmn.data.edu.contracts import PASSED
from mmn.data.edu.filter import FILTER_WEEKS, fail_probability, fail_probability_by_fold, filter_curve
from mmn.data.edu.layout import reads_arrays
from mmn.data.edu.params import READ_STEP, EduCohortParams, reading_steps
from mmn.data.edu.performance import moving_average
from mmn.data.edu.reader import Course, read_course
from mmn.data.edu.sorted_log import open_log
from mmn.data.edu.students import NEVER, read_students
from mmn.data.errors import CohortError
from mmn.data.folds import subject_folds


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What the targets and filters are made of, for N students.

    items: as `Cohort.items`. passed: (N,) 1, 0, NaN = not known. active: (N, T) bool. performance: (N, T) in [0, 1].
    early: (N, P) grades of the first two weeks; None where they are not known. silent: (N,) no submission in these.
    filtered: who obviously fails is already left out.
    """

    course: str
    num_weeks: int
    items: pd.DataFrame
    passed: np.ndarray
    active: np.ndarray
    performance: np.ndarray
    early: np.ndarray | None
    silent: np.ndarray
    excluded: dict[str, int]
    notes: tuple[str, ...]
    filtered: bool = False

    def take(self, kept: np.ndarray) -> _Facts:
        arrays = {name: getattr(self, name)[kept] for name in ("passed", "active", "performance", "silent")}
        return replace(self, items=self.items[kept].reset_index(drop=True), early=None, **arrays)


def build_cohort(
    raw: Path, params: EduCohortParams, prepared: Mapping[str, Path] = MappingProxyType({})
) -> Cohort:  # fmt: skip
    """prepared: the table `events`; without it one is made of the course for the reading. Raises RawFileError,
    ContractError, StaleInputError, and CohortError where too little is left."""
    arrays = reads_arrays(raw, params.source)
    if params.arrays != "eq_week" and not arrays:
        raise CohortError(
            f"{raw}: edu.cohort.arrays is {params.arrays}, but the log is read, whose features are of single weeks. "
            'Set edu.cohort.source to "arrays", or leave edu.cohort.arrays out.'
        )
    facts = _facts_of_arrays(raw, params) if arrays else _facts_of_log(raw, params, prepared)
    if facts.num_weeks <= READ_STEP + 1:
        raise CohortError(
            f"{facts.course}: {facts.num_weeks} weeks; results are read after week {READ_STEP + 1} and a later week is "
            "needed to predict. Choose a longer course (edu.cohort.course, edu.cohort.num_weeks)."
        )
    notes = [*facts.notes, *_notes(facts)]
    excluded = dict(facts.excluded)
    folds = None
    if params.filter == "train_fold" and not facts.filtered:
        folds, dropped, note = _filter_by_fold(facts, params)
    else:
        dropped, note = _filter(facts, params)
    notes.append(note)
    if dropped.any():
        excluded[f"two-week filter ({params.filter})"] = int(dropped.sum())
    if dropped.all():
        raise CohortError(f'{facts.course}: the two-week filter left nobody. Set edu.cohort.filter to "none".')
    facts = facts.take(~dropped)
    if folds is None:
        folds = subject_folds(facts.items, _stratum(facts.passed), params.num_folds, params.seed)

    names = facts.items["item"].to_numpy()
    average = moving_average(facts.performance, params.moving_average_weeks)
    rules = {
        "stays_active": {"active_this_week": facts.active.astype(float)},
        "next_week_performance": {"persistence": average},
    }
    return Cohort(
        items=facts.items,
        targets={
            "pass_course": facts.passed,
            "stays_active": stays_active(facts.active),
            "next_week_performance": next_week(average),
        },
        folds=folds,
        num_steps=facts.num_weeks,
        baselines=pd.concat(
            [
                _baseline(names, task, rule, values[:, READ_STEP])
                for task, of_task in rules.items()
                for rule, values in of_task.items()
            ],
            ignore_index=True,
        ),
        step_baselines=rules,
        excluded=excluded,
        notes=tuple(notes),
    )


def pass_label(users: pd.Series, course: Course) -> np.ndarray:
    """(N,) 1 = passed, 0 = failed, NaN = not known: the paper's task 3. Without the column pass-fail: by the metadata's
    threshold."""
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


def stays_active(active: np.ndarray) -> np.ndarray:
    """(N, T) 1 where any later week is active, else 0; the last week has no later one: NaN."""
    later = np.flip(np.logical_or.accumulate(np.flip(active, axis=1), axis=1), axis=1).astype(float)
    return next_week(later)


def next_week(weekly: np.ndarray) -> np.ndarray:
    """(N, T): the value of week t + 1 at t; NaN in the last week."""
    return np.pad(weekly[:, 1:], ((0, 0), (0, 1)), constant_values=np.nan)


def _facts_of_log(raw: Path, params: EduCohortParams, prepared: Mapping[str, Path]) -> _Facts:
    """Students: those with a grade row and a video or problem event, by their first event."""
    course = read_course(raw, params.course, params.num_weeks, params.mode)
    students = read_students(course, open_log(course, prepared))
    course = students.course
    users = course.grades["user_id"].to_numpy(dtype=object)
    rows = np.flatnonzero(students.first != NEVER)
    if not len(rows):
        raise CohortError(
            f"{course.name}: no student has both a grade row and a video or problem event. Left out: "
            f"{students.quarantined or 'nothing'}. Compare the user_id of grade/ with those of the events."
        )
    rows = rows[np.lexsort((users[rows].astype("U"), students.first[rows]))]
    items = pd.DataFrame({"item": users[rows], "subject": users[rows]}).astype("str")
    items["prediction_time"] = course.start + pd.Timedelta(weeks=READ_STEP + 1)
    items["course"] = course.name
    weeks = course.weeks
    never_came = len(users) - len(rows)
    notes = [
        f"Course {course.name} ({course.title}), {weeks} weeks from {course.start:%Y-%m-%d}, cleaned in mode "
        f"{course.mode}."
    ]
    notes += [f"Rows left out: {reason}: {count}." for reason, count in students.quarantined.items()]
    notes += [
        f"{count} {stream} events are of a {stream} that the schedule does not have; they count as clicks only."
        for stream, count in students.unscheduled.items()
    ]
    return _Facts(
        course=course.name,
        num_weeks=weeks,
        items=items,
        passed=pass_label(items["item"], course),
        active=students.active[rows],
        performance=students.performance[rows],
        early=students.early[rows],
        silent=students.silent[rows],
        excluded={"a grade row, but no video or problem event": never_came} if never_came else {},
        notes=tuple(notes),
    )


def _facts_of_arrays(raw: Path, params: EduCohortParams) -> _Facts:
    """Activity and performance from the raw features that say it: counts of clicks, and the three of Marras et al."""
    arrays = read_arrays(raw, params.course)
    weeks = params.num_weeks or arrays.num_weeks
    if weeks > arrays.num_weeks:
        raise CohortError(
            f"{arrays.course}: edu.cohort.num_weeks is {weeks}, the arrays have {arrays.num_weeks} weeks."
        )
    count = {name: np.nan_to_num(arrays.values[name][:, :weeks]) for name in ("TotalClicksVideo", "TotalClicksProblem")}
    items = pd.DataFrame({"item": arrays.users, "subject": arrays.users}).astype("str")
    items["prediction_time"] = pd.Series(pd.NaT, items.index, dtype="datetime64[us]")
    items["course"] = arrays.course
    performance = np.mean([np.nan_to_num(arrays.values[name][:, :weeks]) for name in PERFORMANCE], axis=0)
    return _Facts(
        course=arrays.course,
        num_weeks=weeks,
        items=items,
        passed=arrays.passed,
        active=(count["TotalClicksVideo"] + count["TotalClicksProblem"]) > 0,
        performance=np.clip(performance, 0.0, 1.0),
        early=None,
        silent=~(count["TotalClicksProblem"][:, :2] > 0).any(axis=1),
        excluded={},
        notes=(f"Course {arrays.course}, {weeks} weeks, from published feature arrays: no click was read.",),
        filtered=arrays.filtered,
    )


def _filter(facts: _Facts, params: EduCohortParams) -> tuple[np.ndarray, str]:
    if facts.filtered:
        return np.zeros(len(facts.items), dtype=bool), (
            "Selection bias: the arrays were written after the published two-week filter, which chose this population "
            "by labels. edu.cohort.filter was not applied again."
        )
    if params.filter == "none":
        return np.zeros(len(facts.items), dtype=bool), "No two-week filter: all students of the log are in the cohort."
    if params.filter == "no_submission":
        return facts.silent, f"Two-week filter by a rule without labels: {_removed(facts.silent, facts.passed)}."
    probability = fail_probability(_early(facts), facts.passed, params.seed)
    dropped = probability >= params.filter_threshold
    curve = filter_curve(probability, facts.passed)
    return dropped, (
        f"Selection bias: the two-week filter chose this population by labels, those of test students included. "
        f"{_removed(dropped, facts.passed)} at p(fail) >= {params.filter_threshold}. The threshold tuned here would be "
        f"{curve.tuned}; balanced accuracy by threshold: {curve.balanced_accuracy}. Controls: edu.cohort.filter = "
        "train_fold, no_submission, none."
    )


def _filter_by_fold(facts: _Facts, params: EduCohortParams) -> tuple[pd.DataFrame, np.ndarray, str]:
    """Folds first, then each is filtered by what its training part knows; left out are those in no fold."""
    items, passed = facts.items, facts.passed
    folds = subject_folds(items, _stratum(passed), params.num_folds, params.seed)
    grades = _early(facts)
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


def _early(facts: _Facts) -> np.ndarray:
    if facts.early is None:
        raise CohortError(
            f"{facts.course}: the two-week filter needs grades, and feature arrays hold none. Set edu.cohort.filter to "
            '"no_submission" or "none".'
        )
    if not facts.early.shape[1]:
        raise CohortError(
            f"{facts.course}: the two-week filter needs a graded problem in the first {FILTER_WEEKS} weeks; the "
            'schedule has none. Set edu.cohort.filter to "none".'
        )
    return facts.early


def _removed(dropped: np.ndarray, passed: np.ndarray) -> str:
    labels = passed[dropped & ~np.isnan(passed)]
    share = f" ({1 - labels.mean():.1%} of them failed in the end)" if len(labels) else ""
    return f"{int(dropped.sum())} of {len(dropped)} students removed{share}"


def _stratum(passed: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(passed), 2, passed).astype(int)


def _notes(facts: _Facts) -> Iterator[str]:
    if unknown := int(np.isnan(facts.passed).sum()):
        yield f"{unknown} students have no pass label: they take part in the other tasks only."
    steps = reading_steps(facts.num_weeks)
    yield "Steps (weeks from 0) at which a share of the course is seen: " + (
        ", ".join(f"{share:.0%} after step {step}" for share, step in steps.items()) + "."
    )
    if steps[0.6] != READ_STEP:
        yield (
            f"Results are read after week {READ_STEP + 1}, which is {(READ_STEP + 1) / facts.num_weeks:.0%} of this "
            "course and not the 60 % of the paper's ten-week course."
        )


def _baseline(items: np.ndarray, task: str, name: str, prediction: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"item": items, "task": task, "baseline": name, "fold": -1, "prediction": prediction})
