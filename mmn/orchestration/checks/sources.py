"""Of a raw manifest and of a prepared table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from mmn.data.files import EMPTY_KEY, read_json
from mmn.orchestration.checks import Verdict, last_version

if TYPE_CHECKING:
    from mmn.orchestration.operating import CheckSettings
    from mmn.orchestration.walk import Job

_ENTRY = {"path", "size", "md5"}


def look(job: Job, settings: CheckSettings) -> Mapping[str, Verdict]:
    counts, why = (_manifest if job.step.kind == "raw" else _table)(job.out)
    if why is not None:
        return {"schema": Verdict(why)}
    last = last_version(job)
    before = (_manifest if job.step.kind == "raw" else _table)(last)[0] if last is not None else {}
    return {"schema": Verdict(metadata=counts), "volume_drift": shrunk(counts, before, settings.volume_margin)}


def shrunk(counts: Mapping[str, int], before: Mapping[str, int], margin: float) -> Verdict:
    """Whether a count is smaller by more than the margin."""
    fewer = {name: n for name, n in counts.items() if n < (1 - margin) * before.get(name, 0)}
    metadata = {**counts, **{f"last version: {name}": n for name, n in before.items()}}
    if not fewer:
        return Verdict(metadata=metadata)
    told = ", ".join(f"{name}: {before[name]:,} before, {n:,} now" for name, n in fewer.items())
    return Verdict(f"{told}. Is a file missing or cut short?", metadata)


def _manifest(path: Path) -> tuple[dict[str, int], str | None]:
    told: dict[str, Any] = read_json(path)
    files = told["files"]
    if broken := sum(not entry.keys() >= _ENTRY for entry in files):
        return {}, f"{broken} of {len(files)} entries lack one of {', '.join(sorted(_ENTRY))}. Pin the source again."
    if not files:
        return {}, "it names no file. Put the source's files back, or leave the source out."
    rows = sum(entry.get("rows", 0) for entry in files)
    return {"files": len(files), "bytes": sum(e["size"] for e in files), **({"rows": rows} if rows else {})}, None


def _table(path: Path) -> tuple[dict[str, int], str | None]:
    footer = pq.read_metadata(path)
    if not footer.num_rows and EMPTY_KEY not in (footer.metadata or {}):
        return {}, "it has no row: nothing of the raw table was kept. Look at the reasons for leaving rows out."
    return {"rows": footer.num_rows, "columns": footer.num_columns}, None
