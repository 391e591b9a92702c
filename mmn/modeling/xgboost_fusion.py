"""XGBoost on the embeddings side by side: HAIM's own learner (Soenksen et al., npj Digital Medicine 2022).

One model per task and member (fold). An absent modality is NaN, which XGBoost reads as it is: at every split it learns
a side for what is missing. Thus it predicts for any presence pattern, and it may learn from absence itself (it has, by
its nature, what `mask_bits` gives P-Fusion; experiments on missingness must say so). Nothing is scaled: trees do not
care. What HAIM did otherwise: items lacking any value were left out, the grid was searched by AUROC in an inner 5-fold
cross-validation, nothing stopped early. Here the validation part of the fold does both, by its loss.

Needs the extra `mmn[xgboost]`. One thread, so that the same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import CohortError, ParamsError
from mmn.modeling import metrics as m
from mmn.modeling.batch import ModalityShape
from mmn.modeling.given import check_given, check_members
from mmn.modeling.inputs import Member, check_inputs, fit_target_range, shapes_of
from mmn.modeling.xgboost_settings import XGBoostSettings

Progress = Callable[[int, int], None]

NAME, TITLE = "xgboost", "XGBoost"
# Soenksen et al. 2022, Methods, and their published grid. Its n_estimators 200 is inside its 300 where the number of
# trees is chosen on validation.
HAIM_GRID = {"max_depth": (5, 6, 7, 8), "learning_rate": (0.3, 0.1, 0.05), "n_estimators": (300,)}
_LOSS = {"binary": ("binary:logistic", "logloss"), "regression": ("reg:squarederror", "rmse")}


@dataclass(kw_only=True)
class TrainedXGBoost:
    """One task, all members; the frames are those of `mmn.modeling.trained.Trained`.

    boosters: one per member, of the trees that predict and no others. chosen: per member its depth, learning rate and
    number of trees. history: `epoch` is the tree; `validation_score` is minus the loss, higher is better.
    """

    settings: XGBoostSettings
    task: Task
    modalities: tuple[ModalityShape, ...]
    num_steps: int
    members: tuple[Member, ...]
    boosters: list[Any]
    chosen: list[dict[str, float]]
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)
    counts: list[dict[str, int]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return TITLE

    @property
    def tasks(self) -> tuple[Task, ...]:
        return (self.task,)

    def predict(self, embeddings: Mapping[str, Embeddings], rows: np.ndarray | None = None) -> pd.DataFrame:
        """Every member's predictions for items of these embeddings (all, or the positions `rows`).

        Columns `item`, `member`, `fold`, `task`, `step` (the read step), `prediction`: P(1), or the target in its
        unit. A modality that is not given is absent. Raises ContractError as `Trained.predict` does.
        """
        check_given(embeddings, self.modalities, self.members)
        items = next(iter(embeddings.values())).items
        rows = np.arange(len(items)) if rows is None else rows
        # As when training: what a member was made to lose there it may read here.
        members = [replace(member, absent={}) for member in self.members]
        return self._frame(embeddings, items, members, [rows] * len(members))

    def _frame(
        self,
        embeddings: Mapping[str, Embeddings],
        items: np.ndarray,
        members: Sequence[Member],
        rows: Sequence[np.ndarray],
    ) -> pd.DataFrame:
        frames = []
        for k, (member, mine) in enumerate(zip(members, rows, strict=True)):
            table = table_of(embeddings, self.modalities, self.task.read_step, member, mine)
            frames.append(
                pd.DataFrame(
                    {
                        "item": np.asarray(items, dtype=object)[mine],
                        "member": np.int32(k),
                        "fold": np.int32(member.fold),
                        "task": self.task.name,
                        "step": np.int32(self.task.read_step),
                        "prediction": _predict(self.boosters[k], table),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)


def fit_xgboost(
    cohort: Cohort,
    embeddings: Mapping[str, Embeddings],
    task: Task,
    settings: XGBoostSettings | None = None,
    members: Sequence[Member] | None = None,
    progress: Progress = lambda done, total: None,
) -> TrainedXGBoost:
    """Train each member on its fold's labelled training items and predict its test items.

    A series enters with all its steps up to the task's read step, as in P-Fusion. members: None = one per fold;
    `Member.absent` is kept from the model everywhere. progress: fits done and to do. Raises ParamsError where xgboost
    is not installed, ContractError where inputs, task and cohort do not fit together, CohortError for no label.
    """
    xgboost = load_xgboost()
    settings = settings or XGBoostSettings()
    check_inputs(cohort, embeddings, (task,))
    if task.kind not in _LOSS:
        raise ParamsError(f"XGBoost is not set up for the {task.kind} task '{task.name}'; it knows {', '.join(_LOSS)}.")
    members = [Member(fold=f, seed=settings.seed) for f in range(cohort.num_folds)] if members is None else members
    check_members(members, cohort, embeddings)
    shapes, target = shapes_of(embeddings), _target(cohort, task)
    grid = list(_grid(settings))
    boosters, chosen, history, counts, tests, notes = [], [], [], [], [], []
    trained_rows = []
    for k, member in enumerate(members):
        train, validation, tested = (cohort.rows(member.fold, split) for split in ("train", "validation", "test"))
        known_train, known_validation = train[~np.isnan(target[train])], validation[~np.isnan(target[validation])]
        notes += _notes(embeddings, task, member, known_train, known_validation, len(train), target)
        data = []
        for rows in (known_train, known_validation):
            table = table_of(embeddings, shapes, task.read_step, member, rows)
            weights = _weights(task, settings, target[known_train], target[rows])
            data.append(xgboost.DMatrix(table, label=target[rows], weight=weights, missing=np.nan, nthread=1))
        best: tuple[float, Any, dict[str, float], pd.DataFrame] | None = None
        for n, one in enumerate(grid):
            found = _fit(xgboost, task, one, member, data[0], data[1] if len(known_validation) else None)
            if best is None or found[0] < best[0]:
                best = found
            progress(k * len(grid) + n + 1, len(members) * len(grid))
        assert best is not None
        boosters.append(best[1])
        chosen.append(best[2])
        history.append(best[3].assign(member=np.int32(k), fold=np.int32(member.fold), label=member.label))
        counts.append({"train": len(known_train), "validation": len(validation), "test": len(tested)})
        tests.append(tested)
        trained_rows.append(known_train)
    columns = ["member", "fold", "label", "epoch", "train_loss", "validation_score"]
    trained = TrainedXGBoost(
        settings=settings,
        task=task,
        modalities=shapes,
        num_steps=cohort.num_steps,
        members=tuple(members),
        boosters=boosters,
        chosen=chosen,
        history=pd.concat(history, ignore_index=True)[columns],
        counts=counts,
        notes=tuple(dict.fromkeys(notes)),
    )
    trained.predictions = trained._frame(embeddings, cohort.items["item"].to_numpy(), trained.members, tests)
    ranges = fit_target_range(cohort.targets[task.name], trained_rows)
    trained.metrics = {task.name: _metrics(task, target, tests, trained.predictions, ranges)}
    return trained


def load_xgboost() -> Any:
    try:
        import xgboost
    except ImportError as error:
        raise ParamsError("the model 'xgboost' needs an extra: `pip install 'mmn[xgboost]'`.") from error
    return xgboost


def table_of(
    embeddings: Mapping[str, Embeddings],
    shapes: Sequence[ModalityShape],
    read_step: int,
    member: Member,
    rows: np.ndarray,
) -> np.ndarray:
    """(rows, sum of steps x width) float32: every modality's steps up to the read step, NaN where absent."""
    parts = []
    for shape in shapes:
        steps = min(shape.num_steps, read_step + 1)
        e = embeddings.get(shape.name)
        if e is None:
            parts.append(np.full((len(rows), steps * shape.width), np.nan, dtype=np.float32))
            continue
        present = e.present[rows, :steps]
        if shape.name in member.absent:
            present = present & ~member.absent[shape.name][rows, None]
        values = e.values[member.fold if e.fitted_per_fold else 0][rows, :steps]
        parts.append(np.where(present[..., None], values, np.float32(np.nan)).reshape(len(rows), steps * shape.width))
    return np.concatenate(parts, axis=1)


