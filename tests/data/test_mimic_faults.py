"""Files of MIMIC as they go wrong: each fault is refused, repaired or counted, and none passes in silence.

A fault that the manifest finds is refused before anything is read, as the manifest is made first; what a reader finds
is found again where someone reads without a pipeline, in a notebook.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmn.data.errors import ContractError, MmnError, RawFileError
from mmn.data.manifest import make_manifest
from mmn.data.mimic import MIMIC, MIMIC_ICU
from mmn.data.mimic.contracts import Admissions, Radiology
from mmn.data.mimic.layout import find_layout, globs
from mmn.data.mimic.params import CxrParams, IcuParams
from mmn.data.mimic.reader import open_tables
from tests.data.mimic_worlds import tiny_world

SIXTY_FOUR_KB = 1 << 16
METADATA, SPLIT, CHEXPERT = (f"mimic-cxr-2.0.0-{name}.csv.gz" for name in ("metadata", "split", "chexpert"))
ADMISSIONS, LABS, RADIOLOGY = "hosp/admissions.csv.gz", "hosp/labevents.csv.gz", "note/radiology.csv.gz"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("faults") / "raw", 3)


@pytest.fixture
def raw(world, tmp_path) -> Path:
    """The world's tables, to be spoiled."""
    return Path(shutil.copytree(world, tmp_path / "raw", ignore=shutil.ignore_patterns("files")))


@pytest.fixture(scope="module")
def icu(world):
    return MIMIC_ICU.build_cohort(world, IcuParams())


def spoil(file: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(file, dtype="str", keep_default_na=False)).to_csv(file, index=False)


def spoil_text(file: Path, change: Callable[[str], str]) -> None:
    file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes()).decode()).encode(), 1, mtime=0))


def read(raw: Path, modality: str, icu) -> pd.DataFrame:
    evidence = MIMIC_ICU.read_evidence(raw, modality, icu, IcuParams())
    return evidence.frame() if hasattr(evidence, "blocks") else evidence.rows


# 8: the bytes


