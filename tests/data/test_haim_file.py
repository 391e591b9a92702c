"""HAIM's embedding file: the strict reader, MultiModN's cohort and folds on it, and the way out and back in."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold, train_test_split

from mmn.data.cohort import check_cohort, read_cohort, write_cohort
from mmn.data.embeddings import Embeddings, embeddings_from_rows
from mmn.data.errors import CohortError, ContractError, ParamsError, RawFileError, StaleInputError
from mmn.data.files import read_provenance, version_of
from mmn.data.haim import MIMIC_HAIM
from mmn.data.haim.columns import AFTER, BEFORE, LABELS, NOTES, VECTORS, all_columns
from mmn.data.haim.evidence import CONSTANT, dummies
from mmn.data.haim.export import write_haim_csv
from mmn.data.haim.layout import FILE, KEYS
from mmn.data.haim.params import HaimParams
from mmn.data.haim.prepared import NAME, prepare, read_footer
from mmn.data.haim.reader import UnsoundRow, read_blocks, read_header
from mmn.data.mimic import MIMIC
from mmn.data.mimic.haim_columns import export_haim
from mmn.data.mimic.params import CxrParams, IcuParams
from tests.data.mimic_worlds import tiny_world

SMALL = ("demographics", "xray_findings")
SECRET = "ZZ-a-patients-value"


def table(num_rows: int = 120, seed: int = 0) -> pd.DataFrame:
    """HAIM's other columns for made-up X-rays, three rows per stay; the last ten list the first ten X-rays again."""
    rng = np.random.default_rng(seed)
    number = np.concatenate([np.arange(num_rows - 10), np.arange(10)])
    stay = np.arange(num_rows) // 3
    columns: dict[str, object] = dict.fromkeys((*BEFORE, *AFTER), np.nan)
    labels = rng.choice([0.0, 1.0, -1.0, np.nan], size=(num_rows, len(LABELS)), p=[0.35, 0.45, 0.1, 0.1])[number]
    columns |= {label: labels[:, place] for place, label in enumerate(LABELS)}
    columns |= {
        "haim_id": stay,
        "img_id": [f"image{n:04d}" for n in number],
        "img_charttime": pd.Timestamp("2150-01-01") + pd.to_timedelta(number * 7, unit="min"),
        "death_status": 0,
        "PerformedProcedureStepDescription": 'CHEST (PORTABLE AP), "STAT"',
        "ViewPosition": "AP",
    }
    return pd.DataFrame(columns)


def vectors(columns: pd.DataFrame, modalities=SMALL, seed: int = 1) -> dict[str, Embeddings]:
    rng = np.random.default_rng(seed)
    images = columns["img_id"].drop_duplicates().to_numpy()
    made = {}
    for name in modalities:
        values = rng.standard_normal((len(images), VECTORS[name].width)).astype(np.float32)
        if name == "demographics":
            values[:, 1:] = rng.integers(-1, 4, (len(images), 5))
        made[name] = embeddings_from_rows(images, values, np.ones(len(images), dtype=bool))
    return made


def write(raw: Path, columns: pd.DataFrame, made: Mapping[str, Embeddings], name: str = f"{FILE}.csv") -> Path:
    write_haim_csv(raw / name, columns, made)
    return raw / name


def write_keys(raw: Path, subjects) -> None:
    subjects = np.asarray(subjects)
    ids = np.arange(len(subjects))
    frame = pd.DataFrame({"subject_id": subjects, "hadm_id": 20_000_000 + ids, "stay_id": 30_000_000 + ids})
    frame.astype(float).to_csv(raw / f"{KEYS}.csv", index=False)


def change_line(path: Path, line: int, change) -> None:
    """line: its place in the file, the header's is 1."""
    lines = path.read_text().splitlines()
    lines[line - 1] = change(lines[line - 1])
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write(tmp_path, columns := table(), vectors(columns))
    return tmp_path


def cohort_of(raw: Path, **params):
    return MIMIC_HAIM.build_cohort(raw, HaimParams(**params))


# What the file is


