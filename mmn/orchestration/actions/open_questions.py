"""Questions that the paper leaves open, put to generated worlds: state size, unequal series, the cost of modalities."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from mmn.data.files import write_bytes, write_json, write_parquet
from mmn.modeling.growth import QUICK, costs, state_sizes, unequal_lengths
from mmn.orchestration.pictures import open_pictures
from mmn.orchestration.settings import open_questions_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    chosen = open_questions_settings(job.workspace.params)
    training = replace(QUICK, epochs=chosen.epochs)
    job.progress(0, 3)
    tables = {"state_sizes": state_sizes(chosen.modalities, chosen.tasks, chosen.states, training, chosen.items)}
    job.progress(1, 3)
    tables["unequal_lengths"] = unequal_lengths(num_steps=chosen.steps, settings=training, num_items=chosen.items)
    job.progress(2, 3)
    tables["costs"] = costs(chosen.grown)
    job.progress(3, 3)
    job.out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_parquet(job.out / f"{name}.parquet", pa.Table.from_pandas(table, preserve_index=False), job.provenance)
        write_bytes(job.out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    write_json(job.out / "card.json", {"provenance": job.provenance, "items": chosen.items, "epochs": chosen.epochs})
    return Work(
        summary={"items": chosen.items, "epochs": chosen.epochs, "trainings": len(tables["state_sizes"]) + 6},
        pictures=open_pictures(tables),
    )
