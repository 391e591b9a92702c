"""Word-aligned features of spoken sentences: vision, audio and text, in one pickle (MOSEI, UR-FUNNY).

The pickle: train, valid, test -> vision, audio, text (N, T, features), labels, and perhaps id. Sentences are filled up
with zeros in front; a sentence begins at its first word that is not all zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.errors import ContractError
from mmn.data.evidence import HourEvidence
from mmn.data.multibench.cohorts import published_cohort
from mmn.data.multibench.numbers import NOT_A_NUMBER, check_shape, numbered, series
from mmn.data.multibench.params import CLEAN, PUBLISHED, MultiBenchParams
from mmn.data.multibench.pickles import read_pickle

NUM_STEPS = 50
SPLITS = {"train": "train", "valid": "validation", "test": "test"}
NO_TEXT, NO_LABEL, ALL_ZERO = "all-zero text", "no label", "all zero, so absent"
# "abc[3]" and "abc_3" are sentences of the video "abc".
_SEGMENT = re.compile(r"(\[[^\]]*\]|_\d+)$")
_BLOCK = 256


def spoken_sentences(
    *,
    name: str,
    title: str,
    file: str,
    widths: Mapping[str, int],
    features: Mapping[str, str],
    hint: str,
    task: Task,
    label: Callable[[np.ndarray], np.ndarray],
    citation: str,
    licence: str,
) -> Dataset:
    """A data set of one such pickle, `file`. widths: modality -> features per word; features: whose they are, of vision
    and audio. hint: which file to take, for errors. label: see `build_cohort`."""

    def inspect(raw: Path) -> Inspection:
        there = (raw / file).is_file()
        return Inspection(
            version="MultiBench",
            found={"features": file} if there else {},
            skipped={},
            problem=None if there else f"{raw} holds no {file}.",
        )

    def cohort(raw: Path, params: MultiBenchParams) -> Cohort:
        return build_cohort(raw / file, params, widths=widths, hint=hint, task=task.name, label=label)

    def evidence(raw: Path, modality: str, cohort: Cohort, params: MultiBenchParams) -> HourEvidence:
        return read_evidence(raw / file, modality, cohort, params, widths=widths, hint=hint)

    told = {m: f"{features[m]} features per word" if m in features else "GloVe vector of each word" for m in widths}
    return Dataset(
        name=name,
        title=title,
        raw=name,
        sources={"features": (file,)},
        cohort_sources=("features",),
        modalities=tuple(
            Modality(
                name=m,
                description=f"{told[m]} ({width}).",
                sources=("features",),
                evidence="hours",
                featurizer="station_hours",
            )
            for m, width in widths.items()
        ),
        tasks=(task,),
        inspect=inspect,
        build_cohort=cohort,
        read_evidence=evidence,
        cohort_defaults=MultiBenchParams(),
        modes=(CLEAN, PUBLISHED),
        training_defaults={"batch_size": 32},
        citation=citation,
        licence=licence,
    )


def read_splits(path: Path, widths: Mapping[str, int], hint: str) -> dict[str, dict[str, Any]]:
    """Split of the file -> name -> array. Raises ContractError for a missing name or another shape."""
    found = read_pickle(path)
    held = found if isinstance(found, dict) else {}
    if lacking := [split for split in SPLITS if not isinstance(held.get(split), dict)]:
        told = "".join(f"; {split} is {'no dict' if split in held else 'missing'}" for split in lacking)
        told = told if isinstance(found, dict) else f"; it is no dict but {type(found).__name__}"
        raise ContractError(f"{path}: does not hold {', '.join(SPLITS)}, each with its arrays{told}. {hint}")
    for split in SPLITS:
        held = found[split]
        for name in (*widths, "labels"):
            if not isinstance(held.get(name), np.ndarray):
                raise ContractError(f"{path}: {split} has no array '{name}'. {hint}")
        num = len(held["labels"])
        for name, width in widths.items():
            check_shape(held[name], (num, None, width), f"{path}: {split}.{name}", hint)
    return {split: found[split] for split in SPLITS}


def build_cohort(
    path: Path,
    params: MultiBenchParams,
    *,
    widths: Mapping[str, int],
    hint: str,
    task: str,
    label: Callable[[np.ndarray], np.ndarray],
) -> Cohort:
    """label: the file's (N,) numbers to 0, 1 or NaN. A sentence whose text is zero throughout is left out."""
    frames, named = [], True
    for split, held in read_splits(path, widths, hint).items():
        num = len(held["labels"])
        rows = np.arange(num)
        items = [f"{split}-{row:05d}" for row in rows]
        videos = _videos(held.get("id"), num)
        named = named and videos is not None
        frames.append(
            pd.DataFrame(
                {
                    "item": items,
                    "subject": videos if videos is not None else items,
                    "part": split,
                    "row": rows,
                    "split": SPLITS[split],
                    task: label(_first(held["labels"], f"{path}: {split}.labels", hint)),
                    "spoken": (held["text"] != 0).any(axis=(1, 2)),
                }
            )
        )
    rows = pd.concat(frames, ignore_index=True)
    silent, unknown = ~rows["spoken"], rows["spoken"] & rows[task].isna()
    notes = [] if named else ["The file does not say which video a sentence is of: one may be on two sides."]
    if params.mode == PUBLISHED:
        notes.append(
            "As published: what follows a sentence's end is zero and counts as present, and a feature with one value "
            "that is no number is zero throughout its sentence."
        )
    return published_cohort(
        rows[~silent & ~unknown].drop(columns="spoken"),
        params,
        tasks=(task,),
        num_steps=NUM_STEPS,
        excluded={reason: int(out.sum()) for reason, out in ((NO_TEXT, silent), (NO_LABEL, unknown)) if out.any()},
        notes=notes,
    )