def test_the_columns_lie_where_haim_puts_them():
    names = all_columns()
    assert len(names) == 4869
    places = {0: "haim_id", 6: "death_status", 7: "de_0", 13: "vd_0", 1036: "vd_1023", 1037: "vp_0", 1055: "vmd_0",
              2079: "vmp_0", 2097: "ts_ce_0", 2196: "ts_le_0", 2438: "ts_pe_0", 2548: "n_ecg_0", 3316: "n_ech_0",
              4084: "n_rad_0", 4851: "n_rad_767", 4852: "split", 4853: "Atelectasis", 4866: "Support Devices",
              4867: "PerformedProcedureStepDescription", 4868: "ViewPosition"}  # fmt: skip
    assert {place: names[place] for place in places} == places


def test_tasks_and_training_are_mimics_own():
    assert MIMIC_HAIM.tasks == tuple(MIMIC.task(task.name) for task in MIMIC_HAIM.tasks)
    assert MIMIC_HAIM.training_defaults == MIMIC.training_defaults
    assert MIMIC_HAIM.missingness == MIMIC.missingness and MIMIC_HAIM.multitask == MIMIC.multitask


def test_the_models_read_multimodns_four_and_the_reports_that_define_the_labels_are_refused():
    four = [modality.name for modality in MIMIC_HAIM.modalities if modality.by_default]
    assert four == ["demographics", "xray", "notes", "chart_events"]
    assert {modality.name for modality in MIMIC_HAIM.modalities} == set(VECTORS)
    refused = {modality.name: set(modality.unusable_for) for modality in MIMIC_HAIM.modalities if modality.unusable_for}
    assert refused == {"radiology_notes": {"cardiomegaly", "enlarged_cardiomediastinum"}}


def test_an_inspection_names_what_is_there_and_what_would_bring_the_rest_back(raw):
    write_keys(raw, range(40))
    inspection = MIMIC_HAIM.inspect(raw)
    assert inspection.problem is None and not inspection.generated
    assert f"with {KEYS}.csv" in inspection.found["embeddings"]
    assert set(inspection.skipped) == set(VECTORS) - set(SMALL)
    assert "no columns vd_0 to vd_1023" in inspection.skipped["xray"]
    assert inspection.version == "48 of HAIM's 4,869 columns, 0 others"


def test_a_modality_with_a_column_missing_is_skipped_and_says_which(raw):
    frame = pd.read_csv(raw / f"{FILE}.csv", dtype=str).drop(columns="vp_7")
    frame.to_csv(raw / f"{FILE}.csv", index=False)
    assert "17 of 18 columns are here, vp_7 is the first" in MIMIC_HAIM.inspect(raw).skipped["xray_findings"]
    with pytest.raises(RawFileError, match="there is no xray_findings"):
        MIMIC_HAIM.read_evidence(raw, "xray_findings", cohort_of(raw), HaimParams())


@pytest.mark.parametrize("name", [f"{FILE}.csv.gz", "my_own.csv", f"a/b/{FILE}.csv"])
def test_the_file_is_found_by_name_below_or_by_header_at_the_top(tmp_path, name):
    (tmp_path / "plain").mkdir()
    plain = write(tmp_path / "plain", columns := table(), vectors(columns))
    other = tmp_path / "other" / name
    other.parent.mkdir(parents=True)
    data = plain.read_bytes()
    other.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (tmp_path / "other" / "else.csv").write_text("a,b\n1,2\n")
    assert list(cohort_of(tmp_path / "other").items["item"]) == list(cohort_of(tmp_path / "plain").items["item"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: (raw / f"{FILE}.csv").unlink(), "no csv with HAIM's header"),
        (lambda raw: (raw / "again.csv").write_bytes((raw / f"{FILE}.csv").read_bytes()), "2 files could be HAIM's"),
        (lambda raw: (raw / f"{FILE}.csv").write_text("haim_id,img_id,x\n1,a,2\n"), "has no img_charttime, Cardiom"),
        (lambda raw: (raw / f"{FILE}.csv").write_text(""), "is empty"),
        (lambda raw: (raw / f"{FILE}.csv").write_text("haim_id,img_id,img_id\n"), "1 column names occur twice"),
    ],
)  # fmt: skip
def test_a_folder_without_one_sound_header_is_a_problem_that_names_the_release(raw, change, said):
    change(raw)
    problem = MIMIC_HAIM.inspect(raw).problem
    assert problem is not None and said in problem
    with pytest.raises((RawFileError, ContractError), match=said):
        cohort_of(raw)


