"""Nothing later than the prediction reaches a feature: every modality of both data sets, read from two worlds.

The worlds are one until each patient's first prediction; whatever is later is moved and says something else in the
second. A third world, in which what is earlier has changed, shows that the comparison would notice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import Cohort
from mmn.data.evidence import EventEvidence, Evidence, ImageEvidence, TableEvidence, TextEvidence
from mmn.data.mimic import MIMIC, MIMIC_ICU
from mmn.data.mimic.params import CxrParams, IcuParams
from tests.data.mimic_worlds import tiny_world

HAIM = CxrParams(mode="haim")
DATASETS = {"mimic": (MIMIC, CxrParams()), "mimic_icu": (MIMIC_ICU, IcuParams()), "mimic in mode haim": (MIMIC, HAIM)}
CLEAN = [name for name, (_, params) in DATASETS.items() if params.mode == "clean"]
CASES = [(name, modality.name) for name in CLEAN for modality in DATASETS[name][0].modalities]
# Table -> its time, and what it says.
EVENTS = {
    "icu/chartevents": ("charttime", "valuenum", "3"),
    "hosp/labevents": ("charttime", "valuenum", "3"),
    "icu/procedureevents": ("starttime", "value", "3"),
    "note/echo_icustay": ("charttime", "text", "something else"),
    "note/ecg_icustay": ("charttime", "text", "something else"),
    "note/rad_icustay": ("charttime", "text", "something else"),
    "note/radiology": ("charttime", "text", "something else"),
}
METADATA = "mimic-cxr-2.0.0-metadata"
CODES = {"demographics"}  # in mode haim they depend on the words of everyone
SEES_THE_FUTURE = {
    "procedures", "notes", "ecg_notes", "radiology_notes", "xray_history", "xray_history_findings",
}  # fmt: skip
NEVER_LATER = {"demographics", "xray", "xray_findings"}
Moments = pd.Series


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("as_of") / "raw", 1)


@pytest.fixture(scope="module")
def cohorts(world) -> dict[str, Cohort]:
    """Each patient's first prediction alone, so that all that follows is later."""
    first = {}
    for name, (dataset, params) in DATASETS.items():
        cohort = dataset.build_cohort(world, params)
        items = cohort.items.sort_values("prediction_time").drop_duplicates("subject").reset_index(drop=True)
        first[name] = replace(cohort, items=items)
    return first


@pytest.fixture(scope="module")
def after(world, cohorts, tmp_path_factory) -> dict[str, Path]:
    return disturbed(world, cohorts, tmp_path_factory.mktemp("after"), lambda moment, until: moment > until)


@pytest.fixture(scope="module")
def before(world, cohorts, tmp_path_factory) -> dict[str, Path]:
    return disturbed(world, cohorts, tmp_path_factory.mktemp("before"), lambda moment, until: moment <= until)


def disturbed(world: Path, cohorts: dict[str, Cohort], to: Path, which: Callable[..., pd.Series]) -> dict[str, Path]:
    """Per data set a world in which the rows of certain moments are an hour later, and say something else if they are
    of the future; an image is a day later, or some days earlier if it is of the past."""
    worlds = {}
    for name, cohort in cohorts.items():
        worlds[name] = raw = to / name
        shutil.copytree(world, raw)
        until = cohort.items.set_index("subject_id")["prediction_time"]
        for table, (time, column, said) in EVENTS.items():
            rows = pd.read_csv(raw / f"{table}.csv.gz", dtype="str")
            moments = pd.to_datetime(rows[time], utc=True).dt.tz_localize(None)
            limit = rows["subject_id"].astype(float).map(until)
            chosen = which(moments, limit)
            assert chosen.any(), table
            moved = (moments + pd.Timedelta(hours=1)).dt.strftime("%Y-%m-%d %H:%M:%S")
            rows.loc[chosen, time] = moved[chosen]
            rows.loc[chosen & (moments > limit), column] = said
            rows.to_csv(raw / f"{table}.csv.gz", index=False)
        _disturb_images(raw, until, which)
        _disturb_admissions(raw, until, which)
    return worlds


def _disturb_images(raw: Path, until: Moments, which: Callable[..., pd.Series]) -> None:
    images = pd.read_csv(raw / f"{METADATA}.csv.gz")
    moments = pd.to_datetime(images["StudyDate"].astype(str)) + pd.to_timedelta(
        images["StudyTime"] // 10_000 * 60 + images["StudyTime"] // 100 % 100, unit="min"
    )
    limit = images["subject_id"].map(until)
    chosen = which(moments, limit)
    assert chosen.any()
    past = chosen & (moments <= limit)
    days = np.where(past, -1 - images.index % 5, 1)
    day = moments.dt.normalize() + pd.to_timedelta(days, unit="D")
    images.loc[chosen, "StudyDate"] = day.dt.strftime("%Y%m%d").astype(int)[chosen]
    images.to_csv(raw / f"{METADATA}.csv.gz", index=False)
    for image in images[chosen & ~past].itertuples():
        path = raw / f"files/p{str(image.subject_id)[:2]}/p{image.subject_id}/s{image.study_id}/{image.dicom_id}.jpg"
        path.write_bytes(b"")


def _disturb_admissions(raw: Path, until: Moments, which: Callable[..., pd.Series]) -> None:
    """An admission's facts are known from its start, how it ends from its end."""
    rows = pd.read_csv(raw / "hosp/admissions.csv.gz", dtype="str")
    limit = rows["subject_id"].astype(int).map(until)
    begins = which(pd.to_datetime(rows["admittime"]), limit)
    ends = which(pd.to_datetime(rows["dischtime"]), limit)
    rows.loc[begins, ["race", "language", "insurance", "marital_status"]] = ["WHITE", "?", "Medicaid", "WIDOWED"]
    rows.loc[ends, ["discharge_location", "hospital_expire_flag"]] = ["DIED", "1"]
    rows.to_csv(raw / "hosp/admissions.csv.gz", index=False)


