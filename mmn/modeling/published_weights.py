"""Weights in the published implementation's layout (one .npz), and the MultiModN that they make.

With M modalities of width D_i, T binary tasks and a state of size S; a file may hold more (see `reference.py`):

    init_state                              (S,)
    encoder{i}.layer{j}.weight, .bias       (out, in), (out,); reads concat(x_i, state); ReLU after every layer
    decoder{t}.layer{j}.weight, .bias       (out, in), (out,); ReLU between, two sigmoid outputs at the end
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmn.data.dataset import Task
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling.batch import ModalityShape
from mmn.modeling.encoders import Encoder
from mmn.modeling.inputs import Member, Scaling
from mmn.modeling.layers import MemberLinear, MemberMLP
from mmn.modeling.multimodn import DECODER_HIDDEN, MULTIMODN, MultiModN
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.trained import Trained

LAYOUT = "The layout is described at the top of mmn/modeling/reference.py; write the file anew in it."
WEIGHT_KEY = re.compile(r"(encoder|decoder)\d+\.")
UNREADABLE = (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """weight: (out, in); bias: (out,)."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of one model, checked; numbers are float64."""

    init_state: np.ndarray
    encoders: tuple[tuple[Layer, ...], ...]
    decoders: tuple[tuple[Layer, ...], ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the modalities."""
        return tuple(layers[0].weight.shape[1] - len(self.init_state) for layers in self.encoders)

    def model(self) -> MultiModN:
        """MultiModN with these weights, in float64: modalities m0, m1, ..., tasks t0, t1, ..., the published loss."""
        tasks = tuple(Task(name=f"t{t}", number=t, kind="binary", description="") for t in range(len(self.decoders)))
        shapes = tuple(ModalityShape(name=f"m{i}", width=width, num_steps=1) for i, width in enumerate(self.widths))
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

    def trained(self, modalities: Sequence[str], tasks: Sequence[Task]) -> Trained:
        """As a model of one member, for `write_model` and `mmn predict`: its modalities and tasks by name, in the
        file's order. It reads its inputs as they are given, unscaled; what is undefined in a present row becomes 0.

        Raises ParamsError where names do not fit, or layers are more or wider than a stored model has.
        """
        names = tuple(task.name for task in tasks)
        for what, given, modules in (("modalities", modalities, self.encoders), ("tasks", names, self.decoders)):
            if len(given) != len(modules) or len(set(given)) < len(given):
                raise ParamsError(
                    f"{what} are {', '.join(given) or 'none'}; the weights have {len(modules)}, name each."
                )
        if other := [task.name for task in tasks if task.kind != "binary"]:
            raise ParamsError(f"{', '.join(other)}: the published decoders are of binary tasks alone.")
        S = len(self.init_state)
        H = max(len(layer.bias) for layers in self.encoders for layer in layers)
        settings = TrainingSettings(
            state=S, hidden=H, dropout=0.0, loss="published", normalise="published", dtype="float64", device="cpu"
        )
        shapes = tuple(
            ModalityShape(name=name, width=width, num_steps=1, num_versions=1)
            for name, width in zip(modalities, self.widths, strict=True)
        )
        model = MultiModN(shapes, tuple(tasks), 1, settings, _any_rng())
        for shape, layers in zip(shapes, self.encoders, strict=True):
            model.encoders[shape.name] = _encoder(layers, shape.width, (H, H))
        for name, layers in zip(names, self.decoders, strict=True):
            model.decoders[name] = _mlp(_of_sizes(layers, (DECODER_HIDDEN, DECODER_HIDDEN)))
        model.initial_state_K1S.data = torch.from_numpy(self.init_state[None, None])
        as_given = {
            shape.name: Scaling(
                shift=np.zeros((1, shape.width), dtype=np.float32),
                scale=np.ones((1, shape.width), dtype=np.float32),
                mean=np.zeros((1, shape.width), dtype=np.float32),
                trained=np.ones(1, dtype=bool),
                clip=False,
            )
            for shape in shapes
        }
        return Trained(
            architecture=MULTIMODN,
            settings=settings,
            tasks=tuple(tasks),
            modalities=shapes,
            num_steps=1,
            members=(Member(fold=0),),
            model=model.double(),
            scaling=as_given,
            target_ranges={},
            counts=[{"train": 0, "validation": 0, "test": 0}],
            notes=("its weights were read from a file: it was not trained here, and reads its inputs unscaled",),
        )


def read_weights(path: str | Path) -> Weights:
    """Of a file that holds them, alone or with inputs and answers. ContractError: no .npz of numbers, or a key is
    missing or misshapen."""
    file = LayoutFile(Path(path))
    init_state = file.numbers("init_state", (None,))
    weights = Weights(
        init_state=init_state,
        encoders=tuple(file.layers(f"encoder{i}", None, len(init_state)) for i in range(file.count("encoder"))),
        decoders=tuple(file.layers(f"decoder{t}", len(init_state), 2) for t in range(file.count("decoder"))),
    )
    if narrow := [i for i, width in enumerate(weights.widths) if width < 1]:
        raise ContractError(f"{path}: encoder{narrow[0]} reads a state of {len(init_state)} and no evidence. {LAYOUT}")
    file.refuse_unread(WEIGHT_KEY)
    return weights


class LayoutFile:
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

    def count(self, kind: str) -> int:
        """How many encoders or decoders there are, one at least, by the greatest number."""
        return max(self._numbers_in(rf"{kind}(\d+)\..*"), default=0) + 1

    def layers(self, module: str, num_in: int | None, num_out: int) -> tuple[Layer, ...]:
        """As many as the file has, each fitting the one before, the last giving num_out. num_in: None = any."""
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

    def refuse_unread(self, form: re.Pattern[str]) -> None:
        """A key of this form that nothing reads means that the file says more than its shapes do."""
        unread = sorted(key for key in self.arrays if form.match(key) and key not in self.read)
        if unread:
            raise ContractError(
                f"{self.path}: '{unread[0]}' ({len(unread)} such keys) belongs to no modality, task or layer "
                f"of this file. {LAYOUT}"
            )

    def _numbers_in(self, pattern: str) -> list[int]:
        matches = (re.fullmatch(pattern, key) for key in self.arrays)
        return sorted({int(match[1]) for match in matches if match})


def _encoder(layers: tuple[Layer, ...], width: int, hidden: tuple[int, int] | None = None) -> Encoder:
    """hidden: the widths of a model that can be stored; None = of as many layers, as wide, as there are.

    Our encoder has three layers or more: after a ReLU, an identity layer with its own ReLU changes nothing.
    """
    S = len(layers[-1].bias)
    layers = (*layers, *[_identity(S)] * (3 - len(layers)))
    first, *middle, last = layers if hidden is None else _of_sizes(layers, hidden)
    encoder = Encoder(width, S, len(first.bias), _any_rng())
    _fill(encoder.input, Layer(weight=first.weight[:, :width], bias=first.bias))
    encoder.state_weight.data = torch.from_numpy(first.weight[:, width:].T[None].copy())
    if hidden is None:
        encoder.add_module("middle", _mlp(middle))
        encoder.output = MemberLinear(last.weight.shape[1], S, _any_rng())
    else:
        _fill(encoder.middle, middle[0])
    _fill(encoder.output, last)
    return encoder


def _of_sizes(layers: Sequence[Layer], hidden: tuple[int, ...]) -> list[Layer]:
    """The same function with hidden layers of these widths: an identity after a ReLU changes nothing, nor does a unit
    that reads and gives 0."""
    *before, last = layers
    if before:
        before += [_identity(len(before[-1].bias))] * (len(hidden) - len(before))
    widths = [len(layer.bias) for layer in before]
    if len(widths) != len(hidden) or any(n > most for n, most in zip(widths, hidden, strict=True)):
        raise ParamsError(
            f"a stored model's encoders and decoders have {len(hidden)} hidden layers, a decoder's of {DECODER_HIDDEN} "
            f"units at most; these weights have hidden layers of {widths or 'none'}. `model()` gives them unstored."
        )
    sizes = [layers[0].weight.shape[1], *hidden, len(last.bias)]
    return [
        Layer(
            weight=np.pad(layer.weight, ((0, out - layer.weight.shape[0]), (0, num_in - layer.weight.shape[1]))),
            bias=np.pad(layer.bias, (0, out - len(layer.bias))),
        )
        for layer, (num_in, out) in zip([*before, last], pairwise(sizes), strict=True)
    ]


def _identity(size: int) -> Layer:
    return Layer(weight=np.eye(size), bias=np.zeros(size))


def _mlp(layers: Sequence[Layer]) -> MemberMLP:
    mlp = MemberMLP((layers[0].weight.shape[1], *(len(layer.bias) for layer in layers)), _any_rng())
    for linear, layer in zip(linears(mlp), layers, strict=True):
        _fill(linear, layer)
    return mlp


def _fill(linear: MemberLinear, layer: Layer) -> None:
    values = {"weight": layer.weight.T[None], "bias": layer.bias[None, None]}
    linear.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in values.items()})


def _any_rng() -> list[np.random.Generator]:
    """One member; what it draws is overwritten."""
    return [np.random.default_rng(0)]


def linears(module: nn.Module) -> list[MemberLinear]:
    return [linear for linear in module.modules() if isinstance(linear, MemberLinear)]
