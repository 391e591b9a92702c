"""`params.yaml`: the few numbers a person changes between runs. Defaults live beside the code that they configure.

Its shape: one block per data set with `cohort`, `features` (by modality), `autoencoder`, `training` and `missingness`.
An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any

import yaml

from mmn.data.errors import ParamsError

FILE = "params.yaml"


def load_params(root: Path) -> dict[str, Any]:
    path = root / FILE
    if not path.exists():
        return {}
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place else ""
        raise ParamsError(
            f"{path}{where}: not readable as YAML. Mend the line, or restore the file from git."
        ) from error
    if not isinstance(loaded, dict):
        raise ParamsError(f"{path}: expected a block per data set, found {type(loaded).__name__}.")
    return loaded


def section(params: dict[str, Any], dotted: str) -> dict[str, Any]:
    """The overrides under a dotted path such as `mimic.features.notes`; {} where the file has none."""
    value: Any = params
    for part in dotted.split("."):
        value = (value or {}).get(part) if isinstance(value, dict) else None
    return value or {}


def resolve(defaults: Any, overrides: dict[str, Any], where: str) -> Any:
    """The frozen dataclass `defaults` with `overrides` put in. Raises ParamsError: an unknown key or a wrong type."""
    if not isinstance(overrides, dict):
        raise ParamsError(f"{FILE}: {where} must be a block of settings, found {type(overrides).__name__}.")
    known = {field.name for field in dataclasses.fields(defaults)}
    for key in overrides:
        check_known(key, known, where)
    hints = typing.get_type_hints(type(defaults))
    values = {key: _coerce(value, hints[key], f"{where}.{key}") for key, value in overrides.items()}
    try:
        return dataclasses.replace(defaults, **values)
    except (TypeError, ValueError) as error:
        raise ParamsError(f"{FILE}: {where}: {error}") from error


def check_known(key: object, known: typing.Iterable[str], where: str) -> None:
    if not isinstance(key, str):
        # YAML takes on, off, yes and no for true and false, and 1 for a number.
        raise ParamsError(
            f"{FILE}: {where} has the key {key!r}, which YAML does not read as text. Known: {', '.join(sorted(known))}."
        )
    if key not in (known := sorted(known)):
        raise ParamsError(f"{FILE}: {where} has no setting '{key}'. {nearest_of(key, known)}")


def nearest_of(key: str, known: typing.Sequence[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean '{nearest[0]}'?" if nearest else f"Known: {', '.join(known) or 'none'}."


def _as_float(value: Any) -> float | None:
    """A number, or what YAML reads as text although it is one (1e-3)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _is_plainly(value: Any, kind: Any) -> bool:
    """isinstance, but True and False are no integers."""
    return isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """An int where a float is due is converted; anything else of another type is refused."""
    options = typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, types.UnionType} else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        origin = typing.get_origin(option) or option
        if origin is typing.Literal:
            if value in typing.get_args(option):
                return value
        elif origin is float and (number := _as_float(value)) is not None:
            return number
        elif origin is tuple and isinstance(value, list | tuple):
            return tuple(value)
        elif option is Any or _is_plainly(value, origin):
            return value
    names = " or ".join(
        " | ".join(map(repr, typing.get_args(o)))
        if typing.get_origin(o) is typing.Literal
        else getattr(o, "__name__", str(o))
        for o in options
    )
    raise ParamsError(f"{FILE}: {where} is {value!r}; expected {names}.")
