"""The missingness experiment: who is chosen to lose a modality, what is measured, and on worlds whose answer is known.

Tolerances. The AUROC of n items of each class has the standard error e of Hanley and McNeil (`auroc_error`); the folds'
test items are disjoint, so the mean over folds errs as one AUROC of all of them would (450 items here: e is .01 to
.03). Four e, one in 16,000 by chance, is for what sampling does. LEARNING is for what a small network of some hundred
training items stays behind the Bayes rule. No formula gives that; 0.02 is allowed. Where two answers are to be told
apart, they lie further from each other than both tolerances.
"""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from mmn.data.dataset import Task
from mmn.data.errors import ParamsError
from mmn.modeling.known_worlds import TASK, KnownWorld, auroc_error
from mmn.modeling.metrics import auroc, once
from mmn.modeling.missingness import COLUMNS, missingness_experiment
from mmn.modeling.missingness_mechanisms import choose_by_class, choose_by_score, severity
from mmn.modeling.missingness_plan import driver_of, plan_cells
from mmn.modeling.missingness_settings import MECHANISMS, MissingnessSettings
from mmn.modeling.missingness_tables import differences_of, fold_ratio, summarise
from tests.modeling.worlds import LEVEL, NOISE, SICK, make_world, quick

RATE = 0.6
LEARNING = 0.02
WORLD = KnownWorld(num_items=900)
GRID = MissingnessSettings(
    rates=(0.0, RATE),
    models=("multimodn", "p_fusion", "p_fusion_bits", "fusion_transformer"),
    per_batch=("multimodn",),
    epochs=18,
)


def training(models, **changes):
    return {model: quick(batch_size=32, learning_rate=5e-3, dropout=0.0, **changes) for model in models}


@pytest.fixture(scope="module")
def known():
    cohort, embeddings = WORLD.generate()
    seen = []
    table = missingness_experiment(
        cohort,
        embeddings,
        TASK,
        ("b",),
        training(GRID.models),
        GRID,
        progress=lambda done, total: seen.append((done, total)),
    )
    num_test = sum(len(cohort.rows(fold, "test")) for fold in range(cohort.num_folds))
    return table, summarise(table, fold_ratio(cohort)), fold_ratio(cohort), num_test // 2, seen


def of(summary: pd.DataFrame, mechanism: str, test: str, model: str, skip: str = "item") -> float:
    mine = summary.set_index(["mechanism", "test", "model", "skip"])["estimate"]
    return float(mine[mechanism, test, model, skip])


def tolerance(value: float, each_class: int) -> float:
    return 4 * auroc_error(value, each_class, each_class) + LEARNING


def test_the_grid_is_whole_and_nothing_is_in_it_twice(known):
    table, _, _, _, seen = known
    assert tuple(table.columns) == COLUMNS
    assert not table.duplicated(list(COLUMNS[:-1])).any() and table["auroc"].notna().all()
    at_rate = table[table["rate"] > 0]
    assert len(at_rate) == len(MECHANISMS) * 3 * len(GRID.trainings) * WORLD.num_folds
    at_zero = table[table["rate"] == 0]
    assert set(at_zero["mechanism"]) == {"none"} and set(at_zero["test"]) == {"complete"}
    assert len(at_zero) == len(GRID.trainings) * WORLD.num_folds
    assert seen[-1] == (len(GRID.trainings) * GRID.epochs,) * 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("model", GRID.models)
def test_every_model_recovers_the_bayes_auroc_before_anything_is_removed_and_where_it_is_removed_at_random(
    known, model
):
    _, summary, _, each_class, _ = known
    best = WORLD.auroc("mcar", 0.0, "complete", True)
    assert of(summary, "none", "complete", model) == pytest.approx(best, abs=tolerance(best, each_class))
    for test in ("complete", "same", "flipped"):
        best = WORLD.auroc("mcar", RATE, test, False)
        assert of(summary, "mcar", test, model) == pytest.approx(best, abs=tolerance(best, each_class))


@pytest.mark.parametrize("model", GRID.models)
def test_where_a_value_decides_models_recover_the_bayes_auroc_of_the_same_removal(known, model):
    """Under "mar" the best rule need not read absence: the driver says it all."""
    _, summary, _, each_class, _ = known
    assert WORLD.auroc("mar", RATE, "same", False) == WORLD.auroc("mar", RATE, "same", True)
    for mechanism in ("mar", "mnar_severity"):
        best = WORLD.auroc(mechanism, RATE, "same", True)
        assert of(summary, mechanism, "same", model) == pytest.approx(best, abs=tolerance(best, each_class))


