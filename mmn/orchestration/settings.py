"""The settings of each step: the defaults that live beside the code, with what `params.yaml` overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from mmn.data import DATASETS, load_dataset
from mmn.data.dataset import Dataset
from mmn.data.errors import ParamsError
from mmn.featurizers import load_featurizer
from mmn.featurizers.autoencoder import AutoencoderParams
from mmn.modeling import LEARNERS, XGBOOST
from mmn.modeling.growth_settings import OpenQuestionsSettings
from mmn.modeling.highmmt.settings import HighMMTSettings
from mmn.modeling.missingness_settings import REMOVAL_MODELS, MissingnessSettings
from mmn.modeling.settings import (
    ComparisonSettings,
    InterpretabilitySettings,
    SubsetsSettings,
    TrainingSettings,
)
from mmn.modeling.xgboost_settings import XGBoostSettings
from mmn.orchestration.params import FILE, check_known, resolve, section

HIGHMMT = "highmmt"
OPEN_QUESTIONS = "open_questions"


def mode_of(params: dict[str, Any], dataset: Dataset) -> str:
    """`mode` of the data set's block: clean unless it says otherwise. Raises ParamsError for one it does not have."""
    mode = params.get(dataset.name, {}).get("mode", dataset.modes[0])
    if mode not in dataset.modes:
        raise ParamsError(f"{FILE}: {dataset.name}.mode is {mode!r}; {dataset.name} has {', '.join(dataset.modes)}.")
    return mode


def cohort_settings(params: dict[str, Any], dataset: Dataset) -> Any:
    return _in_mode(dataset.cohort_defaults, params, dataset, f"{dataset.name}.cohort")


def featurizer_settings(params: dict[str, Any], dataset: Dataset, modality: str) -> Any:
    where = f"{dataset.name}.features.{modality}"
    described = dataset.modality(modality)
    defaults = resolve(load_featurizer(described.featurizer).defaults, dict(described.settings), where)
    return _in_mode(defaults, params, dataset, where)


def _in_mode(defaults: Any, params: dict[str, Any], dataset: Dataset, where: str) -> Any:
    """The data set's mode reaches everything that has one, so that two are never mixed."""
    overrides = section(params, where)
    if isinstance(overrides, dict) and "mode" in overrides:
        raise ParamsError(
            f"{FILE}: {where}.mode: the mode is set once, as {dataset.name}.mode, for the whole data set."
        )
    if any(field.name == "mode" for field in dataclasses.fields(defaults)):
        overrides = {**overrides, "mode": mode_of(params, dataset)}
    return resolve(defaults, overrides, where)


def autoencoder_settings(params: dict[str, Any], dataset: Dataset) -> AutoencoderParams:
    where = f"{dataset.name}.autoencoder"
    return resolve(AutoencoderParams(), section(params, where), where)


def training_settings(params: dict[str, Any], dataset: Dataset, architecture: str) -> TrainingSettings:
    """The paper's settings for the data set (Table 3), overridden by `params.yaml`.

    Both may hold a block per architecture, which stands over what is said of all.
    """
    where = f"{dataset.name}.training"
    settings = TrainingSettings()
    for block in (dict(dataset.training_defaults), section(params, where)):
        own = {name: value for name, value in block.items() if name in LEARNERS}
        settings = resolve(settings, {name: value for name, value in block.items() if name not in own}, where)
        settings = resolve(settings, own.get(architecture, {}), f"{where}.{architecture}")
    return settings


def xgboost_settings(params: dict[str, Any], dataset: Dataset) -> XGBoostSettings:
    """`training.xgboost` alone: what is said of all is said of models that are trained by steps."""
    where = f"{dataset.name}.training"
    return resolve(XGBoostSettings(), section(params, where).get(XGBOOST, {}), f"{where}.{XGBOOST}")


def comparison_settings(params: dict[str, Any], dataset: Dataset) -> ComparisonSettings:
    where = f"{dataset.name}.comparison"
    return resolve(ComparisonSettings(), section(params, where), where)