def _predict(booster: Any, table: np.ndarray) -> np.ndarray:
    data = load_xgboost().DMatrix(table, missing=np.nan, nthread=1)
    return booster.predict(data).astype(np.float64) if len(table) else np.empty(0)


def _fit(
    xgboost: Any, task: Task, settings: XGBoostSettings, member: Member, train: Any, validation: Any | None
) -> tuple[float, Any, dict[str, float], pd.DataFrame]:
    """(validation loss, booster, what it came to, its history). Without validation items all trees are kept."""
    objective, loss = _LOSS[task.kind]
    rounds: dict[str, dict[str, list[float]]] = {}
    stops = validation is not None and settings.early_stopping_rounds > 0
    booster = xgboost.train(
        {
            "objective": objective,
            "eval_metric": loss,
            "max_depth": settings.max_depth,
            "learning_rate": settings.learning_rate,
            "tree_method": "hist",
            "device": "cpu",
            "nthread": 1,
            "seed": member.seed,
            "verbosity": 0,
        },
        train,
        settings.n_estimators,
        evals=[(train, "train"), *([(validation, "validation")] if validation is not None else [])],
        early_stopping_rounds=settings.early_stopping_rounds if stops else None,
        evals_result=rounds,
        verbose_eval=False,
    )
    num_trees = booster.best_iteration + 1 if stops else booster.num_boosted_rounds()
    losses = np.array(rounds["validation"][loss]) if validation is not None else np.full(num_trees, np.nan)
    history = pd.DataFrame(
        {
            "epoch": np.arange(len(rounds["train"][loss]), dtype=np.int32),
            "train_loss": rounds["train"][loss],
            "validation_score": -losses,
        }
    )
    chosen = {"max_depth": settings.max_depth, "learning_rate": settings.learning_rate, "num_trees": num_trees}
    return float(losses[num_trees - 1]), booster[:num_trees], chosen, history


