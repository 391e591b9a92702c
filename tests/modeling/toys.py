"""Models whose answer is a formula, in the place of trained ones: for tests of what looks into models."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings
from mmn.modeling.architecture import Model
from mmn.modeling.batch import Batch
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.train import train
from mmn.modeling.trained import Trained
from tests.modeling.worlds import SICK, quick


class Formula(Model):
    """0.1 + sum of weight x value + product x (first value) x (second value), of what is present, scaled."""

    dropout_width = 0

    def __init__(self, weights: Mapping[str, float], product: float) -> None:
        super().__init__()
        self.weights, self.product, self.tasks = dict(weights), product, (SICK,)
        self.nothing = nn.Parameter(torch.zeros(1))

    def read(self, batch: Batch) -> dict[str, Tensor]:
        values = {
            name: torch.where(batch.present[name], batch.x[name][..., 0], 0.0)[:, :, 0]
            for name in self.weights
            if name in batch.x
        }
        said = torch.full(batch.real.shape, 0.1)
        for name, value in values.items():
            said = said + self.weights[name] * value
        first, second = list(self.weights)[:2]
        if first in values and second in values:
            said = said + self.product * values[first] * values[second]
        return {SICK.name: said}

    def read_every_step(self, batch: Batch) -> dict[str, Tensor]:
        return {}

    def accumulate_gradients(
        self, batch: Batch, keep: Tensor | None = None, order: Sequence[str] | None = None
    ) -> Tensor:
        raise AssertionError("a formula is not trained")


def with_formula(
    cohort: Cohort, embeddings: Mapping[str, Embeddings], weights: Mapping[str, float], product: float = 0.0
) -> Trained:
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=1))
    return dataclasses.replace(trained, model=Formula(weights, product))


def adding_up(trained: Trained) -> Trained:
    """A MultiModN whose encoders add |W| x to the state and nothing else: the order cannot matter. It needs
    hidden = state and inputs that are not negative (scaler "minmax")."""
    model = trained.model
    assert isinstance(model, MultiModN)
    with torch.no_grad():
        model.initial_state_K1S.abs_()
        for encoder in model.encoders.values():
            encoder.input.weight.abs_()
            encoder.input.bias.zero_()
            encoder.state_weight.copy_(torch.eye(encoder.state_weight.shape[-1]).expand_as(encoder.state_weight))
            for layer in encoder.later_layers():
                layer.weight.copy_(torch.eye(layer.weight.shape[-1]).expand_as(layer.weight))
                layer.bias.zero_()
    return trained
