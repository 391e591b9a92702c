"""Mode haim: the stays' numbers, the samples, the folds, the demographics and the columns of HAIM's file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold, train_test_split

from mmn.data.cohort import check_cohort, read_cohort, write_cohort
from mmn.data.errors import CohortError, ContractError, ParamsError, RawFileError
from mmn.data.haim.columns import AFTER, BEFORE, LABELS
from mmn.data.mimic import MIMIC
from mmn.data.mimic.cohort_haim import haim_folds, list_samples
from mmn.data.mimic.haim_columns import haim_columns
from mmn.data.mimic.haim_keys import read_haim_keys
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.params import CxrParams
from mmn.data.mimic.reader import open_tables
from mmn.data.mimic.sources import with_stay_order
from tests.data.mimic_worlds import tiny_world

HAIM = CxrParams(mode="haim")
SIX = CxrParams(mode="haim", haim_dummies=False)
BOTH = ["Cardiomegaly", "Enlarged Cardiomediastinum"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("haim") / "raw", 3)


@pytest.fixture(scope="module")
def cohort(world):
    return MIMIC.build_cohort(world, HAIM)


def table(raw: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(raw / f"{name}.csv.gz")


def changed(world: Path, to: Path, file: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    shutil.copytree(world, to, ignore=shutil.ignore_patterns("files"))
    change(table(world, file)).to_csv(to / f"{file}.csv.gz", index=False)
    return to


def minute(metadata: pd.DataFrame) -> pd.Series:
    """As HAIM reads it: padded, put together as text, rounded down to the minute."""
    clock = metadata["StudyTime"].map("{:010.3f}".format)
    return pd.to_datetime(metadata["StudyDate"].astype(str) + " " + clock, format="%Y%m%d %H%M%S.%f").dt.floor("min")


def keys_of(raw: Path, subjects: list[int]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    with open_tables(with_stay_order(usable_layout(raw))) as tables:
        return read_haim_keys(tables, pd.Series(subjects))


# The stays' numbers


def test_stays_are_numbered_by_first_appearance_in_four_tables_each_sorted_then_by_who_has_an_x_ray(world, tmp_path):
    """By hand. procedureevents: 2-20-200 before 5-50-501, sorted. outputevents adds 1-10-100 and 5-50-500, in this
    order; inputevents adds 3-30-300; icustays 1-10-101 and 4-40-400. Patient 2 has no X-ray, so what follows moves up.
    """
    raw = tmp_path / "raw"
    shutil.copytree(world, raw, ignore=shutil.ignore_patterns("files"))
    rows = {
        "procedureevents": [(5, 50, 501), (2, 20, 200), (5, 50, 501), (5, None, 502)],
        "outputevents": [(5, 50, 500), (1, 10, 100), (2, 20, 200)],
        "inputevents": [(3, 30, 300), (1, 10, 100)],
        "icustays": [(4, 40, 400), (1, 10, 101), (1, 10, 100), (2, 20, 200), (3, 30, 300), (5, 50, 500), (5, 50, 501)],
    }
    for name, keys in rows.items():
        frame = pd.DataFrame(keys, columns=["subject_id", "hadm_id", "stay_id"]).astype("Int64")
        frame.assign(caregiver_id=1).to_csv(raw / f"icu/{name}.csv.gz", index=False)
    keys, tables = keys_of(raw, [1, 3, 4, 5])
    assert keys["stay_id"].tolist() == [501, 100, 500, 300, 101, 400]
    assert keys["haim_id"].tolist() == list(range(6))
    assert tables == ("procedureevents", "outputevents", "inputevents", "icustays")


def test_without_the_other_tables_stays_come_in_the_order_of_icustays_and_the_cohort_says_so(world, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(world, raw, ignore=shutil.ignore_patterns("files", "*putevents*", "procedureevents*"))
    stays = table(world, "icu/icustays")
    keys, tables = keys_of(raw, stays["subject_id"].tolist())
    by_keys = stays.sort_values(["subject_id", "hadm_id", "stay_id"])
    assert tables == ("icustays",) and keys["stay_id"].tolist() == by_keys["stay_id"].tolist()
    notes = " ".join(MIMIC.build_cohort(raw, HAIM).notes)
    assert "procedureevents, outputevents, inputevents not there, so haim_id differs from HAIM's" in notes


# The samples


def test_an_image_is_listed_under_every_stay_of_the_admission_that_contains_its_minute():
    day = lambda d: pd.Timestamp(2150, 1, d)  # noqa: E731
    keys = pd.DataFrame(
        {"haim_id": [0, 1, 2], "subject_id": [1, 1, 1], "hadm_id": [10, 11, 10], "stay_id": [100, 110, 101]}
    )
    spans = pd.DataFrame(
        {
            "subject_id": 1, "hadm_id": [10, 11], "admittime": [day(2), day(20)], "dischtime": [day(9), pd.NaT],
        }
    )  # fmt: skip
    images = pd.DataFrame(
        {
            "dicom_id": ["before", "first", "last", "after", "later"],
            "subject_id": 1,
            "haim_order": [0, 3, 2, 1, 4],
            "prediction_time": [day(1), day(2), day(9), day(10), day(21)],
        }
    )
    samples = list_samples(images, keys, spans)
    listed = [(0, "last"), (0, "first"), (2, "last"), (2, "first")]
    assert list(zip(samples["haim_id"], samples["dicom_id"], strict=True)) == listed


def test_the_cohort_is_the_one_that_a_loop_over_stays_and_images_gives(world, cohort):
    """HAIM's loop and MultiModN's selection, written out with pandas alone."""
    order = ("icu/procedureevents", "icu/outputevents", "icu/inputevents", "icu/icustays")
    ids = ["subject_id", "hadm_id", "stay_id"]
    there = [table(world, name)[ids].sort_values(ids) for name in order if (world / f"{name}.csv.gz").is_file()]
    keys = pd.concat(there).drop_duplicates()
    chexpert = table(world, "mimic-cxr-2.0.0-chexpert")
    keys = keys[keys["subject_id"].isin(chexpert["subject_id"])].reset_index(drop=True)
    admissions = table(world, "hosp/admissions").set_index("hadm_id")
    metadata = table(world, "mimic-cxr-2.0.0-metadata")
    metadata = metadata.assign(charttime=minute(metadata))
    cxr = table(world, "mimic-cxr-2.0.0-split").merge(chexpert, how="left").merge(metadata, how="left")
    rows = []
    for haim_id, (subject, hadm, _) in enumerate(keys.itertuples(index=False)):
        start, end = pd.to_datetime(admissions.loc[hadm, ["admittime", "dischtime"]])
        images = cxr[cxr["subject_id"] == subject].to_dict("records")
        rows += [
            {"haim_id": haim_id, "img_id": image["dicom_id"], **image}
            for image in images
            if start <= image["charttime"] <= end
        ]
    table_of_haim = pd.DataFrame(rows)
    first = table_of_haim.drop_duplicates(["img_id", "charttime"])
    selected = first[first[BOTH].isin([0, 1]).all(axis=1)]
    assert 0 < len(first) < len(table_of_haim)
    assert cohort.items["item"].tolist() == selected["img_id"].tolist()
    assert cohort.items["haim_id"].tolist() == selected["haim_id"].tolist()
    np.testing.assert_array_equal(cohort.targets["cardiomegaly"], selected["Cardiomegaly"])
    np.testing.assert_array_equal(cohort.targets["enlarged_cardiomediastinum"], selected["Enlarged Cardiomediastinum"])
    assert cohort.excluded["the same image listed again for another stay"] == len(table_of_haim) - len(first)
    counted = sum(cohort.excluded.values()) - (len(table_of_haim) - len(first))
    assert len(cohort) + counted == len(metadata)


def test_all_images_of_an_admission_go_to_its_first_stay_and_the_clock_starts_at_admittime(cohort):
    assert cohort.items.groupby("hadm_id")["haim_id"].nunique().eq(1).all()
    assert cohort.items["start_time"].equals(cohort.items["admittime"])
    assert (cohort.items["prediction_time"] >= cohort.items["start_time"]).all()


def test_the_order_of_the_split_file_is_the_order_of_the_items_of_a_stay(world, cohort, tmp_path):
    raw = changed(world, tmp_path / "raw", "mimic-cxr-2.0.0-split", lambda split: split[::-1])
    turned = MIMIC.build_cohort(raw, HAIM)
    assert turned.items["item"].tolist() != cohort.items["item"].tolist()
    backwards = cohort.items[::-1].sort_values("haim_id", kind="stable")
    assert turned.items["item"].tolist() == backwards["item"].tolist()


def test_an_image_that_split_and_metadata_give_to_two_studies_is_left_out(world, cohort, tmp_path):
    def relink(split: pd.DataFrame) -> pd.DataFrame:
        split.loc[split["dicom_id"] == cohort.items["item"][0], "study_id"] = 59_999_999
        return split

    raw = changed(world, tmp_path / "raw", "mimic-cxr-2.0.0-split", relink)
    again = MIMIC.build_cohort(raw, HAIM)
    assert again.items["item"].tolist() == cohort.items["item"].tolist()[1:]
    assert again.excluded["metadata and split disagree whose image it is"] == 1


def test_what_haim_needs_and_is_not_there_is_named(world, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(world, raw, ignore=shutil.ignore_patterns("files", "*split*"))
    with pytest.raises(RawFileError, match="-split"):
        MIMIC.build_cohort(raw, HAIM)
    assert len(MIMIC.build_cohort(raw, CxrParams())) > 0
    blank = lambda labels: labels.assign(Cardiomegaly=-1.0)  # noqa: E731
    raw = changed(world, tmp_path / "blank", "mimic-cxr-2.0.0-chexpert", blank)
    with pytest.raises(CohortError, match=r"no X-ray is left in mode haim.*or use mode clean"):
        MIMIC.build_cohort(raw, HAIM)


def test_settings_that_mode_haim_cannot_have_are_refused():
    with pytest.raises(ParamsError, match="CheXpert's alone"):
        CxrParams(mode="haim", labels="agreement")
    with pytest.raises(ParamsError, match="icu_admissions_only"):
        CxrParams(mode="haim", icu_admissions_only=False)
    assert MIMIC.modes == ("clean", "haim")


# The folds


def test_the_folds_are_those_of_the_published_protocol_to_the_item(cohort):
    """MultiModN's lines: group label 1 iff at least half of the group's images have both findings."""
    both = np.sum(list(cohort.targets.values()), axis=0) > 1
    groups = pd.Series(both).groupby(cohort.items["haim_id"]).agg(["sum", "size"])
    names, labels = groups.index.to_numpy(), (groups["sum"] >= groups["size"] / 2).astype(int).to_numpy()
    splitter = StratifiedKFold(n_splits=5, shuffle=True, random_state=0)
    for fold, (train, held_out) in enumerate(splitter.split(names, labels)):
        test, validation = train_test_split(
            names[held_out], test_size=0.5, stratify=labels[held_out], random_state=fold
        )
        for split, expected in {"train": names[train], "test": test, "validation": validation}.items():
            assert set(cohort.items["haim_id"].iloc[cohort.rows(fold, split)]) == set(expected), (fold, split)


def test_a_tie_makes_a_group_positive_and_groups_are_ordered_as_numbers():
    haim_id = np.repeat([2, 10, 1, 30, 4, 100], 2)
    items = pd.DataFrame({"item": [str(n) for n in range(12)], "haim_id": haim_id})
    both = np.array([1, 0] * 3 + [0, 0] * 3, dtype=bool)
    folds = haim_folds(items, both, 2, 0)
    names, labels = np.array([1, 2, 4, 10, 30, 100]), np.array([1, 1, 0, 1, 0, 0])
    splitter = StratifiedKFold(2, shuffle=True, random_state=0)
    for fold, (train, _) in enumerate(splitter.split(names, labels)):
        chosen = folds[(folds["fold"] == fold) & (folds["split"] == "train")]["item"].astype(int)
        assert set(haim_id[chosen]) == set(names[train])


def test_a_patient_may_sit_on_two_sides_but_a_stay_may_not_and_the_cohort_says_so(cohort, tmp_path):
    check_cohort(cohort, "mimic")
    sides = cohort.folds.merge(cohort.items[["item", "subject", "haim_id"]], on="item")
    assert sides.groupby(["fold", "haim_id"])["split"].nunique().max() == 1
    assert sides.groupby(["fold", "subject"])["split"].nunique().max() > 1
    assert cohort.items["subject"].equals(cohort.items["subject_id"].astype(str))
    assert any("a patient who came back may sit on two sides" in note for note in cohort.notes)
    with pytest.raises(ContractError, match="sit on two sides"):
        check_cohort(replace(cohort, fold_group="subject"), "mimic")
    write_cohort(tmp_path / "cohort", cohort, {})
    assert read_cohort(tmp_path / "cohort").fold_group == "haim_id"


# The demographics


def test_demographics_are_age_and_codes_over_the_sorted_words_of_all_admissions(world, cohort):
    rows = MIMIC.read_evidence(world, "demographics", cohort, SIX).rows
    assert list(rows.columns) == [f"de_{number}" for number in range(6)] and rows.notna().all().all()
    core = table(world, "hosp/admissions").merge(table(world, "hosp/patients"), on="subject_id")
    facts = core.set_index("hadm_id").loc[cohort.items["hadm_id"]]
    assert rows["de_0"].tolist() == facts["anchor_age"].tolist()
    for number, column in enumerate(["gender", "race", "marital_status", "language", "insurance"], start=1):
        words = sorted(set(core[column].dropna()))
        expected = [words.index(word) if isinstance(word, str) else -1 for word in facts[column]]
        assert rows[f"de_{number}"].tolist() == expected, column
    assert (rows["de_3"] == -1).any()


def test_a_word_that_only_others_use_moves_the_codes(world, cohort, tmp_path):
    """The fault that frozen vocabularies mend: a code depends on who else is in the table."""
    before = MIMIC.read_evidence(world, "demographics", cohort, SIX).rows
    other = table(world, "hosp/admissions")
    other = other.loc[~other["hadm_id"].isin(cohort.items["hadm_id"]), "hadm_id"].iloc[0]
    raw = changed(
        world,
        tmp_path / "raw",
        "hosp/admissions",
        lambda rows: rows.assign(race=rows["race"].where(rows["hadm_id"] != other, "AARDVARK")),
    )
    after = MIMIC.read_evidence(raw, "demographics", cohort, SIX).rows
    assert after["de_2"].tolist() == (before["de_2"] + 1).tolist()
    pd.testing.assert_frame_equal(after.drop(columns="de_2"), before.drop(columns="de_2"))


def test_the_models_read_one_column_per_code_of_the_cohort_but_the_smallest(world, cohort):
    codes = MIMIC.read_evidence(world, "demographics", cohort, SIX).rows
    rows = MIMIC.read_evidence(world, "demographics", cohort, HAIM).rows
    numbered = [f"de_{number}" for number in range(1, 6)]
    expected = pd.get_dummies(codes, columns=numbered, drop_first=True, dtype=float)
    assert [name.removesuffix(".0") for name in expected.columns] == list(rows.columns)
    np.testing.assert_array_equal(rows.to_numpy(), expected.to_numpy())
    assert not any(name.startswith("de_3_-1") for name in rows.columns)


def test_with_every_word_of_version_1_the_models_read_sixteen_columns_as_in_the_paper(tmp_path):
    raw = tiny_world(tmp_path / "raw", 1, "1.0")
    cohort = MIMIC.build_cohort(raw, HAIM)
    assert MIMIC.read_evidence(raw, "demographics", cohort, HAIM).rows.shape == (len(cohort), 16)
    assert "procedureevents, outputevents, inputevents, icustays" in cohort.notes[-1]


# The columns of HAIM's file


def test_the_columns_beside_the_embeddings_tell_time_outcome_labels_and_view(world, cohort):
    columns = haim_columns(world, cohort)
    assert tuple(columns.columns) == (*BEFORE, *AFTER) and len(columns.columns) == 7 + 17
    assert columns["img_id"].tolist() == cohort.items["item"].tolist()
    assert columns["haim_id"].tolist() == cohort.items["haim_id"].tolist()
    metadata = table(world, "mimic-cxr-2.0.0-metadata")
    facts = metadata.assign(charttime=minute(metadata)).merge(table(world, "mimic-cxr-2.0.0-chexpert"))
    facts = facts.merge(table(world, "mimic-cxr-2.0.0-split")).set_index("dicom_id").loc[columns["img_id"]]
    ends = table(world, "hosp/admissions").set_index("hadm_id").loc[cohort.items["hadm_id"]]
    for column, since, until in (
        ("img_deltacharttime", ends["admittime"], facts["charttime"]),
        ("img_length_of_stay", facts["charttime"], ends["dischtime"]),
    ):
        hours = (pd.to_datetime(until).to_numpy() - pd.to_datetime(since).to_numpy()) / np.timedelta64(1, "h")
        np.testing.assert_allclose(columns[column], hours, rtol=0, atol=1e-9)
    assert columns["death_status"].tolist() == ends["discharge_location"].eq("DIED").astype(int).tolist()
    assert set(columns["death_status"]) == {0, 1}
    for column in (*LABELS, "split", "PerformedProcedureStepDescription", "ViewPosition"):
        pd.testing.assert_series_equal(
            columns[column], facts[column].reset_index(drop=True), check_dtype=False, check_names=False
        )


def test_a_cohort_of_the_other_mode_has_no_such_columns(world):
    with pytest.raises(ContractError, match="mode haim"):
        haim_columns(world, MIMIC.build_cohort(world, CxrParams()))
