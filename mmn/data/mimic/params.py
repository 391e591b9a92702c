"""The few numbers of MIMIC's cohorts that a person may change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmn.data.errors import ParamsError

CXR_MODES = ("clean", "haim")
# HAIM's outcomes are per image, so it has no cohort of ICU stays to repeat.
ICU_MODES = ("clean",)
LABELS = ("chexpert", "negbio", "agreement")


@dataclass(frozen=True, kw_only=True)
class CxrParams:
    """The cohort `cxr`: one item per chest X-ray in a hospital admission.

    mode: "haim" repeats the cohort that HAIM and MultiModN published, bug for bug (`cohort_haim.py`).
    labels: whose study labels count; `agreement` keeps a label only where CheXpert and NegBio say the same.
    both_labels: keep an X-ray only if both targets are known (MultiModN's selection), else at least one.
    icu_admissions_only: keep only admissions with an ICU stay, as HAIM does.
    haim_dummies: in mode "haim", demographics as MultiModN reads them: one column per code that occurs in the cohort
        but the smallest (at most 16 in MIMIC-IV 1.0); false gives HAIM's six columns.
    """

    mode: Literal["clean", "haim"] = "clean"
    labels: str = "chexpert"
    both_labels: bool = True
    icu_admissions_only: bool = True
    haim_dummies: bool = True
    num_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("mimic.mode", self.mode, CXR_MODES)
        _one_of("mimic.cohort.labels", self.labels, LABELS)
        _at_least("mimic.cohort.num_folds", self.num_folds, 2)
        if self.mode == "haim" and self.labels != "chexpert":
            raise ParamsError(
                f"mimic.cohort.labels: {self.labels!r} is not for mode haim, whose labels are CheXpert's alone (a join "
                "with NegBio adds nothing). Leave it out, or set `mimic.mode: clean`."
            )
        if self.mode == "haim" and not self.icu_admissions_only:
            raise ParamsError(
                "mimic.cohort.icu_admissions_only: mode haim starts from ICU stays, so it cannot be false. Leave it "
                "out, or set `mimic.mode: clean`."
            )


@dataclass(frozen=True, kw_only=True)
class IcuParams:
    """The cohort `icu_stay`: one item per ICU stay that lasts at least `hour` hours; predictions are made then."""

    mode: Literal["clean"] = "clean"
    hour: float = 24.0
    num_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("mimic_icu.mode", self.mode, ICU_MODES)
        _at_least("mimic_icu.cohort.num_folds", self.num_folds, 2)
        if not 0 < self.hour <= 24 * 365:
            raise ParamsError(f"mimic_icu.cohort.hour: {self.hour} is not a number of hours in (0, 8760].")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParamsError(f"{name}: {value!r} is unknown; known: {', '.join(known)}.")


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise ParamsError(f"{name}: {value} is too small; at least {low}.")
