"""The experiment on data missing for a reason: modalities taken away one at a time, one binary task."""

from __future__ import annotations

from typing import Any

from mmn.modeling.encoders import restricted
from mmn.modeling.missingness import missingness_experiment
from mmn.modeling.missingness_plan import driver_of
from mmn.modeling.missingness_tables import differences_of, fold_ratio, summarise
from mmn.orchestration.actions.results_card import read_inputs, write_results
from mmn.orchestration.pictures import removal_pictures
from mmn.orchestration.settings import missingness_settings, missingness_training
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    dataset, options = job.active[job.step.dataset].dataset, job.step.options
    cohort, embeddings = read_inputs(job, options["modalities"])
    params, removed = job.workspace.params, options["removed"]
    settings = missingness_settings(params, dataset)
    table = missingness_experiment(
        cohort,
        embeddings,
        dataset.task(options["task"]),
        removed,
        {model: restricted(s, tuple(embeddings)) for model, s in missingness_training(params, dataset).items()},
        settings,
        progress=job.progress,
        checkpoint=job.checkpoint,
    )
    ratio = fold_ratio(cohort)
    summary = summarise(table, ratio)
    tables = {
        "missingness": table,
        "missingness_summary": summary,
        "missingness_differences": differences_of(table, summary, ratio),
    }
    drivers = {m: driver_of(m, embeddings, settings) for m in removed} if "mar" in settings.mechanisms else {}
    write_results(
        job,
        cohort,
        embeddings,
        tables,
        task=options["task"],
        removed=list(removed),
        not_there=list(options["not_there"]),
        removed_class=settings.removed_class,
        drivers=drivers,
    )
    worst = summary[(summary["test"] == "flipped") & (summary["rate"] == summary["rate"].max())]
    worst = worst[worst["mechanism"] != "mcar"]
    at_chance = summary[(summary["rate"] == 0) & ~summary["above_chance"]]
    told: dict[str, Any] = {
        f"{row.modality} {row.mechanism}, flipped test, {row.model} {row.skip}": round(float(row.estimate), 4)
        for row in worst.itertuples()
    }
    if len(at_chance):
        told["at chance before anything is removed"] = ", ".join(
            f"{row.model} {row.skip}" for row in at_chance.itertuples()
        )
    return Work(summary=told, pictures=removal_pictures(summary))
