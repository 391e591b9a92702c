"""Of an embedding table: read back in blocks, so that memory does not grow with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmn.data.embeddings import CONTRACT
from mmn.data.files import PROVENANCE_KEY
from mmn.orchestration.checks import Verdict, last_version

if TYPE_CHECKING:
    from mmn.orchestration.operating import CheckSettings
    from mmn.orchestration.walk import Job

_ROWS = 16_384
# Fewer present rows than this may be alike by chance.
_ENOUGH = 10
_SIGMAS = 3.0


def look(job: Job, settings: CheckSettings) -> Mapping[str, Verdict]:
    items = pq.read_table(job.path(f"cohorts/{job.step.dataset}") / "items.parquet", columns=["item"])["item"]
    items = items.combine_chunks().cast(pa.string())
    file = pq.ParquetFile(job.out)
    footer = json.loads((file.metadata.metadata or {}).get(PROVENANCE_KEY, b"{}"))
    shape, why = shape_of(file, footer, len(items))
    if shape is None:
        return {"schema": Verdict(why)}
    seen = _read_through(file, items, shape)
    verdicts = {
        "schema": Verdict(metadata={"rows": file.metadata.num_rows, "dimensions": shape.width, "steps": shape.steps}),
        "item_order": Verdict(
            f"{seen.out_of_order} rows are not of the cohort's item at that place. The featurizer must keep its order."
            if seen.out_of_order
            else None,
            {"items": len(items)},
        ),
        "finite": Verdict(
            f"{seen.infinite} present rows hold an infinite value and {seen.hollow} hold nothing at all. Mend the "
            "featurizer, or mark such rows absent."
            if seen.infinite or seen.hollow
            else None,
            {"present rows": seen.present, "undefined values": seen.undefined},
        ),
        "spread": _spread(seen),
        "presence_drift": _presence_drift(job, settings, file, items, shape),
    }
    return verdicts | {"reconstruction": _reconstruction(footer.get("featurizer", {}))}


@dataclass(frozen=True)
class Shape:
    folds: int
    steps: int
    width: int


def shape_of(file: pq.ParquetFile, footer: Mapping[str, Any], num_items: int) -> tuple[Shape | None, str]:
    schema = file.schema_arrow
    if footer.get("contract") != CONTRACT:
        return None, f"its footer says contract {footer.get('contract')!r}, expected {CONTRACT!r}."
    for name in ("item", "embedding"):
        if name not in schema.names:
            return None, f"column '{name}' is missing."
    kind = schema.field("embedding").type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32() or not kind.list_size:
        return None, f"embedding is {kind}, expected a list of float32 of fixed size."
    steps, folds = (_largest(file, name) + 1 if name in schema.names else 1 for name in ("step", "fold"))
    if file.metadata.num_rows != folds * num_items * steps:
        return None, (
            f"{file.metadata.num_rows} rows, expected {folds} folds × {num_items} items × {steps} steps. "
            "Every item has a row, absent ones too."
        )
    return Shape(folds, steps, kind.list_size), ""


def _largest(file: pq.ParquetFile, name: str) -> int:
    """From the footer's statistics."""
    at = file.schema_arrow.names.index(name)
    return max(int(file.metadata.row_group(g).column(at).statistics.max) for g in range(file.num_row_groups))


@dataclass
class _Seen:
    present: int = 0
    out_of_order: int = 0
    infinite: int = 0
    hollow: int = 0
    undefined: int = 0
    low: np.ndarray = field(default_factory=lambda: np.zeros(0))
    high: np.ndarray = field(default_factory=lambda: np.zeros(0))


