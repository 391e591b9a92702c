"""What a person may choose of the EDU cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Results are read when 60 % of the course is seen: round(0.6 * 10 weeks) - 1.
READ_STEP = 5


@dataclass(frozen=True, kw_only=True)
class EduCohortParams:
    """course: its name; "" = the only one there. num_weeks: of the course; None = from the metadata.

    filter: who is left out after two weeks. "crossfit": the paper's, by cross-fitted probability of failing (uses the
    labels of all students); "train_fold": the same, fitted inside each fold's training part; "no_submission": who
    checked no problem in the two weeks; "none".
    filter_threshold: leave out at this probability of failing or more.
    moving_average_weeks: of task 5; 1 = no smoothing, num_weeks or more = the expanding mean.
    """

    course: str = ""
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
