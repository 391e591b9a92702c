"""How numbers are printed: digits by metric, intervals cut at the metric's range, small counts hidden."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

SMALLEST_COUNT = 10
HIDDEN = f"<{SMALLEST_COUNT}"


@dataclass(frozen=True)
class Metric:
    label: str
    higher_is_better: bool
    low: float = 0.0
    high: float = math.inf


METRICS = {
    "auroc": Metric("AUROC", True, high=1.0),
    "bac": Metric("balanced accuracy", True, high=1.0),
    "auprc": Metric("AUPRC", True, high=1.0),
    "brier": Metric("Brier score", False, high=1.0),
    "rmse": Metric("RMSE", False),
    "mae": Metric("MAE", False),
    "mae_log10": Metric("MAE of log10", False),
    "mse_normalised": Metric("normalised MSE", False),
}
PAPERS_METRIC = {"binary": "bac", "multiclass": "bac", "regression": "mse_normalised"}
MODEL_NAMES = {
    "multimodn": "MultiModN",
    "p_fusion": "P-Fusion",
    "fusion_transformer": "Transformer",
    "xgboost": "XGBoost",
}


def metric_of(name: str) -> Metric:
    return METRICS.get(name, Metric(name, True, low=-math.inf))


def model_name(model: str) -> str:
    return MODEL_NAMES.get(model, words(model))


def words(name: str) -> str:
    return name.replace("_", " ")


def number(value: float, metric: str = "") -> str:
    """Three decimals for a bounded metric, three significant digits otherwise; "undefined" for NaN."""
    if value is None or not math.isfinite(value):
        return "undefined"
    if math.isfinite(metric_of(metric).high):
        return f"{value:.3f}"
    if value and abs(value) < 1e-4:
        return f"{value:.1e}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 2
    return f"{value:,.{min(decimals, 6)}f}"


def interval(low: float, high: float, metric: str = "") -> str:
    """ "low–high", cut at the metric's range (a t-interval knows none); "" where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    known = metric_of(metric)
    return f"{number(max(low, known.low), metric)}–{number(min(high, known.high), metric)}"


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−") if math.isfinite(value) else "undefined"


def count(value: Any) -> str:
    """A number of people or items; 1 to 9 is hidden."""
    if value is None or value != value:
        return ""
    return HIDDEN if 0 < value < SMALLEST_COUNT else f"{int(value):,}"


def part(value: Any, whole: Any) -> str:
    """A part of a whole, with neither the part nor the rest given away when it is small."""
    if value is None or value != value:
        return ""
    if 0 < whole - value < SMALLEST_COUNT:
        return f"all but {HIDDEN}"
    return count(value)


def small_cell(value: Any, whole: Any) -> bool:
    """Whether the part or the rest is small enough to be hidden."""
    return value == value and (0 < value < SMALLEST_COUNT or 0 < whole - value < SMALLEST_COUNT)


def share(fraction: float, whole: int) -> str:
    """A rate in per cent; hidden where the rate would give a small count away."""
    if fraction is None or fraction != fraction:
        return "unknown"
    if fraction <= 0:
        return "0 % (none)"
    if fraction >= 1:
        return "100 %"
    if fraction * whole < SMALLEST_COUNT - 0.5:
        return f"{HIDDEN} items"
    if (1 - fraction) * whole < SMALLEST_COUNT - 0.5:
        return f"all but {HIDDEN} items"
    return f"{100 * fraction:.1f} %"


def percent(rate: float) -> str:
    return f"{100 * rate:.0f} %"


def listing(names: list[str]) -> str:
    """a, b and c."""
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1] if names else "none"


def plural(number_of: int, noun: str) -> str:
    return f"{number_of:,} {noun}" + ("" if number_of == 1 else "s")


def anchor(*parts: str) -> str:
    """An HTML id from names."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
