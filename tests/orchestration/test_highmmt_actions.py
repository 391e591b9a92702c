"""The steps over several data sets, worked on two toy ones: what they write, and that a killed one goes on."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import write_cohort
from mmn.data.embeddings import write_embeddings
from mmn.data.files import read_provenance
from mmn.modeling.checkpoint import Checkpoint
from mmn.orchestration.actions import (
    heterogeneity,
    highmmt_ablations,
    highmmt_interference,
    highmmt_involvement,
    highmmt_sharing,
)
from mmn.orchestration.report.highmmt import joined_view
from tests.modeling.worlds import LEVEL, SICK, make_world

TINY = {
    "latents": 2, "latent_width": 4, "latent_head_size": 2, "pair_heads": 1, "latent_heads": 1, "batch_size": 32,
    "learning_rate": 0.01, "device": "cpu", "epochs": 2,
}  # fmt: skip
PARAMS = {
    "highmmt": {
        "datasets": ["mimic", "edu"], "training": TINY, "measuring": {"epochs": 15, "batch_size": 8},
        "tuning": {"epochs": 1}, "budgets": [2], "by_lot": 1, "involvement_items": 3, "mode": "published", "seeds": [0],
    }
}  # fmt: skip
OUT = {kind: f"results/highmmt/{kind}" for kind in ("unimodal", "sharing", "involvement", "interference", "ablations")}


class Killed(Exception):
    """As a signal would end the process."""


class Toy:
    """Two data sets of two modalities in a folder, and the jobs of their steps."""

    def __init__(self, root: Path) -> None:
        self.root, self.modalities, self.active = root, {}, {}
        for seed, (name, tasks) in enumerate({"mimic": (SICK,), "edu": (SICK, LEVEL)}.items()):
            cohort, embeddings = make_world(num_items=60, num_folds=2, seed=seed, widths={"a": 3, "b": 4})
            write_cohort(self.path(f"cohorts/{name}"), cohort, {"step": "toy"})
            self.modalities[name] = tuple(f"{name}_{m}" for m in embeddings)
            for m, table in zip(self.modalities[name], embeddings.values(), strict=True):
                # Plain to see in every modality, so that none is silent after a few epochs.
                table.values[0, :, 0] += 30 * np.nan_to_num(cohort.targets["sick"])[:, None]
                told = {"identity": {"featurizer": "toy"}}
                write_embeddings(self.path(f"features/{name}/{m}"), replace(table, names=()), told)
            self.active[name] = SimpleNamespace(
                dataset=SimpleNamespace(
                    name=name,
                    title=name,
                    raw=name,
                    people="",
                    training_defaults={},
                    task=lambda wanted, of=tasks: {t.name: t for t in of}[wanted],
                ),
                inspection=SimpleNamespace(version="toy", generated=True),
            )
        self.tasks = {"mimic": ("sick",), "edu": ("sick", "level")}

    def path(self, key: str) -> Path:
        path = self.root / (f"{key}.parquet" if key.startswith("features/") else key)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def job(self, kind: str, progress=lambda done, total: None) -> SimpleNamespace:
        names = {name: {m: f"{m}_here" for m in found} for name, found in self.modalities.items()}
        options = {
            "kind": kind, "modalities": self.modalities, "names": names, "tasks": self.tasks, "lacking": ["weather2k"],
        }  # fmt: skip
        return SimpleNamespace(
            step=SimpleNamespace(options=options, deps=()), workspace=SimpleNamespace(params=PARAMS),
            active=self.active, path=self.path, out=self.root / OUT[kind], provenance={"step": kind},
            progress=progress,
            checkpoint=lambda name: Checkpoint(self.path(f"kept/{kind}/{name.replace(' ', '_')}"), every_seconds=0),
        )  # fmt: skip

    def table(self, kind: str, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.root / OUT[kind] / f"{name}.parquet")

    def card(self, kind: str) -> dict:
        return json.loads((self.root / OUT[kind] / "card.json").read_text())


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Toy:
    made = Toy(tmp_path_factory.mktemp("toy"))
    heterogeneity.run(made.job("unimodal"))
    return made


@pytest.fixture(scope="module")
def shared(toy) -> Toy:
    """Killed once on the way."""
    seen: list[int] = []

    def die(done, total):
        seen.append(done)
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        highmmt_sharing.run(toy.job("sharing", die))
    kept = {path: path.stat().st_mtime_ns for path in (toy.root / "kept/sharing").iterdir()}
    assert len(kept) == 3, "each finished training is kept"
    highmmt_sharing.run(toy.job("sharing"))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "and not trained again"
    return toy


def test_a_killed_sharing_goes_on_and_has_every_plan_of_the_papers_table(shared):
    front = shared.table("sharing", "front")
    assert front["kind"].tolist() == [
        "pre-training", "all shared", "groups", "groups by lot", "groups by features", "groups without pre-training",
        "none shared",
    ]  # fmt: skip
    assert front["num_encoders"].tolist() == [1, 1, 2, 2, 2, 2, 4]
    assert front["mean_skill"].notna().all()


def test_cards_and_footers_of_tables_and_models_say_the_mode(shared):
    assert shared.card("sharing")["datasets_not_there"] == ["weather2k"]
    assert shared.card("sharing")["mode"] == shared.card("unimodal")["mode"] == "published"
    folder = shared.root / OUT["sharing"]
    assert read_provenance(folder / "front.parquet")["mode"] == "published"
    model = json.loads((folder / "models" / "2_groups" / "edu" / "card.json").read_text())
    assert [m["name"] for m in model["modalities"]] == ["edu_a_here", "edu_b_here"]
    assert model["modalities"][0]["featurizer"] == {"featurizer": "toy"}
    assert model["mode"] == "published" and model["settings"]["mode"] == "published"


def test_the_shared_model_is_looked_into_and_trained_on_with_wrong_labels(shared):
    highmmt_involvement.run(shared.job("involvement"))
    highmmt_interference.run(shared.job("interference"))
    involved = shared.table("involvement", "involvement")
    sums = involved.groupby(["part", "level", "member"])["share"].sum()
    np.testing.assert_allclose(sums, 1.0)
    assert involved["num"].max() == 3 and set(involved["part"]) == {"encoders", "blocks"}
    found = shared.table("interference", "interference")
    assert len(found) == 3 * 2 * 2 and (found["low"] <= found["drop"]).all() and (found["drop"] <= found["high"]).all()
    told = {
        kind: {"card": shared.card(kind), kind: shared.table(kind, kind)} for kind in ("involvement", "interference")
    }
    assert [view.csv for view in joined_view(told)["figures"]] == [
        "highmmt-involvement-involvement", "highmmt-interference-interference",
    ]  # fmt: skip


def test_ablations_take_up_what_was_trained(toy):
    highmmt_ablations.run(toy.job("ablations"))
    first = toy.table("ablations", "ablations")
    kept = {path: path.stat().st_mtime_ns for path in (toy.root / "kept/ablations").iterdir()}
    highmmt_ablations.run(toy.job("ablations"))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept and len(kept) == 4
    pd.testing.assert_frame_equal(toy.table("ablations", "ablations"), first)
