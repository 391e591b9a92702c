"""Reading a search's table: which setting is best by validation, by how much, and the curves of the paper's Fig. 9.

Only `validation_score` chooses. What is chosen as the best of many is flattered by the choice, on validation most of
all; `Choice.test` has the same comparison on test items, and what choosing inside every fold alone would have given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.errors import CohortError, ContractError
from mmn.modeling.differences import paired
from mmn.modeling.metrics import BINARY, REGRESSION
from mmn.modeling.scores import estimate_with_interval
from mmn.modeling.search_plan import DEFAULT, PAPER_AXES

_RESULTS = ("setting", "roles", "fold", "seed", "validation_score", "diverged", "best_epoch", "num_epochs",
            "num_parameters", "num_train", "num_validation", "num_test")  # fmt: skip
_BETTER = {metric.name: metric.better for metric in (*BINARY, *REGRESSION)}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The best setting against setting 0, the default.

    settings: of each searched axis. validation, default_validation: mean over folds (of the mean over seeds).
    difference, low, high: best minus default over folds, with the 95 % t-interval whose variance is corrected for the
    folds' common training items (Nadeau and Bengio 2003); NaN where under three folds can be compared or there is none.
    folds_better of num_folds. diverged: settings left out because a training gave no score.
    test: per `metric` (TASK.METRIC) the `default`, the `chosen`, `difference`, `low`, `high` (chosen minus default),
    `better` ("higher", "lower"), and `nested`: each fold scored with the setting that its own validation part chose,
    which no test item had a say in. It says what the search is worth; the rest what this one setting is.
    """

    setting: int
    roles: str
    settings: dict[str, Any]
    validation: float
    default_validation: float
    difference: float
    low: float
    high: float
    folds_better: int
    num_folds: int
    num_settings: int
    diverged: tuple[int, ...]
    test: pd.DataFrame

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference lies above 0."""
        return bool(self.low > 0)

    def describe(self) -> str:
        """Two or three sentences for the terminal."""
        left_out = f" {len(self.diverged)} settings diverged and were left out." if self.diverged else ""
        if self.setting == 0:
            return f"Of {self.num_settings} settings none is better on validation than the default.{left_out}"
        named = ", ".join(f"{axis} {value}" for axis, value in self.settings.items())
        interval = f" (95 % {self.low:+.4f} to {self.high:+.4f})" if np.isfinite(self.low) else ""
        doubt = (
            " The best of many is flattered by the choice: read its test scores beside it."
            if self.clear
            else " That is no clear difference: the default may be as good."
        )
        return (
            f"Best of {self.num_settings} settings on validation: {named}. Its score is {self.validation:.4f}, the "
            f"default's {self.default_validation:.4f}: {self.difference:+.4f}{interval}, better in {self.folds_better} "
            f"of {self.num_folds} folds.{doubt}{left_out}"
        )


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, the best first: its axes, `validation` with `low`, `high` (t-interval over folds),
    `difference` from the default with its corrected interval, `diverged`, and the mean of each test column."""
    by_fold = _by_fold(_checked(table))
    axes = _axes(table)
    ratio = _ratio(table, "num_validation")
    rows = []
    for setting, part in table.groupby("setting", sort=True):
        mean, low, high, num_folds = estimate_with_interval(by_fold.loc[setting].to_numpy())
        difference, d_low, d_high = _paired(by_fold.loc[setting], by_fold.loc[0], ratio)
        first = part.iloc[0]
        rows.append(
            {
                **{name: first[name] for name in ("setting", "roles", *axes, "num_parameters")},
                "validation": mean,
                "low": low,
                "high": high,
                "num_folds": num_folds,
                "difference": difference,
                "difference_low": d_low,
                "difference_high": d_high,
                "diverged": bool(part["diverged"].any()),
                **{name: _over_folds(part, name).mean() for name in _test_columns(table)},
            }
        )
    # Of equals the smaller model is the better one, then the earlier setting.
    order = ["diverged", "validation", "num_parameters", "setting"]
    return pd.DataFrame(rows).sort_values(order, ascending=[True, False, True, True], ignore_index=True)


