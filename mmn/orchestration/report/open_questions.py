"""The part of the report on what the paper leaves open: state size, unequal series, the cost of modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mmn.data.files import read_json
from mmn.orchestration.report import figures
from mmn.orchestration.report.numbers import model_name
from mmn.orchestration.report.panels import FigureView, panel
from mmn.orchestration.step import Step

KEY = "results/open_questions"
TABLES = ("state_sizes", "unequal_lengths", "costs")
_NEAR = 0.02
_COUNTED = {
    "operations": "floating-point operations per item",
    "peak_bytes": "bytes at once, beyond parameters and inputs",
}

OPEN = """\
{% if opened %}
<section aria-labelledby="opened">
<h2 id="opened">What the paper leaves open</h2>
<p>On generated worlds of {{ opened.num_items }} items whose best possible score is known. They say nothing about a data
set.</p>
<ul class="answers">
{% for lead, rest in opened.answers %}<li><b>{{ lead }}</b> {{ rest }}</li>{% endfor %}
</ul>
{% for view in opened.figures %}{{ drawing(view) }}{% endfor %}
</section>
{% endif %}
"""


def read_opened(path: Callable[[str], Path], steps: Mapping[str, Step]) -> dict[str, Any]:
    """Its tables and `card`; {} where the questions were not put."""
    if KEY not in steps:
        return {}
    folder = path(KEY)
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
    return {"card": read_json(folder / "card.json"), **tables}


def opened_csvs(found: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    return {f"open-questions-{name}": found[name] for name in TABLES if name in found}


def opened_view(found: Mapping[str, Any]) -> dict[str, Any] | None:
    if not found:
        return None
    drawn = [_state_sizes(found["state_sizes"]), _lengths(found["unequal_lengths"]), _costs(found["costs"])]
    return {"figures": drawn, "answers": _answers(found), "num_items": f"{found['card']['items']:,}"}


def costs_drawing(costs: pd.DataFrame, column: str) -> Any:
    curves = costs.assign(x=costs["num_modalities"], value=costs[column], series=_models(costs))
    return figures.lines(curves, "modalities", _COUNTED[column], logarithmic=True)


def state_drawing(table: pd.DataFrame) -> Any:
    curves = table.assign(x=table["state"], value=table["auroc"], series=_worlds(table))
    return figures.lines(curves, "numbers in the state", "AUROC", ceiling=float(table["ceiling"].mean()))


def _worlds(table: pd.DataFrame) -> list[str]:
    return [f"{_count(r.num_modalities, 'modality')}, {_count(r.num_tasks, 'task')}" for r in table.itertuples()]


def _models(table: pd.DataFrame) -> list[str]:
    return [model_name(name) for name in table["architecture"]]


def _state_sizes(table: pd.DataFrame) -> FigureView:
    alt = "; ".join(
        f"{name}, state {r.state}: {r.auroc:.2f}" for name, r in zip(_worlds(table), table.itertuples(), strict=True)
    )
    return FigureView(
        anchor="figure-open-state",
        title="How large must the state be?",
        caption="Mean AUROC over tasks and folds, with its interval over folds, by the size of MultiModN's state. Each "
        "task asks for another mixture of the modalities, so a state must hold as many numbers as there are tasks. "
        "What to see: where a line stops rising, the state is large enough.",
        csv="open-questions-state_sizes",
        panels=[panel("", state_drawing(table), alt)],
        head=["modalities", "tasks", "state", "parameters", "AUROC", "best there is"],
        rows=[
            [str(r.num_modalities), str(r.num_tasks), str(r.state), f"{r.parameters:,}", f"{r.auroc:.3f}",
             f"{r.ceiling:.3f}"]
            for r in table.itertuples()
        ],
    )  # fmt: skip


def _lengths(table: pd.DataFrame) -> FigureView:
    return FigureView(
        anchor="figure-open-lengths",
        title="Series of unequal length",
        caption="AUROC on test items of each length, of models that were trained on series of unequal length and of "
        "models that saw whole ones alone, beside the best ranking there is. What to see: a model that loses where "
        "series are short, and only if it was trained on whole ones, has learnt to expect all steps.",
        csv="open-questions-unequal_lengths",
        panels=[],
        head=["model", "trained on", "steps", "AUROC", "interval", "best there is"],
        rows=[
            [model_name(r.architecture), f"{r.trained_on} series", f"{r.shortest}–{r.longest}", f"{r.auroc:.3f}",
             f"{r.low:.3f} to {r.high:.3f}", f"{r.ceiling:.3f}"]
            for r in table.itertuples()
        ],
    )  # fmt: skip


def _costs(table: pd.DataFrame) -> FigureView:
    panels = [
        panel(
            "",
            costs_drawing(table, column),
            f"{unit}: "
            + "; ".join(f"{model_name(r.architecture)}, {r.num_modalities}: {getattr(r, column):,.0f}"
                        for r in table.itertuples()),
        )
        for column, unit in _COUNTED.items()
    ]  # fmt: skip
    return FigureView(
        anchor="figure-open-costs",
        title="What more modalities cost",
        caption="Of a training step: floating-point operations of matrix products per item, and the most memory that "
        "tensors take at once, five members side by side. Counted, not timed: the same where torch is the same. What "
        "to see: a model whose line is as steep as the grid's diagonal costs twice as much for twice the modalities.",
        csv="open-questions-costs",
        panels=panels,
        head=["model", "modalities", "parameters", "operations per item", "peak MiB"],
        rows=[
            [model_name(r.architecture), str(r.num_modalities), f"{r.parameters:,}", f"{r.operations:,.0f}",
             f"{r.peak_bytes / 2**20:.1f}"]
            for r in table.itertuples()
        ],
        paired=True,
    )  # fmt: skip


def _answers(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    sizes, lengths, costs = (found[name] for name in TABLES)
    told = []
    for (modalities, tasks), mine in sizes.groupby(["num_modalities", "num_tasks"]):
        enough = int(mine.loc[mine["auroc"] >= mine["auroc"].max() - _NEAR, "state"].min())
        told.append(f"{enough} for {_count(modalities, 'modality')} and {_count(tasks, 'task')}")
    answers = [(f"The smallest state within {_NEAR} AUROC of the best that was tried:", ", ".join(told) + ".")]
    short = lengths[lengths["shortest"] == lengths["shortest"].min()]
    lost = {
        model_name(name): mine.set_index("trained_on")["auroc"]["unequal"]
        - mine.set_index("trained_on")["auroc"]["whole"]
        for name, mine in short.groupby("architecture", sort=False)
    }
    answers.append(
        (
            "On the shortest series, having been trained on such series is worth",
            ", ".join(f"{gain:+.3f} AUROC to {name}" for name, gain in lost.items()) + ".",
        )
    )
    grown = costs.sort_values("num_modalities").groupby("architecture", sort=False)["operations"].agg(["first", "last"])
    least, most = costs["num_modalities"].min(), costs["num_modalities"].max()
    answers.append(
        (
            f"From {least} to {most} modalities, an item costs",
            ", ".join(f"{r.last / r.first:.1f} times as much in {model_name(r.Index)}" for r in grown.itertuples())
            + ".",
        )
    )
    return answers


def _count(number: int, what: str) -> str:
    plural = what if number == 1 else what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{number} {plural}"
