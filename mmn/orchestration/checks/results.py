"""Of results and of the report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mmn.data.cohort import read_cohort
from mmn.data.files import read_json
from mmn.orchestration.checks import Verdict, names_of
from mmn.orchestration.checks.model import defining_unforced, not_finite, tested_on_others
from mmn.orchestration.checks.tables import TABLES, Table, is_of

if TYPE_CHECKING:
    from mmn.orchestration.operating import CheckSettings
    from mmn.orchestration.walk import Job

# What a browser would fetch by itself; a link that a reader may follow is none.
_FETCHED = re.compile(rb"""<(?:script|img|iframe|link|source)\b[^>]*\b(?:src|href)\s*=\s*["']?(?:https?:)?//""", re.I)
# Of a share that was summed up.
_SLACK = 1e-9
_NAMED = 20


def look(job: Job, settings: CheckSettings) -> Mapping[str, Verdict]:
    if not (job.out / "card.json").is_file():
        return {"schema": Verdict("card.json is missing: nothing would say what it was made from.")}
    if job.step.kind == "report":
        return _report(job.out)
    contract = TABLES[str(job.step.options.get("kind", job.step.kind))]
    tables = {path.stem: pq.read_table(path) for path in sorted(job.out.glob("*.parquet"))}
    if why := broken(contract, tables):
        return {"schema": Verdict(why)}
    verdicts = {
        "schema": Verdict(metadata={f"rows of {name}": table.num_rows for name, table in tables.items()}),
        "ranges": _ranges(contract, tables),
    }
    wanted = names_of(job.step.kind)
    if "above_floors" in wanted:
        verdicts["above_floors"] = _above_floors(tables.get("scores"))
    if "leakage" in wanted:
        verdicts |= _models(job)
    return verdicts


def broken(contract: Mapping[str, Table], tables: Mapping[str, pa.Table]) -> str | None:
    """What of the tables is not as the contract says; None if all is."""
    if unknown := sorted(set(tables) - set(contract)):
        return f"{unknown[0]}.parquet is no table of these results; known: {', '.join(contract)}."
    if not tables:
        return "it holds no table."
    for name, table in contract.items():
        if name not in tables:
            if table.optional:
                continue
            return f"{name}.parquet is missing."
        found = tables[name]
        if not found.num_rows:
            if table.may_be_empty:
                continue
            return f"{name}.parquet has no row."
        for column, told in table.contract.items():
            if column not in found.column_names:
                return f"{name}.parquet: column '{column}' is missing."
            if not is_of(told.kind, found.schema.field(column).type):
                return f"{name}.parquet: {column} is {found.schema.field(column).type}, expected a {told.kind}."
    return None


def _ranges(contract: Mapping[str, Table], tables: Mapping[str, pa.Table]) -> Verdict:
    from mmn.orchestration.report.numbers import metric_of

    outside: dict[str, int] = {}
    for name, table in tables.items():
        for column, told in contract[name].contract.items() if table.num_rows else ():
            if told.kind == "number" and np.isfinite([told.low, told.high]).any():
                values = table[column].to_numpy().astype(float)
                outside[f"{name}.{column}"] = _outside(values, told.low, told.high)
        if {"metric", "estimate"} <= set(table.column_names):
            shown = table.select(["metric", "estimate"]).to_pandas()
            for metric, values in shown.groupby("metric")["estimate"]:
                known = metric_of(str(metric))
                outside[f"{name}: {metric}"] = _outside(values.to_numpy(float), known.low, known.high)
    wrong = {where: count for where, count in outside.items() if count}
    told_of = ", ".join(f"{where} ({count} rows)" for where, count in wrong.items())
    return Verdict(f"impossible values: {told_of}." if wrong else None, {"looked at": len(outside)})


def _outside(values: np.ndarray, low: float, high: float) -> int:
    known = values[~np.isnan(values)]
    return int((np.isinf(known) | (known < low - _SLACK) | (known > high + _SLACK)).sum())


def _above_floors(scores: pa.Table | None) -> Verdict:
    from mmn.orchestration.report.compare import standing

    if scores is None:
        return Verdict(metadata={"models": 0})
    table = scores.to_pandas()
    models = table[table["primary"] & (table["kind"] == "model")]
    of_set = models["dataset"] + "/" if "dataset" in models else pd.Series("", models.index)
    stand = {
        f"{name}{row.task_set}/{row.model}, {row.task}": standing(row)
        for name, row in zip(of_set, models.itertuples(), strict=True)
    }
    losing = [name for name, how in stand.items() if how == "loses"]
    named = "; ".join(losing[:_NAMED]) + (f"; and {len(losing) - _NAMED} more" if len(losing) > _NAMED else "")
    return Verdict(
        f"{len(losing)} of {len(stand)} are no better than the best floor: {named}." if losing else None,
        {how: sum(one == how for one in stand.values()) for how in sorted(set(stand.values()))},
    )


def _models(job: Job) -> dict[str, Verdict]:
    """Of the models that were trained over several data sets: as of any other model, against each one's own cohort."""
    bad = weights = strangers = 0
    folders = sorted(path.parent for path in job.out.rglob("predictions.parquet"))
    for folder in folders:
        predictions = pd.read_parquet(folder / "predictions.parquet")
        kinds = {task["name"]: task["kind"] for task in read_json(folder / "card.json")["tasks"]}
        of_values, of_weights = not_finite(folder, predictions, kinds)
        bad, weights = bad + of_values, weights + of_weights
        strangers += tested_on_others(read_cohort(job.path(f"cohorts/{folder.name}")), predictions)
    options = job.step.options
    unforced = [
        f"{name}/{modality}"
        for name, modalities in options["modalities"].items()
        for modality in defining_unforced(job.active[name], options["tasks"][name], modalities)
    ]
    leaks = [
        *([f"{strangers} predictions are of items that are not test items of their fold."] if strangers else []),
        *([f"{', '.join(unforced)} defines a label of its tasks and was read. Leave it out."] if unforced else []),
    ]
    wrong = [
        *([f"{bad} predictions are infinite, not a number, or no probability."] if bad else []),
        *([f"{weights} weights are not finite."] if weights else []),
    ]
    return {
        "leakage": Verdict(" ".join(leaks) or None, {"models": len(folders)}),
        "finite": Verdict(" ".join([*wrong, "Lower the learning rate."]) if wrong else None, {"models": len(folders)}),
    }


def _report(out: Path) -> dict[str, Verdict]:
    page = (out / "index.html").read_bytes() if (out / "index.html").is_file() else b""
    fetched = len(_FETCHED.findall(page))
    return {
        "schema": Verdict(None if b"</html>" in page else "index.html is missing or cut short."),
        "self_contained": Verdict(f"it would load {fetched} things from elsewhere." if fetched else None),
    }
