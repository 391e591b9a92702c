"""Which modalities carry the same information: how much worse a model is for having started from another's (paper,
section 3.1 and equations 1 to 8).

A node is one modality of a data set (unimodal heterogeneity, MU) or a pair of them (crossmodal, MC), with the data
set's tasks. Its own model is trained from the start; then one more from every other node's best weights, the encoder
and for pairs the pair block copied, the heads new, everything trained as long. All of these are members of one
training. The loss is the mean squared error on validation, over tasks (of a binary task the Brier score, of a
regression on the [0, 1] scale); transfers are stated as shares of what the node's own model gains over a constant, so
that data sets can be set side by side.

The paper compares with the node's own model. One that started from another's weights was trained twice as long in all,
so some harm hides behind that gain (more than a third of the published distances are exactly 0). Hence a second
comparison: with the node's model started again from its own weights, which is what a source of the very same
information would give.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import torch

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.modeling.architecture import Model
from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.floors import read_target
from mmn.modeling.highmmt.bits import bits_told
from mmn.modeling.highmmt.network import HIGHMMT, HighMMT
from mmn.modeling.highmmt.serialise import Declared, declare
from mmn.modeling.inputs import Member, fit_target_range, shapes_of
from mmn.modeling.selection import validation_score
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import train
from mmn.modeling.trained import Trained

Progress = Callable[[int, int], None]

LEAST_GAIN = 0.05


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set: whose embeddings, and what they are to predict. The names of modalities differ between sources.

    draw: of its training items (`TrainingSettings`). people: sources of the same people have the same word here; "" =
    nobody else's. given_up: rows of folds that it gave up, so that these stay on one side (`people.py`).
    """

    cohort: Cohort
    embeddings: Mapping[str, Embeddings]
    tasks: tuple[Task, ...]
    draw: Literal["once", "classes"] = "once"
    people: str = ""
    given_up: int = 0


@dataclass(frozen=True, kw_only=True)
class Node:
    source: str
    modalities: tuple[str, ...]

    @property
    def name(self) -> str:
        return "+".join(self.modalities)


def measure(
    sources: Mapping[str, Source],
    nodes: Sequence[Node],
    settings: TrainingSettings,
    seeds: Sequence[int] = (0,),
    progress: Progress = lambda done, total: None,
    checkpoint: Callable[[str], Checkpoint | None] = lambda name: None,
    pairs: Collection[tuple[str, str]] | None = None,
) -> pd.DataFrame:
    """`source`, `target`, `fold`, `seed`, `loss`, `own`, `again`, `constant`, `bits`: a row per pair of nodes and
    member of the target.

    loss: of the target's model that began with the source's weights; own: of the one from the start; again: of the one
    that began with its own; constant: of the training mean. bits: what the source's model tells of the target's labels,
    its heads too and nothing learnt (`bits.py`); NaN between data sets, whose heads differ. settings: of every training
    (epochs and patience alike).
    checkpoint: of each training, by its name. pairs: the names of the nodes between which transfers are measured, in
    both directions; None = all (`grouping.complete` fills in the others).
    Raises ParamsError for nodes that are not there, are given twice, or mix single modalities and pairs.
    """
    _check(sources, nodes)
    wanted = None if pairs is None else {frozenset(pair) for pair in pairs}
    if unknown := sorted({name for pair in pairs or () for name in pair} - {node.name for node in nodes}):
        raise ParamsError(f"pairs: {', '.join(unknown)} is no node; nodes: {', '.join(node.name for node in nodes)}.")
    settings = dataclasses.replace(settings, select_by="mse")
    declared = declared_of(sources, settings)
    own: dict[str, Trained] = {}
    rows: list[pd.DataFrame] = []
    total = 2 * len(nodes)
    for done, node in enumerate(nodes):
        members = _members(sources[node.source], seeds)
        own[node.name] = _train(sources, node, settings, members, declared, None, checkpoint(f"own {node.name}"))
        progress(done + 1, total)
    for done, target in enumerate(nodes):
        base = _members(sources[target.source], seeds)
        starts = [n for n in nodes if n is target or wanted is None or {n.name, target.name} in wanted]
        if len(starts) == 1:
            continue
        members = [dataclasses.replace(member, label=node.name) for node in starts for member in base]
        start = partial(_copy_from, members=members, own=own)
        moved = _train(sources, target, settings, members, declared, start, checkpoint(f"transfers to {target.name}"))
        source = sources[target.source]
        frame = _rows(source, target, own[target.name], moved, base)
        told = {
            n.name: bits_told(source, target.modalities, settings, base, declared, own[n.name])
            for n in starts
            if n is not target and n.source == target.source
        }
        nothing = np.full(len(base), np.nan)
        frame["bits"] = np.concatenate([told.get(n.name, nothing) for n in starts if n is not target])
        rows.append(frame)
        progress(len(nodes) + done + 1, total)
    return pd.concat(rows, ignore_index=True)


def matrices(
    transfers: pd.DataFrame, names: Sequence[str], against: Literal["own", "again"] = "own"
) -> tuple[np.ndarray, np.ndarray]:
    """(M, M) each, source by target: the mean transfer over members, and its standard error.

    A transfer is how much greater the loss is than that of the target's own model, as a share of what that one gains
    over the constant; NaN for a target that is silent (`gains`): of it nothing can be said.
    """
    found = gains(transfers)
    share = (transfers["loss"] - transfers[against]) / transfers["target"].map(found["gain"].where(~found["silent"]))
    grouped = share.groupby([transfers["source"], transfers["target"]])
    shape = {"index": list(names), "columns": list(names)}
    mean = grouped.mean().unstack().reindex(**shape).to_numpy(copy=True)
    error = (grouped.std(ddof=1) / np.sqrt(grouped.count())).unstack().reindex(**shape).to_numpy(copy=True)
    np.fill_diagonal(mean, 0.0)
    np.fill_diagonal(error, 0.0)
    return mean, error


