"""A trained model: its members' weights, what they learnt of their inputs' scale, and how to predict with it.

K members, B items, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
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
from mmn.modeling.given import check_given
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

    def predict(
        self,
        embeddings: Mapping[str, Embeddings],
        rows: np.ndarray | None = None,
        order: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Every member's predictions for items of these embeddings (all, or the positions `rows`).

        order: in which MultiModN meets the modalities at each step; None is that of training. One that it leaves out
        is absent.

        Columns `item`, `member`, `fold`, `task`, `step`, `prediction`: P(1), the target in its unit, or the number of
        the most probable class; where there is a multiclass task also `probability_0`, ... (NaN of others). A per-step
        task has a row per step if the model can be read at each, else one at its read step. Raises ContractError where
        the modalities are not all of the same items in one order, or not made as those of training (`check_given`).
        """
        items = next(iter(embeddings.values())).items if embeddings else np.array([])
        wanted = np.arange(len(items)) if rows is None else rows
        with one_thread():
            return self.predict_rows(self.inputs(embeddings), items, [wanted] * len(self.members), order)

    def inputs(
        self, embeddings: Mapping[str, Embeddings], absent: Sequence[Mapping[str, np.ndarray]] | None = None
    ) -> Inputs:
        """absent: per member, modality -> (N,) bool, items that are to lose it. What a modality that is not given
        would have held is absent."""
        check_given(embeddings, self.modalities, self.members)
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
        if num_items < 1:
            raise ContractError(f"a stream of {num_items} items was asked for; give at least one.")
        with torch.inference_mode():
            return self._streaming().start(num_items).clone()

    def update(self, state: Any, modality: str, x: np.ndarray) -> Any:
        """The state after one more piece of evidence: one step of one modality, as its featurizer gives it.

        x: (B, D), or (K, B, D) where it was fitted per fold, or (D,) of the one item of the stream; a row of NaN is
        absent and its item's state stays. state: what `start` or an earlier `update` gave, a tensor, or a `Stream`
        once an encoder of series has read. Raises ContractError where x or the state is not of these shapes.
        """
        model = self._streaming()
        model.encoder(modality)  # an unknown name is refused before anything is computed
        learnt, like = self.scaling[modality], self._state_of(state)
        x_KBD = self._evidence(x, modality, like.shape[1])
        present_KB = ~np.isnan(x_KBD).all(axis=-1) & learnt.trained[:, None]
        scaled = torch.from_numpy(x_KBD).to(like.device, like.dtype)
        shift, inverse_scale, undefined = (part[:, None] for part in learnt.tensors(like.device, like.dtype))
        with one_thread(), torch.inference_mode():
            scaled = scale_(scaled, shift, inverse_scale, undefined, learnt.clip)
            return model.update(state, modality, scaled, torch.from_numpy(present_KB).to(like.device))

    def read(self, state: Any) -> dict[str, np.ndarray]:
        """task -> (K, B): what the state says: P(1), or the target in its unit; of a multiclass task (K, B, C)."""
        model = self._streaming()
        self._state_of(state)
        with one_thread(), torch.inference_mode():
            predicted = model.predict(state)
        return {
            task.name: np.stack([self.to_unit(task, k, p) for k, p in enumerate(predicted[task.name].cpu().numpy())])
            for task in self.tasks
        }

    def _evidence(self, x: Any, modality: str, num_items: int) -> np.ndarray:
        """(K, B, D), a copy."""
        width, num_members = self.scaling[modality].shift.shape[1], len(self.members)
        try:
            x = np.asarray(x, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ContractError(f"modality '{modality}': the evidence is no array of numbers.") from error
        of_all = x[None] if x.ndim == 1 and num_items == 1 else x
        if of_all.ndim not in {2, 3} or of_all.shape[-2:] != (num_items, width):
            raise ContractError(
                f"modality '{modality}': evidence of shape {x.shape}, expected {num_items} items of width {width}, "
                f"({num_items}, {width})."
            )
        if of_all.ndim == 3 and len(of_all) not in {1, num_members}:
            raise ContractError(
                f"modality '{modality}': evidence of {len(of_all)} members, the model has {num_members}. Give one "
                "version for all, or one for each."
            )
        if np.isinf(x).any():
            raise ContractError(f"modality '{modality}': the evidence holds infinite values; mark what is unknown NaN.")
        return np.broadcast_to(of_all, (num_members, num_items, width)).copy()

    def _state_of(self, state: Any) -> Tensor:
        """(K, B, S), of a stream too. A state of another model is refused where its shape tells."""
        like = getattr(state, "state_KBS", state)
        members, size = len(self.members), self.settings.state
        if not isinstance(like, Tensor) or like.ndim != 3 or (like.shape[0], like.shape[2]) != (members, size):
            found = tuple(like.shape) if isinstance(like, Tensor) else type(like).__name__
            raise ContractError(
                f"the state is not of this model: {found}, expected {members} members, any number of items and a state "
                f"of {size}. Begin with `start` and pass on what `update` gives."
            )
        return like

    def _streaming(self) -> Any:
        if not hasattr(self.model, "update"):
            raise ParamsError(f"{self.architecture.title} has no state to update: it reads all modalities at once.")
        self.model.eval()
        return self.model

    def predict_rows(
        self, inputs: Inputs, items: np.ndarray, rows: Sequence[np.ndarray], order: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """As `predict`, for each member's own rows."""
        frames = []
        self.check_order(order)
        at_read = self.collect(inputs, rows, partial(self._read_all, order=order))
        for task in self.tasks:
            for k, member in enumerate(self.members):
                if not member.learns(task):
                    continue
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

    def check_order(self, order: Sequence[str] | None) -> None:
        """Raises ParamsError for an order that this model cannot read in."""
        if order is None:
            return
        self._streaming().applications(order)  # refuses a name that it does not know
        if len(set(order)) < len(order) or not order:
            raise ParamsError(f"order is {', '.join(order) or 'empty'}; name the modalities to be read, each once.")

    def _read_all(self, batch: Batch, order: Sequence[str] | None = None) -> dict[str, Tensor]:
        """task -> (K, B, steps): all steps of a per-step task where the model can, else the read step."""
        model: Any = self.model  # an order is MultiModN's alone
        every = model.read_every_step(batch) if order is None else model.read_every_step(batch, order)
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
