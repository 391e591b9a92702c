"""Grow XGBoost's trees on one task: one model per fold."""

from __future__ import annotations

from mmn.modeling.xgboost_fusion import fit_xgboost
from mmn.modeling.xgboost_storage import write_xgboost
from mmn.orchestration.actions.model_inputs import notes_of, read_model_inputs
from mmn.orchestration.settings import xgboost_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    dataset, options = job.active[job.step.dataset].dataset, job.step.options
    cohort, embeddings, featurizers = read_model_inputs(job)
    settings = xgboost_settings(job.workspace.params, dataset)
    trained = fit_xgboost(cohort, embeddings, dataset.task(*options["tasks"]), settings, progress=job.progress)
    trained.notes = (*trained.notes, *notes_of(job))
    write_xgboost(job.out, trained, job.provenance, featurizers)
    summary = {
        "tasks": ", ".join(options["tasks"]),
        "modalities": ", ".join(options["modalities"]),
        "members": len(trained.members),
        "trees": sum(int(chosen["num_trees"]) for chosen in trained.chosen),
    }
    return Work(summary=summary | {f"note {number + 1}": note for number, note in enumerate(trained.notes)})
