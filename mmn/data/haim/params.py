"""The few things about HAIM's embedding file that a person may choose."""

from __future__ import annotations

from dataclasses import dataclass

from mmn.data.errors import ParamsError

MODES = ("haim",)
FOLDS = ("haim", "subject")


@dataclass(frozen=True, kw_only=True)
class HaimParams:
    """One item per chest X-ray of the file.

    nrows: read this many data rows and no more; the released file is malformed after 45,050. None: all, and a row that
        is not sound is refused.
    folds: "haim" as MultiModN has them, grouped by haim_id (an ICU stay), so that a patient may sit on both sides;
        "subject" keeps patients apart and needs HAIM's key file.
    both_labels: keep an X-ray only if both targets are known (MultiModN's selection), else at least one.
    dummies: the five category codes as 0/1 columns, the smallest code left out (MultiModN), else as they are.
    constant_is_absent: a note vector that is HAIM's constant of "no note" counts as absent, else as a vector.
    """

    mode: str = "haim"
    nrows: int | None = None
    folds: str = "haim"
    both_labels: bool = True
    dummies: bool = True
    constant_is_absent: bool = False
    num_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (("mode", self.mode, MODES), ("cohort.folds", self.folds, FOLDS)):
            if value not in known:
                raise ParamsError(f"mimic_haim.{name}: {value!r} is unknown; known: {', '.join(known)}.")
        for name, number, low in (("nrows", self.nrows, 1), ("num_folds", self.num_folds, 2)):
            if number is not None and number < low:
                raise ParamsError(f"mimic_haim.cohort.{name}: {number} is too small; at least {low}.")
