"""MIMIC's two cohorts and their evidence, on a generated world and on the open demo."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import check_cohort, read_cohort, write_cohort
from mmn.data.errors import CohortError, ParamsError
from mmn.data.evidence import EventEvidence
from mmn.data.files import version_of
from mmn.data.manifest import files_of, make_manifest
from mmn.data.mimic import MIMIC, MIMIC_ICU
from mmn.data.mimic.cohort_cxr import ICU_ONLY, attach_admission, attach_stay
from mmn.data.mimic.cohort_icu import _targets
from mmn.data.mimic.params import CxrParams, IcuParams
from mmn.data.mimic.xray_index import image_minutes
from mmn.featurizers import load_featurizer
from tests.data.mimic_worlds import tiny_world

DEMO = Path(__file__).parents[2] / ".." / "shared" / "data" / "mimic-iv-demo-2.2"
needs_demo = pytest.mark.skipif(not DEMO.is_dir(), reason="the open MIMIC-IV demo 2.2 is not beside the repository")
DATASETS = pytest.mark.parametrize("dataset", [MIMIC, MIMIC_ICU], ids=lambda dataset: dataset.name)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("mimic") / "raw", 1)


@pytest.fixture(scope="session")
def cxr(world):
    return MIMIC.build_cohort(world, CxrParams())


@pytest.fixture(scope="session")
def icu(world):
    return MIMIC_ICU.build_cohort(world, IcuParams())


def copy(world: Path, to: Path, file: str = "", change: Callable[[pd.DataFrame], pd.DataFrame] | None = None) -> Path:
    """The world's tables without its images, one of them changed."""
    shutil.copytree(world, to, ignore=shutil.ignore_patterns("files"))
    if change is not None:
        change(pd.read_csv(to / file, dtype="str")).to_csv(to / file, index=False, compression={"method": "gzip"})
    return to


def events(evidence: EventEvidence) -> pd.DataFrame:
    """`item` (its place), `signal` (its place), `hours`, `value`."""
    return pd.concat([pd.DataFrame(vars(block)) for block in evidence.blocks()], ignore_index=True)


# What is there


@DATASETS
def test_a_generated_world_offers_everything_and_says_that_it_is_generated(world, dataset):
    inspection = dataset.inspect(world)
    assert (inspection.problem, dict(inspection.skipped), inspection.generated) == (None, {}, True)
    assert set(inspection.found) == set(dataset.sources)


def test_both_data_sets_define_a_source_and_a_prepared_table_of_the_same_name_alike():
    for name in set(MIMIC.sources) & set(MIMIC_ICU.sources):
        assert MIMIC.sources[name] == MIMIC_ICU.sources[name]
    assert (MIMIC.prepared, MIMIC.prepare) == (MIMIC_ICU.prepared, MIMIC_ICU.prepare)
    module, function = MIMIC.prepare.split(":")
    assert callable(getattr(import_module(module), function))
    for dataset in (MIMIC, MIMIC_ICU):
        made_of = {name: set(dataset.prepared[name]) for modality in dataset.modalities for name in modality.prepared}
        used = {source for modality in dataset.modalities for source in modality.sources} | set(dataset.cohort_sources)
        used |= {source for sources in dataset.mode_sources.values() for source in sources}
        assert used.union(*made_of.values()) == set(dataset.sources)


def test_multimodn_reads_four_modalities_in_its_order_and_the_others_wait_to_be_named():
    names = [modality.name for modality in MIMIC.modalities]
    default = [modality.name for modality in MIMIC.modalities if modality.by_default]
    assert default == names[:4] == ["demographics", "xray", "notes", "chart_events"]
    assert set(names[4:]) == {
        "lab_events", "procedures", "ecg_notes", "radiology_notes", "xray_findings", "xray_history",
        "xray_history_findings",
    }  # fmt: skip
    assert all(modality.by_default for modality in MIMIC_ICU.modalities)


