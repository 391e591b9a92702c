"""What a model trained on other data sets is worth to a new one, and with how few labels (paper, table 3 and B.7, B.8).

Three ways to a model of the target, for each share of its training labels: from the start (`alone`); from a model that
was trained on the others and then on the target (`after the others`); on all at once, with the target's loss weighted
by one over the share (`with the others`). The target's validation picks the epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from mmn.data.errors import ParamsError
from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.floors import read_target
from mmn.modeling.highmmt.heterogeneity import Source, declared_of
from mmn.modeling.highmmt.joint import refuse_other_folds, train_jointly
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.trained import Trained

ALONE, AFTER, WITH = "alone", "after the others", "with the others"


def transfers_to(
    target: str,
    sources: Mapping[str, Source],
    shares: Sequence[float],
    settings: TrainingSettings,
    batch_sizes: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: Callable[[str], Checkpoint | None] = lambda name: None,
) -> Iterator[tuple[str, float, Trained]]:
    """(way, share, the target's model). settings: of every training, so that after the others the target is trained as
    long as alone. In mode published the heads alone learn after the others, as the published code has it. checkpoint:
    of each training, by its name. Raises ParamsError without another data set, or for a share outside (0, 1]."""
    others = {name: source for name, source in sources.items() if name != target}
    if not others or target not in sources:
        raise ParamsError(f"transfer to {target} needs it and at least one data set more.")
    if wrong := [share for share in shares if not 0 < share <= 1]:
        raise ParamsError(f"a share of {wrong[0]:g} of the labels: give one above 0, up to 1.")
    refuse_other_folds(sources)
    declared, total, done = declared_of(sources, settings), 3 * len(shares) + 1, 1
    kept = checkpoint(f"before {target}")
    before = train_jointly(others, settings, batch_sizes, declared=declared, checkpoint=kept)
    progress(done, total)
    for share in shares:
        mine = with_share(sources[target], share, settings.seed)
        weights = {task.name: 1.0 / share for task in mine.tasks}
        for way in (ALONE, AFTER, WITH):
            joint = train_jointly(
                {target: mine} if way != WITH else {**others, target: mine},
                settings,
                batch_sizes,
                start=before if way == AFTER else None,
                declared=declared,
                raised=weights if way == WITH else None,
                checkpoint=checkpoint(f"{target} {way} {share:g}"),
                select=target,
                only="heads" if way == AFTER and settings.mode == "published" else "all",
            )
            done += 1
            progress(done, total)
            yield way, share, joint.trained[target]


def with_share(source: Source, share: float, seed: int = 0) -> Source:
    """The same data set with labels of a share of each fold's training items only, by lot among those that have one.

    A fold's training items are other folds' test items: it becomes one data set whose training rows are fewer, and
    whose labels are all there.
    """
    if share == 1:
        return source
    folds = source.cohort.folds
    keep = np.ones(len(folds), dtype=bool)
    labelled = np.any([~np.isnan(read_target(source.cohort, task)) for task in source.tasks], axis=0)
    for fold in range(source.cohort.num_folds):
        rows = source.cohort.rows(fold, "train")
        rows = rows[labelled[rows]]
        rng = np.random.default_rng([seed, fold, 23])
        kept = rng.permutation(rows)[: max(2, round(share * len(rows)))]
        names = set(source.cohort.items["item"].to_numpy()[kept])
        here = ((folds["fold"] == fold) & (folds["split"] == "train")).to_numpy()
        keep[here] = folds["item"][here].isin(names)
    return dataclasses.replace(
        source, cohort=dataclasses.replace(source.cohort, folds=folds[keep].reset_index(drop=True))
    )
