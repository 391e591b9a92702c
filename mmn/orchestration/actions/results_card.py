"""What every results folder says of the data behind its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from mmn.data.cohort import Cohort, read_cohort
from mmn.data.embeddings import Embeddings, read_embeddings
from mmn.data.files import read_provenance, write_bytes, write_json, write_parquet
from mmn.orchestration.walk import Job


def read_inputs(job: Job, modalities: tuple[str, ...]) -> tuple[Cohort, dict[str, Embeddings]]:
    name = job.step.dataset
    cohort = read_cohort(job.path(f"cohorts/{name}"))
    return cohort, {m: read_embeddings(job.path(f"features/{name}/{m}")) for m in modalities}


def write_results(
    job: Job, cohort: Cohort, embeddings: dict[str, Embeddings], tables: dict[str, pd.DataFrame], **more: Any
) -> None:
    """A parquet and a csv of each table, and `card.json`."""
    job.out.mkdir(parents=True)
    for name, table in tables.items():
        write_parquet(job.out / f"{name}.parquet", pa.Table.from_pandas(table, preserve_index=False), job.provenance)
        write_bytes(job.out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    write_json(job.out / "card.json", {**_card(job, cohort, embeddings), **more})


def _card(job: Job, cohort: Cohort, embeddings: dict[str, Embeddings]) -> dict[str, Any]:
    entry = job.active[job.step.dataset]
    dataset, inspection = entry.dataset, entry.inspection
    return {
        "provenance": job.provenance,
        "dataset": dataset.name,
        "title": dataset.title,
        "version": inspection.version,
        "generated": inspection.generated,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "skipped": dict(inspection.skipped),
        "notes": list(cohort.notes),
        "excluded": cohort.excluded,
        "num_items": len(cohort),
        "num_subjects": int(cohort.items["subject"].nunique()),
        "num_steps": cohort.num_steps,
        "num_folds": cohort.num_folds,
        "tasks": {
            task.name: {
                "number": task.number,
                "kind": task.kind,
                "description": task.description,
                "unit": task.unit,
                "per_step": task.per_step,
                "read_step": task.read_step,
                "published": dict(task.published),
            }
            for task in dataset.tasks
            if task.name not in inspection.skipped
        },
        "modalities": {
            name: {
                "description": dataset.modality(name).description,
                "presence": round(float(table.present.mean()), 6),
                "featurizer": _featurizer(job.path(f"features/{dataset.name}/{name}")),
            }
            for name, table in embeddings.items()
        },
    }


def _featurizer(path: Path) -> dict[str, Any]:
    return (read_provenance(path) or {}).get("featurizer", {})
