"""Dagster's events as a witness, read from its database where it lies, without starting Dagster.

The embedded SQLite storage is opened read-only; an instance that keeps its events elsewhere is asked through Dagster.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DATA_VERSION, CODE_VERSION = "dagster/data_version", "dagster/code_version"
INPUT_VERSION = "dagster/input_data_version/"
INDEX = Path(".dagster") / "history" / "runs" / "index.db"
_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Event:
    """One materialisation. inputs: key -> version read."""

    version: str
    code_version: str
    run_id: str
    inputs: dict[str, str] = field(default_factory=dict)


def events_of(root: Path, keys: Iterable[str]) -> tuple[dict[str, list[Event]], str | None]:
    """Each key's materialisations, oldest first; and why there are none, where the witness is missing."""
    # First: where the storage was moved, the old SQLite database still lies there.
    if is_elsewhere(root):
        return _through_dagster(root / ".dagster", keys)
    index = root / INDEX
    if not index.is_file():
        return {}, "no database of Dagster is here"
    try:
        return _from_sqlite(index, keys), None
    except (sqlite3.DatabaseError, KeyError, ValueError) as error:
        return {}, f"its database cannot be read ({type(error).__name__})"


def is_elsewhere(root: Path) -> bool:
    """Whether events are kept in another storage than the embedded SQLite."""
    settings = root / ".dagster" / "dagster.yaml"
    return settings.is_file() and "storage" in (yaml.safe_load(settings.read_text(encoding="utf-8")) or {})


def _from_sqlite(index: Path, keys: Iterable[str]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    with contextlib.closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True, timeout=10)) as connection:
        for key in keys:
            rows = connection.execute(
                "SELECT event, run_id FROM event_logs WHERE asset_key = ? "
                "AND dagster_event_type = 'ASSET_MATERIALIZATION' ORDER BY id",
                [json.dumps(key.split("/"))],
            )
            for text, run_id in rows:
                found.setdefault(key, []).append(_event(tags_of(json.loads(text)), run_id or ""))
    return found


def _through_dagster(home: Path, keys: Iterable[str]) -> tuple[dict[str, list[Event]], str | None]:
    """Of another storage, such as Postgres: its server may be away, or its packages."""
    import dagster as dg
    from dagster._core.errors import DagsterError
    from sqlalchemy.exc import SQLAlchemyError

    away: list[type[Exception]] = [ImportError, DagsterError, SQLAlchemyError]
    try:
        from dagster_postgres.utils import DagsterPostgresException
    except ImportError:
        pass
    else:
        away.append(DagsterPostgresException)
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            return {key: events for key in keys if (events := list(_records(instance, key)))}, None
    except tuple(away) as error:
        return {}, f"its storage, named in .dagster/dagster.yaml, cannot be read ({type(error).__name__})"


def _records(instance: Any, key: str) -> Iterator[Event]:
    import dagster as dg

    cursor, more = None, True
    while more:
        page = instance.fetch_materializations(dg.AssetKey(key.split("/")), limit=_PAGE, cursor=cursor, ascending=True)
        for record in page.records:
            if record.asset_materialization:
                yield _event(dict(record.asset_materialization.tags or {}), record.run_id)
        cursor, more = page.cursor, page.has_more


def tags_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """Of a materialisation, as Dagster writes it."""
    return entry["dagster_event"]["event_specific_data"]["materialization"]["tags"] or {}


def _event(tags: dict[str, str], run_id: str) -> Event:
    return Event(
        version=tags.get(DATA_VERSION, ""),
        code_version=tags.get(CODE_VERSION, ""),
        run_id=run_id,
        inputs={
            name.removeprefix(INPUT_VERSION): version
            for name, version in tags.items()
            if name.startswith(INPUT_VERSION)
        },
    )
