"""Made-up notes: echo reports speak of heart and mediastinum, ECG reports of heart and severity, radiology reports of
severity, discharge notes of the end. MIMIC-IV-Note's tables, and HAIM's, which are in no public release."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmn.data.mimic.generated_people import People, hours

_HEART = (
    "The left ventricular cavity is small and the left atrium is normal in size. All dimensions are normal.",
    "The left ventricle is borderline in size. The left atrium is mildly dilated. Wall thickness is normal.",
    "The left ventricular cavity is severely dilated with enlargement of all four chambers. Markedly enlarged heart.",
)
_MEDIASTINUM = (
    "The aortic root and ascending aorta are of normal calibre. The mediastinal contours are unremarkable.",
    "The ascending aorta is at the upper limit of normal calibre.",
    "The ascending aorta is markedly dilated and the mediastinum is widened, with an aneurysmal aortic arch.",
)
_SEVERITY = (
    "The lungs are clear. No acute cardiopulmonary process. The patient breathes room air and is comfortable.",
    "Mild bibasilar atelectasis. Small pleural effusion. Support devices are in unchanged position.",
    "Diffuse bilateral opacities with large effusions, worsening rapidly. Endotracheal tube and many lines. Critical.",
)
_RHYTHM = (
    "Sinus rhythm. Within normal limits.",
    "Sinus tachycardia. Nonspecific ST-T wave changes.",
    "Atrial fibrillation with rapid ventricular response. Left ventricular hypertrophy with strain.",
)
_CLOSING = (
    "Study of fair quality.",
    "Compared with the prior study, no other change.",
    "Findings were discussed with the team.",
)


@dataclass(frozen=True)
class Notes:
    """The tables of MIMIC-IV-Note, and what HAIM's echo table is made from."""

    radiology: pd.DataFrame
    discharge: pd.DataFrame
    echo: pd.DataFrame


@dataclass(frozen=True)
class StayNotes:
    """HAIM's tables: a row per note and ICU stay of its admission, ids as floats, times with a zone.

    `offset`: from the stay's start to the note, as an interval, and `offset.num` in hours. How HAIM matched notes to
    stays is not known; here by admission. rad has its ids twice, as left over from a join.
    """

    echo: pd.DataFrame
    ecg: pd.DataFrame
    radiology: pd.DataFrame
    discharge: pd.DataFrame


def make_notes(rng: np.random.Generator, people: People, images: pd.DataFrame) -> Notes:
    return Notes(_radiology(rng, people, images), _discharge(people), _echo(rng, people))


def make_stay_notes(rng: np.random.Generator, people: People, notes: Notes) -> StayNotes:
    rad = _per_stay(people, notes.radiology)
    return StayNotes(
        echo=_with_offsets(notes.echo.astype({"subject_id": float, "hadm_id": float, "stay_id": float})),
        ecg=_per_stay(people, _ecg(rng, people)).drop(columns="offset.num"),
        radiology=rad.assign(subject_id_1=rad["subject_id"], hadm_id_1=rad["hadm_id"]),
        discharge=_per_stay(people, notes.discharge).drop(columns="offset.num"),
    )


def _ecg(rng: np.random.Generator, people: People) -> pd.DataFrame:
    """Most admissions have one on arrival; some a second, days later."""
    causes = people.causes[rng.random(len(people.causes)) < 0.8].reset_index(drop=True)
    first = causes.assign(charttime=causes["start_time"].to_numpy() + hours(rng.uniform(0.1, 1.5, len(causes))))
    later = causes[rng.random(len(causes)) < 0.2]
    later = later.assign(charttime=later["admittime"].to_numpy() + hours(rng.uniform(20, 70, len(later))))
    rows = pd.concat([first, later], ignore_index=True).sort_values(["subject_id", "charttime"], ignore_index=True)
    text = _worded(rng, 0.6 * rows["heart"].to_numpy() + 0.8 * rows["severity"].to_numpy(), _RHYTHM, noise=1.2)
    return _note_rows(rows, "EK", rows["hadm_id"].astype("Int64"), text)


def _per_stay(people: People, notes: pd.DataFrame) -> pd.DataFrame:
    stays = people.stays[["hadm_id", "stay_id", "intime", "outtime"]].astype({"hadm_id": "Int64"})
    rows = notes[notes["hadm_id"].notna()].merge(stays, on="hadm_id")
    rows = rows.sort_values(["subject_id", "hadm_id", "stay_id", "note_id"], ignore_index=True)
    order = ["subject_id", "hadm_id", "stay_id", "intime", "outtime", "note_id", "note_type", "note_seq", "charttime"]
    rows = rows[[*order, "storetime", "text"]].astype({"subject_id": float, "hadm_id": float, "stay_id": float})
    for name in ("charttime", "storetime"):
        rows[name] = rows[name].dt.strftime("%Y-%m-%d %H:%M:%S+00:00")
    return _with_offsets(rows)


