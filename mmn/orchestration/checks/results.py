"""Of results and of the report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq

from mmn.orchestration.checks import Verdict

if TYPE_CHECKING:
    from mmn.orchestration.operating import CheckSettings
    from mmn.orchestration.walk import Job

# What a browser would fetch by itself; a link that a reader may follow is none.
_FETCHED = re.compile(rb"""<(?:script|img|iframe|link|source)\b[^>]*\b(?:src|href)\s*=\s*["']?(?:https?:)?//""", re.I)


def look(job: Job, settings: CheckSettings) -> Mapping[str, Verdict]:
    if not (job.out / "card.json").is_file():
        return {"schema": Verdict("card.json is missing: nothing would say what it was made from.")}
    if job.step.kind == "report":
        page = (job.out / "index.html").read_bytes() if (job.out / "index.html").is_file() else b""
        fetched = len(_FETCHED.findall(page))
        return {
            "schema": Verdict(None if b"</html>" in page else "index.html is missing or cut short."),
            "self_contained": Verdict(f"it would load {fetched} things from elsewhere." if fetched else None),
        }
    tables = {path.stem: pq.read_metadata(path).num_rows for path in sorted(job.out.glob("*.parquet"))}
    if not tables:
        return {"schema": Verdict("it holds no table.")}
    verdicts = {"schema": Verdict(metadata={f"rows of {name}": rows for name, rows in tables.items()})}
    if job.step.kind == "scores":
        from mmn.orchestration.report.compare import standing
        from mmn.orchestration.report.numbers import metric_of

        table = pd.read_parquet(job.out / "scores.parquet")
        outside = [
            f"{row.model} on {row.task}: {row.metric}"
            for row in table.itertuples()
            if math.isfinite(row.estimate)
            and not metric_of(row.metric).low <= row.estimate <= metric_of(row.metric).high
        ]
        models = table[table["primary"] & (table["kind"] == "model")]
        stand = {f"{row.task_set}/{row.model}, {row.task}": standing(row) for row in models.itertuples()}
        losing = [name for name, how in stand.items() if how == "loses"]
        verdicts["ranges"] = Verdict(f"impossible scores: {'; '.join(outside)}." if outside else None)
        verdicts["above_floors"] = Verdict(
            f"{len(losing)} of {len(stand)} are no better than the best floor: {'; '.join(losing)}."
            if losing
            else None,
            {how: sum(one == how for one in stand.values()) for how in sorted(set(stand.values()))},
        )
    return verdicts
