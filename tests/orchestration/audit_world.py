"""A world made by hand, of the shapes of a real one: one raw table, a cohort, two embeddings, a model, a result.

Its steps compute next to nothing; everything around them is real: the writers, `dvc.lock`, DVC's cache, the journal,
Dagster's events. What it is made of is known to the byte, so that an audit's answers can be checked against it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from safetensors.numpy import save

from mmn.data.cohort import Cohort, write_cohort
from mmn.data.embeddings import embeddings_from_rows, write_embeddings
from mmn.data.files import atomic_path, write_bytes, write_json, write_parquet
from mmn.data.folds import subject_folds
from mmn.data.manifest import make_manifest
from mmn.orchestration.demo import make_workspace
from mmn.orchestration.dvc_pipeline import dep_paths, present_sections, record, write_stages
from mmn.orchestration.journal import step_done
from mmn.orchestration.params import section
from mmn.orchestration.steps import Need, Step
from mmn.orchestration.workspace import Workspace

NUM_ITEMS = 24
SECRET = "a sentence of a note that must never be shown"
WEIGHTS = {"name": "toy", "sha256": "ab" * 32, "licence": "MIT", "has_seen": "Nothing but toys."}
PARAMS: dict[str, Any] = {"toy": {"features": {"notes": {"width": 3}}, "training": {"epochs": 2}}}
CODE = ("mmn.data.errors",)


def steps() -> dict[str, Step]:
    def step(key: str, kind: str, out: str, deps: tuple[str, ...], sections: tuple[str, ...] = (), raw=None) -> Step:
        return Step(
            key=key, kind=kind, dataset="toy", out=f"artifacts/{out}", description=key, deps=deps, raw=raw,
            sections=sections, modules=CODE, need=Need(),
        )  # fmt: skip

    visits, cohort = "raw/toy/visits", "cohorts/toy"
    features = ("features/toy/age", "features/toy/notes")
    table = [
        step(visits, "raw", "raw/toy/visits.json", (), raw="toy"),
        step(cohort, "cohort", "cohorts/toy", (visits,), ("toy.cohort",), raw="toy"),
        step(features[0], "features", "features/toy/age.parquet", (cohort, visits), raw="toy"),
        step(
            features[1], "features", "features/toy/notes.parquet", (cohort, visits), ("toy.features.notes",), raw="toy"
        ),
        step("models/toy/died/multimodn", "model", "models/toy/died/multimodn", (cohort, *features), ("toy.training",)),
        step("results/toy/scores", "scores", "results/toy/scores", (cohort, "models/toy/died/multimodn")),
    ]
    return {one.key: one for one in table}


class World:
    """A workspace and what a person does in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    def params(self, values: Mapping[str, Any]) -> None:
        (self.root / "params.yaml").write_text(yaml.safe_dump(dict(values), sort_keys=False))

    def visits(self, num_items: int = NUM_ITEMS, age: int = 40) -> None:
        """Two rows a stay; a note of one."""
        rows = [
            {"visit": v, "stay_id": 100 + i, "subject_id": 10 + i // 2, "age": age + i, "note": SECRET if v % 2 else ""}
            for v, i in enumerate(np.repeat(np.arange(num_items), 2).tolist())
        ]
        path = self.root / "raw" / "toy" / "visits.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pd.DataFrame(rows).to_csv(index=False))

    def walk(self, *keys: str) -> None:
        """As `mmn.orchestration.walk`, with toy work. keys: none means all."""
        workspace, table = self.workspace, steps()
        write_stages(workspace, table)
        for key in keys or table:
            step = table[key]
            inputs = {path: workspace.hashes.version_of(self.root / path) for path in dep_paths(step, table)}
            provenance = {
                "step": key,
                "inputs": {dep: inputs[table[dep].out] for dep in step.deps},
                "params": {name: section(workspace.params, name) for name in present_sections(step, workspace.params)},
            }
            with atomic_path(self.root / step.out) as out:
                _MAKERS[step.kind](self, step, out, provenance)
            version = workspace.hashes.version_of(self.root / step.out)
            record(workspace, step, inputs, version)
            step_done(workspace, step, inputs, version)

    def tell_dagster(self) -> None:
        import dagster as dg

        from mmn.orchestration.sync import sync

        home = self.root / ".dagster"
        home.mkdir(exist_ok=True)
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        before = os.environ.get("DAGSTER_HOME")
        os.environ["DAGSTER_HOME"] = str(home)
        try:
            with dg.DagsterInstance.get() as instance:
                sync(instance, self.workspace, steps())
        finally:
            os.environ.pop("DAGSTER_HOME") if before is None else os.environ.update(DAGSTER_HOME=before)

    def commit(self, message: str) -> str:
        self.git("add", "-A", ".")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def forget_journal(self) -> None:
        """As if none had ever been kept: neither here nor in the one commit."""
        self.git("rm", "-q", "journal.jsonl")
        self.git("commit", "-q", "--amend", "-m", "First run")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(["git", *who, *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()


@cache
def make_world(root: Path) -> World:
    """Made once, whichever test asks first."""
    make_workspace(root)
    world = World(root)
    world.git("config", "user.name", "Ada")
    world.git("config", "user.email", "ada@example.org")
    world.params(PARAMS)
    world.visits()
    world.walk()
    world.tell_dagster()
    world.commit("First run")
    return world


def _raw(world: World, step: Step, out: Path, provenance: dict[str, Any]) -> None:
    manifest = make_manifest(world.root / "raw" / "toy", ["visits.csv"], version="1")
    write_json(out, {"provenance": provenance, **manifest})


def _cohort(world: World, step: Step, out: Path, provenance: dict[str, Any]) -> None:
    visits = pd.read_csv(world.root / "raw" / "toy" / "visits.csv").drop_duplicates("stay_id")
    items = pd.DataFrame(
        {
            "item": visits["stay_id"].astype(str),
            "subject": visits["subject_id"].astype(str),
            "prediction_time": pd.NaT,
            "stay_id": visits["stay_id"],
            "subject_id": visits["subject_id"],
        }
    ).reset_index(drop=True)
    died = (np.arange(len(items)) % 3 == 0).astype(float)
    folds = subject_folds(items, died.astype(int), 2, 0)
    write_cohort(out, Cohort(items=items, targets={"died": died}, folds=folds, excluded={"too young": 3}), provenance)


def _features(world: World, step: Step, out: Path, provenance: dict[str, Any]) -> None:
    visits = pd.read_csv(world.root / "raw" / "toy" / "visits.csv").drop_duplicates("stay_id")
    items = visits["stay_id"].astype(str).to_numpy()
    width = section(world.workspace.params, "toy.features.notes").get("width", 2) if "notes" in step.key else 1
    values = np.repeat(visits["age"].to_numpy(dtype=np.float32)[:, None], width, axis=1)
    card = {"name": "text", "weights": WEIGHTS} if "notes" in step.key else {"name": "table"}
    identity = {"name": card["name"], "settings": {"width": width}}
    table = embeddings_from_rows(items, values, np.arange(len(items)) % 4 != 0)
    write_embeddings(out, table, {**provenance, "featurizer": card, "identity": identity})


def _model(world: World, step: Step, out: Path, provenance: dict[str, Any]) -> None:
    out.mkdir(parents=True)
    epochs = section(world.workspace.params, "toy.training")["epochs"]
    weights = {"w": np.arange(8, dtype=np.float32) * epochs}
    write_bytes(out / "model.safetensors", save(weights, metadata={"mmn": json.dumps(provenance, sort_keys=True)}))
    card = {
        "provenance": provenance, "title": "MultiModN", "architecture": "multimodn", "settings": {"epochs": epochs},
        "tasks": [{"name": "died", "kind": "binary", "per_step": False, "description": "Died in hospital?"}],
        "metrics": {"died": {"auroc": [0.6, 0.8, None]}}, "notes": [], "published_behaviour": [],
    }  # fmt: skip
    write_json(out / "card.json", card)
    items = [str(100 + i) for i in range(NUM_ITEMS)]
    table = pa.table({"item": items, "prediction": np.linspace(0.0, 1.0, NUM_ITEMS)})
    write_parquet(out / "predictions.parquet", table, provenance)
    write_parquet(out / "history.parquet", pa.table({"epoch": np.arange(epochs)}), provenance)


def _scores(world: World, step: Step, out: Path, provenance: dict[str, Any]) -> None:
    out.mkdir(parents=True)
    write_bytes(out / "scores.csv", b"task,auroc\ndied,0.7\n")
    write_json(out / "card.json", {"provenance": provenance})
    # Models that a step trains beside its tables, as those of the plans of who shares.
    for dataset in ("toy", "other"):
        model = out / "models" / "all_shared" / dataset
        card = {
            "provenance": provenance, "title": "HighMMT", "architecture": "highmmt", "settings": {"epochs": 7},
            "tasks": [{"name": "died", "kind": "binary", "per_step": False, "description": "Died in hospital?"}],
            "metrics": {"died": {"auroc": [0.5]}}, "notes": ["trained with other as one model"],
            "modalities": [
                {"name": "notes", "featurizer": {"name": "text", "settings": {"width": 3}, "weights": WEIGHTS}},
                {"name": "age", "featurizer": {"name": "table", "settings": {}}},
            ],
        }  # fmt: skip
        write_json(model / "card.json", card)
        table = pa.table({"item": ["103"], "prediction": [0.5]})
        write_parquet(model / "predictions.parquet", table, provenance)


_MAKERS = {"raw": _raw, "cohort": _cohort, "features": _features, "model": _model, "scores": _scores}
