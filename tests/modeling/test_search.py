"""The hyperparameter search: chooses by validation alone, loses nothing when killed, gives the same bytes."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mmn.data.errors import CohortError, ContractError, ParamsError
from mmn.data.files import read_json, write_parquet
from mmn.modeling import MODELS, search
from mmn.modeling.inputs import Member
from mmn.modeling.search_plan import PAPER_AXES, one_at_a_time, paper_plan, unread
from mmn.modeling.search_table import choose, curves, summarise
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, NOISE, SICK, make_world, quick

BASE = quick(epochs=2)
SMALL_SPACE = {"state": (1, 4), "hidden": (4, 8), "dropout": (0.0, 0.3), "batch_size": (16, 32)}


@pytest.fixture(scope="module")
def world():
    return make_world(num_items=60, widths={"a": 2, "b": 3})


@pytest.fixture
def trainings(monkeypatch):
    """The settings that were really trained, in order; those after `.limit` die as a killed process does."""

    class Trainings(list):
        limit = math.inf

    seen = Trainings()

    def counted(cohort, embeddings, tasks, architecture, settings, *rest, **more):
        if len(seen) >= seen.limit:
            raise KeyboardInterrupt
        seen.append(settings)
        return train(cohort, embeddings, tasks, architecture, settings, *rest, **more)

    monkeypatch.setattr(search, "train", counted)
    return seen


def bytes_of(table, path):
    write_parquet(path, pa.Table.from_pandas(table, preserve_index=False))
    return path.read_bytes()


def table_of(scores, **columns):
    """A search's table from validation scores (settings x folds), one seed."""
    rows = [
        {
            "setting": s,
            "roles": "default" if s == 0 else f"tpe {s}",
            "state": 10 + s,
            "fold": f,
            "seed": 0,
            "validation_score": value,
            "diverged": False,
            "best_epoch": 1,
            "num_epochs": 2,
            "num_parameters": 100,
            "num_train": 80,
            "num_validation": 10,
            "num_test": 10,
            "test.sick.auroc": columns["test"][s][f] if "test" in columns else 0.5,
        }
        for s, of_folds in enumerate(scores)
        for f, value in enumerate(of_folds)
    ]
    return pd.DataFrame(rows)


# What is tried


def test_the_papers_plan_is_its_three_groups_with_one_setting_varied_at_a_time():
    base = TrainingSettings(dropout=0.2)
    plan = paper_plan(base)
    assert plan["default"] == base
    assert plan["large"] == dataclasses.replace(base, batch_size=128, hidden=64, state=30)
    assert plan["small: state=100"] == dataclasses.replace(base, batch_size=32, hidden=16, state=100)
    # 3 groups; state has 6 values of which 10, 20 are small's and medium's own; batch 5, hidden 4, dropout 4, each
    # with the centre's own among them: (5 + 4 + 3 + 3) + 1 for small and medium, one more state for large; the default.
    assert len(plan) == 16 + 16 + 17 + 1
    centres = {name: plan[name] for name in ("small", "medium", "large")}
    for role, settings in plan.items():
        if ": " in role:
            centre, fields = centres[role.split(": ")[0]], vars(settings)
            assert sum(fields[name] != getattr(centre, name) for name in fields) == 1


def test_an_axis_that_an_architecture_never_reads_is_not_swept_and_refused_when_asked_for(world):
    assert unread("p_fusion", PAPER_AXES) == {"state"}
    assert unread("fusion_transformer", PAPER_AXES) == {"state", "hidden"}
    assert unread("multimodn", [*PAPER_AXES, "token"]) == {"token"}
    assert not any("state=" in role for role in paper_plan(BASE, "p_fusion"))
    with pytest.raises(ParamsError, match="p_fusion does not read state"):
        search.search(*world, (SICK,), "p_fusion", BASE, space={"state": (1, 2)}, sampler="random")


