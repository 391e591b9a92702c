"""A road of a cohort, two embeddings and a model in a folder, made by hand: for tests of what is around the steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mmn.data.cohort import Cohort, write_cohort
from mmn.data.dataset import Dataset, Inspection, Modality
from mmn.data.embeddings import Embeddings, write_embeddings
from mmn.data.files import write_json, write_parquet
from mmn.orchestration.steps import Active, Step
from mmn.orchestration.walk import Job
from mmn.orchestration.workspace import Workspace
from tests.modeling.worlds import LEVEL, SICK, make_world

STEPS = {
    step.key: step
    for step in (
        Step(key="cohorts/toy", kind="cohort", dataset="toy", out="artifacts/cohorts/toy", description="Items."),
        Step(
            key="features/toy/a", kind="features", dataset="toy", out="artifacts/features/toy/a.parquet",
            description="Modality a.", deps=("cohorts/toy",), options={"modality": "a"},
        ),
        Step(
            key="models/toy/both/multimodn", kind="model", dataset="toy", out="artifacts/models/toy/both/multimodn",
            description="A model.", deps=("cohorts/toy", "features/toy/a"),
            options={"architecture": "multimodn", "tasks": ("sick", "level"), "modalities": ("a",), "forced": ()},
        ),
    )
}  # fmt: skip
MODEL = STEPS["models/toy/both/multimodn"]


@dataclasses.dataclass
class Toy:
    root: Path
    cohort: Cohort
    embeddings: Mapping[str, Embeddings]
    unusable_for: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def active(self) -> dict[str, Active]:
        described = Modality(
            name="a", description="A.", sources=(), evidence="table", featurizer="table", unusable_for=self.unusable_for
        )
        dataset = Dataset(
            name="toy", title="Toy", raw="toy", sources={}, cohort_sources=(), modalities=(described,),
            tasks=(SICK, LEVEL), inspect=_never, build_cohort=_never, read_evidence=_never, cohort_defaults=None,
        )  # fmt: skip
        return {"toy": Active(dataset=dataset, inspection=Inspection(version="1", found={}, skipped={}))}

    def job(self, key: str, out: Path | None = None, step: Step | None = None, **params: Any) -> Job:
        step = step or STEPS[key]
        return Job(
            step=step, steps=STEPS, workspace=self.workspace, active=self.active, out=out or self.root / "new",
            provenance={"step": key, "inputs": {}, "params": params}, progress=lambda done, total: None,
        )  # fmt: skip

    def write_cohort(self, out: Path | None = None, cohort: Cohort | None = None) -> Path:
        out = out or self.root / STEPS["cohorts/toy"].out
        write_cohort(out, cohort or self.cohort, {"step": "cohorts/toy", "inputs": {}, "params": {}})
        return out

    def write_embedding(self, out: Path | None = None, embeddings: Embeddings | None = None, **more: Any) -> Path:
        out = out or self.root / STEPS["features/toy/a"].out
        provenance = {"step": "features/toy/a", "inputs": {}, "params": {}, **more}
        write_embeddings(out, embeddings or self.embeddings["a"], provenance)
        return out

    def write_model(self, predictions: pd.DataFrame, out: Path | None = None) -> Path:
        """Of a model the two files that are judged."""
        import pyarrow as pa

        out = out or self.root / MODEL.out
        out.mkdir(parents=True, exist_ok=True)
        tasks = [{"name": task.name, "kind": task.kind} for task in (SICK, LEVEL)]
        write_json(out / "card.json", {"tasks": tasks, "members": [{}, {}, {}], "metrics": {}})
        write_parquet(out / "predictions.parquet", pa.Table.from_pandas(predictions, preserve_index=False), {})
        return out

    def predictions(self, noise: float, seed: int = 0) -> pd.DataFrame:
        """As good as the noise is small."""
        import numpy as np

        rng = np.random.default_rng(seed)
        frames = []
        for fold in range(self.cohort.num_folds):
            rows = self.cohort.rows(fold, "test")
            for task in (SICK, LEVEL):
                truth = self.cohort.targets[task.name][rows]
                told = truth + noise * rng.standard_normal(len(rows))
                told = 1 / (1 + np.exp(-4 * (told - 0.5))) if task.kind == "binary" else told
                frames.append(
                    pd.DataFrame(
                        {
                            "item": self.cohort.items["item"].to_numpy()[rows],
                            "member": fold,
                            "fold": fold,
                            "task": task.name,
                            "step": task.read_step,
                            "prediction": told,
                        }
                    )
                )
        return pd.concat(frames, ignore_index=True)


def make_toy(root: Path, **world: Any) -> Toy:
    cohort, embeddings = make_world(**{"num_items": 240, "widths": {"a": 3}, **world})
    root.mkdir(exist_ok=True)
    return Toy(root, cohort, embeddings)


def _never(*_: Any) -> Any:
    raise AssertionError("not part of this test")
