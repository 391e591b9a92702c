"""The report's tables of tasks that ask anew at every step: every week, and nothing that tells a small count."""

from types import SimpleNamespace

import pandas as pd

from mmn.orchestration.report.early import step_csv, step_tables


def row(model: str, step: int, estimate: float, metric: str = "auroc", kind: str = "model", **more) -> dict:
    return {
        "task": "stays_active", "task_set": "stays_active", "model": model, "kind": kind, "metric": metric,
        "step": step, "estimate": estimate, "low": 0.1, "high": 0.9, "beats_floor": None, "num_items": 100,
        "num_positive": 60, **more,
    }  # fmt: skip


WEEKS = [
    row("training prevalence", 0, 0.5, kind="floor"),
    row("active_this_week", 0, 0.7, kind="floor", num_positive=95),
    row("active_this_week", 1, 0.8, kind="floor"),
    row("multimodn", 0, 0.6, num_positive=95),
    row("multimodn", 1, 0.75),
    row("multimodn", 1, 0.65, metric="bac"),
    row("active_this_week", 1, 0.2, metric="brier", kind="floor"),
]
RESULT = SimpleNamespace(
    step_by_step=pd.DataFrame(WEEKS), early=pd.DataFrame([row("p_fusion", 1, 0.77), row("p_fusion", 3, 0.9)])
)


def test_each_week_has_its_share_the_model_and_the_rule_and_p_fusion_where_it_was_trained():
    (table,) = step_tables(RESULT)
    assert table["task"] == "stays active" and table["steps"] == [1, 2]
    shown = {(row["metric"], row["who"]): row["cells"] for row in table["rows"]}
    # 95 of 100 leave five without: a count under ten is not told.
    assert shown["share with 1", ""] == ["withheld", "60.0%"]
    assert shown["AUROC", "MultiModN"] == ["0.600", "0.750"]
    assert shown["AUROC", "P-Fusion"] == ["", "0.770"]
    assert shown["AUROC", "active this week"] == ["0.700", "0.800"]
    assert shown["balanced accuracy", "MultiModN"] == ["", "0.650"]
    assert len(shown) == 5


def test_floors_that_tell_a_small_count_are_not_in_the_csv_and_without_the_table_there_is_nothing():
    kept = step_csv(RESULT)
    assert "brier" not in set(kept.loc[kept["kind"] == "floor", "metric"]) and len(kept) == len(WEEKS) - 1
    assert step_tables(SimpleNamespace(step_by_step=None, early=None)) == []