def read(name: str, raw: Path, modality: str, cohort: Cohort) -> pd.DataFrame:
    dataset, params = DATASETS[name]
    return plain(dataset.read_evidence(raw, modality, cohort, params, {}), raw)


def plain(evidence: Evidence, raw: Path) -> pd.DataFrame:
    """All that a featurizer gets to see, as rows."""
    if isinstance(evidence, EventEvidence):
        blocks = [pd.DataFrame(vars(block)) for block in evidence.blocks()]
        return pd.concat(blocks, ignore_index=True)
    assert isinstance(evidence, TableEvidence | TextEvidence | ImageEvidence)
    rows = evidence.rows.copy()
    if "path" in rows:
        rows["path"] = [Path(path).relative_to(raw).as_posix() for path in rows["path"]]
    return rows.astype({name: "str" for name in ("item", "note", "path", "text") if name in rows})


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_what_happens_after_the_prediction_changes_nothing(name, modality, world, after, cohorts):
    as_it_was, as_it_would_be = (read(name, raw, modality, cohorts[name]) for raw in (world, after[name]))
    assert len(as_it_was) > 0
    pd.testing.assert_frame_equal(as_it_was, as_it_would_be)


@pytest.mark.parametrize(("name", "modality"), [case for case in CASES if case[1] not in NEVER_LATER])
def test_what_happened_before_the_prediction_changes_the_evidence(name, modality, world, before, cohorts):
    one, other = (read(name, raw, modality, cohorts[name]) for raw in (world, before[name]))
    assert not one.equals(other)


@pytest.mark.parametrize("modality", [modality.name for modality in MIMIC.modalities if modality.name not in CODES])
def test_mode_haim_sees_the_future_where_haim_did_and_nowhere_else(modality, world, after, cohorts):
    """Procedures are unbounded, notes are where their times carry a zone, and so are the images of the history."""
    name = "mimic in mode haim"
    as_it_was, as_it_would_be = (read(name, raw, modality, cohorts[name]) for raw in (world, after[name]))
    assert len(as_it_was) > 0
    assert as_it_was.equals(as_it_would_be) == (modality not in SEES_THE_FUTURE)


ENTERED = {"chart_events", "lab_events", "procedures", "notes", "ecg_notes", "radiology_notes"}


@pytest.fixture(scope="module")
def entered_late(world, cohorts, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Per data set two worlds in which every second row of the past is entered after the prediction; in the second it
    also says something else."""
    worlds = {}
    for name in CLEAN:
        to = tmp_path_factory.mktemp("entered")
        late, other = to / "late", to / "other"
        until = cohorts[name].items.set_index("subject_id")["prediction_time"]
        shutil.copytree(world, late)
        shutil.copytree(world, other)
        for table, (time, column, said) in EVENTS.items():
            rows = pd.read_csv(world / f"{table}.csv.gz", dtype="str")
            moments = pd.to_datetime(rows[time], utc=True).dt.tz_localize(None)
            limit = rows["subject_id"].astype(float).map(until)
            chosen = (moments <= limit) & (rows.index % 2 == 0)
            assert chosen.any(), table
            after = (limit + pd.Timedelta(minutes=1)).dt.strftime("%Y-%m-%d %H:%M:%S")
            rows["storetime"] = rows["storetime"].mask(chosen, after)
            rows.to_csv(late / f"{table}.csv.gz", index=False)
            rows.assign(**{column: rows[column].mask(chosen, said)}).to_csv(other / f"{table}.csv.gz", index=False)
        worlds[name] = late, other
    return worlds


@pytest.mark.parametrize(("name", "modality"), [case for case in CASES if case[1] in ENTERED])
def test_what_is_entered_after_the_prediction_changes_nothing(name, modality, world, entered_late, cohorts):
    on_time, late, other = (read(name, raw, modality, cohorts[name]) for raw in (world, *entered_late[name]))
    pd.testing.assert_frame_equal(late, other)
    assert len(late) < len(on_time)


def test_an_image_taken_later_is_not_in_the_history_and_one_of_the_same_minute_is(world, cohorts, tmp_path):
    cohort = cohorts["mimic"]
    item = cohort.items.iloc[0]
    metadata = pd.read_csv(world / f"{METADATA}.csv.gz")
    own = metadata[metadata["dicom_id"] == item["item"]]
    second = own["StudyTime"].iloc[0] // 100 * 100 + 59
    late = own.assign(dicom_id="same-minute", StudyTime=second)
    later = own.assign(dicom_id="a-minute-later", StudyTime=second + (4100 if second % 10_000 > 5900 else 100) - 59)
    raw = tmp_path / "raw"
    shutil.copytree(world, raw)
    pd.concat([metadata, late, later]).to_csv(raw / f"{METADATA}.csv.gz", index=False)
    split = pd.read_csv(world / "mimic-cxr-2.0.0-split.csv.gz")
    added = split[split["dicom_id"] == item["item"]]
    named = [added.assign(dicom_id=name) for name in ("same-minute", "a-minute-later")]
    pd.concat([split, *named]).to_csv(raw / "mimic-cxr-2.0.0-split.csv.gz", index=False)
    source = raw / item["image_path"]
    for name in ("same-minute", "a-minute-later"):
        shutil.copy(source, source.with_name(f"{name}.jpg"))
    rows = read("mimic", raw, "xray_history", cohort)
    shown = {Path(path).stem for path in rows.loc[rows["item"] == item["item"], "path"]}
    assert {item["item"], "same-minute"} <= shown and "a-minute-later" not in shown
