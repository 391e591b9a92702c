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
    "highmmt": "mmn.modeling.highmmt.network:HIGHMMT",
}

# Grows trees instead of moving weights: it is no `Architecture`, but it trains on the same tables and is scored alike.
XGBOOST = "xgboost"
LEARNERS = (*MODELS, XGBOOST)

# What is trained unless `params.yaml` names others, what has one task only, and what reads a series compressed by its
# autoencoder where a data set has those.
BY_DEFAULT = ("multimodn", "p_fusion")
SINGLE_TASK = ("p_fusion", XGBOOST)
COMPRESSED = ("p_fusion", XGBOOST)


def load_model(name: str) -> Architecture:
    module, attribute = MODELS[name].split(":")
    return getattr(import_module(module), attribute)
