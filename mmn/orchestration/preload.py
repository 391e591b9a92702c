"""Imported once by the server that a run's steps are forked from: what each of them would do again by itself.

So a run walks by the code's table of steps and the `params.yaml` with which it began.
"""

import traceback
from functools import cache

import dagster as dg
from alembic.script import ScriptDirectory


def warm() -> None:
    from mmn.orchestration import definitions

    definitions.road_job()
    definitions.defs.get_repository_def()
    # Whenever Dagster opens a storage it reads all migrations that it ever had, four times a step, for the last's name.
    ScriptDirectory.from_config = cache(ScriptDirectory.from_config)  # type: ignore[method-assign]
    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.alembic_version()


try:
    warm()
except Exception:
    # It would take the server with it. Each step's own process meets the same, and says so where people look.
    traceback.print_exc()