def test_the_reports_that_the_labels_are_read_off_are_unusable_for_them():
    unusable = {m.name: set(m.unusable_for) for m in (*MIMIC.modalities, *MIMIC_ICU.modalities) if m.unusable_for}
    assert unusable == {"radiology_notes": {task.name for task in MIMIC.tasks}}


@DATASETS
def test_the_settings_of_a_modality_are_its_featurizers(dataset):
    for modality in dataset.modalities:
        featurizer = load_featurizer(modality.featurizer)
        assert featurizer.evidence == modality.evidence
        replace(featurizer.defaults, **modality.settings)


def test_the_tree_is_found_four_levels_down_and_the_sources_name_the_files_that_are_read(world, tmp_path):
    raw = tmp_path / "raw"
    mimic, images = raw / "physionet.org/mimiciv/2.2", raw / "physionet.org/mimic-cxr-jpg/2.0.0"
    copy(world, mimic)
    (mimic / "GENERATED.json").unlink()
    images.mkdir(parents=True)
    for file in mimic.glob("mimic-cxr-*"):
        file.rename(images / file.name)
    shutil.copytree(world / "files", images / "files")
    inspection = MIMIC.inspect(raw)
    assert (inspection.problem, inspection.version) == (None, "2.2 by its folder's name")
    found = {name: len(files_of(raw, patterns)) for name, patterns in {**MIMIC.sources, **MIMIC_ICU.sources}.items()}
    assert found == {
        "tables": 5, "chartevents": 1, "labevents": 1, "procedureevents": 1, "stay_order": 2, "notes": 4,
        "cxr_labels": 4,
        "images": len(list(world.glob("files/*/*/*/*.jpg"))),
    }  # fmt: skip
    cohort = MIMIC.build_cohort(raw, CxrParams())
    assert len(MIMIC.read_evidence(raw, "xray", cohort, CxrParams()).rows) > 0.9 * len(cohort)


def test_a_brackets_and_quotes_in_the_path_do_no_harm(world, tmp_path):
    raw = copy(world, tmp_path / "it's [mine] *2*")
    assert len(MIMIC_ICU.build_cohort(raw, IcuParams())) > 0


def test_version_1_has_its_tables_in_core_and_calls_race_ethnicity(world, tmp_path, icu):
    raw = copy(world, tmp_path / "raw")
    (raw / "GENERATED.json").unlink()
    (raw / "core").mkdir()
    for name in ("patients", "admissions"):
        (raw / f"hosp/{name}.csv.gz").rename(raw / f"core/{name}.csv.gz")
    later_columns = ["admit_provider_id", "order_provider_id", "caregiver_id"]
    for file in [*raw.glob("core/*.gz"), *raw.glob("icu/*events.csv.gz"), raw / "hosp/labevents.csv.gz"]:
        frame = pd.read_csv(file, dtype="str").rename(columns={"race": "ethnicity"})
        frame.drop(columns=later_columns, errors="ignore").to_csv(file, index=False)
    assert MIMIC_ICU.inspect(raw).version == "1.0"
    older = MIMIC_ICU.build_cohort(raw, IcuParams())
    pd.testing.assert_frame_equal(older.items, icu.items)
    rows = MIMIC_ICU.read_evidence(raw, "demographics", older, IcuParams()).rows
    pd.testing.assert_frame_equal(rows, MIMIC_ICU.read_evidence(world, "demographics", icu, IcuParams()).rows)


def test_an_empty_folder_and_one_without_x_rays_say_what_to_do(world, tmp_path):
    for dataset in (MIMIC, MIMIC_ICU):
        assert "hosp/" in dataset.inspect(tmp_path).problem
        assert "no such folder" in dataset.inspect(tmp_path / "nowhere").problem
    raw = copy(world, tmp_path / "raw")
    for file in raw.glob("mimic-cxr-*"):
        file.unlink()
    assert "data set mimic_icu" in MIMIC.inspect(raw).problem
    assert MIMIC_ICU.inspect(raw).problem is None


