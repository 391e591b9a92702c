"""The table of steps: the road as data. Dagster's assets, the stages of `dvc.yaml` and the folders come from it.

A step's key is its path under `artifacts/`; a DVC stage's name is the key with hyphens for slashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmn.data import DATASETS, load_dataset
from mmn.data.dataset import Dataset, Inspection
from mmn.data.errors import ParamsError, RawFileError
from mmn.featurizers import FEATURIZERS
from mmn.modeling import BY_DEFAULT, COMPRESSED, LEARNERS, MODELS, SINGLE_TASK
from mmn.modeling.growth_settings import ARCHITECTURES as OPEN_TO
from mmn.orchestration.params import check_known, section
from mmn.orchestration.settings import (
    HIGHMMT,
    OPEN_QUESTIONS,
    highmmt_settings,
    highmmt_training,
    open_questions_settings,
)
from mmn.orchestration.step import Active, Need, Step
from mmn.orchestration.steps_highmmt import highmmt_steps
from mmn.orchestration.steps_results import AUTOENCODED, Made, result_steps
from mmn.orchestration.workspace import Workspace

DATASET_SECTIONS = (
    "mode", "modalities", "forced", "architectures", "cohort", "features", "autoencoder", "training", "missingness",
    "interpretability", "subsets", "comparison",
)  # fmt: skip


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
            active[name] = activate(dataset, inspection, workspace.params)
    return active


def activate(dataset: Dataset, inspection: Inspection, params: Mapping[str, Any]) -> Active:
    """With the modalities that `params.yaml` chooses and forces."""
    block = params.get(dataset.name, {})
    chosen, joined = block.get("modalities"), highmmt_settings(params)
    return Active(
        dataset=dataset,
        inspection=inspection,
        chosen=None if chosen is None else tuple(chosen),
        forced=tuple(block.get("forced", ())),
        mode=block.get("mode", ""),
        architectures=tuple(name for name in LEARNERS if name in block.get("architectures", BY_DEFAULT)),
        removed=tuple(section(dict(params), f"{dataset.name}.missingness").get("modalities", ())),
        joined=joined if dataset.name in joined.datasets else None,
        open_questions=open_questions_settings(params).ask,
    )


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
    steps.extend(highmmt_steps(active))
    if any(entry.open_questions for entry in active.values()):
        steps.append(_open_questions())
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


def _open_questions() -> Step:
    return Step(
        key=f"results/{OPEN_QUESTIONS}",
        kind=OPEN_QUESTIONS,
        dataset=OPEN_QUESTIONS,
        out=f"artifacts/results/{OPEN_QUESTIONS}",
        description="What the paper leaves open, on generated worlds whose answer is known: how large a state must be, "
        "what series of unequal length cost, what 2 to 32 modalities cost. Reads no data set.",
        sections=(OPEN_QUESTIONS,),
        # Models are loaded by name, so that no import tells of them.
        modules=("mmn.orchestration.actions.open_questions", *(MODELS[name].split(":")[0] for name in OPEN_TO)),
        need=Need(gpus=1),
    )


def _raw_steps(raw_name: str, entries: list[Active]) -> list[Step]:
    """The manifests of the sources that are read, and the tables that are converted once for all of the raw folder."""
    sources: dict[str, tuple[str, ...]] = {}
    prepared: dict[str, Dataset] = {}
    for entry in entries:
        tables = entry.dataset.cohort_prepared
        used = set(entry.cohort_sources).union(*(entry.dataset.prepared[name] for name in tables))
        prepared |= dict.fromkeys(tables, entry.dataset)
        for modality in map(entry.dataset.modality, entry.modalities):
            prepared |= dict.fromkeys(modality.prepared, entry.dataset)
            used |= set(modality.sources).union(*(entry.dataset.prepared[name] for name in modality.prepared))
        sources.update({name: patterns for name, patterns in entry.dataset.sources.items() if name in used})
    pins = [
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
    return pins + [
        Step(
            key=f"prepared/{raw_name}/{name}",
            kind="prepared",
            dataset=raw_name,
            out=f"artifacts/prepared/{raw_name}/{name}.parquet",
            description=f"The raw {name}, converted once to the columns that are read.",
            deps=tuple(f"raw/{raw_name}/{source}" for source in dataset.prepared[name]),
            raw=raw_name,
            modules=("mmn.orchestration.actions.prepared", dataset.prepare.split(":")[0]),
            options={"name": name, "prepare": dataset.prepare},
            need=Need(cpus=2, mem_gb=4),
        )
        for name, dataset in prepared.items()
    ]


def _dataset_steps(name: str, entry: Active) -> Iterable[Step]:
    dataset = entry.dataset
    reader = DATASETS[name].split(":")[0]
    pins = tuple(f"raw/{dataset.raw}/{source}" for source in entry.cohort_sources)
    tables = (reader, f"{reader}.tasks")
    mode = f"{name}.mode"
    cohort = f"cohorts/{name}"
    yield Step(
        key=cohort,
        kind="cohort",
        dataset=name,
        out=f"artifacts/{cohort}",
        description=f"{dataset.title}: items, subjects, prediction times, targets and folds.",
        deps=(*pins, *(f"prepared/{dataset.raw}/{table}" for table in dataset.cohort_prepared)),
        raw=dataset.raw,
        sections=(mode, f"{name}.cohort"),
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
            description=f"{modality.description.rstrip('.')}. One embedding per item, null where absent "
            f"({modality.featurizer}).",
            deps=(
                cohort,
                *(f"raw/{dataset.raw}/{source}" for source in modality.sources),
                *(f"prepared/{dataset.raw}/{table}" for table in modality.prepared),
            ),
            raw=dataset.raw,
            sections=(mode, f"{name}.cohort", f"{name}.features.{modality_name}"),
            modules=("mmn.orchestration.actions.features", reader, FEATURIZERS[modality.featurizer].split(":")[0]),
            options={"modality": modality_name, "prepared": modality.prepared},
            need=Need(gpus=1 if modality.featurizer in {"text", "image"} else 0, mem_gb=8),
        )
        embedding_of[modality_name] = key
        if dataset.autoencoded:
            encoded = key + AUTOENCODED
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
    models: dict[str, list[str]] = {architecture: [] for architecture in LEARNERS}
    for architecture in entry.architectures:
        suffix = AUTOENCODED if dataset.autoencoded and architecture in COMPRESSED else ""
        for task_set, tasks in entry.task_sets.items():
            if architecture in SINGLE_TASK and len(tasks) > 1:
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
                sections=(mode, f"{name}.training"),
                modules=(
                    ("mmn.orchestration.actions.model", MODELS[architecture].split(":")[0])
                    if architecture in MODELS
                    else ("mmn.orchestration.actions.trees",)
                ),
                tables=tables,
                options={
                    "architecture": architecture,
                    "tasks": tasks,
                    "modalities": modalities,
                    "task_set": task_set,
                    "forced": tuple(m for m in modalities if set(tasks) & set(dataset.modality(m).unusable_for)),
                },
                need=Need(gpus=int(architecture in MODELS)),
                action="" if architecture in MODELS else "trees",
            )
            models[architecture].append(key)
    yield from result_steps(
        Made(
            entry=entry,
            cohort=cohort,
            embedding_of=embedding_of,
            models={architecture: tuple(keys) for architecture, keys in models.items()},
            tables=tables,
        )
    )


def check_params(params: Mapping[str, Any]) -> None:
    """Every key of `params.yaml` must be known, down to the last setting. Raises ParamsError."""
    from mmn.orchestration.settings import (
        autoencoder_settings,
        cohort_settings,
        comparison_settings,
        featurizer_settings,
        interpretability_settings,
        missingness_settings,
        missingness_training,
        mode_of,
        subsets_settings,
        training_settings,
        xgboost_settings,
    )

    for phase in ("training", "measuring", "tuning"):
        highmmt_training(params, phase)
    open_questions_settings(params)
    for name, block in params.items():
        check_known(name, [*DATASETS, HIGHMMT, OPEN_QUESTIONS], "the file")
        if name not in DATASETS:
            continue
        if not isinstance(block, dict):
            raise ParamsError(f"params.yaml: {name} must be a block with {', '.join(DATASET_SECTIONS)}.")
        dataset = load_dataset(name)
        for part in block:
            check_known(part, DATASET_SECTIONS, name)
        mode_of(dict(params), dataset)
        modalities = [modality.name for modality in dataset.modalities]
        for part, known in (("modalities", modalities), ("forced", modalities), ("architectures", list(LEARNERS))):
            if not isinstance(block.get(part, []), list):
                raise ParamsError(f"params.yaml: {name}.{part} must be a list; known: {', '.join(known)}.")
            for value in block.get(part, []):
                check_known(value, known, f"{name}.{part}")
        _check_forced(dataset, block.get("modalities"), block.get("forced", []))
        for modality in section(dict(params), f"{name}.features"):
            check_known(modality, [m.name for m in dataset.modalities], f"{name}.features")
            featurizer_settings(dict(params), dataset, modality)
        for setting in dataset.shared_settings:
            given = {m: getattr(featurizer_settings(dict(params), dataset, m), setting) for m in modalities}
            if len(set(given.values())) > 1:
                told = ", ".join(f"{modality}: {value}" for modality, value in given.items())
                raise ParamsError(f"params.yaml: {name}.features: {setting} must be the same for all; it is {told}.")
        cohort_settings(dict(params), dataset)
        autoencoder_settings(dict(params), dataset)
        trainings = [(f"{name}.training", training_settings(dict(params), dataset, model)) for model in MODELS]
        removal = missingness_training(dict(params), dataset)
        trainings += [(f"{name}.missingness.training", trained) for trained in removal.values()]
        tasks = [task.name for task in dataset.tasks]
        for where, trained in trainings:
            for part in ("encoders", "tokens"):
                for modality in getattr(trained, part):
                    check_known(modality, modalities, f"{where}.{part}")
            if trained.select_task:
                check_known(trained.select_task, tasks, f"{where}.select_task")
            for task in trained.task_weights:
                check_known(task, tasks, f"{where}.task_weights")
        xgboost_settings(dict(params), dataset)
        _check_removed(dataset, block, missingness_settings(dict(params), dataset).modalities)
        comparison_settings(dict(params), dataset)
        interpretability_settings(dict(params), dataset)
        subsets_settings(dict(params), dataset)


def _check_forced(dataset: Dataset, chosen: list[str] | None, forced: list[str]) -> None:
    """A modality that is asked for is read, or the file is refused: never left out without a word."""
    where = f"params.yaml: {dataset.name}"
    if chosen is not None and not chosen:
        raise ParamsError(f"{where}.modalities is empty: name at least one, or leave it out for the default ones.")
    for name in forced:
        modality = dataset.modality(name)
        if not modality.unusable_for:
            raise ParamsError(f"{where}.forced: {name} defines no label, so there is nothing to force. Leave it out.")
        if not (modality.by_default if chosen is None else name in chosen):
            raise ParamsError(f"{where}.forced: {name} is not read. Name it under {dataset.name}.modalities as well.")
    for name in chosen or ():
        unusable = dataset.modality(name).unusable_for
        if name not in forced and all(task.name in unusable for task in dataset.tasks):
            raise ParamsError(
                f"{where}.modalities: {name} is unusable for every task, {', '.join(unusable)}: "
                f"{'; '.join(dict.fromkeys(unusable.values()))}. Leave it out; to read it all the same, which each "
                f"model's card will say, add `forced: [{name}]`."
            )


def _check_removed(dataset: Dataset, block: Mapping[str, Any], removed: tuple[str, ...]) -> None:
    """A modality that is to be taken away is one that the models of the task read."""
    where, chosen = f"params.yaml: {dataset.name}.missingness.modalities", block.get("modalities")
    if removed and dataset.missingness is None:
        raise ParamsError(f"{where}: {dataset.title} has no binary task, so the experiment is not run. Leave it out.")
    for name in removed:
        modality = dataset.modality(name)
        if not (modality.by_default if chosen is None else name in chosen):
            raise ParamsError(f"{where}: {name} is not read. Name it under {dataset.name}.modalities as well.")
        task = dataset.missingness[1] if dataset.missingness else ""
        if task in modality.unusable_for and name not in block.get("forced", []):
            raise ParamsError(f"{where}: {name} is not read for {task}: {modality.unusable_for[task]}. Leave it out.")
