"""`mmn export`: features that were made here, in the form in which a data set's authors published theirs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from mmn.data import DATASETS, load_dataset
from mmn.data.cohort import read_cohort
from mmn.data.embeddings import read_embeddings
from mmn.data.errors import ParamsError, StaleInputError
from mmn.orchestration.dvc_pipeline import read_lock, why_stale
from mmn.orchestration.params import nearest_of
from mmn.orchestration.settings import cohort_settings
from mmn.orchestration.steps import active_datasets, build_steps
from mmn.orchestration.workspace import Workspace


def export(workspace: Workspace, name: str, out: Path) -> dict[str, int]:
    """Counts of what was written. Raises ParamsError for a data set without a published form, StaleInputError where a
    feature is not made or not up to date."""
    known = [key for key in DATASETS if load_dataset(key).export]
    if name not in known:
        raise ParamsError(f"'{name}' has no published form to be written in. {nearest_of(name, known)}")
    active = active_datasets(workspace)
    if name not in active:
        raise ParamsError(f"{name} has no raw files here. Type `mmn doctor --raw {load_dataset(name).raw}=PATH`.")
    steps, lock, dataset = build_steps(active), read_lock(workspace), active[name].dataset
    wanted = [f"cohorts/{name}", *(f"features/{name}/{modality}" for modality in active[name].modalities)]
    if stale := [key for key in wanted if why_stale(workspace, steps[key], steps, lock) is not None]:
        raise StaleInputError(f"{', '.join(stale)}: not made, or not up to date. Type `mmn run {' '.join(stale)}`.")
    cohort = read_cohort(workspace.root / steps[wanted[0]].out)
    embeddings = {key.split("/")[2]: read_embeddings(workspace.root / steps[key].out) for key in wanted[1:]}
    module, function = dataset.export.split(":")
    params = cohort_settings(workspace.params, dataset)
    tables = {
        key: steps[f"prepared/{dataset.raw}/{key}"]
        for key in dataset.prepared
        if f"prepared/{dataset.raw}/{key}" in steps
    }
    prepared = {key: workspace.root / step.out for key, step in tables.items()}
    getattr(import_module(module), function)(workspace.raw(dataset.raw), cohort, params, out, embeddings, prepared)
    return {"items": len(cohort), "modalities": len(embeddings)}