def test_what_is_skipped_is_named_with_the_file_that_would_bring_it_back(world, tmp_path):
    raw = copy(world, tmp_path / "raw")
    (raw / "icu/chartevents.csv.gz").unlink()
    (raw / "note/echo_icustay.csv.gz").unlink()
    skipped = MIMIC.inspect(raw).skipped
    pictures = {modality.name for modality in MIMIC.modalities if modality.evidence == "images"}
    assert set(skipped) == {"chart_events", "notes", *pictures}
    assert "icu/chartevents.csv.gz" in skipped["chart_events"]
    assert "no public release" in skipped["notes"]
    assert not any("\n" in why for why in skipped.values())
    assert set(MIMIC_ICU.inspect(raw).skipped) == {"chart_events"}


def test_each_modality_without_its_table_is_skipped_and_of_the_two_radiology_tables_one_will_do(world, tmp_path):
    lost = {
        "icu/chartevents": {"chart_events"}, "hosp/labevents": {"lab_events"}, "icu/procedureevents": {"procedures"},
        "icu/d_items": {"chart_events", "procedures"}, "hosp/d_labitems": {"lab_events"},
        "note/echo_icustay": {"notes"}, "note/ecg_icustay": {"ecg_notes"}, "note/rad_icustay": set(),
        "note/radiology": {"radiology_notes"},
    }  # fmt: skip
    raw = tmp_path / "raw"
    shutil.copytree(world, raw)
    gone: set[str] = set()
    for table, modalities in lost.items():
        (raw / f"{table}.csv.gz").unlink()
        gone |= modalities
        skipped = MIMIC.inspect(raw).skipped
        assert set(skipped) == gone, table
        assert all(f"{table}.csv.gz" in skipped[modality] for modality in modalities)


def test_two_versions_in_one_folder_and_tables_of_two_versions_are_refused(world, tmp_path):
    copy(world, tmp_path / "two/2.2")
    copy(world, tmp_path / "two/3.1")
    assert "Give the folder of one version" in MIMIC_ICU.inspect(tmp_path / "two").problem
    mixed = copy(world, tmp_path / "mixed", "icu/chartevents.csv.gz", lambda f: f.drop(columns="caregiver_id"))
    assert "different versions" in MIMIC_ICU.inspect(mixed).problem


@needs_demo
def test_the_open_demo_gives_the_icu_cohort_counted_by_hand():
    """Stays of at least 24 h: 117; of those 2 end in death and 11 in discharge within 48 h after that hour."""
    inspection = MIMIC_ICU.inspect(DEMO)
    assert inspection.problem is None and inspection.version.startswith("demo, 2.2") and not inspection.generated
    assert "icu/chartevents.csv.gz" in inspection.skipped["chart_events"] and "notes" in inspection.skipped
    assert "data set mimic_icu" in MIMIC.inspect(DEMO).problem
    cohort = MIMIC_ICU.build_cohort(DEMO, IcuParams())
    check_cohort(cohort, "mimic_icu")
    assert (len(cohort), cohort.excluded) == (117, {"stay shorter than 24 h": 23})
    assert {task: target.sum() for task, target in cohort.targets.items()} == {"mortality_48h": 2, "discharge_48h": 11}


# Cohorts


@pytest.mark.parametrize("name", ["cxr", "icu"])
def test_a_cohort_keeps_its_promises_and_survives_the_disk(name, request, tmp_path):
    cohort = request.getfixturevalue(name)
    check_cohort(cohort, name)
    write_cohort(tmp_path / "cohort", cohort, {})
    again = read_cohort(tmp_path / "cohort")
    assert list(again.items["item"]) == list(cohort.items["item"])
    dataset, world = (MIMIC if name == "cxr" else MIMIC_ICU), request.getfixturevalue("world")
    first, second = (
        events(dataset.read_evidence(world, "chart_events", each, dataset.cohort_defaults)) for each in (cohort, again)
    )
    pd.testing.assert_frame_equal(first, second)


