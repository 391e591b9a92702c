"""Embeddings to predictions. `MODELS` is the table of contents: name -> where its `Architecture` value lives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmn.modeling.architecture import Architecture

MODELS: dict[str, str] = {
    "multimodn": "mmn.modeling.multimodn:MULTIMODN",
    "p_fusion": "mmn.modeling.p_fusion:P_FUSION",
}


def load_model(name: str) -> Architecture:
    module, attribute = MODELS[name].split(":")
    return getattr(import_module(module), attribute)
