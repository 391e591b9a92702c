"""The part of the report on whether a score may be relied on: calibration, decision curves, subgroups."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report.numbers import SMALLEST_COUNT, anchor, metric_of, model_name, number, signed, words
from mmn.orchestration.report.panels import FigureView, panel, task_label
from mmn.orchestration.report.results import Results
from mmn.orchestration.report.trust_figures import decision_drawing, reliability_drawing
from mmn.orchestration.report.trust_words import single_task, trust_answers

WAYS = {"none": "as predicted", "platt": "after Platt", "isotonic": "after isotonic"}

TRUST = """\
{% for dataset in datasets if dataset.trust %}
{% if loop.first %}
<section aria-labelledby="trust">
<h2 id="trust">May a score be relied on?</h2>
<p>Test items of all folds together. A number that rests on fewer than {{ smallest }} items, subjects, positives or
negatives is withheld, and another with it where the whole would give it away; numbers of items are rounded down to
tens.</p>
{% endif %}
<h3>{{ dataset.title }}</h3>
{% if dataset.trust.answers %}
<ul class="answers">
{% for lead, rest in dataset.trust.answers %}<li><b>{{ lead }}</b> {{ rest }}</li>{% endfor %}
</ul>
{% endif %}
{% if dataset.trust.reliability %}{{ drawing(dataset.trust.reliability) }}{% endif %}
{% if dataset.trust.calibration %}
<details><summary>Calibration by what is present, before and after recalibration ({{
dataset.trust.calibration | length }} rows)</summary>
<div class="scroll"><table>
<caption>{{ csv("calibration-" ~ dataset.name) }} · {{ csv("reliability-" ~ dataset.name) }}</caption>
<thead><tr><th scope="col">Task</th><th scope="col">Model</th><th scope="col">Test items</th>
<th scope="col">Recalibration</th><th scope="col">Predicted<small>observed</small></th>
<th scope="col">Slope<small>1 is right, below: too extreme</small></th>
<th scope="col">Intercept<small>0 is right, above: too low</small></th>
<th scope="col">ECE<small>by chance alone, if calibrated</small></th>
<th scope="col">Brier<small>change by recalibration</small></th></tr></thead>
<tbody>
{% for row in dataset.trust.calibration %}
<tr><td>{{ row.task }}</td><td>{{ row.model }}</td><td>{{ row.group }}<small class="num">{{ row.size }}</small></td>
<td>{{ row.way }}</td>
{% if row.withheld %}<td colspan="5">withheld: too small a group</td>{% else %}
<td class="num">{{ row.predicted }}<small>{{ row.observed }}</small></td>
<td class="num">{{ row.slope }}<small>{{ row.slope_interval }}</small></td>
<td class="num">{{ row.intercept }}<small>{{ row.intercept_interval }}</small></td>
<td class="num">{{ row.ece }}<small>{{ row.ece_chance }}</small></td>
<td class="num">{{ row.brier }}<small>{{ row.change }}</small></td>{% endif %}</tr>
{% endfor %}
</tbody>
</table></div>
</details>
{% endif %}
{% if dataset.trust.decisions %}{{ drawing(dataset.trust.decisions) }}{% endif %}
{% if dataset.trust.subgroups %}
<h4>Subgroups</h4>
<p>{{ dataset.trust.subgroup_line }}</p>
<details><summary>Scores by subgroup and by what is present ({{ dataset.trust.subgroups | length }} rows)</summary>
<div class="scroll"><table>
<caption>Each group beside all other test items; all metrics and models:
{{ csv("subgroups-" ~ dataset.name) }}</caption>
<thead><tr><th scope="col">Task</th><th scope="col">Model</th><th scope="col">Group</th>
<th scope="col">Score</th><th scope="col">All others</th><th scope="col">Difference</th></tr></thead>
<tbody>
{% for row in dataset.trust.subgroups %}
<tr><td>{{ row.task }}<small>{{ row.metric }}</small></td><td>{{ row.model }}</td>
<td>{{ row.attribute }}: {{ row.group }}<small class="num">{{ row.size }}</small></td>
{% if row.withheld %}<td colspan="3">withheld: too small a group, or it would give one away</td>{% else %}
<td class="num">{{ row.value }}<small>{{ row.interval }}</small></td><td class="num">{{ row.rest }}</td>
<td class="num">{{ row.difference }}<small>{{ row.difference_interval }}</small></td>{% endif %}</tr>
{% endfor %}
</tbody>
</table></div>
</details>
{% endif %}
{% if loop.last %}</section>{% endif %}
{% endfor %}
"""


def trust_view(result: Results) -> dict[str, Any] | None:
    """None where trust was not looked at."""
    if not result.trust:
        return None
    calibration, subgroups = result.trust.get("calibration"), result.trust.get("subgroups")
    # The page has the single-task models; the csv files have all.
    subgroups = None if subgroups is None else single_task(subgroups)
    return {
        "answers": trust_answers(result),
        "reliability": _reliability_figure(result),
        "calibration": []
        if calibration is None
        else [_calibration_row(r) for r in single_task(calibration).itertuples()],
        "decisions": _decision_figure(result),
        "subgroups": [] if subgroups is None else [_subgroup_row(r) for r in _primary(subgroups).itertuples()],
        "subgroup_line": "" if subgroups is None else _subgroup_line(_primary(subgroups)),
    }


def trust_csvs(result: Results) -> dict[str, pd.DataFrame]:
    return {f"{name}-{result.name}": table for name, table in result.trust.items()}


def _primary(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["metric"].isin(["auroc", "rmse"])]


def _calibration_row(row: Any) -> dict[str, Any]:
    change = ""
    if row.recalibration != "none" and math.isfinite(row.brier_change):
        change = f"{signed(row.brier_change)} ({_span(row.brier_change_low, row.brier_change_high)})"
    return {
        "task": words(row.task),
        "model": model_name(row.model),
        "group": words(row.group),
        "size": _size(row.items_at_least),
        "way": WAYS[row.recalibration],
        "withheld": row.withheld or not math.isfinite(row.brier),
        "predicted": f"{row.mean_prediction:.3f}",
        "observed": f"{row.observed:.3f}",
        "slope": number(row.slope) if math.isfinite(row.slope) else "undefined",
        "slope_interval": _span(row.slope_low, row.slope_high),
        "intercept": signed(row.intercept),
        "intercept_interval": _span(row.intercept_low, row.intercept_high),
        "ece": f"{row.ece:.3f}",
        "ece_chance": f"{row.ece_if_calibrated:.3f}",
        "brier": f"{row.brier:.3f}",
        "change": change,
    }


def _subgroup_row(row: Any) -> dict[str, Any]:
    return {
        "task": words(row.task),
        "metric": metric_of(row.metric).label + (f" ({row.unit})" if row.unit else ""),
        "model": model_name(row.model),
        "attribute": words(row.attribute),
        "group": words(row.group),
        "size": _size(row.items_at_least),
        "withheld": row.withheld,
        "value": number(row.estimate, row.metric),
        "interval": _span(row.estimate_low, row.estimate_high, row.metric),
        "rest": number(row.rest, row.metric),
        "difference": _change(row.difference, row.metric),
        "difference_interval": _span(row.difference_low, row.difference_high, row.metric, signs=True),
    }


def _subgroup_line(rows: pd.DataFrame) -> str:
    """How many differ, and how many would by chance."""
    known = rows[np.isfinite(rows["difference_low"].astype(float))]
    apart = known[(known["difference_low"] > 0) | (known["difference_high"] < 0)]
    hidden = int(rows["withheld"].sum())
    told = (
        f"Of {len(known)} comparisons of a group with all others, {len(apart)} have an interval that leaves out 0; "
        f"about {len(known) / 20:.0f} would by chance alone."
    )
    if hidden:
        told += f" {hidden} more are withheld, for groups under {SMALLEST_COUNT}."
    return told


def _reliability_figure(result: Results) -> FigureView | None:
    table = result.trust.get("reliability")
    if table is None or table.empty:
        return None
    mine = single_task(table[table["group"] == "all items"])
    made = []
    for task, rows in mine.groupby("task", sort=False):
        for model, of_model in rows.groupby("model", sort=False):
            lines = {
                WAYS[way]: part for way, part in of_model.groupby("recalibration", sort=False) if way != "isotonic"
            }
            title = f"{task_label(result, str(task))}, {model_name(str(model))}"
            alt = f"Reliability, {title}. " + "; ".join(
                f"{name}: "
                + ", ".join(f"predicted {r.mean_prediction:.2f} observed {r.observed:.2f}" for r in part.itertuples())
                for name, part in lines.items()
            )
            made.append(panel(title, reliability_drawing(lines), alt))
    if not made:
        return None
    return FigureView(
        anchor=anchor("figure-reliability", result.name),
        title=f"{result.title}: do the probabilities mean what they say?",
        caption="Test items in bins of about as many each, joined until none gives a small count away. What to see: a "
        "point on the diagonal means that of items predicted at 30 %, 30 % are positive; below it predictions are too "
        "high. Lines are 95 % intervals of a share (Wilson). Platt’s recalibration is fitted on validation items.",
        csv=f"reliability-{result.name}",
        panels=made,
    )


def _decision_figure(result: Results) -> FigureView | None:
    table = result.trust.get("decisions")
    if table is None or table.empty:
        return None
    mine = single_task(table[table["recalibration"] == "none"])
    made = []
    for task, rows in mine.groupby("task", sort=False):
        if not np.isfinite(rows["net_benefit"]).any():
            continue
        lines = {model_name(str(model)): part for model, part in rows.groupby("model", sort=False)}
        title = task_label(result, str(task))
        alt = f"Decision curves, {title}. " + "; ".join(
            f"{name}: " + ", ".join(f"{r.net_benefit:.2f} at {r.threshold:g}" for r in part.dropna().itertuples())
            for name, part in lines.items()
        )
        made.append(panel(title, decision_drawing(lines), alt))
    if not made:
        return None
    return FigureView(
        anchor=anchor("figure-decisions", result.name),
        title=f"{result.title}: would acting on the predictions do more good than treating all or none?",
        caption="Net benefit: true positives, minus false positives weighed by the odds of the threshold, per item. "
        "What to see: a model is of use at the thresholds where it lies above both treating all and treating none (0); "
        "where it lies below, a simpler rule does better. Points that would give a small count away are left out.",
        csv=f"decisions-{result.name}",
        panels=made,
    )


def _size(items: Any) -> str:
    return "" if items is None or pd.isna(items) else f"{int(items):,} or more items"


def _change(value: float, metric: str) -> str:
    if not math.isfinite(value):
        return "undefined"
    return ("−" if value < 0 else "+") + number(abs(value), metric)


def _span(low: float, high: float, metric: str = "auroc", signs: bool = False) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    told = _change if signs else number
    return f"{told(low, metric)} to {told(high, metric)}".replace("-", "−")
