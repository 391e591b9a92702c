"""What the missingness experiment's rows say: means over folds with intervals, and the differences that answer it.

All intervals and tests are over folds, with the correction of `differences.py`. A model whose AUROC at rate 0 is not
clear of 0.5 has learnt nothing that absence could spoil: it is flagged, and so is every difference it takes part in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.modeling.differences import FEWEST_FOLDS, holm, p_of_difference, t_interval

ALPHA = 0.05
CHANCE = 0.5
CELL = ["modality", "mechanism", "rate", "test"]
KEYS = [*CELL, "model", "skip"]
ABSENCE, ABSENCE_BY_SKIP, ABSENCE_BY_MODEL = "absence", "absence by skip", "absence by model"
SKIP, MODEL = "skip", "model"
COMPLETE_ITEMS = "own complete items"
# The paper's comparison: its MultiModN skipped per batch, its P-Fusion filled per item.
AS_PUBLISHED = (("p_fusion", "item"), ("multimodn", "batch"))

Variant = tuple[str, str]  # model, skip
Folds = dict[tuple, pd.Series]


def fold_ratio(cohort: Cohort) -> float:
    """Test items per training item, averaged over folds."""
    sizes = cohort.folds.groupby(["fold", "split"]).size().unstack(fill_value=0)
    return float((sizes["test"] / sizes["train"]).mean())


def summarise(table: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """One row per cell, model and skip: `estimate`, `low`, `high`, `num_folds`; `above_chance`: whether the model's
    interval at rate 0 lies above 0.5, the same in all of its rows."""
    rows = []
    for key, values in table.groupby(KEYS, sort=False)["auroc"]:
        known = values.dropna().to_numpy()
        spread = t_interval(known, ratio)
        rows.append(
            {
                **dict(zip(KEYS, key, strict=True)),
                "estimate": float(known.mean()) if len(known) else np.nan,
                "low": spread.low if spread else np.nan,
                "high": spread.high if spread else np.nan,
                "num_folds": len(known),
            }
        )
    found = pd.DataFrame(rows, columns=[*KEYS, "estimate", "low", "high", "num_folds"])
    before = found[found["rate"] == 0].set_index(["model", "skip"])["low"] > CHANCE
    variants = pd.MultiIndex.from_frame(found[["model", "skip"]])
    return found.assign(above_chance=before.reindex(variants).fillna(False).to_numpy(dtype=bool))


def differences_of(table: pd.DataFrame, summary: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """One row per question, cell and pair; `difference` is first minus second, in AUROC, over folds.

    first, second: a model and its skip, "p_fusion item". question "absence": what a model lost by reading absence as a
    sign: trained with removal as `against` says ("mcar"; without that mechanism its own complete test items) minus
    trained with this mechanism, both on the flipped items. "absence by skip": that loss per item minus per batch.
    "absence by model": that loss of one model minus another's, per item, and as published (P-Fusion filled per item
    minus MultiModN skipped per batch). "skip": AUROC per item minus per batch. "model": AUROC of two models, per item.
    p_holm: `p` adjusted over the rows of one question and cell. verdict: "first higher", "second higher", "no clear
    difference", "too few folds", or "at chance" where a model did not beat chance before anything was removed.
    """
    folds: Folds = {key: part.set_index("fold")["auroc"] for key, part in table.groupby(KEYS, sort=False)}
    above = {(row.model, row.skip): bool(row.above_chance) for row in summary.itertuples()}
    per_item = [variant for variant in above if variant[1] == "item"]
    pairs = list(combinations(per_item, 2))
    by_skip = [((model, "item"), (model, "batch")) for model, skip in above if skip == "batch"]
    published = [AS_PUBLISHED] if set(AS_PUBLISHED) <= set(above) else []
    alone = [(variant, variant) for variant in above]
    rows: list[dict[str, Any]] = []
    for cell in table[CELL].drop_duplicates().itertuples(index=False, name=None):
        asked: list[tuple[str, list[tuple[Variant, Variant]], Callable[[tuple, Variant], pd.Series]]] = [
            (SKIP, by_skip, lambda cell, variant: folds[*cell, *variant]),
            (MODEL, pairs, lambda cell, variant: folds[*cell, *variant]),
        ]
        against = ""
        if cell[3] == "flipped" and cell[1] != "mcar":
            against = "mcar" if (table["mechanism"] == "mcar").any() else COMPLETE_ITEMS
            asked += [
                (ABSENCE, alone, lambda cell, variant: _loss(folds, cell, variant)),
                (ABSENCE_BY_SKIP, by_skip, lambda cell, variant: _loss(folds, cell, variant)),
                (ABSENCE_BY_MODEL, pairs + published, lambda cell, variant: _loss(folds, cell, variant)),
            ]
        for question, which, values_of in asked:
            for first, second in which:
                values = values_of(cell, first)
                rows.append(
                    {
                        "question": question,
                        **dict(zip(CELL, cell, strict=True)),
                        "first": " ".join(first),
                        "second": " ".join(second),
                        "against": against if question.startswith(ABSENCE) else "",
                        "values": values if question == ABSENCE else values - values_of(cell, second),
                        "above": above[first] and above[second],
                    }
                )
    return _judged(list(_measured(rows, ratio)))


def _loss(folds: Folds, cell: tuple, variant: Variant) -> pd.Series:
    modality, mechanism, rate, test = cell
    at_random = folds.get((modality, "mcar", rate, test, *variant))
    control = folds[modality, mechanism, rate, "complete", *variant] if at_random is None else at_random
    return control - folds[*cell, *variant]


def _measured(rows: list[dict[str, Any]], ratio: float) -> Iterator[dict[str, Any]]:
    for row in rows:
        values = row.pop("values").dropna().to_numpy()
        spread = t_interval(values, ratio) if len(values) >= FEWEST_FOLDS else None
        yield row | {
            "difference": float(values.mean()) if len(values) else np.nan,
            "low": spread.low if spread else np.nan,
            "high": spread.high if spread else np.nan,
            "p": p_of_difference(values, ratio),
            "num_folds": len(values),
        }


def _judged(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns = [
        "question", *CELL, "first", "second", "against", "difference", "low", "high", "p", "num_folds", "above",
    ]  # fmt: skip
    found = pd.DataFrame(rows, columns=columns)
    # A model at chance is asked nothing, so it costs the others of its family nothing.
    asked = found["p"].where(found["above"].astype(bool))
    family = [found[name] for name in ("question", *CELL)]
    found["p_holm"] = asked.groupby(family, sort=False).transform(lambda p: holm(p.to_numpy()))
    clear = found["p_holm"] < ALPHA
    found["verdict"] = np.select(
        [~found["above"].astype(bool), found["p"].isna(), clear & (found["difference"] > 0), clear],
        ["at chance", "too few folds", "first higher", "second higher"],
        "no clear difference",
    )
    return found[[*columns[:-2], "p_holm", "num_folds", "verdict"]]