@pytest.mark.parametrize("architecture", MODELS)
def test_a_setting_is_refused_by_every_architecture_that_would_train_the_same_model_again(architecture):
    of_highmmt = {
        "latents", "latent_width", "latent_head_size", "cross_heads", "pair_heads", "latent_heads", "cross_depth",
        "pairs_of_absent", "mode", "marks", "without",
    }  # fmt: skip
    idle = unread(architecture, [*of_highmmt, "shuffle_order", "learning_rate"])
    assert idle & of_highmmt == (set() if architecture == "highmmt" else of_highmmt)
    assert idle - of_highmmt == (set() if architecture == "multimodn" else {"shuffle_order"})


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_value_that_cannot_be_is_refused_before_anything_is_trained(sampler, world, trainings):
    with pytest.raises(ParamsError, match=r"cannot try \{'dropout': 1\.5\}"):
        search.search(*world, (SICK,), "multimodn", BASE, space={"dropout": (0.1, 0.2, 1.5)}, sampler=sampler)
    assert trainings == []


@pytest.mark.parametrize("architecture", MODELS)
def test_every_architecture_has_a_paper_plan(architecture):
    assert {"default", "small", "medium", "large"} <= set(paper_plan(BASE, architecture))


# The sweep


def test_a_sweep_has_a_row_per_setting_and_fold_and_equal_settings_are_trained_once(world, trainings):
    plan = one_at_a_time(BASE, {"own": {}, "wide": {"hidden": 12}}, {"hidden": (8, 12)})
    table = search.sweep(*world, (SICK,), "multimodn", BASE, plan=plan)
    assert len(trainings) == 2 and len(table) == 2 * 3
    first = table[table["setting"] == 0]
    assert set(first["roles"]) == {"default; own; wide: hidden=8"} and set(first["hidden"]) == {8}
    assert list(first["fold"]) == [0, 1, 2]
    assert {"test.sick.auroc", "test.sick.bac"} <= set(table)


def test_a_row_is_what_that_fold_and_seed_gives_when_trained_alone(world):
    cohort, embeddings = world
    settings = dataclasses.replace(BASE, epochs=3)
    table = search.sweep(cohort, embeddings, (SICK,), "multimodn", settings, plan={}, seeds=(3, 4))
    assert len(table) == 2 * 3
    alone = train(cohort, embeddings, (SICK,), "multimodn", settings, [Member(fold=1, seed=4)])
    row = table[(table["fold"] == 1) & (table["seed"] == 4)].iloc[0]
    assert row["validation_score"] == pytest.approx(alone.history["validation_score"].max())
    assert row["best_epoch"] == alone.history["validation_score"].argmax()
    assert row["test.sick.auroc"] == pytest.approx(alone.metrics["sick"]["auroc"][0], abs=1e-6)
    assert row["num_parameters"] == alone.num_parameters
    assert row["num_train"] == alone.counts[0]["train"]


def test_several_tasks_are_scored_together_and_tested_each(world):
    table = search.sweep(*world, (SICK, LEVEL), "multimodn", BASE, plan={})
    assert {"test.sick.auroc", "test.level.rmse"} <= set(table)


def test_progress_counts_the_epochs_of_all_settings(world):
    told = []
    plan = {"wide": dataclasses.replace(BASE, hidden=10)}
    search.sweep(*world, (SICK,), "multimodn", BASE, plan=plan, progress=lambda *now: told.append(now))
    assert told[0] == (1, 4) and told[-1] == (4, 4) and told == sorted(told)


# Killed and resumed


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_killed_search_trains_only_what_is_left_and_ends_with_the_same_bytes(sampler, world, trainings, tmp_path):
    def run(folder):
        return search.search(
            *world, (SICK,), "multimodn", BASE, folder, SMALL_SPACE, num_settings=12, sampler=sampler, seed=5
        )

    whole = run(tmp_path / "whole")
    assert len(trainings) == 12
    trainings.clear()
    trainings.limit = 7
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    trainings.limit = math.inf
    resumed = run(tmp_path / "killed")
    assert len(trainings) == 12  # 7 before, 5 after
    assert bytes_of(whole, tmp_path / "a.parquet") == bytes_of(resumed, tmp_path / "b.parquet")
    assert whole.groupby("setting")[list(SMALL_SPACE)].first().duplicated().sum() == 0


