"""The columns of a table of predictions, by kind of task."""

from __future__ import annotations

import numpy as np

from mmn.data.dataset import Task


def prediction_columns(task: Task, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """What a table says of predictions in the target's unit, (n,), or (n, C) of a multiclass task: `prediction`, for
    the latter the number of the most probable class, and `probability_0`, `probability_1`, ..."""
    values = predicted.astype(np.float64)
    if task.kind != "multiclass":
        return {"prediction": values}
    return {"prediction": values.argmax(axis=1).astype(np.float64)} | {
        probability_column(c): values[:, c] for c in range(values.shape[1])
    }


def probability_column(number: int) -> str:
    return f"probability_{number}"


def value_columns(task: Task) -> str | list[str]:
    """The column of such a table with what the task's metrics read, or the columns, one per class."""
    return [probability_column(c) for c in range(len(task.classes))] or "prediction"