def _with_offsets(rows: pd.DataFrame) -> pd.DataFrame:
    offset = pd.to_datetime(rows["charttime"], utc=True).dt.tz_localize(None) - rows["intime"]
    return rows.assign(**{"offset": offset.astype("str"), "offset.num": offset / pd.Timedelta(hours=1)})


def _radiology(rng: np.random.Generator, people: People, images: pd.DataFrame) -> pd.DataFrame:
    """A report per X-ray study in an admission, and one more per admission for other reasons; 15 % without hadm_id."""
    causes = people.causes
    studies = images[images["hadm_id"] > 0].drop_duplicates("study_id")
    others = causes["admittime"].to_numpy() + hours(rng.uniform(0, 20, len(causes)))
    times = [studies["time"].to_numpy() + np.timedelta64(3600, "s"), others]
    columns = ["subject_id", "hadm_id", "severity"]
    rows = pd.concat([studies[columns], causes[columns]], ignore_index=True).assign(charttime=np.concatenate(times))
    rows = rows.sort_values(["subject_id", "charttime"], ignore_index=True)
    words = _worded(rng, rows["severity"].to_numpy(), _SEVERITY, noise=1.0)
    text = "EXAMINATION: CHEST\n\nFINDINGS:\n" + words + "\n" + pd.Series(rng.choice(_CLOSING, len(rows)))
    unmatched = rng.random(len(rows)) < 0.15
    return _note_rows(rows, "RR", rows["hadm_id"].astype("Int64").where(~unmatched), text)


def _discharge(people: People) -> pd.DataFrame:
    rows = people.causes.assign(charttime=people.causes["dischtime"])
    text = "Discharge summary.\nDischarge condition: " + pd.Series(
        np.where(rows["dies"], "Expired.", "Stable, ambulatory.")
    )
    return _note_rows(rows, "DS", rows["hadm_id"].astype("Int64"), text)


def _echo(rng: np.random.Generator, people: People) -> pd.DataFrame:
    """HAIM's export: one row per report and ICU stay, times with a zone. A few come late, some are empty."""
    causes = people.causes[rng.random(len(people.causes)) < 0.75].reset_index(drop=True)
    early = causes.assign(charttime=causes["start_time"].to_numpy() + hours(rng.uniform(0.2, 2, len(causes))))
    late = causes[rng.random(len(causes)) < 0.15]
    late = late.assign(charttime=late["admittime"].to_numpy() + hours(rng.uniform(40, 90, len(late))))
    rows = pd.concat([early, late], ignore_index=True)
    text = (
        "TRANSTHORACIC ECHOCARDIOGRAM\n"
        + _worded(rng, rows["heart"].to_numpy(), _HEART, noise=1.1)
        + "\n"
        + _worded(rng, rows["mediastinum"].to_numpy(), _MEDIASTINUM, noise=1.1)
        + "\n"
        + pd.Series(rng.choice(_CLOSING, len(rows)))
    )
    rows = rows.assign(text=text.where(rng.random(len(rows)) >= 0.01))
    rows = rows.merge(people.stays[["hadm_id", "stay_id", "intime", "outtime"]], on="hadm_id")
    rows = rows.sort_values(["subject_id", "hadm_id", "stay_id", "charttime"], ignore_index=True)
    zoned = rows["charttime"].dt.strftime("%Y-%m-%d %H:%M:%S+00:00")
    return pd.DataFrame(
        {
            **rows[["subject_id", "hadm_id", "stay_id", "intime", "outtime"]],
            "note_id": rows["subject_id"].astype(str)
            + "-EC-"
            + (rows.groupby("subject_id").cumcount() + 1).astype(str),
            "note_type": "EC",
            "note_seq": rows.groupby("subject_id").cumcount() + 1,
            "charttime": zoned,
            "storetime": zoned,
            "text": rows["text"],
        }
    )


def _note_rows(rows: pd.DataFrame, kind: str, hadm_id: pd.Series, text: pd.Series) -> pd.DataFrame:
    number = rows.groupby("subject_id").cumcount() + 1
    return pd.DataFrame(
        {
            "note_id": rows["subject_id"].astype(str) + f"-{kind}-" + number.astype(str),
            "subject_id": rows["subject_id"],
            "hadm_id": hadm_id,
            "note_type": kind,
            "note_seq": number,
            "charttime": rows["charttime"],
            "storetime": rows["charttime"],
            "text": text.to_numpy(),
        }
    )


def _worded(rng: np.random.Generator, cause: np.ndarray, phrases: tuple[str, ...], noise: float) -> pd.Series:
    """One of three phrases, by the cause seen through noise."""
    seen = (cause + noise * rng.normal(size=len(cause))) / np.sqrt(1 + noise**2)
    return pd.Series(np.array(phrases, dtype=object)[np.digitize(seen, [-0.6, 0.3])])