# The strict reader


def test_a_ragged_row_is_refused_with_its_line_and_nrows_reads_the_rows_before_it(raw):
    change_line(raw / f"{FILE}.csv", 101, lambda line: line + ",extra")
    with pytest.raises(UnsoundRow, match=r"line 101: 49 cells, the header has 48. 99 sound.*`nrows: 99`") as error:
        cohort_of(raw)
    assert (error.value.line, error.value.rows) == (101, 99)
    assert len(cohort_of(raw, nrows=99)) > 50
    with pytest.raises(UnsoundRow, match="line 101"):
        cohort_of(raw, nrows=100)


def test_the_released_files_fault_names_the_line_and_the_known_number_of_rows(tmp_path):
    # Two third-party programs leave out lines 45051 and 45052 (counted from 0), or read 45,050 rows.
    sound = "".join(f"{row},1.5\n" for row in range(45_050))
    path = tmp_path / "released.csv"
    path.write_text(f"haim_id,vp_0\n{sound}45050,1.5,7,7\n45051\n45052,1.5\n")
    types = {"vp_0": pa.float32()}
    with pytest.raises(UnsoundRow, match=r"line 45,052: 4 cells.*45,050 sound.*`nrows: 45050`"):
        list(read_blocks(path, types))
    assert sum(block.num_rows for block in read_blocks(path, types, nrows=45_050)) == 45_050
    with pytest.raises(UnsoundRow, match="line 45,052"):
        list(read_blocks(path, types, nrows=45_051))


@pytest.mark.parametrize("row", ["3,x,1,", "3", '3,"x,1', '3,"x\n4,y,1'])
def test_a_row_with_too_many_or_too_few_cells_ends_the_reading_after_the_sound_rows(tmp_path, row):
    path = tmp_path / "t.csv"
    path.write_text(f'haim_id,img_id,vp_0\n1,a,0.5\n\n2,"b, b",\n{row}\n5,e,1\n')
    blocks = []
    with pytest.raises(UnsoundRow) as error:
        for block in read_blocks(path, {"img_id": pa.string(), "vp_0": pa.float32()}):
            blocks.append(block.to_pydict())  # noqa: PERF401
    assert blocks == [{"img_id": ["a", "b, b"], "vp_0": [0.5, None]}]
    assert error.value.line == 5 and error.value.rows == 2  # a blank line is no row, but it is a line


@pytest.mark.parametrize("block_rows", [1, 7, 512])
def test_the_place_of_an_unreadable_number_is_found_whatever_the_blocks(tmp_path, block_rows):
    path = tmp_path / "t.csv"
    path.write_text("haim_id,vp_0\n" + "".join(f"{n},{SECRET if n == 37 else n}\n" for n in range(60)))
    read = []
    with pytest.raises(UnsoundRow, match="line 39: column 'vp_0' is not readable as a number") as error:
        for block in read_blocks(path, {"vp_0": pa.float32()}, block_rows=block_rows):
            read += block["vp_0"].to_pylist()
    assert read == list(range(37))
    assert SECRET not in str(error.value)


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffhaim_id,vp_0\r\n1,0.5\r\n2,nan".encode())
    assert read_header(path) == ("haim_id", "vp_0")
    (block,) = read_blocks(path, {"vp_0": pa.float32()})
    assert block["vp_0"].to_pylist() == [0.5, None]


