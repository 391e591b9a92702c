"""`mmn predict`: a trained model's predictions for embeddings that it has not seen, after every modality and step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mmn.data.embeddings import Embeddings, read_embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.data.files import read_json, read_provenance, version_of, write_parquet
from mmn.modeling import XGBOOST
from mmn.modeling.interpret import read_states
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.prediction_table import prediction_columns
from mmn.modeling.storage import CARD, read_model
from mmn.modeling.trained import Trained, one_thread

if TYPE_CHECKING:
    from mmn.modeling.xgboost_fusion import TrainedXGBoost

PRIOR = "prior"


def predict(model: Path, inputs: Mapping[str, Path], out: Path) -> dict[str, int]:
    """Write a parquet of every member's predictions; counts for people to read.

    inputs: modality -> embedding table; what is not given is absent. Columns: `item`, `member`, `fold`, `task`,
    `number` (of pieces of evidence read so far), `step`, `modality` (the last one read), `prediction`: P(1), or the
    target in its unit. MultiModN gives one row per piece of evidence, other models one at the read step.
    Raises ParamsError for a modality that the model does not know, ContractError where an embedding was made by
    another featurizer than those that the model was trained on, or where tables name different items.
    """
    card = read_json(model / CARD) if (model / CARD).exists() else {}
    trained = _read(model, card)
    known = {modality["name"]: modality.get("featurizer") for modality in card["modalities"]}
    for name, path in inputs.items():
        if name not in known:
            raise ParamsError(f"{model} was not trained with '{name}'; its modalities are {', '.join(known)}.")
        if not path.is_file():
            raise ParamsError(f"{path}: no such file. Give the embedding table of '{name}'.")
        _check_featurizer(name, path, known[name])
    embeddings = _aligned({name: read_embeddings(path) for name, path in inputs.items()})
    if isinstance(trained, Trained) and isinstance(trained.model, MultiModN):
        table = _every_state(trained, embeddings)
    else:
        table = _at_the_end(trained, embeddings)
    made_from = {name: version_of(path) for name, path in sorted(inputs.items())}
    provenance = {"step": "predict", "model": version_of(model), "inputs": made_from}
    write_parquet(out, pa.Table.from_pandas(table, preserve_index=False), provenance)
    return {
        "items": table["item"].nunique(),
        "members": len(trained.members),
        "tasks": len(trained.tasks),
        "modalities given": len(inputs),
        "modalities absent": len(known) - len(inputs),
    }


def _read(model: Path, card: Mapping[str, Any]) -> Trained | TrainedXGBoost:
    if card.get("architecture") != XGBOOST:
        return read_model(model)
    from mmn.modeling.xgboost_storage import read_xgboost

    return read_xgboost(model)


def _check_featurizer(name: str, path: Path, trained_on: dict[str, Any] | None) -> None:
    found = (read_provenance(path) or {}).get("identity")
    if trained_on is None or found == trained_on:
        return
    if found is None:
        raise ContractError(
            f"{path}: does not say which featurizer made it, so '{name}' cannot be compared with the model's training. "
            "Make it with `mmn run`."
        )
    differing = sorted(
        f"{key}: {_shown(found.get(key))}, trained on {_shown(trained_on.get(key))}"
        for key in {**found, **trained_on}
        if found.get(key) != trained_on.get(key)
    )
    raise ContractError(
        f"{path}: '{name}' was made by another featurizer than the model was trained on ({'; '.join(differing)}). "
        "Make the features with the settings and weights of the training, or train again on these."
    )


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {inner}" for key, inner in sorted(value.items())) + "}"
    return str(value)


def _aligned(embeddings: dict[str, Embeddings]) -> dict[str, Embeddings]:
    """All on the items of any of them; an item that a table does not have lacks that modality."""
    if not embeddings:
        raise ParamsError("no embedding table was given. Write --input MODALITY=FILE for each that there is.")
    for name, e in embeddings.items():
        if repeated := len(e.items) - len(set(e.items)):
            raise ContractError(f"'{name}': {repeated} rows repeat an item.")
    items = list(dict.fromkeys(item for e in embeddings.values() for item in e.items))
    aligned = {}
    for name, e in embeddings.items():
        place = pd.Index(e.items).get_indexer(items)
        there = place >= 0
        values = np.where(there[None, :, None, None], e.values[:, place], np.nan).astype(np.float32)
        aligned[name] = Embeddings(
            items=np.asarray(items, dtype=object),
            values=values,
            present=e.present[place] & there[:, None],
            names=e.names,
        )
    return aligned


def _every_state(trained: Trained, embeddings: dict[str, Embeddings]) -> pd.DataFrame:
    """A row per piece of evidence that the item has, and one for the prior."""
    assert isinstance(trained.model, MultiModN)
    items = next(iter(embeddings.values())).items
    applications = [(0, PRIOR), *trained.model.applications()]
    present = np.stack(
        [np.ones(len(items), dtype=bool)]
        + [
            embeddings[name].present[:, step] if name in embeddings else np.zeros(len(items), dtype=bool)
            for step, name in applications[1:]
        ],
        axis=1,
    )
    rows, number = np.nonzero(present)[0], (np.cumsum(present, axis=1) - 1)[present].astype(np.int32)
    at = np.nonzero(present)[1]
    with one_thread():
        everyone = [np.arange(len(items))] * len(trained.members)
        found = trained.collect(trained.inputs(embeddings), everyone, partial(read_states, trained.model))
    frames = [
        pd.DataFrame(
            {
                "item": items[rows],
                "member": np.int32(k),
                "fold": np.int32(member.fold),
                "task": task.name,
                "number": number,
                "step": np.array([step for step, _ in applications], dtype=np.int32)[at],
                "modality": np.array([name for _, name in applications], dtype=object)[at],
                **prediction_columns(task, trained.to_unit(task, k, found[task.name][k])[rows, at]),
            }
        )
        for task in trained.tasks
        for k, member in enumerate(trained.members)
    ]
    return pd.concat(frames, ignore_index=True)


def _at_the_end(trained: Trained | TrainedXGBoost, embeddings: dict[str, Embeddings]) -> pd.DataFrame:
    table = trained.predict(embeddings)
    steps = {task.name: task.read_step for task in trained.tasks}
    table = table[table["step"] == table["task"].map(steps)].reset_index(drop=True)
    given = np.int32(sum(shape.name in embeddings for shape in trained.modalities))
    table = table.assign(number=given, modality="all")
    return table[["item", "member", "fold", "task", "number", "step", "modality", "prediction"]]
