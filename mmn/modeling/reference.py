"""Weights and answers in the published implementation's layout (one .npz), and whether our MultiModN gives the same.

The layout, with N items, M modalities of width D_i, T binary tasks and a state of size S:

    init_state                              (S,)
    encoder{i}.layer{j}.weight, .bias       (out, in), (out,); reads concat(x_i, state); ReLU after every layer
    decoder{t}.layer{j}.weight, .bias       (out, in), (out,); ReLU between, two sigmoid outputs at the end
    x{i}, present, y                        (N, D_i), (N, M) of 0/1, (N, T) of 0/1
    probabilities                           (N, M + 1, T, 2); NaN where the encoder was skipped, and only there
    final_state, loss_per_sample, mean_loss (N, S), (N,), ()
    gradnorm.init_state.state_value, grad.init_state                     (), (S,)
    gradnorm.encoders.{i}.layers.{n}.weight, .bias, and of the decoders  (), of the gradient of mean_loss

n counts the published module's own layers: a dropout may come first, so only its order is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmn.data.errors import ContractError
from mmn.modeling.batch import Batch
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.published_weights import LAYOUT, LayoutFile, Weights, linears

TOLERANCE = 1e-5
# A key of these forms is part of the layout: one that nothing reads means that the file says more than its shapes do.
LAYOUT_KEY = re.compile(r"(encoder|decoder)\d+\.|x\d+$|gradnorm\.")


@dataclass(frozen=True, kw_only=True)
class Reference(Weights):
    """One file, checked; numbers are float64. The answers have the file's names and shapes.

    gradient_norms: `init_state`, `encoder{i}.layer{j}.weight`, ... -> L2 norm of mean_loss's gradient.
    """

    x: tuple[np.ndarray, ...]
    present: np.ndarray
    y: np.ndarray
    probabilities: np.ndarray
    final_state: np.ndarray
    loss_per_sample: np.ndarray
    mean_loss: np.ndarray
    gradient_norms: Mapping[str, np.ndarray]
    grad_init_state: np.ndarray

    def batch(self, items: slice = slice(None)) -> Batch:
        """The items as one batch of one member. What absent modalities hold is passed on where it is finite."""
        present, y = self.present[items], self.y[items].astype(np.float64)
        # Absent evidence may be NaN in the file, and a batch is finite everywhere.
        xs = [np.where(np.isfinite(x[items]), x[items], 0.0) for x in self.x]
        return Batch(
            x={f"m{i}": torch.from_numpy(x[None, :, None]) for i, x in enumerate(xs)},
            present={f"m{i}": torch.from_numpy(present[None, :, i : i + 1]) for i in range(present.shape[1])},
            targets={f"t{t}": torch.from_numpy(y[None, :, t : t + 1]) for t in range(y.shape[1])},
            real=torch.ones((1, len(present)), dtype=torch.bool),
        )


def read_reference(path: str | Path) -> Reference:
    """Every shape is read from the file. ContractError: no .npz of numbers, or a key is missing or misshapen."""
    file = LayoutFile(Path(path))
    init_state = file.numbers("init_state", (None,))
    present, y = file.flags("present"), file.flags("y")
    (N, M), (_, T), S = present.shape, y.shape, len(init_state)
    if len(y) != N:
        raise ContractError(f"{path}: present has {N} items, y has {len(y)}. {LAYOUT}")
    x = tuple(file.numbers(f"x{i}", (N, None), finite=present[:, i, None]) for i in range(M))
    encoders = tuple(file.layers(f"encoder{i}", x[i].shape[1] + S, S) for i in range(M))
    decoders = tuple(file.layers(f"decoder{t}", S, 2) for t in range(T))
    norms = {"init_state": file.numbers("gradnorm.init_state.state_value", ())}
    for kind, modules, first in (("encoder", encoders, 1), ("decoder", decoders, 0)):
        for number, layers in enumerate(modules):
            norms |= file.gradient_norms(kind, number, len(layers), first)
    exists = _exists(present)[:, :, None, None]
    reference = Reference(
        init_state=init_state,
        encoders=encoders,
        decoders=decoders,
        x=x,
        present=present,
        y=y,
        probabilities=file.numbers("probabilities", (N, M + 1, T, 2), finite=exists),
        final_state=file.numbers("final_state", (N, S)),
        loss_per_sample=file.numbers("loss_per_sample", (N,)),
        mean_loss=file.numbers("mean_loss", ()),
        gradient_norms=norms,
        grad_init_state=file.numbers("grad.init_state", (S,)),
    )
    if not np.isnan(np.where(exists, np.nan, reference.probabilities)).all():
        raise ContractError(f"{path}: probabilities has values after modalities that are absent. {LAYOUT}")
    file.refuse_unread(LAYOUT_KEY)
    return reference


def verify_reference(path: str | Path) -> dict[str, float]:
    """Quantity, named as in the file -> the largest absolute difference to what MultiModN gives in float64."""
    reference = read_reference(path)
    model, batch = reference.model(), reference.batch()
    with torch.no_grad():
        states = model.states(batch)
        raw = torch.stack([torch.stack([d(state)[0] for d in model.decoders.values()], dim=1) for state in states], 1)
        # One item at a time, as the published code ran; the mean below is of one batch.
        per_item = [float(model.losses(reference.batch(slice(n, n + 1)))) for n in range(batch.size)]
    mean_loss = float(model.accumulate_gradients(batch).sum())
    gradients = _gradients(model, reference)
    norms = reference.gradient_norms
    there = _exists(reference.present)
    return {
        "probabilities": _largest(torch.sigmoid(raw).numpy()[there] - reference.probabilities[there]),
        "final_state": _largest(states[-1][0].numpy() - reference.final_state),
        "loss_per_sample": _largest(per_item - reference.loss_per_sample),
        "mean_loss": _largest(mean_loss - reference.mean_loss),
        "gradnorm": _largest([float(gradients[name].norm()) - float(norm) for name, norm in norms.items()]),
        "grad.init_state": _largest(gradients["init_state"].numpy().ravel() - reference.grad_init_state),
    }


def beyond(differences: Mapping[str, float], tolerance: float = TOLERANCE) -> list[str]:
    """The quantities that differ by more. NaN is no agreement."""
    return [name for name, difference in differences.items() if not difference <= tolerance]


def _exists(present: np.ndarray) -> np.ndarray:
    """(N, M + 1) bool: state 0 always; a later one where its modality is present."""
    return np.concatenate([np.ones((len(present), 1), dtype=bool), present], axis=1)


def _gradients(model: MultiModN, reference: Reference) -> dict[str, Tensor]:
    """Named as `Reference.gradient_norms`."""
    found = {"init_state": _gradient(model.initial_state_K1S)}
    for i, layers in enumerate(reference.encoders):
        encoder = model.encoder(f"m{i}")
        found[f"encoder{i}.layer0.weight"] = torch.cat(
            [_gradient(encoder.input.weight), _gradient(encoder.state_weight)], dim=1
        )
        found[f"encoder{i}.layer0.bias"] = _gradient(encoder.input.bias)
        in_order = [encoder.input, *linears(encoder.middle), encoder.output]
        for j in range(1, len(layers)):
            found[f"encoder{i}.layer{j}.weight"] = _gradient(in_order[j].weight)
            found[f"encoder{i}.layer{j}.bias"] = _gradient(in_order[j].bias)
    for t, decoder in enumerate(model.decoders.values()):
        for j, linear in enumerate(linears(decoder)):
            found[f"decoder{t}.layer{j}.weight"] = _gradient(linear.weight)
            found[f"decoder{t}.layer{j}.bias"] = _gradient(linear.bias)
    return found


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _largest(differences: np.ndarray | Sequence[float]) -> float:
    """NaN if any is NaN."""
    return float(np.abs(differences).max())
