"""Every modality as tokens of one width: data | zeros | Fourier position | which modality it is (paper, appendix B.1).

t tokens of a modality, E their common width.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmn.data.errors import ContractError
from mmn.modeling.batch import ModalityShape
from mmn.modeling.highmmt.tokens import TokenLayout, token_layout

# Of embeddings of which nothing else is said: a vector wider than this is cut into chunks of CHUNK, each a token; a
# narrower one is a table, each of its elements a token. A series has one token per step.
TABLE, CHUNK = 128, 64
STATIC_BANDS, SERIES_BANDS = 6, 3
# Numbers of a mark that is learnt, as published; one that is not has a number for each modality.
LEARNT_MARK = 10


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A modality as the model is told of it. axes: sizes of the axes whose product is the number of tokens; channels:
    numbers per token; bands, max_freq: of its Fourier positions. shape, patch: how a vector, or a step, is cut (see
    `TokenLayout`); () = in a row."""

    name: str
    channels: int
    axes: tuple[int, ...]
    bands: int
    max_freq: float = 1.0
    shape: tuple[int, ...] = ()
    patch: tuple[int, ...] = ()

    @classmethod
    def of_card(cls, told: dict[str, Any]) -> Declared:
        lists = {name: tuple(told.get(name, ())) for name in ("axes", "shape", "patch")}
        return cls(**{**told, **lists})

    def to_card(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def num_tokens(self) -> int:
        return math.prod(self.axes)

    @property
    def width(self) -> int:
        """Numbers per token before padding and the modality's mark."""
        return self.channels + len(self.axes) * (2 * self.bands + 1)


def declare(shape: ModalityShape, given: Mapping[str, Any] | None = None) -> Declared:
    """How an embedding of this shape becomes tokens. given: `TrainingSettings.tokens` of it. Raises ContractError where
    it has other numbers than the layout."""
    if given is not None:
        return _as_told(shape, token_layout(given))
    if shape.num_steps > 1:
        return Declared(name=shape.name, channels=shape.width, axes=(shape.num_steps,), bands=SERIES_BANDS)
    if shape.width <= TABLE:
        return Declared(name=shape.name, channels=1, axes=(shape.width,), bands=STATIC_BANDS)
    return Declared(name=shape.name, channels=CHUNK, axes=(-(-shape.width // CHUNK),), bands=STATIC_BANDS)


def _as_told(shape: ModalityShape, layout: TokenLayout) -> Declared:
    bands = layout.bands or (SERIES_BANDS if shape.num_steps > 1 else STATIC_BANDS)
    if not layout.shape and not layout.chunk:
        return dataclasses.replace(declare(shape), bands=bands, max_freq=layout.max_freq)
    numbers = math.prod(layout.shape) if layout.shape else shape.width
    if shape.width != numbers or (layout.chunk and shape.width % layout.chunk):
        wanted = " x ".join(map(str, layout.shape)) or f"chunks of {layout.chunk}"
        raise ContractError(
            f"modality '{shape.name}': {shape.width} numbers are not {wanted}. Set `tokens` of the training to the "
            "layout that its features have now."
        )
    steps = (shape.num_steps,) if shape.num_steps > 1 else ()
    return Declared(
        name=shape.name,
        channels=layout.channels,
        axes=(*steps, *(layout.sizes or (shape.width // layout.chunk,))),
        bands=bands,
        max_freq=layout.max_freq,
        shape=layout.shape,
        patch=layout.parts if layout.shape else (layout.chunk,),
    )


def positions(axes: Sequence[int], bands: int, max_freq: float) -> np.ndarray:
    """(*axes, len(axes) * (2 bands + 1)): per axis the sines, the cosines and the place itself, from -1 to 1.

    Frequencies are spaced by powers of 2 from 2 down to half of `max_freq`, as the published code has them.
    """
    places = [np.linspace(-1.0, 1.0, size) if size > 1 else np.array([-1.0]) for size in axes]
    frequencies = 2.0 ** np.linspace(1.0, math.log2(max_freq / 2.0), bands)
    grid = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)[..., None]
    angles = math.pi * grid * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles), grid], axis=-1).reshape(*axes, -1)


@dataclass(frozen=True, kw_only=True)
class Serialiser:
    """All modalities that a model may ever read, used or not; their order gives each its mark. marked: False gives all
    the first one's. learnt: the places of the marks are left empty, for an encoder to put its own there."""

    declared: tuple[Declared, ...]
    marked: bool = True
    learnt: bool = False

    def __post_init__(self) -> None:
        names = [one.name for one in self.declared]
        if len(set(names)) != len(names) or not names:
            raise ContractError(f"the declared modalities must be at least one and all different; they are {names}.")

    @property
    def width(self) -> int:
        """E: the widest modality's numbers, and those of a mark."""
        return max(one.width for one in self.declared) + self._mark_width

    @property
    def _mark_width(self) -> int:
        return LEARNT_MARK if self.learnt else len(self.declared)

    def mark(self, modality: str) -> int:
        """The number of its mark."""
        return self.declared.index(self.of(modality)) if self.marked else 0

    def of(self, modality: str) -> Declared:
        for one in self.declared:
            if one.name == modality:
                return one
        raise ContractError(f"'{modality}' was not declared; there are {', '.join(d.name for d in self.declared)}.")

    @cached_property
    def _tails(self) -> dict[str, Tensor]:
        """modality -> (t, E - channels): what does not depend on the data."""
        tails = {}
        for one in self.declared:
            place = positions(one.axes, one.bands, one.max_freq).reshape(one.num_tokens, -1)
            tail = np.zeros((one.num_tokens, self.width - one.channels))
            tail[:, -self._mark_width - place.shape[1] : -self._mark_width] = place
            if not self.learnt:
                tail[:, -self._mark_width + self.mark(one.name)] = 1.0
            tails[one.name] = torch.from_numpy(tail)
        return tails

    def tokens(self, modality: str, x: Tensor) -> Tensor:
        """x: (..., t, channels) -> (..., t, E)."""
        tail = self._tails[modality].to(x.device, x.dtype)
        return torch.cat([x, tail.expand(*x.shape[:-2], *tail.shape)], dim=-1)

    def laid_out(self, modality: str, x_KBTD: Tensor) -> Tensor:
        """An embedding's (K, B, T, D) as (K, B, t, channels); a vector's last chunk is filled up with zeros."""
        one = self.of(modality)
        if one.patch and not one.shape:  # chunks
            return x_KBTD.unflatten(-1, (-1, one.channels)).flatten(2, 3)
        if one.shape:
            return _patches(x_KBTD, one)
        if x_KBTD.shape[2] > 1 or one.channels == x_KBTD.shape[3] > 1:
            return x_KBTD
        x_KBD = x_KBTD[:, :, 0]
        lacking = one.num_tokens * one.channels - x_KBD.shape[-1]
        if lacking:
            x_KBD = torch.nn.functional.pad(x_KBD, (0, lacking))
        return x_KBD.unflatten(-1, (one.num_tokens, one.channels))


def _patches(x_KBTD: Tensor, one: Declared) -> Tensor:
    """(K, B, t, channels): step by step, patch by patch in the order of the axes; within a patch its places in order,
    each with its channels."""
    rank = len(one.patch)
    sizes = [size // part for size, part in zip(one.shape[1:], one.patch, strict=True)]
    split = [number for pair in zip(sizes, one.patch, strict=True) for number in pair]
    x = x_KBTD.unflatten(-1, (one.shape[0], *split))
    axes = [4 + 2 * axis for axis in range(rank)]
    return x.permute(0, 1, 2, *axes, *(axis + 1 for axis in axes), 3).reshape(*x_KBTD.shape[:2], -1, one.channels)
