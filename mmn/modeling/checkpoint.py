"""Training that was interrupted goes on where it was: all that decides the rest of it, in one file.

What is kept is the state at the end of an epoch. A run that is killed in the middle of one repeats that epoch from the
same weights, Adam moments and random streams, so that it ends with the same bytes as one that was never interrupted
(on a CPU; on a GPU, within the differences of its sums).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mmn.data.files import write_bytes
from mmn.modeling.packed import Packed

Arrays = Mapping[str, np.ndarray]


class Checkpoint:
    """path: of the file. every_seconds: how much work at most is lost; 0 keeps the end of every epoch."""

    def __init__(self, path: Path, every_seconds: float = 15.0) -> None:
        self.path, self.every_seconds = path, every_seconds
        self.fingerprint = ""
        self._last = time.monotonic()

    def due(self, last: bool) -> bool:
        """last: the training ends here; its end is always kept, so that of several trainings none is repeated."""
        return last or time.monotonic() - self._last >= self.every_seconds

    def save(
        self, packed: Packed, rngs: Sequence[np.random.Generator], arrays: Arrays, history: pd.DataFrame, epoch: int
    ) -> None:
        """The state after `epoch`. rngs: every random stream of the training, always in the same order."""
        tensors = {f"packed.{name}": tensor for name, tensor in packed.state().items()}
        tensors |= {f"array.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        columns = history.columns
        footer = {
            "fingerprint": self.fingerprint,
            "epoch": epoch,
            "rngs": [_plain(rng.bit_generator.state) for rng in rngs],
            "history": {
                name: [history[name].dtype.str if name != "label" else "str", history[name].tolist()]
                for name in columns
            },
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_bytes(self.path, save(tensors, metadata={"mmn": json.dumps(footer)}))
        self._last = time.monotonic()

    def restore(self, packed: Packed, rngs: Sequence[np.random.Generator]) -> tuple[int, Arrays, pd.DataFrame] | None:
        """(epochs that are done, arrays, history), with `packed` and `rngs` set; None where there is nothing to go on
        from: no file, a damaged one, or one of another training or of other code."""
        try:
            with safe_open(self.path, framework="pt", device="cpu") as stored:
                footer = json.loads((stored.metadata() or {}).get("mmn", "{}"))
                if footer.get("fingerprint") != self.fingerprint or len(footer["rngs"]) != len(rngs):
                    return None
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError, json.JSONDecodeError):
            return None
        packed.load({n.removeprefix("packed."): t for n, t in tensors.items() if n.startswith("packed.")})
        for rng, state in zip(rngs, footer["rngs"], strict=True):
            rng.bit_generator.state = _state(state)
        arrays = {n.removeprefix("array."): t.numpy().copy() for n, t in tensors.items() if n.startswith("array.")}
        history = pd.DataFrame(
            {
                name: pd.array(values, dtype=kind) if kind == "str" else np.array(values, dtype=kind)
                for name, (kind, values) in footer["history"].items()
            }
        )
        return footer["epoch"] + 1, arrays, history

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def fingerprint(*parts: Any) -> str:
    """SHA-256 of arrays, tensors and whatever has a stable repr: what a training was started with."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data if part.dtype != object else repr(part.tolist()).encode())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A generator's state as JSON."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return {"uint64": value.tolist()}
    return value.item() if isinstance(value, np.generic) else value


def _state(value: Any) -> Any:
    if isinstance(value, dict):
        return (
            np.array(value["uint64"], dtype=np.uint64)
            if "uint64" in value
            else {k: _state(v) for k, v in value.items()}
        )
    return value
