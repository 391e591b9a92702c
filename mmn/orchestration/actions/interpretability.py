"""IMC, CP and Shapley values of every MultiModN model of a data set; single items only where they may be seen."""

from __future__ import annotations

import pandas as pd

from mmn.modeling.interpret import (
    cumulative_predictions,
    individual_contributions,
    item_contributions,
    item_predictions,
    shown_items,
)
from mmn.modeling.shapley import agreement, contributions, shapley_table, stability
from mmn.modeling.storage import read_model
from mmn.orchestration.actions.results_card import read_inputs, write_results
from mmn.orchestration.pictures import contribution_pictures
from mmn.orchestration.settings import interpretability_settings
from mmn.orchestration.walk import Job, Work

TABLES = ("imc", "cp", "imc_items", "cp_items", "shapley", "agreement", "stability")


def run(job: Job) -> Work:
    entry = job.active[job.step.dataset]
    settings = interpretability_settings(job.workspace.params, entry.dataset)
    cohort, embeddings = read_inputs(job, entry.modalities)
    shown, why = shown_items(cohort, embeddings, settings, entry.inspection.generated)
    models = [key for key in job.step.deps if key.startswith("models/")]
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for done, key in enumerate(models):
        trained = read_model(job.path(key))
        used = {shape.name: embeddings[shape.name] for shape in trained.modalities}
        worth = contributions(trained, cohort, used, settings.sampled_orders)
        tables = {
            "imc": individual_contributions(trained, cohort, used),
            "cp": cumulative_predictions(trained, cohort, used),
            "imc_items": item_contributions(trained, cohort, used, shown),
            "cp_items": item_predictions(trained, cohort, used, shown),
            "shapley": shapley_table(worth),
            "agreement": agreement(worth),
            "stability": stability(worth),
        }
        for name, table in tables.items():
            found[name].append(table.assign(task_set=key.split("/")[2]))
        job.progress(done + 1, len(models))
    tables = {name: pd.concat(parts, ignore_index=True) for name, parts in found.items()}
    write_results(job, cohort, embeddings, tables, items_shown=why, num_items_shown=len(shown))
    return Work(
        summary={
            "models": len(models),
            "contributions": len(tables["imc"]),
            "cumulative": len(tables["cp"]),
            "single items": why,
        },
        pictures=contribution_pictures(tables["shapley"], tables["imc"]),
    )