def test_a_training_killed_in_its_middle_goes_on_from_its_checkpoint(world, tmp_path, monkeypatch):
    settings = dataclasses.replace(BASE, epochs=4)
    whole = search.sweep(*world, (SICK,), "multimodn", settings, plan={})
    seen = []
    # Keep the end of every epoch.
    monkeypatch.setattr(search, "Checkpoint", lambda path: Checkpoint(path, every_seconds=0))

    def dies(done, total):
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    from mmn.modeling.checkpoint import Checkpoint

    with pytest.raises(KeyboardInterrupt):
        search.sweep(*world, (SICK,), "multimodn", settings, tmp_path, plan={}, progress=dies)
    assert list(tmp_path.glob("*.checkpoint"))
    seen.clear()
    resumed = search.sweep(
        *world, (SICK,), "multimodn", settings, tmp_path, plan={}, progress=lambda done, total: seen.append(done)
    )
    assert seen[0] == 3  # epochs 1 and 2 were not repeated
    pd.testing.assert_frame_equal(whole, resumed)
    assert not list(tmp_path.glob("*.checkpoint"))


def test_a_longer_search_goes_on_from_a_shorter_one(world, trainings, tmp_path):
    def run(num):
        return search.search(
            *world, (SICK,), "multimodn", BASE, tmp_path, SMALL_SPACE, num_settings=num, sampler="random"
        )

    short = run(3)
    longer = run(5)
    assert len(trainings) == 5
    pd.testing.assert_frame_equal(short, longer[longer["setting"] < 3])


@pytest.mark.parametrize("change", ["target", "embedding", "seeds", "code", "task"])
def test_other_inputs_are_trained_anew(change, world, trainings, tmp_path):
    cohort, embeddings = world
    search.sweep(cohort, embeddings, (SICK,), "multimodn", BASE, tmp_path, plan={})
    more, task = {}, SICK
    if change == "target":
        cohort = dataclasses.replace(cohort, targets={**cohort.targets, "sick": 1 - cohort.targets["sick"]})
    elif change == "embedding":
        embeddings = {**embeddings, "a": dataclasses.replace(embeddings["a"], values=embeddings["a"].values + 1)}
    elif change == "seeds":
        more = {"seeds": (0, 1)}
    elif change == "code":
        more = {"code_version": "2"}
    else:
        task = NOISE
    search.sweep(cohort, embeddings, (task,), "multimodn", BASE, tmp_path, plan={}, **more)
    assert len(trainings) == 2


def test_a_new_description_of_a_task_trains_nothing_anew(world, trainings, tmp_path):
    search.sweep(*world, (SICK,), "multimodn", BASE, tmp_path, plan={})
    search.sweep(*world, (dataclasses.replace(SICK, description="new"),), "multimodn", BASE, tmp_path, plan={})
    assert len(trainings) == 1


def test_a_kept_result_that_a_disk_has_cut_is_made_again(world, trainings, tmp_path):
    whole = search.sweep(*world, (SICK,), "multimodn", BASE, tmp_path, plan={})
    [kept] = tmp_path.glob("*.json")
    assert read_json(kept)["settings"]["hidden"] == 8
    kept.write_text(kept.read_text()[:100])
    again = search.sweep(*world, (SICK,), "multimodn", BASE, tmp_path, plan={})
    assert len(trainings) == 2
    pd.testing.assert_frame_equal(whole, again)


# The proposals


def test_a_search_begins_with_the_base_and_tries_nothing_twice_until_the_space_is_empty(world, trainings):
    space = {"hidden": (4,), "dropout": (0, 0.3)}
    table = search.search(*world, (SICK,), "multimodn", BASE, space=space, num_settings=99, sampler="random")
    # The base's own hidden 8 and dropout 0.1 join: 2 x 3.
    assert len(trainings) == 6 and trainings[0] == BASE
    assert table["roles"].unique().tolist() == ["default", *(f"random {n}" for n in range(1, 6))]


