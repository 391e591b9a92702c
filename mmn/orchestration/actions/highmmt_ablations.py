"""One HighMMT over all data sets, whole and without one part each (paper, table 5, architecture)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pandas as pd

from mmn.modeling.highmmt.joint import train_jointly
from mmn.orchestration.actions.highmmt_inputs import read_sources, scores_of, write_tables
from mmn.orchestration.settings import highmmt_settings, highmmt_training
from mmn.orchestration.walk import Job, Work

WITHOUT: tuple[Literal["nothing", "marks", "encoder", "pairs"], ...] = ("nothing", "marks", "encoder", "pairs")


def run(job: Job) -> Work:
    settings = highmmt_settings(job.workspace.params)
    training = highmmt_training(job.workspace.params, "training")
    sources = read_sources(job)
    rows, models = [], []
    for done, part in enumerate(WITHOUT):
        # A data set of one modality has no pairs to read tokens from.
        read = {name: s for name, s in sources.items() if part != "encoder" or len(s.embeddings) > 1}
        joint = train_jointly(
            read, replace(training, without=part), settings.batch_sizes, checkpoint=job.checkpoint(part)
        )
        models.append((f"without {part}", joint.trained))
        rows.append({"without": part, "num_parameters": joint.num_parameters, "datasets": ", ".join(read)})
        job.progress(done + 1, len(WITHOUT))
    scores = scores_of(sources, models)
    skill = scores[scores["kind"] == "model"].groupby("model")["skill"].mean()
    table = pd.DataFrame(rows)
    table["mean_skill"] = [skill[f"without {part}"] for part in table["without"]]
    write_tables(job, {"ablations": table, "scores": scores})
    return Work(summary={f"mean skill without {row.without}": round(row.mean_skill, 4) for row in table.itertuples()})
