"""Which encoder MultiModN reads a modality with, as a person writes it: `{kind: gru, hidden: 16}`. No torch here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Kind -> the options that it knows besides `kind`.
KINDS: dict[str, tuple[str, ...]] = {
    "mlp": (),
    "gru": ("hidden", "shape"),
    "lstm": ("hidden", "shape"),
    "cnn1d": ("hidden", "shape", "kernel", "layers"),
    "resnet": ("hidden", "shape", "stages"),
}


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """One modality's encoder.

    hidden: how many features it makes of the evidence; 0 = `TrainingSettings.hidden`.
    shape: what an embedding is, laid out flat, the channels first: (channels, length) of a raw series, (channels,
        height, width) of a picture. () = the series is that of the modality's steps; a resnet must have one.
    kernel, layers: of the 1-D convolution: its width, and how many, each with twice the dilation of the one before.
    stages: of the ResNet, one residual block each; every one but the first halves the picture.
    """

    kind: str = "mlp"
    hidden: int = 0
    shape: tuple[int, ...] = ()
    kernel: int = 3
    layers: int = 2
    stages: int = 2

    def __post_init__(self) -> None:
        for name, least in (("hidden", 0), ("kernel", 1), ("layers", 1), ("stages", 1)):
            if not _whole(getattr(self, name), least):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be a whole number of at least {least}.")
        num_dimensions = {"resnet": (3,), "mlp": (0,)}.get(self.kind, (0, 2))
        if len(self.shape) not in num_dimensions or any(not _whole(n, 1) for n in self.shape):
            wanted = "[channels, height, width]" if self.kind == "resnet" else "[channels, length], or none"
            raise ValueError(f"shape is {list(self.shape)}; a {self.kind} needs {wanted}, whole numbers from 1.")
        if self.kind == "resnet" and min(self.shape[1:]) < 2**self.stages:
            raise ValueError(f"shape is {list(self.shape)}: too small for {self.stages} stages, which halve it; fewer.")

    @property
    def reads_steps(self) -> bool:
        """Whether it reads the modality's steps as one series; else each step by itself."""
        return self.kind in {"gru", "lstm", "cnn1d"} and not self.shape


def encoder_settings(given: Any) -> EncoderSettings:
    """Raises ValueError for an unknown kind or option, with the nearest known one, and for a wrong value."""
    if not isinstance(given, Mapping) or "kind" not in given:
        raise ValueError(f"{given!r} is no encoder; write a block such as {{kind: gru}}; kinds: {', '.join(KINDS)}.")
    kind = given["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"there is no encoder of kind {kind!r}. {nearest(str(kind), KINDS)}")
    for name in given:
        if name != "kind" and name not in KINDS[kind]:
            raise ValueError(f"a {kind} has no setting '{name}'. {nearest(str(name), KINDS[kind])}")
    shape = given.get("shape", ())
    if not isinstance(shape, list | tuple):
        raise ValueError(f"shape is {shape!r}; it must be a list such as [1, 32, 32].")
    return EncoderSettings(**{**given, "shape": tuple(shape)})


def nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known) or 'none'}."


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