def test_nobody_sits_on_two_sides_of_a_fold(cxr, icu):
    for cohort in (cxr, icu):
        sides = cohort.folds.merge(cohort.items[["item", "subject"]], on="item")
        assert sides.groupby(["fold", "subject"])["split"].nunique().eq(1).all()
        assert cohort.num_folds == 5
        tests = sides[sides["split"] == "test"]
        assert tests.groupby("item").size().max() == 1


def test_uncertain_and_blank_labels_are_missing_and_never_zero(world, tmp_path):
    def blur(labels: pd.DataFrame) -> pd.DataFrame:
        labels.loc[::2, "Cardiomegaly"] = "-1.0"
        labels.loc[1::2, "Cardiomegaly"] = ""
        labels["Enlarged Cardiomediastinum"] = "0.0"
        return labels

    raw = copy(world, tmp_path / "raw", "mimic-cxr-2.0.0-chexpert.csv.gz", blur)
    cohort = MIMIC.build_cohort(raw, CxrParams(both_labels=False))
    assert np.isnan(cohort.targets["cardiomegaly"]).all()
    assert (cohort.targets["enlarged_cardiomediastinum"] == 0).all()
    with pytest.raises(CohortError, match=r"no X-ray is left.*a label missing or uncertain"):
        MIMIC.build_cohort(raw, CxrParams())


def test_both_labels_are_known_by_default_and_every_x_ray_is_accounted_for(world, cxr):
    assert all(np.isin(target, [0, 1]).all() for target in cxr.targets.values())
    assert len(cxr) + sum(cxr.excluded.values()) == len(pd.read_csv(world / "mimic-cxr-2.0.0-metadata.csv.gz"))
    assert {"a label missing or uncertain", "taken outside every admission"} <= set(cxr.excluded)
    wider = MIMIC.build_cohort(world, CxrParams(both_labels=False, icu_admissions_only=False))
    assert set(cxr.items["item"]) < set(wider.items["item"])
    assert ICU_ONLY in cxr.notes and ICU_ONLY not in wider.notes, "the choice looks ahead of the X-ray, and is said"


@pytest.mark.parametrize("mode", MIMIC.modes)
def test_where_all_x_rays_say_the_same_there_are_folds_nevertheless(mode, world, tmp_path):
    certain = lambda labels: labels.assign(**{"Cardiomegaly": "1.0", "Enlarged Cardiomediastinum": "0.0"})  # noqa: E731
    raw = copy(world, tmp_path / "raw", "mimic-cxr-2.0.0-chexpert.csv.gz", certain)
    cohort = MIMIC.build_cohort(raw, CxrParams(mode=mode))
    check_cohort(cohort, "mimic")
    assert [np.unique(target).tolist() for target in cohort.targets.values()] == [[1.0], [0.0]]


def test_agreement_keeps_a_label_only_where_both_labellers_say_the_same(world):
    sides = {
        whose: MIMIC.build_cohort(world, CxrParams(labels=whose, both_labels=False)) for whose in ("chexpert", "negbio")
    }
    known = {
        whose: pd.DataFrame(c.targets, index=pd.Index(c.items["item"])) for whose, c in sides.items()
    }  # fmt: skip
    both = MIMIC.build_cohort(world, CxrParams(labels="agreement", both_labels=False))
    for task, target in both.targets.items():
        chexpert, negbio = (known[w][task].reindex(both.items["item"]).to_numpy() for w in ("chexpert", "negbio"))
        np.testing.assert_array_equal(target, np.where(chexpert == negbio, chexpert, np.nan))


def test_study_times_have_no_leading_zeros_and_are_rounded_down_to_the_minute():
    times = image_minutes(
        pd.Series([21800506.0] * 4 + [np.nan, 21801350.0]), pd.Series([80556.875, 59.9, 235959.0, 96100.0, 1.0, 1.0])
    )
    assert [str(t) for t in times[:3]] == ["2180-05-06 08:05:00", "2180-05-06 00:00:00", "2180-05-06 23:59:00"]
    assert times[3:].isna().all()


