"""From a cohort's embeddings to batches: one table of all modalities, and per member the scaling that it learnt.

K members, N items, F fitted versions of the embeddings (1, or one per fold), T_m steps of modality m, D its width, W
the sum of T_m x D over modalities, P the sum of T_m, B batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings, check_embeddings
from mmn.data.errors import ContractError
from mmn.data.scaling import ScalerKind, fit_scaler
from mmn.modeling.batch import Batch, ModalityShape


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the models trained side by side.

    tasks: those of the training's that this member learns, picks its epoch by and predicts; () = all.
    absent: modality -> (N,) bool, items that lose it for this member (in training, validation and test alike).
    label: what sets it apart from the others of its fold; it goes into the history.
    """

    fold: int
    seed: int = 0
    tasks: tuple[str, ...] = ()
    absent: Mapping[str, np.ndarray] = field(default_factory=dict)
    label: str = ""

    def learns(self, task: Task) -> bool:
        return not self.tasks or task.name in self.tasks

    def rng(self, purpose: str) -> np.random.Generator:
        """Its own stream of numbers for one purpose, whoever is trained beside it."""
        number = ("initial values", "shuffle", "dropout").index(purpose)
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence([self.seed, self.fold, number])))


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What the members learnt of one modality's training rows: y = (x - shift) / scale, clipped to [0, 1] if `clip`.

    shift, scale: (K, D). mean: (K, D), the mean of the known training elements after scaling: what an undefined
    element of a present row becomes (0 with the standard scaler). trained: (K,) bool, False where no training item had
    the modality: that member never uses it.
    """

    shift: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    trained: np.ndarray
    clip: bool

    def tensors(self, device: torch.device | str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """What `scale_` needs besides x, (K, D) each: shift, inverse of scale, what an undefined element becomes."""
        shift, scale, mean = (torch.from_numpy(part).to(device, dtype) for part in (self.shift, self.scale, self.mean))
        return shift, scale.reciprocal(), mean if self.clip else torch.zeros_like(mean)


def scale_(x: Tensor, shift: Tensor, inverse_scale: Tensor, undefined: Tensor, clip: bool) -> Tensor:
    """In place, for training, prediction and streams alike: scaled, clipped to [0, 1] if `clip`, finite everywhere.

    NaN becomes `undefined`, which is not 0 only where `clip` is set.
    """
    x.sub_(shift).mul_(inverse_scale)
    if not clip:
        return x.nan_to_num_(nan=0.0)
    x.clamp_(0.0, 1.0)
    return x.copy_(torch.where(torch.isnan(x), undefined, x))


def shapes_of(embeddings: Mapping[str, Embeddings]) -> tuple[ModalityShape, ...]:
    return tuple(
        ModalityShape(
            name=m, width=e.width, num_steps=e.num_steps, num_versions=e.values.shape[0], names=tuple(e.names)
        )
        for m, e in embeddings.items()
    )


def fit_scaling(
    embeddings: Embeddings,
    modality: str,
    members: Sequence[Member],
    rows: Sequence[np.ndarray],
    kind: ScalerKind,
    channels: int = 0,
) -> Scaling:
    """rows: each member's training rows. Present ones only are looked at; equal ones are fitted once.

    channels: of a picture or series that is laid out flat, channels first: one scale for all places of a channel; 0 =
    a scale for every dimension.
    """
    fitted: dict[tuple, tuple[np.ndarray, np.ndarray, np.ndarray, bool]] = {}
    per_member = []
    for member, train in zip(members, rows, strict=True):
        hidden = member.absent.get(modality)
        kept = train if hidden is None else train[~hidden[train]]
        version = member.fold if embeddings.fitted_per_fold else 0
        key = (version, kept.tobytes())
        if key not in fitted:
            shown = embeddings.values[version, kept][embeddings.present[kept]]
            if channels:
                shown = shown.reshape(len(shown), channels, -1).swapaxes(1, 2).reshape(-1, channels)
            scaler = fit_scaler(shown, kind)
            places = embeddings.width // channels if channels else 1
            shift, scale, mean = (np.repeat(part, places) for part in (scaler.shift, scaler.scale, scaler.mean))
            fitted[key] = (shift, scale, mean, bool(len(shown)))
        per_member.append(fitted[key])
    shift, scale, mean, trained = (np.stack(parts) for parts in zip(*per_member, strict=True))
    return Scaling(shift=shift, scale=scale, mean=mean, trained=trained, clip=kind == "minmax")


def fit_target_range(target: np.ndarray, rows: Sequence[np.ndarray]) -> np.ndarray:
    """(K, 2): least and greatest known training target of each member; a constant one gets a range of 1."""
    ranges = []
    for train in rows:
        known = target[train][~np.isnan(target[train])]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        ranges.append((low, high if high > low else low + 1.0))
    return np.array(ranges)


# Tables that are scaled once, one per fold, take at most this (1 GiB); beyond it each batch is scaled anew.
SCALED_BYTES = 1 << 30


class Inputs:
    """All embeddings of N items on one device, ready to be gathered into batches for K members.

    Absent rows are blanked here, whatever they hold; a NaN of a present row becomes the training mean (`scale_`).
    """

    def __init__(
        self,
        embeddings: Mapping[str, Embeddings],
        members: Sequence[Member],
        scaling: Mapping[str, Scaling],
        *,
        fill_absent: str,
        skip: str = "item",
        tasks: Sequence[Task] = (),
        targets: Mapping[str, np.ndarray] | None = None,
        target_ranges: Mapping[str, np.ndarray] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shapes = shapes_of(embeddings)
        self.members, self.skip, self.device, self.dtype = tuple(members), skip, torch.device(device), dtype
        num_items, num_members = len(next(iter(embeddings.values())).items), len(members)
        self.num_items = num_items

        versions = max(e.values.shape[0] for e in embeddings.values())
        table = torch.empty((versions, num_items, sum(s.num_steps * s.width for s in self.shapes)), dtype=dtype)
        present = np.empty((num_items, sum(s.num_steps for s in self.shapes)), dtype=bool)
        self.columns, self.steps = {}, {}
        column = step = 0
        for shape, (name, e) in zip(self.shapes, embeddings.items(), strict=True):
            self.columns[name] = slice(column, column := column + shape.num_steps * shape.width)
            self.steps[name] = slice(step, step := step + shape.num_steps)
            shown = np.where(e.present[None, :, :, None], e.values, np.nan).reshape(e.values.shape[0], num_items, -1)
            table[:, :, self.columns[name]] = torch.from_numpy(shown).to(dtype)
            present[:, self.steps[name]] = e.present
        folds = [m.fold if versions > 1 else 0 for m in members]

        def tiled(parts: Iterable[Tensor]) -> Tensor:
            """(K, 1, W)."""
            repeated = [p.repeat(1, s.num_steps) for p, s in zip(parts, self.shapes, strict=True)]
            return torch.cat(repeated, dim=1)[:, None]

        learnt = [scaling[s.name].tensors(device, dtype) for s in self.shapes]
        self.shift, self.inverse_scale, self.undefined = (tiled(parts) for parts in zip(*learnt, strict=True))
        self.clip = any(scaling[s.name].clip for s in self.shapes)
        means = [torch.from_numpy(scaling[s.name].mean).to(device, dtype) for s in self.shapes]
        self.mean = tiled(means) if fill_absent == "mean" else None
        # What scaling makes of an absent row, which holds NaN, must be put right afterwards.
        self.blank = self.mean if self.mean is not None else torch.zeros_like(self.shift) if self.clip else None
        self._make_table(table.to(device), folds, torch.from_numpy(present).to(device))

        # One table of presence for all members, unless they differ in it.
        usable = np.stack([scaling[s.name].trained for s in self.shapes], axis=1)
        differ = not usable.all() or any(m.absent for m in members)
        per_member = np.repeat(present[None], num_members if differ else 1, axis=0)
        if differ:
            for k, member in enumerate(members):
                for m, shape in enumerate(self.shapes):
                    if not usable[k, m]:
                        per_member[k][:, self.steps[shape.name]] = False
                    if shape.name in member.absent:
                        per_member[k][member.absent[shape.name], self.steps[shape.name]] = False
        self.presence = torch.from_numpy(per_member.reshape(-1, present.shape[1])).to(device)
        self.presence_offset = (torch.arange(num_members) * (num_items if differ else 0))[:, None].to(device)
        self.differ = differ

        self.targets, self.learns = {}, {}
        for task in tasks:
            if not all(member.learns(task) for member in members):
                learns = [member.learns(task) for member in members]
                self.learns[task.name] = torch.tensor(learns, device=device)[:, None, None]
            values = np.asarray((targets or {})[task.name], dtype=np.float64).reshape(num_items, -1)
            self.targets[task.name] = torch.from_numpy(values).to(device, dtype)
        self.target_ranges = {
            name: torch.from_numpy(np.asarray(r)).to(device, dtype) for name, r in (target_ranges or {}).items()
        }

    def _make_table(self, raw_FNW: Tensor, folds: Sequence[int], present_NP: Tensor) -> None:
        """The rows to gather from: scaled and with absent rows filled, one table for the members that agree in it, if
        all of these may be kept; else the raw ones."""
        learnt = [self.shift, self.inverse_scale, self.undefined, *([] if self.blank is None else [self.blank])]
        keys = [(fold, *(part[k].cpu().numpy().tobytes() for part in learnt)) for k, fold in enumerate(folds)]
        first_with = {key: keys.index(key) for key in keys}
        self.scaled = len(first_with) * raw_FNW[0].nbytes <= SCALED_BYTES
        if self.scaled:
            tables = [self._filled(raw_FNW[folds[k]].clone(), k, present_NP) for k in first_with.values()]
            self.table, numbers = torch.cat(tables), [list(first_with).index(key) for key in keys]
        else:
            self.table, numbers = raw_FNW.flatten(0, 1), list(folds)
        self.table_offset = (torch.tensor(numbers) * self.num_items)[:, None].to(self.device)

    def _filled(self, table_NW: Tensor, member: int, present_NP: Tensor) -> Tensor:
        scale_(table_NW, self.shift[member], self.inverse_scale[member], self.undefined[member], self.clip)
        if self.blank is not None:
            for shape in self.shapes:
                columns, present_NT = self.columns[shape.name], present_NP[:, self.steps[shape.name]]
                there_NW = present_NT.repeat_interleave(shape.width, dim=1)
                table_NW[:, columns] = torch.where(there_NW, table_NW[:, columns], self.blank[member][:, columns])
        return table_NW

    def gather(self, rows_KB: np.ndarray | Tensor, real_KB: np.ndarray | Tensor, with_targets: bool = True) -> Batch:
        """rows_KB: positions of items; where `real_KB` is False the row only fills up."""
        rows = torch.as_tensor(rows_KB, device=self.device)
        real = torch.as_tensor(real_KB, device=self.device)
        K, B = rows.shape
        x_KBW = self.table.index_select(0, (rows + self.table_offset).flatten()).view(K, B, -1)
        if not self.scaled:
            scale_(x_KBW, self.shift, self.inverse_scale, self.undefined, self.clip)
        present_KBP = self.presence.index_select(0, (rows + self.presence_offset).flatten()).view(K, B, -1)
        if self.skip == "batch":
            present_KBP = (present_KBP | ~real[..., None]).all(dim=1, keepdim=True).expand(K, B, -1)
        # What a table holds of absent rows is right already, unless it is the member or the batch that lacks them.
        filled = self.scaled and not self.differ and self.skip != "batch"
        x, present = {}, {}
        for shape in self.shapes:
            x_KBTD = x_KBW[:, :, self.columns[shape.name]].unflatten(-1, (shape.num_steps, shape.width))
            present_KBT = present_KBP[:, :, self.steps[shape.name]]
            if self.blank is not None and not filled:
                blank = self.blank[:, :, self.columns[shape.name]].unflatten(-1, (shape.num_steps, shape.width))
                x_KBTD.copy_(torch.where(present_KBT[..., None], x_KBTD, blank))
            elif self.differ or self.skip == "batch":
                x_KBTD.mul_(present_KBT[..., None])
            x[shape.name], present[shape.name] = x_KBTD, present_KBT
        targets = self._targets(rows) if with_targets else {}
        return Batch(x=x, present=present, real=real, targets=targets, flat=x_KBW)

    def _targets(self, rows: Tensor) -> dict[str, Tensor]:
        gathered = {}
        for name, table in self.targets.items():
            target_KBT = table.index_select(0, rows.flatten()).view(*rows.shape, -1)
            if name in self.target_ranges:
                low, high = self.target_ranges[name].unbind(dim=1)
                target_KBT = (target_KBT - low[:, None, None]) / (high - low)[:, None, None]
            if name in self.learns:
                # A task of others is one without labels.
                target_KBT = torch.where(self.learns[name], target_KBT, torch.nan)
            gathered[name] = target_KBT
        return gathered


def padded(rows: Sequence[np.ndarray], width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Lists of different length as one (K, width) matrix and what of it is real; row 0 fills up."""
    width = max(1, max(len(r) for r in rows)) if width is None else width
    matrix, real = np.zeros((len(rows), width), dtype=np.int64), np.zeros((len(rows), width), dtype=bool)
    for k, r in enumerate(rows):
        matrix[k, : len(r)], real[k, : len(r)] = r, True
    return matrix, real


