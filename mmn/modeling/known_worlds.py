"""Generated worlds in which the best AUROC that any model can have is known: what says that the missingness experiment
measures what it claims to.

Two modalities of one number each. y is 0 or 1, alike often; given y, `a` and `b` are independent and normal with
variance 1 and means +- separation / 2. So the log odds of y given both are separation_a · a + separation_b · b, and the
AUROC of the Bayes rule is Phi(sqrt(separation_a^2 + separation_b^2) / sqrt(2)).

`b` is taken away. A score then is s = c + separation_a · a (+ separation_b · b where present): blind to absence c = 0;
a reader of absence adds the log of P(absent | 1) / P(absent | 0), or of P(present | 1) / P(present | 0), as it was in
training. Given what decides presence, s is normal, so every AUROC is a weighted mean of Phi over pairs of such parts:
in closed form where a label or chance decides, as a sum over a fine grid of quantiles where a value does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.data.folds import subject_folds
from mmn.modeling.missingness_settings import MECHANISMS, TESTS

TASK = Task(name="ill", number=None, kind="binary", description="a planted class")
GRID = 800
# The log odds of a sign that never misled in training are infinite; a model's stay finite. AUROC has its limit here.
CERTAIN = 40.0


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Of one class: the share `weight` (n,) of its items, whose scores are normal with `mean` (n,) and `variance`."""

    weight: np.ndarray
    mean: np.ndarray
    variance: float


@dataclass(frozen=True, kw_only=True)
class KnownWorld:
    """separation: of the two classes' means, in standard deviations."""

    separation_a: float = 1.2
    separation_b: float = 1.5
    num_items: int = 1000
    num_folds: int = 3
    seed: int = 0

    def generate(self) -> tuple[Cohort, dict[str, Embeddings]]:
        """Task `TASK`; modalities `a` and `b`, which everyone has. Every item is its own subject."""
        rng = np.random.default_rng(self.seed)
        y = rng.permutation(np.arange(self.num_items) % 2).astype(np.float64)
        names = [f"item{n:06d}" for n in range(self.num_items)]
        items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
        embeddings = {}
        for name, separation in (("a", self.separation_a), ("b", self.separation_b)):
            values = (y - 0.5) * separation + rng.standard_normal(self.num_items)
            embeddings[name] = Embeddings(
                items=items["item"].to_numpy(dtype=object),
                values=values.astype(np.float32).reshape(1, -1, 1, 1),
                present=np.ones((self.num_items, 1), dtype=bool),
            )
        folds = subject_folds(items, y.astype(int), self.num_folds, self.seed)
        return Cohort(items=items, targets={TASK.name: y}, folds=folds), embeddings

    def auroc(self, mechanism: str, rate: float, test: str, reads_absence: bool, certain: float = CERTAIN) -> float:
        """Of the Bayes rule of training under `mechanism` at `rate`, on the test items of `test`; class 1 is the one
        that loses `b` by label. On "complete" and "flipped" it is what that rule comes to, not the best there is.

        reads_absence: whether it knows what absence meant in training. certain: the log odds at which it stops
        believing in a sign that was never wrong.
        """
        if mechanism not in MECHANISMS or test not in TESTS:
            raise ParamsError(f"no '{mechanism}' tested on '{test}'; there are {MECHANISMS} and {TESTS}.")
        offset = self._offsets(mechanism, rate, certain) if reads_absence else {True: 0.0, False: 0.0}
        decides = mechanism if test == "same" else test
        return _auroc(self._parts(1, decides, rate, offset), self._parts(0, decides, rate, offset))

    def _parts(self, y: int, decides: str, rate: float, offset: dict[bool, float]) -> list[_Part]:
        """The scores of a class where `decides` says who lacks `b`."""
        sign = 2 * y - 1
        mean_a, mean_b = (sign * d**2 / 2 for d in (self.separation_a, self.separation_b))
        var_a, var_b = self.separation_a**2, self.separation_b**2
        if decides in {"mar", "mnar_severity"}:
            # Of the value that decides, what is above its threshold is gone; sums over its quantiles.
            gone = self._grid(y, decides) > self._threshold(decides, rate)
            score = self._grid(y, decides) * (self.separation_a if decides == "mar" else self.separation_b)
            weight = np.full(GRID, 1.0 / GRID)
            if decides == "mar":
                absent = _Part(weight=weight[gone], mean=offset[False] + score[gone], variance=0.0)
                there = _Part(weight=weight[~gone], mean=offset[True] + score[~gone] + mean_b, variance=var_b)
            else:
                absent = _Part(weight=weight[gone], mean=np.full(gone.sum(), offset[False] + mean_a), variance=var_a)
                there = _Part(weight=weight[~gone], mean=offset[True] + score[~gone] + mean_a, variance=var_a)
            return [absent, there]
        share = {"complete": 0.0, "mcar": rate, "mnar_label": rate * y, "flipped": rate * (1 - y)}[decides]
        return [
            _Part(weight=np.array([share]), mean=np.array([offset[False] + mean_a]), variance=var_a),
            _Part(
                weight=np.array([1 - share]),
                mean=np.array([offset[True] + mean_a + mean_b]),
                variance=var_a + var_b,
            ),
        ]

    def _offsets(self, mechanism: str, rate: float, certain: float) -> dict[bool, float]:
        """Log odds of class 1 by presence (given the driver, where there is one)."""
        if mechanism in {"mcar", "mar"} or rate == 0:
            return {True: 0.0, False: 0.0}
        if mechanism == "mnar_label":
            return {True: float(np.log(1 - rate)), False: certain}
        gone = [float((self._grid(y, mechanism) > self._threshold(mechanism, rate)).mean()) for y in (0, 1)]
        # What is present shows its value, which says all that its presence could.
        return {True: 0.0, False: float(np.clip(np.log(gone[1] / gone[0]), -certain, certain))}

    def _grid(self, y: int, decides: str) -> np.ndarray:
        """Equally likely values of what decides, in a class."""
        separation = self.separation_a if decides == "mar" else self.separation_b
        return self._quantiles + (y - 0.5) * separation

    @cached_property
    def _quantiles(self) -> np.ndarray:
        from scipy.stats import norm

        return norm.ppf((np.arange(GRID) + 0.5) / GRID)

    def _threshold(self, decides: str, rate: float) -> float:
        """Above which `rate` of all items lie."""
        both = np.sort(np.concatenate([self._grid(y, decides) for y in (0, 1)]))
        place = len(both) - round(rate * len(both))
        return float(both[place - 1]) if place else -np.inf


def _auroc(positive: list[_Part], negative: list[_Part]) -> float:
    """The chance that an item of class 1 scores above one of class 0, ties counted half."""
    from scipy.stats import norm

    total = 0.0
    for one in positive:
        for other in negative:
            gap = one.mean[:, None] - other.mean[None, :]
            spread = np.sqrt(one.variance + other.variance)
            above = norm.cdf(gap / spread) if spread else 0.5 * (1 + np.sign(np.round(gap, 12)))
            total += float(one.weight @ above @ other.weight)
    return total


def auroc_error(auroc: float, num_positive: int, num_negative: int) -> float:
    """The standard error of an AUROC from so many items (Hanley and McNeil 1982)."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc)
    variance += (num_positive - 1) * (q1 - auroc**2) + (num_negative - 1) * (q2 - auroc**2)
    return float(np.sqrt(variance / (num_positive * num_negative)))
