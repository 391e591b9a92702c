"""The few numbers of MIMIC's cohorts that a person may change."""

from __future__ import annotations

from dataclasses import dataclass

from mmn.data.errors import ParamsError

MODES = ("clean",)
LABELS = ("chexpert", "negbio", "agreement")


@dataclass(frozen=True, kw_only=True)
class CxrParams:
    """The cohort `cxr`: one item per chest X-ray in a hospital admission.

    labels: whose study labels count; `agreement` keeps a label only where CheXpert and NegBio say the same.
    both_labels: keep an X-ray only if both targets are known (MultiModN's selection), else at least one.
    icu_admissions_only: keep only admissions with an ICU stay, as HAIM does.
    """

    mode: str = "clean"
    labels: str = "chexpert"
    both_labels: bool = True
    icu_admissions_only: bool = True
    num_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("mimic.mode", self.mode, MODES)
        _one_of("mimic.labels", self.labels, LABELS)
        _at_least("mimic.num_folds", self.num_folds, 2)


@dataclass(frozen=True, kw_only=True)
class IcuParams:
    """The cohort `icu_stay`: one item per ICU stay that lasts at least `hour` hours; predictions are made then."""

    mode: str = "clean"
    hour: float = 24.0
    num_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("mimic_icu.mode", self.mode, MODES)
        _at_least("mimic_icu.num_folds", self.num_folds, 2)
        if not 0 < self.hour <= 24 * 365:
            raise ParamsError(f"mimic_icu.hour: {self.hour} is not a number of hours in (0, 8760].")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParamsError(f"{name}: {value!r} is unknown; known: {', '.join(known)}.")


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise ParamsError(f"{name}: {value} is too small; at least {low}.")
