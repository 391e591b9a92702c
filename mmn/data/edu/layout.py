"""Where the tables of a course lie under a raw folder, found by names alone.

The raw folder is a `{mooc}/{platform}` folder (with `video_event/`, `problem_event/`, `schedule/`, `grade/` and
`metadata.csv`), or holds one at most four levels down, as `data/course/mooc/coursera/`. One csv or csv.gz per course
and table, named by the course.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmn.data.errors import CohortError, RawFileError

REQUIRED = ("video_event", "problem_event", "schedule", "grade")
OPTIONAL = ("forum_event",)
MAX_DEPTH = 4
_SUFFIXES = (".csv", ".csv.gz")
FEATURE_SETS = ("lalle_conati", "boroujeni_et_al", "chen_cui", "marras_et_al")
# Of the published arrays: each week by itself, and each with all weeks before it.
TIMEFRAMES = ("eq_week", "lq_week")
_SET_FOLDER = "{}-{}-"


@dataclass(frozen=True)
class CourseFiles:
    """table -> file of one course; `metadata` is shared by the courses of a platform."""

    course: str
    files: Mapping[str, Path]


def patterns(*names: str) -> tuple[str, ...]:
    """Glob patterns of the tables (a folder of csv files) or files named, at every depth where they may lie."""
    stems = [name if name == "metadata" else f"{name}/[!.]*" for name in names]
    return tuple(
        "*/" * depth + stem + suffix for stem in stems for suffix in _SUFFIXES for depth in range(MAX_DEPTH + 1)
    )


def set_patterns() -> tuple[str, ...]:
    """Glob patterns of the published feature arrays (one folder per feature set and course)."""
    stems = [f"[el]q_week-{name}-*/*" for name in FEATURE_SETS]
    return tuple("*/" * depth + stem for stem in stems for depth in range(MAX_DEPTH + 1))


def find_sets(raw: Path, timeframe: str = "eq_week") -> dict[str, dict[str, Path]]:
    """Course (as its folders write it, `dsp_001`) -> feature set -> folder, for every course that has all four of the
    timeframe. Raises RawFileError where a set is there twice."""
    found: dict[str, dict[str, Path]] = {}
    for name in FEATURE_SETS:
        prefix = _SET_FOLDER.format(timeframe, name)
        for depth in range(MAX_DEPTH + 1):
            for folder in sorted(raw.glob("*/" * depth + prefix + "*")):
                sets = found.setdefault(folder.name.removeprefix(prefix), {})
                if name in sets:
                    raise RawFileError(f"{raw}: {folder.name} is there twice, in {sets[name].parent} and in "
                                       f"{folder.parent}. Keep one of them.")  # fmt: skip
                sets[name] = folder
    return {course: sets for course, sets in sorted(found.items()) if len(sets) == len(FEATURE_SETS)}


def reads_arrays(raw: Path, source: str) -> bool:
    """Whether the feature arrays are read and not the log. source: `EduCohortParams.source`."""
    return source == "arrays" or (source == "auto" and not find_courses(raw) and bool(find_sets(raw)))


def find_courses(raw: Path) -> dict[str, CourseFiles]:
    """Course -> its files, for every course that has all the tables it needs. Raises RawFileError where a table is
    there twice (csv and csv.gz, or in two folders)."""
    found: dict[str, CourseFiles] = {}
    for root in find_roots(raw):
        metadata = _table_file(root, "metadata")
        tables = {table: _course_files(root / table) for table in (*REQUIRED, *OPTIONAL)}
        complete = set.intersection(*(set(tables[table]) for table in REQUIRED)) if metadata else set()
        for course in sorted(complete):
            if course in found:
                raise RawFileError(
                    f"{raw}: course '{course}' lies in two folders, {found[course].files['grade'].parent.parent} and "
                    f"{root}. Link one of them as the raw folder."
                )
            files = {table: courses[course] for table, courses in tables.items() if course in courses}
            found[course] = CourseFiles(course, {**files, "metadata": metadata} if metadata else files)
    return found


def find_roots(raw: Path) -> list[Path]:
    """Folders at most `MAX_DEPTH` levels down that hold a `video_event` or `problem_event` folder."""
    folders = {
        found.parent
        for depth in range(MAX_DEPTH + 1)
        for name in ("video_event", "problem_event")
        for found in raw.glob("*/" * depth + name)
        if found.is_dir()
    }
    return sorted(folders)


def choose_course(raw: Path, course: str) -> CourseFiles:
    """The course that `course` names, or the only one where it is empty. Raises RawFileError or CohortError."""
    courses = find_courses(raw)
    if not courses:
        raise RawFileError(f"{raw}: {what_is_missing(raw)}")
    if not course and len(courses) > 1:
        raise CohortError(
            f"{raw}: {len(courses)} courses are there ({', '.join(courses)}). "
            "Choose one: set edu.cohort.course in params.yaml."
        )
    if course and course not in courses:
        raise CohortError(
            f"{raw}: course '{course}' (edu.cohort.course) is not there with all its tables; "
            f"there are: {', '.join(courses)}."
        )
    return courses[course or next(iter(courses))]


def what_is_missing(raw: Path) -> str:
    """Why no course is complete, and what to do."""
    wanted = f"{', '.join(f'{table}/COURSE.csv' for table in REQUIRED)} and metadata.csv (or .csv.gz)"
    roots = find_roots(raw)
    if not roots:
        return (
            f"no video_event/ or problem_event/ folder within {MAX_DEPTH} levels. Link the folder that holds {wanted}, "
            "or one above it (data/course/mooc/coursera)."
        )
    lacks = []
    for root in roots:
        tables = {table: _course_files(root / table) for table in REQUIRED}
        empty = [f"{table}/" for table, courses in tables.items() if not courses]
        empty += [] if _table_file(root, "metadata") else ["metadata.csv"]
        if empty:
            lacks.append(f"{root} lacks {', '.join(empty)}")
        else:
            names = {table: ", ".join(courses) for table, courses in tables.items()}
            lacks.append(f"{root} names different courses in its tables: {names}")
    return f"no course has all its tables ({wanted}): {'; '.join(lacks)}. Add what is missing."


def _course_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    names = {
        path.name.removesuffix(".gz").removesuffix(".csv")
        for path in folder.iterdir()
        if path.name.endswith(_SUFFIXES) and not path.name.startswith(".")
    }
    return {name: path for name in sorted(names) if (path := _table_file(folder, name))}


def _table_file(folder: Path, name: str) -> Path | None:
    files = [path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(files) > 1:
        raise RawFileError(f"{folder}: {files[0].name} and {files[1].name} are both there. Remove one of them.")
    return files[0] if files else None
