"""The contracts of the raw tables of a Coursera-style course, in the schema of EPFL's MOOC logs.

Each class is one table: its columns, units, legal ranges and what null means. The reader, the generator and the tests
use these classes; columns that are not named here are ignored. Table names are the sub-folders they sit in.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from mmn.data.errors import ContractError

# Unix seconds, UTC: a log outside these years is in another unit.
FIRST_SECOND = 946_684_800  # 2000-01-01
LAST_SECOND = 4_102_444_800  # 2100-01-01
PASSED = "Passed"
MAX_POINTS = 1e6


class _Contract(pa.DataFrameModel):
    class Config:
        strict = False
        ordered = False


class VideoEvents(_Contract):
    """One row per click in the video player. No key: two equal rows are two clicks."""

    user_id: Series[str]
    video_id: Series[str] = pa.Field(nullable=True)  # `schedule.id` of type video
    event_type: Series[str]
    timestamp: Series[float] = pa.Field(ge=FIRST_SECOND, lt=LAST_SECOND)  # Unix seconds, UTC
    # Positions in seconds of video, speeds as a factor; null where the event has none.
    old_time: Series[float] = pa.Field(nullable=True, ge=0, lt=86_400)
    current_time: Series[float] = pa.Field(nullable=True, ge=0, lt=86_400)
    new_time: Series[float] = pa.Field(nullable=True, ge=0, lt=86_400)
    old_speed: Series[float] = pa.Field(nullable=True, gt=0, le=20)
    new_speed: Series[float] = pa.Field(nullable=True, gt=0, le=20)


class ProblemEvents(_Contract):
    """One row per submission that was graded. Key: user_id, problem_id, event_type, timestamp (repeats are dropped)."""

    user_id: Series[str]
    problem_id: Series[str] = pa.Field(nullable=True)  # `schedule.id` of type problem
    event_type: Series[str]
    timestamp: Series[float] = pa.Field(ge=FIRST_SECOND, lt=LAST_SECOND)  # Unix seconds, UTC
    problem_type: Series[str] = pa.Field(nullable=True)  # `Assignment Part`, `Quiz`
    grade: Series[float] = pa.Field(nullable=True, ge=0, lt=MAX_POINTS)  # points; null = not graded
    submission_number: Series[float] = pa.Field(nullable=True, ge=1, lt=1e6)  # counts from 1


class ForumEvents(_Contract):
    """One row per click in the forum. Optional table; counted among all clicks, nothing else is made of it."""

    user_id: Series[str]
    event_type: Series[str]
    timestamp: Series[float] = pa.Field(ge=FIRST_SECOND, lt=LAST_SECOND)  # Unix seconds, UTC


class Schedule(_Contract):
    """One row per video or problem of the course. Key: id, type (a video and a problem may share a number)."""

    id: Series[str]
    type: Series[str] = pa.Field(isin=["video", "problem"])
    date: Series[str] = pa.Field(nullable=True)  # YYYY-MM-DD or with time, UTC; null = never scheduled
    duration: Series[float] = pa.Field(nullable=True, gt=0, lt=86_400)  # s, videos
    grade_max: Series[float] = pa.Field(nullable=True, gt=0, lt=MAX_POINTS)  # points, problems


class Grades(_Contract):
    """One row per enrolled student who has a final grade. Key: user_id. MOOCs also have `pass-fail`."""

    user_id: Series[str]
    grade: Series[float] = pa.Field(nullable=True, ge=0, lt=MAX_POINTS)  # points, final
    pass_fail: Series[str] | None = pa.Field(nullable=True, alias="pass-fail")  # `Passed` or other


class Metadata(_Contract):
    """One row per course. Key: course_id."""

    course_id: Series[str]
    start_date: Series[str]  # YYYY-MM-DD or with time, UTC
    end_date: Series[str]
    title: Series[str] | None = pa.Field(nullable=True)
    weeks: Series[float] | None = pa.Field(nullable=True, ge=1, le=60)
    grade_thr: Series[float] | None = pa.Field(nullable=True, ge=0, le=1)  # share of grade_max that passes
    grade_max: Series[float] | None = pa.Field(nullable=True, gt=0)


TABLES: dict[str, type[_Contract]] = {
    "video_event": VideoEvents,
    "problem_event": ProblemEvents,
    "forum_event": ForumEvents,
    "schedule": Schedule,
    "grade": Grades,
    "metadata": Metadata,
}
KEYS: dict[str, tuple[str, ...]] = {"schedule": ("id", "type"), "grade": ("user_id",), "metadata": ("course_id",)}


def columns_of(contract: type[_Contract]) -> dict[str, tuple[bool, bool]]:
    """Column -> (is text, is required)."""
    return {
        name: (str(column.dtype) != "float64", column.required) for name, column in contract.to_schema().columns.items()
    }


def check_table(frame: pd.DataFrame, contract: type[_Contract], where: str, first_row: int = 0) -> None:
    """Raises ContractError with every broken promise: column, check, number of rows and the first row's number.

    first_row: the number of data rows of the file that come before this frame.
    """
    if "timestamp" in frame:
        _check_unit(frame["timestamp"], where)
    try:
        contract.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        # `from None`: pandera's own message shows the failing values, which are a student's.
        raise ContractError(_broken(error.failure_cases, len(frame), where, first_row)) from None


def check_key(frame: pd.DataFrame, table: str, where: str) -> None:
    """Raises ContractError where two rows share the table's key."""
    key = list(KEYS[table])
    repeated = frame.duplicated(key)
    if repeated.any():
        raise ContractError(
            f"{where}: {int(repeated.sum())} of {len(frame)} rows repeat the key ({', '.join(key)}), the first in data "
            f"row {int(repeated.to_numpy().argmax()) + 1}. One row per key is promised: keep the right one."
        )


def _check_unit(timestamp: pd.Series, where: str) -> None:
    middle = float(timestamp.median())
    for factor, unit in ((1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")):
        if FIRST_SECOND * factor <= middle < LAST_SECOND * factor:
            raise ContractError(
                f"{where}: column 'timestamp' is in {unit}, Unix seconds (UTC) are expected. "
                f"Divide the column by {factor:,.0f} in the file."
            )


def _broken(failures: pd.DataFrame, num_rows: int, where: str, first_row: int) -> str:
    parts: list[Any] = []
    for (column, check), rows in failures.groupby(["column", "check"], sort=False, dropna=False):
        index = pd.to_numeric(rows["index"], errors="coerce").dropna()
        place = f", the first in data row {first_row + int(index.min()) + 1}" if len(index) else ""
        parts.append(f"column '{column}' breaks {check} in {len(rows)} of {num_rows} rows{place}")
    return (
        f"{where}: {'; '.join(parts)}. Mend the file; if the promise is wrong, change it in mmn/data/edu/contracts.py "
        "and say why."
    )