def test_a_gz_file_that_was_cut_is_refused(raw):
    data = gzip.compress((raw / f"{FILE}.csv").read_bytes())
    (raw / f"{FILE}.csv").unlink()
    (raw / f"{FILE}.csv.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(RawFileError, match="cut short"):
        cohort_of(raw)


def test_a_bad_number_in_a_vector_is_refused_only_where_the_cohort_needs_its_row(raw):
    frame = pd.read_csv(raw / f"{FILE}.csv", dtype=str)
    frame.loc[99, "vp_3"] = SECRET
    frame.to_csv(raw / f"{FILE}.csv", index=False)
    cohort = cohort_of(raw)
    with pytest.raises(UnsoundRow, match="line 101: column 'vp_3' is not readable as a number") as error:
        MIMIC_HAIM.read_evidence(raw, "demographics", cohort, HaimParams())
    assert SECRET not in str(error.value)
    params = HaimParams(nrows=99)
    evidence = MIMIC_HAIM.read_evidence(raw, "demographics", MIMIC_HAIM.build_cohort(raw, params), params)
    assert evidence.present.all()


# The prepared table


def test_the_prepared_table_has_the_same_bytes_each_time_and_says_where_it_ended(raw, tmp_path):
    change_line(raw / f"{FILE}.csv", 101, lambda line: line + ",extra")
    done: list[tuple[int, int]] = []
    for name in ("one", "two"):
        prepare(raw, NAME, tmp_path / f"{name}.parquet", {"step": "prepared/haim/vectors"}, lambda *at: done.append(at))
    assert version_of(tmp_path / "one.parquet") == version_of(tmp_path / "two.parquet")
    assert read_provenance(tmp_path / "one.parquet") == {"step": "prepared/haim/vectors"}
    assert read_footer(tmp_path / "one.parquet") == {
        "file": f"{FILE}.csv", "modalities": list(SMALL), "rows": 99,
        "unsound": {"line": 101, "what": "49 cells, the header has 48"},
    }  # fmt: skip
    assert done and done[-1][0] <= done[-1][1] == (raw / f"{FILE}.csv").stat().st_size


def test_a_prepared_table_of_another_file_is_stale(raw, tmp_path):
    cohort = cohort_of(raw)
    columns = table().iloc[::-1]
    write(raw, columns, vectors(columns))
    prepare(raw, NAME, tmp_path / "v.parquet", {}, lambda done, total: None)
    with pytest.raises(StaleInputError, match="run again"):
        MIMIC_HAIM.read_evidence(raw, "xray_findings", cohort, HaimParams(), {NAME: tmp_path / "v.parquet"})


# The cohort


def test_the_cohort_is_multimodns_selection_in_the_files_order_with_counts(raw):
    cohort = cohort_of(raw)
    frame = table()
    once = frame.drop_duplicates(["img_id", "img_charttime"])
    kept = once[once["Cardiomegaly"].isin([0, 1]) & once["Enlarged Cardiomediastinum"].isin([0, 1])]
    assert list(cohort.items["item"]) == list(kept["img_id"])
    np.testing.assert_array_equal(cohort.targets["cardiomegaly"], kept["Cardiomegaly"])
    np.testing.assert_array_equal(cohort.items["prediction_time"], kept["img_charttime"])
    assert cohort.excluded == {
        "the same X-ray, listed for another stay": 10,
        "a label missing or uncertain": len(once) - len(kept),
    }


def test_the_folds_are_multimodns(raw):
    cohort = cohort_of(raw)
    check_cohort(cohort, "cohorts/mimic_haim")
    # The published protocol, written again step by step.
    both = (cohort.targets["cardiomegaly"] + cohort.targets["enlarged_cardiomediastinum"] > 1).astype(int)
    groups = pd.DataFrame({"haim_id": cohort.items["haim_id"], "agg": both}).groupby("haim_id")["agg"]
    groups = groups.agg(["count", "sum"]).reset_index()
    label = (groups["sum"] >= groups["count"] / 2).astype(int).to_numpy()
    ids = groups["haim_id"].to_numpy()
    for fold, (train, rest) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(ids, label)):
        test, validation = train_test_split(ids[rest], test_size=0.5, stratify=label[rest], random_state=fold)
        for side, wanted in (("train", ids[train]), ("test", test), ("validation", validation)):
            got = cohort.items["haim_id"].iloc[cohort.rows(fold, side)]
            assert set(got) == set(wanted)


def test_the_cohort_survives_the_disk(raw, tmp_path):
    cohort = cohort_of(raw)
    write_cohort(tmp_path / "c", cohort, {"step": "cohorts/mimic_haim"})
    back = read_cohort(tmp_path / "c")
    check_cohort(back, "c")
    evidence = MIMIC_HAIM.read_evidence(raw, "xray_findings", back, HaimParams())
    assert evidence.values.shape == (len(cohort), 18)


