"""The table of steps: the road as data. Dagster's assets, the stages of `dvc.yaml` and the folders come from it.

A step's key is its path under `artifacts/`; a DVC stage's name is the key with hyphens for slashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmn.data import DATASETS, load_dataset
from mmn.data.dataset import Dataset, Inspection
from mmn.data.errors import ParamsError, RawFileError
from mmn.featurizers import FEATURIZERS
from mmn.modeling import MODELS
from mmn.orchestration.params import check_known, section
from mmn.orchestration.workspace import Workspace

DATASET_SECTIONS = ("cohort", "features", "autoencoder", "training", "missingness")


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a step needs of the machine it lands on; each engine is told in its own words."""

    gpus: int = 0
    cpus: int = 1
    mem_gb: int = 4
    minutes: int = 60


@dataclass(frozen=True, kw_only=True)
class Step:
    """One arrow of the road.

    kind: which function of `mmn.orchestration.actions` walks it. out: the path it writes, below the workspace's root.
    deps: keys of the steps it reads. raw: the raw folder it reads, if any. sections: dotted paths in `params.yaml`.
    modules: the modules whose code (and whatever of this package they import) decides the result. tables: modules
    that are read for their values (tasks, defaults) alone.
    options: what the work function is told (modality, task set, architecture).
    """

    key: str
    kind: str
    dataset: str
    out: str
    description: str
    deps: tuple[str, ...] = ()
    raw: str | None = None
    sections: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    need: Need = Need()

    @property
    def stage(self) -> str:
        return self.key.replace("/", "-")


