"""X-rays as files: which pictures belong to an item and with what weight, those set aside that are unfit at either end.

Pixels are not decoded here. `read_images` gives each item its own picture, `read_image_history` all that its patient
had had by then.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd

from mmn.data.errors import ContractError
from mmn.data.evidence import ImageEvidence
from mmn.data.pictures import OTHER_SIZE, fault_of, large_pictures_allowed

Mode = Literal["clean", "haim"]

UNTIMED = "image without a readable time"
OUTSIDE = "path leaves the raw folder"
RESIZED = "most pictures have another size than the metadata says: a resized copy, so sizes are not checked"
_AT_ONCE = 256
_THREADS = 8


def read_images(raw: Path, items: pd.DataFrame) -> ImageEvidence:
    """One picture per item, weight 1, in the cohort's order, in both modes alike. items: `item`, `image_path`
    (relative), and `height`, `width` where the tables tell the size.

    An item whose picture is missing or unfit has no row; it is in `set_aside`.
    """
    files = _Files(items)
    pairs = pd.DataFrame({"number": np.arange(len(items)), "file": files.code, "weight": 1.0})
    sound, aside = _judged(raw, files, pairs)
    return _evidence(raw, items, files, sound, aside)


def read_image_history(raw: Path, items: pd.DataFrame, others: pd.DataFrame, mode: Mode = "clean") -> ImageEvidence:
    """All pictures of an item's patient up to its prediction time, of any admission; the later, the heavier.

    items: `item`, `subject_id`, `prediction_time`. others: every image of the cohort's patients, in table order:
    `subject_id`, `dicom_id`, `image_path` (relative), `time` (floored to the minute; NaT if unreadable), `haim_order`
    (int) where HAIM stored them in another order, and `height`, `width` where the tables tell the size. The weight is
    (time - oldest) / (newest - oldest).

    clean: pictures that are unfit or have no time are set aside first. Where all that are left are of one minute the
    fraction is 0 / 0, and each weighs 1: a patient's only picture is its history.
    haim: bug for bug. The weights are those of the k pictures up to the prediction time, the pictures are the first k
    of the patient's stored list, whenever they were taken; 0 / 0 becomes weight 0, for which the featurizer gives
    zeros. An unfit picture takes its weight with it.
    Raises ContractError where an item has no prediction time.
    """
    if (missing := items["prediction_time"].isna()).any():
        raise ContractError(
            f"{int(missing.sum())} of {len(items)} items have no prediction time, so that it cannot be said which "
            "images came before it; the cohort must give one to each item."
        )
    if mode == "haim" and "haim_order" in others:
        others = others.sort_values("haim_order", kind="stable")
    files = _Files(others)
    pairs = _pairs(items, others, files.code)
    seen = pairs["time"] <= pairs["until"]
    if mode == "haim":
        sound, aside = _judged(raw, files, _first_as_many(pairs, seen))
        return _evidence(raw, items, files, sound, aside)
    sound, aside = _judged(raw, files, pairs[seen])
    untimed = pairs.loc[pairs["time"].isna(), ["number", "file"]].assign(reason=UNTIMED)
    sound = sound.assign(weight=_weights(sound, alone=1.0))
    return _evidence(raw, items, files, sound, pd.concat([aside, untimed], ignore_index=True))


class _Files:
    """The different files of a table with `image_path`. code: (rows,) which file a row names; sources: (F,) strings.

    sizes: (F, 2) height and width as the tables tell them, NaN where they do not. resized: most files have another.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self.code, sources = pd.factorize(table["image_path"])
        self.sources = [str(source) for source in sources]
        self.resized = False
        self.sizes = np.full((len(sources), 2), np.nan)
        if {"height", "width"} <= set(table.columns):
            self.sizes[self.code] = table[["height", "width"]].to_numpy(dtype=float, na_value=np.nan)

    def faults(self, raw: Path, wanted: np.ndarray) -> np.ndarray:
        """(F,) the reason against each wanted file, None where it is sound or was not wanted."""

        def judge(block: np.ndarray) -> list[str | None]:
            return [self._fault(raw, file) for file in block]

        faults = np.full(len(self.sources), None, dtype=object)
        blocks = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
        with large_pictures_allowed(), ThreadPoolExecutor(_THREADS) as pool:
            for block, found in zip(blocks, pool.map(judge, blocks), strict=True):
                faults[block] = found
        other_size = faults == OTHER_SIZE
        if other_size.sum() > len(wanted) / 2:
            # Not so many files are broken alike: it is a copy at another resolution, which many people keep.
            self.resized, self.sizes = True, np.full_like(self.sizes, np.nan)
            faults[other_size] = self.faults(raw, np.flatnonzero(other_size))[other_size]
        return faults

    def _fault(self, raw: Path, file: int) -> str | None:
        source, (height, width) = self.sources[file], self.sizes[file]
        path = PurePosixPath(source)
        if path.is_absolute() or ".." in path.parts:  # a name comes from a table, and a table may hold anything
            return OUTSIDE
        return fault_of(raw / source, ("JPEG",), size=None if np.isnan(width + height) else (int(width), int(height)))