def missingness_settings(params: dict[str, Any], dataset: Dataset) -> MissingnessSettings:
    where = f"{dataset.name}.missingness"
    settings = resolve(MissingnessSettings(), section(params, where), where)
    for modality in settings.modalities:
        check_known(modality, [known.name for known in dataset.modalities], f"{where}.modalities")
    return settings


def missingness_training(params: dict[str, Any], dataset: Dataset) -> dict[str, TrainingSettings]:
    """By model of the experiment: as it is trained elsewhere, with what `missingness.training` changes."""
    chosen, where, found = missingness_settings(params, dataset), f"{dataset.name}.missingness.training", {}
    for model in chosen.models:
        shared, own = chosen.changes(model)
        settings = resolve(training_settings(params, dataset, REMOVAL_MODELS[model][0]), shared, where)
        found[model] = resolve(settings, own, f"{where}.{model}")
    return found


def interpretability_settings(params: dict[str, Any], dataset: Dataset) -> InterpretabilitySettings:
    where = f"{dataset.name}.interpretability"
    return resolve(InterpretabilitySettings(), section(params, where), where)


def highmmt_settings(params: Mapping[str, Any]) -> HighMMTSettings:
    """Raises ParamsError for data sets, or batch sizes of data sets, that there are not."""
    settings = resolve(HighMMTSettings(), section(dict(params), HIGHMMT), HIGHMMT)
    for where, names in (("datasets", settings.datasets), ("batch_sizes", settings.batch_sizes)):
        for name in names:
            check_known(name, DATASETS, f"{HIGHMMT}.{where}")
    for name, tasks in settings.tasks.items():
        for task in tasks:
            check_known(task, [known.name for known in load_dataset(name).tasks], f"{HIGHMMT}.tasks.{name}")
    return settings


def joined_names(datasets: Iterable[str]) -> dict[str, dict[str, str]]:
    """Data set -> modality -> its name in a model over all of them: its own, or after the data set's where another data
    set has one of that name, for a model knows a modality by its name."""
    of = {name: [modality.name for modality in load_dataset(name).modalities] for name in datasets}
    every = [modality for found in of.values() for modality in found]
    return {
        name: {m: f"{name}_{m}" if every.count(m) > 1 else m for m in found} for name, found in of.items()
    }  # fmt: skip


def highmmt_training(params: Mapping[str, Any], phase: Literal["training", "measuring", "tuning"]) -> TrainingSettings:
    """`training`, with what the phase changes. Weight and group settings belong to the analysis itself."""
    chosen = highmmt_settings(params)
    # Each data set's own tokens, so that a modality is read here as it is alone.
    names = joined_names(chosen.datasets)
    tokens = {
        names[name][modality]: layout
        for name in chosen.datasets
        for modality, layout in training_settings(dict(params), load_dataset(name), HIGHMMT).tokens.items()
    }
    settings = resolve(TrainingSettings(tokens=tokens), dict(chosen.training), f"{HIGHMMT}.training")
    own = {"training": {}, "measuring": chosen.measuring, "tuning": chosen.tuning}[phase]
    known = {
        "tokens": [joined for of_set in names.values() for joined in of_set.values()],
        "task_weights": [task.name for name in chosen.datasets for task in load_dataset(name).tasks],
    }
    for where, block in (("training", chosen.training), (phase, own)):
        for setting, right in known.items():
            for name in block.get(setting, {}):
                check_known(name, right, f"{HIGHMMT}.{where}.{setting}")
    marks: Literal["one_hot", "learnt"] = "learnt" if chosen.mode == "published" else "one_hot"
    return dataclasses.replace(resolve(settings, dict(own), f"{HIGHMMT}.{phase}"), mode=chosen.mode, marks=marks)


def open_questions_settings(params: Mapping[str, Any]) -> OpenQuestionsSettings:
    return resolve(OpenQuestionsSettings(), section(dict(params), OPEN_QUESTIONS), OPEN_QUESTIONS)


def subsets_settings(params: dict[str, Any], dataset: Dataset) -> SubsetsSettings:
    where = f"{dataset.name}.subsets"
    return resolve(SubsetsSettings(), section(params, where), where)