def test_tpe_is_led_by_the_scores_and_repeatable(world, monkeypatch):
    def scored(self, settings):
        score = -abs(settings.state - 20) / 100 - settings.dropout
        row = {"fold": 0, "seed": 0, "validation_score": score, "diverged": settings.hidden == 16}
        return [row]

    monkeypatch.setattr(search._Runner, "_rows", scored)
    base = quick(state=100, dropout=0.3)
    tables = [search.search(*world, (SICK,), "multimodn", base, num_settings=40, seed=1) for _ in range(2)]
    pd.testing.assert_frame_equal(*tables)
    late = tables[0][25:]
    assert (late["state"] - 20).abs().mean() < (tables[0][:10]["state"] - 20).abs().mean()
    other = search.search(*world, (SICK,), "multimodn", base, num_settings=40, seed=2)
    assert not other.equals(tables[0])


def test_a_search_without_optuna_says_what_to_install(world, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ParamsError, match=r"mmn\[search\].*'random' needs nothing"):
        search.search(*world, (SICK,), "multimodn", BASE, space=SMALL_SPACE)


# The choice


def test_the_best_setting_is_chosen_by_validation_whatever_the_test_scores_say():
    validation = [[0.6, 0.7, 0.5, 0.6], [0.7, 0.8, 0.6, 0.8], [0.5, 0.5, 0.5, 0.5]]
    test = [[0.6] * 4, [0.1] * 4, [0.99] * 4]
    choice = choose(table_of(validation, test=test))
    assert choice.setting == 1 and choice.settings == {"state": 11}
    # Differences .1 .1 .1 .2: mean .125, sd .05; t(3) = 3.1824; variance 1/4 + 10/80.
    half = 3.182446 * 0.05 * math.sqrt(0.25 + 0.125)
    assert choice.difference == pytest.approx(0.125)
    assert (choice.low, choice.high) == pytest.approx((0.125 - half, 0.125 + half), abs=1e-5)
    assert (choice.folds_better, choice.num_folds, choice.clear) == (4, 4, True)
    row = choice.test.iloc[0]
    assert (row["metric"], row["default"], row["chosen"], row["better"]) == ("sick.auroc", 0.6, 0.1, "higher")
    assert "state 11" in choice.describe() and "4 of 4 folds" in choice.describe()


def test_nested_scores_each_fold_with_the_setting_its_own_validation_chose():
    validation = [[0.9, 0.1, 0.5], [0.1, 0.9, 0.9]]
    choice = choose(table_of(validation, test=[[0.2, 0.4, 0.6], [0.3, 0.8, 0.7]]))
    assert choice.test["nested"].iloc[0] == pytest.approx((0.2 + 0.8 + 0.7) / 3)


def test_a_setting_that_diverged_in_one_fold_is_never_chosen_and_counted():
    table = table_of([[0.5, 0.5, 0.5], [0.9, np.nan, 0.9]])
    table["diverged"] = table["validation_score"].isna()
    choice = choose(table)
    assert choice.setting == 0 and choice.diverged == (1,)
    assert "none is better" in choice.describe() and "1 settings diverged" in choice.describe()


def test_a_fold_without_validation_labels_is_left_out_of_the_comparison():
    choice = choose(table_of([[0.5, np.nan, 0.5, 0.4], [0.6, np.nan, 0.7, 0.5]]))
    assert (choice.setting, choice.num_folds) == (1, 3)
    with pytest.raises(CohortError, match="no setting has a validation score"):
        choose(table_of([[np.nan, np.nan]]))


def test_of_equals_the_smaller_model_is_chosen():
    table = table_of([[0.5, 0.5], [0.5, 0.5]])
    table.loc[table["setting"] == 1, "num_parameters"] = 50
    assert choose(table).setting == 1
    assert choose(table_of([[0.5, 0.5], [0.5, 0.5]])).setting == 0


def test_seeds_are_averaged_within_a_fold_before_folds_are_compared():
    one, two = table_of([[0.5, 0.5, 0.5], [0.6, 0.6, 0.6]]), table_of([[0.5, 0.5, 0.5], [0.8, 0.8, 0.8]])
    choice = choose(pd.concat([one, two.assign(seed=1)], ignore_index=True))
    assert choice.validation == pytest.approx(0.7) and choice.num_folds == 3


