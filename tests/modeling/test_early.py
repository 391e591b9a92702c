"""Reading early: a signal that comes late is not seen before it comes, by either model."""

from dataclasses import replace

import numpy as np

from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.early import early_reading, step_by_step
from mmn.modeling.train import train
from tests.modeling.worlds import make_world, quick

LATE = Task(
    name="sick", number=None, kind="binary", description="", read_step=1, early={"25 %": 0, "50 %": 1, "100 %": 3}
)


def test_a_signal_of_the_third_step_is_seen_at_the_end_and_not_before():
    cohort, embeddings = make_world(num_items=300, num_steps=4, present_rate=1.0, num_folds=3)
    values = embeddings["a"].values.copy()
    values[:, :, :2, 0] = np.random.default_rng(0).standard_normal((*values.shape[1:2], 2)) * 3 + 50  # noise so far
    embeddings = {"a": Embeddings(items=embeddings["a"].items, values=values, present=embeddings["a"].present)}
    settings = quick(epochs=25, learning_rate=5e-3)
    models = {"sick": train(cohort, embeddings, (LATE,), "multimodn", settings)}
    table = early_reading(cohort, (LATE,), embeddings, models, embeddings, settings)
    assert list(dict.fromkeys(table["share"])) == ["25 %", "50 %", "100 %"]
    auroc = table[(table["metric"] == "auroc") & (table["kind"] == "model")].set_index(["model", "share"])["estimate"]
    for model in ("multimodn", "p_fusion"):
        # 300 items in three folds: the standard error of an AUROC of chance is about 0.033.
        assert abs(auroc[model, "25 %"] - 0.5) < 0.12 and abs(auroc[model, "50 %"] - 0.5) < 0.12
        assert auroc[model, "100 %"] > 0.75


def test_a_task_per_step_is_scored_after_every_step_that_has_a_target_beside_the_rules_that_speak_there():
    cohort, embeddings = make_world(num_items=120, num_steps=4, present_rate=1.0, num_folds=3)
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (120, 4)).astype(float)
    target[:, 3] = np.nan
    said = np.where(rng.random((120, 4)) < 0.9, target, 1 - target)
    cohort = replace(
        cohort, targets={**cohort.targets, "stays": target}, step_baselines={"stays": {"rule": np.nan_to_num(said)}}
    )
    stays = Task(name="stays", number=None, kind="binary", description="", per_step=True, read_step=1, early={"all": 2})
    models = {"stays": train(cohort, embeddings, (stays,), "multimodn", quick(epochs=1))}
    table = step_by_step(cohort, (stays, LATE), embeddings, models)
    assert set(table["task"]) == {"stays"} and list(dict.fromkeys(table["step"])) == [0, 1, 2]
    auroc = table[table["metric"] == "auroc"].set_index(["model", "step"])["estimate"]
    for step in (0, 2):  # at the read step the cohort's own table speaks, which is empty here
        tests = [cohort.rows(fold, "test") for fold in range(3)]
        share = [(said[rows, step] == target[rows, step]).mean() for rows in tests]
        assert auroc["rule", step] > 0.8 and abs(auroc["rule", step] - np.mean(share)) < 0.06
    assert ("rule", 1) not in auroc and ("multimodn", 1) in auroc