def test_an_unreadable_label_or_time_is_missing_and_counted(raw):
    frame = pd.read_csv(raw / f"{FILE}.csv", dtype=str)
    before = cohort_of(raw)
    places = np.flatnonzero(frame["img_id"].isin(before.items["item"]))[:2]
    frame.loc[places[0], "Cardiomegaly"] = SECRET
    frame.loc[places[1], "img_charttime"] = SECRET
    frame.to_csv(raw / f"{FILE}.csv", index=False)
    after = cohort_of(raw)
    assert len(after) == len(before) - 1
    assert after.items["prediction_time"].isna().sum() == 1
    assert "1 X-rays have no readable time" in after.notes


def test_one_label_is_enough_where_both_are_not_asked_for(raw):
    one = cohort_of(raw, both_labels=False, num_folds=2)
    assert len(one) > len(cohort_of(raw))
    assert np.isnan(one.targets["cardiomegaly"]).any()
    assert "each label missing or uncertain" in one.excluded


def test_without_the_key_file_the_notes_say_that_patients_may_straddle(raw):
    cohort = cohort_of(raw)
    assert list(cohort.items["subject"]) == list(cohort.items["haim_id"].astype(str))
    assert any("a patient may sit on two sides of a fold" in note for note in cohort.notes)
    with pytest.raises(CohortError, match=rf"`folds: subject` needs {KEYS}.csv"):
        cohort_of(raw, folds="subject")


def test_with_the_key_file_patients_are_known_and_can_be_kept_apart(raw):
    write_keys(raw, 10_000_000 + np.arange(40) // 2)  # two stays each
    cohort = cohort_of(raw)
    check_cohort(cohort, "c")
    assert list(cohort.items["subject"]) == [str(10_000_000 + stay // 2) for stay in cohort.items["haim_id"]]
    assert list(cohort.items["stay_id"]) == [30_000_000 + stay for stay in cohort.items["haim_id"]]
    (note,) = [note for note in cohort.notes if "haim_id" in note]
    sides = cohort.folds.merge(cohort.items, on="item").groupby(["fold", "subject"])["split"].nunique()
    straddling = int(sides.gt(1).groupby("subject").any().sum())
    assert straddling > 0 and f"{straddling} of {cohort.items['subject'].nunique()} patients" in note
    apart = cohort_of(raw, folds="subject")
    check_cohort(apart, "c")
    assert apart.fold_group == "subject"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("subject_id,hadm_id\n1,2\n", "no stay_id"),
        ("subject_id,hadm_id,stay_id\n1,2,3\n", "name a haim_id beyond them"),
        ("subject_id,hadm_id,stay_id\n1,2,x\n", "not readable as whole numbers"),
        ("subject_id,hadm_id,stay_id,haim_id\n1,2,3,5\n", "not the row's place"),
        ("", "not readable as whole numbers"),
    ],
)
def test_a_key_file_that_is_not_haims_is_refused(raw, keys, said):
    (raw / f"{KEYS}.csv").write_text(keys)
    with pytest.raises(ContractError, match=said):
        cohort_of(raw)


def test_too_few_stays_and_no_labels_are_said_with_numbers(tmp_path):
    few = table(24)
    write(tmp_path, few, vectors(few))
    with pytest.raises(CohortError, match="too few for 5 folds"):
        cohort_of(tmp_path)
    write(tmp_path, few.assign(Cardiomegaly=-1), vectors(few))
    with pytest.raises(CohortError, match=r"no X-ray is left.*'a label missing or uncertain': 14"):
        cohort_of(tmp_path)


def test_a_stay_that_is_no_whole_number_is_refused(raw):
    frame = pd.read_csv(raw / f"{FILE}.csv", dtype=str)
    frame.loc[3, "haim_id"] = "1.5"
    frame.to_csv(raw / f"{FILE}.csv", index=False)
    with pytest.raises(ContractError, match="1 of 120 values of haim_id are no place in a list"):
        cohort_of(raw)


@pytest.mark.parametrize("wrong", [{"mode": "clean"}, {"folds": "patient"}, {"nrows": 0}, {"num_folds": 1}])
def test_a_setting_that_is_not_one_is_refused_by_name(wrong):
    name = next(iter(wrong))
    with pytest.raises(ParamsError, match=rf"mimic_haim\.{'' if name == 'mode' else 'cohort.'}{name}: "):
        HaimParams(**wrong)


# The vectors


def test_every_modality_makes_the_round_trip_exactly(tmp_path):
    columns = table(70)
    made = vectors(columns, VECTORS)
    write(tmp_path, columns, made)
    assert read_header(tmp_path / f"{FILE}.csv") == all_columns()
    inspection = MIMIC_HAIM.inspect(tmp_path)
    assert inspection.skipped == {} and inspection.version == "HAIM's 4,869 columns in its order"
    params = HaimParams(num_folds=2, dummies=False)
    cohort = MIMIC_HAIM.build_cohort(tmp_path, params)
    prepare(tmp_path, NAME, tmp_path / "v.parquet", {}, lambda done, total: None)
    for name in VECTORS:
        evidence = MIMIC_HAIM.read_evidence(tmp_path, name, cohort, params, {NAME: tmp_path / "v.parquet"})
        wanted = made[name].values[0, pd.Index(made[name].items).get_indexer(cohort.items["item"]), 0]
        np.testing.assert_array_equal(evidence.values, wanted)
        assert evidence.values.dtype == np.float32 and evidence.present.all()
        assert evidence.names == VECTORS[name].columns


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=18, max_size=18))
def test_any_float32_reads_back_as_itself(tmp_path_factory, numbers):
    raw = tmp_path_factory.mktemp("haim")
    columns = table(12).iloc[:1]
    values = np.array([numbers], dtype=np.float32)
    made = embeddings_from_rows(np.array(["image0000"]), values, np.array([True]))
    path = write(raw, columns, {"xray_findings": made})
    names = VECTORS["xray_findings"].columns
    (block,) = read_blocks(path, dict.fromkeys(names, pa.float32()))
    back = np.array([block[name][0].as_py() for name in names], dtype=np.float32)
    np.testing.assert_array_equal(back.view(np.uint32), values[0].view(np.uint32))


