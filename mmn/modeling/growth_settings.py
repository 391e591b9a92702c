"""How large the worlds of the open questions are: the block `open_questions` of `params.yaml`."""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURES = ("multimodn", "p_fusion", "fusion_transformer")


@dataclass(frozen=True, kw_only=True)
class OpenQuestionsSettings:
    """ask: whether the questions are put at all. items, epochs: of every training. modalities, tasks, states: of the
    study of state sizes, all combinations. steps: of the longest series. grown: numbers of modalities whose cost is
    counted."""

    ask: bool = False
    items: int = 1000
    epochs: int = 30
    modalities: tuple[int, ...] = (2, 8)
    tasks: tuple[int, ...] = (1, 4)
    states: tuple[int, ...] = (1, 4, 16)
    steps: int = 12
    grown: tuple[int, ...] = (2, 4, 8, 16, 32)

    def __post_init__(self) -> None:
        for name in ("modalities", "tasks", "states", "grown"):
            values = getattr(self, name)
            if not values or not all(type(value) is int and value > 0 for value in values):
                raise ValueError(f"{name} must be a list of whole numbers above 0.")
        for name, least in (("items", 50), ("epochs", 1), ("steps", 3)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {least} or more.")
