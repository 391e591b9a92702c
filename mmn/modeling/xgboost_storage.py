"""The folder of an XGBoost model: `member-00.ubj` and so on (XGBoost's own format), `card.json`, `history.parquet`,
`predictions.parquet`. No pickle anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmn.data.dataset import Task
from mmn.data.errors import ContractError
from mmn.data.files import md5_of_file, write_bytes, write_json, write_parquet
from mmn.modeling.inputs import Member
from mmn.modeling.storage import (
    CARD,
    HISTORY,
    PREDICTIONS,
    check_whole,
    read_card,
    read_frame,
    read_shapes,
    understood,
)
from mmn.modeling.xgboost_fusion import NAME, TITLE, TrainedXGBoost, load_xgboost
from mmn.modeling.xgboost_settings import XGBoostSettings

CONTRACT = "model-xgboost/1"


def write_xgboost(
    folder: Path, trained: TrainedXGBoost, provenance: dict[str, Any], featurizers: Mapping[str, Any] | None = None
) -> None:
    """Write into `folder`, which must be a fresh (temporary) folder. featurizers: as in `write_model`."""
    folder.mkdir(parents=True, exist_ok=True)
    members = []
    for k, (member, booster) in enumerate(zip(trained.members, trained.boosters, strict=True)):
        path = folder / f"member-{k:02d}.ubj"
        write_bytes(path, bytes(booster.save_raw(raw_format="ubj")))
        members.append(
            {
                "fold": member.fold,
                "seed": member.seed,
                "label": member.label,
                "file": path.name,
                "md5": md5_of_file(path),
                **trained.counts[k],
                **trained.chosen[k],
            }
        )
    task = dataclasses.asdict(trained.task) | {
        "published": dict(trained.task.published),
        "early": dict(trained.task.early),
    }
    featurizers = featurizers or {}
    card = {
        "provenance": provenance,
        "contract": CONTRACT,
        "architecture": NAME,
        "title": TITLE,
        "xgboost": load_xgboost().__version__,
        "tasks": [task],
        "modalities": [
            dataclasses.asdict(shape) | ({"featurizer": featurizers[shape.name]} if shape.name in featurizers else {})
            for shape in trained.modalities
        ],
        "num_steps": trained.num_steps,
        "settings": dataclasses.asdict(trained.settings),
        "members": members,
        "metrics": trained.metrics,
        "notes": list(trained.notes),
    }
    write_json(folder / CARD, card)
    write_parquet(folder / HISTORY, pa.Table.from_pandas(trained.history, preserve_index=False), provenance)
    write_parquet(folder / PREDICTIONS, pa.Table.from_pandas(trained.predictions, preserve_index=False), provenance)


def read_xgboost(folder: Path) -> TrainedXGBoost:
    """A model that predicts as the written one did. Raises ContractError where the folder is not a whole one."""
    xgboost = load_xgboost()
    card = read_card(folder)
    check_whole(folder, card, CONTRACT, (HISTORY, PREDICTIONS))
    with understood(folder):
        return _read(xgboost, folder, card)


def _read(xgboost: Any, folder: Path, card: dict[str, Any]) -> TrainedXGBoost:
    boosters = []
    for member in card["members"]:
        path = folder / member["file"]
        # A cut file can make the library ask for any amount of memory: look before it reads.
        if not path.is_file() or md5_of_file(path) != member["md5"]:
            raise ContractError(f"{path}: missing, or not the trees that {CARD} describes. Make the model again.")
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(path.read_bytes()))
        boosters.append(booster)
    return TrainedXGBoost(
        settings=XGBoostSettings(**card["settings"]),
        task=Task(**card["tasks"][0]),
        modalities=read_shapes(card),
        num_steps=card["num_steps"],
        members=tuple(Member(fold=k["fold"], seed=k["seed"], label=k["label"]) for k in card["members"]),
        boosters=boosters,
        chosen=[{name: k[name] for name in ("max_depth", "learning_rate", "num_trees")} for k in card["members"]],
        history=read_frame(folder / HISTORY),
        predictions=read_frame(folder / PREDICTIONS),
        counts=[{split: k[split] for split in ("train", "validation", "test")} for k in card["members"]],
        notes=tuple(card["notes"]),
        metrics=card["metrics"],
    )