def test_absent_vectors_and_undefined_elements_stay_so(tmp_path):
    columns = table()
    made = vectors(columns)["xray_findings"]
    made.present[4] = False
    made.values[0, 5, 0, 2] = np.nan
    write(tmp_path, columns, {"xray_findings": made})
    cohort = cohort_of(tmp_path, both_labels=False, num_folds=2)
    evidence = MIMIC_HAIM.read_evidence(tmp_path, "xray_findings", cohort, HaimParams())
    place = {item: row for row, item in enumerate(cohort.items["item"])}
    kept = [(made.items[row], row) for row in range(len(made.items)) if made.items[row] in place]
    for item, row in kept:
        assert evidence.present[place[item]] == (row != 4)
        np.testing.assert_array_equal(
            np.isnan(evidence.values[place[item]]), (np.arange(18) == 2) & (row == 5) | (row == 4)
        )
    assert {4, 5} <= {row for _, row in kept}
    assert evidence.card["partly undefined"] == f"1 of {len(cohort)} items"


def test_the_order_of_the_columns_does_not_matter_and_a_foreign_one_is_not_read(raw):
    cohort = cohort_of(raw)
    before = MIMIC_HAIM.read_evidence(raw, "xray_findings", cohort, HaimParams())
    frame = pd.read_csv(raw / f"{FILE}.csv", dtype=str)
    frame.assign(note=SECRET)[["note", *frame.columns[::-1]]].to_csv(raw / f"{FILE}.csv", index=False)
    after = MIMIC_HAIM.read_evidence(raw, "xray_findings", cohort_of(raw), HaimParams())
    np.testing.assert_array_equal(after.values, before.values)
    assert MIMIC_HAIM.inspect(raw).version == "48 of HAIM's 4,869 columns, 1 others"


def test_an_infinite_number_is_refused_with_the_count(raw):
    frame = pd.read_csv(raw / f"{FILE}.csv", dtype=str)
    cohort = cohort_of(raw)
    frame.loc[cohort.items["row"][:3], "vp_1"] = "inf"
    frame.to_csv(raw / f"{FILE}.csv", index=False)
    with pytest.raises(ContractError, match=rf"3 of {len(cohort)} xray_findings vectors hold an infinite"):
        MIMIC_HAIM.read_evidence(raw, "xray_findings", cohort, HaimParams())