def _read_through(file: pq.ParquetFile, items: pa.Array, shape: Shape) -> _Seen:
    seen = _Seen(low=np.full(shape.width, np.inf, np.float32), high=np.full(shape.width, -np.inf, np.float32))
    first = 0
    for batch in file.iter_batches(batch_size=_ROWS, columns=["item", "embedding"]):
        rows = np.arange(first, first + len(batch)) // shape.steps % len(items)
        first += len(batch)
        same = pc.equal(batch.column("item").cast(pa.string()), items.take(pa.array(rows)))
        seen.out_of_order += len(batch) - (pc.sum(same).as_py() or 0)
        shown = batch.column("embedding").drop_null()
        if not len(shown):
            continue
        values = shown.flatten().to_numpy(zero_copy_only=False).reshape(len(shown), shape.width)
        undefined = np.isnan(values)
        seen.present += len(shown)
        seen.infinite += int(np.isinf(values).any(axis=1).sum())
        seen.hollow += int(undefined.all(axis=1).sum())
        seen.undefined += int(undefined.sum())
        seen.low = np.fmin(seen.low, np.fmin.reduce(values))
        seen.high = np.fmax(seen.high, np.fmax.reduce(values))
    return seen


def _spread(seen: _Seen) -> Verdict:
    constant = int((seen.high <= seen.low).sum())
    dead = seen.present >= _ENOUGH and constant == len(seen.low)
    return Verdict(
        f"all {len(seen.low)} dimensions are the same for all {seen.present} present rows: the evidence does not reach "
        "the embedding. Look at the units and the scaling of what the featurizer is given."
        if dead
        else None,
        {"constant dimensions": constant},
    )


def _presence_drift(job: Job, settings: CheckSettings, file: pq.ParquetFile, items: pa.Array, shape: Shape) -> Verdict:
    """Beyond the margin and beyond what chance gives to two samples of that many items."""
    now = presence_rate(file)
    last = last_version(job)
    if last is None:
        return Verdict(metadata={"presence rate": round(now, 4), "compared with": "nothing: no like version before"})
    before_file = pq.ParquetFile(last)
    before_items = pc.unique(before_file.read(columns=["item"])["item"].cast(pa.string()))
    shared = pc.sum(pc.is_in(before_items, value_set=items)).as_py() or 0
    before = presence_rate(before_file)
    metadata = {"presence rate": round(now, 4), "last version": round(before, 4), "items of both": shared}
    if 2 * shared < len(before_items):
        return Verdict(metadata={**metadata, "compared with": "nothing: most items of the last version are gone"})
    chance = _SIGMAS * math.sqrt(before * (1 - before) * (1 / max(len(items), 1) + 1 / max(len(before_items), 1)))
    allowed = settings.presence_margin + chance
    if abs(now - before) <= allowed:
        return Verdict(metadata=metadata)
    return Verdict(
        f"{now:.1%} of rows are present, {before:.1%} were in the last version; a difference of {allowed:.1%} is "
        f"allowed. If the data really changed so, remove {job.step.out} and run again, or widen "
        "checks.presence_margin in operating.yaml.",
        metadata,
    )


def presence_rate(file: pq.ParquetFile) -> float:
    """Share of rows that are not null, from the footer's statistics where it has them."""
    groups = [file.metadata.row_group(g) for g in range(file.num_row_groups)]
    at = next(
        c for c in range(file.metadata.num_columns) if file.metadata.schema.column(c).path.startswith("embedding.")
    )
    columns = [group.column(at) for group in groups]
    if all(c.statistics is not None and c.statistics.has_null_count for c in columns):
        absent = sum(column.statistics.null_count for column in columns)
    else:
        absent = sum(b.column(0).null_count for b in file.iter_batches(batch_size=_ROWS, columns=["embedding"]))
    return 1 - absent / max(file.metadata.num_rows, 1)


def _reconstruction(card: Mapping[str, Any]) -> Verdict:
    if card.get("within_bound", True) is not False:
        known = {name: card[name] for name in ("bound", "explained, validation") if name in card}
        return Verdict(metadata=known)
    return Verdict(
        str(card.get("warning", "a fold explains less than the bound.")),
        {"bound": card.get("bound"), "explained, validation": card.get("explained, validation")},
    )
