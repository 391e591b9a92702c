"""What DVC shows of a data set's scores: `metrics.json` for `dvc metrics`, two small tables for `dvc plots`.

The same numbers as `scores.parquet` and the models' histories, in the forms that DVC reads. Aggregates only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmn.data.files import write_bytes, write_json

if TYPE_CHECKING:
    import pandas as pd

METRICS, ESTIMATES, LEARNING = "metrics.json", "estimates.csv", "learning.csv"


def model_name(key: str) -> str:
    """models/edu/pass_course/multimodn -> pass_course/multimodn, as in the tables."""
    _, _, task_set, architecture = key.split("/")
    return f"{task_set}/{architecture}"


def plots(out: str, models: list[str]) -> list[dict[str, Any]]:
    """For `plots:` of dvc.yaml. out: the scores' folder. models: keys of the models that were scored."""
    return [
        {f"{out}/{ESTIMATES}": {"template": "bar_horizontal", "x": "estimate", "y": "model", "title": out}},
        {
            f"{out}/{LEARNING}": {
                "template": "linear", "x": "epoch", "y": [model_name(key) for key in models],
                "y_label": "validation score", "title": f"{out}: validation score",
            }
        },
    ]  # fmt: skip


def write_dvc_files(out: Path, scores: pd.DataFrame, histories: Mapping[str, Path]) -> None:
    """scores: as in `scores.parquet`. histories: model's key -> its `history.parquet`."""
    shown = scores[scores["primary"] & (scores["kind"] == "model")]
    write_json(out / METRICS, _metrics(shown))
    # The metric stands in the name: errors in degrees and areas under a curve share the axis, but not the bar.
    label = shown["task"] + " (" + shown["metric"] + "): " + shown["task_set"] + "/" + shown["model"]
    bars = shown[["estimate", "low", "high"]].assign(model=label)[["model", "estimate", "low", "high"]]
    _write_csv(out / ESTIMATES, bars.dropna(subset="estimate"))
    _write_csv(out / LEARNING, _learning(histories))


def _metrics(shown: pd.DataFrame) -> dict[str, Any]:
    """task -> model -> metric -> value; what is undefined is left out, as JSON has no word for it."""
    told: dict[str, Any] = {}
    for row in shown[shown["estimate"].notna()].itertuples():
        model = told.setdefault(row.task, {}).setdefault(f"{row.task_set}/{row.model}", {})
        model[row.metric] = round(float(row.estimate), 6)
    return told


def _learning(histories: Mapping[str, Path]) -> pd.DataFrame:
    """A column per model: the validation score after each epoch, mean over the members that still trained."""
    import pandas as pd

    columns = {}
    for key, path in histories.items():
        history = pd.read_parquet(path, columns=["epoch", "validation_score"])
        columns[model_name(key)] = history.groupby("epoch")["validation_score"].mean()
    return pd.DataFrame(columns).rename_axis("epoch").reset_index()


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_bytes(path, table.round(6).to_csv(index=False, lineterminator="\n").encode())
