"""Reading early: a signal that comes late is not seen before it comes, by either model."""

import numpy as np

from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.early import early_reading
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
