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
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmn.data.dataset import Task
from mmn.data.errors import ContractError
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.encoders import Encoder
from mmn.modeling.layers import MemberLinear, MemberMLP
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.settings import TrainingSettings

TOLERANCE = 1e-5
LAYOUT = "The layout is described at the top of mmn/modeling/reference.py; write the file anew in it."
UNREADABLE = (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile)
# A key of these forms is part of the layout: one that nothing reads means that the file says more than its shapes do.
LAYOUT_KEY = re.compile(r"(encoder|decoder)\d+\.|x\d+$|gradnorm\.")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """weight: (out, in); bias: (out,)."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One file, checked; numbers are float64. The answers have the file's names and shapes.

    gradient_norms: `init_state`, `encoder{i}.layer{j}.weight`, ... -> L2 norm of mean_loss's gradient.
    """

    init_state: np.ndarray
    encoders: tuple[tuple[Layer, ...], ...]
    decoders: tuple[tuple[Layer, ...], ...]
    x: tuple[np.ndarray, ...]
    present: np.ndarray
    y: np.ndarray
    probabilities: np.ndarray
    final_state: np.ndarray
    loss_per_sample: np.ndarray
    mean_loss: np.ndarray
    gradient_norms: Mapping[str, np.ndarray]
    grad_init_state: np.ndarray

    def model(self) -> MultiModN:
        """MultiModN with these weights, in float64: modalities m0, m1, ..., tasks t0, t1, ..., the published loss."""
        tasks = tuple(Task(name=f"t{t}", number=t, kind="binary", description="") for t in range(len(self.decoders)))
        shapes = tuple(ModalityShape(name=f"m{i}", width=x.shape[1], num_steps=1) for i, x in enumerate(self.x))
        settings = TrainingSettings(
            state=len(self.init_state), hidden=1, dropout=0.0, loss="published", normalise="published", device="cpu"
        )
        model = MultiModN(shapes, tasks, 1, settings, _any_rng())
        for shape, encoder in zip(shapes, self.encoders, strict=True):
            model.encoders[shape.name] = _encoder(encoder, shape.width)
        for task, decoder in zip(tasks, self.decoders, strict=True):
            model.decoders[task.name] = _mlp(decoder)
        model.initial_state_K1S.data = torch.from_numpy(self.init_state[None, None])
        return model.double()

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
    file = _File(Path(path))
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
    file.refuse_unread()
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


class _File:
    """Checked reading of one .npz, which remembers what was read."""

    def __init__(self, path: Path) -> None:
        self.path, self.arrays, self.read = path, dict[str, np.ndarray](), set[str]()
        try:
            npz = np.load(path, allow_pickle=False)
        except FileNotFoundError as error:
            raise ContractError(
                f"{path}: there is no such file. Give the path of a .npz of reference values."
            ) from error
        except UNREADABLE as error:
            raise ContractError(f"{path}: this is not an .npz file. {LAYOUT}") from error
        if not isinstance(npz, np.lib.npyio.NpzFile):
            raise ContractError(f"{path}: this is not an .npz file but one array. {LAYOUT}")
        with npz:
            for key in npz.files:
                try:
                    self.arrays[key] = np.asarray(npz[key])
                except UNREADABLE as error:
                    raise ContractError(
                        f"{path}: '{key}' cannot be read as an array of numbers ({error}). {LAYOUT}"
                    ) from error

    def get(self, key: str) -> np.ndarray:
        if key not in self.arrays:
            raise ContractError(f"{self.path}: the key '{key}' is missing. {LAYOUT}")
        self.read.add(key)
        return self.arrays[key]

    def numbers(self, key: str, shape: tuple[int | None, ...], finite: np.ndarray | bool = True) -> np.ndarray:
        """float64 of this shape (None: any size but 0), finite where `finite` says so."""
        values = self.get(key)
        if values.dtype.kind not in "biuf":
            raise ContractError(f"{self.path}: '{key}' is of type {values.dtype}, not numbers. {LAYOUT}")
        fits = values.ndim == len(shape) and all(
            n > 0 if want is None else n == want for n, want in zip(values.shape, shape, strict=True)
        )
        if not fits:
            wanted = tuple("any" if want is None else want for want in shape)
            raise ContractError(f"{self.path}: '{key}' has shape {values.shape}, expected {wanted}. {LAYOUT}")
        if num_bad := int((~np.isfinite(values) & finite).sum()):
            raise ContractError(
                f"{self.path}: '{key}' has {num_bad} NaN or infinite values where a number is due. {LAYOUT}"
            )
        return values.astype(np.float64)

    def flags(self, key: str) -> np.ndarray:
        """(any, any) bool, from 0 and 1."""
        values = self.numbers(key, (None, None))
        if num_bad := int((~np.isin(values, (0.0, 1.0))).sum()):
            raise ContractError(f"{self.path}: '{key}' has {num_bad} values that are neither 0 nor 1. {LAYOUT}")
        return values.astype(bool)

    def layers(self, module: str, num_in: int, num_out: int) -> tuple[Layer, ...]:
        """As many as the file has, each fitting the one before, the last giving num_out."""
        found = self._numbers_in(rf"{module}\.layer(\d+)\.(?:weight|bias)")
        depth, layers = max(found, default=0) + 1, []
        for j in range(depth):
            key = f"{module}.layer{j}"
            weight = self.numbers(f"{key}.weight", (num_out if j == depth - 1 else None, num_in))
            num_in = len(weight)
            layers.append(Layer(weight=weight, bias=self.numbers(f"{key}.bias", (num_in,))))
        return tuple(layers)

    def gradient_norms(self, kind: str, number: int, depth: int, first: int) -> dict[str, np.ndarray]:
        """first: the published number of the first layer, which the error names when layers are missing."""
        prefix = f"gradnorm.{kind}s.{number}.layers"
        found = self._numbers_in(rf"{re.escape(prefix)}\.(\d+)\.(?:weight|bias)")
        theirs = found if len(found) == depth else range(first, first + depth)
        return {
            f"{kind}{number}.layer{j}.{part}": self.numbers(f"{prefix}.{n}.{part}", ())
            for j, n in enumerate(theirs)
            for part in ("weight", "bias")
        }

    def refuse_unread(self) -> None:
        unread = sorted(key for key in self.arrays if LAYOUT_KEY.match(key) and key not in self.read)
        if unread:
            raise ContractError(
                f"{self.path}: '{unread[0]}' ({len(unread)} such keys) belongs to no modality, task or layer "
                f"of this file. {LAYOUT}"
            )

    def _numbers_in(self, pattern: str) -> list[int]:
        matches = (re.fullmatch(pattern, key) for key in self.arrays)
        return sorted({int(match[1]) for match in matches if match})


