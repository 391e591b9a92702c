"""The model folder: `model.safetensors`, `card.json`, `history.parquet`, `predictions.parquet`. No pickle anywhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mmn.data.dataset import Task
from mmn.data.errors import ContractError, MmnError
from mmn.data.files import read_json, write_bytes, write_json, write_parquet
from mmn.modeling import MODELS, XGBOOST, load_model
from mmn.modeling.batch import ModalityShape
from mmn.modeling.inputs import Member, Scaling
from mmn.modeling.modularity import modularity
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.trained import Trained

if TYPE_CHECKING:
    from mmn.modeling.xgboost_fusion import TrainedXGBoost

CONTRACT = "model/1"
WEIGHTS, CARD, HISTORY, PREDICTIONS = "model.safetensors", "card.json", "history.parquet", "predictions.parquet"
_SCALING = ("shift", "scale", "mean", "trained")


def write_model(
    folder: Path, trained: Trained, provenance: dict[str, Any], featurizers: Mapping[str, Any] | None = None
) -> None:
    """Write into `folder`, which must be a fresh (temporary) folder. featurizers: modality -> what the embeddings it
    was trained on are made by (name, settings, weights); others are refused when it predicts."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": p.detach().cpu().contiguous() for name, p in trained.model.state_dict().items()}
    for modality, scaling in trained.scaling.items():
        for part in _SCALING:
            tensors[f"scaling.{modality}.{part}"] = torch.from_numpy(np.ascontiguousarray(getattr(scaling, part)))
    for task, ranges in trained.target_ranges.items():
        tensors[f"target_range.{task}"] = torch.from_numpy(np.ascontiguousarray(ranges))
    # One metadata key: the library writes several in an order that changes from run to run.
    footer = json.dumps({"contract": CONTRACT, **_mode(trained), **provenance}, sort_keys=True)
    write_bytes(folder / WEIGHTS, save(tensors, metadata={"mmn": footer}))
    write_json(folder / CARD, {"provenance": provenance, **_card(trained, featurizers or {})})
    history = pa.Table.from_pandas(trained.history, preserve_index=False)
    write_parquet(folder / HISTORY, history, provenance)
    predictions = pa.Table.from_pandas(trained.predictions, preserve_index=False)
    write_parquet(folder / PREDICTIONS, predictions, provenance)


def read_any_model(folder: Path) -> Trained | TrainedXGBoost:
    """Of whatever kind the card says; both predict alike. Raises ContractError where the folder is not a whole one."""
    if read_card(folder).get("architecture") != XGBOOST:
        return read_model(folder)
    from mmn.modeling.xgboost_storage import read_xgboost

    return read_xgboost(folder)


def read_model(folder: Path) -> Trained:
    """A model that predicts as the written one did. Raises ContractError where the folder is not a whole one."""
    card = read_card(folder)
    if card.get("architecture") == XGBOOST:
        raise ContractError(
            f"{folder}: an XGBoost model, which is no network. Read it with mmn.modeling.xgboost_storage.read_xgboost, "
            "or models of every kind with mmn.modeling.storage.read_any_model."
        )
    check_whole(folder, card, CONTRACT, (WEIGHTS, HISTORY, PREDICTIONS))
    with understood(folder):
        return _read(folder, card)


def _read(folder: Path, card: dict[str, Any]) -> Trained:
    if card["architecture"] not in MODELS:
        raise ContractError(f"{folder}/{CARD}: unknown model '{card['architecture']}'; known: {', '.join(MODELS)}.")
    tensors = _read_tensors(folder / WEIGHTS)
    architecture = load_model(card["architecture"])
    settings = TrainingSettings(**card["settings"])
    tasks = tuple(Task(**task) for task in card["tasks"])
    shapes = read_shapes(card)
    members = tuple(
        Member(fold=m["fold"], seed=m["seed"], tasks=tuple(m.get("tasks", ())), label=m["label"])
        for m in card["members"]
    )
    build = architecture.build if architecture.build_as_told is None else architecture.build_as_told(card)
    model = build(shapes, tasks, card["num_steps"], settings, [m.rng("initial values") for m in members])
    model.to(getattr(torch, settings.dtype))
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    try:
        model.load_state_dict(weights)
        scaling = {
            m.name: Scaling(
                **{part: tensors[f"scaling.{m.name}.{part}"].numpy() for part in _SCALING},
                clip=settings.scaler == "minmax",
            )
            for m in shapes
        }
        ranges = {t.name: tensors[f"target_range.{t.name}"].numpy() for t in tasks if t.kind == "regression"}
    except (RuntimeError, KeyError) as error:
        raise ContractError(
            f"{folder}/{WEIGHTS}: its tensors are not those that {CARD} describes. Make the model again."
        ) from error
    return Trained(
        architecture=architecture,
        settings=settings,
        tasks=tasks,
        modalities=shapes,
        num_steps=card["num_steps"],
        members=members,
        model=model,
        scaling=scaling,
        target_ranges=ranges,
        history=read_frame(folder / HISTORY),
        predictions=read_frame(folder / PREDICTIONS),
        counts=[{split: m[split] for split in ("train", "validation", "test")} for m in card["members"]],
        notes=tuple(card["notes"]),
        metrics=card["metrics"],
    )