def choose(table: pd.DataFrame) -> Choice:
    """The best setting by validation. Raises CohortError where no fold has a validation score of every setting."""
    summary = summarise(table)
    by_fold = _by_fold(table)
    eligible = summary[~summary["diverged"] & summary["validation"].notna()]
    if eligible.empty:
        raise CohortError(
            "no setting has a validation score: no fold has a labelled validation item, or every training diverged. "
            "Give more labelled items, or a smaller learning rate."
        )
    best = eligible.iloc[0]
    number = int(best["setting"])
    pair = (by_fold.loc[number] - by_fold.loc[0]).dropna()
    default = summary.set_index("setting").loc[0]
    return Choice(
        setting=number,
        roles=str(best["roles"]),
        settings={axis: _plain(best[axis]) for axis in _axes(table)},
        validation=float(best["validation"]),
        default_validation=float(default["validation"]),
        difference=float(best["difference"]),
        low=float(best["difference_low"]),
        high=float(best["difference_high"]),
        folds_better=int((pair > 0).sum()),
        num_folds=len(pair),
        num_settings=len(summary),
        diverged=tuple(int(n) for n in sorted(summary.loc[summary["diverged"], "setting"])),
        test=_on_test(table, number, by_fold.loc[sorted(eligible["setting"])]),
    )


def curves(table: pd.DataFrame) -> pd.DataFrame:
    """Fig. 9: `group`, `axis`, `value`, and the validation and test means of `summarise`, ascending in value.

    The group's own setting is a point of each of its curves. Empty where the table is of no one-at-a-time sweep.
    """
    summary = summarise(table)
    roles = summary.assign(role=summary["roles"].str.split("; ")).explode("role", ignore_index=True)
    parts = roles["role"].str.extract(r"^(?P<group>.+): (?P<axis>\w+)=(?P<value>.+)$")
    varied = pd.concat([parts[["group", "axis"]], roles], axis=1).dropna(subset=["axis"])
    centres = roles[roles["role"].isin(varied["group"])].rename(columns={"role": "group"})
    centres = centres.merge(varied[["group", "axis"]].drop_duplicates(), on="group")
    points = pd.concat([varied, centres], ignore_index=True)
    points["value"] = [row[axis] for axis, (_, row) in zip(points["axis"], points.iterrows(), strict=True)]
    kept = ["group", "axis", "value", "setting", "validation", "low", "high", "num_folds", *_test_columns(table)]
    order = points.sort_values(["group", "axis", "value"], kind="stable", ignore_index=True)
    return order[kept]


def _on_test(table: pd.DataFrame, chosen: int, by_fold: pd.DataFrame) -> pd.DataFrame:
    """by_fold: validation scores of the settings that may be chosen."""
    own = by_fold.dropna(axis=1, how="all").idxmax()  # fold -> its own best setting; of equals the first
    ratio = _ratio(table, "num_test")
    rows = []
    for name in _test_columns(table):
        scores = table.groupby(["setting", "fold"])[name].mean().unstack("fold")
        difference, low, high = _paired(scores.loc[chosen], scores.loc[0], ratio)
        rows.append(
            {
                "metric": name.removeprefix("test."),
                "better": _BETTER.get(name.rsplit(".", 1)[1], ""),
                "default": float(scores.loc[0].mean()),
                "chosen": float(scores.loc[chosen].mean()),
                "difference": difference,
                "low": low,
                "high": high,
                "nested": float(np.nanmean([scores.loc[s, fold] for fold, s in own.items()])) if len(own) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    if missing := [name for name in _RESULTS if name not in table]:
        raise ContractError(f"not the table of a search: it has no column {', '.join(missing)}. Run the search again.")
    if not (table["setting"] == 0).any():
        raise ContractError(f"the table has no setting 0, the '{DEFAULT}' that all others are compared with.")
    return table


def _by_fold(table: pd.DataFrame) -> pd.DataFrame:
    """(settings, folds): mean validation score over seeds; NaN unless every seed has one."""
    scores = table.groupby(["setting", "fold"])["validation_score"]
    return scores.mean().where(scores.count() == scores.size()).unstack("fold")


def _over_folds(part: pd.DataFrame, column: str) -> pd.Series:
    return part.groupby("fold")[column].mean()


def _paired(first: pd.Series, second: pd.Series, ratio: float) -> tuple[float, float, float]:
    """first minus second: mean and corrected 95 % interval. ratio: compared items per training item."""
    difference = paired(first, second, ratio)
    if difference is not None:
        return difference.mean, difference.low, difference.high
    known = (first - second).dropna()
    return float(known.mean()) if len(known) else np.nan, np.nan, np.nan


def _ratio(table: pd.DataFrame, column: str) -> float:
    return float((table[column] / table["num_train"]).mean())


def _test_columns(table: pd.DataFrame) -> list[str]:
    return [name for name in table if name.startswith("test.")]


def _axes(table: pd.DataFrame) -> list[str]:
    """The searched settings; of the paper's own those that were not varied are left out."""
    own = [name for name in table if name not in _RESULTS and not name.startswith("test.")]
    return [name for name in own if name not in PAPER_AXES or table[name].nunique() > 1]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
