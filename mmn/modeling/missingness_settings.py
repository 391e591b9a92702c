"""What a person may set of the missingness experiment, and the names it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# How a modality goes missing in training and validation; `missingness_mechanisms.py` says exactly what each does.
MECHANISMS = ("mcar", "mar", "mnar_label", "mnar_severity")
TESTS = ("complete", "same", "flipped")
Skip = Literal["item", "batch"]
SKIPS: tuple[Skip, ...] = ("item", "batch")
# name -> architecture, what is set in its training settings whatever they say.
REMOVAL_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "multimodn": ("multimodn", {}),
    "p_fusion": ("p_fusion", {"mask_bits": False}),
    "p_fusion_bits": ("p_fusion", {"mask_bits": True}),
    "fusion_transformer": ("fusion_transformer", {"mask_bits": False}),
    "highmmt": ("highmmt", {"pairs_of_absent": "zero"}),
    "highmmt_mean": ("highmmt", {"pairs_of_absent": "mean"}),
}
# The experiment sets these itself.
ITS_OWN = ("skip", "seed", "mask_bits", "pairs_of_absent")


@dataclass(frozen=True, kw_only=True)
class MissingnessSettings:
    """The grid of `missingness.py`: modality x rate x mechanism x test x skip x model.

    modalities: taken away one at a time; () = the data set's one.
    rates: shares of the items concerned that lose the modality; 0, nothing removed, must be one of them.
    models: of REMOVAL_MODELS, trained with skipping per item. The Transformer and HighMMT (with zeros, or the mean of
        the others, for pairs of what is absent) are left out by default, as elsewhere: they cost more than all the
        others. per_batch: those of the models that are trained a second time with the published skipping per batch (for
        comparison only).
    removed_class: the class that loses the modality by label, and towards which a score points that removes it: 1 is
        "the worse, the less is known", 0 is "a test is ordered only where severity is high". Flipped is the other.
    driver: the modality that decides who loses another under "mar"; "" = the other one that most items have.
    epochs: of every model; 0 = as many as in training.
    training: settings that stand over the data set's training here only, and model -> those of one model.
    """

    modalities: tuple[str, ...] = ()
    rates: tuple[float, ...] = (0.0, 0.1, 0.5, 0.8)
    mechanisms: tuple[str, ...] = MECHANISMS
    models: tuple[str, ...] = ("multimodn", "p_fusion", "p_fusion_bits")
    per_batch: tuple[str, ...] = ("multimodn",)
    removed_class: int = 1
    driver: str = ""
    epochs: int = 30
    seed: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names("mechanisms", self.mechanisms, MECHANISMS)
        _check_names("models", self.models, tuple(REMOVAL_MODELS))
        _check_names("per_batch", self.per_batch, self.models, may_be_empty=True)
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities are {self.modalities}; name each once.")
        if not all(0.0 <= rate < 1.0 for rate in self.rates) or len(set(self.rates)) < len(self.rates):
            raise ValueError(f"rates are {self.rates}; each must be at least 0 and below 1, and there once.")
        if 0 not in self.rates or len(self.rates) < 2:
            raise ValueError(
                f"rates are {self.rates}; they must hold 0, which shows what the models are worth before anything is "
                "removed, and at least one above it."
            )
        if self.removed_class not in (0, 1):
            raise ValueError(f"removed_class is {self.removed_class}; it must be 0 or 1.")
        if self.epochs < 0 or self.seed < 0:
            raise ValueError("epochs and seed must not be negative.")
        if own := [name for name in (*ITS_OWN, "epochs") if name in self.training]:
            raise ValueError(f"training.{own[0]}: the experiment sets it for all its models. Leave it out here.")
        for model in set(self.training) & set(REMOVAL_MODELS):
            changes = self.training[model]
            if model not in self.models:
                raise ValueError(f"training.{model}: it is not among the models, {', '.join(self.models)}.")
            if not isinstance(changes, Mapping):
                raise ValueError(f"training.{model} is {changes!r}; it must be a block of training settings.")
            if own := [name for name in ITS_OWN if name in changes]:
                raise ValueError(f"training.{model}.{own[0]}: the experiment sets it itself. Leave it out.")

    def changes(self, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of its training: those of all models, and its own, which stand over them."""
        shared = {name: value for name, value in self.training.items() if name not in REMOVAL_MODELS}
        return shared, dict(self.training.get(model, {}))

    def epochs_of(self, model: str, usual: int) -> int:
        """usual: as many as in training."""
        return int(self.changes(model)[1].get("epochs", self.epochs or usual))

    @property
    def trainings(self) -> tuple[tuple[str, Skip], ...]:
        """(model, skip): what is trained, one after the other."""
        return tuple(
            (model, skip) for model in self.models for skip in SKIPS if skip == "item" or model in self.per_batch
        )


def _check_names(field_name: str, given: tuple[str, ...], known: tuple[str, ...], may_be_empty: bool = False) -> None:
    if not given and not may_be_empty:
        raise ValueError(f"{field_name} is empty; give at least one of {', '.join(known)}.")
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"{field_name}: '{unknown[0]}' is not one of {', '.join(known)}.")
    if len(set(given)) < len(given):
        raise ValueError(f"{field_name} are {given}; name each once.")