def _exists(present: np.ndarray) -> np.ndarray:
    """(N, M + 1) bool: state 0 always; a later one where its modality is present."""
    return np.concatenate([np.ones((len(present), 1), dtype=bool), present], axis=1)


def _encoder(layers: tuple[Layer, ...], width: int) -> Encoder:
    """Our encoder has three layers or more: after a ReLU, an identity layer with its own ReLU changes nothing."""
    S = len(layers[-1].bias)
    identity = Layer(weight=np.eye(S), bias=np.zeros(S))
    first, *middle, last = (*layers, *[identity] * (3 - len(layers)))
    encoder = Encoder(width, S, len(first.bias), _any_rng())
    _fill(encoder.input, Layer(weight=first.weight[:, :width], bias=first.bias))
    encoder.state_weight.data = torch.from_numpy(first.weight[:, width:].T[None].copy())
    encoder.add_module("middle", _mlp(middle))
    encoder.output = MemberLinear(last.weight.shape[1], S, _any_rng())
    _fill(encoder.output, last)
    return encoder


def _mlp(layers: Sequence[Layer]) -> MemberMLP:
    mlp = MemberMLP((layers[0].weight.shape[1], *(len(layer.bias) for layer in layers)), _any_rng())
    for linear, layer in zip(_linears(mlp), layers, strict=True):
        _fill(linear, layer)
    return mlp


def _fill(linear: MemberLinear, layer: Layer) -> None:
    values = {"weight": layer.weight.T[None], "bias": layer.bias[None, None]}
    linear.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in values.items()})


def _any_rng() -> list[np.random.Generator]:
    """One member; what it draws is overwritten."""
    return [np.random.default_rng(0)]


def _gradients(model: MultiModN, reference: Reference) -> dict[str, Tensor]:
    """Named as `Reference.gradient_norms`."""
    found = {"init_state": _gradient(model.initial_state_K1S)}
    for i, layers in enumerate(reference.encoders):
        encoder = model.encoder(f"m{i}")
        found[f"encoder{i}.layer0.weight"] = torch.cat(
            [_gradient(encoder.input.weight), _gradient(encoder.state_weight)], dim=1
        )
        found[f"encoder{i}.layer0.bias"] = _gradient(encoder.input.bias)
        linears = [encoder.input, *_linears(encoder.middle), encoder.output]
        for j in range(1, len(layers)):
            found[f"encoder{i}.layer{j}.weight"] = _gradient(linears[j].weight)
            found[f"encoder{i}.layer{j}.bias"] = _gradient(linears[j].bias)
    for t, decoder in enumerate(model.decoders.values()):
        for j, linear in enumerate(_linears(decoder)):
            found[f"decoder{t}.layer{j}.weight"] = _gradient(linear.weight)
            found[f"decoder{t}.layer{j}.bias"] = _gradient(linear.bias)
    return found


def _linears(module: nn.Module) -> list[MemberLinear]:
    return [linear for linear in module.modules() if isinstance(linear, MemberLinear)]


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _largest(differences: np.ndarray | Sequence[float]) -> float:
    """NaN if any is NaN."""
    return float(np.abs(differences).max())