def test_the_codes_become_the_columns_that_pandas_makes_of_them(raw):
    cohort = cohort_of(raw)
    codes = MIMIC_HAIM.read_evidence(raw, "demographics", cohort, HaimParams(dummies=False))
    assert codes.names == VECTORS["demographics"].columns
    evidence = MIMIC_HAIM.read_evidence(raw, "demographics", cohort, HaimParams())
    frame = pd.DataFrame(codes.values, columns=list(codes.names))
    frame[list(codes.names[1:])] = frame[list(codes.names[1:])].astype(int)
    wanted = pd.get_dummies(frame, columns=list(codes.names[1:]), drop_first=True)
    assert evidence.names == tuple(wanted.columns)
    np.testing.assert_array_equal(evidence.values, wanted.to_numpy(dtype=np.float32))


def test_a_blank_code_is_undefined_and_not_the_smallest_one():
    codes = np.array([[60, 0, 1, 1, 1, 1], [70, np.nan, 2, 1, 1, 1], [80, 1, 1, 1, 1, 1]], dtype=np.float32)
    values, names = dummies(codes)
    assert names == ("de_0", "de_1_1", "de_2_2")
    np.testing.assert_array_equal(values, [[60, 0, 0], [70, np.nan, 1], [80, 1, 0]])


