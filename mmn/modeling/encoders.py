"""MultiModN's encoders: how a modality's evidence moves the state, and which a person chose for each modality.

Every encoder ends in the same layers, `Encoder`. Kinds other than `mlp` put a front before them (`fronts.py`).

K members, B items, D width of the evidence or of a front's features, S state, H hidden, R rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from mmn.data.errors import ParamsError
from mmn.modeling.batch import ModalityShape
from mmn.modeling.encoder_settings import EncoderSettings, encoder_settings, nearest
from mmn.modeling.fronts import FRONTS
from mmn.modeling.layers import MemberLinear, member_values
from mmn.modeling.settings import TrainingSettings


class Encoder(nn.Module):
    """concat(x, state) -> H -> H -> S, ReLU after each, the last included.

    The first layer's matrix is kept in two parts, the rows for x and the rows for the state: x is known for all steps
    at once, the state is not.
    """

    def __init__(self, width: int, state: int, hidden: int, rngs: Sequence[np.random.Generator]) -> None:
        super().__init__()
        self.input = MemberLinear(width, hidden, rngs, fan_in=width + state)
        bound = (width + state) ** -0.5
        self.state_weight = nn.Parameter(member_values(rngs, lambda rng: rng.uniform(-bound, bound, (state, hidden))))
        self.middle = MemberLinear(hidden, hidden, rngs)
        self.output = MemberLinear(hidden, state, rngs)

    def project(self, x_KRD: Tensor) -> Tensor:
        """x's part of the first layer, (K, R, H)."""
        return self.input(x_KRD)

    def later_layers(self) -> list[MemberLinear]:
        """All but the first, in order; a ReLU follows each."""
        return [
            layer for part in (self.middle, self.output) for layer in part.modules() if isinstance(layer, MemberLinear)
        ]

    def forward(self, projected_KBH: Tensor, state_KBS: Tensor) -> Tensor:
        hidden_KBH = torch.relu_(torch.baddbmm(projected_KBH, state_KBS, self.state_weight))
        return torch.relu_(self.output(torch.relu_(self.middle(hidden_KBH))))


def chosen_encoders(modalities: Sequence[ModalityShape], settings: TrainingSettings) -> dict[str, EncoderSettings]:
    """modality -> its encoder, where that is not the MLP. Raises ParamsError for what does not fit the modalities."""
    shapes = {m.name: m for m in modalities}
    chosen = {}
    for name, given in settings.encoders.items():
        if name not in shapes:
            raise ParamsError(f"encoders: the model reads no modality '{name}'. {nearest(name, shapes)}")
        encoder, shape = encoder_settings(given), shapes[name]
        if encoder.shape and math.prod(encoder.shape) != shape.width:
            raise ParamsError(
                f"encoders.{name}: shape {list(encoder.shape)} is {math.prod(encoder.shape)} numbers, its embedding "
                f"has width {shape.width}. Give the shape of the embedding, or a featurizer that keeps the raw values."
            )
        if encoder.reads_steps and shape.num_steps == 1:
            raise ParamsError(
                f"encoders.{name}: a {encoder.kind} reads a series, and this modality has one step. If its embedding "
                "is a series laid out flat, give its shape, [channels, length]; else choose mlp."
            )
        if encoder.kind != "mlp":
            chosen[name] = encoder
    return chosen


def restricted(settings: TrainingSettings, modalities: Sequence[str]) -> TrainingSettings:
    """Without the encoders of modalities that a model does not read, for settings that serve several models."""
    return replace(settings, encoders={name: e for name, e in settings.encoders.items() if name in modalities})


def feature_width(modality: ModalityShape, encoder: EncoderSettings | None, hidden: int) -> int:
    """How many numbers per step the last layers read. hidden: where the encoder's own is not given."""
    return modality.width if encoder is None else encoder.hidden or hidden


def build_fronts(
    modalities: Sequence[ModalityShape],
    chosen: dict[str, EncoderSettings],
    hidden: int,
    rngs: Sequence[np.random.Generator],
) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            m.name: FRONTS[chosen[m.name].kind](chosen[m.name], m.width, feature_width(m, chosen[m.name], hidden), rngs)
            for m in modalities
            if m.name in chosen
        }
    )