def _pairs(items: pd.DataFrame, others: pd.DataFrame, file: np.ndarray) -> pd.DataFrame:
    """An item with each image of its patient, in stored order. Numbers only: at MIMIC's size there are millions."""
    images = pd.DataFrame(
        {
            "subject_id": others["subject_id"].to_numpy(),
            "file": file.astype("int32"),
            "time": others["time"].to_numpy(dtype="datetime64[s]"),
            "place": others.groupby("subject_id", sort=False).cumcount().to_numpy(dtype="int32"),
        }
    )
    asked = pd.DataFrame(
        {
            "number": np.arange(len(items), dtype="int32"),
            "subject_id": items["subject_id"].to_numpy(),
            "until": items["prediction_time"].to_numpy(dtype="datetime64[s]"),
        }
    )
    pairs = asked.merge(images, on="subject_id").drop(columns="subject_id")
    return pairs.sort_values(["number", "place"], ignore_index=True)


def _first_as_many(pairs: pd.DataFrame, seen: pd.Series) -> pd.DataFrame:
    """HAIM's mistake: the mask is computed on the filtered table and applied to the whole one."""
    rows = pairs[seen]
    weights = pd.DataFrame(
        {
            "number": rows["number"],
            "place": rows.groupby("number").cumcount().astype("int32"),
            "weight": _weights(rows, alone=0.0),
        }
    )
    return pairs.merge(weights, on=["number", "place"], validate="one_to_one")


def _weights(rows: pd.DataFrame, alone: float) -> np.ndarray:
    """0 for an item's oldest picture to 1 for its newest; `alone` where they are of one minute."""
    seconds = rows["time"].to_numpy().astype("int64").astype("float64")
    of_item = pd.Series(seconds).groupby(rows["number"].to_numpy())
    oldest, newest = of_item.transform("min").to_numpy(), of_item.transform("max").to_numpy()
    span = newest - oldest
    return np.divide(seconds - oldest, span, out=np.full(len(rows), alone), where=span > 0)


def _judged(raw: Path, files: _Files, pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(pairs whose picture is sound; the others, with `reason`). Each file is looked at once."""
    reason = files.faults(raw, np.unique(pairs["file"]))[pairs["file"].to_numpy()]
    unfit = pd.notna(reason)
    return pairs[~unfit], pairs.loc[unfit, ["number", "file"]].assign(reason=reason[unfit])


def _evidence(raw: Path, items: pd.DataFrame, files: _Files, sound: pd.DataFrame, aside: pd.DataFrame) -> ImageEvidence:
    """Names are kept once, as categories: a picture of a patient's history serves many items."""
    names, root = items["item"].astype(str).to_numpy(), raw.absolute().as_posix()

    def named(rows: pd.DataFrame) -> dict[str, pd.Categorical]:
        return {
            "item": pd.Categorical.from_codes(rows["number"], names),
            "source": pd.Categorical.from_codes(rows["file"], files.sources),
        }

    paths = pd.Categorical.from_codes(sound["file"], [f"{root}/{source}" for source in files.sources])
    rows = pd.DataFrame({**named(sound), "path": paths, "weight": sound["weight"].to_numpy(dtype=float)})
    set_aside = pd.DataFrame({**named(aside), "reason": aside["reason"].to_numpy()}).astype(str)
    counts = set_aside["reason"].value_counts().sort_index()
    return ImageEvidence(
        rows=rows,
        quarantined={str(reason): int(n) for reason, n in counts.items()},
        set_aside=set_aside,
        notes=(RESIZED,) if files.resized else (),
    )
