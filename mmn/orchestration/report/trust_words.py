"""What calibration and decision curves say, in words that their numbers decide. Single-task models, all test items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report.numbers import listing, model_name, plural, signed, words
from mmn.orchestration.report.results import Results

Said = tuple[str, str]  # the claim, what it rests on


def single_task(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["task_set"] == table["task"]]


def trust_answers(result: Results) -> list[Said]:
    return [said for said in (_calibration(result), _decisions(result)) if said]


def calibrated(result: Results, way: str) -> list[tuple[Any, list[str]]]:
    """Of each model, recalibrated that way: its row, and what its intervals say is wrong; [] where nothing is."""
    table = result.trust.get("calibration")
    if table is None:
        return []
    mine = single_task(table)
    mine = mine[(mine["group"] == "all items") & (mine["recalibration"] == way) & np.isfinite(mine["slope_low"])]
    return [(row, _faults(row)) for row in mine.itertuples()]


def useful(result: Results) -> dict[tuple[str, str], list[float]]:
    """(task, model) -> thresholds at which acting on the predictions, as they come, is clearly better than both."""
    table = result.trust.get("decisions")
    if table is None:
        return {}
    mine = single_task(table)
    mine = mine[(mine["recalibration"] == "none") & np.isfinite(mine["net_benefit"])]
    return {
        (str(task), str(model)): sorted(rows.loc[rows["gain_low"] > 0, "threshold"].astype(float))
        for (task, model), rows in mine.groupby(["task", "model"], sort=False)
    }


def _calibration(result: Results) -> Said | None:
    before, after = calibrated(result, "none"), calibrated(result, "platt")
    if not before:
        return None
    off, still = ([entry for entry in entries if entry[1]] for entries in (before, after))
    lead = f"As they come, the probabilities of {len(off)} of {plural(len(before), 'model')} are clearly off"
    lead += f"; after Platt’s recalibration, of {len(still)} of {len(after)}." if after else "."
    text = "; ".join(f"{words(row.task)}, {model_name(row.model)}: {listing(faults)}" for row, faults in off)
    return lead, f"{text}." if text else ""


def _faults(row: Any) -> list[str]:
    slope = f"(slope {row.slope:.2f}, {row.slope_low:.2f} to {row.slope_high:.2f})".replace("-", "−")
    level = f"(intercept {signed(row.intercept)}, {signed(row.intercept_low)} to {signed(row.intercept_high)})"
    found = {
        f"too extreme {slope}": row.slope_high < 1,
        f"too near the middle {slope}": row.slope_low > 1,
        f"too high on average {level}": row.intercept_high < 0,
        f"too low on average {level}": row.intercept_low > 0,
    }
    return [fault for fault, there in found.items() if there]


def _decisions(result: Results) -> Said | None:
    found = useful(result)
    if not found:
        return None
    helps = [key for key, thresholds in found.items() if thresholds]
    lead = (
        f"Acting on the predictions is clearly better than treating all and than treating none at some threshold "
        f"for {len(helps)} of {plural(len(found), 'model')}."
    )
    text = "; ".join(
        f"{words(task)}, {model_name(model)}: {'at ' + _range(thresholds) if thresholds else 'nowhere'}"
        for (task, model), thresholds in found.items()
    )
    return lead, f"{text}. Of the thresholds of the curve; intervals are over subjects, each threshold by itself."


def _range(thresholds: list[float]) -> str:
    return listing([f"{value:g}" for value in thresholds])
