"""What is refused before it is written, what is only shown, and that each says which check it was."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from mmn.data.dataset import Task
from mmn.data.errors import ParamsError
from mmn.data.files import write_json, write_parquet
from mmn.orchestration.checks import KINDS, OF_STEP, CheckFailed, check_known_names, check_result
from mmn.orchestration.checks.cohort import _impossible
from mmn.orchestration.checks.results import broken
from mmn.orchestration.checks.tables import COLUMNS, TABLES
from mmn.orchestration.operating import CheckSettings, load_operating
from mmn.orchestration.step import Step
from mmn.orchestration.walk import Job
from tests.orchestration.toy import MODEL, make_toy

PLAIN = CheckSettings()


@pytest.fixture
def toy(tmp_path):
    toy = make_toy(tmp_path / "study")
    toy.write_cohort()
    return toy


def failed(job, settings=PLAIN) -> dict[str, str]:
    """Check -> what it said, of those that did not pass."""
    try:
        checks = check_result(job, settings)
    except CheckFailed as error:
        checks = error.checks
    return {check.name: check.said for check in checks if not check.passed}


def with_values(embeddings, change):
    values, present = embeddings.values.copy(), embeddings.present.copy()
    change(values, present)
    return dataclasses.replace(embeddings, values=values, present=present)


def test_a_sound_embedding_passes_every_check_by_name(toy):
    job = toy.job("features/toy/a", toy.write_embedding(toy.root / "new.parquet"))
    checks = check_result(job, PLAIN)
    assert [check.name for check in checks] == list(OF_STEP["features"][1])
    assert all(check.passed for check in checks)


def test_an_infinite_value_and_a_present_row_of_nothing_are_refused(toy):
    def spoil(values, present):
        at = np.flatnonzero(present[:, 0])
        values[0, at[0], 0, 1] = np.inf
        values[0, at[1], 0, :] = np.nan

    out = toy.write_embedding(toy.root / "new.parquet", with_values(toy.embeddings["a"], spoil))
    with pytest.raises(CheckFailed, match=r"finite: 1 present rows hold an infinite value and 1 hold nothing"):
        check_result(toy.job("features/toy/a", out), PLAIN)


def test_items_in_another_order_are_counted_and_refused(toy):
    swapped = toy.embeddings["a"].items.copy()
    swapped[[3, 7]] = swapped[[7, 3]]
    out = toy.write_embedding(toy.root / "new.parquet", dataclasses.replace(toy.embeddings["a"], items=swapped))
    assert failed(toy.job("features/toy/a", out))["item_order"].startswith("2 rows")


@pytest.mark.parametrize("num_steps", [1, 4])
def test_the_order_is_checked_for_every_step(tmp_path, num_steps):
    toy = make_toy(tmp_path / "series", num_steps=num_steps)
    toy.write_cohort()
    assert not failed(toy.job("features/toy/a", toy.write_embedding(toy.root / "new.parquet")))


def test_a_missing_row_breaks_the_schema_and_nothing_else_is_claimed(toy):
    short = make_toy(toy.root / "other", num_items=200)
    said = failed(toy.job("features/toy/a", short.write_embedding(toy.root / "new.parquet")))
    assert "200 rows, expected 1 folds × 240 items" in said["schema"]
    assert "was not looked at" in said["finite"]


def test_an_embedding_that_tells_nobody_apart_is_shown(toy):
    def flatten(values, present):
        values[:] = np.where(np.isnan(values), np.nan, 1.0)

    job = toy.job(
        "features/toy/a", toy.write_embedding(toy.root / "new.parquet", with_values(toy.embeddings["a"], flatten))
    )
    assert set(failed(job)) == {"spread"}
    with pytest.raises(CheckFailed):
        check_result(job, CheckSettings(refuse=("spread",)))


def halve(values, present):
    present[::2] = False
    values[0, ~present[:, 0]] = np.nan


def test_a_presence_rate_that_falls_is_refused_and_the_last_version_stays(toy):
    last = toy.write_embedding()
    before = last.read_bytes()
    out = toy.write_embedding(toy.root / "new.parquet", with_values(toy.embeddings["a"], halve))
    with pytest.raises(CheckFailed, match=r"presence_drift: 39.6% of rows are present, 80.0% were"):
        check_result(toy.job("features/toy/a", out), PLAIN)
    assert last.read_bytes() == before
    assert not failed(toy.job("features/toy/a", out), CheckSettings(presence_margin=0.6))


def test_presence_is_not_compared_with_a_version_of_other_settings_or_of_other_items(toy):
    toy.write_embedding()
    out = toy.write_embedding(toy.root / "new.parquet", with_values(toy.embeddings["a"], halve))
    assert not failed(toy.job("features/toy/a", out, mode="other"))
    others = make_toy(toy.root / "others")
    strangers = np.array([f"stranger{n}" for n in range(240)], dtype=object)
    others.write_embedding(
        toy.root / "artifacts/features/toy/a.parquet", dataclasses.replace(others.embeddings["a"], items=strangers)
    )
    assert not failed(toy.job("features/toy/a", out))


def test_a_reconstruction_below_its_bound_is_shown_with_the_cards_own_words(toy):
    card = {"within_bound": False, "bound": 0.5, "warning": "2 of 3 folds explain less than 0.5."}
    out = toy.write_embedding(toy.root / "new.parquet", featurizer=card)
    step = dataclasses.replace(toy.job("features/toy/a").step, kind="autoencoder")
    assert failed(toy.job("features/toy/a", out, step=step)) == {"reconstruction": card["warning"]}


def test_a_cohort_with_an_impossible_label_is_refused_and_one_with_other_label_rates_is_shown(toy):
    toy.cohort.targets["sick"][:3] = 0.5
    assert "sick: 3 labels" in failed(toy.job("cohorts/toy", toy.write_cohort(toy.root / "new")))["ranges"]
    toy.cohort.targets["sick"][:] = 1.0
    assert "label_drift" in failed(toy.job("cohorts/toy", toy.write_cohort(toy.root / "newer")))


def test_a_class_that_the_task_does_not_name_and_a_value_that_nothing_has_are_refused():
    classes = Task(name="c", number=None, kind="multiclass", description="", classes=("a", "b", "c"))
    share = Task(name="s", number=None, kind="regression", description="", unit="share")
    plain = Task(name="r", number=None, kind="regression", description="")
    assert list(_impossible(np.array([0.0, 2.0, 3.0, 99.0, 0.5]), classes)) == [False, False, True, True, True]
    assert list(_impossible(np.array([0.0, 1.0, 1.5, -0.1]), share)) == [False, False, True, True]
    assert list(_impossible(np.array([-5.0, 1e30, -np.inf]), plain)) == [False, True, True]


def test_a_cohort_half_the_size_is_shown(toy):
    small = make_toy(toy.root / "small", num_items=100)
    said = failed(toy.job("cohorts/toy", small.write_cohort(toy.root / "new")))
    assert "items: 240 before, 100 now" in said["volume_drift"]


def test_a_sound_model_passes(toy):
    assert not failed(toy.job(MODEL.key, toy.write_model(toy.predictions(0.5))))


def test_a_model_tested_on_items_it_was_trained_on_is_refused(toy):
    predictions = toy.predictions(0.5)
    trained = toy.cohort.items["item"].to_numpy()[toy.cohort.rows(0, "train")[:2]]
    predictions.loc[[0, 1], "item"] = trained
    assert (
        "2 predictions are of items that are not test items"
        in failed(toy.job(MODEL.key, toy.write_model(predictions)))["leakage"]
    )


def test_a_modality_that_defines_a_label_is_refused_and_shown_where_it_was_forced(toy):
    toy.unusable_for = {"sick": "it says so"}
    out = toy.write_model(toy.predictions(0.5))
    assert "a defines a label" in failed(toy.job(MODEL.key, out))["leakage"]
    forced = dataclasses.replace(MODEL, options={**MODEL.options, "forced": ("a",)})
    assert set(failed(toy.job(MODEL.key, out, step=forced))) == {"not_forced"}


def test_a_weight_or_a_prediction_that_is_no_number_is_refused(toy):
    predictions = toy.predictions(0.5)
    predictions.loc[predictions["task"] == "sick", "prediction"] += 1
    out = toy.write_model(predictions)
    save_file({"model.w": np.array([1.0, np.nan])}, out / "model.safetensors")
    said = failed(toy.job(MODEL.key, out))["finite"]
    assert "no probability" in said and "1 weights are not finite" in said


SCORES = Step(
    key="results/toy/scores", kind="scores", dataset="toy", out="artifacts/results/toy/scores", description="Scores.",
    deps=(MODEL.key,),
)  # fmt: skip


def score(auroc: float, **more) -> dict:
    """A row of the scores."""
    return {
        "task": "sick", "number": 1, "task_set": "both", "model": "multimodn", "kind": "model", "primary": True,
        "metric": "auroc", "unit": "", "estimate": auroc, "low": auroc - 0.05, "high": auroc + 0.05, "boot_low": None,
        "boot_high": None, "num_folds": 3, "num_items": 80, "num_positive": 30, "fold_values": [auroc] * 3,
        "best_floor": 0.7, "beats_floor": auroc > 0.7, **more,
    }  # fmt: skip


def scores(toy, auroc: float) -> Job:
    """A table of one model, whose best floor has 0.7."""
    out = toy.root / "new"
    out.mkdir(exist_ok=True)
    row = score(auroc)
    write_parquet(out / "scores.parquet", pa.Table.from_pylist([row]), {})
    write_json(out / "card.json", {})
    return toy.job(SCORES.key, out, SCORES)


def test_a_model_below_its_floor_is_shown_and_blocks_what_follows_when_told_so(toy):
    strict = CheckSettings(refuse=("above_floors",))
    said = "1 of 1 are no better than the best floor: both/multimodn, sick."
    shown = check_result(scores(toy, 0.65), PLAIN)
    assert [(check.name, check.said) for check in shown if not check.passed] == [("above_floors", said)]
    with pytest.raises(CheckFailed, match="above_floors: 1 of 1 are no better") as refused:
        check_result(scores(toy, 0.65), strict)
    assert [check.name for check in refused.value.checks if check.refuses and not check.passed] == ["above_floors"]
    assert all(check.passed for check in check_result(scores(toy, 0.8), strict))
    assert set(failed(scores(toy, 1.2))) == {"ranges"}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"nonsense": []}, "nonsense.parquet is no table of these results; known: scores, comparisons, binarised."),
        ({}, "it holds no table."),
        ({"scores": []}, "scores.parquet has no row."),
        ({"scores": [{**score(0.8), "estimate": "high"}]}, "estimate is string, expected a number."),
        ({"scores": [{"task": "sick"}]}, "column 'number' is missing."),
        ({"comparisons": [{}]}, "scores.parquet is missing."),
        ({"scores": [score(0.8), score(0.7, number=None, unit=None)]}, None),
    ],
)
def test_results_of_other_tables_columns_or_types_are_refused_by_name(toy, tables, said):
    out = toy.root / "new"
    out.mkdir()
    write_json(out / "card.json", {})
    for name, rows in tables.items():
        write_parquet(out / f"{name}.parquet", pa.Table.from_pylist(rows), {})
    told = failed(toy.job(SCORES.key, out, SCORES)).get("schema")
    assert told is None if said is None else said in told


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_a_kind_of_results_without_one_of_its_columns_is_refused(kind):
    """Made from the contract itself: a known value of each column, then one column fewer."""
    value = {"text": "a", "number": 0.5, "flag": True, "list": [0.5]}
    whole = {
        name: pa.Table.from_pylist([{column: value[told.kind] for column, told in table.contract.items()}])
        for name, table in TABLES[kind].items()
    }
    assert broken(TABLES[kind], whole) is None
    for name, table in whole.items():
        fewer = {**whole, name: table.drop_columns(table.column_names[-1])}
        assert broken(TABLES[kind], fewer) == f"{name}.parquet: column '{table.column_names[-1]}' is missing."


def test_a_table_that_too_few_items_leave_empty_is_no_fault_and_one_of_scores_is():
    whole = {
        name: pa.Table.from_pylist([dict.fromkeys(table.contract)])
        for name, table in TABLES["interpretability"].items()
    }
    assert broken(TABLES["interpretability"], {**whole, "cp": pa.table({})}) is None
    assert broken(TABLES["scores"], {"scores": pa.table({})}) == "scores.parquet has no row."


def test_every_column_that_is_described_is_in_a_table():
    used = {column for tables in TABLES.values() for table in tables.values() for column in table.contract}
    assert used == set(COLUMNS)


@pytest.fixture
def joint(toy):
    """What a HighMMT step leaves: a table of scores, and a model of the toy's data set below it."""
    step = Step(
        key="results/highmmt/sharing", kind="highmmt", dataset="highmmt", out="artifacts/results/highmmt/sharing",
        description="One for all.",
        options={"kind": "sharing", "modalities": {"toy": ("a",)}, "tasks": {"toy": ["sick"]}},
    )  # fmt: skip

    def write(predictions, **row) -> Job:
        out = toy.root / "new"
        toy.write_model(predictions, out / "models" / "shared" / "toy")
        front = {"plan": "all", "kind": "shared", "num_encoders": 1, "num_blocks": 1, "num_parameters": 9}
        write_parquet(out / "front.parquet", pa.Table.from_pylist([{**front, "mean_skill": 0.5}]), {})
        rows = [score(0.8, **{"dataset": "toy", "skill": 0.6, **row})]
        write_parquet(out / "scores.parquet", pa.Table.from_pylist(rows), {})
        write_json(out / "card.json", {})
        return toy.job(step.key, out, step)

    return write


