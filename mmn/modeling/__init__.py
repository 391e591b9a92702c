"""Embeddings to predictions. `MODELS` is the table of contents: name -> where its `Architecture` value lives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmn.modeling.architecture import Architecture

MODELS: dict[str, str] = {
    "multimodn": "mmn.modeling.multimodn:MULTIMODN",
    "p_fusion": "mmn.modeling.p_fusion:P_FUSION",
    "fusion_transformer": "mmn.modeling.fusion_transformer:FUSION_TRANSFORMER",
}

# What is trained unless `params.yaml` names others, and what has one task only.
BY_DEFAULT = ("multimodn", "p_fusion")
SINGLE_TASK = ("p_fusion",)


def load_model(name: str) -> Architecture:
    module, attribute = MODELS[name].split(":")
    return getattr(import_module(module), attribute)
