"""`mmn search`: look for better training settings of one model, by its validation scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import yaml

from mmn.data.cohort import read_cohort
from mmn.data.embeddings import read_embeddings
from mmn.data.errors import ParamsError, StaleInputError
from mmn.data.files import write_bytes, write_parquet
from mmn.modeling.encoders import restricted
from mmn.modeling.search import search as search_space
from mmn.modeling.search import sweep
from mmn.modeling.search_table import choose, curves
from mmn.orchestration.dvc_pipeline import code_version, read_lock, why_stale
from mmn.orchestration.params import nearest_of
from mmn.orchestration.settings import training_settings
from mmn.orchestration.steps import Step, active_datasets, build_steps
from mmn.orchestration.workspace import Workspace

Sampler = Literal["paper", "random", "tpe"]
SAMPLERS: tuple[Sampler, ...] = ("paper", "random", "tpe")
Progress = Callable[[int, int], None]


def search(
    workspace: Workspace, model: str, sampler: Sampler, num_settings: int, progress: Progress
) -> tuple[str, Path]:
    """Search the settings of the model step `models/DATASET/TASK SET/ARCHITECTURE`; what was found, in words, and the
    folder with `table.parquet`, `table.csv`, for the paper's sweeps `curves.csv`, and `choice.yaml` to be copied.

    A search that was killed goes on where it was. Raises ParamsError for an unknown model or sampler, StaleInputError
    where its inputs are not up to date.
    """
    if sampler not in SAMPLERS:
        raise ParamsError(f"--sampler {sampler}: unknown; known: {', '.join(SAMPLERS)}.")
    active = active_datasets(workspace)
    steps = build_steps(active)
    step = _model_step(steps, model)
    lock = read_lock(workspace)
    if stale := [key for key in step.deps if why_stale(workspace, steps[key], steps, lock) is not None]:
        raise StaleInputError(f"{', '.join(stale)}: not made, or not up to date. Type `mmn run {' '.join(stale)}`.")
    dataset, options = active[step.dataset].dataset, step.options
    cohort = read_cohort(workspace.root / steps[step.deps[0]].out)
    files = [workspace.root / steps[key].out for key in step.deps[1:]]
    embeddings = dict(zip(options["modalities"], map(read_embeddings, files), strict=True))
    tasks = tuple(dataset.task(name) for name in options["tasks"])
    base = restricted(training_settings(workspace.params, dataset, options["architecture"]), tuple(embeddings))
    shared: dict[str, Any] = {
        "folder": workspace.root / ".mmn" / "search" / step.stage,
        "progress": progress,
        "code_version": code_version(workspace, step),
    }
    if sampler == "paper":
        table = sweep(cohort, embeddings, tasks, options["architecture"], base, **shared)
    else:
        table = search_space(
            cohort, embeddings, tasks, options["architecture"], base,
            num_settings=num_settings, sampler=sampler, seed=base.seed, **shared,
        )  # fmt: skip
    out = workspace.root / "search" / step.key.removeprefix("models/") / sampler
    inputs = {key: workspace.hashes.version_of(workspace.root / steps[key].out) for key in step.deps}
    choice = choose(table)
    write_parquet(
        out / "table.parquet", pa.Table.from_pandas(table, preserve_index=False), {"step": "search", "inputs": inputs}
    )
    write_bytes(out / "table.csv", table.to_csv(index=False, lineterminator="\n").encode())
    if sampler == "paper":
        write_bytes(out / "curves.csv", curves(table).to_csv(index=False, lineterminator="\n").encode())
    own = {step.dataset: {"training": {options["architecture"]: choice.settings}}}
    write_bytes(out / "choice.yaml", yaml.safe_dump(own, sort_keys=False).encode())
    return choice.describe(), out


def _model_step(steps: dict[str, Step], model: str) -> Step:
    known = [key for key, step in steps.items() if step.kind == "model"]
    key = model if model.startswith("models/") else f"models/{model}"
    if key not in known:
        raise ParamsError(f"{model}: no model of that key here. {nearest_of(key, known)}")
    return steps[key]
