"""What a person may set of XGBoost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class XGBoostSettings:
    """Defaults from the middle of HAIM's grid: depth {5..8}, trees {200, 300}, learning rate {0.3, 0.1, 0.05}.

    n_estimators: the most trees; early_stopping_rounds: how many more are grown without a better validation loss
    before the best number is kept, 0 = all of them (ours; HAIM has none).
    grid: try `HAIM_GRID` instead of the three, and take each member's best by its validation loss.
    balanced: both classes weigh the same in training and validation loss (HAIM's `scale_pos_weight`); P(1) is then
        calibrated to equal classes, not to the prevalence.
    seed: of members that have none of their own. Without subsampling, which HAIM does not use, nothing is random.
    """

    max_depth: int = 6
    n_estimators: int = 300
    learning_rate: float = 0.1
    early_stopping_rounds: int = 30
    grid: bool = False
    balanced: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_depth", "n_estimators"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("early_stopping_rounds", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0 and at most 1.")
