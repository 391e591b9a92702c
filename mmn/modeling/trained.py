"""A trained model: its members' weights, what they learnt of their inputs' scale, and how to predict with it.

K members, B items, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling.architecture import Architecture, Model
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.inputs import Inputs, Member, Scaling, padded, scale_
from mmn.modeling.prediction_table import prediction_columns
from mmn.modeling.settings import TrainingSettings

# Numbers of input gathered at a time, over all members, when predicting (16 MB), and the most items it may come to.
INPUTS_AT_ONCE, MOST_ITEMS_AT_ONCE = 4_000_000, 1024


@dataclass(kw_only=True)
class Trained:
    """One architecture on one task set, all its members.

    scaling: modality -> what was learnt of it. target_ranges: regression task -> (K, 2) training minimum and maximum
    in the target's unit. history: `member`, `fold`, `epoch`, `train_loss`, `validation_score` (higher is better),
    `best`. predictions: see `predict`; of each member's test items only. counts: member-wise numbers of items.
    notes: what a reader of the results must know. metrics: of the test items, by task.
    """

    architecture: Architecture
    settings: TrainingSettings
    tasks: tuple[Task, ...]
    modalities: tuple[ModalityShape, ...]
    num_steps: int
    members: tuple[Member, ...]
    model: Model
    scaling: dict[str, Scaling]
    target_ranges: dict[str, np.ndarray]
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)
    counts: list[dict[str, int]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def num_parameters(self) -> int:
        """Of one member."""
        return sum(p[0].numel() for p in self.model.parameters())

    def predict(self, embeddings: Mapping[str, Embeddings], rows: np.ndarray | None = None) -> pd.DataFrame:
        """Every member's predictions for items of these embeddings (all, or the positions `rows`).

        Columns `item`, `member`, `fold`, `task`, `step`, `prediction`: P(1), the target in its unit, or the number of
        the most probable class; where there is a multiclass task also `probability_0`, ... (NaN of others). A per-step
        task has a row per step if the model can be read at each, else one at its read step. Raises ContractError where
        a modality or a width is not what the model was trained with.
        """
        items = next(iter(embeddings.values())).items if embeddings else np.array([])
        wanted = np.arange(len(items)) if rows is None else rows
        with one_thread():
            return self.predict_rows(self.inputs(embeddings), items, [wanted] * len(self.members))

    def inputs(
        self, embeddings: Mapping[str, Embeddings], absent: Sequence[Mapping[str, np.ndarray]] | None = None
    ) -> Inputs:
        """absent: per member, modality -> (N,) bool, items that are to lose it. What a modality that is not given
        would have held is absent."""
        if unknown := set(embeddings) - {m.name for m in self.modalities}:
            known = ", ".join(m.name for m in self.modalities)
            raise ContractError(f"the model was not trained with {sorted(unknown)}; its modalities are {known}.")
        if not embeddings:
            raise ContractError("no modality was given; give the embeddings of at least one that the model knows.")
        for shape in self.modalities:
            if shape.name in embeddings:
                found = embeddings[shape.name]
                if (found.width, found.num_steps) != (shape.width, shape.num_steps):
                    raise ContractError(
                        f"modality '{shape.name}': {found.num_steps} steps of width {found.width}, the model "
                        f"was trained with {shape.num_steps} of width {shape.width}. Make the features as for training."
                    )
                if np.isinf(found.values[:, found.present]).any():
                    raise ContractError(f"modality '{shape.name}': present rows hold infinite values. Make it again.")
        some = next(iter(embeddings.values()))
        return Inputs(
            {m.name: embeddings.get(m.name) or nothing(some.items, m) for m in self.modalities},
            [replace(m, absent=(absent[k] if absent else {})) for k, m in enumerate(self.members)],
            self.scaling,
            fill_absent=self.architecture.fill_absent,
            skip=self.settings.skip,
            device=next(self.model.parameters()).device,
            dtype=next(self.model.parameters()).dtype,
        )

    # One piece of evidence at a time (MultiModN alone): state = start(); state = update(state, ...); read(state).

    def start(self, num_items: int = 1) -> Tensor:
        """(K, B, S): the state of items of which nothing is known."""
        with torch.inference_mode():
            return self._streaming().start(num_items).clone()

    def update(self, state: Any, modality: str, x: np.ndarray) -> Any:
        """The state after one more piece of evidence: one step of one modality, as its featurizer gives it.

        x: (B, D), or (K, B, D) where it was fitted per fold; a row of NaN is absent and its item's state stays.
        state: what `start` or an earlier `update` gave, a tensor, or a `Stream` once an encoder of series has read.
        """
        model = self._streaming()
        model.encoder(modality)  # an unknown name is refused before anything is computed
        learnt, like = self.scaling[modality], state if isinstance(state, Tensor) else state.state_KBS
        x = np.asarray(x, dtype=np.float64)
        if x.shape[-1] != learnt.shift.shape[1] or x.shape[-2] != like.shape[1]:
            raise ContractError(
                f"modality '{modality}': evidence of shape {x.shape}, expected {like.shape[1]} items of width "
                f"{learnt.shift.shape[1]}."
            )
        x_KBD = np.broadcast_to(x, (len(self.members), *x.shape[-2:])).copy()
        if np.isinf(x).any():
            raise ContractError(f"modality '{modality}': the evidence holds infinite values; mark what is unknown NaN.")
        present_KB = ~np.isnan(x_KBD).all(axis=-1) & learnt.trained[:, None]
        scaled = torch.from_numpy(x_KBD).to(like.device, like.dtype)
        shift, inverse_scale, undefined = (part[:, None] for part in learnt.tensors(like.device, like.dtype))
        with one_thread(), torch.inference_mode():
            scaled = scale_(scaled, shift, inverse_scale, undefined, learnt.clip)
            return model.update(state, modality, scaled, torch.from_numpy(present_KB).to(like.device))

    def read(self, state: Any) -> dict[str, np.ndarray]:
        """task -> (K, B): what the state says: P(1), or the target in its unit; of a multiclass task (K, B, C)."""
        with one_thread(), torch.inference_mode():
            predicted = self._streaming().predict(state)
        return {
            task.name: np.stack([self.to_unit(task, k, p) for k, p in enumerate(predicted[task.name].cpu().numpy())])
            for task in self.tasks
        }

    def _streaming(self) -> Any:
        if not hasattr(self.model, "update"):
            raise ParamsError(f"{self.architecture.title} has no state to update: it reads all modalities at once.")
        self.model.eval()
        return self.model

    def predict_rows(self, inputs: Inputs, items: np.ndarray, rows: Sequence[np.ndarray]) -> pd.DataFrame:
        """As `predict`, for each member's own rows."""
        frames = []
        at_read = self.collect(inputs, rows, self._read_all)
        for task in self.tasks:
            for k, member in enumerate(self.members):
                predicted = self.to_unit(task, k, at_read[task.name][k])  # (n, steps) or (n, steps, C)
                steps = np.arange(predicted.shape[1]) if predicted.shape[1] > 1 else np.array([task.read_step])
                frames.append(
                    pd.DataFrame(
                        {
                            "item": np.repeat(np.asarray(items, dtype=object)[rows[k]], len(steps)),
                            "member": np.int32(k),
                            "fold": np.int32(member.fold),
                            "task": task.name,
                            "step": np.tile(steps.astype(np.int32), len(rows[k])),
                            **prediction_columns(task, predicted.reshape(-1, *predicted.shape[2:])),
                        }
                    )
                )
        return pd.concat(frames, ignore_index=True)

    def collect(
        self, inputs: Inputs, rows: Sequence[np.ndarray], read: Callable[[Batch], Mapping[str, Tensor]]
    ) -> dict[str, list[np.ndarray]]:
        """read gives task -> (K, B, ...); the answer is task -> per member (number of its rows, ...)."""
        # The published skip looks at a whole batch, at test time too.
        size = self.settings.batch_size if self.settings.skip == "batch" else self._items_at_once()
        matrix, real = padded(rows)
        parts: dict[str, list[np.ndarray]] = {task.name: [] for task in self.tasks}
        self.model.eval()
        with torch.inference_mode():
            for first in range(0, matrix.shape[1], size):
                part = slice(first, first + size)
                for name, values in read(inputs.gather(matrix[:, part], real[:, part], with_targets=False)).items():
                    parts[name].append(values.cpu().numpy())
        whole = {name: np.concatenate(values, axis=1) for name, values in parts.items() if values}
        return {name: [values[k][real[k]] for k in range(len(rows))] for name, values in whole.items()}

    def to_unit(self, task: Task, member: int, prediction: np.ndarray) -> np.ndarray:
        """From the [0, 1] scale to the target's unit; P(1) stays."""
        if task.name not in self.target_ranges:
            return prediction
        low, high = self.target_ranges[task.name][member]
        return low + prediction.astype(np.float64) * (high - low)

    def _items_at_once(self) -> int:
        inputs = sum(m.num_steps * m.width for m in self.modalities)
        per_item = len(self.members) * max(inputs, self.model.numbers_per_item)
        return min(MOST_ITEMS_AT_ONCE, max(32, INPUTS_AT_ONCE // per_item))

    def _read_all(self, batch: Batch) -> dict[str, Tensor]:
        """task -> (K, B, steps): all steps of a per-step task where the model can, else the read step."""
        every = self.model.read_every_step(batch)
        if not every:
            return {task: p.unsqueeze(2) for task, p in self.model.read(batch).items()}
        return {
            t.name: every[t.name] if t.per_step else every[t.name][:, :, t.read_step : t.read_step + 1]
            for t in self.tasks
        }


def nothing(items: np.ndarray, shape: ModalityShape) -> Embeddings:
    """A modality that no item has."""
    return Embeddings(
        items=items,
        values=np.full((1, len(items), shape.num_steps, shape.width), np.nan, dtype=np.float32),
        present=np.zeros((len(items), shape.num_steps), dtype=bool),
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: barriers inside a small step cost more than they give, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
