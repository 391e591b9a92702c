"""Calibration, decision curves and subgroups of every model of a data set."""

from __future__ import annotations

from mmn.data.embeddings import read_embeddings
from mmn.modeling import XGBOOST
from mmn.modeling.pooled import validation_predictions
from mmn.modeling.storage import read_model
from mmn.modeling.trust import look_at_trust
from mmn.orchestration.actions.results_card import read_inputs, write_results
from mmn.orchestration.pictures import trust_pictures
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    entry, options = job.active[job.step.dataset], job.step.options
    cohort, embeddings = read_inputs(job, options["modalities"])
    predictions, validation, read = {}, {}, {}
    keys = [key for key in job.step.deps if key.startswith("models/")]
    for done, key in enumerate(keys):
        _, name, task_set, model = key.split("/")
        trained = _read(job, key, model)
        # What the model was trained on: its own modalities, compressed where it reads them so.
        own = {
            shape.name: read_embeddings(job.path(f"features/{name}/{shape.name}{options['suffix'].get(model, '')}"))
            for shape in trained.modalities
        }
        predictions[task_set, model] = trained.predictions
        validation[task_set, model] = validation_predictions(trained, cohort, own)
        read[task_set, model] = tuple(own)
        job.progress(done, 2 * len(keys))
    tasks = tuple(task for task in entry.dataset.tasks if task.name not in entry.inspection.skipped)
    tables = look_at_trust(
        cohort,
        tasks,
        predictions,
        validation,
        embeddings,
        read,
        progress=lambda done, total: job.progress(len(keys) + done, len(keys) + total),
    )
    write_results(job, cohort, embeddings, tables)
    summary = {"models": len(keys)} | {f"rows of {name}": len(table) for name, table in tables.items()}
    if "subgroups" in tables:
        groups = tables["subgroups"].drop_duplicates(["task", "task_set", "model", "attribute", "group"])
        summary["groups withheld, or another with them"] = int(groups["withheld"].sum())
    return Work(summary=summary, pictures=trust_pictures(tables))


def _read(job: Job, key: str, model: str):
    if model != XGBOOST:
        return read_model(job.path(key))
    from mmn.modeling.xgboost_storage import read_xgboost

    return read_xgboost(job.path(key))
