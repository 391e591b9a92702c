"""The pictures of the experiments' assets in Dagster: what each asks, drawn small, none where nothing is known."""

import numpy as np
import pandas as pd
import pytest

from mmn.orchestration.pictures import (
    contribution_pictures,
    removal_pictures,
    subsets_pictures,
    trust_pictures,
)

MODELS = (("multimodn", "item"), ("multimodn", "batch"), ("p_fusion", "item"))


def removal_summary(estimate: float) -> pd.DataFrame:
    """At rate 0, then by label and at random at 0.1 and 0.8, tested three ways."""
    cells = [("none", "none", 0.0, "complete")] + [
        ("notes", mechanism, rate, test)
        for mechanism in ("mcar", "mnar_label")
        for rate in (0.1, 0.8)
        for test in ("complete", "same", "flipped")
    ]
    return pd.DataFrame(
        [(*cell, *model, estimate - cell[2] / 5, estimate - 0.2, estimate + 0.1) for cell in cells for model in MODELS],
        columns=["modality", "mechanism", "rate", "test", "model", "skip", "estimate", "low", "high"],
    )


def shapley(value: float) -> pd.DataFrame:
    frame = pd.MultiIndex.from_product(
        [["ill", "sick"], ["notes", "chart events", "demographics"], range(3)], names=["task", "modality", "fold"]
    ).to_frame(index=False)
    return frame.assign(task_set=frame["task"], shapley=value * (1 + frame["fold"]), abs_shapley=abs(value))


def subsets(value: float) -> pd.DataFrame:
    sizes = {"nothing": 0, "notes": 1, "labs": 1, "notes + labs": 2}
    frame = pd.DataFrame({"subset": list(sizes) * 2, "model": ["multimodn"] * 4 + ["p_fusion"] * 4})
    return frame.assign(
        task="ill", task_set="ill", num_modalities=frame["subset"].map(sizes), metric="auroc", unit="",
        estimate=value, low=value - 0.1, high=value + 0.1,
    )  # fmt: skip


def reliability(group: str) -> dict[str, pd.DataFrame]:
    bins = np.linspace(0.1, 0.9, 5)
    table = pd.DataFrame({"mean_prediction": bins, "observed": bins, "low": bins - 0.1, "high": bins + 0.1})
    return {
        "reliability": table.assign(task="ill", task_set="ill", model="multimodn", recalibration="none", group=group)
    }


def alone(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"shapley": "imc", "abs_shapley": "abs_imc"})


def decisions(value: float) -> dict[str, pd.DataFrame]:
    table = pd.DataFrame({"threshold": [0.2, 0.5], "net_benefit": [value, value / 2], "treat_all": [0.1, -0.2]})
    return {"decisions": table.assign(task="ill", task_set="ill", model="multimodn", recalibration="none")}


@pytest.mark.parametrize(
    ("draw", "known", "unknown", "titles"),
    [
        (
            removal_pictures, [removal_summary(0.8)], [removal_summary(np.nan)],
            {"notes removed in training (mcar)", "notes removed in training (mnar label)"},
        ),
        (
            contribution_pictures, [shapley(0.1), alone(shapley(0.2))], [shapley(np.nan), alone(shapley(np.nan))],
            {"Shapley values", "modalities alone (IMC)"},
        ),
        (subsets_pictures, [subsets(0.8)], [subsets(np.nan)], {"ill"}),
        (trust_pictures, [reliability("all items")], [reliability("notes")], {"reliability, ill"}),
        (trust_pictures, [decisions(0.2)], [decisions(np.nan)], {"decisions, ill"}),
    ],
)  # fmt: skip
def test_an_experiments_asset_has_small_pictures_the_same_every_time_and_none_where_nothing_is_known(
    draw, known, unknown, titles
):
    made = draw(*known)
    assert set(made) == titles
    assert all(picture.startswith(b"\x89PNG") and 2_000 < len(picture) < 50_000 for picture in made.values())
    assert draw(*known) == made
    assert draw(*unknown) == {}


def test_a_regression_has_no_picture_of_calibration():
    assert trust_pictures({"subgroups": pd.DataFrame()}) == {}
