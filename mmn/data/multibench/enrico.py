"""ENRICO: which of 20 kinds of screen a picture of an app shows, from the screenshot and its wireframe."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.errors import CohortError, ContractError, ParamsError, RawFileError
from mmn.data.evidence import VectorEvidence
from mmn.data.multibench.cohorts import published_cohort
from mmn.data.multibench.params import CLEAN, PUBLISHED, MultiBenchParams
from mmn.data.multibench.pictures import read_rgb, rgb_names

TABLE = "design_topics.csv"
FOLDERS = {"screenshot": ("screenshots", ".jpg"), "wireframe": ("wireframes", ".png")}
# Their wireframes are damaged; the published loader leaves them out.
DAMAGED = ("50105", "50109")
SEED, TRAIN_SHARE, VALIDATION_SHARE = 42, 0.65, 0.15
TOPICS = (
    "bare", "camera", "chat", "dialer", "editor", "form", "gallery", "list", "login", "maps", "mediaplayer", "menu",
    "modal", "news", "other", "profile", "search", "settings", "terms", "tutorial",
)  # fmt: skip
# Of a training screen, once more as a test screen, in mode published.
AGAIN = "/again"


@dataclass(frozen=True, kw_only=True)
class EnricoParams(MultiBenchParams):
    """height, width: what pictures are resized to; published: 256 x 128, which is 98,304 numbers each."""

    height: int = 256
    width: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise ParamsError(f"{name} is {getattr(self, name)}; it must be at least 1.")


def inspect(raw: Path) -> Inspection:
    missing = [
        name
        for name, there in (
            (TABLE, (raw / TABLE).is_file()),
            *((f"{folder}/", (raw / folder).is_dir()) for folder, _ in FOLDERS.values()),
        )
        if not there
    ]
    return Inspection(
        version="MultiBench",
        found={
            source: where
            for source, where in (("topics", TABLE), *((f"{name}s", f"{at}/") for name, (at, _) in FOLDERS.items()))
            if where not in missing
        },
        skipped={},
        problem=f"{raw} lacks {', '.join(missing)}: the unpacked parts of ENRICO are expected." if missing else None,
    )


def build_cohort(raw: Path, params: EnricoParams) -> Cohort:
    """Every screen with a known topic, shuffled and split as published; the app that it is of is not known."""
    rows = _read_topics(raw / TABLE)
    damaged = rows["screen"].isin(DAMAGED)
    excluded = {"the wireframe is damaged, by the published list": int(damaged.sum())} if damaged.any() else {}
    rows = rows[~damaged].reset_index(drop=True)
    order = list(range(len(rows)))
    random.Random(SEED).shuffle(order)
    train, validation = int(len(rows) * TRAIN_SHARE), int(len(rows) * (TRAIN_SHARE + VALIDATION_SHARE))
    split = np.empty(len(rows), dtype=object)
    split[order[:train]] = "train"
    split[order[train:validation]] = "validation"
    split[order[validation:]] = "test"
    rows = rows.assign(item=rows["screen"], subject=rows["screen"], split=split)
    notes = ["The table does not say of which app a screen is: an app may be on two sides of the split."]
    if params.mode == PUBLISHED:
        again = rows[rows["split"] == "train"]
        rows = pd.concat(
            [rows[rows["split"] != "test"], again.assign(item=again["item"] + AGAIN, split="test")], ignore_index=True
        )
        excluded["the test split, as published"] = len(order) - validation
        notes.append("As published: the test items are the training items once more, so the scores are of no use.")
    unknown = rows["topic"].isna()
    if unknown.any():
        excluded["the topic is unknown"] = int(unknown.sum())
    return published_cohort(rows[~unknown], params, tasks=("topic",), excluded=excluded, notes=notes)


def read_evidence(raw: Path, modality: str, cohort: Cohort, params: EnricoParams) -> VectorEvidence:
    """RGB in [0, 1], channels first. A picture that is missing or damaged is absent and counted."""
    folder, ending = FOLDERS[modality]
    paths = [raw / folder / f"{screen}{ending}" for screen in cohort.items["screen"]]
    values, left_out = read_rgb(paths, params.height, params.width)
    present = ~np.isnan(values).any(axis=1)
    if not present.any():
        raise RawFileError(
            f"{raw / folder}: none of {len(paths)} pictures can be read: {left_out}. Unpack ENRICO's archive again."
        )
    return VectorEvidence(
        values=values,
        present=present,
        names=rgb_names(params.height, params.width),
        card={"layout": f"3 x {params.height} x {params.width}: channels, rows, columns"},
        quarantined=left_out,
    )


def _read_topics(path: Path) -> pd.DataFrame:
    """`screen`, `topic` (its place in TOPICS, NaN = none of them). Raises RawFileError for a file that is not readable,
    ContractError for another table."""
    if not path.is_file():
        raise RawFileError(f"{path}: missing. Put ENRICO's table of topics there.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            if missing := [name for name in ("screen_id", "topic") if name not in (table.fieldnames or ())]:
                raise ContractError(f"{path}: column '{missing[0]}' is missing. Take ENRICO's design_topics.csv.")
            read = [(row["screen_id"], row["topic"]) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        # Its message may quote the bytes.
        raise RawFileError(
            f"{path}: not a CSV in UTF-8 ({type(error).__name__}). Save it as UTF-8, or take ENRICO's {TABLE} again."
        ) from None
    if wrong := sum(not (screen or "").isdigit() for screen, _ in read):
        raise ContractError(f"{path}: {wrong} of {len(read)} rows name no screen by number. Take ENRICO's table.")
    if len({screen for screen, _ in read}) < len(read):
        raise ContractError(f"{path}: a screen is named twice. Take ENRICO's table.")
    if not read:
        raise CohortError(f"{path}: names no screen. Take ENRICO's table.")
    place = {topic: number for number, topic in enumerate(TOPICS)}
    return pd.DataFrame(
        {"screen": [screen for screen, _ in read], "topic": [place.get(topic, np.nan) for _, topic in read]}
    )


ENRICO = Dataset(
    name="enrico",
    title="ENRICO: screens of apps",
    raw="enrico",
    sources={"topics": (TABLE,), "screenshots": ("screenshots/*.jpg",), "wireframes": ("wireframes/*.png",)},
    cohort_sources=("topics",),
    modalities=(
        Modality(
            name="screenshot",
            description="The screen as it looks, RGB.",
            sources=("screenshots",),
            evidence="vectors",
            featurizer="given",
        ),
        Modality(
            name="wireframe",
            description="The screen's parts drawn in plain colours, RGB.",
            sources=("wireframes",),
            evidence="vectors",
            featurizer="given",
        ),
    ),
    tasks=(Task(name="topic", number=None, kind="multiclass", description="What the screen is for", classes=TOPICS),),
    inspect=inspect,
    build_cohort=build_cohort,
    read_evidence=read_evidence,
    cohort_defaults=EnricoParams(),
    modes=(CLEAN, PUBLISHED),
    training_defaults={
        "batch_size": 32,
        "draw": "classes",
        "highmmt": {"tokens": {name: {"shape": [3, 256, 128]} for name in FOLDERS}},
    },
    citation="Leiva et al., Enrico, MobileHCI 2020; Liang et al., MultiBench, NeurIPS Datasets and Benchmarks 2021, "
    "arXiv:2107.07502",
    licence="MIT for the collection; the screenshots come from Rico and show apps that are others'.",
)
