"""The experiment on data missing not at random: one modality, one binary task."""

from __future__ import annotations

from mmn.modeling.missingness import missingness_experiment
from mmn.orchestration.actions.results_card import read_inputs, write_results
from mmn.orchestration.settings import missingness_settings, training_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    dataset, options = job.active[job.step.dataset].dataset, job.step.options
    cohort, embeddings = read_inputs(job, options["modalities"])
    params = job.workspace.params
    table = missingness_experiment(
        cohort,
        embeddings,
        dataset.task(options["task"]),
        options["modality"],
        training_settings(params, dataset, "multimodn"),
        missingness_settings(params, dataset),
        progress=job.progress,
        checkpoint=job.checkpoint,
    )
    write_results(job, cohort, embeddings, {"missingness": table}, modality=options["modality"], task=options["task"])
    worst = table[(table["mechanism"] == "mnar") & (table["test"] == "flipped")]
    worst = worst[worst["rate"] == worst["rate"].max()].groupby(["model", "skip"])["auroc"].mean()
    return Work(
        summary={f"flipped test, {model} {skip}".strip(): round(float(v), 4) for (model, skip), v in worst.items()}
    )
