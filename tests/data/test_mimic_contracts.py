"""Bad input of MIMIC: refused with what, where and what to do, without a patient's value or a note's text."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mmn.data.errors import ContractError, MmnError, RawFileError
from mmn.data.mimic import MIMIC, MIMIC_ICU, stays
from mmn.data.mimic.contracts import CONTRACTS, IcuStays, check_table, columns_in, table_name
from mmn.data.mimic.layout import TABLES, find_layout, read_header
from mmn.data.mimic.params import CxrParams, IcuParams
from mmn.data.mimic.reader import open_tables
from tests.data.mimic_worlds import tiny_world


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("mimic") / "raw", 3)


@pytest.fixture
def raw(world, tmp_path) -> Path:
    """The world's tables, to be spoiled."""
    return Path(shutil.copytree(world, tmp_path / "raw", ignore=shutil.ignore_patterns("files")))


@pytest.fixture(scope="session")
def icu(world):
    return MIMIC_ICU.build_cohort(world, IcuParams())


def spoil(file: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(file, dtype="str", keep_default_na=False)).to_csv(file, index=False)


def spoil_text(file: Path, change: Callable[[str], str]) -> None:
    file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes()).decode()).encode(), mtime=0))


def test_every_table_has_one_contract_and_the_generated_world_keeps_all(world):
    assert sorted(table_name(contract) for contract in CONTRACTS) == sorted(TABLES)
    layout = find_layout(world)
    with open_tables(layout) as tables:
        for contract in CONTRACTS:
            rows = tables.connection.execute(f"SELECT count(*) FROM {tables.scan(contract)}").fetchall()[0][0]
            assert rows > 0, contract.__name__
            assert (contract.__doc__ or "").startswith(("One row per", "As CxrChexpert"))


@pytest.mark.parametrize(
    ("file", "column", "says"),
    [
        ("icu/icustays.csv.gz", "intime", "every MIMIC-IV version"),
        ("hosp/patients.csv.gz", "anchor_age", "every MIMIC-IV version"),
        ("hosp/admissions.csv.gz", "language", "every MIMIC-IV version"),
    ],
)
def test_a_missing_column_names_the_file_the_column_and_the_versions_that_have_it(raw, icu, file, column, says):
    spoil(raw / file, lambda frame: frame.drop(columns=column))
    with pytest.raises(ContractError, match=rf"{file}: column '{column}' is missing; {says}"):
        MIMIC_ICU.build_cohort(raw, IcuParams())
        MIMIC_ICU.read_evidence(raw, "demographics", icu, IcuParams())


def test_a_missing_race_says_that_version_1_calls_it_ethnicity(raw, world):
    header = [name for name in read_header(world / "hosp/admissions.csv.gz") if name != "race"]
    contract = next(contract for contract in CONTRACTS if table_name(contract) == "admissions")
    with pytest.raises(ContractError, match=r"column 'race' \(or 'ethnicity'\) is missing; 2.0 and later"):
        list(columns_in(contract, header, "hosp/admissions.csv.gz"))


@pytest.mark.parametrize(
    ("file", "key", "dataset"),
    [
        ("icu/icustays.csv.gz", "stay_id", MIMIC_ICU),
        ("hosp/admissions.csv.gz", "hadm_id", MIMIC_ICU),
        ("mimic-cxr-2.0.0-metadata.csv.gz", "dicom_id", MIMIC),
        ("mimic-cxr-2.0.0-chexpert.csv.gz", "study_id", MIMIC),
    ],
)
def test_a_repeated_key_is_refused_with_the_count_and_the_first_key(raw, file, key, dataset):
    first = pd.read_csv(raw / file, dtype="str")[key][0]
    spoil(raw / file, lambda frame: pd.concat([frame, frame.head(3)]))
    with pytest.raises(ContractError, match=rf"{file}: 3 of \d+ rows repeat a key, the first at {key} {first}"):
        dataset.build_cohort(raw, dataset.cohort_defaults)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.999])
@pytest.mark.parametrize("file", ["hosp/admissions.csv.gz", "hosp/labevents.csv.gz"])
def test_a_file_that_was_cut_short_is_refused_wherever_the_cut(raw, icu, file, share):
    data = (raw / file).read_bytes()
    (raw / file).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RawFileError, match="cut short"):
        MIMIC_ICU.build_cohort(raw, IcuParams())
        MIMIC_ICU.read_evidence(raw, "lab_events", icu, IcuParams())


