"""The part of the report on models against each other: differences, equivalence, and the paper's beside them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from mmn.orchestration.report.numbers import listing, metric_of, model_name, number, plural, signed, words
from mmn.orchestration.report.results import Results

QUESTIONS = {
    "architecture": "Two architectures, trained on the same tasks",
    "task set": "One model for several tasks against one model per task",
}
VERDICTS = {
    "first better": "{first} better",
    "second better": "{second} better",
    "equivalent": "equal within the margin",
    "not told apart": "not told apart",
    "too few folds": "too few folds",
}

COMPARED = """\
{% for dataset in datasets if dataset.compared %}
{% if loop.first %}
<section aria-labelledby="compared">
<h2 id="compared">One model against another</h2>
<p>The difference of two models on the same test items. An interval that holds 0 means not told apart, which is not
equal: two models are called equal only where a second test (TOST) says that their difference lies within the margin
stated. Both tests are adjusted over the tasks (Holm). Below each interval over folds stands the one over subjects,
which knows of other test subjects but not of other training items.</p>
{% endif %}
<h3>{{ dataset.title }}</h3>
<ul>{% for line in dataset.compared.lines %}<li>{{ line }}</li>{% endfor %}</ul>
{% for group in dataset.compared.groups %}
<details><summary>{{ group.title }} ({{ group.rows | length }} comparisons)</summary>
<div class="scroll"><table>
<caption>{{ csv("compared-" ~ dataset.name) }}</caption>
<thead><tr><th scope="col">Task</th><th scope="col">First</th><th scope="col">Second</th>
<th scope="col">First − second<small>over folds, over subjects</small></th><th scope="col">Verdict</th>
<th scope="col">p, adjusted<small>DeLong’s, plain</small></th><th scope="col">Margin<small>p of equal,
adjusted</small></th><th scope="col">The paper’s<small>first, second; other data
and protocol</small></th></tr></thead>
<tbody>
{% for row in group.rows %}
<tr><td>{{ row.task }}<small>{{ row.metric }}</small></td>
<td>{{ row.first }}<small class="num">{{ row.first_value }}</small></td>
<td>{{ row.second }}<small class="num">{{ row.second_value }}</small></td>
<td class="num">{{ row.difference }}<small>{{ row.folds }}</small><small>{{ row.subjects }}</small></td>
<td>{{ row.verdict }}</td>
<td class="num">{{ row.p }}<small>{{ row.delong }}</small></td>
<td class="num">±{{ row.margin }}<small>{{ row.tost }}</small></td>
<td class="num">{{ row.paper }}{% for said in row.paper_values %}<small>{{ said }}</small>{% endfor %}</td></tr>
{% endfor %}
</tbody>
</table></div>
</details>
{% endfor %}
{% if dataset.compared.differs %}
<details><summary>What differs from the paper’s data and protocol</summary>
<ul>{% for line in dataset.compared.differs %}<li>{{ line }}</li>{% endfor %}</ul>
</details>
{% endif %}
{% if loop.last %}</section>{% endif %}
{% endfor %}
"""


def compared_view(result: Results) -> dict[str, Any] | None:
    """lines: what the comparisons say, by pair. groups: a table per question. None where nothing was compared."""
    table = result.comparisons
    if table is None or table.empty:
        return None
    order = {task: place for place, task in enumerate(result.tasks)}
    shown = table.sort_values("task", key=lambda tasks: tasks.map(order), kind="stable")
    groups = [
        {"title": title, "rows": [_row(row) for row in shown[shown["question"] == question].itertuples()]}
        for question, title in QUESTIONS.items()
        if (shown["question"] == question).any()
    ]
    return {"lines": _lines(shown), "groups": groups, "differs": list(result.card.get("differs_from_paper", ()))}


def compared_csv(result: Results) -> pd.DataFrame:
    assert result.comparisons is not None
    return result.comparisons.drop(columns="num_items", errors="ignore")


def _lines(table: pd.DataFrame) -> list[str]:
    """One sentence per pair of models: how many tasks it is told apart on, and on how many it is equal."""
    primary = table[table["primary"].astype(bool)]
    lines = []
    single = primary["first_task_set"] == primary["task"]
    for question in QUESTIONS:
        mine = primary[primary["question"] == question]
        for (first, second, alone), rows in mine.groupby(["first", "second", single[mine.index]], sort=False):
            one, two = _names(question, str(first), str(second), bool(alone))
            counts = rows["verdict"].value_counts()
            parts = [
                f"{name} better on {listing([words(task) for task in rows.loc[rows['verdict'] == verdict, 'task']])}"
                for verdict, name in (("first better", one), ("second better", two))
                if counts.get(verdict, 0)
            ]
            if equal := counts.get("equivalent", 0):
                parts.append(f"equal within the margin on {equal} of {plural(len(rows), 'task')}")
            if unclear := counts.get("not told apart", 0) + counts.get("too few folds", 0):
                parts.append(f"neither told apart nor shown to be equal on {unclear} of {plural(len(rows), 'task')}")
            lines.append(f"{one} against {two}: {'; '.join(parts)}.")
    return lines


def _names(question: str, first: str, second: str, single: bool) -> tuple[str, str]:
    if question == "task set":
        return f"{model_name(first)}, multi-task", f"{model_name(second)}, single task"
    return tuple(model_name(name) + ("" if single else ", multi-task") for name in (first, second))  # type: ignore[return-value]


def _row(row: Any) -> dict[str, Any]:
    single = row.first_task_set == row.task
    first, second = _names(row.question, row.first, row.second, single)
    metric = metric_of(row.metric).label + (f" ({row.unit})" if row.unit else "")
    paper, paper_values = "", []
    if row.published_first:
        paper = _change(row.published_difference, row.metric)
        paper_values = [row.published_first, row.published_second]
    return {
        "task": words(row.task),
        "metric": metric,
        "first": first,
        "second": second,
        "first_value": number(row.first_estimate, row.metric),
        "second_value": number(row.second_estimate, row.metric),
        "difference": _change(row.difference, row.metric),
        "folds": _between(row.low, row.high, row.metric),
        "subjects": _between(row.boot_low, row.boot_high, row.metric),
        "verdict": VERDICTS[row.verdict].format(first=first, second=second),
        "p": _p(row.p_holm),
        "delong": _p(row.delong_p) if math.isfinite(row.delong_p) else "",
        "margin": number(row.margin, row.metric),
        "tost": _p(row.tost_p_holm),
        "paper": paper,
        "paper_values": paper_values,
    }


def _change(value: float, metric: str) -> str:
    """With its sign, in the metric's digits."""
    if not math.isfinite(value):
        return "undefined"
    if math.isfinite(metric_of(metric).high):
        return signed(value)
    return ("−" if value < 0 else "+") + number(abs(value), metric)


def _between(low: float, high: float, metric: str) -> str:
    return f"{_change(low, metric)} to {_change(high, metric)}" if math.isfinite(low) and math.isfinite(high) else ""


def _p(value: float) -> str:
    if not math.isfinite(value):
        return "undefined"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
