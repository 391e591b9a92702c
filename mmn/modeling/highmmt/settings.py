"""What is measured and trained over several data sets: the block `highmmt` of `params.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# What decides the shapes of a HighMMT's weights.
SIZES = (
    "latents",
    "latent_width",
    "latent_head_size",
    "cross_heads",
    "pair_heads",
    "latent_heads",
    "cross_depth",
    "tokens",
)


@dataclass(frozen=True, kw_only=True)
class HighMMTSettings:
    """datasets: those that are joined, two or more; none = the analysis is off. tasks: data set -> which of its tasks
    are learnt and judged here; all where none is named.

    seeds: of the heterogeneity measurement, each over all folds. against: what a transfer is compared with, the node's
    model started again from its own weights, or (the paper) that model itself. share: of all pairs of nodes that is
    measured, by lot; the rest is completed by a matrix of rank 3. crossmodal: also between pairs of modalities;
    crossmodal_share: the share of those, None = `share`.
    budgets: numbers of groups that are tried; by_lot: groupings by lot for each. few_shot: shares of a target's
    training labels. ablations: also train without one part each (paper, table 5).
    analyses: also who takes part in what, and what wrong labels do (tables 6 and 7). involvement_items: test items per
    task whose gradients are looked at. involvement_threshold: a parameter is involved in the tasks in which it takes
    part this share as much as where it does most.
    mode: where paper and published code differ, which is followed, by every model here (docs/highmmt.md).
    cross_group: of mode published: the weight with which each encoder, by its number, learns in fine-tuning from data
    sets that have no modality in its group, too.
    training: settings of every training here; measuring, tuning: what differs in the measurement, and in the trainings
    that begin from the pre-trained weights. batch_sizes: data set -> its own, so that all have about as many batches.
    """

    datasets: tuple[str, ...] = ()
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    against: Literal["again", "own"] = "again"
    share: float = 1.0
    crossmodal: bool = True
    crossmodal_share: float | None = None
    budgets: tuple[int, ...] = (2, 4)
    by_lot: int = 2
    few_shot: tuple[float, ...] = (0.1, 1.0)
    ablations: bool = True
    analyses: bool = True
    involvement_items: int = 64
    involvement_threshold: float = 0.2
    mode: Literal["paper", "published"] = "paper"
    cross_group: tuple[float, ...] = (0.003, 0.011, 0.003, 0.0)
    training: Mapping[str, Any] = field(default_factory=dict)
    measuring: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)
    batch_sizes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.datasets) == 1 or len(set(self.datasets)) < len(self.datasets):
            raise ValueError("datasets must name two or more, each once (or none: the analysis is off).")
        for name, kind in (("datasets", str), ("seeds", int), ("budgets", int)):
            if not all(isinstance(value, kind) and not isinstance(value, bool) for value in getattr(self, name)):
                raise ValueError(f"{name} must be a list of {'names' if kind is str else 'whole numbers'}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds must be at least one, each once, none negative.")
        if both := [key for key in SIZES if key in self.tuning]:
            raise ValueError(
                f"tuning names {both[0]}: it begins from trained weights, so `training` decides their sizes."
            )
        for name in ("training", "measuring", "tuning"):
            if both := [key for key in ("mode", "marks") if key in getattr(self, name)]:
                raise ValueError(f"{name} names {both[0]}: `mode` decides it once, for the whole analysis.")
            if own := [
                key for key in ("encoder_groups", "pair_groups", "without", "draw") if key in getattr(self, name)
            ]:
                raise ValueError(f"{name} names {own[0]}: the analysis sets it itself. Leave it out.")
        if not all(isinstance(w, int | float) and not isinstance(w, bool) and w >= 0 for w in self.cross_group):
            raise ValueError("cross_group must be a list of weights of at least 0.")
        for name in ("share", "crossmodal_share"):
            if (given := getattr(self, name)) is not None and not 0 < given <= 1:
                raise ValueError(f"{name} is {given}; it must be above 0, up to 1.")
        if self.involvement_items < 1 or not 0 < self.involvement_threshold <= 1:
            raise ValueError("involvement_items must be at least 1, involvement_threshold above 0, up to 1.")
        if any(budget < 2 for budget in self.budgets) or self.by_lot < 0:
            raise ValueError("budgets must be at least 2 each (1 is always there), and by_lot not negative.")
        if len(set(self.budgets)) < len(self.budgets):
            raise ValueError(f"budgets are {list(self.budgets)}; name each once.")
        if not all(isinstance(s, int | float) and not isinstance(s, bool) and 0 < s <= 1 for s in self.few_shot):
            raise ValueError("few_shot must be shares above 0, up to 1.")
        for where in ("batch_sizes", "tasks"):
            if others := [name for name in getattr(self, where) if name not in self.datasets]:
                raise ValueError(f"{where} names {others[0]}, which is not among the datasets.")
        for name, size in self.batch_sizes.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(f"batch_sizes.{name} is {size!r}; it must be a whole number of at least 1.")
