"""Of a model's folder: whole, finite, and never tested on what it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort, read_cohort
from mmn.data.files import read_json
from mmn.orchestration.checks import Verdict

if TYPE_CHECKING:
    from mmn.orchestration.operating import CheckSettings
    from mmn.orchestration.steps import Active
    from mmn.orchestration.walk import Job

COLUMNS = ("item", "fold", "task", "step", "prediction")


def look(job: Job, settings: CheckSettings) -> Mapping[str, Verdict]:
    entry, options = job.active[job.step.dataset], job.step.options
    lacking = [name for name in ("card.json", "predictions.parquet") if not (job.out / name).is_file()]
    if lacking:
        return {"schema": Verdict(f"{', '.join(lacking)} is missing: the folder is not a whole model.")}
    card = read_json(job.out / "card.json")
    predictions = pd.read_parquet(job.out / "predictions.parquet")
    if lacking := [name for name in COLUMNS if name not in predictions]:
        return {"schema": Verdict(f"predictions.parquet: column '{lacking[0]}' is missing.")}
    trained = {task["name"]: task["kind"] for task in card["tasks"]}
    if tuple(trained) != tuple(options["tasks"]):
        return {"schema": Verdict(f"it was trained on {', '.join(trained)}, expected {', '.join(options['tasks'])}.")}
    unforced = defining_unforced(entry, options["tasks"], options["modalities"], options["forced"])
    tested = tested_on_others(read_cohort(job.path(f"cohorts/{job.step.dataset}")), predictions)
    leaks = [
        *([f"{tested} predictions are of items that are not test items of their fold."] if tested else []),
        *([f"{', '.join(unforced)} defines a label of its tasks and was read. Leave it out."] if unforced else []),
    ]
    bad, weights = not_finite(job.out, predictions, trained)
    wrong = [
        *([f"{bad} predictions are infinite, not a number, or no probability."] if bad else []),
        *([f"{weights} weights are not finite."] if weights else []),
    ]
    return {
        "schema": Verdict(metadata={"members": len(card["members"]), "test predictions": len(predictions)}),
        "finite": Verdict(" ".join([*wrong, "Lower the learning rate."]) if wrong else None),
        "leakage": Verdict(" ".join(leaks) or None, {"modalities": ", ".join(options["modalities"])}),
        "not_forced": Verdict(
            f"{', '.join(options['forced'])} was forced in although it defines a label: the scores are not comparable."
            if options["forced"]
            else None
        ),
    }


def defining_unforced(
    entry: Active, tasks: Iterable[str], modalities: Iterable[str], forced: Iterable[str] | None = None
) -> list[str]:
    """The modalities that define a label of one of the tasks and that nobody forced in. forced: the data set's own."""
    allowed = set(entry.forced if forced is None else forced)
    defining = (m for m in modalities if set(tasks) & set(entry.dataset.modality(m).unusable_for))
    return sorted(name for name in defining if name not in allowed)


def not_finite(folder: Path, predictions: pd.DataFrame, kinds: Mapping[str, str]) -> tuple[int, int]:
    """Predictions that are not finite or, of a binary task, no probability; weights that are not finite."""
    values = predictions["prediction"].to_numpy()
    chance = predictions["task"].map(kinds).to_numpy() == "binary"
    bad = int((~np.isfinite(values) | (chance & ((values < 0) | (values > 1)))).sum())
    path = folder / "model.safetensors"
    if not path.is_file():  # a model that keeps trees instead
        return bad, 0
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as stored:
        names = [name for name in stored.keys() if name.startswith("model.")]  # noqa: SIM118
        return bad, sum(int((~np.isfinite(stored.get_tensor(name))).sum()) for name in names)


def tested_on_others(cohort: Cohort, predictions: pd.DataFrame) -> int:
    """Predictions that are not of a test item of their fold."""
    test = cohort.folds[cohort.folds["split"] == "test"][["item", "fold"]].drop_duplicates()
    predicted = predictions[["item", "fold"]].drop_duplicates()
    merged = predicted.merge(test, on=["item", "fold"], how="left", indicator=True)
    return int((merged["_merge"] == "left_only").sum())