def check_inputs(cohort: Cohort, embeddings: Mapping[str, Embeddings], tasks: Iterable[Task]) -> None:
    """That these embeddings belong to this cohort and can be trained on. Raises ContractError."""
    if not embeddings:
        raise ContractError("no modality was given; a model needs the embeddings of at least one.")
    for name, e in embeddings.items():
        if "." in name or hasattr(nn.ModuleDict, name):
            raise ContractError(f"modality '{name}': torch cannot name a part of a model so; give it another name.")
        check_embeddings(e, cohort.items["item"].to_numpy(), f"modality '{name}'")
        if e.values.shape[0] not in {1, cohort.num_folds}:
            raise ContractError(
                f"modality '{name}': fitted for {e.values.shape[0]} folds, the cohort has {cohort.num_folds}. "
                "Make its features again from this cohort."
            )
        if e.num_steps not in {1, cohort.num_steps}:
            raise ContractError(
                f"modality '{name}': {e.num_steps} steps, the cohort has {cohort.num_steps}; give 1 (static) or all."
            )
    for task in tasks:
        if "." in task.name or hasattr(nn.ModuleDict, task.name):
            raise ContractError(f"task '{task.name}': torch cannot name a part of a model so; give it another name.")
        if task.name not in cohort.targets:
            raise ContractError(
                f"task '{task.name}': the cohort has no such target; it has "
                f"{', '.join(sorted(cohort.targets)) or 'none'}."
            )
        target = cohort.targets[task.name]
        if target.size != len(cohort) * (cohort.num_steps if task.per_step else 1):
            raise ContractError(
                f"task '{task.name}': it is {'per step' if task.per_step else 'static'}, "
                f"its target has shape {target.shape}."
            )
        if np.isinf(target).any():
            raise ContractError(
                f"task '{task.name}': {int(np.isinf(target).sum())} of its targets are infinite; a target is a number "
                "or missing."
            )
        if not 0 <= task.read_step < cohort.num_steps:
            raise ContractError(
                f"task '{task.name}': it is read after step {task.read_step}, the cohort has {cohort.num_steps} steps."
            )
        if task.kind == "multiclass" and not set(np.unique(target[~np.isnan(target)])) <= set(range(len(task.classes))):
            raise ContractError(
                f"task '{task.name}': a target of its {len(task.classes)} classes is a whole number from 0 to "
                f"{len(task.classes) - 1} or missing; the cohort holds others."
            )
        if task.kind == "binary" and not set(np.unique(target[~np.isnan(target)])) <= {0.0, 1.0}:
            raise ContractError(f"task '{task.name}': a binary target is 0, 1 or missing; the cohort holds others.")
