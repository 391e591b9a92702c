"""Made-up chest X-rays: two dark lungs, a bright heart and mediastinum whose widths show the hidden causes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.mimic.generated_people import CARDIOMEGALY_ABOVE, MEDIASTINUM_ABOVE, People, hours

_FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
_STUDY = ["subject_id", "study_id"]


@dataclass(frozen=True)
class Xrays:
    """The tables as MIMIC-CXR-JPG has them, and `shown`: each image's causes, view, time, admission."""

    metadata: pd.DataFrame
    split: pd.DataFrame
    chexpert: pd.DataFrame
    negbio: pd.DataFrame
    shown: pd.DataFrame


def make_xrays(rng: np.random.Generator, people: People, sides: tuple[int, int]) -> Xrays:
    """sides: the shortest and longest side of an image, in pixels."""
    studies = _studies(rng, people)
    images = studies.loc[studies.index.repeat(np.where(rng.random(len(studies)) < 0.35, 2, 1))].reset_index(drop=True)
    second = images.duplicated("study_id").to_numpy()
    moment = (
        images["time"].to_numpy() + hours(second * 0.05) + rng.integers(0, 60, len(images)).astype("timedelta64[s]")
    )
    images["time"] = moment
    digits = rng.integers(0, 16, (len(images), 40))
    names = ["-".join("".join(f"{d:x}" for d in row[i : i + 8]) for i in range(0, 40, 8)) for row in digits.tolist()]
    when = images["time"].dt
    metadata = pd.DataFrame(
        {
            "dicom_id": names,
            **images[_STUDY],
            "PerformedProcedureStepDescription": "CHEST (PORTABLE AP)",
            "ViewPosition": np.where(second, "LATERAL", "AP"),
            "Rows": rng.integers(sides[0], sides[1] + 1, len(images)),
            "Columns": rng.integers(sides[0], sides[1] + 1, len(images)),
            "StudyDate": when.year * 10_000 + when.month * 100 + when.day,
            # Without leading zeros, as in the real file: 08:05:56.875 is 80556.875.
            "StudyTime": when.hour * 10_000 + when.minute * 100 + when.second + rng.integers(0, 8, len(images)) / 8,
            "ProcedureCodeSequence_CodeMeaning": "CHEST (PORTABLE AP)",
            "ViewCodeSequence_CodeMeaning": np.where(second, "lateral", "antero-posterior"),
            "PatientOrientationCodeSequence_CodeMeaning": "Erect",
        }
    )
    order = np.lexsort((metadata["dicom_id"], metadata["study_id"], metadata["subject_id"]))
    metadata = metadata.iloc[order].reset_index(drop=True)
    shown = images.assign(lateral=second)[[*_STUDY, "heart", "mediastinum", "severity", "lateral", "hadm_id", "time"]]
    split = metadata[["dicom_id", "study_id", "subject_id"]].assign(
        split=rng.choice(["train", "validate", "test"], len(metadata))
    )
    chexpert = _labels(rng, studies)
    return Xrays(metadata, split, chexpert, _second_opinion(rng, chexpert), shown.iloc[order].reset_index(drop=True))


