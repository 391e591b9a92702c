"""Regressions judged as questions of yes or no: the AUROC of their predictions against the thresholded target."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmn.modeling.binarised import score_binarised
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, make_world, quick


def test_it_is_scikit_learns_auroc_of_each_fold_and_floors_stand_beside_it():
    cohort, embeddings = make_world(num_items=150)
    trained = train(cohort, embeddings, (LEVEL,), "p_fusion", quick(epochs=8))
    above = (cohort.targets["level"] > 20).astype(float)
    above[:5] = np.nan
    table = score_binarised(
        cohort, (LEVEL,), {("level", "p_fusion"): trained.predictions}, embeddings, lambda c, task, fold: above
    )
    row = table[table["kind"] == "model"].iloc[0]
    place = {item: n for n, item in enumerate(cohort.items["item"])}
    for fold, rows in trained.predictions.groupby("fold"):
        label = above[[place[item] for item in rows["item"]]]
        known = ~np.isnan(label)
        assert row["fold_values"][fold] == pytest.approx(roc_auc_score(label[known], rows["prediction"][known]))
    assert row["auroc"] == pytest.approx(np.mean(row["fold_values"]))
    constant = table[table["model"] == "training mean"].iloc[0]
    assert constant["auroc"] == 0.5
