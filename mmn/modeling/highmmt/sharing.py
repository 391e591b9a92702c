"""Who shares an encoder and a pair block with whom, as plans for one model over several data sets (paper, table 5 and
section 4.2): all with all; encoders alone, or pair blocks alone; groups by measured heterogeneity, by lot of the same
sizes, and by distance of features; none with none.

`compare_plans` trains the first, then every other plan from its weights, and once more the first itself from its own,
so that all have been trained as long; and the first grouping without that pre-training, from the start, for as many
epochs in all. What a plan costs is its number of parameters; what it gives are the scores of each data set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.highmmt.grouping import groups, random_groups
from mmn.modeling.highmmt.heterogeneity import Source
from mmn.modeling.highmmt.joint import Joint, train_jointly
from mmn.modeling.highmmt.network import pair_name
from mmn.modeling.settings import TrainingSettings

PRETRAINED, SHARED, APART, MEASURED, BY_LOT = "pre-training", "all shared", "none shared", "groups", "groups by lot"
BY_FEATURES, FROM_START = "groups by features", "groups without pre-training"
ENCODERS, BLOCKS = "encoders shared alone", "pair blocks shared alone"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """encoder_groups: modality -> group; pair_groups: pair -> group ({} = all share one)."""

    name: str
    kind: str
    encoder_groups: Mapping[str, int] = field(default_factory=dict)
    pair_groups: Mapping[str, int] = field(default_factory=dict)

    @property
    def from_start(self) -> bool:
        return self.kind == FROM_START


def plans(
    unimodal: np.ndarray,
    names: Sequence[str],
    crossmodal: np.ndarray | None,
    pairs: Sequence[tuple[str, str]],
    budgets: Sequence[int],
    num_by_lot: int,
    seed: int = 0,
    features: tuple[np.ndarray, np.ndarray] | None = None,
) -> list[Plan]:
    """unimodal: (M, M) distances of `names`; crossmodal: (P, P) of `pairs`, None = all pairs share one block in every
    plan but that of none shared. budgets:
    numbers of groups of encoders, and of pair blocks where there are as many pairs. features: both distances once more,
    of features (`features.py`); None = no groups by them."""
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
        if features is not None:
            by_features = [groups(d, min(budget, len(d))) if len(d) else [] for d in features]
            mine = by_features[1] if crossmodal is not None else []
            found.append(_plan(f"{budget} {BY_FEATURES}", BY_FEATURES, names, by_features[0], paired, mine))
        if budget == budgets[0]:
            found.append(_plan(f"{budget} {FROM_START}", FROM_START, names, encoders, paired, blocks))
    each, alone = list(range(len(names))), list(range(len(paired)))
    if crossmodal is not None:
        found.append(_plan(ENCODERS, ENCODERS, names, [0] * len(names), paired, alone))
        found.append(_plan(BLOCKS, BLOCKS, names, each, paired, []))
    return [*found, _plan(APART, APART, names, each, paired, alone)]


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
    choose: Callable[[Joint], Sequence[Plan]],
    pretraining: TrainingSettings,
    tuning: TrainingSettings,
    batch_sizes: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: Callable[[str], Checkpoint | None] = lambda name: None,
    cross_group: Sequence[float] = (),
) -> Iterator[tuple[Plan, Joint]]:
    """First the homogeneous pre-training, then every plan, each from the pre-trained weights: one at a time, so that
    one model is held at a time beside the first. choose: the plans, once the pre-trained model is there. checkpoint: of
    each training, by the plan's name. cross_group: of `train_jointly`, for the plans that begin from those weights."""
    first = train_jointly(sources, pretraining, batch_sizes, checkpoint=checkpoint(PRETRAINED))
    chosen = choose(first)
    total = len(chosen) + 1
    progress(1, total)
    yield Plan(name=PRETRAINED, kind=PRETRAINED), first
    for done, plan in enumerate(chosen):
        base = tuning
        if plan.from_start:
            base = dataclasses.replace(pretraining, epochs=pretraining.epochs + tuning.epochs)
        settings = dataclasses.replace(base, encoder_groups=plan.encoder_groups, pair_groups=plan.pair_groups)
        start, crossing = (None, ()) if plan.from_start else (first, cross_group)
        kept = checkpoint(plan.name)
        yield plan, train_jointly(sources, settings, batch_sizes, start, checkpoint=kept, cross_group=crossing)
        progress(done + 2, total)
