"""Data sets that tell of the same people: nobody may teach a model in one that another one is judged by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pandas as pd

from mmn.data.errors import ParamsError
from mmn.modeling.highmmt.heterogeneity import Source

# A side of a fold gives up the people whom another data set of the same people has on one of these in that fold.
_YIELDS_TO = {"train": ("validation", "test"), "validation": ("test",)}


def keep_apart(sources: Mapping[str, Source]) -> dict[str, Source]:
    """The sources, each without the rows of its folds that it must give up; `given_up` says how many.

    Weights of one data set's fold k go into the others' fold k. So of data sets of the same people (`Source.people`), a
    fold's training items leave whose subject another one validates or tests in that fold, and validation items whose
    subject another one tests. Raises ParamsError where such data sets differ in their number of folds.
    """
    kept = {}
    for name, source in sources.items():
        others = [o for n, o in sources.items() if n != name and o.people and o.people == source.people]
        kept[name] = _without(name, source, others) if others else source
    return kept


def _without(name: str, source: Source, others: list[Source]) -> Source:
    folds = _with_subjects(source)
    wrong = pd.Series(False, index=folds.index)
    for other in others:
        if other.cohort.num_folds != source.cohort.num_folds:
            raise ParamsError(
                f"'{name}' has {source.cohort.num_folds} folds, another data set of the same people "
                f"{other.cohort.num_folds}: nobody could be kept on one side. Set `num_folds` of their cohorts alike."
            )
        theirs = _with_subjects(other)
        for side, stronger in _YIELDS_TO.items():
            judged = theirs[theirs["split"].isin(stronger)][["fold", "subject"]].drop_duplicates()
            met = folds.merge(judged, on=["fold", "subject"], how="left", indicator=True)["_merge"] == "both"
            wrong |= met.to_numpy() & (folds["split"] == side)
    cohort = dataclasses.replace(source.cohort, folds=source.cohort.folds[~wrong.to_numpy()].reset_index(drop=True))
    return dataclasses.replace(source, cohort=cohort, given_up=int(wrong.sum()))


def _with_subjects(source: Source) -> pd.DataFrame:
    subjects = source.cohort.items.set_index("item")["subject"]
    return source.cohort.folds.reset_index(drop=True).assign(subject=lambda f: f["item"].map(subjects))