def test_curves_hold_each_groups_own_setting_and_each_value_in_order(world):
    plan = one_at_a_time(BASE, {"small": {"state": 4}}, {"state": (1, 4, 10), "hidden": (8,)})
    table = search.sweep(*world, (SICK,), "multimodn", BASE, plan=plan)
    found = curves(table)
    assert found["axis"].tolist() == ["state"] * 3 and found["value"].tolist() == [1, 4, 10]
    means = summarise(table).set_index("setting")["validation"]
    assert found["validation"].tolist() == means.loc[found["setting"]].tolist()
    assert curves(table_of([[0.5, 0.5]])).empty


@pytest.mark.parametrize("task", [LEVEL, SICK])
def test_a_training_that_diverges_has_no_score_and_is_not_chosen(task, world):
    plan = {"wild": dataclasses.replace(BASE, learning_rate=1e18, clip_norm=0.0)}
    table = search.sweep(*world, (task,), "multimodn", BASE, plan=plan)
    assert table["diverged"].tolist() == [False] * 3 + [True] * 3
    assert table["validation_score"].isna().tolist() == table["diverged"].tolist()
    assert choose(table).diverged == (1,)


def test_a_member_that_lost_its_score_on_the_way_has_diverged(world, monkeypatch):
    def broken(*args, **more):
        trained = train(*args, **more)
        history = trained.history
        history.loc[(history["member"] == 1) & (history["epoch"] == 1), "validation_score"] = np.nan
        return trained

    monkeypatch.setattr(search, "train", broken)
    table = search.sweep(*world, (LEVEL,), "multimodn", BASE, plan={})
    assert table["diverged"].tolist() == [False, True, False]
    assert table["validation_score"].isna().tolist() == [False, True, False]


def test_a_fold_without_a_validation_label_has_not_diverged(world):
    cohort, embeddings = world
    target = cohort.targets["sick"].copy()
    target[cohort.rows(0, "validation")] = np.nan
    cohort = dataclasses.replace(cohort, targets={"sick": target})
    table = search.sweep(cohort, embeddings, (SICK,), "multimodn", BASE, plan={})
    assert not table["diverged"].any() and table["validation_score"].isna().tolist() == [True, False, False]


# Bad input


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"hiden": (1,)}, "unknown setting 'hiden'; did you mean 'hidden'"),
        ({"select_by": ("mse",)}, "defines the score"),
        ({"seed": (1, 2)}, "give several as `seeds`"),
        ({"hidden": (8.5,)}, "'hidden' cannot be 8.5; it is of type int"),
        ({"dropout": ("a lot",)}, "'dropout' cannot be 'a lot'"),
        ({"scaler": ("robust",)}, "known: standard, minmax"),
        ({"dropout": (1.0,)}, "dropout is 1.0; it must be at least 0 and below 1"),
        ({"hidden": 8}, "is no list of values"),
        ({}, "nothing to vary"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space, message, world):
    with pytest.raises(ParamsError, match=message):
        search.search(*world, (SICK,), "multimodn", BASE, space=space, num_settings=9, sampler="random")


def test_other_bad_input_is_refused(world):
    run = search.search
    with pytest.raises(ParamsError, match="unknown sampler 'grid'; known: tpe, random"):
        run(*world, (SICK,), "multimodn", BASE, sampler="grid")
    with pytest.raises(ParamsError, match="unknown model"):
        search.sweep(*world, (SICK,), "multimod", BASE)
    with pytest.raises(ParamsError, match="seeds are"):
        search.sweep(*world, (SICK,), "multimodn", BASE, plan={}, seeds=(1, 1))
    with pytest.raises(ParamsError, match="num_settings is 0"):
        run(*world, (SICK,), "multimodn", BASE, num_settings=0)
    with pytest.raises(ParamsError, match="'default' is not the base"):
        search.sweep(*world, (SICK,), "multimodn", BASE, plan={"default": quick(hidden=9)})
    with pytest.raises(ParamsError, match="'task_weights' cannot be searched"):
        search.sweep(*world, (SICK,), "multimodn", BASE, plan={"heavy": quick(epochs=2, task_weights={"sick": 2})})
    with pytest.raises(ContractError, match="not the table of a search"):
        summarise(pd.DataFrame({"setting": [0]}))
