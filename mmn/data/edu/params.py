"""What a person may choose of the EDU cohort, and when a course is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# Results are read when 60 % of the course is seen: round(0.6 * 10 weeks) - 1.
READ_STEP = 5
READ_SHARES = (0.4, 0.6, 1.0)


@dataclass(frozen=True, kw_only=True)
class EduCohortParams:
    """mode: "clean" counts weeks from the course's first Monday, takes their number from the metadata, and drops a
    repeated submission of one student. "compat" repeats the published cleaning: weeks by the calendar up to the last
    one that has an event, and of two students who submit the same problem in one second one loses the row.
    course: its name; "" = the only one there. num_weeks: of the course; None = as `mode` says.

    source: "log" reads the raw tables, "arrays" the published feature arrays; "auto" = the log where there is one.
    arrays: which of the published arrays the features are: "eq_week" (each week by itself) or "lq_week" (each with all
    weeks before it). The targets are made from eq_week arrays, whichever it is.
    filter: who is left out after two weeks. "crossfit": the paper's, by cross-fitted probability of failing (uses the
    labels of all students); "train_fold": the same, fitted inside each fold's training part; "no_submission": who
    checked no problem in the two weeks; "none".
    filter_threshold: leave out at this probability of failing or more.
    moving_average_weeks: of task 5; 1 = no smoothing, num_weeks or more = the expanding mean.
    """

    mode: Literal["clean", "compat"] = "clean"
    course: str = ""
    source: Literal["auto", "log", "arrays"] = "auto"
    arrays: Literal["eq_week", "lq_week"] = "eq_week"
    num_folds: int = 5
    seed: int = 0
    moving_average_weeks: int = 3
    filter: Literal["crossfit", "train_fold", "no_submission", "none"] = "crossfit"
    filter_threshold: float = 0.99
    num_weeks: int | None = None

    def __post_init__(self) -> None:
        if self.moving_average_weeks < 1:
            raise ValueError(f"moving_average_weeks is {self.moving_average_weeks}; it must be 1 or more.")
        if not 0 < self.filter_threshold < 1:
            raise ValueError(f"filter_threshold is {self.filter_threshold}; it is a probability between 0 and 1.")
        if self.num_weeks is not None and self.num_weeks < 1:
            raise ValueError(f"num_weeks is {self.num_weeks}; it must be 1 or more, or absent.")


def reading_steps(num_weeks: int, shares: Iterable[float] = READ_SHARES) -> dict[float, int]:
    """Share of the course -> the last step (0-based week) that is seen then: round(share x weeks) - 1, at least 0.

    Raises ValueError for a share that is not in (0, 1].
    """
    steps = {}
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f"{share} is no share of a course; give numbers above 0 and up to 1.")
        steps[share] = max(round(share * num_weeks) - 1, 0)
    return steps