def read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    if not path.exists():
        raise ContractError(f"{folder}: {CARD} is missing, so this is no model's folder. Make the model again.")
    try:
        card = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: not whole ({error}). Make the model again.") from error
    if not isinstance(card, dict):
        raise ContractError(f"{path}: this is no card of a model. Make the model again.")
    return card


def check_whole(folder: Path, card: Mapping[str, Any], contract: str, names: Sequence[str]) -> None:
    for name in names:
        if not (folder / name).exists():
            raise ContractError(f"{folder}: {name} is missing. Make the model again.")
    if card.get("contract") != contract:
        raise ContractError(f"{folder}/{CARD}: contract {card.get('contract')!r}, this code reads {contract!r}.")


@contextmanager
def understood(folder: Path) -> Iterator[None]:
    """What goes wrong within is the card's fault: a key that is missing, or one that this code does not know."""
    try:
        yield
    except MmnError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(
            f"{folder}/{CARD}: this code cannot read it ({type(error).__name__}: {error}). It was cut, or written by "
            "other code: read it with that version, or make the model again."
        ) from error


def read_frame(path: Path) -> pd.DataFrame:
    try:
        return pq.read_table(path).to_pandas()
    except pa.ArrowInvalid as error:
        raise ContractError(f"{path}: not a whole parquet file ({error}). Make the model again.") from error


def read_shapes(card: Mapping[str, Any]) -> tuple[ModalityShape, ...]:
    """Cards of before say neither versions nor names of dimensions."""
    return tuple(
        ModalityShape(
            name=m["name"],
            width=m["width"],
            num_steps=m["num_steps"],
            num_versions=m.get("num_versions", 0),
            names=tuple(m.get("names", ())),
        )
        for m in card["modalities"]
    )


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            return {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ContractError(f"{path}: not a whole safetensors file ({error}). Make the model again.") from error


def _mode(trained: Trained) -> dict[str, str]:
    """Whether the model follows its paper or its published code, where the two differ."""
    return {name: value for name, value in trained.model.told().items() if name == "mode"}


def _modularity(trained: Trained) -> dict[str, Any]:
    """The score and what each modality adds to it."""
    found = modularity(trained)
    each = {m: round(float(c), 6) for m, c in zip(found["modality"], found["contribution"], strict=True)}
    return {"score": round(float(found["contribution"].sum()), 6), "contributions": each}


def _card(trained: Trained, featurizers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "contract": CONTRACT,
        "architecture": trained.architecture.name,
        "title": trained.architecture.title,
        "tasks": [
            dataclasses.asdict(task) | {"published": dict(task.published), "early": dict(task.early)}
            for task in trained.tasks
        ],
        "modalities": [
            dataclasses.asdict(m) | ({"featurizer": featurizers[m.name]} if m.name in featurizers else {})
            for m in trained.modalities
        ],
        "num_steps": trained.num_steps,
        "num_parameters": trained.num_parameters,
        "settings": dataclasses.asdict(trained.settings),
        "members": [
            {
                "fold": m.fold,
                "seed": m.seed,
                "label": m.label,
                **({"tasks": list(m.tasks)} if m.tasks else {}),
                **counts,
            }
            for m, counts in zip(trained.members, trained.counts, strict=True)
        ],
        "metrics": trained.metrics,
        **({"modularity": _modularity(trained)} if isinstance(trained.model, MultiModN) else {}),
        **trained.model.told(),
        "notes": list(trained.notes),
        "published_behaviour": [
            f"{name}={value}"
            for name, value in (
                ("skip", trained.settings.skip),
                ("loss", trained.settings.loss),
                ("normalise", trained.settings.normalise),
                *_mode(trained).items(),
            )
            if value in {"published", "batch"}
        ],
    }
