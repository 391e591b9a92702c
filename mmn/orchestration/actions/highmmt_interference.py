"""What the labels of one data set, flipped, do to the others that share its parameters (paper, table 7)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmn.modeling.differences import t_interval
from mmn.modeling.highmmt.interference import NOBODY, interferences, skills
from mmn.modeling.highmmt.sharing import SHARED
from mmn.orchestration.actions.highmmt_inputs import read_joint, read_sources, write_tables
from mmn.orchestration.settings import highmmt_settings, highmmt_training
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    settings, sources = highmmt_settings(job.workspace.params), read_sources(job)
    ways = interferences(
        sources,
        read_joint(job, SHARED),
        highmmt_training(job.workspace.params, "tuning"),
        settings.batch_sizes,
        job.progress,
        job.checkpoint,
    )
    found = {
        (learns, name): {measured: skills(sources[measured], one) for measured, one in joint.trained.items()}
        for learns, name, joint in ways
    }
    table = pd.DataFrame(
        [
            {"learns": learns, "flipped": name, "measured": measured, **_drop(found[learns, NOBODY][measured], skill)}
            for (learns, name), by_set in found.items()
            if name != NOBODY
            for measured, skill in by_set.items()
        ]
    )
    write_tables(job, {"interference": table}, plan=SHARED)
    others = table[table["flipped"] != table["measured"]].groupby("learns", sort=False)["drop"].mean()
    return Work(summary={f"mean drop of the others, {learns} learning": f"{d:.3f}" for learns, d in others.items()})


def _drop(true: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """Skill with true labels and with the flipped ones; the difference over folds, with its 95 % t-interval."""
    interval = t_interval(true - wrong)
    return {
        "skill": float(np.nanmean(true)),
        "skill_flipped": float(np.nanmean(wrong)),
        "drop": float(np.nanmean(true - wrong)),
        "low": np.nan if interval is None else interval.low,
        "high": np.nan if interval is None else interval.high,
    }
