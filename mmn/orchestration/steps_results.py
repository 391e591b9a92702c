"""The steps that look at a data set's models: scores and the experiments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmn.modeling import COMPRESSED, MODELS, XGBOOST
from mmn.orchestration.step import Active, Need, Step

AUTOENCODED = "_autoencoded"


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the steps before make of a data set: keys. models: architecture -> its models. tables: modules that every
    step reads for their values."""

    entry: Active
    cohort: str
    embedding_of: Mapping[str, str]
    models: Mapping[str, tuple[str, ...]]
    tables: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.entry.dataset.name

    @property
    def trained(self) -> tuple[str, ...]:
        return tuple(key for keys in self.models.values() for key in keys)

    @property
    def compressed(self) -> tuple[str, ...]:
        """The architectures whose models read autoencoded embeddings."""
        return tuple(a for a in COMPRESSED if self.models[a]) if self.entry.dataset.autoencoded else ()

    @property
    def readers(self) -> tuple[str, ...]:
        """The modules of the models that are read. They are loaded by name, so that no import tells of them."""
        trees = ("mmn.modeling.xgboost_storage",) if self.models[XGBOOST] else ()
        return (*(_module(a) for a in MODELS if self.models[a]), *trees)

    def step(self, kind: str, deps: tuple[str, ...], sections: tuple[str, ...] = (), **more: Any) -> Step:
        """deps without the cohort, sections without the mode, modules without the action: every step has those."""
        key = f"results/{self.name}/{kind}"
        more["modules"] = (f"mmn.orchestration.actions.{kind}", *more.get("modules", ()))
        return Step(
            key=key,
            kind=kind,
            dataset=self.name,
            out=f"artifacts/{key}",
            deps=tuple(dict.fromkeys((self.cohort, *deps))),
            sections=(f"{self.name}.mode", *(f"{self.name}.{section}" for section in sections)),
            tables=self.tables,
            **more,
        )


def _module(architecture: str) -> str:
    return MODELS[architecture].split(":")[0]


def result_steps(made: Made) -> Iterator[Step]:
    entry, dataset = made.entry, made.entry.dataset
    embeddings = tuple(made.embedding_of.values())
    autoencoded = tuple(key + AUTOENCODED for key in embeddings)
    # What is said of a probability or of a value; a multiclass task has several.
    plain = {task.name for task in dataset.tasks if task.kind != "multiclass"}
    yield made.step(
        "scores",
        (*embeddings, *made.trained),
        ("training", "comparison"),
        description="Every model and floor on every task, with intervals over folds and subjects; models compared.",
        modules=(dataset.binarise.split(":")[0],) if dataset.binarise else (),
        options={"modalities": entry.modalities},
    )
    plain_sets = {task_set for task_set, tasks in entry.task_sets.items() if plain & set(tasks)}
    if looked_into := tuple(key for key in made.models["multimodn"] if key.split("/")[2] in plain_sets):
        yield made.step(
            "interpretability",
            (*embeddings, *looked_into),
            ("interpretability",),
            description="What each modality contributes alone (IMC) and on average over what else is known (Shapley), "
            "and how predictions move step by step (CP). Aggregates; single items only if generated or asked for.",
        )
    if made.trained:
        yield made.step(
            "subsets",
            (*embeddings, *(autoencoded if made.compressed else ()), *made.trained),
            ("subsets",),
            description="Every model with every subset of its modalities, and MultiModN with them in other orders, "
            "trained in one order and, once, in random ones.",
            modules=made.readers,
            options={"modalities": entry.modalities, "suffix": AUTOENCODED if made.compressed else ""},
            need=Need(gpus=1),
        )
    if made.trained and plain & set(entry.tasks):
        yield made.step(
            "trust",
            (*embeddings, *(autoencoded if made.compressed else ()), *made.trained),
            description="May a score be relied on: calibration by what is present, before and after recalibration, "
            "decision curves, and scores by subgroup.",
            modules=made.readers,
            options={"modalities": entry.modalities, "suffix": dict.fromkeys(made.compressed, AUTOENCODED)},
        )
    if any(dataset.task(name).early for name in entry.tasks) and made.models["multimodn"]:
        yield made.step(
            "early",
            (*embeddings, *(autoencoded if dataset.autoencoded else ()), *made.models["multimodn"]),
            ("training",),
            description="How good predictions are when a part of the series has been seen: MultiModN read earlier, "
            "P-Fusion trained anew on that part.",
            modules=(_module("multimodn"), _module("p_fusion")),
            options={"modalities": entry.modalities, "suffix": AUTOENCODED if dataset.autoencoded else ""},
            need=Need(gpus=1),
        )
    yield from _missingness(made)


def _missingness(made: Made) -> Iterator[Step]:
    entry, experiment = made.entry, made.entry.dataset.missingness
    if experiment is None or experiment[1] not in entry.tasks:
        return
    task, wanted = experiment[1], entry.removed or experiment[:1]
    modalities = entry.modalities_for((task,))
    removed = tuple(m for m in wanted if m in modalities)
    if removed and len(modalities) > 1:
        yield made.step(
            "missingness",
            tuple(made.embedding_of[m] for m in modalities),
            ("training", "missingness"),
            description=f"{task} with {', '.join(removed)} missing in training for a reason or for none: "
            "who learns from absence?",
            modules=tuple(map(_module, MODELS)),
            options={
                "task": task,
                "modalities": modalities,
                "removed": removed,
                "not_there": tuple(m for m in wanted if m not in removed),
            },
            need=Need(gpus=1),
        )