def test_an_image_goes_to_the_admission_that_contains_it_and_to_the_stay_around_or_after_it():
    day = lambda d, h=0: pd.Timestamp(2150, 1, d, h)  # noqa: E731
    admissions = pd.DataFrame(
        {
            "subject_id": [1, 1, 2], "hadm_id": [10, 11, 12], "start_time": [day(1), day(20), day(1)],
            "admittime": [day(1), day(20), day(1)], "dischtime": [day(10), day(25), day(30)],
        }
    )  # fmt: skip
    stays = pd.DataFrame(
        {"hadm_id": [10, 10], "stay_id": [100, 101], "intime": [day(2), day(6)], "outtime": [day(4), day(8)]}
    )
    moments = [day(1, 12), day(3), day(5), day(7), day(9), day(15), day(21)]
    images = pd.DataFrame({"dicom_id": list("abcdefg"), "subject_id": 1, "prediction_time": moments})
    images = attach_admission(images, admissions)
    assert images["hadm_id"].fillna(0).tolist() == [10, 10, 10, 10, 10, 0, 11]
    images = attach_stay(images[images["hadm_id"].notna()].astype({"hadm_id": "int64"}), stays)
    assert images["stay_id"].fillna(0).tolist() == [100, 100, 101, 101, 101, 0]


def test_outcomes_are_read_from_how_and_when_the_admission_ended():
    t = pd.Timestamp(2150, 1, 1)
    hours = lambda *values: t + pd.to_timedelta(list(values), unit="h")  # noqa: E731
    stays = pd.DataFrame(
        {
            "prediction_time": t,
            "dischtime": hours(48, 49, 10, 37, np.nan, 60),
            "deathtime": hours(np.nan, np.nan, 10, 60, np.nan, 40),
            "hospital_expire_flag": [0, 0, 1, 1, 0, 1],
        }
    )
    targets = _targets(stays)
    np.testing.assert_array_equal(targets["discharge_48h"], [1, 0, 0, 0, np.nan, 0])
    np.testing.assert_array_equal(targets["mortality_48h"], [0, 0, 1, 1, np.nan, 1])


def test_a_later_hour_keeps_fewer_stays_and_none_at_all_is_an_error(world, icu):
    later = MIMIC_ICU.build_cohort(world, IcuParams(hour=48))
    assert set(later.items["item"]) < set(icu.items["item"])
    with pytest.raises(CohortError, match="Predict at an earlier hour"):
        MIMIC_ICU.build_cohort(world, IcuParams(hour=8760))


def test_unknown_settings_are_refused():
    for make in (
        lambda: CxrParams(labels="chexpret"), lambda: CxrParams(mode="hiam"), lambda: IcuParams(hour=0),
        lambda: IcuParams(num_folds=1), lambda: replace(IcuParams(), mode="published"),
    ):  # fmt: skip
        with pytest.raises(ParamsError):
            make()


# Evidence


def test_demographics_are_one_row_per_item_in_frozen_categories(world, cxr, icu):
    for dataset, cohort in ((MIMIC, cxr), (MIMIC_ICU, icu)):
        evidence = dataset.read_evidence(world, "demographics", cohort, dataset.cohort_defaults)
        assert len(evidence.rows) == len(cohort) and evidence.quarantined == {}
        assert evidence.rows["age"].dtype == "float64" and evidence.rows["age"].between(18, 91).all()
        assert list(evidence.rows.columns[1:]) == ["gender", "race", "marital_status", "language", "insurance"]
        assert all(isinstance(evidence.rows[c].dtype, pd.CategoricalDtype) for c in evidence.rows.columns[1:])
        assert evidence.rows["race"].isna().any() and evidence.rows["race"].notna().any()


