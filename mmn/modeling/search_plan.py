"""What a search tries: the paper's grid and sweeps, and which settings can be searched at all.

An axis is a field of `TrainingSettings` with the values to try. A plan names settings by their role.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmn.data.dataset import Task
from mmn.data.errors import ParamsError
from mmn.modeling import MODELS, load_model
from mmn.modeling.batch import ModalityShape
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.settings import TrainingSettings

Axes = Mapping[str, Sequence[Any]]
Plan = Mapping[str, TrainingSettings]

# Swamy et al. 2023, Fig. 9 and appendix: what is varied, and the three settings that it is varied from. The paper gives
# the groups no dropout: they keep the data set's. Of batch, hidden and dropout it gives the range; the steps are ours.
PAPER_AXES: Axes = {
    "state": (1, 5, 10, 20, 50, 100),
    "batch_size": (8, 16, 32, 64, 128),
    "hidden": (16, 32, 64, 128),
    "dropout": (0.0, 0.1, 0.2, 0.3),
}
PAPER_GROUPS: Mapping[str, Mapping[str, Any]] = {
    "small": {"batch_size": 32, "hidden": 16, "state": 10},
    "medium": {"batch_size": 64, "hidden": 32, "state": 20},
    "large": {"batch_size": 128, "hidden": 64, "state": 30},
}
DEFAULT = "default"

_NOT_SEARCHED = {
    "select_by": "it defines the score that settings are compared by",
    "select_task": "it defines the score that settings are compared by",
    "seed": "give several as `seeds`: they train side by side",
    "device": "it belongs to the machine",
    "dtype": "it belongs to the machine",
    "task_weights": "it is no single value",
    "encoders": "it is no single value",
}
# Settings that only some architectures look at, and all when they are built.
_SHAPING = {
    "hidden", "state", "token", "blocks", "heads", "head_size", "mlp", "mlp_dropout", "mask_bits", "normalise",
    "state_change_penalty", "latents", "latent_width", "latent_head_size", "cross_heads", "pair_heads", "latent_heads",
    "cross_depth", "pairs_of_absent", "mode", "marks", "without",
}  # fmt: skip
# Settings of training that only a model with a state can follow.
_OF_ORDER = {"shuffle_order"}


def paper_plan(base: TrainingSettings, architecture: str = "multimodn") -> dict[str, TrainingSettings]:
    """The paper's sweeps round its three groups, over those axes that the architecture reads (P-Fusion has no state).

    "default" is `base`: the paper's own setting for the data set (Table 3), which all else is compared with.
    """
    axes = paper_space(architecture)
    groups = {name: {k: v for k, v in values.items() if k in axes} for name, values in PAPER_GROUPS.items()}
    return one_at_a_time(base, groups, axes)


def paper_space(architecture: str = "multimodn") -> dict[str, Sequence[Any]]:
    """`PAPER_AXES`, less what the architecture never reads."""
    without = unread(architecture, PAPER_AXES)
    return {axis: points for axis, points in PAPER_AXES.items() if axis not in without}


def one_at_a_time(
    base: TrainingSettings, groups: Mapping[str, Mapping[str, Any]], axes: Axes
) -> dict[str, TrainingSettings]:
    """role -> settings: "default" (the base), a group's "small", and "small: state=5" for each other value."""
    plan = {DEFAULT: base}
    for group, values in groups.items():
        plan[group] = centre = changed(base, values)
        for axis, points in axes.items():
            for point in points:
                if (one := changed(centre, {axis: point})) != centre:
                    plan[f"{group}: {axis}={getattr(one, axis)}"] = one
    return plan


def changed(base: TrainingSettings, values: Mapping[str, Any]) -> TrainingSettings:
    """The base with other values, each in its field's own type. Raises ParamsError for what cannot be."""
    check_axes(values)
    try:
        return dataclasses.replace(base, **{axis: _typed(axis, value) for axis, value in values.items()})
    except ValueError as error:
        raise ParamsError(f"the search cannot try {dict(values)}: {error}") from error


def check_axes(axes: Iterable[str], architecture: str | None = None) -> None:
    """Raises ParamsError for an axis that is unknown, cannot be searched, or is not read by the architecture."""
    known = [f.name for f in dataclasses.fields(TrainingSettings)]
    for axis in axes:
        if axis not in known:
            near = difflib.get_close_matches(axis, known, n=1)
            raise ParamsError(f"unknown setting '{axis}'" + (f"; did you mean '{near[0]}'?" if near else "."))
        if axis in _NOT_SEARCHED:
            raise ParamsError(f"'{axis}' cannot be searched: {_NOT_SEARCHED[axis]}.")
        if axis not in _TYPES:
            raise ParamsError(f"'{axis}' cannot be searched: it is no number, no yes or no, and none of a few words.")
    if architecture is not None and (idle := sorted(unread(architecture, axes))):
        raise ParamsError(f"{architecture} does not read {', '.join(idle)}: leave it out of the search.")


def unread(architecture: str, axes: Iterable[str]) -> set[str]:
    """The axes that this architecture never looks at: to vary them would train the same model again."""
    if architecture not in MODELS:
        raise ParamsError(f"unknown model '{architecture}'; known: {', '.join(MODELS)}.")
    watched: Any = _Watched(TrainingSettings())
    # Two, so that what is made for pairs is made.
    shapes = tuple(ModalityShape(name=name, width=1, num_steps=1) for name in ("one", "other"))
    tasks = (Task(name="any task", number=None, kind="binary", description=""),)
    model = load_model(architecture).build(shapes, tasks, 1, watched, [np.random.default_rng(0)])
    idle = (set(axes) & _SHAPING) - watched.read
    return idle if isinstance(model, MultiModN) else idle | (set(axes) & _OF_ORDER)


class _Watched:
    """Settings that remember which of them were looked at."""

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.settings, name)


def with_own(axis: str, values: Sequence[Any], own: Any) -> tuple[Any, ...]:
    """An axis' distinct values and the base's own; numbers in ascending order."""
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise ParamsError(f"'{axis}': {values!r} is no list of values to try.")
    distinct = dict.fromkeys([*(_typed(axis, value) for value in values), own])
    return tuple(sorted(distinct)) if ordered(tuple(distinct)) else tuple(distinct)


def ordered(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _typed(axis: str, value: Any) -> Any:
    """0 and 0.0 are one dropout; 32.0 is no width."""
    wanted = _TYPES[axis]
    if choices := typing.get_args(wanted):
        if value not in choices:
            raise ParamsError(f"'{axis}' cannot be {value!r}; known: {', '.join(map(str, choices))}.")
        return value
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if wanted is float and number and np.isfinite(value):
        return float(value)
    if wanted is int and number and value == int(value) and not isinstance(value, float):
        return int(value)
    if wanted is bool and isinstance(value, bool):
        return value
    raise ParamsError(f"'{axis}' cannot be {value!r}; it is of type {wanted.__name__}.")


_TYPES = {
    name: kind
    for name, kind in typing.get_type_hints(TrainingSettings).items()
    if name not in _NOT_SEARCHED and (kind in {int, float, bool} or typing.get_origin(kind) is typing.Literal)
}
