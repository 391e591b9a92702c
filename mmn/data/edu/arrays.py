"""The published form of weekly features: a folder per feature set with an array, its names and the labels.

`{timeframe}-{set}-{course}/` holds `feature_values.npz` (students, weeks, features), `feature_labels.csv` and
`settings.txt`; beside them lies `user_id_mapping-{course}.csv`. In `eq_week` each week stands by itself, in `lq_week`
it holds all weeks before it too. Their label for passing has the other sign: 1 is FAIL.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.edu.layout import FEATURE_SETS, find_sets
from mmn.data.errors import CohortError, ContractError, RawFileError
from mmn.data.files import write_bytes, write_json

# Columns in the order of the published arrays, under our names.
SET_COLUMNS: dict[str, tuple[str, ...]] = {
    "boroujeni_et_al": ("RegPeakTimeDayHour", "RegPeriodicityM1", "DelayLecture"),
    "chen_cui": (
        "TotalClicks", "NumberOfSessions", "TotalTimeSessions", "AvgTimeSessions", "StdTimeBetweenSessions",
        "StdTimeSessions", "TotalClicksWeekday", "TotalClicksWeekend", "RatioClicksWeekendDay", "TotalClicksVideo",
        "TotalClicksProblem", "TotalTimeProblem", "TotalTimeVideo",
    ),
    "lalle_conati": (
        "TotalClicksVideoLoad", "AvgWatchedWeeklyProp", "StdWatchedWeeklyProp", "AvgReplayedWeeklyProp",
        "StdReplayedWeeklyProp", "AvgInterruptedWeeklyProp", "StdInterruptedWeeklyProp", "TotalClicksVideoConati",
        "FrequencyEventVideo", "FrequencyEventLoad", "FrequencyEventPlay", "FrequencyEventPause", "FrequencyEventStop",
        "FrequencyEventSeekBackward", "FrequencyEventSeekForward", "FrequencyEventSpeedChange", "AvgSeekLength",
        "StdSeekLength", "AvgPauseDuration", "StdPauseDuration", "AvgTimeSpeedingUp", "StdTimeSpeedingUp",
    ),
    "marras_et_al": (
        "CompetencyStrength", "CompetencyAlignment", "CompetencyAnticipation", "ContentAlignment",
        "ContentAnticipation", "StudentSpeed", "StudentShape",
    ),
}  # fmt: skip
PERFORMANCE = ("CompetencyStrength", "CompetencyAlignment", "StudentShape")
_LABELS = ("user_index", "label-grade", "label-pass-fail")
_FILTERED = "Unnamed: 0"


@dataclass(frozen=True, kw_only=True)
class WeeklyArrays:
    """Imported weekly features of one course.

    values: our name -> (N, T) float64, NaN = undefined. users: (N,) strings. grade, passed: (N,); 1 = passed, NaN = not
    known. filtered: the students who obviously fail were left out before the arrays were written.
    """

    course: str
    values: dict[str, np.ndarray]
    users: np.ndarray
    grade: np.ndarray
    passed: np.ndarray
    filtered: bool

    @property
    def num_weeks(self) -> int:
        return int(self.values["TotalClicks"].shape[1])


def other_sign(label: np.ndarray) -> np.ndarray:
    """The published label (1 = FAIL) from ours (1 = passed), and back; NaN stays. The one place where it is turned."""
    return 1 - label


def read_arrays(raw: Path, course: str = "", timeframe: str = "eq_week") -> WeeklyArrays:
    """course: its name, with `-` or `_`; "" = the only one. Raises RawFileError, ContractError, CohortError."""
    courses = find_sets(raw, timeframe)
    if not courses:
        raise RawFileError(
            f"{raw}: no course has all four folders {timeframe}-SET-COURSE with SET one of {', '.join(FEATURE_SETS)}."
        )
    name = course.replace("-", "_") or next(iter(courses))
    if (not course and len(courses) > 1) or name not in courses:
        raise CohortError(
            f"{raw}: feature arrays of {', '.join(courses)} are there. Set edu.cohort.course in params.yaml to one."
        )
    values: dict[str, np.ndarray] = {}
    labels: pd.DataFrame | None = None
    for each, folder in courses[name].items():
        array, found = _read_values(folder, SET_COLUMNS[each]), _read_labels(folder)
        if len(found) != len(array):
            raise ContractError(f"{folder}: {len(array)} students in feature_values.npz, {len(found)} in the labels.")
        if labels is not None and not labels.equals(found):
            raise ContractError(f"{folder}: its labels are not those of the other sets. Take all sets of one export.")
        if values and array.shape[:2] != (shape := next(iter(values.values())).shape):
            raise ContractError(f"{folder}: {array.shape[:2]} students and weeks, the other sets have {shape}.")
        labels = found
        values |= {column: array[:, :, place] for place, column in enumerate(SET_COLUMNS[each])}
    assert labels is not None
    return WeeklyArrays(
        course=name, values=values, users=_users(labels["user_index"], courses[name]["chen_cui"].parent, name),
        grade=labels["label-grade"].to_numpy(dtype="float64"), passed=_passed(labels, raw),
        filtered=_FILTERED in labels,
    )  # fmt: skip


def write_arrays(
    folder: Path,
    course: str,
    values: Mapping[str, np.ndarray],
    users: np.ndarray,
    grade: np.ndarray,
    passed: np.ndarray,
    cumulative: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the four folders below `folder`, and four of `lq_week` where cumulative is given. values, cumulative: all
    45 names -> (N, T). label-stopout: the last week with a video click, -1 = none; label-dropout: 1 where that is
    before the course's last week."""
    frames = {"eq_week": values} | ({"lq_week": cumulative} if cumulative is not None else {})
    for frame in frames.values():
        if missing := [name for names in SET_COLUMNS.values() for name in names if name not in frame]:
            raise ContractError(f"{folder}: {len(missing)} of the 45 features are missing, the first is {missing[0]}.")
    weeks = values["TotalClicksVideo"].shape[1]
    watched = np.nan_to_num(values["TotalClicksVideo"]) > 0
    stopout = np.where(watched, np.arange(weeks), -1).max(axis=1)
    labels = pd.DataFrame({
        "user_index": np.arange(len(users)),
        "label-grade": grade,
        "label-pass-fail": pd.array(other_sign(passed), dtype="Int64"),
        "label-dropout": (stopout < weeks - 1).astype(int),
        "label-stopout": stopout,
    })  # fmt: skip
    name = course.replace("-", "_")
    for timeframe, frame in frames.items():
        for each, columns in SET_COLUMNS.items():
            target = folder / f"{timeframe}-{each}-{name}"
            array = np.stack([np.asarray(frame[column], dtype="float64") for column in columns], axis=-1)
            write_bytes(target / "feature_values.npz", _npz(array))
            write_bytes(target / "feature_labels.csv", labels.to_csv(index=False).encode())
            write_json(target / "settings.txt", {
                "course": course, "feature_names": list(columns), "feature_set": each, "timeframe": timeframe,
            })  # fmt: skip
    mapping = pd.DataFrame({"user_id": users, "user_index": np.arange(len(users))})
    write_bytes(folder / f"user_id_mapping-{course}.csv", mapping.to_csv(index=False).encode())


