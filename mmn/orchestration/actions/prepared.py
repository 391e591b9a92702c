"""A big raw table to the few columns that are read, once for all cohorts of its raw folder."""

from __future__ import annotations

import json
from importlib import import_module

import pyarrow.parquet as pq

from mmn.data.files import LEFT_OUT_KEY
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    module, function = job.step.options["prepare"].split(":")
    prepare = getattr(import_module(module), function)
    prepare(job.raw, job.step.options["name"], job.out, job.provenance, job.progress)
    footer = pq.read_metadata(job.out)
    left_out = json.loads((footer.metadata or {}).get(LEFT_OUT_KEY, b"{}"))
    return Work(
        summary={
            "rows": footer.num_rows,
            "bytes": job.out.stat().st_size,
            **{f"left out: {reason}": count for reason, count in sorted(left_out.items())},
        }
    )
