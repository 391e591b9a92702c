"""What the steps over several data sets read, and how they write what they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import pandas as pd
import pyarrow as pa

from mmn.data.cohort import read_cohort
from mmn.data.embeddings import read_embeddings
from mmn.data.files import write_bytes, write_json, write_parquet
from mmn.modeling.highmmt.heterogeneity import Source
from mmn.modeling.highmmt.joint import Joint, refuse_other_folds
from mmn.modeling.highmmt.network import HighMMT
from mmn.modeling.highmmt.people import keep_apart
from mmn.modeling.scores import score
from mmn.modeling.storage import read_model
from mmn.modeling.trained import Trained
from mmn.orchestration.settings import HIGHMMT, highmmt_settings, training_settings
from mmn.orchestration.walk import Job


def read_sources(job: Job) -> dict[str, Source]:
    """The data sets by name, each with its tasks; those of the same people are kept apart. Raises ParamsError where
    they differ in their number of folds."""
    options, found = job.step.options, {}
    for name, modalities in options["modalities"].items():
        dataset = job.active[name].dataset
        found[name] = Source(
            cohort=read_cohort(job.path(f"cohorts/{name}")),
            embeddings={
                options["names"][name][m]: read_embeddings(job.path(f"features/{name}/{m}")) for m in modalities
            },
            tasks=tuple(dataset.task(task) for task in options["tasks"][name]),
            draw=training_settings(dict(job.workspace.params), dataset, HIGHMMT).draw,
            people=dataset.people or dataset.raw,
        )
    refuse_other_folds(found)
    return keep_apart(found)


def read_joint(job: Job, plan: str) -> Joint:
    """The model over all data sets that the sharing step stored for that plan, its parts shared again."""
    folder = job.path("results/highmmt/sharing") / "models" / folder_of(plan)
    trained = {name: read_model(folder / name) for name in job.step.options["modalities"]}
    models = [cast(HighMMT, one.model) for one in trained.values()]
    for model in models:
        model.parts = models[0].parts
    own = sum(p[0].numel() for model in models for p in model.heads.parameters())
    shared = sum(p[0].numel() for p in models[0].parts.parameters())
    return Joint(trained=trained, parts=models[0].parts, num_parameters=own + shared)


def folder_of(plan: str) -> str:
    """Of its name below `models/`."""
    return plan.replace(" ", "_").replace(",", "")


def write_tables(job: Job, tables: Mapping[str, pd.DataFrame], **card: Any) -> None:
    """A parquet and a csv of each table, and `card.json`. Card and footers say whether the models follow the paper or
    the published code."""
    job.out.mkdir(parents=True, exist_ok=True)
    mode = highmmt_settings(job.workspace.params).mode
    for name, table in tables.items():
        write_parquet(
            job.out / f"{name}.parquet",
            pa.Table.from_pandas(table, preserve_index=False),
            {**job.provenance, "mode": mode},
        )
        write_bytes(job.out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    described = {
        name: {"title": job.active[name].dataset.title, "version": job.active[name].inspection.version,
               "generated": job.active[name].inspection.generated, "modalities": list(found)}
        for name, found in job.step.options["modalities"].items()
    }  # fmt: skip
    write_json(
        job.out / "card.json",
        {
            "provenance": job.provenance,
            "mode": mode,
            "datasets": described,
            "datasets_not_there": job.step.options["lacking"],
            **card,
        },
    )


def scores_of(sources: Mapping[str, Source], models: Iterable[tuple[str, Mapping[str, Trained]]]) -> pd.DataFrame:
    """Rows of `score` for models and floors of every data set, with its name in `dataset` and `skill` beside them.

    models: (name, data set -> its model). skill: of the primary metric, 0 as good as a constant, 1 perfect:
    2 AUROC - 1, or 1 - (RMSE / RMSE of the training mean) squared, so that tasks can be averaged.
    """
    predictions: dict[str, dict[tuple[str, str], pd.DataFrame]] = {name: {} for name in sources}
    for model, trained in models:
        for name, one in trained.items():
            predictions[name][HIGHMMT_SET, model] = one.predictions
    parts = []
    for name, source in sources.items():
        table = score(source.cohort, source.tasks, predictions[name], source.embeddings)
        parts.append(table.assign(dataset=name, skill=_skill(table)))
    return pd.concat(parts, ignore_index=True)


HIGHMMT_SET = "joint"


def _skill(table: pd.DataFrame) -> pd.Series:
    constant = table[table["model"] == "training mean"].set_index(["task", "metric"])["estimate"]
    guess = pd.Series([constant.get((t, m)) for t, m in zip(table["task"], table["metric"], strict=True)], table.index)
    by_error = 1.0 - (table["estimate"] / guess.astype(float)) ** 2
    by_rank = 2.0 * table["estimate"] - 1.0
    found = by_rank.where(table["metric"].isin(["auroc", "macro_auroc"]), by_error.where(table["metric"] == "rmse"))
    return found.where(table["primary"])
