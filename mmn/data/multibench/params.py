"""What a person may choose of every MultiBench data set."""

from __future__ import annotations

from dataclasses import dataclass

from mmn.data.errors import ParamsError

CLEAN, PUBLISHED = "clean", "published"


@dataclass(frozen=True, kw_only=True)
class MultiBenchParams:
    """mode: "clean", or "published", which repeats the released loader where that is wrong.

    limit: at most so many items of each split, the first of the file; 0 = all.
    num_folds: 1 = the split as it is published; from 2 on, folds of our own over all items, by subject, so that scores
        have intervals.
    """

    mode: str = CLEAN
    limit: int = 0
    num_folds: int = 1

    def __post_init__(self) -> None:
        if self.mode not in (CLEAN, PUBLISHED):
            raise ParamsError(f"mode: {self.mode!r} is unknown; known: {CLEAN}, {PUBLISHED}.")
        if self.limit < 0:
            raise ParamsError(f"limit is {self.limit}; it must be 0 (all items) or more.")
        if self.num_folds < 1:
            raise ParamsError(f"num_folds is {self.num_folds}; it must be 1 (the published split) or more.")
        if self.num_folds > 1 and self.mode == PUBLISHED:
            raise ParamsError(f"num_folds is {self.num_folds}; mode {PUBLISHED} has one fold. Set 1, or mode {CLEAN}.")