def clean_name(name: str) -> str:
    """Names written by Python hold `<function mean at 0x7f...>`; the address says nothing and changes."""
    return re.sub(r"<(?:function|built-in function) (\w+)(?: at 0x[0-9a-fA-F]+)?>", r"\1", name)


def _read_values(folder: Path, columns: tuple[str, ...]) -> np.ndarray:
    path = folder / "feature_values.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            array = file["feature_values"]
    except FileNotFoundError:
        raise RawFileError(f"{path} is missing. Copy the whole folder again.") from None
    except KeyError:
        raise ContractError(f"{path}: holds no array 'feature_values'.") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise RawFileError(
            f"{path}: no sound npz file of plain numbers ({type(error).__name__}). Copy it again."
        ) from None
    if array.ndim != 3 or array.shape[2] != len(columns) or not np.issubdtype(array.dtype, np.floating):
        raise ContractError(
            f"{path}: {array.dtype} of shape {array.shape}; expected floats (students, weeks, {len(columns)})."
        )
    if infinite := int(np.isinf(array).sum()):
        raise ContractError(f"{path}: {infinite} of {array.size} values are infinite; only NaN may be undefined.")
    if names := _settings_names(folder):
        same = [clean_name(name) for name in names]
        if len(same) != len(columns):
            raise ContractError(f"{folder / 'settings.txt'}: {len(same)} feature_names for {len(columns)} columns.")
    return array.astype("float64")


def _settings_names(folder: Path) -> list[str]:
    path = folder / "settings.txt"
    if not path.exists():
        return []
    try:
        return [str(name) for name in json.loads(path.read_text(encoding="utf-8")).get("feature_names", [])]
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
        raise ContractError(f"{path}: not JSON. Copy the folder again, or remove this file.") from None


def _read_labels(folder: Path) -> pd.DataFrame:
    path = folder / "feature_labels.csv"
    if not path.is_file():
        raise RawFileError(f"{path} is missing. Copy the whole folder again.")
    labels = pd.read_csv(path, dtype={"user_index": "str"})
    if missing := [name for name in _LABELS if name not in labels]:
        raise ContractError(f"{path}: column {', '.join(map(repr, missing))} missing.")
    if labels["user_index"].isna().any() or labels["user_index"].duplicated().any():
        raise ContractError(f"{path}: a user_index is empty or there twice. One row per student is promised.")
    return labels


def _users(index: pd.Series, folder: Path, course: str) -> np.ndarray:
    """The students' own ids where the mapping is there, else their index."""
    paths = [folder / f"user_id_mapping-{name}.csv" for name in (course, course.replace("_", "-"))]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return index.to_numpy(dtype=object)
    mapping = pd.read_csv(path, dtype="str")
    if not {"user_id", "user_index"} <= set(mapping) or mapping["user_index"].duplicated().any():
        raise ContractError(f"{path}: expected columns user_id and user_index, one row per user_index.")
    users = mapping.set_index("user_index")["user_id"].reindex(index)
    if users.isna().any() or users.duplicated().any():
        raise ContractError(
            f"{path}: {int(users.isna().sum())} of {len(users)} user_index are not there, or two share an id."
        )
    return users.to_numpy(dtype=object)


def _passed(labels: pd.DataFrame, raw: Path) -> np.ndarray:
    label = pd.to_numeric(labels["label-pass-fail"], errors="coerce").to_numpy(dtype="float64")
    if not np.isin(label[~np.isnan(label)], (0, 1)).all():
        raise ContractError(f"{raw}: column 'label-pass-fail' holds numbers other than 0 and 1 (1 = fail).")
    return other_sign(label)


def _npz(array: np.ndarray) -> bytes:
    """Like `np.savez_compressed`, without a time stamp, so that the same array gives the same bytes."""
    inner, outer = io.BytesIO(), io.BytesIO()
    np.save(inner, array, allow_pickle=False)
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(
            zipfile.ZipInfo("feature_values.npy", (1980, 1, 1, 0, 0, 0)), inner.getvalue(), zipfile.ZIP_DEFLATED
        )
    return outer.getvalue()
