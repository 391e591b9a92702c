"""`mmn predict`: a trained model's predictions for embeddings that it has not seen, after every modality and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mmn.data.embeddings import Embeddings, read_embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.data.files import read_provenance, version_of, write_parquet
from mmn.modeling.interpret import read_states
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.prediction_table import prediction_columns
from mmn.modeling.storage import read_any_model, read_card
from mmn.modeling.trained import Trained, one_thread

if TYPE_CHECKING:
    from mmn.modeling.xgboost_fusion import TrainedXGBoost

PRIOR = "prior"


def predict(
    model: Path, inputs: Mapping[str, Path], out: Path, order: Sequence[str] | None = None
) -> dict[str, int | str]:
    """Write a parquet of every member's predictions; counts and notes for people to read.

    inputs: modality -> embedding table; what is not given is absent. Columns: `item`, `member`, `fold`, `task`,
    `number` (of pieces of evidence read so far), `step`, `modality` (the last one read), `prediction`: P(1), the
    target in its unit, or the number of the most probable class; where there is a multiclass task also
    `probability_0`, ... MultiModN gives one row per piece of evidence that the member reads (of a modality that its
    fold never saw it reads none), other models one at the read step. order: in which MultiModN meets the modalities
    given, all of them; None is that of training.
    Raises ParamsError for a modality or an order that the model does not know, or an `out` that holds what is read;
    ContractError where an embedding was made by another featurizer than those that the model was trained on.
    """
    trained = read_any_model(model)
    _check_out(out, model, inputs)
    _check_order(trained, order, inputs)
    known = {modality["name"]: modality.get("featurizer") for modality in read_card(model)["modalities"]}
    tables: dict[str, Embeddings] = {}
    for name, path in inputs.items():
        if name not in known:
            raise ParamsError(f"{model} was not trained with '{name}'; its modalities are {', '.join(known)}.")
        if not path.is_file():
            raise ParamsError(f"{path}: no such file. Give the embedding table of '{name}'.")
        tables[name] = read_embeddings(path)
        _check_featurizer(name, path, known[name])
    embeddings = _aligned(tables)
    if isinstance(trained, Trained) and isinstance(trained.model, MultiModN):
        table = _every_state(trained, embeddings, order)
    else:
        table = _at_the_end(trained, embeddings)
    made_from = {name: version_of(path) for name, path in sorted(inputs.items())}
    provenance = {
        "step": "predict",
        "model": version_of(model),
        "inputs": made_from,
        **({"order": list(order)} if order else {}),
    }
    write_parquet(out, pa.Table.from_pandas(table, preserve_index=False), provenance)
    return {
        "items": table["item"].nunique(),
        "members": len(trained.members),
        "tasks": len(trained.tasks),
        "modalities given": len(inputs),
        "modalities absent": len(known) - len(inputs),
        **_notes(trained, [name for name in inputs if known[name] is None]),
    }


def _notes(trained: Trained | TrainedXGBoost, unchecked: list[str]) -> dict[str, str]:
    """What a reader of the predictions must know."""
    notes = {}
    if unchecked:
        notes["not compared"] = (
            f"{', '.join(unchecked)}: the model's card names no featurizer of it, so whether it was made as for "
            "training is not known"
        )
    if isinstance(trained, Trained) and trained.settings.skip == "batch":
        notes["skip: batch"] = (
            f"an item's predictions depend on the {trained.settings.batch_size - 1} that stand with it in the file, as "
            "in the published code: one that lacks a modality takes it from all. A stream, or a file in another order, "
            "gives others"
        )
    return notes


def _check_out(out: Path, model: Path, inputs: Mapping[str, Path]) -> None:
    if out.is_dir():
        raise ParamsError(f"--out {out}: a folder is there. Give the name of the parquet to write.")
    if out.resolve().is_relative_to(model.resolve()) or out.resolve() in {path.resolve() for path in inputs.values()}:
        raise ParamsError(f"--out {out}: it would be written over what is read. Give another name.")


def _check_order(trained: Trained | TrainedXGBoost, order: Sequence[str] | None, inputs: Mapping[str, Path]) -> None:
    if order is None:
        return
    if not isinstance(trained, Trained):
        raise ParamsError(f"--order: {trained.title} reads all modalities at once; leave it out.")
    trained.check_order(order)
    if set(order) != set(inputs):
        raise ParamsError(f"--order {','.join(order)}: name each modality that is given: {', '.join(inputs)}.")


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
    if found.get("fitted on") != trained_on.get("fitted on"):
        advice = (
            "It is fitted on the items of a cohort, and nothing applies it to others as it was fitted then: such a "
            "model predicts for the items of its own cohort alone. For new items use one that reads features which are "
            "not fitted, as MultiModN does."
        )
    else:
        advice = "Make the features with the settings and weights of the training, or train again on these."
    raise ContractError(
        f"{path}: '{name}' was made by another featurizer than the model was trained on ({'; '.join(differing)}). "
        f"{advice}"
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


def _every_state(
    trained: Trained, embeddings: dict[str, Embeddings], order: Sequence[str] | None = None
) -> pd.DataFrame:
    """A row per piece of evidence that the item has and the member reads, and one for the prior."""
    assert isinstance(trained.model, MultiModN)
    items = next(iter(embeddings.values())).items
    applications = [(0, PRIOR), *trained.model.applications(order)]
    with one_thread():
        everyone = [np.arange(len(items))] * len(trained.members)
        found = trained.collect(trained.inputs(embeddings), everyone, partial(read_states, trained.model, order=order))
    frames = []
    for task in trained.tasks:
        for k, member in enumerate(trained.members):
            if not member.learns(task):
                continue
            present = np.ones((len(items), len(applications)), dtype=bool)
            for place, (step, name) in enumerate(applications[1:], start=1):
                read = name in embeddings and trained.scaling[name].trained[k]
                present[:, place] = embeddings[name].present[:, step] if read else False
            rows, at = np.nonzero(present)
            frames.append(
                pd.DataFrame(
                    {
                        "item": items[rows],
                        "member": np.int32(k),
                        "fold": np.int32(member.fold),
                        "task": task.name,
                        "number": (np.cumsum(present, axis=1) - 1)[present].astype(np.int32),
                        "step": np.array([step for step, _ in applications], dtype=np.int32)[at],
                        "modality": np.array([name for _, name in applications], dtype=object)[at],
                        **prediction_columns(task, trained.to_unit(task, k, found[task.name][k])[rows, at]),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _at_the_end(trained: Trained | TrainedXGBoost, embeddings: dict[str, Embeddings]) -> pd.DataFrame:
    table = trained.predict(embeddings)
    steps = {task.name: task.read_step for task in trained.tasks}
    table = table[table["step"] == table["task"].map(steps)].reset_index(drop=True)
    given = np.int32(sum(shape.name in embeddings for shape in trained.modalities))
    table = table.assign(number=given, modality="all")
    keys = ["item", "member", "fold", "task", "number", "step", "modality"]
    return table[[*keys, *(name for name in table if name not in keys)]]
