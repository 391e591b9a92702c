"""Which modalities (or pairs of them) carry the same information: transfers between all of them, distances, groups."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from mmn.data.errors import ParamsError
from mmn.modeling.highmmt.grouping import complete, distance, groups, hidden_error, spectrum_share, triangle_share
from mmn.modeling.highmmt.heterogeneity import Node, Source, gains, matrices, measure
from mmn.orchestration.actions.highmmt_inputs import read_sources, write_tables
from mmn.orchestration.pictures import heat_picture
from mmn.orchestration.settings import highmmt_settings, highmmt_training
from mmn.orchestration.walk import Job, Work

_KEPT_OF_ALL = (0.25, 0.5, 0.75)


def run(job: Job) -> Work:
    settings = highmmt_settings(job.workspace.params)
    sources = read_sources(job)
    given_up = {name: source.given_up for name, source in sources.items() if source.given_up}
    crossmodal = job.step.options["kind"] == "crossmodal"
    nodes = nodes_of(sources, pairs=crossmodal)
    names = [node.name for node in nodes]
    share = settings.crossmodal_share if crossmodal and settings.crossmodal_share is not None else settings.share
    chosen = by_lot(names, share)
    transfers = measure(
        sources,
        nodes,
        highmmt_training(job.workspace.params, "measuring"),
        settings.seeds,
        progress=job.progress,
        checkpoint=job.checkpoint,
        pairs=chosen,
    )
    mean, error = matrices(transfers, names, settings.against)
    measured = distance(mean, error)
    gained = gains(transfers)
    silent = [name for name in names if name in gained.index and gained["silent"][name]]
    if np.isnan(measured[np.triu_indices(len(names), 1)]).all():
        raise ParamsError(
            f"params.yaml: highmmt: of {len(names)} nodes, {len(silent)} have a model that is hardly better than a "
            "constant, and between the others no distance was measured. Train longer, or otherwise "
            "(`highmmt.measuring`), or measure a greater share."
        )
    # A silent node's distances are completed too; the card names it.
    full = complete(measured) if np.isnan(measured).any() else measured
    tables = {
        "transfers": transfers,
        "distances": _long(names, mean, error, measured, full, {node.name: node.source for node in nodes}),
        "groups": _groups(names, full, settings.budgets),
        "completion": _completion(measured),
        "gains": gained.reset_index(names="node"),
    }
    write_tables(
        job,
        tables,
        kind=job.step.options["kind"],
        nodes=names,
        against=settings.against,
        hardly_better_than_a_constant=silent,
        rows_given_up_to_keep_people_apart=given_up,
        num_pairs=comb(len(names), 2),
        num_measured=int((~np.isnan(measured[np.triu_indices(len(names), 1)])).sum()),
        triangle_share=triangle_share(full) if len(names) > 2 else None,
        spectrum_share=spectrum_share(full) if full.any() else None,
    )
    summary: dict[str, object] = {
        "nodes": len(names),
        "pairs measured": len(chosen) if chosen is not None else comb(len(names), 2),
    }
    if silent:
        summary["hardly better than a constant, so not judged"] = ", ".join(silent)
    if given_up:
        summary["rows given up to keep people apart"] = sum(given_up.values())
    return Work(summary=summary, pictures={"distances": heat_picture(names, full)})


def nodes_of(sources: dict[str, Source], *, pairs: bool) -> list[Node]:
    """Every modality, or every pair of one data set's."""
    return [
        Node(source=name, modalities=found)
        for name, source in sources.items()
        for found in (combinations(source.embeddings, 2) if pairs else ((m,) for m in source.embeddings))
    ]


def by_lot(names: list[str], share: float, seed: int = 0) -> list[tuple[str, str]] | None:
    """That share of all pairs; None = all."""
    every = list(combinations(names, 2))
    if share == 1.0:
        return None
    order = np.random.default_rng(seed).permutation(len(every))
    return [every[n] for n in sorted(order[: max(1, round(share * len(every)))])]


def _long(names, mean, error, measured, full, source_of) -> pd.DataFrame:
    """A row per ordered pair of nodes: the transfer, its standard error, the distance of the two, and whether that was
    measured in both directions or completed."""
    return pd.DataFrame(
        [
            {
                "source": a,
                "target": b,
                "source_dataset": source_of[a],
                "target_dataset": source_of[b],
                "transfer": mean[i, j],
                "standard_error": error[i, j],
                "distance": full[i, j],
                "measured": not np.isnan(measured[i, j]),
            }
            for i, a in enumerate(names)
            for j, b in enumerate(names)
            if i != j
        ]
    )


def _groups(names: list[str], full: np.ndarray, budgets: tuple[int, ...]) -> pd.DataFrame:
    rows = [
        {"budget": budget, "node": name, "group": group}
        for budget in dict.fromkeys((1, *(b for b in budgets if b <= len(names)), len(names)))
        for name, group in zip(names, groups(full, budget), strict=True)
    ]
    return pd.DataFrame(rows)


def _completion(measured: np.ndarray) -> pd.DataFrame:
    """How well a share of the measured distances would give the others of them."""
    parts = [hidden_error(measured, share).assign(share=share) for share in _KEPT_OF_ALL]
    return pd.concat(parts, ignore_index=True)[["share", "draw", "completed", "mean_filled", "rand"]]