def test_age_is_that_of_the_admission_and_above_89_it_stays_91(world, tmp_path, icu):
    ages = {0: ("60", -1), 1: ("60", 3), 2: ("89", 1), 3: ("91", 4), 4: ("70", None), 5: ("", 0)}
    subjects = icu.items.drop_duplicates("subject_id")[: len(ages)].reset_index(drop=True)
    admissions = pd.read_csv(world / "hosp/admissions.csv.gz", parse_dates=["admittime"])
    year = subjects["hadm_id"].map(admissions.set_index("hadm_id")["admittime"]).dt.year

    def put(frame: pd.DataFrame) -> pd.DataFrame:
        for n, (age, since) in ages.items():
            own = frame["subject_id"].eq(str(subjects["subject_id"][n]))
            shifted = "" if since is None else str(year[n] - since)
            frame.loc[own, ["anchor_age", "anchor_year"]] = [age, shifted]
        return frame

    raw = copy(world, tmp_path / "raw", "hosp/patients.csv.gz", put)
    evidence = MIMIC_ICU.read_evidence(raw, "demographics", icu, IcuParams())
    found = evidence.rows["age"].set_axis(icu.items["item"])[subjects["item"]].tolist()
    assert found[:5] == [59, 63, 91, 91, 70] and np.isnan(found[5])
    without = copy(world, tmp_path / "none", "hosp/patients.csv.gz", lambda f: f.drop(columns="anchor_year"))
    evidence = MIMIC_ICU.read_evidence(without, "demographics", icu, IcuParams())
    assert evidence.quarantined == {"anchor_year not known: age is that of the anchor year": len(icu)}
    patients = pd.read_csv(world / "hosp/patients.csv.gz").set_index("subject_id")["anchor_age"]
    assert evidence.rows["age"].tolist() == icu.items["subject_id"].map(patients).tolist()


def test_a_race_that_no_version_documents_is_null_and_counted(world, tmp_path, icu):
    raw = copy(
        world, tmp_path / "raw", "hosp/admissions.csv.gz", lambda f: f.assign(race="MARTIAN", insurance="Private")
    )
    evidence = MIMIC_ICU.read_evidence(raw, "demographics", icu, IcuParams())
    assert evidence.quarantined == {"race: a value that no version documents": len(icu)}
    assert evidence.rows["race"].isna().all() and evidence.rows["insurance"].eq("Private").all()


# The generator


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(world, tmp_path):
    MIMIC.generate(tmp_path / "again", "tiny", 1)
    assert version_of(tmp_path / "again") == version_of(world) != version_of(tiny_world(tmp_path / "other", 3))


def test_the_generator_leaves_other_folders_alone_and_knows_its_sizes(tmp_path):
    (tmp_path / "mine.csv").write_text("precious")
    with pytest.raises(ParamsError, match="left alone"):
        MIMIC.generate(tmp_path, "tiny", 0)
    with pytest.raises(ParamsError, match="tiny, demo, medium"):
        MIMIC.generate(tmp_path / "new", "huge", 0)
    assert (tmp_path / "mine.csv").read_text() == "precious"


def test_the_truth_tells_seed_size_signal_and_faults(world):
    truth = json.loads((world / "GENERATED.json").read_text())
    assert truth["generated"] is True and (truth["seed"], truth["size"]) == (1, "tiny")
    assert truth["planted_faults"]["image truncated"] == 1
    assert {task.name for dataset in (MIMIC, MIMIC_ICU) for task in dataset.tasks} <= set(truth["signal"])


def test_each_generated_source_makes_a_manifest(world):
    for patterns in {**MIMIC.sources, **MIMIC_ICU.sources}.values():
        if "jpg" not in patterns[0]:
            assert make_manifest(world, patterns, version="x")["num_files"] > 0


def test_gzip_headers_hold_no_time(world):
    for file in world.rglob("*.csv.gz"):
        assert file.read_bytes()[4:8] == b"\0\0\0\0"
        with gzip.open(file) as stream:
            assert stream.readline().strip()


def test_defining_the_data_sets_imports_no_heavy_library():
    heavy = "torch duckdb pandera sklearn PIL"
    code = f"import sys, mmn.data.mimic; print([name for name in '{heavy}'.split() if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
