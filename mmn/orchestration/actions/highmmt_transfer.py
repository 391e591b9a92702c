"""What the other data sets are worth to each: from the start, after them, with them; with all labels and with few."""

from __future__ import annotations

import pandas as pd

from mmn.modeling.highmmt.transfer import transfers_to
from mmn.orchestration.actions.highmmt_inputs import read_sources, scores_of, write_tables
from mmn.orchestration.settings import highmmt_settings, highmmt_training
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    settings = highmmt_settings(job.workspace.params)
    training = highmmt_training(job.workspace.params, "training")
    sources = read_sources(job)
    tables = []
    for done, target in enumerate(sources):

        def progress(now: int, of: int, done: int = done) -> None:
            job.progress(done * of + now, len(sources) * of)

        ways = transfers_to(
            target, sources, settings.few_shot, training, settings.batch_sizes, progress, job.checkpoint
        )
        found = list(ways)
        labels = {f"{way}, {share:g}": (way, share) for way, share, _ in found}
        models = [(f"{way}, {share:g}", {target: trained}) for way, share, trained in found]
        table = scores_of({target: sources[target]}, models)
        table = table[table["kind"] == "model"]
        table["way"] = table["model"].map(lambda name, labels=labels: labels[name][0])
        table["share"] = table["model"].map(lambda name, labels=labels: labels[name][1])
        tables.append(table)
    scores = pd.concat(tables, ignore_index=True)
    write_tables(job, {"scores": scores})
    skill = scores.groupby(["way", "share"])["skill"].mean()
    return Work(summary={f"mean skill {way}, {share:g} of labels": round(v, 4) for (way, share), v in skill.items()})
