"""Score every model and every floor of a data set."""

from __future__ import annotations

from importlib import import_module

import pandas as pd

from mmn.modeling.binarised import score_binarised
from mmn.modeling.scores import score
from mmn.orchestration.actions.results_card import read_inputs, write_results
from mmn.orchestration.pictures import scores_picture
from mmn.orchestration.report.compare import standing
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    entry = job.active[job.step.dataset]
    cohort, embeddings = read_inputs(job, job.step.options["modalities"])
    predictions = {}
    for key in job.step.deps:
        if key.startswith("models/"):
            _, _, task_set, model = key.split("/")
            predictions[task_set, model] = pd.read_parquet(job.path(key) / "predictions.parquet")
    tasks = tuple(task for task in entry.dataset.tasks if task.name not in entry.inspection.skipped)
    table = score(cohort, tasks, predictions, embeddings, progress=job.progress)
    tables = {"scores": table}
    if entry.dataset.binarise:
        module, function = entry.dataset.binarise.split(":")
        binarise = getattr(import_module(module), function)
        tables["binarised"] = score_binarised(cohort, tasks, predictions, embeddings, binarise)
    write_results(job, cohort, embeddings, tables)
    shown = table[table["primary"] & (table["kind"] == "model")]
    summary = {
        f"{row.task} / {row.task_set} / {row.model}": round(float(row.estimate), 4) for row in shown.itertuples()
    }
    binary = shown[shown["metric"] == "auroc"]
    picture = None
    if len(binary):
        labels = [f"{row.task} {row.model}" + ("*" if row.task_set != row.task else "") for row in binary.itertuples()]
        picture = scores_picture(labels, list(binary["estimate"]), list(binary["low"]), list(binary["high"]))
    beaten = sum(standing(row) == "beats" for row in shown.itertuples())
    return Work(summary={"models": len(shown), "clearly beat their best floor": beaten, **summary}, picture=picture)