def test_a_model_over_several_data_sets_is_looked_at_as_any_other(toy, joint):
    assert not failed(joint(toy.predictions(0.5)))
    assert set(failed(joint(toy.predictions(0.5), skill=1.5))) == {"ranges"}
    assert (
        "1 of 1 are no better than the best floor: toy/both/multimodn, sick"
        in failed(joint(toy.predictions(0.5), estimate=0.6))["above_floors"]
    )
    spoilt = toy.predictions(0.5)
    spoilt.loc[[0, 1], "item"] = toy.cohort.items["item"].to_numpy()[toy.cohort.rows(0, "train")[:2]]
    spoilt.loc[5, "prediction"] = np.inf
    said = failed(joint(spoilt))
    assert said["leakage"].startswith("2 predictions are of items that are not test items")
    assert said["finite"].startswith("1 predictions are infinite")
    toy.unusable_for = {"sick": "it says so"}
    assert "toy/a defines a label" in failed(joint(toy.predictions(0.5)))["leakage"]


def test_the_contract_may_not_be_turned_into_a_warning(tmp_path):
    for text, message in [
        ("checks: {warn: [schema]}", "always refuses"),
        ("checks: {warn: [presense_drift]}", "Did you mean 'presence_drift'"),
        ("checks: {refuse: [spread], warn: [spread]}", "to refuse and to warn"),
    ]:
        (tmp_path / "operating.yaml").write_text(text)
        with pytest.raises(ParamsError, match=message):
            check_known_names(load_operating(tmp_path).checks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schedules: {mimic: {cron: 'every day'}}", "operating.yaml: schedules.mimic: cron is 'every day'"),
        ("schedules: {mimic: {timezone: Mars/Base}}", "timezone is 'Mars/Base'"),
        ("schedules: {mimik: {}}", "Did you mean 'mimic'"),
        ("promotion: {auroc_margins: 1}", "Did you mean 'auroc_margin'"),
        ("engin: {name: slurm}", "Did you mean 'engine'"),
        ("engine: {name: dask}", "expected 'local' | 'k8s' | 'slurm'"),
        ("owners: [me]", "owners"),
        ("a: [", "not readable as YAML"),
    ],
)
def test_a_wrong_operating_file_is_refused_with_the_nearest_right_one(tmp_path, text, message):
    (tmp_path / "operating.yaml").write_text(text)
    with pytest.raises(ParamsError, match=message.replace("|", r"\|")):
        load_operating(tmp_path)


def test_every_check_that_a_step_names_is_described():
    assert {name for _, names in OF_STEP.values() for name in names} == set(KINDS)
