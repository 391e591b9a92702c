"""Which runs have not ended, so that no tick and no look asks for what one of them is already making."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

UNDER_WAY = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def asset_key(key: str) -> dg.AssetKey:
    return dg.AssetKey(key.split("/"))


def who_makes(instance: dg.DagsterInstance, keys: Iterable[str]) -> str | None:
    """What to say of a run that has not ended and makes one of these steps, whoever started it; None where there is
    none. A run that names no assets makes all of its job's."""
    wanted = {asset_key(key) for key in keys}
    for run in instance.get_runs(dg.RunsFilter(statuses=list(UNDER_WAY))):
        making = wanted if run.asset_selection is None else wanted & run.asset_selection
        if making:
            first = min(key.to_user_string() for key in making)
            return f"The run {run.run_id[:8]} makes {first} and has not ended. If it is lost, end it in the UI."
    return None
