"""Who shares an encoder and a pair block with whom, as plans for one model over several data sets: all with all, groups
by measured heterogeneity, groups by lot of the same sizes, none with none (paper, table 5 and section 4.2).

`compare_plans` trains the first, then every other plan from its weights, and once more the first itself from its own,
so that all have been trained as long. What a plan costs is its number of parameters; what it gives are the scores of
each data set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmn.modeling.highmmt.grouping import groups, random_groups
from mmn.modeling.highmmt.heterogeneity import Source
from mmn.modeling.highmmt.joint import Joint, train_jointly
from mmn.modeling.highmmt.network import pair_name
from mmn.modeling.settings import TrainingSettings

PRETRAINED, SHARED, APART, MEASURED, BY_LOT = "pre-training", "all shared", "none shared", "groups", "groups by lot"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """encoder_groups: modality -> group; pair_groups: pair -> group ({} = all share one)."""

    name: str
    kind: str
    encoder_groups: Mapping[str, int] = field(default_factory=dict)
    pair_groups: Mapping[str, int] = field(default_factory=dict)


def plans(
    unimodal: np.ndarray,
    names: Sequence[str],
    crossmodal: np.ndarray | None,
    pairs: Sequence[tuple[str, str]],
    budgets: Sequence[int],
    num_by_lot: int,
    seed: int = 0,
) -> list[Plan]:
    """unimodal: (M, M) distances of `names`; crossmodal: (P, P) of `pairs`, None = pairs share one block. budgets:
    numbers of groups of encoders, and of pair blocks where there are as many pairs."""
    rng = np.random.default_rng(seed)
    paired = [pair_name(*pair) for pair in pairs]
    found = [Plan(name=SHARED, kind=SHARED)]
    for budget in budgets:
        encoders = groups(unimodal, budget)
        blocks = groups(crossmodal, min(budget, len(paired))) if crossmodal is not None else []
        named = f"{budget} {MEASURED}"
        found.append(_plan(named, MEASURED, names, encoders, paired, blocks))
        for lot in range(num_by_lot):
            drawn = [random_groups(len(g), np.bincount(g).tolist(), rng) for g in (encoders, blocks) if g]
            drawn_blocks = drawn[1] if len(drawn) > 1 else []
            found.append(_plan(f"{budget} {BY_LOT}, {lot + 1}", BY_LOT, names, drawn[0], paired, drawn_blocks))
    alone = list(range(len(paired))) if crossmodal is not None else []
    return [*found, _plan(APART, APART, names, list(range(len(names))), paired, alone)]


def _plan(
    name: str, kind: str, names: Sequence[str], encoders: Sequence[int], pairs: Sequence[str], blocks: Sequence[int]
) -> Plan:
    return Plan(
        name=name,
        kind=kind,
        encoder_groups=dict(zip(names, encoders, strict=True)),
        pair_groups=dict(zip(pairs, blocks, strict=True)) if blocks else {},
    )


def compare_plans(
    sources: Mapping[str, Source],
    chosen: Sequence[Plan],
    pretraining: TrainingSettings,
    tuning: TrainingSettings,
    batch_sizes: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[tuple[Plan, Joint]]:
    """First the homogeneous pre-training, then every plan, each from the pre-trained weights: one at a time, so that
    one model is held at a time beside the first."""
    total = len(chosen) + 1
    first = train_jointly(sources, pretraining, batch_sizes)
    progress(1, total)
    yield Plan(name=PRETRAINED, kind=PRETRAINED), first
    for done, plan in enumerate(chosen):
        settings = dataclasses.replace(tuning, encoder_groups=plan.encoder_groups, pair_groups=plan.pair_groups)
        yield plan, train_jointly(sources, settings, batch_sizes, start=first)
        progress(done + 2, total)