def test_an_empty_file_is_a_problem_that_doctor_can_name(raw):
    (raw / "hosp/admissions.csv.gz").write_bytes(b"")
    assert "hosp/admissions.csv.gz" in MIMIC_ICU.inspect(raw).problem
    with pytest.raises(RawFileError):
        MIMIC_ICU.build_cohort(raw, IcuParams())


def test_errors_name_line_and_column_but_never_quote_the_line(raw, icu):
    def secret_number(text: str) -> str:
        """The first row's patient number becomes a name."""
        head, row, rest = text.split("\n", 2)
        place = head.split(",").index("subject_id")
        cells = row.split(",")
        return "\n".join([head, ",".join([*cells[:place], "MARY-SMITH", *cells[place + 1 :]]), rest])

    def secret_cell(text: str) -> str:
        head, rest = text.split("\n", 1)
        return f"{head}\nMARY-SMITH,2,3,4,5,6,7,8,9,10,11,12\n{rest}"

    messages = []
    for change in (secret_number, secret_cell):
        copy = raw.parent / change.__name__
        shutil.copytree(raw, copy)
        spoil_text(copy / "note/radiology.csv.gz", change)
        spoil_text(copy / "icu/chartevents.csv.gz", change)
        for modality in ("notes", "chart_events"):
            with pytest.raises(MmnError) as caught:
                MIMIC_ICU.read_evidence(copy, modality, icu, IcuParams())
            assert caught.value.__cause__ is None and caught.value.__suppress_context__
            messages.append(str(caught.value))
    assert not any("MARY" in message or "SMITH" in message for message in messages)
    assert "line 2" in messages[1] and "column 'subject_id'" in messages[1]


def test_byte_order_marks_and_windows_line_ends_are_read(raw, icu, world):
    for file in ("hosp/labevents.csv.gz", "icu/icustays.csv.gz"):
        spoil_text(raw / file, lambda text: "\ufeff" + text.replace("\n", "\r\n"))
    pd.testing.assert_frame_equal(MIMIC_ICU.build_cohort(raw, IcuParams()).items, icu.items)
    before, after = (MIMIC_ICU.read_evidence(path, "lab_events", icu, IcuParams()).frame() for path in (world, raw))
    pd.testing.assert_frame_equal(before, after)


def test_columns_are_found_by_name_whatever_their_order_and_company(raw, icu, world):
    spoil(raw / "hosp/labevents.csv.gz", lambda f: f.assign(extra="x")[["extra", *sorted(f.columns, reverse=True)]])
    before, after = (MIMIC_ICU.read_evidence(path, "lab_events", icu, IcuParams()).frame() for path in (world, raw))
    pd.testing.assert_frame_equal(before, after)


def test_plain_csv_is_read_as_well(raw, icu):
    for file in list(raw.rglob("*.csv.gz")):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    pd.testing.assert_frame_equal(MIMIC_ICU.build_cohort(raw, IcuParams()).items, icu.items)


def test_the_wrong_dictionary_is_noticed(raw, icu):
    shutil.copy(raw / "hosp/d_labitems.csv.gz", raw / "keep.gz")
    spoil(raw / "hosp/d_labitems.csv.gz", lambda f: f.assign(itemid=[str(n) for n in range(900_000, 900_000 + len(f))]))
    with pytest.raises(ContractError, match=r"labevents.csv.gz.itemid: \d+ of the \d+ rows .* not in d_labitems"):
        MIMIC_ICU.read_evidence(raw, "lab_events", icu, IcuParams())
    shutil.copy(raw / "keep.gz", raw / "hosp/d_labitems.csv.gz")
    spoil(raw / "hosp/d_labitems.csv.gz", lambda f: f.assign(label=f["label"].replace("Sodium", "Salt")))
    with pytest.raises(ContractError, match="no itemid of Sodium"):
        MIMIC_ICU.read_evidence(raw, "lab_events", icu, IcuParams())


def test_an_itemid_that_means_something_else_in_this_version_is_not_read(raw, icu):
    spoil(raw / "hosp/d_labitems.csv.gz", lambda f: f.assign(label=f["label"].mask(f["itemid"].eq("52623"), "Salt")))
    labs = MIMIC_ICU.read_evidence(raw, "lab_events", icu, IcuParams())
    assert labs.quarantined["itemids that mean something else in this version"] == 1


