"""MIMIC's notes: whose they are, up to when, and what HAIM's reading of them does otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import Cohort
from mmn.data.errors import ContractError, RawFileError
from mmn.data.evidence import TextEvidence
from mmn.data.mimic import MIMIC, MIMIC_ICU
from mmn.data.mimic.events import OF_ADMISSION, OF_STAY, OF_VISIT
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.notes import COPIES, EMPTY, REPEATED, TIMELESS, read_notes
from mmn.data.mimic.params import CxrParams, IcuParams
from mmn.data.mimic.reader import open_tables
from tests.data.mimic_worlds import tiny_world

ECHO, ECG = "note/echo_icustay.csv.gz", "note/ecg_icustay.csv.gz"
PUBLIC, OWN = "note/radiology.csv.gz", "note/rad_icustay.csv.gz"
CANARY = "Mrs Zyxwv Canary of 17 Nowhere Lane"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    raw = tiny_world(tmp_path_factory.mktemp("mimic") / "raw", 1)
    shutil.rmtree(raw / "files")
    for file in (ECG, OWN):
        (raw / file).unlink(missing_ok=True)
    return raw


@pytest.fixture(scope="module")
def cxr(world) -> Cohort:
    return MIMIC.build_cohort(world, CxrParams())


@pytest.fixture(scope="module")
def icu(world) -> Cohort:
    return MIMIC_ICU.build_cohort(world, IcuParams())


def read(raw: Path, cohort: Cohort | pd.DataFrame, which, belongs=OF_ADMISSION, mode="clean") -> TextEvidence:
    items = cohort.items if isinstance(cohort, Cohort) else cohort
    with open_tables(usable_layout(raw)) as tables:
        return read_notes(tables, items, which, belongs, mode)


def change(world: Path, to: Path, file: str, how: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    shutil.copytree(world, to)
    how(pd.read_csv(to / file, dtype="str")).to_csv(to / file, index=False)
    return to


def moments(frame: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(frame["charttime"], utc=True).dt.tz_localize(None)


def stay_notes(item: pd.Series, times: list[str | None], texts: list[str | None]) -> pd.DataFrame:
    keys = {name: str(item[name]) for name in ("subject_id", "hadm_id", "stay_id")}
    return pd.DataFrame([{**keys, "charttime": t, "text": x} for t, x in zip(times, texts, strict=True)])


def with_table(world: Path, to: Path, file: str, table: pd.DataFrame) -> Path:
    shutil.copytree(world, to)
    table.to_csv(to / file, index=False)
    return to


@pytest.fixture
def item(icu) -> pd.Series:
    """A stay, with the hospital admission half an hour before the item's start."""
    return icu.items.iloc[0]


def at(item: pd.Series, minutes: float, zone: str = "") -> str:
    """A moment so long after the prediction."""
    return (item["prediction_time"] + pd.Timedelta(minutes=minutes)).strftime("%Y-%m-%d %H:%M:%S") + zone


# Mode clean


def test_echo_notes_are_those_before_the_image_despite_their_time_zone(world, cxr):
    evidence = read(world, cxr, "echo")
    echo = pd.read_csv(world / ECHO).assign(time=moments)
    assert echo["charttime"].str.endswith("+00:00").all()
    echo = echo[echo["text"].notna()].drop_duplicates(["hadm_id", "charttime"])
    pairs = cxr.items.merge(echo, on="hadm_id")
    pairs = pairs[pairs["time"] <= pairs["prediction_time"]]
    assert 0 < len(evidence.rows) == len(pairs)
    assert evidence.rows["text"].str.len().min() > 0 and evidence.rows["item"].nunique() < len(cxr)
    assert evidence.quarantined.get(COPIES, 0) > 0


