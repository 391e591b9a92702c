"""What the tables of results hold: the contract of their columns, which the check refuses by and the UI shows.

A column of one name means the same in every table, unless the table says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

_INFINITE = float("inf")
Kind = Literal["text", "number", "flag", "list"]


@dataclass(frozen=True)
class Column:
    """means: with the unit. low, high: what a known value lies between; null is "not known" or "does not apply"."""

    means: str
    kind: Kind = "number"
    low: float = -_INFINITE
    high: float = _INFINITE


@dataclass(frozen=True)
class Table:
    """rows: what one row is. columns: names of COLUMNS, all of which must be there. optional: there is not always one.
    may_be_empty: it has no row, and perhaps no column, where too few items let nothing be said. here: columns that mean
    another thing than elsewhere."""

    rows: str
    columns: str
    optional: bool = False
    may_be_empty: bool = False
    here: Mapping[str, Column] = field(default_factory=dict)

    @property
    def contract(self) -> dict[str, Column]:
        return {name: self.here.get(name) or COLUMNS[name] for name in self.columns.split()}


def _text(means: str) -> Column:
    return Column(means, "text")


def _share(means: str) -> Column:
    return Column(means, low=0.0, high=1.0)


def _signed(means: str) -> Column:
    return Column(means, low=-1.0, high=1.0)


def _count(means: str) -> Column:
    return Column(means, low=0.0)


_METRIC = "in the metric's unit"
_PREDICTED = "a probability or in the target's scaled unit"
COLUMNS: dict[str, Column] = {
    # What a row is about
    "task": _text("What is predicted."),
    "number": _count("The paper's number of the task."),
    "task_set": _text("The tasks that the model learnt together."),
    "model": _text("Architecture, or the floor's name."),
    "kind": _text("model or floor; of a plan, how it was chosen."),
    "metric": _text("Which score."),
    "primary": Column("Whether the report leads with this metric.", "flag"),
    "unit": _text("Of the values; empty where they have none."),
    "modality": _text("Which evidence."),
    "fold": _count("0 is the first."),
    "step": _count("Read up to this one; 0 is the first."),
    "share": _share("Share of the series, of the labels, of a part's uses or of the distances."),
    "item": _text("What the prediction is about; single items only of generated data, or where asked for."),
    "group": _text("Which items: a class, a subgroup, all."),
    "variant": _text("Trained in one order or in random ones."),
    "dataset": _text("Which data set."),
    "question": _text("What is compared."),
    # Scores
    "estimate": Column(f"Mean over folds, {_METRIC}."),
    "low": Column("Of the 95 % interval over folds, in the value's unit."),
    "high": Column("Of the 95 % interval over folds, in the value's unit."),
    "boot_low": Column("Of the 95 % bootstrap interval over subjects, in the value's unit."),
    "boot_high": Column("Of the 95 % bootstrap interval over subjects, in the value's unit."),
    "fold_values": Column(f"The value of each fold, {_METRIC}.", "list"),
    "best_floor": Column(f"The best floor's estimate, {_METRIC}."),
    "beats_floor": Column("Whether the estimate is better than the best floor.", "flag"),
    "num_folds": _count("Folds in which it is defined."),
    "num_items": _count("Test items."),
    "num_positive": _count("Test items of class 1, of a binary task."),
    "auroc": _share("Area under the ROC curve."),
    "skill": Column("0 as good as a constant, 1 perfect.", high=1.0),
    # Comparisons
    "better": _text("Whether lower or higher values are better."),
    "first": _text("The one."),
    "second": _text("The other."),
    "first_task_set": _text("Task set of the one."),
    "second_task_set": _text("Task set of the other."),
    "first_estimate": Column(f"Of the one, {_METRIC}."),
    "second_estimate": Column(f"Of the other, {_METRIC}."),
    "difference": Column("The one less the other, in the value's unit."),
    "level": _share("Of the interval."),
    "p": _share("Of no difference, over folds."),
    "p_holm": _share("The same, corrected for all comparisons."),
    "margin": _count("Differences below it count as none, in the value's unit."),
    "tost_p": _share("Of a difference beyond the margin."),
    "tost_p_holm": _share("The same, corrected for all comparisons."),
    "tost_low": Column("Of the 90 % interval, in the value's unit."),
    "tost_high": Column("Of the 90 % interval, in the value's unit."),
    "delong_p": _share("Of no difference, DeLong's test."),
    "delong_error": _count("Standard error by DeLong."),
    "verdict": _text("What follows."),
    # Inside a model
    "imc": Column(f"What the modality alone adds, mean over items, {_PREDICTED}."),
    "abs_imc": _count("The same, of its size."),
    "shapley": Column(f"What the modality adds on average over what else is known, mean over items, {_PREDICTED}."),
    "abs_shapley": _count("The same, of its size."),
    "exact": Column("All subsets, not a sample of them.", "flag"),
    "error": _count("Standard error of a sample's."),
    "change": Column(f"Of the prediction when the modality of the step is read, {_PREDICTED}."),
    "prediction": Column(f"After it, {_PREDICTED}."),
    "over_modalities": _signed("Rank correlation of IMC and Shapley values over modalities."),
    "over_items": _signed("The same over items."),
    "num_modalities": _count("How many are read."),
    "num_pairs": _count("Pairs that are compared."),
    "same_first": _share("Share in which the strongest modality is the same."),
    "measure": _text("IMC or Shapley values."),
    "rank_correlation": _signed("Between folds, mean over pairs."),
    "strongest": _text("The modality that is first most often."),
    # Missingness, subsets, early
    "mechanism": _text("Why it is missing: for a reason or for none."),
    "rate": _share("Share of the class's items that lose the modality in training."),
    "test": _text("Which test items lose it."),
    "skip": _text("How the model skips what is absent."),
    "against": _text("What the difference is from."),
    "above_chance": Column("Whether the interval lies above 0.5.", "flag"),
    "subset": _text("The modalities that were read."),
    "all": Column("Whether those are all.", "flag"),
    "order": _text("In which order they were read."),
    "moved": _count("Mean change of a prediction, in its unit."),
    "num_orders": _count("Orders tried."),
    "all_orders": Column("Whether those are all.", "flag"),
    "in_order": Column(f"In the order of training, {_METRIC}."),
    "other": Column(f"Mean over other orders, {_METRIC}."),
    "spread": _count(f"Standard deviation over orders, {_METRIC}."),
    "lowest": Column("Of all, in the value's unit."),
    "highest": Column("Of all, in the value's unit."),
    # Trust
    "recalibration": _text("Before it, or how."),
    "withheld": Column("Too few items to say it.", "flag"),
    "items_at_least": _count("At least so many items; the number itself is not told."),
    "mean_prediction": _share("Probability."),
    "observed": _share("Share of class 1."),
    "brier": _share("Mean squared error of the probability."),
    "ece": _share("Expected calibration error."),
    "slope": Column("Of the recalibration, 1 if calibrated."),
    "intercept": Column("Of the recalibration, log odds, 0 if calibrated."),
    "bin": _count("0 is the lowest."),
    "threshold": _share("Probability from which one would act."),
    "net_benefit": Column("True positives less weighted false ones, per item.", high=1.0),
    "treat_all": Column("Net benefit of acting on all.", high=1.0),
    "attribute": _text("By what items are grouped."),
    "rest": Column(f"Of the other items, {_METRIC}."),
    # HighMMT and the open questions
    "source": _text("Whose weights it began with."),
    "target": _text("Which was then trained."),
    "source_dataset": _text("Data set of the source."),
    "target_dataset": _text("Data set of the target."),
    "transfer": Column("Relative loss of the transfer; more is worse."),
    "standard_error": _count("Of the transfer, over folds."),
    "distance": _count("Of the two, symmetric."),
    "measured": Column("Whether it was measured, and not completed.", "flag"),
    "gain": Column("Net benefit over the better of all and none."),
    "silent": Column("Hardly better than a constant, so not judged.", "flag"),
    "seed": _count("Of the training."),
    "loss": Column("Of the target after the transfer."),
    "own": Column("Of the target without it."),
    "bits": Column("Bits per label that the source's model tells of the target, beyond the shares of the labels."),
    "again": Column("Of the target, trained a second time without it."),
    "constant": Column("Of the best constant."),
    "budget": _count("Groups asked for."),
    "node": _text("Modality, or pair of them."),
    "draw": _count("0 is the first."),
    "completed": _count("Error of the completed distances."),
    "mean_filled": _count("Error of the mean in their place."),
    "rand": _signed("Adjusted Rand index of the groups."),
    "plan": _text("Who shares with whom."),
    "num_encoders": _count("Of the plan."),
    "num_blocks": _count("Of the plan."),
    "num_parameters": _count("Of the joint model."),
    "mean_skill": Column("Over all tasks.", high=1.0),
    "way": _text("From the start, after the others, with them."),
    "without": _text("The part that was left out."),
    "datasets": _text("Which data sets learnt together."),
    "part": _text("Which shared part."),
    "member": _count("0 is the first."),
    "num": _count("Data sets or tasks that use it."),
    "learns": _text("Which parameters learn from the flipped labels."),
    "flipped": _text("The data set whose labels were flipped."),
    "skill_flipped": Column("Skill with the flipped labels.", high=1.0),
    "drop": Column("Skill less skill with the flipped labels."),
    "num_tasks": _count("Learnt together."),
    "state": _count("Numbers in the state."),
    "ceiling": _share("AUROC of the rule that made the world."),
    "parameters": _count("Of the model."),
    "architecture": _text("Which."),
    "trained_on": _text("Which lengths."),
    "shortest": _count("Steps of the shortest series."),
    "longest": _count("Steps of the longest series."),
    "operations": _count("Multiplications and additions per item."),
    "peak_bytes": _count("Bytes of memory at the peak."),
}
_SCORE = "metric unit estimate low high num_folds num_items fold_values"
_SCORES = f"task number model task_set kind primary boot_low boot_high num_positive best_floor beats_floor {_SCORE}"
_MODEL = "task task_set model"
_CHANCE = {"low": _share("Of the 95 % interval."), "high": _share("Of the 95 % interval.")}
_RANKS = {"lowest": _signed("Of all pairs of folds."), "highest": _signed("Of all pairs of folds.")}
_MEASURED = {
    "transfers": Table("source, target, fold and seed", "source target fold seed loss own again constant bits"),
    "distances": Table(
        "ordered pair of nodes",
        "source target source_dataset target_dataset transfer standard_error distance measured",
    ),
    "groups": Table("node and number of groups", "budget node"),
    "completion": Table("share of the distances and draw", "share draw completed mean_filled rand", may_be_empty=True),
    "gains": Table(
        "node",
        "node gain standard_error share silent",
        optional=True,
        here={
            "gain": Column("Loss of the constant less that of its model."),
            "share": Column("The gain, of the constant's loss.", high=1.0),
        },
    ),
}
# Kind of step (of a HighMMT, which of its steps) -> its tables by name.
TABLES: dict[str, dict[str, Table]] = {
    "scores": {
        "scores": Table("task, model or floor, and metric", _SCORES),
        "comparisons": Table(
            "two models, compared on a task",
            "task number question metric primary better unit first first_task_set second second_task_set "
            "first_estimate second_estimate difference low high level p boot_low boot_high margin tost_p tost_low "
            "tost_high num_folds delong_p delong_error num_items p_holm tost_p_holm verdict",
            optional=True,
        ),
        "binarised": Table(
            "task and model, as classes", f"{_MODEL} kind auroc low high num_folds fold_values", optional=True,
            may_be_empty=True,
        ),
    },
    "interpretability": {
        "imc": Table(
            "task, modality and fold", "task task_set modality fold imc abs_imc num_items", may_be_empty=True
        ),
        "shapley": Table(
            "task, modality and fold",
            "task task_set modality fold shapley abs_shapley num_items exact error",
            may_be_empty=True,
        ),
        "cp": Table(
            "task, group of items and step", "task task_set group step modality change prediction num_items",
            may_be_empty=True,
        ),
        "agreement": Table(
            "task and fold", "task task_set fold over_modalities over_items num_modalities num_pairs", optional=True,
            may_be_empty=True,
        ),
        "stability": Table(
            "task and measure",
            "task task_set measure rank_correlation lowest highest num_pairs num_folds strongest same_first",
            optional=True, may_be_empty=True, here=_RANKS,
        ),
        "imc_items": Table("item", "task task_set fold item modality imc", optional=True, may_be_empty=True),
        "cp_items": Table(
            "item and step", "task task_set fold item step modality change prediction", optional=True, may_be_empty=True
        ),
    },
    "missingness": {
        "missingness": Table(
            "model, mechanism, rate, test and fold", "modality mechanism rate test model skip fold auroc"
        ),
        "missingness_summary": Table(
            "model, mechanism, rate and test",
            "modality mechanism rate test model skip estimate low high num_folds above_chance",
            here={"estimate": _share("AUROC, mean over folds.")},
        ),
        "missingness_differences": Table(
            "two ways, compared",
            "question modality mechanism rate test first second against difference low high p p_holm num_folds verdict",
            may_be_empty=True,
        ),
    },
    "early": {
        "early": Table("task, model, metric and share of the series", f"{_SCORES} step"),
        "step_by_step": Table("task, model, metric and step", f"{_SCORES} step", optional=True),
    },
    "subsets": {
        "subsets": Table("task, model and subset of modalities", f"{_MODEL} subset num_modalities all {_SCORE}"),
        "orders": Table("task and order", f"task task_set variant order moved {_SCORE}", optional=True),
        "order_sensitivity": Table(
            "task",
            "task task_set variant metric num_orders all_orders in_order other difference low high spread lowest "
            "highest moved",
            optional=True,
        ),
    },
    "trust": {
        "subgroups": Table(
            "task, model and subgroup",
            f"{_MODEL} attribute group metric better unit withheld items_at_least estimate rest difference",
            optional=True, may_be_empty=True,
        ),
        "calibration": Table(
            "task, model, recalibration and group",
            f"{_MODEL} recalibration group withheld items_at_least mean_prediction observed brier ece intercept slope",
            optional=True, may_be_empty=True,
        ),
        "reliability": Table(
            "bin of predictions",
            f"{_MODEL} recalibration group bin mean_prediction observed low high items_at_least",
            optional=True, may_be_empty=True, here=_CHANCE,
        ),
        "decisions": Table(
            "task, model, recalibration and threshold",
            f"{_MODEL} recalibration threshold withheld net_benefit low high treat_all gain",
            optional=True, may_be_empty=True,
        ),
    },
    "open_questions": {
        "state_sizes": Table(
            "modalities, tasks and state", "num_modalities num_tasks state auroc low high ceiling parameters"
        ),
        "unequal_lengths": Table(
            "architecture and lengths", "architecture trained_on shortest longest auroc low high ceiling"
        ),
        "costs": Table("modalities and architecture", "num_modalities architecture parameters operations peak_bytes"),
    },
    "unimodal": _MEASURED,
    "crossmodal": _MEASURED,
    "sharing": {
        "front": Table("plan", "plan kind num_encoders num_blocks num_parameters mean_skill"),
        "scores": Table("data set, task, plan or floor, and metric", f"dataset {_SCORES} skill"),
    },
    "transfer": {"scores": Table("data set, task, way, share and metric", f"dataset {_SCORES} skill way share")},
    "ablations": {
        "ablations": Table("part left out", "without num_parameters datasets mean_skill"),
        "scores": Table("data set, task, model or floor, and metric", f"dataset {_SCORES} skill"),
    },
    "involvement": {"involvement": Table("part and member", "part member num share")},
    "interference": {
        "interference": Table(
            "who learns, who is flipped, who is measured",
            "learns flipped measured skill skill_flipped drop low high",
            here={"measured": _text("The data set that is scored.")},
        )
    },
}  # fmt: skip


def is_of(kind: Kind, found: pa.DataType) -> bool:
    """A column without a known value has no type of its own."""
    if pa.types.is_null(found):
        return True
    if kind == "text":
        return pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_dictionary(found)
    if kind == "flag":
        return pa.types.is_boolean(found)
    if kind == "list":
        return pa.types.is_list(found)
    return pa.types.is_integer(found) or pa.types.is_floating(found)
