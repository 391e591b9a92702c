"""In how many data sets and tasks each shared parameter of the joint model takes part (paper, table 6)."""

from __future__ import annotations

from mmn.modeling.highmmt.involvement import involvement
from mmn.modeling.highmmt.sharing import SHARED
from mmn.orchestration.actions.highmmt_inputs import read_joint, read_sources, write_tables
from mmn.orchestration.settings import highmmt_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    settings, sources = highmmt_settings(job.workspace.params), read_sources(job)
    table = involvement(
        read_joint(job, SHARED),
        sources,
        settings.involvement_items,
        settings.involvement_threshold,
        settings.mode,
        job.progress,
    )
    write_tables(
        job, {"involvement": table}, plan=SHARED, items=settings.involvement_items,
        threshold=settings.involvement_threshold,
    )  # fmt: skip
    told = table[(table["level"] == "data set") & (table["num"] > 1)]
    shared = told.groupby(["part", "member"])["share"].sum().groupby("part").mean()
    names = {"encoders": "of the encoder, in two data sets or more", "blocks": "of the pair block, likewise"}
    return Work(summary={names[part]: f"{share:.0%}" for part, share in shared.items()})