def test_radiology_reports_without_an_admission_are_found_by_time(world, icu):
    evidence = read(world, icu, "radiology", OF_VISIT)
    notes = pd.read_csv(world / PUBLIC).assign(time=moments)
    pairs = icu.items.merge(notes, on="subject_id", suffixes=("", "_note"))
    unmatched = pairs["hadm_id_note"].isna() & (pairs["time"] >= pairs["start_time"])
    pairs = pairs[
        (unmatched | pairs["hadm_id_note"].eq(pairs["hadm_id"])) & (pairs["time"] <= pairs["prediction_time"])
    ]
    assert unmatched.any() and len(evidence.rows) == len(pairs)
    assert set(evidence.rows["note"]) == {f"{PUBLIC}: {note}" for note in pairs["note_id"]}
    assert not evidence.rows["text"].str.contains("Discharge").any()
    assert evidence.notes == ()


@pytest.mark.parametrize(
    ("name", "file", "which", "belongs"),
    [("cxr", ECHO, "echo", OF_ADMISSION), ("icu", PUBLIC, "radiology", OF_VISIT)],
)
def test_what_is_written_after_the_prediction_changes_nothing(name, file, which, belongs, request, world, tmp_path):
    cohort = request.getfixturevalue(name)
    latest = cohort.items.groupby("subject_id")["prediction_time"].max()

    def disturb(frame: pd.DataFrame) -> pd.DataFrame:
        later = moments(frame) > frame["subject_id"].astype(int).map(latest)
        assert later.any()
        moved = moments(frame).where(~later, moments(frame) + pd.Timedelta(hours=1))
        frame["charttime"] = moved.dt.strftime("%Y-%m-%d %H:%M:%S")
        frame.loc[later, "text"] = "something else"
        return frame

    before = read(world, cohort, which, belongs).rows
    after = read(change(world, tmp_path / "raw", file, disturb), cohort, which, belongs).rows
    pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize(("shift", "kept"), [(0, True), (1, False)])
def test_a_note_at_the_prediction_is_in_and_a_minute_later_is_out(world, icu, item, tmp_path, shift, kept):
    table = stay_notes(item, [at(item, shift)], ["the note"])
    rows = read(with_table(world, tmp_path / "raw", ECG, table), icu, "ecg").rows
    assert (rows["text"] == "the note").any() == kept


@pytest.mark.parametrize(("shift", "kept"), [(0, True), (1, False), (None, True)])
def test_a_note_entered_after_the_prediction_was_not_known(world, icu, item, tmp_path, shift, kept):
    entered = None if shift is None else at(item, shift)
    table = stay_notes(item, [at(item, -30)], ["the note"]).assign(storetime=entered)
    raw = with_table(world, tmp_path / "raw", ECG, table)
    assert (read(raw, icu, "ecg").rows["text"] == "the note").any() == kept
    assert (read(raw, icu, "ecg", mode="haim").rows["text"] == "the note").any()


def test_a_note_id_listed_twice_counts_once_with_the_first_of_its_rows(world, icu, tmp_path):
    before = read(world, icu, "radiology", OF_VISIT)
    used = set(before.rows["note"].str.removeprefix(f"{PUBLIC}: "))

    def repeat(frame: pd.DataFrame) -> pd.DataFrame:
        again = frame[frame["note_id"].isin(used)].head(3)
        return pd.concat([frame, again, again.assign(text="another text")], ignore_index=True)

    evidence = read(change(world, tmp_path / "raw", PUBLIC, repeat), icu, "radiology", OF_VISIT)
    pd.testing.assert_frame_equal(evidence.rows, before.rows)
    assert evidence.quarantined == {**before.quarantined, REPEATED: 6}


def test_addenda_are_texts_of_their_own(world, icu, tmp_path):
    def addend(frame: pd.DataFrame) -> pd.DataFrame:
        first = frame.groupby("subject_id").head(1)
        addenda = first.assign(note_id=first["note_id"].str.replace("RR", "AR"), note_type="AR", text="An addendum.")
        return pd.concat([frame, addenda], ignore_index=True)

    rows = read(change(world, tmp_path / "raw", PUBLIC, addend), icu, "radiology", OF_VISIT).rows
    before = read(world, icu, "radiology", OF_VISIT).rows
    added = rows[rows["note"].str.contains("-AR-")]
    assert len(added) > 0 and (added["text"] == "An addendum.").all()
    assert len(rows) == len(before) + len(added)


