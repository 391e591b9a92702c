"""All of it on one page: results in, the HTML text and the csv tables out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from mmn.data.files import read_json
from mmn.orchestration.report import tables
from mmn.orchestration.report.comparisons import compared_csv, compared_view
from mmn.orchestration.report.early import early_csv, early_table, step_csv, step_tables
from mmn.orchestration.report.highmmt import joined_csvs, joined_view, read_joined
from mmn.orchestration.report.interpretability import inside_csvs, inside_view
from mmn.orchestration.report.lineage import Artifact, lineage_table, settings, trace
from mmn.orchestration.report.missingness import removal_csvs, removal_view
from mmn.orchestration.report.numbers import (
    SMALLEST_COUNT,
    anchor,
    count,
    interval,
    listing,
    metric_of,
    model_name,
    number,
    part,
    share,
    small_cell,
    words,
)  # fmt: skip
from mmn.orchestration.report.open_questions import opened_csvs, opened_view, read_opened
from mmn.orchestration.report.panels import overview_png, score_figure, score_figure_csv
from mmn.orchestration.report.results import Results
from mmn.orchestration.report.sentences import Sentence, answers, comparison_table, comparisons
from mmn.orchestration.report.style import STYLE
from mmn.orchestration.report.subsets import subset_csvs, subsets_view
from mmn.orchestration.report.template import TEMPLATE
from mmn.orchestration.report.trust import trust_csvs, trust_view
from mmn.orchestration.steps import Step


@dataclass(frozen=True, kw_only=True)
class Page:
    """html: the whole page. tables: csv name -> bytes. answers: the sentences at its top. picture: a PNG, or empty."""

    html: str
    tables: dict[str, bytes]
    answers: list[Sentence]
    picture: bytes


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    anchor: str
    key: str
    name: str
    version: str
    tasks: str
    modalities: str
    settings: str
    scores: list[tuple[str, tables.ScoreCell]]
    inputs: list[tuple[str, str]]
    parameters: str = ""
    notes: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    all_settings: list[tuple[str, str]] = field(default_factory=list)


def build_page(
    results: list[Results],
    inputs: Mapping[str, str],
    path: Callable[[str], Path],
    steps: Mapping[str, Step],
    absent: Iterable[str] = (),
    unmeasured: Mapping[str, str] | None = None,
) -> Page:
    """`inputs`: key -> version of what the report reads. `path(key)`: where an artifact lies, to follow its lineage.
    `absent`: data sets that are not in this run. `unmeasured`: data set -> why it has no missingness experiment."""
    import matplotlib.style
    from jinja2 import Environment

    artifacts = trace(inputs, path)
    columns = tables.columns_of(results)
    joined, opened = read_joined(path, steps), read_opened(path, steps)
    frames = _frames(results, columns, artifacts) | joined_csvs(joined) | opened_csvs(opened)
    with matplotlib.style.context("default", after_reset=True):
        views = [
            _dataset_view(result, columns, artifacts, steps, path, (unmeasured or {}).get(result.name, ""))
            for result in results
        ]
        scores = score_figure(results)
        picture = overview_png(results)
        joined_shown, opened_shown = joined_view(joined), opened_view(opened)
    csv = {
        name: frame.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode()
        for name, frame in frames.items()
    }
    said = answers(results)
    carded = {card.key for view in views for card in view["models"]}
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["words"] = words
    html = environment.from_string(TEMPLATE).render(
        style=STYLE,
        answers=[(group, list(entries)) for group, entries in groupby(said, key=lambda sentence: sentence.group)],
        score_figure=scores,
        unmeasured=_unmeasured(views),
        banners=_banners(results),
        datasets=views,
        joined=joined_shown,
        opened=opened_shown,
        columns=columns,
        artifacts=[_artifact_view(artifact, artifacts, carded) for artifact in artifacts.values()],
        downloads={name: "data:text/csv;base64," + base64.b64encode(data).decode() for name, data in csv.items()},
        absent=list(absent),
        smallest=SMALLEST_COUNT,
    )
    return Page(html=html, tables=csv, answers=said, picture=picture)


def _frames(results: list[Results], columns: list[str], artifacts: Mapping[str, Artifact]) -> dict[str, pd.DataFrame]:
    frames = {
        "tasks": _tasks_csv(results, columns),
        "figure-scores": score_figure_csv(results),
        "comparisons": comparison_table(comparisons(results)),
    }
    for result in results:
        frames[f"scores-{result.name}"] = tables.scores_csv(result)
        frames |= inside_csvs(result) | subset_csvs(result)
        frames |= removal_csvs(result)
        if result.binarised is not None and len(result.binarised):
            frames[f"binarised-{result.name}"] = result.binarised.drop(columns="fold_values")
        if result.comparisons is not None:
            frames[f"compared-{result.name}"] = compared_csv(result)
        frames |= trust_csvs(result)
        if result.early is not None and len(result.early):
            frames[f"early-{result.name}"] = early_csv(result)
        if result.step_by_step is not None and len(result.step_by_step):
            frames[f"steps-{result.name}"] = step_csv(result)
    return frames | {
        "presence": tables.presence_csv(results),
        "counts": tables.counts_csv(results),
        "left_out": tables.left_out_csv(results),
        "skipped": tables.skipped_csv(results),
        "lineage": lineage_table(artifacts),
    }


def _tasks_csv(results: list[Results], columns: list[str]) -> pd.DataFrame:
    """The table of tasks as the page shows it."""
    rows = []
    for result in results:
        for row in tables.task_rows(result, columns):
            cells = {
                column: "; ".join(f"{c.value} [{c.interval}] {c.verdict or c.undefined}" for c in row.columns[column])
                for column in columns
            }
            paper = (
                "; ".join(f"{model}: {said} (ours {ours})" for model, ours, said in row.paper.rows) if row.paper else ""
            )
            rows.append(
                {"dataset": result.name, "generated": result.generated, "number": row.number, "task": row.name,
                 "metric": row.metric, **cells, "best floor": f"{row.floor} {row.floor_name}".strip(),
                 "paper": f"{row.paper.metric}: {paper}" if row.paper else ""}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _banners(results: list[Results]) -> list[dict[str, Any]]:
    return [
        {
            "title": result.title,
            "version": str(result.card["version"]),
            "generated": result.generated,
            "anchor": anchor("data", result.name),
            "size": tables.size_line(result),
        }
        for result in results
    ]


def _dataset_view(
    result: Results,
    columns: list[str],
    artifacts: Mapping[str, Artifact],
    steps: Mapping[str, Step],
    path: Callable[[str], Path],
    unmeasured: str,
) -> dict[str, Any]:
    card = result.card
    cells = card["num_items"] * card["num_steps"]
    return {
        "name": result.name,
        "anchor": anchor("data", result.name),
        "title": result.title,
        "version": str(card["version"]),
        "generated": result.generated,
        "size": tables.size_line(result),
        "rows": tables.task_rows(result, columns),
        "all_scores": _all_scores(result),
        **removal_view(result),
        "compared": compared_view(result),
        "trust": trust_view(result),
        "early": early_table(result),
        "steps": step_tables(result),
        "binarised": _binarised(result),
        "unmeasured": unmeasured,
        **inside_view(result),
        **subsets_view(result),
        "notes": list(card["notes"]),
        "counts": [
            {
                "task": words(task),
                "labelled": part(result.counts.labelled[task], result.counts.items),
                "positive": part(result.counts.positive.get(task), result.counts.labelled[task]) or "not binary",
            }
            for task in result.tasks
            if task in result.counts.labelled
        ],
        "modalities": [
            {
                "name": words(name),
                "description": about["description"],
                "present": share(about["presence"], cells),
                "bar": 5 * round(20 * min(max(about["presence"] or 0.0, 0.0), 1.0)),
                "featurizer": tables.featurizer_name(about["featurizer"]),
                "facts": tables.featurizer_facts(about["featurizer"]),
                "quarantined": [
                    (words(reason), count(n)) for reason, n in (about["featurizer"].get("quarantined") or {}).items()
                ],
                "href": _href(f"features/{result.name}/{name}", artifacts),
            }
            for name, about in card["modalities"].items()
        ],
        "presence_unit": "items" if card["num_steps"] == 1 else "items and steps",
        "skipped": [(words(name), why) for name, why in card["skipped"].items()],
        "excluded": [(words(reason), count(n)) for reason, n in card["excluded"].items()],
        "licence": card.get("licence", ""),
        "citation": card.get("citation", ""),
        "models": _model_cards(result, artifacts, steps, path),
    }


def _unmeasured(views: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(data sets, why) for those without the missingness figure, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for view in views:
        if not view["removal_figures"]:
            reason = (
                view["unmeasured"] or "The experiment ran, but no fold gave an AUROC: too few test items of one class."
            )
            reasons.setdefault(reason, []).append(view["title"])
    return [(listing(titles), reason) for reason, titles in reasons.items()]


def _all_scores(result: Results) -> list[dict[str, str]]:
    rows = []
    order = {task: place for place, task in enumerate(result.tasks)}
    scores = result.scores.sort_values("task", key=lambda tasks: tasks.map(order), kind="stable")
    for row in scores.itertuples():
        hidden = (
            row.kind == "floor" and row.metric in tables.TELLING_METRICS and small_cell(row.num_positive, row.num_items)
        )
        single = row.task_set == row.task
        rows.append(
            {
                "task": words(row.task),
                "model": model_name(row.model) + ("" if row.kind == "floor" or single else f", {words(row.task_set)}"),
                "kind": row.kind,
                "metric": metric_of(row.metric).label + (f" ({row.unit})" if row.unit else ""),
                "value": "withheld" if hidden else number(row.estimate, row.metric),
                "folds": "" if hidden else interval(row.low, row.high, row.metric),
                "subjects": "" if hidden else interval(row.boot_low, row.boot_high, row.metric),
            }
        )
    return rows


def _binarised(result: Results) -> list[dict[str, str]]:
    if result.binarised is None:
        return []
    return [
        {
            "task": words(row.task),
            "model": model_name(row.model) + ("" if row.task_set == row.task else f", {words(row.task_set)}"),
            "kind": row.kind,
            "value": number(row.auroc, "auroc"),
            "folds": interval(row.low, row.high, "auroc"),
        }
        for row in result.binarised.itertuples()
    ]


def _model_cards(
    result: Results, artifacts: Mapping[str, Artifact], steps: Mapping[str, Step], path: Callable[[str], Path]
) -> list[ModelCard]:
    """One per trained model; a score's link lands here."""
    models = result.models()
    order = {task: place for place, task in enumerate(result.tasks)}
    cards = []
    for (task_set, model), rows in models.groupby(["task_set", "model"], sort=False):
        key = f"models/{result.name}/{task_set}/{model}"
        artifact = artifacts.get(key)
        step = steps.get(key)
        rows = rows.sort_values("task", key=lambda tasks: tasks.map(order), kind="stable")
        made_from = sorted(artifact.inputs if artifact else [])
        modalities = list(step.options.get("modalities", ())) if step is not None else []
        own = read_json(path(key) / "card.json") if step is not None and (path(key) / "card.json").exists() else {}
        cards.append(
            ModelCard(
                anchor=anchor("made", key),
                key=key,
                name=f"{model_name(str(model))}: {words(str(task_set))}",
                version=artifact.version if artifact else "not named by the results",
                tasks=listing([words(task) for task in rows["task"]]),
                modalities=listing([words(name) for name in modalities]) if modalities else "see what it was made from",
                settings=settings(artifact.params) if artifact else "",
                scores=[(words(row.task), tables.score_cell(result, row)) for row in rows.itertuples()],
                inputs=[(source, _href(source, artifacts)) for source in made_from],
                parameters=f"{own['num_parameters']:,}" if "num_parameters" in own else "",
                notes=list(own.get("notes", ())),
                published=list(own.get("published_behaviour", ())),
                all_settings=[(words(name), str(value)) for name, value in own.get("settings", {}).items()],
            )
        )
    return sorted(cards, key=lambda entry: entry.key)


def _artifact_view(artifact: Artifact, artifacts: Mapping[str, Artifact], carded: set[str]) -> dict[str, Any]:
    return {
        # A model's anchor is its card, where it has one: that says more and leads on as this row does.
        "anchor": anchor("version", artifact.key) if artifact.key in carded else artifact.anchor,
        "key": artifact.key,
        "version": artifact.version,
        "inputs": [(key, _href(key, artifacts)) for key in sorted(artifact.inputs)],
        "fed": [(key, _href(key, artifacts)) for key in sorted(artifact.fed)],
        "settings": settings(artifact.params),
    }


def _href(key: str, artifacts: Mapping[str, Artifact]) -> str:
    """ "" where the page has no row for it."""
    return f"#{artifacts[key].anchor}" if key in artifacts else ""