def test_a_model_that_reads_absence_wins_in_distribution_and_fails_under_the_flip(known):
    """Removed by label, absence is certain of class 1: items without `b` come first of all, right or wrong."""
    _, summary, _, each_class, _ = known
    wins = WORLD.auroc("mnar_label", RATE, "same", True)
    blind = WORLD.auroc("mnar_label", RATE, "same", False)
    found = of(summary, "mnar_label", "same", "p_fusion_bits")
    assert found == pytest.approx(wins, abs=tolerance(wins, each_class))
    assert found > blind + 4 * auroc_error(blind, each_class, each_class)
    # Under the flip the Bayes rule comes to its limit, a model that is less sure of the sign stops before it. To be
    # right of 100 training items that lack `b`, as many as here, its log odds must be above those of 1 in 100.
    limit, unsure = (WORLD.auroc("mnar_label", RATE, "flipped", True, certain) for certain in (40.0, math.log(100)))
    found = of(summary, "mnar_label", "flipped", "p_fusion_bits")
    assert limit - tolerance(limit, each_class) < found < unsure + tolerance(unsure, each_class)
    assert found < 0.5


def test_reading_absence_is_found_by_the_comparison_and_hidden_by_skipping_per_batch(known):
    table, summary, ratio, _, _ = known
    found = differences_of(table, summary, ratio)
    absence = found[found["question"] == "absence"].set_index(["mechanism", "first"])
    bits = absence.loc["mnar_label", "p_fusion_bits item"]
    assert bits["verdict"] == "first higher" and bits["against"] == "mcar" and bits["low"] > 0.2
    per_batch = absence.loc["mnar_label", "multimodn batch"]
    assert per_batch["verdict"] == "no clear difference" and abs(per_batch["difference"]) < 0.02
    assert not (absence.loc["mar"]["verdict"] == "first higher").any()