def test_empty_and_untimed_notes_are_set_aside_by_key_and_never_by_content(world, icu, item, tmp_path):
    times = [at(item, -5), at(item, -4), None, at(item, -3)]
    table = stay_notes(item, times, ["", "   ", CANARY, "sound"])
    evidence = read(with_table(world, tmp_path / "raw", ECG, table), icu, "ecg")
    assert evidence.quarantined == {EMPTY: 2, TIMELESS: 1}
    own = evidence.set_aside[evidence.set_aside["item"] == item["item"]]
    assert own["source"].tolist() == [f"{ECG}: row {n}" for n in (1, 2, 3)]
    assert own["reason"].tolist() == [EMPTY, EMPTY, TIMELESS]
    assert evidence.rows.loc[evidence.rows["item"] == item["item"], "text"].tolist() == ["sound"]
    assert "Canary" not in evidence.set_aside.to_csv() + str(evidence.quarantined)


def test_a_note_listed_for_each_stay_of_an_admission_counts_once(world, icu, item, tmp_path):
    table = stay_notes(item, [at(item, -5)] * 3, ["the note"] * 3)
    table["stay_id"] = ["1.0", "2.0", str(item["stay_id"])]
    table["subject_id"] += ".0"  # ids may be written as floats
    evidence = read(with_table(world, tmp_path / "raw", ECG, table), icu, "ecg")
    mine = evidence.rows[evidence.rows["item"] == item["item"]]
    assert len(mine) == 1 and evidence.quarantined == {COPIES: 2}
    of_stay = read(tmp_path / "raw", icu, "ecg", OF_STAY)
    assert of_stay.rows["note"].tolist() == [f"{ECG}: row 3"] and of_stay.quarantined == {}


def test_a_text_is_held_once_however_many_items_it_serves(world, cxr):
    rows = read(world, cxr, "echo").rows
    assert isinstance(rows["text"].dtype, pd.CategoricalDtype)
    assert rows["text"].cat.categories.is_unique and len(rows["text"].cat.categories) < len(rows)


def test_of_two_radiology_tables_the_public_one_is_read_and_that_is_said(world, icu, item, tmp_path):
    own = stay_notes(item, [at(item, -5, "+00:00")], ["from HAIM's table"])
    raw = with_table(world, tmp_path / "raw", OWN, own)
    both = read(raw, icu, "radiology", OF_VISIT)
    pd.testing.assert_frame_equal(both.rows, read(world, icu, "radiology", OF_VISIT).rows)
    assert both.notes == ("both radiology tables are there; radiology was read, rad_icustay was not",)
    haim = read(raw, icu, "radiology", OF_VISIT, "haim")
    assert haim.rows["text"].tolist() == ["from HAIM's table"] and "rad_icustay was read" in haim.notes[0]
    (raw / PUBLIC).unlink()
    alone = read(raw, icu, "radiology", OF_VISIT)
    assert (alone.rows["text"].tolist(), alone.notes) == (["from HAIM's table"], ())
    (raw / OWN).unlink()
    with pytest.raises(RawFileError, match=r"note/radiology\.csv\.gz"):
        read(raw, icu, "radiology", OF_VISIT)


# Mode haim


ZONES = {"+00:00": True, "+0000": True, "-05": True, "Z": True, " +00:00": True, "": False, ".000": False}