def write_images(rng: np.random.Generator, root: Path, xrays: Xrays) -> dict[str, int]:
    """The JPEGs in their folders, a few of them broken. Returns the faults planted."""
    from PIL import Image

    metadata, causes = xrays.metadata, xrays.shown[["heart", "mediastinum", "severity", "lateral"]]
    kinds = ("empty", "truncated", "missing")
    faults = dict(zip(rng.permutation(len(metadata)).tolist(), kinds * max(1, len(metadata) // 250), strict=False))
    sizes = metadata[["Rows", "Columns"]].itertuples(index=False)
    rows = zip(image_paths(metadata), sizes, causes.itertuples(index=False), strict=True)
    for number, (name, (height, width), shown) in enumerate(rows):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(_picture(rng, height, width, *shown)).save(buffer, "JPEG", quality=85)
        data = buffer.getvalue()
        fault = faults.get(number)
        if fault != "missing":
            path.write_bytes(data[: {"empty": 0, "truncated": len(data) // 2}.get(fault or "", len(data))])
    return {f"image {kind}": list(faults.values()).count(kind) for kind in kinds}


def make_reader_labels(rng: np.random.Generator, xrays: Xrays) -> pd.DataFrame:
    """One radiologist's labels of the test studies, which MIMIC-CXR-JPG 2.1.0 adds: no subject_id, one other name."""
    studies = xrays.split.loc[xrays.split["split"] == "test", "study_id"].unique()
    labels = xrays.chexpert[xrays.chexpert["study_id"].isin(studies)].drop(columns="subject_id")
    slips = rng.random(len(labels)) < 0.05
    labels["Cardiomegaly"] = labels["Cardiomegaly"].mask(slips, -1.0)
    return labels.rename(columns={"Lung Opacity": "Airspace Opacity"}).reset_index(drop=True)


def image_paths(metadata: pd.DataFrame) -> pd.Series:
    """As MIMIC-CXR-JPG keeps them, below the folder that holds its tables."""
    subject, study = metadata["subject_id"].astype(str), metadata["study_id"].astype(str)
    return "files/p" + subject.str[:2] + "/p" + subject + "/s" + study + "/" + metadata["dicom_id"] + ".jpg"


def _studies(rng: np.random.Generator, people: People) -> pd.DataFrame:
    """One or two studies per admission, from its fourth hour on; one patient in twelve has one before any admission."""
    causes = people.causes
    inside = causes.loc[causes.index.repeat(1 + (rng.random(len(causes)) < 0.15))].reset_index(drop=True)
    span = (inside["dischtime"] - inside["admittime"]).to_numpy() / np.timedelta64(1, "h")
    inside["time"] = inside["admittime"].to_numpy() + hours(4 + rng.random(len(inside)) * np.clip(span - 5, 0.5, 48))
    inside["time"] = np.minimum(inside["time"], inside["dischtime"].to_numpy() - np.timedelta64(600, "s"))
    first = causes.sort_values("admittime").drop_duplicates("subject_id").sort_values("subject_id")
    outside = first[rng.random(len(first)) < 0.08]
    outside = outside.assign(
        time=outside["start_time"].to_numpy() - hours(24 * rng.uniform(5, 40, len(outside))), hadm_id=-1
    )
    studies = pd.concat([inside, outside], ignore_index=True)
    studies["study_id"] = 50_000_001 + rng.permutation(9_000_000)[: len(studies)]
    return studies.sort_values(_STUDY, ignore_index=True)


def _labels(rng: np.random.Generator, studies: pd.DataFrame) -> pd.DataFrame:
    """By the hidden causes; 7 % uncertain (-1), 8 % not mentioned, and 1 % of studies have no row at all."""
    labels = studies[_STUDY].copy()
    truth = {
        "Cardiomegaly": studies["heart"].gt(CARDIOMEGALY_ABOVE),
        "Enlarged Cardiomediastinum": studies["mediastinum"].gt(MEDIASTINUM_ABOVE),
        "Pleural Effusion": studies["severity"].gt(0.7),
    }
    for finding in _FINDINGS:
        if finding not in truth:
            labels[finding] = np.where(rng.random(len(labels)) < 0.1, 1.0, np.nan)
            continue
        value = truth[finding].to_numpy().astype(float)
        chance = rng.random(len(labels))
        labels[finding] = np.select([chance < 0.07, chance < 0.15], [-1.0, np.nan], value)
    return labels[rng.random(len(labels)) >= 0.01].reset_index(drop=True)


def _second_opinion(rng: np.random.Generator, chexpert: pd.DataFrame) -> pd.DataFrame:
    negbio = chexpert.copy()
    for finding in ("Cardiomegaly", "Enlarged Cardiomediastinum"):
        chance = rng.random(len(negbio))
        value = negbio[finding].to_numpy()
        negbio[finding] = np.select(
            [chance < 0.04, chance < 0.07], [-1.0, np.where(value >= 0, 1 - value, value)], value
        )
    return negbio


def _picture(
    rng: np.random.Generator, height: int, width: int, heart: float, mediastinum: float, severity: float, lateral: bool
) -> np.ndarray:
    """(height, width) uint8. A lateral view shows half as much of the heart and nothing of the mediastinum."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    seen = (0.5 if lateral else 1.0) * heart + 1.0 * rng.normal()
    heart_half = np.clip(0.34 + 0.07 * seen, 0.12, 0.62)
    middle_half = np.clip(0.13 + 0.04 * ((0.0 if lateral else 1.0) * mediastinum + 0.9 * rng.normal()), 0.03, 0.3)
    tilt = 0.04 * rng.normal()

    def soft(distance: np.ndarray, edge: float = 0.12) -> np.ndarray:
        return np.clip((1 - distance) / edge, 0, 1)

    lungs = sum(soft(((x - side * 0.48 - tilt) / 0.38) ** 2 + ((y + 0.08) / 0.72) ** 2) for side in (-1, 1))
    field = 165 - (105 - 12 * severity) * np.clip(lungs, 0, 1)
    centre = tilt + (0.0 if lateral else 0.10)
    heart_mask = soft(((x - centre) / heart_half) ** 2 + ((y - 0.28) / (0.22 + 0.45 * heart_half)) ** 2)
    middle_mask = soft(np.abs(x - tilt) / middle_half, 0.3) * (y < 0.5)
    field = field + (205 - field) * np.clip(np.maximum(heart_mask, middle_mask), 0, 1)
    field = field + 6 * rng.normal(size=field.shape) + 8 * rng.normal()
    return np.clip(field, 0, 255).astype(np.uint8)
