"""Imported once by the server that a run's steps are forked from: what each of them would do again by itself.

So a run walks by the table of steps and the `params.yaml` with which it began. Nothing here opens a storage: a
connection to Postgres must not outlive a fork.
"""

import traceback
from functools import cache

from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.storage.sql import get_alembic_config


def warm() -> None:
    # Dagster reads all its migrations whenever it opens a storage, four times a step, to know the last one's name.
    ScriptDirectory.from_config = cache(ScriptDirectory.from_config)  # type: ignore[method-assign]
    for storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        ScriptDirectory.from_config(get_alembic_config(storage.__file__)).as_revision_number("head")

    from mmn.orchestration import definitions

    definitions.road_job()
    definitions.defs.get_repository_def()


try:
    warm()
except Exception:
    # It would take the server with it. Each step's own process meets the same, and says so where people look.
    traceback.print_exc()