@pytest.mark.parametrize("zone", ZONES)
def test_haim_keeps_a_note_after_the_prediction_where_its_time_has_a_zone(world, icu, item, tmp_path, zone):
    """The documented bug: a time with a zone cannot be compared, and what cannot be compared is kept."""
    table = stay_notes(item, [at(item, 1, zone), at(item, -1, zone), None], ["later", "earlier", "untimed"])
    raw = with_table(world, tmp_path / "raw", ECG, table)
    evidence = read(raw, icu, "ecg", mode="haim")
    assert evidence.rows["text"].tolist() == (["later"] if ZONES[zone] else []) + ["earlier", "untimed"]
    assert any("later than the prediction" in note for note in evidence.notes) == ZONES[zone]
    assert evidence.quarantined == {} and evidence.rows["hours"].isna().tolist()[-1]
    hours = (item["prediction_time"] - item["start_time"]).total_seconds() / 3600
    assert evidence.rows["hours"].iloc[-2] == pytest.approx(hours - 1 / 60)
    assert read(raw, icu, "ecg").rows["text"].tolist() == ["earlier"]


def test_haims_hours_start_at_the_admission_and_may_be_zero_or_negative(world, icu, item, tmp_path):
    admittime = item["start_time"] + pd.Timedelta(hours=2)
    times = [(admittime + pd.Timedelta(hours=h)).strftime("%Y-%m-%d %H:%M:%S+00:00") for h in (3.5, 0, -1.25)]
    raw = with_table(world, tmp_path / "raw", ECG, stay_notes(item, times, ["a", "b", "c"]))
    items = icu.items.assign(admittime=icu.items["start_time"] + pd.Timedelta(hours=2))
    assert read(raw, items, "ecg", mode="haim").rows["hours"].tolist() == [3.5, 0.0, -1.25]
    assert read(raw, icu, "ecg", mode="haim").rows["hours"].tolist() == [5.5, 2.0, 0.75]


def test_haims_notes_are_those_of_the_stay_as_they_stand_in_the_table(world, icu, item, tmp_path):
    table = stay_notes(item, [at(item, -9), at(item, -20)] * 2, [" spaced ", None, " spaced ", "other stay"])
    table.loc[3, "stay_id"] = "1"
    raw = with_table(world, tmp_path / "raw", ECG, table)
    rows = read(raw, icu, "ecg", mode="haim").rows
    assert rows["text"].isna().tolist() == [False, True, False]
    assert rows["text"].dropna().tolist() == [" spaced ", " spaced "]
    assert rows["note"].tolist() == [f"{ECG}: row {n}" for n in (1, 2, 3)]
    homeless = icu.items.assign(stay_id=pd.array([pd.NA] * len(icu), dtype="Int64"))
    assert read(raw, homeless, "ecg", mode="haim").rows.empty


def test_haim_reads_the_public_radiology_reports_of_the_admission_where_there_is_nothing_else(world, icu):
    evidence = read(world, icu, "radiology", OF_STAY, "haim")
    notes = pd.read_csv(world / PUBLIC).assign(time=moments)
    pairs = icu.items.merge(notes, on=["subject_id", "hadm_id"])
    assert len(evidence.rows) == (pairs["time"] <= pairs["prediction_time"]).sum() > 0
    assert "names no stay" in evidence.notes[0]


@pytest.mark.parametrize("mode", ["clean", "haim"])
def test_a_time_that_is_none_is_an_error_that_shows_no_content(world, icu, item, tmp_path, mode):
    table = stay_notes(item, [at(item, -5), CANARY], ["sound", CANARY])
    with pytest.raises(ContractError, match="charttime") as caught:
        read(with_table(world, tmp_path / "raw", ECG, table), icu, "ecg", mode=mode)
    assert "Canary" not in str(caught.value) and ECG in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("mode", ["clean", "haim"])
def test_a_cohort_without_any_note_has_no_row(world, icu, item, tmp_path, mode):
    table = stay_notes(item, [at(item, -5)], ["of another patient"]).assign(subject_id="1", hadm_id="2", stay_id="3")
    evidence = read(with_table(world, tmp_path / "raw", ECG, table), icu, "ecg", mode=mode)
    assert len(evidence.rows) == 0 and list(evidence.rows.columns) == ["item", "note", "hours", "text"]
    assert (evidence.rows["hours"].dtype, evidence.quarantined) == (np.float64, {})
