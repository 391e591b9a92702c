"""The settings of each step: the defaults that live beside the code, with what `params.yaml` overrides."""

from __future__ import annotations

from typing import Any

from mmn.data.dataset import Dataset
from mmn.featurizers import load_featurizer
from mmn.featurizers.autoencoder import AutoencoderParams
from mmn.modeling.settings import MissingnessSettings, TrainingSettings
from mmn.orchestration.params import resolve, section


def cohort_settings(params: dict[str, Any], dataset: Dataset) -> Any:
    where = f"{dataset.name}.cohort"
    return resolve(dataset.cohort_defaults, section(params, where), where)


def featurizer_settings(params: dict[str, Any], dataset: Dataset, modality: str) -> Any:
    where = f"{dataset.name}.features.{modality}"
    return resolve(load_featurizer(dataset.modality(modality).featurizer).defaults, section(params, where), where)


def autoencoder_settings(params: dict[str, Any], dataset: Dataset) -> AutoencoderParams:
    where = f"{dataset.name}.autoencoder"
    return resolve(AutoencoderParams(), section(params, where), where)


def training_settings(params: dict[str, Any], dataset: Dataset) -> TrainingSettings:
    """The paper's settings for the data set (Table 3), overridden by `params.yaml`."""
    where = f"{dataset.name}.training"
    base = resolve(TrainingSettings(), dict(dataset.training_defaults), where)
    return resolve(base, section(params, where), where)


def missingness_settings(params: dict[str, Any], dataset: Dataset) -> MissingnessSettings:
    where = f"{dataset.name}.missingness"
    return resolve(MissingnessSettings(), section(params, where), where)
