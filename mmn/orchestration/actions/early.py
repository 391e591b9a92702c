"""Scores when only a part of the series has been seen."""

from __future__ import annotations

from mmn.data.embeddings import read_embeddings
from mmn.modeling.early import early_reading, step_by_step
from mmn.modeling.storage import read_model
from mmn.orchestration.actions.results_card import read_inputs, write_results
from mmn.orchestration.settings import training_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    entry, options = job.active[job.step.dataset], job.step.options
    cohort, embeddings = read_inputs(job, options["modalities"])
    name = entry.dataset.name
    models = {key.split("/")[2]: read_model(job.path(key)) for key in job.step.deps if key.startswith("models/")}
    fused = {m: read_embeddings(job.path(f"features/{name}/{m}{options['suffix']}")) for m in options["modalities"]}
    tasks = tuple(task for task in entry.dataset.tasks if task.early and task.name not in entry.inspection.skipped)
    settings = training_settings(job.workspace.params, entry.dataset, "p_fusion")
    table = early_reading(cohort, tasks, embeddings, models, fused, settings, job.progress, job.checkpoint)
    every = step_by_step(cohort, tasks, embeddings, models)
    write_results(job, cohort, embeddings, {"early": table, **({"step_by_step": every} if len(every) else {})})
    shown = table[table["primary"] & (table["kind"] == "model")]
    return Work(
        summary={
            f"{row.task} at {row.share} / {row.task_set} / {row.model}": round(float(row.estimate), 4)
            for row in shown.itertuples()
        }
    )