def test_a_whole_quantity_in_another_unit_is_refused_and_not_thinned_out(raw, icu):
    def shrink(labs: pd.DataFrame) -> pd.DataFrame:
        sodium = labs["itemid"].isin(["50983", "52623"])
        labs.loc[sodium, "valuenum"] = (labs.loc[sodium, "valuenum"].astype(float) / 1000).astype(str)
        return labs

    spoil(raw / "hosp/labevents.csv.gz", shrink)
    with pytest.raises(
        ContractError, match=r"labevents.csv.gz: Sodium: (\d+) of \1 values lie outside \[70, 220\] mEq/L"
    ):
        MIMIC_ICU.read_evidence(raw, "lab_events", icu, IcuParams())


@pytest.mark.parametrize("bad", ["../../etc/passwd", "/etc/passwd", "a" * 300, "ab\u0441d", ".hidden", ""])
def test_an_image_name_that_could_leave_the_folder_is_refused(raw, bad):
    spoil(raw / "mimic-cxr-2.0.0-metadata.csv.gz", lambda f: f.assign(dicom_id=f["dicom_id"].where(f.index > 0, bad)))
    with pytest.raises(ContractError, match=r"dicom_id: 1 of \d+ rows"):
        MIMIC.build_cohort(raw, CxrParams())


def test_a_value_out_of_range_is_refused_with_its_count_and_key(raw):
    patients = pd.read_csv(raw / "hosp/patients.csv.gz", dtype="str")
    spoil(raw / "hosp/patients.csv.gz", lambda f: f.assign(anchor_age=f["anchor_age"].where(f.index > 1, "999")))
    with pytest.raises(ContractError, match=rf"anchor_age: 2 of 60 rows .* subject_id {patients['subject_id'][0]}"):
        MIMIC_ICU.build_cohort(raw, IcuParams())


def test_stays_of_another_version_are_refused(raw):
    spoil(raw / "icu/icustays.csv.gz", lambda f: f.assign(hadm_id="29999999"))
    with pytest.raises(ContractError, match="different versions"):
        MIMIC_ICU.build_cohort(raw, IcuParams())


def test_a_few_stays_of_no_known_admission_are_left_out_and_counted(raw, monkeypatch):
    spoil(raw / "icu/icustays.csv.gz", lambda f: f.assign(hadm_id=f["hadm_id"].where(f.index > 0, "29999999")))
    monkeypatch.setattr(stays, "AGREEMENT", 0.9)  # the world is too small for one in a thousand
    excluded: dict[str, int] = {}
    with open_tables(find_layout(raw)) as tables:
        kept = stays.read_stays(tables, stays.read_admissions(tables), excluded)
        assert len(kept) == len(tables.frame(IcuStays)) - 1
    assert excluded == {stays.LOST: 1}


def test_a_few_images_that_split_and_metadata_ascribe_differently_are_left_out_and_many_are_refused(raw):
    def shift(num: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
        return lambda f: f.assign(study_id=f["study_id"].where(f.index >= num, "1"))

    spoil(raw / "mimic-cxr-2.0.0-split.csv.gz", shift(2))
    assert MIMIC.build_cohort(raw, CxrParams()).excluded["metadata and split disagree whose image it is"] == 2
    spoil(raw / "mimic-cxr-2.0.0-split.csv.gz", shift(50))
    with pytest.raises(ContractError, match="disagree about 50"):
        MIMIC.build_cohort(raw, CxrParams())


def test_a_missing_table_names_the_file_to_download(raw, icu):
    (raw / "icu/chartevents.csv.gz").unlink()
    with pytest.raises(RawFileError, match=r"no icu/chartevents.csv.gz \(or .csv\)"):
        MIMIC_ICU.read_evidence(raw, "chart_events", icu, IcuParams())


def test_a_sound_frame_passes_its_contract_unchanged(world):
    with open_tables(find_layout(world)) as tables:
        contract = next(contract for contract in CONTRACTS if table_name(contract) == "icustays")
        frame = tables.frame(contract)
    pd.testing.assert_frame_equal(check_table(frame, contract, "here"), frame)