def test_skipping_per_batch_leaves_the_auroc_of_the_other_modality_alone(known):
    """At this rate hardly a batch of 32 has `b` for all, so it is what `a` alone gives: Phi(separation / sqrt(2))."""
    _, summary, _, each_class, _ = known
    alone = 0.5 * (1 + math.erf(WORLD.separation_a / 2))
    for mechanism in MECHANISMS:
        found = of(summary, mechanism, "flipped", "multimodn", "batch")
        assert found == pytest.approx(alone, abs=tolerance(alone, each_class))


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("test", ["complete", "same", "flipped"])
@pytest.mark.parametrize("reads_absence", [False, True])
def test_the_known_auroc_is_that_of_its_own_rule_on_many_drawn_items(mechanism, test, reads_absence):
    """The formulas against a simulation that shares nothing with them: 40,000 items, tolerance four standard errors."""
    world, rate, num = KnownWorld(num_items=40_000, separation_a=0.8, separation_b=1.3), 0.4, 40_000
    cohort, embeddings = world.generate()
    y = cohort.targets[TASK.name]
    a, b = (embeddings[name].values.reshape(-1).astype(float) for name in ("a", "b"))
    rng = np.random.default_rng(5)
    by_class = {"mcar": (1, 1), "mnar_label": (0, 1), "flipped": (1, 0), "complete": (0, 0)}

    def absent(how):
        if how in by_class:
            return rng.random(num) < rate * np.where(y == 1, *reversed(by_class[how]))
        decides = a if how == "mar" else b
        return decides > np.quantile(decides, 1 - rate)

    trained, lacking = absent(mechanism), absent(mechanism if test == "same" else test)
    score = world.separation_a * a + np.where(lacking, 0.0, world.separation_b * b)
    if reads_absence and mechanism in {"mnar_label", "mnar_severity"}:
        with np.errstate(divide="ignore"):
            odds = [np.log(part[y == 1].mean() / part[y == 0].mean()) for part in (trained, ~trained)]
        # A value that is there says all that its being there could, but by label it does not.
        score += np.where(lacking, min(odds[0], 40.0), odds[1] if mechanism == "mnar_label" else 0.0)
    found = float(auroc(y, score, once(num))[0])
    expected = world.auroc(mechanism, rate, test, reads_absence)
    assert found == pytest.approx(expected, abs=4 * auroc_error(expected, num // 2, num // 2))


def test_the_standard_error_of_an_auroc_is_the_one_worked_by_hand():
    # A = .8, 50 and 50: Q1 = .8 / 1.2, Q2 = 1.28 / 1.8; (.16 + 49 (Q1 - .64) + 49 (Q2 - .64)) / 2500.
    assert auroc_error(0.8, 50, 50) == pytest.approx(math.sqrt((0.16 + 49 * 0.0266667 + 49 * 0.0711111) / 2500), 1e-5)


def test_a_higher_rate_removes_the_same_items_and_more():
    rows, target, score = np.arange(5, 105), np.repeat([0.0, 1.0], 100), np.random.default_rng(0).random(200)
    for choose in (
        lambda rate: choose_by_class(rows, target, (0, 1), rate, [0, 1], 200),
        lambda rate: choose_by_score(rows, score, rate, [0, 1], 200),
    ):
        few, more = choose(0.1), choose(0.5)
        assert abs(few.sum() - 10) <= 1 and abs(more.sum() - 50) <= 1
        assert (more | ~few).all() and not more[:5].any() and not more[105:].any()


@pytest.fixture(scope="module")
def small():
    cohort, embeddings = make_world(num_items=240, widths={"a": 2, "b": 2}, present_rate=0.9)
    return cohort, embeddings


def cells_of(world, **changes):
    cohort, embeddings = world
    settings = MissingnessSettings(**{"rates": (0.0, 0.5), **changes})
    return {(c.mechanism, c.fold): c for c in plan_cells(cohort, embeddings, SICK, ("b",), settings)}


def test_each_mechanism_takes_the_share_it_says_from_the_items_it_says(small):
    cohort, embeddings = small
    sick, has = cohort.targets["sick"] == 1, embeddings["b"].present.any(axis=1)
    cells = cells_of(small)
    for fold in range(3):
        for split, which in (("train", "removed"), ("validation", "removed"), ("test", "same")):
            rows = np.zeros(len(cohort), dtype=bool)
            rows[cohort.rows(fold, split)] = True
            lost = {m: getattr(cells[m, fold], which) & rows for m in MECHANISMS}
            of_class = [(rows & has & one).sum() for one in (sick, ~sick)]
            assert [(lost["mnar_label"] & one).sum() for one in (sick, ~sick)] == [round(0.5 * of_class[0]), 0]
            assert [(lost["mcar"] & one).sum() for one in (sick, ~sick)] == [round(0.5 * n) for n in of_class]
            for mechanism in ("mar", "mnar_severity"):
                assert lost[mechanism].sum() == round(0.5 * (rows & has).sum())
        flipped = cells["mar", fold].flipped
        assert not (flipped & sick).any() and flipped.sum() > 0
        assert all((cells[m, fold].flipped == flipped).all() for m in MECHANISMS)


def test_removal_by_a_rule_does_not_look_at_the_labels_of_those_it_concerns(small):
    """Another label of one training subject, or of all test items, changes nobody's removal that it should not."""
    cohort, embeddings = small
    test = cohort.rows(0, "test")
    sick = cohort.targets["sick"].copy()
    sick[test] = 1 - sick[test]
    turned = dataclasses.replace(cohort, targets={**cohort.targets, "sick": sick})
    before, after = cells_of(small), cells_of((turned, embeddings))
    for mechanism in ("mar", "mnar_severity"):
        assert (before[mechanism, 0].same == after[mechanism, 0].same).all()
        assert (before[mechanism, 0].removed == after[mechanism, 0].removed).all()
    assert (before["mnar_label", 0].same != after["mnar_label", 0].same).any()

    one = cohort.rows(0, "train")[:1]
    own = (cohort.items["subject"] == cohort.items["subject"].iloc[one[0]]).to_numpy()
    sick = np.where(own, 1 - cohort.targets["sick"], cohort.targets["sick"])
    changed = dataclasses.replace(cohort, targets={**cohort.targets, "sick": sick})
    scores = [severity(c, SICK, embeddings["a"], 0, 0) for c in (cohort, changed)]
    assert np.allclose(scores[0][own], scores[1][own], atol=1e-12) and not np.allclose(*scores)


def test_the_rule_takes_the_most_severe_or_with_the_other_class_the_least_severe(small):
    cohort, embeddings = small
    settings = {"mechanisms": ("mnar_severity",)}
    for removed_class, sign in ((1, 1), (0, -1)):
        cohort_cells = plan_cells(
            cohort,
            embeddings,
            SICK,
            ("a",),
            MissingnessSettings(rates=(0.0, 0.5), removed_class=removed_class, **settings),
        )
        cell = next(c for c in cohort_cells if c.fold == 1 and c.rate)
        score = sign * severity(cohort, SICK, embeddings["a"], 1, 0)
        test = cohort.rows(1, "test")
        test = test[embeddings["a"].present[test].any(axis=1)]
        assert score[test][cell.same[test]].min() >= score[test][~cell.same[test]].max()
        assert (cohort.targets["sick"][cell.flipped] == 1 - removed_class).all()


def test_what_else_is_asked_for_does_not_change_who_loses_a_modality(small):
    cohort, embeddings = small
    alone = MissingnessSettings(rates=(0.0, 0.8), mechanisms=("mar",))
    beside = MissingnessSettings(rates=(0.0, 0.3, 0.8))
    first = [c for c in plan_cells(cohort, embeddings, SICK, ("b",), alone) if c.rate]
    second = [
        c
        for c in plan_cells(cohort, embeddings, SICK, ("a", "b"), beside)
        if (c.modality, c.mechanism, c.rate) == ("b", "mar", 0.8)
    ]
    assert len(first) == len(second) == 3
    for one, other in zip(first, second, strict=True):
        assert (one.removed == other.removed).all() and (one.same == other.same).all()


def test_the_driver_is_the_other_modality_that_most_items_have_or_the_one_that_is_named():
    _, embeddings = make_world(num_items=60, static=("c",), present_rate=0.7)
    whole = dataclasses.replace(embeddings["c"], present=np.ones_like(embeddings["c"].present))
    embeddings = embeddings | {"c": whole}
    assert driver_of("a", embeddings, MissingnessSettings()) == "c"
    assert driver_of("a", embeddings, MissingnessSettings(driver="b")) == "b"
    with pytest.raises(ParamsError, match="'a' is itself taken away"):
        driver_of("a", embeddings, MissingnessSettings(driver="a"))
    with pytest.raises(ParamsError, match="'x' is not read here"):
        driver_of("a", embeddings, MissingnessSettings(driver="x"))


def folds_table(values):
    """(mechanism, rate, test, model, skip) -> five fold values."""
    rows = [
        ("none" if key[0] == "none" else "b", *key, fold, value)
        for key, folds in values.items()
        for fold, value in enumerate(folds)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_a_model_whose_interval_holds_chance_before_the_removal_is_flagged_and_asked_nothing():
    good, noise = [0.8, 0.82, 0.79, 0.81, 0.8], [0.5, 0.6, 0.45, 0.55, 0.5]
    values = {}
    for model, level in (("p_fusion", good), ("multimodn", noise)):
        values["none", 0.0, "complete", model, "item"] = level
        for test in ("complete", "same", "flipped"):
            fallen = [value - 0.3 * (test == "flipped") for value in level]
            values["mnar_label", 0.8, test, model, "item"] = [v + 0.01 * k for k, v in enumerate(fallen)]
    table = folds_table(values)
    summary = summarise(table, 0.125)
    flagged = summary.groupby("model")["above_chance"].agg(["min", "max"])
    assert flagged.loc["p_fusion"].all() and not flagged.loc["multimodn"].any()
    found = differences_of(table, summary, 0.125).set_index(["question", "first"])
    assert found.loc[("absence", "multimodn item"), "verdict"] == "at chance"
    assert np.isnan(found.loc[("absence", "multimodn item"), "p_holm"])
    lost = found.loc[("absence", "p_fusion item")]
    # Without removal at random it is measured against its own complete items: 0.3 in every fold.
    assert lost["against"] == "own complete items" and lost["difference"] == pytest.approx(0.3)
    assert lost["verdict"] == "first higher"
    assert lost["p_holm"] == lost["p"], "the model at chance costs the other nothing"


def test_intervals_and_holm_are_those_worked_by_hand():
    first, second, third = [0.80, 0.82, 0.84, 0.86, 0.88], [0.80, 0.81, 0.82, 0.83, 0.84], [0.7, 0.72, 0.7, 0.72, 0.71]
    values = {}
    for model, level in (("multimodn", first), ("p_fusion", second), ("p_fusion_bits", third)):
        values["none", 0.0, "complete", model, "item"] = level
    table = folds_table(values)
    summary = summarise(table, 0.125).set_index("model")
    # Standard deviation .0316228, factor sqrt(1/5 + 1/8) = .5700877, t(4, .975) = 2.776445.
    assert summary.loc["multimodn", "high"] - 0.84 == pytest.approx(2.776445 * 0.0316228 * 0.5700877, rel=1e-5)
    found = differences_of(table, summary.reset_index(), 0.125)
    found = found[found["question"] == "model"].sort_values("p")
    steps = found["p"].to_numpy() * [3, 2, 1]
    assert np.allclose(found["p_holm"], np.minimum(np.maximum.accumulate(steps), 1))


def test_the_experiment_refuses_what_it_cannot_answer():
    cohort, embeddings = make_world(num_items=60)
    given = training(MissingnessSettings().models)
    with pytest.raises(ParamsError, match="'level' is a regression"):
        missingness_experiment(cohort, embeddings, LEVEL, ("a",), given, MissingnessSettings())
    with pytest.raises(ParamsError, match="no modality 'x'"):
        missingness_experiment(cohort, embeddings, NOISE, ("x",), given, MissingnessSettings())
    with pytest.raises(ParamsError, match="'a' is the only modality"):
        missingness_experiment(cohort, {"a": embeddings["a"]}, NOISE, ("a",), given, MissingnessSettings())
    with pytest.raises(ParamsError, match="no settings for 'p_fusion_bits'"):
        missingness_experiment(cohort, embeddings, NOISE, ("a",), training(("multimodn", "p_fusion")),
                               MissingnessSettings())  # fmt: skip
    with pytest.raises(ParamsError, match="no 'by_weekday'"):
        WORLD.auroc("by_weekday", 0.5, "same", True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rates": (0.0, 1.5)}, "rates"),
        ({"rates": (0.5, 0.8)}, "must hold 0"),
        ({"rates": (0.0,)}, "at least one above"),
        ({"mechanisms": ("mnar",)}, "'mnar' is not one of mcar, mar"),
        ({"models": ()}, "models is empty"),
        ({"models": ("p_fusion",)}, "per_batch: 'multimodn' is not one of p_fusion"),
        ({"modalities": ("a", "a")}, "name each once"),
        ({"removed_class": 2}, "0 or 1"),
        ({"training": {"multimodn": {"skip": "batch"}}}, "training.multimodn.skip"),
        ({"training": {"epochs": 3}}, "training.epochs"),
        ({"training": {"fusion_transformer": {}}}, "not among the models"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        MissingnessSettings(**changes)


def test_settings_of_all_models_and_of_one_reach_its_training():
    from mmn.data import load_dataset
    from mmn.orchestration.settings import missingness_training

    block = {"models": ["multimodn", "p_fusion"], "training": {"hidden": 8, "multimodn": {"hidden": 4, "epochs": 7}}}
    found = missingness_training({"edu": {"missingness": block}}, load_dataset("edu"))
    assert (found["multimodn"].hidden, found["p_fusion"].hidden) == (4, 8)
    settings = MissingnessSettings(models=("multimodn", "p_fusion"), training=block["training"])
    assert (settings.epochs_of("multimodn", 50), settings.epochs_of("p_fusion", 50)) == (7, 30)
    with pytest.raises(ParamsError, match=r"missingness\.training\.multimodn has no setting 'hiden'"):
        missingness_training({"edu": {"missingness": {"training": {"multimodn": {"hiden": 4}}}}}, load_dataset("edu"))


def test_a_task_read_late_gives_a_series_its_severity_up_to_that_step_only():
    cohort, embeddings = make_world(num_items=90, num_steps=3, present_rate=1.0)
    early = Task(name="sick", number=1, kind="binary", description="", read_step=0)
    later = dataclasses.replace(embeddings["a"], values=embeddings["a"].values.copy())
    later.values[:, :, 1:] += 1000.0
    assert np.array_equal(severity(cohort, early, embeddings["a"], 0, 0), severity(cohort, early, later, 0, 0))


def test_highmmt_is_measured_with_zeros_and_with_the_mean_for_pairs_of_what_is_absent():
    cohort, embeddings = KnownWorld(num_items=120).generate()
    names = ("highmmt", "highmmt_mean")
    grid = MissingnessSettings(rates=(0.0, RATE), models=names, per_batch=(), mechanisms=("mcar",), epochs=2)
    settings = training(names)
    table = missingness_experiment(cohort, embeddings, TASK, ("b",), settings, grid)
    both = {name: of_model["auroc"].to_numpy() for name, of_model in table.groupby("model")}
    assert set(both) == set(names) and all(np.isfinite(values).all() for values in both.values())
    assert not np.allclose(both["highmmt"], both["highmmt_mean"])
    with pytest.raises(ValueError, match=r"training.highmmt.pairs_of_absent: the experiment sets it itself"):
        MissingnessSettings(models=names, per_batch=(), training={"highmmt": {"pairs_of_absent": "mean"}})