def read_evidence(
    path: Path, modality: str, cohort: Cohort, params: MultiBenchParams, *, widths: Mapping[str, int], hint: str
) -> HourEvidence:
    """From the first word on, each feature with mean 0 and deviation 1 over its sentence, as published; at most 50.

    Mode clean: what follows the sentence is absent, a value that is no number is undefined, and a modality that is zero
    throughout a sentence is absent there.
    """
    splits = read_splits(path, widths, hint)
    values = np.full((len(cohort), NUM_STEPS, widths[modality]), np.nan, dtype=np.float32)
    left_out = {NOT_A_NUMBER: 0, ALL_ZERO: 0}
    for split, held in splits.items():
        mine = np.flatnonzero((cohort.items["part"] == split).to_numpy())
        wanted = cohort.items["row"].to_numpy()[mine]
        if len(wanted) and wanted.max() >= len(held["labels"]):
            raise ContractError(f"{path}: {split} is shorter than when the cohort was made. Make the cohort again.")
        for at in range(0, len(mine), _BLOCK):
            rows = wanted[at : at + _BLOCK]
            x, text = held[modality][rows].astype(np.float32), held["text"][rows]
            published = params.mode == PUBLISHED
            own = x.shape[1] != text.shape[1] and not published
            values[mine[at : at + _BLOCK]] = _sentences(x, _starts(x if own else text), published, left_out)
    return series(values, numbered(modality, widths[modality]), {reason: n for reason, n in left_out.items() if n})


def _sentences(x: np.ndarray, starts: np.ndarray, published: bool, left_out: dict[str, int]) -> np.ndarray:
    """x: (B, T, V). (B, NUM_STEPS, V), from each sentence's start."""
    num_steps = x.shape[1]
    at = starts[:, None] + np.arange(num_steps)
    inside = at < num_steps
    x = np.take_along_axis(x, np.minimum(at, num_steps - 1)[..., None], axis=1)
    nowhere = ~((x != 0) & inside[..., None]).any(axis=(1, 2))
    wrong = ~np.isfinite(x) & inside[..., None]
    left_out[NOT_A_NUMBER] += int(wrong.sum())
    known = inside[..., None] & ~wrong
    num = known.sum(axis=1, keepdims=True)
    mean = np.where(known, x, 0).sum(axis=1, keepdims=True, dtype=np.float64) / np.maximum(num, 1)
    squares = (np.where(known, x - mean, 0) ** 2).sum(axis=1, keepdims=True)
    deviation = np.sqrt(squares / np.maximum(num - 1, 1))
    scaled = np.where(known & (deviation > 0), (x - mean) / np.where(deviation > 0, deviation, 1), 0)
    if published:
        scaled = np.where(wrong.any(axis=1, keepdims=True), 0, scaled)
    else:
        scaled = np.where(known, scaled, np.nan)
        scaled[nowhere] = np.nan
        left_out[ALL_ZERO] += int(nowhere.sum())
    out = np.full((len(x), NUM_STEPS, x.shape[2]), 0.0 if published else np.nan, dtype=np.float32)
    out[:, : min(num_steps, NUM_STEPS)] = scaled[:, :NUM_STEPS]
    return out


def _starts(x: np.ndarray) -> np.ndarray:
    """(B,) the first step that is not all zero; T where there is none."""
    there = (x != 0).any(axis=2)
    return np.where(there.any(axis=1), there.argmax(axis=1), x.shape[1])


def _first(labels: np.ndarray, where: str, hint: str) -> np.ndarray:
    flat = labels.reshape(len(labels), -1)
    if not flat.shape[1]:
        raise ContractError(f"{where}: shape {labels.shape} holds no number per sentence. {hint}")
    check_shape(flat[:, 0], (None,), where, hint)
    return flat[:, 0].astype(np.float64)


def _videos(ids: Any, num: int) -> list[str] | None:
    """The video of each sentence, where the file names it. The first of several columns is the video."""
    if not isinstance(ids, np.ndarray | list) or len(ids) != num:
        return None
    first = [one[0] if isinstance(one, np.ndarray | list | tuple) and len(one) else one for one in ids]
    if not all(isinstance(one, str | bytes) for one in first):
        return None
    texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in first]
    return [_SEGMENT.sub("", text) or text for text in texts]
