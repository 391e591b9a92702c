"""Every model with every subset of its modalities, and MultiModN with them in other orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from mmn.data.embeddings import Embeddings, read_embeddings
from mmn.modeling import COMPRESSED, XGBOOST
from mmn.modeling.order import FIXED, SHUFFLED, order_scores, order_sensitivity, ratio_of_test_items
from mmn.modeling.storage import read_model
from mmn.modeling.subsets import MOST_MODALITIES, AnyModel, subset_scores
from mmn.modeling.train import train
from mmn.modeling.trained import Trained
from mmn.modeling.xgboost_storage import read_xgboost
from mmn.orchestration.actions.results_card import read_inputs, write_results
from mmn.orchestration.pictures import subsets_pictures
from mmn.orchestration.settings import subsets_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    entry, options = job.active[job.step.dataset], job.step.options
    settings = subsets_settings(job.workspace.params, entry.dataset)
    cohort, embeddings = read_inputs(job, options["modalities"])
    models: dict[tuple[str, str], AnyModel] = {}
    for key in (key for key in job.step.deps if key.startswith("models/")):
        _, _, task_set, architecture = key.split("/")
        models[task_set, architecture] = (read_xgboost if architecture == XGBOOST else read_model)(job.path(key))
    suffix = options["suffix"]
    compressed = {
        m: read_embeddings(job.path(f"features/{entry.dataset.name}/{m}{suffix}"))
        for m in (options["modalities"] if suffix else ())
    }

    def read_by(trained: AnyModel) -> Mapping[str, Embeddings]:
        name = trained.architecture.name if isinstance(trained, Trained) else XGBOOST
        source = compressed if suffix and name in COMPRESSED else embeddings
        return {shape.name: source[shape.name] for shape in trained.modalities}

    by_subset = subset_scores(cohort, models, read_by, lambda done, total: job.progress(done, total + 2))
    orders, sensitivity, ratio = [], [], ratio_of_test_items(cohort)

    def add(trained: Trained, task_set: str, variant: str) -> None:
        scores = order_scores(trained, cohort, read_by(trained), settings.num_orders)
        named = {"task_set": task_set, "variant": variant}
        orders.append(scores.assign(**named))
        sensitivity.append(order_sensitivity(scores, len(trained.modalities), ratio).assign(**named))

    states = {
        task_set: trained
        for (task_set, architecture), trained in models.items()
        if architecture == "multimodn" and isinstance(trained, Trained) and len(trained.modalities) > 1
    }
    for task_set, trained in states.items():
        add(trained, task_set, FIXED)
    job.progress(len(models) + 1, len(models) + 2)
    # One model, the one with the most tasks: all of them are seen and it costs one training.
    if settings.shuffled and states:
        task_set = max(states, key=lambda name: len(states[name].tasks))
        fixed = states[task_set]
        again = replace(fixed.settings, shuffle_order=True, epochs=settings.epochs or fixed.settings.epochs)
        shuffled = train(
            cohort, read_by(fixed), fixed.tasks, "multimodn", again, checkpoint=job.checkpoint("any order")
        )
        add(shuffled, task_set, SHUFFLED)
    job.progress(len(models) + 2, len(models) + 2)
    tables = {"subsets": by_subset, "orders": _joined(orders), "order_sensitivity": _joined(sensitivity)}
    tables = {name: table for name, table in tables.items() if len(table)}
    most = max((len(trained.modalities) for trained in models.values()), default=0)
    write_results(job, cohort, embeddings, tables, all_subsets=most <= MOST_MODALITIES)
    worst = {
        f"{row.task} / {row.task_set} / {row.variant}: {row.metric} in another order": f"{row.difference:+.4f}"
        for row in (tables["order_sensitivity"].itertuples() if sensitivity else ())
    }
    return Work(
        summary={"models": len(models), "subsets": len(by_subset), **worst}, pictures=subsets_pictures(by_subset)
    )


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