def noted(tmp_path: Path) -> tuple[Path, set[str]]:
    """Images 0-59 share HAIM's constant; of the other two stays, of thirty X-rays each, one has the same vector thirty
    times."""
    columns = table().assign(haim_id=np.r_[np.arange(60) // 3, np.repeat([20, 21], 30)])
    made = vectors(columns, ["notes"])["notes"]
    made.values[0, :60, 0] = made.values[0, 0, 0]
    made.values[0, 60:90, 0] = made.values[0, 60, 0]
    write(tmp_path, columns, {"notes": made})
    return tmp_path, set(made.items[:60])


def test_haims_constant_of_a_missing_note_is_counted_and_can_be_marked_absent(tmp_path):
    raw, without = noted(tmp_path)
    cohort = cohort_of(raw, num_folds=2)
    same = cohort.items["item"].isin(without).to_numpy()
    plain = MIMIC_HAIM.read_evidence(raw, "notes", cohort, HaimParams())
    assert plain.present.all() and plain.quarantined == {}
    assert plain.card[CONSTANT] == f"{same.sum()} of {len(cohort)} items"
    marked = MIMIC_HAIM.read_evidence(raw, "notes", cohort, HaimParams(constant_is_absent=True))
    np.testing.assert_array_equal(marked.present, ~same)
    assert marked.quarantined == {CONSTANT: same.sum()}


def test_a_vector_of_one_or_two_stays_is_no_constant_however_many_x_rays_it_has(tmp_path):
    columns = table()  # the last ten X-rays are listed again, with their notes, for another stay
    made = vectors(columns, ["notes"])["notes"]
    made.values[0, :3, 0] = made.values[0, 0, 0]  # the three X-rays of the first stay
    columns["haim_id"] = columns["haim_id"].where(columns.index < 110, 39)
    write(tmp_path, columns, {"notes": made})
    evidence = MIMIC_HAIM.read_evidence(tmp_path, "notes", cohort_of(tmp_path), HaimParams(constant_is_absent=True))
    assert evidence.present.all() and CONSTANT not in evidence.card
    assert "notes" in NOTES


# The way out


def test_an_x_ray_may_be_written_once_per_stay_under_the_embeddings_own_keys(tmp_path):
    columns = table().assign(item=lambda frame: frame["haim_id"].astype(str) + "/" + frame["img_id"])
    values = np.arange(len(columns) * 18, dtype=np.float32).reshape(-1, 18)
    made = embeddings_from_rows(columns["item"].to_numpy()[::-1], values[::-1], np.ones(len(columns), dtype=bool))
    path = write(tmp_path, columns, {"xray_findings": made})
    assert "item" not in read_header(path)
    back = pd.read_csv(path)[list(VECTORS["xray_findings"].columns)].to_numpy(dtype=np.float32)
    np.testing.assert_array_equal(back, values)


def test_the_written_file_is_its_owners_alone(raw):
    assert (raw / f"{FILE}.csv").stat().st_mode & 0o777 == 0o600


def test_one_hot_demographics_are_refused_with_the_setting_that_gives_haims_codes(tmp_path):
    columns = table()
    with pytest.raises(ContractError, match=r"`mimic: \{mode: haim, cohort: \{haim_dummies: false\}\}`"):
        export_haim(tmp_path, None, CxrParams(mode="haim"), tmp_path / "x.csv", vectors(columns), {})
    assert not (tmp_path / "x.csv").exists()


def test_mimics_own_settings_are_refused_under_the_name_that_params_yaml_has_for_them():
    for make, name in (
        (lambda: CxrParams(labels="chexpret"), "mimic.cohort.labels"),
        (lambda: CxrParams(num_folds=1), "mimic.cohort.num_folds"),
        (lambda: CxrParams(mode="hiam"), "mimic.mode"),
        (lambda: CxrParams(mode="haim", labels="negbio"), "mimic.cohort.labels"),
        (lambda: CxrParams(mode="haim", icu_admissions_only=False), "mimic.cohort.icu_admissions_only"),
        (lambda: IcuParams(hour=0), "mimic_icu.cohort.hour"),
        (lambda: IcuParams(num_folds=1), "mimic_icu.cohort.num_folds"),
    ):
        with pytest.raises(ParamsError, match=rf"^{name}: "):
            make()


def test_a_missing_label_or_split_file_is_named_with_the_way_on(tmp_path):
    world = tiny_world(tmp_path / "world", 1)
    away = {name: next(world.rglob(f"mimic-cxr-*-{name}.csv.gz")) for name in ("chexpert", "split")}
    for file in away.values():
        file.rename(file.with_name("away-" + file.name))
    with pytest.raises(RawFileError, match=r"no mimic-cxr-2\.0\.0-chexpert\.csv\.gz .*labels: negbio") as caught:
        MIMIC.build_cohort(world, CxrParams())
    assert "?" not in str(caught.value)
    assert len(MIMIC.build_cohort(world, CxrParams(labels="negbio"))) > 0
    with pytest.raises(RawFileError, match=r"no mimic-cxr-2\.0\.0-split\.csv\.gz .*mode haim cannot"):
        MIMIC.build_cohort(world, CxrParams(mode="haim"))


def test_the_written_file_is_read_by_pandas_as_haim_writes_it(raw):
    frame = pd.read_csv(raw / f"{FILE}.csv")
    wanted = table()
    assert list(frame["img_charttime"]) == list(wanted["img_charttime"].dt.strftime("%Y-%m-%d %H:%M:%S"))
    assert (frame["PerformedProcedureStepDescription"] == 'CHEST (PORTABLE AP), "STAT"').all()
    np.testing.assert_array_equal(frame[list(LABELS)], wanted[list(LABELS)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda columns, made: (columns.drop(columns="split"), made), "columns split are missing"),
        (lambda columns, made: (columns, {"x": made["xray_findings"]}), "has no x"),
        (lambda columns, made: (columns, {"xray": made["xray_findings"]}), "18 dimensions, HAIM's file has 1024"),
        (lambda columns, made: (columns, {"demographics": made["xray_findings"]}), "give those, not their one-hot"),
        (lambda columns, made: (columns.assign(img_id="x"), made), "120 of 120 rows have no embedding"),
        (lambda columns, made: (columns.assign(split="a\nb"), made), "a line end within a cell"),
    ],
)
def test_what_haims_file_cannot_hold_is_refused_and_nothing_is_written(tmp_path, change, said):
    columns, made = change(table(), vectors(table()))
    with pytest.raises(ContractError, match=said):
        write_haim_csv(tmp_path / "out.csv", columns, made)
    assert not list(tmp_path.iterdir())


def test_embeddings_by_fold_and_infinite_ones_are_refused(tmp_path):
    columns = table()
    made = vectors(columns)["xray_findings"]
    with pytest.raises(ContractError, match="2 folds and 1 steps"):
        write_haim_csv(tmp_path / "out.csv", columns, {"xray_findings": replace(made, values=made.values.repeat(2, 0))})
    made.values[0, 0, 0, 0] = np.inf
    with pytest.raises(ContractError, match="infinite values"):
        write_haim_csv(tmp_path / "out.csv", columns, {"xray_findings": made})