def _grid(settings: XGBoostSettings) -> Iterator[XGBoostSettings]:
    if not settings.grid:
        yield settings
        return
    for depth in HAIM_GRID["max_depth"]:
        for rate in HAIM_GRID["learning_rate"]:
            for trees in HAIM_GRID["n_estimators"]:
                yield replace(settings, max_depth=int(depth), learning_rate=float(rate), n_estimators=int(trees))


def _target(cohort: Cohort, task: Task) -> np.ndarray:
    """(N,): the target at the read step."""
    return cohort.targets[task.name].reshape(len(cohort), -1)[:, task.read_step if task.per_step else 0]


def _weights(task: Task, settings: XGBoostSettings, learnt: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Per item: positives weigh as much as negatives of the training items do, where both classes are there."""
    positive = int((learnt == 1).sum())
    if task.kind != "binary" or not settings.balanced or positive in {0, len(learnt)}:
        return np.ones(len(y))
    return np.where(y == 1, (len(learnt) - positive) / positive, 1.0)


def _notes(
    embeddings: Mapping[str, Embeddings],
    task: Task,
    member: Member,
    train: np.ndarray,
    validation: np.ndarray,
    num_train: int,
    target: np.ndarray,
) -> list[str]:
    """What a reader must know of one member. Raises CohortError where there is nothing to learn of, or from."""
    if not len(train):
        raise CohortError(
            f"fold {member.fold}: none of its {num_train} training items has a label for '{task.name}' at its read "
            "step. Leave the task out, or give more labelled items."
        )
    notes = []
    if np.ptp(target[train]) == 0:
        notes.append(
            f"fold {member.fold}: all {len(train)} training labels of '{task.name}' are the same; nothing can be "
            "learnt of it there."
        )
    if not len(validation):
        notes.append(f"fold {member.fold}: no validation item has a label of '{task.name}', so all trees are kept.")
    unseen = []
    for name, e in embeddings.items():
        hidden = member.absent.get(name)
        kept = train if hidden is None else train[~hidden[train]]
        if not e.present[kept, : task.read_step + 1].any():
            unseen.append(name)
    if len(unseen) == len(embeddings):
        raise CohortError(
            f"fold {member.fold}: none of its {len(train)} training items has any of {', '.join(unseen)}. "
            "Give a modality that training items have, or make the features again."
        )
    return notes + [
        f"fold {member.fold}: no training item has '{name}', so the model never uses it there." for name in unseen
    ]


def _metrics(
    task: Task, target: np.ndarray, tests: Sequence[np.ndarray], predictions: pd.DataFrame, ranges: np.ndarray
) -> dict[str, list[float | None]]:
    """metric -> one value per member, of its labelled test items; None where undefined. As `Trained.metrics`."""
    values: dict[str, list[float | None]] = {}
    for k, rows in enumerate(tests):
        y = target[rows]
        p = predictions.loc[predictions["member"] == k, "prediction"].to_numpy()[~np.isnan(y)]
        y = y[~np.isnan(y)]
        for metric in m.BINARY if task.kind == "binary" else m.REGRESSION:
            width = float(np.diff(ranges[k])[0]) if metric.name == "mse_normalised" else 1.0
            value = float(metric.compute(y / width, p / width, m.once(len(y)))[0])
            values.setdefault(metric.name, []).append(None if np.isnan(value) else round(value, 6))
    return values