@dataclass(frozen=True, kw_only=True)
class Active:
    """A data set whose raw files are here, and what of it can be walked."""

    dataset: Dataset
    inspection: Inspection

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.dataset.modalities if m.name not in self.inspection.skipped)

    @property
    def task_sets(self) -> dict[str, tuple[str, ...]]:
        """Tasks that are skipped fall out of the multi-task sets; a set of fewer than two tasks is none."""
        sets = {
            name: tuple(task for task in tasks if task not in self.inspection.skipped)
            for name, tasks in self.dataset.task_sets.items()
        }
        return {
            name: tasks for name, tasks in sets.items() if len(tasks) > (1 if name in self.dataset.multitask else 0)
        }

    def modalities_for(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Without those that define a label of one of the tasks."""
        return tuple(name for name in self.modalities if not set(tasks) & set(self.dataset.modality(name).unusable_for))


def active_datasets(workspace: Workspace) -> dict[str, Active]:
    """The data sets whose raw folder is linked and readable enough for a cohort, in the order of DATASETS."""
    active = {}
    for name in DATASETS:
        dataset = load_dataset(name)
        raw = workspace.raw(dataset.raw)
        if not raw.is_dir():
            continue
        inspection = dataset.inspect(raw)
        if inspection.problem is None:
            active[name] = Active(dataset=dataset, inspection=inspection)
    return active


def refuse_unusable(raw_name: str, raw: Path) -> list[str]:
    """Raise where no data set can be made from a person's raw folder; else a line for each that cannot.

    A folder that is a link inside the raw folder is refused: neither DVC nor the manifest would see a change behind it.
    """
    if not raw.expanduser().is_dir():
        raise RawFileError(f"{raw}: no such folder. Give the folder that holds the raw {raw_name} files.")
    for depth in range(1, 4):
        for path in raw.glob("/".join("*" * depth)):
            if path.is_symlink() and path.is_dir():
                raise RawFileError(
                    f"{path}: a link to a folder; changes behind it would go unnoticed. "
                    f"Put the files themselves under {raw}, or give the folder that holds them."
                )
    problems = {
        name: inspection.problem
        for name in DATASETS
        if (dataset := load_dataset(name)).raw == raw_name
        and (inspection := dataset.inspect(raw.expanduser())).problem is not None
    }
    served = [name for name in DATASETS if load_dataset(name).raw == raw_name]
    if len(problems) == len(served):
        raise RawFileError(next(iter(problems.values())))
    return [f"{name} is left out: {problem}" for name, problem in problems.items()]


def build_steps(active: Mapping[str, Active]) -> dict[str, Step]:
    """All steps of the active data sets by key, each after those it reads."""
    steps: list[Step] = []
    for raw_name in dict.fromkeys(entry.dataset.raw for entry in active.values()):
        steps.extend(_raw_steps(raw_name, [e for e in active.values() if e.dataset.raw == raw_name]))
    for name, entry in active.items():
        steps.extend(_dataset_steps(name, entry))
    results = tuple(step.key for step in steps if step.key.startswith("results/"))
    if results:
        steps.append(
            Step(
                key="report",
                kind="report",
                dataset="report",
                out="artifacts/report",
                description="One self-contained HTML page: tasks × models with intervals and floors, MNAR, IMC and CP.",
                deps=results + tuple(f"cohorts/{name}" for name in active),
                modules=("mmn.orchestration.actions.report",),
                options={"datasets": tuple(active)},
            )
        )
    return {step.key: step for step in steps}


def _raw_steps(raw_name: str, entries: list[Active]) -> list[Step]:
    sources: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        used = set(entry.dataset.cohort_sources)
        for modality in entry.modalities:
            used |= set(entry.dataset.modality(modality).sources)
        sources.update({name: patterns for name, patterns in entry.dataset.sources.items() if name in used})
    return [
        Step(
            key=f"raw/{raw_name}/{source}",
            kind="raw",
            dataset=raw_name,
            out=f"artifacts/raw/{raw_name}/{source}.json",
            description=f"Manifest of the raw {source}: each file's path, size, MD5 and rows. The bytes stay in place.",
            raw=raw_name,
            modules=("mmn.orchestration.actions.raw",),
            options={"source": source, "patterns": patterns},
        )
        for source, patterns in sources.items()
    ]


def _dataset_steps(name: str, entry: Active) -> Iterable[Step]:
    dataset = entry.dataset
    reader = DATASETS[name].split(":")[0]
    pins = tuple(f"raw/{dataset.raw}/{source}" for source in dataset.cohort_sources)
    tables = (reader, f"{reader}.tasks")
    cohort = f"cohorts/{name}"
    yield Step(
        key=cohort,
        kind="cohort",
        dataset=name,
        out=f"artifacts/{cohort}",
        description=f"{dataset.title}: items, subjects, prediction times, targets and subject-disjoint folds.",
        deps=pins,
        raw=dataset.raw,
        sections=(f"{name}.cohort",),
        modules=("mmn.orchestration.actions.cohort", reader),
    )
    embedding_of: dict[str, str] = {}
    for modality_name in entry.modalities:
        modality = dataset.modality(modality_name)
        key = f"features/{name}/{modality_name}"
        yield Step(
            key=key,
            kind="features",
            dataset=name,
            out=f"artifacts/{key}.parquet",
            description=f"{modality.description} One embedding per item, null where absent ({modality.featurizer}).",
            deps=(cohort, *(f"raw/{dataset.raw}/{source}" for source in modality.sources)),
            raw=dataset.raw,
            sections=(f"{name}.cohort", f"{name}.features.{modality_name}"),
            modules=("mmn.orchestration.actions.features", reader, FEATURIZERS[modality.featurizer].split(":")[0]),
            options={"modality": modality_name},
            need=Need(gpus=1 if modality.featurizer in {"text", "image"} else 0, mem_gb=8),
        )
        embedding_of[modality_name] = key
        if dataset.autoencoded:
            encoded = f"features/{name}/{modality_name}_autoencoded"
            yield Step(
                key=encoded,
                kind="autoencoder",
                dataset=name,
                out=f"artifacts/{encoded}.parquet",
                description=f"{modality_name} through an autoencoder fitted per fold: what P-Fusion reads.",
                deps=(cohort, key),
                sections=(f"{name}.autoencoder",),
                modules=("mmn.orchestration.actions.autoencoder",),
                options={"modality": modality_name},
                need=Need(gpus=1),
            )
    models: dict[str, list[str]] = {architecture: [] for architecture in MODELS}
    for architecture in MODELS:
        suffix = "_autoencoded" if dataset.autoencoded and architecture == "p_fusion" else ""
        for task_set, tasks in entry.task_sets.items():
            if architecture == "p_fusion" and len(tasks) > 1:
                continue
            key = f"models/{name}/{task_set}/{architecture}"
            modalities = entry.modalities_for(tasks)
            yield Step(
                key=key,
                kind="model",
                dataset=name,
                out=f"artifacts/{key}",
                description=f"{architecture} on {', '.join(tasks)}: all folds trained side by side.",
                deps=(cohort, *(embedding_of[m] + suffix for m in modalities)),
                sections=(f"{name}.training",),
                modules=("mmn.orchestration.actions.model", MODELS[architecture].split(":")[0]),
                tables=tables,
                options={"architecture": architecture, "tasks": tasks, "modalities": modalities, "task_set": task_set},
                need=Need(gpus=1),
            )
            models[architecture].append(key)
    embeddings = tuple(embedding_of.values())
    yield Step(
        key=f"results/{name}/scores",
        kind="scores",
        dataset=name,
        out=f"artifacts/results/{name}/scores",
        description="Every model and floor on every task, with intervals over folds and over subjects.",
        deps=(cohort, *embeddings, *(key for keys in models.values() for key in keys)),
        sections=(f"{name}.training",),
        modules=("mmn.orchestration.actions.scores",),
        tables=tables,
        options={"modalities": entry.modalities},
    )
    yield Step(
        key=f"results/{name}/interpretability",
        kind="interpretability",
        dataset=name,
        out=f"artifacts/results/{name}/interpretability",
        description="What each modality contributes alone (IMC), how predictions move step by step (CP); aggregates.",
        deps=(cohort, *embeddings, *models["multimodn"]),
        modules=("mmn.orchestration.actions.interpretability",),
        tables=tables,
    )
    if dataset.missingness is not None and dataset.missingness[0] in entry.modalities:
        modality_name, task = dataset.missingness
        if task not in entry.inspection.skipped:
            modalities = entry.modalities_for((task,))
            yield Step(
                key=f"results/{name}/missingness",
                kind="missingness",
                dataset=name,
                out=f"artifacts/results/{name}/missingness",
                description=f"{task} with {modality_name} missing not at random in training: who learns from absence?",
                deps=(cohort, *(embedding_of[m] for m in modalities)),
                sections=(f"{name}.training", f"{name}.missingness"),
                modules=("mmn.orchestration.actions.missingness",),
                tables=tables,
                options={"modality": modality_name, "task": task, "modalities": modalities},
                need=Need(gpus=1),
            )


def check_params(params: Mapping[str, Any]) -> None:
    """Every key of `params.yaml` must be known, down to the last setting. Raises ParamsError."""
    from mmn.orchestration.settings import (
        autoencoder_settings,
        cohort_settings,
        featurizer_settings,
        missingness_settings,
        training_settings,
    )

    for name, block in params.items():
        check_known(name, DATASETS, "the file")
        if not isinstance(block, dict):
            raise ParamsError(f"params.yaml: {name} must be a block with {', '.join(DATASET_SECTIONS)}.")
        dataset = load_dataset(name)
        for part in block:
            check_known(part, DATASET_SECTIONS, name)
        for modality in section(dict(params), f"{name}.features"):
            check_known(modality, [m.name for m in dataset.modalities], f"{name}.features")
            featurizer_settings(dict(params), dataset, modality)
        cohort_settings(dict(params), dataset)
        autoencoder_settings(dict(params), dataset)
        training_settings(dict(params), dataset)
        missingness_settings(dict(params), dataset)