def gains(transfers: pd.DataFrame) -> pd.DataFrame:
    """By target: `gain`, how much less the loss of its own model is than the constant's, the mean over members, and its
    `standard_error` (NaN of one member); `share`, of the constant's loss; `silent`.

    Silent is a node whose gain is below LEAST_GAIN of the constant's loss or two standard errors: whatever is divided
    by it is noise, and would look far from everything.
    """
    once = transfers.drop_duplicates(["target", "fold", "seed"])
    by_target = (once["constant"] - once["own"]).groupby(once["target"])
    found = pd.DataFrame(
        {"gain": by_target.mean(), "standard_error": by_target.std(ddof=1) / np.sqrt(by_target.size())}
    )
    found["share"] = found["gain"] / once.groupby("target")["constant"].mean()
    told = (found["share"] >= LEAST_GAIN) & ~(found["gain"] < 2.0 * found["standard_error"])
    return found.assign(silent=~told)


def declared_of(sources: Mapping[str, Source], settings: TrainingSettings) -> tuple[Declared, ...]:
    """Of all modalities of all sources, in their order: what every model here is told of, so that parts fit."""
    shapes = [shape for source in sources.values() for shape in shapes_of(source.embeddings)]
    return tuple(declare(shape, settings.tokens.get(shape.name)) for shape in shapes)


def _check(sources: Mapping[str, Source], nodes: Sequence[Node]) -> None:
    if len({len(node.modalities) for node in nodes}) != 1 or len(nodes) < 2 or len(nodes[0].modalities) > 2:
        raise ParamsError("give at least two nodes, all of one modality or all of two.")
    names = [node.name for node in nodes]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ParamsError(f"{', '.join(repeated)} is given twice.")
    modalities = [name for source in sources.values() for name in source.embeddings]
    if shared := sorted({name for name in modalities if modalities.count(name) > 1}):
        raise ParamsError(f"{', '.join(shared)} is in more than one source; give modalities names of their own.")
    for node in nodes:
        if node.source not in sources or set(node.modalities) - set(sources[node.source].embeddings):
            raise ParamsError(f"node {node.name}: '{node.source}' has no such modality.")


def _members(source: Source, seeds: Sequence[int]) -> list[Member]:
    return [Member(fold=fold, seed=seed) for seed in seeds for fold in range(source.cohort.num_folds)]


def _train(
    sources: Mapping[str, Source],
    node: Node,
    settings: TrainingSettings,
    members: list[Member],
    declared: tuple[Declared, ...],
    start: Callable[[Model], None] | None,
    checkpoint: Checkpoint | None,
) -> Trained:
    source = sources[node.source]
    return train(
        source.cohort,
        {name: source.embeddings[name] for name in node.modalities},
        source.tasks,
        dataclasses.replace(HIGHMMT, build=partial(HighMMT, declared=declared)),
        dataclasses.replace(settings, draw=source.draw),
        members,
        checkpoint=checkpoint,
        start=start,
    )


def _copy_from(model: Model, *, members: Sequence[Member], own: Mapping[str, Trained]) -> None:
    """Into each member the encoder (and pair block) of its source's member of the same seed; folds in turn, where the
    source has fewer."""
    mine = dict(model.named_parameters())
    with torch.no_grad():
        for k, member in enumerate(members):
            source = own[member.label]
            with_seed = [n for n, one in enumerate(source.members) if one.seed == member.seed]
            row = with_seed[member.fold % len(with_seed)]
            for name, values in source.model.named_parameters():
                if name.startswith("parts."):
                    mine[name][k] = values[row]


def _rows(source: Source, target: Node, own: Trained, moved: Trained, base: Sequence[Member]) -> pd.DataFrame:
    losses, names = _losses(moved), np.array([member.label for member in moved.members])
    times = len(names) // len(base)
    frame = pd.DataFrame(
        {
            "source": names,
            "target": target.name,
            "fold": [member.fold for member in moved.members],
            "seed": [member.seed for member in moved.members],
            "loss": losses,
            "own": np.tile(_losses(own), times),
            "again": np.tile(losses[names == target.name], times),
            "constant": np.tile(_constant_losses(source, base), times),
        }
    )
    return frame[frame["source"] != target.name]


def _losses(trained: Trained) -> np.ndarray:
    """(K,): each member's least validation loss."""
    return -trained.history.groupby("member")["validation_score"].max().to_numpy()


def _constant(task: Task, target: np.ndarray, ranges: np.ndarray, num_rows: int) -> np.ndarray:
    """What knows the training labels alone, for that many rows, as `validation_score` wants a prediction."""
    known = target[~np.isnan(target)]
    if task.kind == "multiclass":
        return np.tile(np.bincount(known.astype(int), minlength=len(task.classes)) / len(known), (num_rows, 1))
    mean = float(known.mean())
    return np.full(num_rows, (mean - ranges[0]) / (ranges[1] - ranges[0]) if task.kind == "regression" else mean)


def _constant_losses(source: Source, members: Sequence[Member]) -> np.ndarray:
    """(K,): of the training mean on validation, summed over tasks as the models' losses are."""
    losses = []
    for member in members:
        learn, judge = (source.cohort.rows(member.fold, split) for split in ("train", "validation"))
        total = 0.0
        for task in source.tasks:
            target = read_target(source.cohort, task)
            ranges = fit_target_range(source.cohort.targets[task.name], [learn])[0]
            score = validation_score(
                task, target[judge], _constant(task, target[learn], ranges, len(judge)), "mse", ranges
            )
            total -= float(np.nan_to_num(score))
        losses.append(total)
    return np.array(losses)
