"""Which shared parameters take part in which task (paper, table 6).

How much a parameter takes part in a task is the mean, over test items, of the size of the gradient of what is predicted
for the item: the probability of its true class, and, which is ours, a regression's prediction on the [0, 1] scale. It
is involved in the tasks in which it takes part at least `threshold` times as much as in the task where it does most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmn.data.dataset import Task
from mmn.modeling.architecture import to_prediction
from mmn.modeling.highmmt.heterogeneity import Source
from mmn.modeling.highmmt.joint import Joint
from mmn.modeling.highmmt.network import HighMMT
from mmn.modeling.trained import one_thread

Progress = Callable[[int, int], None]
PARTS = ("encoders", "blocks")


def involvement(
    joint: Joint,
    sources: Mapping[str, Source],
    num_items: int = 64,
    threshold: float = 0.2,
    mode: Literal["paper", "published"] = "paper",
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """A row per part (`encoders`, `blocks`), `level` (`data set`, `task`), `member` and `num` (from 0): the `share` of
    the part's parameters that are involved in that many data sets (in any task of theirs) or tasks; of 0 where no
    prediction depends on it.

    num_items: at most so many labelled test items of each task and member. mode: "published" sums the pair block's
    gradients with their signs, as the published code does, so that they may cancel.
    """
    tasks = [(name, task) for name, source in sources.items() for task in source.tasks]
    taken: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    with one_thread():
        for done, (name, task) in enumerate(tasks):
            for part, found in _taken(joint, name, sources[name], task, num_items, mode).items():
                taken[part].append(found)
            progress(done + 1, len(tasks))
    rows = []
    for part in PARTS:
        if not taken[part][0].shape[1]:
            continue
        much_TKP = np.stack(taken[part])
        most_KP = much_TKP.max(axis=0)
        involved_TKP = (much_TKP >= threshold * most_KP) & (most_KP > 0)
        of_set = [np.any(involved_TKP[[n == name for n, _ in tasks]], axis=0) for name in sources]
        for level, involved in (("data set", np.stack(of_set)), ("task", involved_TKP)):
            number_KP = involved.sum(axis=0)
            for num in range(len(involved) + 1):
                rows += [
                    {"part": part, "level": level, "member": member, "num": num, "share": float(share)}
                    for member, share in enumerate((number_KP == num).mean(axis=1))
                ]
    return pd.DataFrame(rows)


def _taken(joint: Joint, name: str, source: Source, task: Task, num_items: int, mode: str) -> dict[str, np.ndarray]:
    """Part -> (K, P). Every member has its own weights, so one backward pass serves an item of each."""
    trained = joint.trained[name]
    model = cast(HighMMT, trained.model).eval()
    target = source.cohort.targets[task.name].reshape(len(source.cohort), -1)
    target = target[:, task.read_step if task.per_step else 0]
    rows = [source.cohort.rows(member.fold, "test") for member in trained.members]
    rows = [found[~np.isnan(target[found])][:num_items] for found in rows]
    inputs = trained.inputs(source.embeddings)
    total = {part: [torch.zeros_like(p) for p in getattr(joint.parts, part).parameters()] for part in PARTS}
    for number in range(max(map(len, rows))):
        there = np.array([number < len(found) for found in rows])
        place = np.array([[found[number] if on else 0] for found, on in zip(rows, there, strict=True)])
        batch = inputs.gather(place, there[:, None], with_targets=False)
        said_K = _said(task, to_prediction(model(batch)[task.name], task, model.loss)[:, 0], target[place[:, 0]])
        chosen = (said_K * torch.from_numpy(there).to(said_K)).sum()
        for part, sums in total.items():
            own = list(getattr(joint.parts, part).parameters())
            gradients = torch.autograd.grad(chosen, own, retain_graph=True, allow_unused=True) if own else ()
            for into, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    into += gradient if part == "blocks" and mode == "published" else gradient.abs()
    counts = np.maximum([len(found) for found in rows], 1)[:, None]
    empty = np.zeros((len(rows), 0))
    return {
        part: np.concatenate([empty, *(s.abs().flatten(1).cpu().numpy() for s in sums)], axis=1) / counts
        for part, sums in total.items()
    }


def _said(task: Task, predicted: Tensor, target_K: np.ndarray) -> Tensor:
    """(K,): the probability of the true class; a regression's prediction."""
    if task.kind == "regression":
        return predicted
    true = torch.from_numpy(np.nan_to_num(target_K)).to(predicted.device)
    if task.kind == "binary":
        return torch.where(true > 0.5, predicted, 1 - predicted)
    return predicted.gather(-1, true.long()[:, None])[:, 0]
