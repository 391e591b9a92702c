"""The click log of a cohort's students, block by block, whole students at a time; or imported weekly features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.edu.arrays import read_arrays
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.reader import SCHEDULE_COLUMNS, Course, read_course
from mmn.data.edu.sorted_log import BLOCK_ROWS, SortedLog, open_log, pieces
from mmn.data.errors import StaleInputError
from mmn.data.evidence import CLICK_FACTS, ClickBlock, ClickEvidence


def read_clicks(
    raw: Path, cohort: Cohort, params: EduCohortParams, prepared: Mapping[str, Path], block_rows: int = BLOCK_ROWS
) -> ClickEvidence:
    """The clicks of every stream: the featurizer takes what its modality needs.

    The log runs to the last week, past `prediction_time`: step t's features see week t alone, the tasks per step are
    trained at every step, and what is read at `Task.read_step` has seen the steps up to there and no more.
    block_rows: about so many clicks are in memory at a time; the features do not depend on it.
    """
    course = read_course(raw, str(cohort.items["course"].iloc[0]), cohort.num_steps, params.mode)
    items = pd.Index(cohort.items["item"], dtype="str")
    log = open_log(course, prepared)
    return ClickEvidence(
        blocks=lambda: _blocks(log, course, items, block_rows), schedule=course.schedule, num_weeks=cohort.num_steps
    )


def read_arrays_as_clicks(raw: Path, cohort: Cohort, timeframe: str) -> ClickEvidence:
    """Ready-made weekly features: no clicks, and no schedule."""
    arrays = read_arrays(raw, str(cohort.items["course"].iloc[0]), timeframe)
    if arrays.num_weeks < cohort.num_steps:
        raise StaleInputError(
            f"{raw}: the {timeframe} arrays have {arrays.num_weeks} weeks, the cohort {cohort.num_steps}. Take all "
            "arrays of one export."
        )
    rows = pd.Index(arrays.users, dtype="str").get_indexer(cohort.items["item"])
    if (rows < 0).any():
        raise StaleInputError(
            f"{raw}: {int((rows < 0).sum())} of {len(rows)} students of the cohort are not in the feature arrays. "
            "Make the cohort again."
        )
    weekly = {name: values[rows, : cohort.num_steps] for name, values in arrays.values.items()}
    schedule = pd.DataFrame(columns=list(SCHEDULE_COLUMNS))
    return ClickEvidence(blocks=lambda: iter(()), schedule=schedule, num_weeks=cohort.num_steps, weekly=weekly)


def _blocks(log: SortedLog, course: Course, items: pd.Index, block_rows: int) -> Iterator[ClickBlock]:
    place = items.get_indexer(course.users)
    for piece in pieces(log, course, block_rows):
        rows = piece.rows
        item = place[rows.user]
        kept = np.flatnonzero((item >= 0) & ~piece.repeated)
        yield ClickBlock(
            item=item[kept], week=piece.week[kept], time=rows.time[kept] / 1e6, stream=rows.stream[kept],
            event=rows.event[kept], content=rows.content[kept],
            facts=dict(zip(CLICK_FACTS, piece.facts[:, kept], strict=True)), quarantined=dict(piece.counts),
        )  # fmt: skip
