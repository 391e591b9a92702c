"""The cohort `icu_stay`: one item per ICU stay that lasts at least `hour` hours; predictions are made at that hour.

HAIM's tasks, from that time on: does the patient die in hospital within 48 h, or leave it alive within 48 h.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort, leave_out
from mmn.data.errors import CohortError
from mmn.data.folds import subject_folds
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.params import IcuParams
from mmn.data.mimic.reader import open_tables
from mmn.data.mimic.stays import read_admissions, read_stays, within
from mmn.data.mimic.subgroups import read_subgroups

HORIZON_HOURS = 48.0


def build_icu_cohort(raw: Path, params: IcuParams) -> Cohort:
    """Raises CohortError where no stay is long enough."""
    excluded: dict[str, int] = {}
    with open_tables(usable_layout(raw)) as tables:
        admissions = read_admissions(tables)
        stays = read_stays(tables, admissions, excluded)
    columns = ["hadm_id", "start_time", "dischtime", "deathtime", "hospital_expire_flag"]
    stays = stays.merge(admissions[columns], on="hadm_id", validate="many_to_one")
    stays["prediction_time"] = stays["intime"] + pd.Timedelta(hours=params.hour)

    for reason, out in (
        ("no intime or outtime", lambda s: s["intime"].isna() | s["outtime"].isna()),
        (f"stay shorter than {params.hour:g} h", lambda s: s["outtime"] < s["prediction_time"]),
        ("died before the prediction", lambda s: s["deathtime"] <= s["prediction_time"]),
        ("left the hospital before the prediction", lambda s: s["dischtime"] <= s["prediction_time"]),
    ):
        stays = leave_out(stays, out(stays), reason, excluded)
    if stays.empty:
        raise CohortError(
            f"{raw}: no ICU stay is left for hour={params.hour:g}. Left out: {excluded or 'none, the table is empty'}. "
            "Predict at an earlier hour, or give more data."
        )
    stays = stays.sort_values(["subject_id", "intime", "stay_id"], ignore_index=True)
    targets = _targets(stays)
    items = pd.DataFrame(
        {
            "item": stays["stay_id"].astype(str),
            "subject": stays["subject_id"].astype(str),
            **stays[["prediction_time", "subject_id", "hadm_id", "stay_id", "start_time"]],
        }
    )
    died, left = (np.nan_to_num(targets[task]) for task in ("mortality_48h", "discharge_48h"))
    stratum = np.where(died > 0, 2, left).astype(int)
    with open_tables(usable_layout(raw)) as tables:
        subgroups = read_subgroups(tables, items)
    return Cohort(
        items=items,
        targets=targets,
        subgroups=subgroups,
        folds=subject_folds(items, stratum, params.num_folds, params.seed),
        excluded=excluded,
        notes=(f"mode={params.mode}", f"prediction {params.hour:g} h after ICU admission, horizon {HORIZON_HOURS:g} h"),
    )


def _targets(stays: pd.DataFrame) -> dict[str, np.ndarray]:
    """Both from how the admission ended, and when; no label where that time is not known.

    deathtime may differ from dischtime by a day or more: later by a slip (who dies in hospital has died when the
    admission ends), earlier with organ donors. The earlier of the two holds.
    """
    died = stays["hospital_expire_flag"].eq(1)
    end = stays["dischtime"].where(~died, stays[["dischtime", "deathtime"]].min(axis=1))
    soon = within(stays["prediction_time"], end, HORIZON_HOURS)
    known = end.notna().to_numpy()
    return {
        "mortality_48h": np.where(known, soon & died.to_numpy(), np.nan).astype(float),
        "discharge_48h": np.where(known, soon & ~died.to_numpy(), np.nan).astype(float),
    }
