"""Score every model and every floor of a data set, and compare the models."""

from __future__ import annotations

from importlib import import_module

import pandas as pd

from mmn.data.cohort import Cohort
from mmn.modeling.binarised import score_binarised
from mmn.modeling.comparisons import compare
from mmn.modeling.scores import score
from mmn.orchestration.actions.dvc_files import write_dvc_files
from mmn.orchestration.actions.results_card import read_inputs, write_results
from mmn.orchestration.params import section
from mmn.orchestration.pictures import scores_picture
from mmn.orchestration.report.compare import standing
from mmn.orchestration.settings import comparison_settings, training_settings
from mmn.orchestration.walk import Job, Work

# Setting -> (the published value, what it means there, what ours means).
_PUBLISHED = {
    "skip": ("batch", "one absent value takes a modality from its whole batch", "absence is decided item by item"),
    "loss": ("published", "cross-entropy of sigmoid outputs", "cross-entropy of logits"),
    "normalise": (
        "published",
        "the loss is divided by all terms, skipped ones too",
        "the loss is the mean over the terms that exist",
    ),
    "shuffle": (False, "training items in a fixed order", "training items in a new order every epoch"),
}


def run(job: Job) -> Work:
    entry = job.active[job.step.dataset]
    cohort, embeddings = read_inputs(job, job.step.options["modalities"])
    predictions, histories = {}, {}
    for key in job.step.deps:
        if key.startswith("models/"):
            _, _, task_set, model = key.split("/")
            predictions[task_set, model] = pd.read_parquet(job.path(key) / "predictions.parquet")
            histories[key] = job.path(key) / "history.parquet"
    tasks = tuple(task for task in entry.dataset.tasks if task.name not in entry.inspection.skipped)
    alone = {task.name: entry.modalities_for((task.name,)) for task in tasks}
    table = score(cohort, tasks, predictions, embeddings, progress=job.progress, alone=alone)
    compared = compare(cohort, tasks, predictions, comparison_settings(job.workspace.params, entry.dataset))
    tables = {"scores": table}
    if len(compared):
        tables["comparisons"] = compared
    if entry.dataset.binarise:
        module, function = entry.dataset.binarise.split(":")
        binarise = getattr(import_module(module), function)
        tables["binarised"] = score_binarised(cohort, tasks, predictions, embeddings, binarise)
    write_results(job, cohort, embeddings, tables, differs_from_paper=_differs(job, cohort))
    write_dvc_files(job.out, table, histories)
    shown = table[table["primary"] & (table["kind"] == "model")]
    summary = {
        f"{row.task} / {row.task_set} / {row.model}": round(float(row.estimate), 4) for row in shown.itertuples()
    }
    binary = shown[shown["metric"] == "auroc"]
    pictures = {}
    if len(binary):
        labels = [f"{row.task} {row.model}" + ("*" if row.task_set != row.task else "") for row in binary.itertuples()]
        pictures["AUROC"] = scores_picture(labels, list(binary["estimate"]), list(binary["low"]), list(binary["high"]))
    beaten = sum(standing(row) == "beats" for row in shown.itertuples())
    return Work(summary={"models": len(shown), "clearly beat their best floor": beaten, **summary}, pictures=pictures)


def _differs(job: Job, cohort: Cohort) -> list[str]:
    """What a reader must know before setting a number beside the paper's; nothing where the paper has no number."""
    entry = job.active[job.step.dataset]
    dataset, params = entry.dataset, job.workspace.params
    if not any(task.published for task in dataset.tasks):
        return []
    origin = "a generated world, not real data" if entry.inspection.generated else "real data"
    told = [
        f"Data: {origin}, version {entry.inspection.version}: {len(cohort):,} items of "
        f"{cohort.items['subject'].nunique():,} subjects.",
        f"Folds: {cohort.num_folds} disjoint test sets; no {cohort.fold_group} is on two sides of one.",
        *cohort.notes,
    ]
    settings = training_settings(params, dataset, "multimodn")
    for name, (published, theirs, ours) in _PUBLISHED.items():
        if getattr(settings, name) != published:
            told.append(f"{name}: ours {ours}; theirs: {theirs}.")
    told.append("Scaling: ours is fitted on training items only; theirs on all items.")
    if changed := section(params, f"{dataset.name}.training"):
        told.append("Settings changed from the paper's: " + ", ".join(f"{k} = {v}" for k, v in sorted(changed.items())))
    return told
