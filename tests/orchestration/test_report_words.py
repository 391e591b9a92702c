"""What the report says of comparisons, calibration, decisions and fewer modalities, held against its tables."""

import numpy as np
import pandas as pd
import pytest

from mmn.orchestration.report.results import Counts, Results
from mmn.orchestration.report.sentences import answers
from mmn.orchestration.report.subsets_words import costliest, less_answers, order_costs
from mmn.orchestration.report.trust_words import calibrated, trust_answers, useful

TASKS = {"ill": "auroc", "warm": "rmse"}


def scores() -> pd.DataFrame:
    rows = [
        {"task": task, "number": None, "model": "multimodn", "task_set": task, "kind": "model", "metric": metric,
         "primary": True, "unit": "", "estimate": 0.7, "low": 0.6, "high": 0.8, "best_floor": 0.75,
         "beats_floor": metric == "rmse", "fold_values": [0.7] * 5}
        for task, metric in TASKS.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def comparisons() -> pd.DataFrame:
    """The fold intervals leave out 0 on both tasks; after Holm they are told apart on one and equal on the other."""
    rows = [
        {"task": task, "question": question, "metric": metric, "primary": True, "first": "multimodn", "second": second,
         "first_task_set": first_set, "difference": -0.02, "low": -0.03, "high": -0.01, "verdict": verdict}
        for question, second in (("task set", "multimodn"), ("architecture", "p_fusion"))
        for (task, metric), verdict in zip(TASKS.items(), ("equivalent", "second better"), strict=True)
        for first_set in (("multitask",) if question == "task set" else (task, "multitask"))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def calibration() -> pd.DataFrame:
    def row(model: str, way: str, slope: tuple[float, float, float], intercept: tuple[float, float, float]) -> dict:
        told = dict(zip(("slope", "slope_low", "slope_high"), slope, strict=True))
        told |= dict(zip(("intercept", "intercept_low", "intercept_high"), intercept, strict=True))
        return {"task": "ill", "task_set": "ill", "model": model, "recalibration": way, "group": "all items", **told}

    right = (0.1, -0.2, 0.4)
    return pd.DataFrame(
        [
            row("multimodn", "none", (0.5, 0.3, 0.7), (-0.9, -1.2, -0.6)),
            row("multimodn", "platt", (1.0, 0.7, 1.3), right),
            row("p_fusion", "none", (1.0, 0.7, 1.3), right),
            row("p_fusion", "platt", (np.nan, np.nan, np.nan), right),
        ]
    )


def decisions() -> pd.DataFrame:
    frame = pd.DataFrame({"threshold": [0.2, 0.5, 0.8] * 2, "model": ["multimodn"] * 3 + ["p_fusion"] * 3})
    return frame.assign(
        task="ill", task_set="ill", recalibration="none", net_benefit=0.1, gain_low=[-0.1, 0.1, 0.2, -0.1, -0.1, 0.0]
    )


def subsets() -> pd.DataFrame:
    """`notes` cost 0.2 in every fold; of a regression every modality that is taken makes the error smaller."""
    worth = {"nothing": 0.5, "labs": 0.5, "notes": 0.69, "notes + labs": 0.7}
    rows = [
        {"task": task, "task_set": task, "model": "multimodn", "subset": subset, "metric": metric, "estimate": value,
         "num_modalities": 0 if subset == "nothing" else subset.count("+") + 1, "all": "+" in subset,
         "fold_values": list(value + 0.001 * np.arange(5))}
        for task, metric in TASKS.items() for subset, value in worth.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def orders() -> pd.DataFrame:
    spread = {"ill": (-0.2, -0.1), "warm": (0.1, 0.2)}
    rows = [
        {"task": task, "task_set": "both", "variant": variant, "metric": metric, "low": low + shift,
         "high": high + shift}
        for task, metric in TASKS.items() for low, high in (spread[task],)
        for variant, shift in (("trained in one order", 0.0), ("trained in random orders", -np.mean(spread[task])))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def result() -> Results:
    card = {
        "title": "A world", "generated": True, "skipped": {}, "num_folds": 5,
        "tasks": {task: {"number": None, "kind": "binary" if task == "ill" else "regression"} for task in TASKS},
    }  # fmt: skip
    return Results(
        name="world", card=card, scores=scores(), imc=pd.DataFrame(), cp=pd.DataFrame(), missingness=None,
        missingness_card={}, comparisons=comparisons(),
        counts=Counts(items=100, subjects=100, labelled={}, positive={}, test_ratio=0.125),
        trust={"calibration": calibration(), "decisions": decisions()},
        subsets={"subsets": subsets(), "order_sensitivity": orders()},
    )  # fmt: skip


def test_the_answer_tells_models_apart_by_the_adjusted_tests_and_says_where_they_are_equal(result):
    told = {sentence.lead: sentence.text for sentence in answers([result])}
    lead = "told apart on 1 of 2 tasks, shown to be equal within the margin on 1, neither on 0."
    assert told[f"One MultiModN for several tasks against one per task: {lead}"] == (
        "Better on warm: the single-task models. Equal within the margin: ill."
    )
    assert f"MultiModN against P-Fusion, each trained on one task: {lead}" in told


def test_the_answer_has_a_sentence_on_probabilities_decisions_a_modality_less_and_another_order(result):
    leads = [sentence.lead for sentence in answers([result])]
    assert any(lead.startswith("Probabilities: clearly off as they come for 1 of 2 models") for lead in leads)
    assert any(lead.endswith("for 1 of 2 models of a binary task.") for lead in leads)
    assert "Without the modality that costs most to lose, clearly worse: MultiModN on 1 of 2 tasks." in leads
    assert any("multi-task, trained in random orders, on 0 of 2 tasks" in lead for lead in leads)


def test_a_model_is_off_only_where_its_interval_leaves_out_what_is_right_and_unknown_ones_are_not_counted(result):
    faults = {row.model: len(found) for row, found in calibrated(result, "none")}
    assert faults == {"multimodn": 2, "p_fusion": 0}
    assert {row.model: found for row, found in calibrated(result, "platt")} == {"multimodn": []}
    lead, text = trust_answers(result)[0]
    assert (
        lead
        == "As they come, the probabilities of 1 of 2 models are clearly off; after Platt’s recalibration, of 0 of 1."
    )
    assert "too extreme (slope 0.50, 0.30 to 0.70) and too high on average (intercept −0.900" in text


def test_a_model_is_of_use_at_the_thresholds_where_its_gains_interval_lies_above_0(result):
    assert useful(result) == {("ill", "multimodn"): [0.5, 0.8], ("ill", "p_fusion"): []}


def test_a_loss_that_makes_an_error_smaller_is_none(result):
    found = {task: (lost, clear) for _, task, lost, _, clear in costliest(result)}
    assert found["ill"] == ("notes", True)
    assert found["warm"][1] is False


def test_worse_is_a_lower_auroc_and_a_higher_error(result):
    found = order_costs(result)
    assert found["multi-task, trained in one order"] == (["ill", "warm"], 2)
    assert found["multi-task, trained in random orders"] == ([], 2)
    assert "trained in one order on ill and warm" in less_answers(result)[1][0]
