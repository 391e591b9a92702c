"""How a person, or a data set, says in what tokens HighMMT is to read a modality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_EXAMPLE = {"shape": "[1, 28, 28]", "patch": "[4, 4]"}


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """Of a vector, or of every step of a series.

    shape: channels, then the sizes of its axes, as the numbers lie (a picture: channels, rows, columns). patch: how
    much of each axis is one token, 1 of each where it is not given. So [1, 28, 28] in patches [4, 4] is 7 x 7 tokens of
    16 numbers, and a step of 12 numbers of shape [1, 12] is 12 tokens of one. chunk: instead of a shape, so many
    numbers in a row are a token. bands: of the positions, 0 = as usual; max_freq: of theirs.
    """

    shape: tuple[int, ...] = ()
    patch: tuple[int, ...] = ()
    chunk: int = 0
    bands: int = 0
    max_freq: float = 1.0

    def __post_init__(self) -> None:
        for name in ("shape", "patch"):
            given = getattr(self, name)
            if not isinstance(given, list | tuple) or not all(_is_whole(size, 1) for size in given):
                raise ValueError(
                    f"{name} is {given!r}; it must be a list of whole numbers above 0, such as {_EXAMPLE[name]}."
                )
            object.__setattr__(self, name, tuple(given))
        for name in ("chunk", "bands"):
            given = getattr(self, name)
            if not _is_whole(given, 0):
                raise ValueError(f"{name} is {given!r}; it must be a whole number of at least 0.")
        if self.shape and len(self.shape) < 2:
            raise ValueError("shape must name channels and at least one axis.")
        if self.shape and self.chunk:
            raise ValueError("give a shape or a chunk, not both.")
        if self.patch and len(self.patch) != len(self.shape) - 1:
            raise ValueError(f"patch {list(self.patch)} must have a size for each of the axes {list(self.shape[1:])}.")
        if any(size % part for size, part in zip(self.shape[1:], self.patch, strict=False)):
            raise ValueError(f"axes {list(self.shape[1:])} are no multiples of patch {list(self.patch)}.")
        freq = self.max_freq
        if not isinstance(freq, int | float) or isinstance(freq, bool) or not 0 < freq < math.inf:
            raise ValueError(f"max_freq is {freq!r}; it must be a number above 0, such as 8.0.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens along each axis of the shape."""
        return tuple(size // part for size, part in zip(self.shape[1:], self.parts, strict=True))

    @property
    def parts(self) -> tuple[int, ...]:
        return self.patch or (1,) * (len(self.shape) - 1)

    @property
    def channels(self) -> int:
        """Numbers per token."""
        return self.shape[0] * math.prod(self.parts) if self.shape else self.chunk


def token_layout(given: Any) -> TokenLayout:
    """From a block of `params.yaml` or a card. Raises ValueError for what is no block, or what it does not know."""
    known = [field.name for field in fields(TokenLayout)]
    if not isinstance(given, Mapping):
        raise ValueError(f"{given!r} is no block of settings; write {{shape: {_EXAMPLE['shape']}}} or {{chunk: 32}}.")
    if unknown := [str(name) for name in given if name not in known]:
        raise ValueError(f"{', '.join(unknown)} is unknown; there are {', '.join(known)}.")
    return TokenLayout(**given)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