def noise_csv(num_bytes: int) -> bytes:
    """A csv.gz of about `num_bytes` that compresses badly."""
    digits = np.random.default_rng(0).integers(10**15, size=num_bytes // 8)
    return gzip.compress(b"id\n" + "\n".join(map(str, digits.tolist())).encode() + b"\n", 1, mtime=0)


def test_a_gzip_that_is_cut_at_any_64_kb_boundary_is_refused_by_the_manifest(tmp_path):
    data = noise_csv(10 * SIXTY_FOUR_KB)
    cuts = range(0, len(data), SIXTY_FOUR_KB)
    assert len(cuts) >= 8
    for kept in cuts:
        (tmp_path / "labevents.csv.gz").write_bytes(data[:kept])
        with pytest.raises(RawFileError, match=r"labevents\.csv\.gz: (the gzip stream ends early|the file is empty)"):
            make_manifest(tmp_path, ("*.csv.gz",), version="1")


def test_a_gzip_that_is_cut_at_any_byte_is_refused_by_the_manifest(tmp_path):
    data = noise_csv(SIXTY_FOUR_KB)
    # Headers, the checksum at the end, and 40 places between.
    for kept in sorted({*range(1, 20), *range(len(data) - 9, len(data)), *range(20, len(data), len(data) // 40)}):
        (tmp_path / "labevents.csv.gz").write_bytes(data[:kept])
        with pytest.raises(RawFileError, match=r"labevents\.csv\.gz: the gzip stream ends early"):
            make_manifest(tmp_path, ("*.csv.gz",), version="1")


@pytest.mark.parametrize("file", [ADMISSIONS, LABS, RADIOLOGY])
def test_a_gzip_that_is_cut_at_any_byte_is_refused_by_the_reader(raw, icu, file):
    data = (raw / file).read_bytes()
    places = np.random.default_rng(1).integers(1, len(data) - 8, size=6).tolist()
    for kept in (*places, *range(SIXTY_FOUR_KB, len(data), SIXTY_FOUR_KB)):
        (raw / file).write_bytes(data[:kept])
        with pytest.raises(RawFileError, match="cut short"):
            MIMIC_ICU.build_cohort(raw, IcuParams())
            read(raw, "lab_events", icu)
            read(raw, "notes", icu)


def test_a_flipped_bit_is_refused_by_the_manifest_wherever_it_is(raw):
    data = (raw / ADMISSIONS).read_bytes()
    for place in np.random.default_rng(2).integers(12, len(data), size=25).tolist():
        (raw / ADMISSIONS).write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        with pytest.raises(RawFileError, match=r"admissions\.csv\.gz: (not a sound gzip|the gzip stream ends early)"):
            make_manifest(raw, globs("admissions"), version="1")


def test_a_page_saved_under_a_tables_name_is_refused(raw, icu):
    (raw / ADMISSIONS).write_bytes(b"<html>Please log in</html>" * 100)
    assert "hosp/admissions.csv.gz: its header cannot be read" in MIMIC_ICU.inspect(raw).problem
    with pytest.raises(RawFileError, match="not a sound gzip file"):
        make_manifest(raw, globs("admissions"), version="1")


def test_a_table_that_differs_from_the_publishers_list_is_refused_though_it_is_sound(raw):
    good = hashlib.sha256((raw / LABS).read_bytes()).hexdigest()
    (raw / "SHA256SUMS.txt").write_text(f"{good} {LABS}\n")
    assert make_manifest(raw, globs("labevents"), version="1")["num_checked"] == 1
    spoil_text(raw / LABS, lambda text: text.replace(",mg/dL,", ",mg/dl,", 1))
    with pytest.raises(RawFileError, match=rf"labevents\.csv\.gz: its SHA-256 .* says {good[:12]}"):
        make_manifest(raw, globs("labevents"), version="1")


def test_marks_and_line_ends_of_windows_change_nothing(raw, world, icu):
    for file in (ADMISSIONS, LABS, RADIOLOGY, "icu/procedureevents.csv.gz", "hosp/patients.csv.gz", METADATA, CHEXPERT):
        spoil_text(raw / file, lambda text: "\ufeff" + text.replace("\n", "\r\n"))
    for modality in ("demographics", "lab_events", "procedures"):
        pd.testing.assert_frame_equal(read(raw, modality, icu), read(world, modality, icu))
    mine, other = (MIMIC.build_cohort(path, CxrParams()).items for path in (raw, world))
    pd.testing.assert_frame_equal(mine, other)
    rows = make_manifest(raw, globs("labevents"), version="1")["files"][0]["rows"]
    assert rows == make_manifest(world, globs("labevents"), version="1")["files"][0]["rows"]


def test_a_column_more_changes_nothing_a_column_less_is_named_and_a_column_twice_is_refused(raw, world, icu):
    spoil(raw / LABS, lambda f: f.assign(comment_of_mine="x"))
    pd.testing.assert_frame_equal(read(raw, "lab_events", icu), read(world, "lab_events", icu))
    spoil_text(raw / LABS, lambda text: text.replace("comment_of_mine", "valuenum", 1))
    with pytest.raises(ContractError, match=r"labevents.csv.gz: the header names 'valuenum' more than once"):
        read(raw, "lab_events", icu)
    (raw / LABS).write_bytes((world / LABS).read_bytes())
    spoil(raw / LABS, lambda f: f.drop(columns="valuenum"))
    with pytest.raises(ContractError, match=r"labevents.csv.gz: column 'valuenum' is missing"):
        read(raw, "lab_events", icu)


def test_a_row_of_too_many_or_too_few_cells_is_refused_with_its_line(raw, icu):
    whole = gzip.decompress((raw / LABS).read_bytes()).decode().split("\n")
    for cells in (whole[6] + ",more", whole[6].rsplit(",", 3)[0]):
        lines = [*whole[:6], cells, *whole[7:]]
        (raw / LABS).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
        with pytest.raises(ContractError, match=r"hosp/labevents.csv.gz line 7: more or fewer cells"):
            read(raw, "lab_events", icu)


def test_line_ends_commas_and_quotes_inside_quotes_are_part_of_the_cell(raw, world, icu):
    text = 'He said ""fine"", and\nwent home.\r\n\r\nSigned,\nMD'
    notes = pd.read_csv(raw / RADIOLOGY)
    spoil_text(raw / RADIOLOGY, lambda old: old.replace('"EXAMINATION: CHEST', f'"{text}\nEXAMINATION: CHEST'))
    with open_tables(find_layout(raw)) as tables:
        rows = tables.frame(Radiology)
    assert len(rows) == len(notes) and rows["text"].str.contains('said "fine", and\nwent', regex=False).all()
    assert make_manifest(raw, globs("radiology"), version="1")["files"][0]["rows"] == len(notes)


@pytest.mark.parametrize("packed", [True, False])
def test_a_table_that_ends_inside_a_quotation_is_refused_by_the_manifest(raw, packed):
    """As an unpacked table does that was cut short inside a note."""
    cut = gzip.decompress((raw / RADIOLOGY).read_bytes())[:-30]
    (raw / RADIOLOGY).unlink()
    (raw / RADIOLOGY.removesuffix("" if packed else ".gz")).write_bytes(gzip.compress(cut) if packed else cut)
    with pytest.raises(RawFileError, match=r"note/radiology.csv(.gz)?: a quotation mark is never closed"):
        make_manifest(raw, globs("radiology"), version="1")


def test_a_very_long_cell_is_read_whole(raw, world, icu):
    """MIMIC's own schema once cut or refused such cells (mimic-code#1055)."""
    long = "x" * 1_500_000
    spoil_text(raw / RADIOLOGY, lambda text: text.replace("EXAMINATION: CHEST", long, 1))
    spoil(raw / ADMISSIONS, lambda f: f.assign(language=f["language"].where(f.index > 0, "y" * 100_000)))
    with open_tables(find_layout(raw)) as tables:
        assert tables.frame(Radiology)["text"].str.len().max() > len(long)
        assert tables.frame(Admissions)["language"].str.len().max() == 100_000


def test_a_cell_beyond_all_measure_is_refused_without_being_quoted(raw, icu):
    spoil_text(raw / RADIOLOGY, lambda text: text.replace("EXAMINATION: CHEST", "MARY " * 2_000_000, 1))
    with pytest.raises(MmnError, match=r"note/radiology.csv.gz") as caught:
        read(raw, "notes", icu)
    assert "MARY" not in str(caught.value) and len(str(caught.value)) < 400


def test_bytes_that_are_no_utf_8_are_refused(raw, icu):
    file = raw / RADIOLOGY
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).replace(b"CHEST", b"CH\xc9ST"), mtime=0))
    with pytest.raises(MmnError, match=r"note/radiology.csv.gz line \d+: .*[Dd]ownload it again"):
        read(raw, "notes", icu)


# 11, 12: keys and joins


def test_a_repeated_admission_stay_image_or_study_is_refused(raw):
    for dataset, file, key in (
        (MIMIC_ICU, ADMISSIONS, "hadm_id"), (MIMIC_ICU, "icu/icustays.csv.gz", "stay_id"),
        (MIMIC, METADATA, "dicom_id"), (MIMIC, SPLIT, "dicom_id"), (MIMIC, CHEXPERT, "study_id"),
    ):  # fmt: skip
        kept = (raw / file).read_bytes()
        # Not the same row twice: the same key for something else, which a removal of copies would not find.
        spoil(raw / file, lambda f, key=key: pd.concat([f, f.iloc[[1]].assign(**{key: f[key][0]})]))
        with pytest.raises(ContractError, match=rf"{file}: 1 of \d+ rows repeat a key, the first at {key}"):
            dataset.build_cohort(raw, dataset.cohort_defaults)
        (raw / file).write_bytes(kept)


def test_one_image_in_two_overlapping_admissions_stays_one_item(raw, world):
    """The join of images and admissions is many to many; what comes out is one row per image."""
    before = MIMIC.build_cohort(world, CxrParams())

    def overlap(f: pd.DataFrame) -> pd.DataFrame:
        twin = f.assign(hadm_id=(f["hadm_id"].astype(int) + 9_000_000).astype(str))
        return pd.concat([f, twin])

    spoil(raw / ADMISSIONS, overlap)
    after = MIMIC.build_cohort(raw, CxrParams(icu_admissions_only=False))
    every = MIMIC.build_cohort(world, CxrParams(icu_admissions_only=False))
    assert after.items["item"].is_unique and set(after.items["item"]) == set(every.items["item"])
    assert set(before.items["item"]) <= set(after.items["item"])


def test_an_event_of_a_patient_with_many_items_is_given_to_each_once(world):
    cohort = MIMIC.build_cohort(world, CxrParams(both_labels=False))
    events = MIMIC.read_evidence(world, "chart_events", cohort, CxrParams()).frame(cohort.items["item"])
    chart = pd.read_csv(world / "icu/chartevents.csv.gz", parse_dates=["charttime", "storetime"])
    heart = chart[(chart["itemid"] == 220045) & chart["valuenum"].between(0, 350)]
    pairs = cohort.items[["item", "hadm_id", "prediction_time"]].merge(heart, on="hadm_id")
    known = pairs[["charttime", "storetime"]].max(axis=1)
    expected = pairs[known <= pairs["prediction_time"]].groupby("item").size()
    got = events[events["signal"] == "Heart Rate"].groupby("item").size()
    assert got.to_dict() == expected.to_dict() and cohort.items["hadm_id"].duplicated().any()


# 13: whose image it is


def test_an_image_that_the_tables_give_to_two_patients_is_left_out_and_counted(raw, world):
    """By split and metadata if they disagree; by the labels of the study, which then has none, if they agree."""
    first = pd.read_csv(raw / METADATA, dtype="str")["subject_id"].iloc[-1]
    spoil(raw / METADATA, lambda f: f.assign(subject_id=f["subject_id"].where(f.index > 0, first)))
    assert MIMIC.build_cohort(raw, CxrParams()).excluded["metadata and split disagree whose image it is"] == 1
    spoil(raw / SPLIT, lambda f: f.assign(subject_id=f["subject_id"].where(f.index > 0, first)))
    excluded = MIMIC.build_cohort(raw, CxrParams()).excluded
    assert "metadata and split disagree whose image it is" not in excluded
    dicom = pd.read_csv(raw / METADATA, dtype="str")["dicom_id"][0]
    assert dicom not in set(MIMIC.build_cohort(raw, CxrParams()).items["item"])


def test_an_image_that_lies_in_another_patients_folder_is_missing(world, tmp_path):
    raw = Path(shutil.copytree(world, tmp_path / "raw"))
    cohort = MIMIC.build_cohort(raw, CxrParams())
    before = MIMIC.read_evidence(raw, "xray", cohort, CxrParams()).quarantined.get("image missing", 0)
    path = next(raw / path for path in cohort.items["image_path"] if (raw / path).stat().st_size)
    other = next((raw / "files").glob("p*/p*/s*"))
    path.rename(other / path.name)
    assert MIMIC.read_evidence(raw, "xray", cohort, CxrParams()).quarantined["image missing"] == before + 1


# 22: ids that are paths


@pytest.mark.parametrize(
    "bad",
    [
        "../../etc/x",
        "/etc/passwd",
        "a\x00b",
        "a" * 300,
        "\u0430bc",
        "abc\n",
        "a/b",
        "a\\b",
        "..",
        "a b",
        "\uff41bc",
        "-rf",
    ],
    ids=lambda bad: repr(bad[:12]),
)
def test_an_image_name_that_could_lead_elsewhere_is_refused(raw, bad):
    spoil(raw / METADATA, lambda f: f.assign(dicom_id=f["dicom_id"].where(f.index > 0, bad)))
    with pytest.raises(MmnError, match=r"mimic-cxr-2.0.0-metadata.csv.gz") as caught:
        MIMIC.build_cohort(raw, CxrParams())
    assert "1 of" in str(caught.value) and bad not in str(caught.value).replace("...", "")


@pytest.mark.parametrize(
    "bad",
    [
        "../../x",
        "1\x002",
        "1" * 300,
        "\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
        "-1",
        "1e9",
        "0",
        "10000001/..",
    ],
)
@pytest.mark.parametrize("column", ["subject_id", "study_id"])
def test_a_patient_or_study_that_is_no_number_of_the_right_size_is_refused(raw, column, bad):
    spoil(raw / METADATA, lambda f: f.assign(**{column: f[column].where(f.index > 0, bad)}))
    with pytest.raises(ContractError, match=r"mimic-cxr-2.0.0-metadata.csv.gz"):
        MIMIC.build_cohort(raw, CxrParams())


@pytest.mark.parametrize("bad", ["../../x", "1\x002", "9" * 300, "\u0661\u0662", "-1"])
def test_an_admission_that_is_no_number_is_refused(raw, bad):
    spoil(raw / ADMISSIONS, lambda f: f.assign(hadm_id=f["hadm_id"].where(f.index > 0, bad)))
    with pytest.raises(ContractError, match=r"hosp/admissions.csv.gz"):
        MIMIC_ICU.build_cohort(raw, IcuParams())
