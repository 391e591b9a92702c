"""Dagster keeps each materialisation several times: in the database of its run, in the index of all runs (which the
audit reads), as the asset's latest, and its versions as tags that can be searched. Here the copies are compared."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmn.orchestration.audit.dagster_events import INDEX, is_elsewhere, tags_of
from mmn.orchestration.audit.finding import Finding

_RUNS = INDEX.parent
_EVENTS = "SELECT asset_key, event FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"


def check_copies(root: Path, keys: Iterable[str], *, verify: bool) -> Iterator[Finding]:
    """keys: of artifacts. verify: the databases of runs that the index does not name for them are looked at too. What
    another storage than SQLite keeps is kept there once."""
    if is_elsewhere(root) or not (root / INDEX).is_file():
        return
    names = {json.dumps(key.split("/")): key for key in keys}
    try:
        with _opened(root / INDEX) as index:
            events: dict[str, list[tuple[int, str, str]]] = {name: [] for name in names}
            rows = index.execute(_EVENTS.replace("SELECT", "SELECT id, run_id,") + " ORDER BY id")
            for number, run, name, text in rows:
                if name in events:
                    events[name].append((number, run or "", text))
            yield from _in_index(index, names, events)
    except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
        yield _fault("", INDEX.as_posix(), f"cannot be read ({type(error).__name__})")
        return
    yield from _in_runs(root, names, events, verify=verify)


def _in_index(
    index: sqlite3.Connection, names: dict[str, str], events: dict[str, list[tuple[int, str, str]]]
) -> Iterator[Finding]:
    place = INDEX.as_posix()
    latest = dict(index.execute("SELECT asset_key, last_materialization FROM asset_keys"))
    told: dict[int, dict[str, str]] = {}
    for number, tag, value in index.execute("SELECT event_id, key, value FROM asset_event_tags"):
        told.setdefault(number, {})[tag] = value
    for name, key in names.items():
        for number, _, text in events[name]:
            tags = tags_of(json.loads(text))
            if any(tags.get(tag) != value for tag, value in told.get(number, {}).items()):
                yield _fault(key, place, f"event {number} has other versions than the tags that were kept of it")
        kept = latest.get(name)
        if kept and events[name] and tags_of(_entry(kept)) != tags_of(json.loads(events[name][-1][2])):
            yield _fault(key, place, "what is kept as its latest materialisation is not its latest event")


def _in_runs(
    root: Path, names: dict[str, str], events: dict[str, list[tuple[int, str, str]]], *, verify: bool
) -> Iterator[Finding]:
    runs: dict[str, Counter[tuple[str, str]]] = {}
    for name, of_key in events.items():
        for _, run, text in of_key:
            runs.setdefault(run, Counter())[name, text] += 1
    if verify:
        others = (file.name.removesuffix(".db") for file in (root / _RUNS).glob("*.db") if file.name != INDEX.name)
        runs |= {run: Counter() for run in others if run not in runs}
    for run in sorted(runs):
        place = _RUNS / f"{run}.db"
        if not (root / place).is_file():
            message = "the run's own database is not here to compare with"
            yield Finding(severity="missing", code="dagster", key="", place=place.as_posix(), message=message)
            continue
        try:
            with _opened(root / place) as database:
                own = Counter((name, text) for name, text in database.execute(_EVENTS) if name in names)
        except sqlite3.DatabaseError as error:
            yield _fault("", place.as_posix(), f"cannot be read ({type(error).__name__})")
            continue
        for key in sorted({names[name] for name, _ in (own - runs[run]) + (runs[run] - own)}):
            yield _fault(key, place.as_posix(), f"what the run recorded of {key} is not what {INDEX.name} holds of it")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        connection.text_factory = lambda data: data.decode(errors="replace")
        yield connection


def _entry(text: str) -> dict[str, Any]:
    """What is kept as the latest: the event, or a record with the event in it."""
    told = json.loads(text)
    return told.get("event_log_entry", told)


def _fault(key: str, place: str, message: str) -> Finding:
    return Finding(
        severity="fault", code="dagster", key=key, place=place, message=f"{message}: one of the two was changed"
    )
