"""MIMIC-IV 1.0, 2.0, 2.2 and 3.1: worlds in the format of each, recognised by folders and headers, read to evidence."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mmn.data.errors import ContractError, ParamsError, RawFileError
from mmn.data.evidence import EventEvidence
from mmn.data.manifest import files_of
from mmn.data.mimic import MIMIC, MIMIC_ICU
from mmn.data.mimic.contracts import EcgNotes, EchoNotes, RadiologyStayNotes
from mmn.data.mimic.generated_versions import ETHNICITIES, INSURANCES_3, LANGUAGES_3, VERSIONS
from mmn.data.mimic.generator import generate
from mmn.data.mimic.layout import find_layout, read_header, usable_layout
from mmn.data.mimic.params import CxrParams, IcuParams
from mmn.data.mimic.reader import open_tables
from mmn.data.mimic.vocabularies import RACES
from tests.data.mimic_worlds import tiny_world

DEMO = Path(__file__).parents[2] / ".." / "shared" / "data" / "mimic-iv-demo-2.2"
needs_demo = pytest.mark.skipif(not DEMO.is_dir(), reason="the open MIMIC-IV demo 2.2 is not beside the repository")
EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("worlds")
    return {version: tiny_world(root / version, 3, version) for version in VERSIONS}


def copy(world: Path, to: Path, *, told: bool = False) -> Path:
    """The world's tables, without its images and, unless `told`, without what says that it is generated."""
    shutil.copytree(world, to, ignore=shutil.ignore_patterns("files", *([] if told else ["GENERATED.json"])))
    return to


def table(world: Path, name: str) -> Path:
    return find_layout(world).file(name)


def bytes_of(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def items_of(evidence) -> int:
    """How many items or rows the evidence speaks of; events are read through."""
    if isinstance(evidence, EventEvidence):
        return sum(len(set(block.item.tolist())) for block in evidence.blocks())
    return len(evidence.rows)


# What the generator writes


@needs_demo
def test_the_world_of_2_2_has_the_real_demos_headers(worlds):
    compared = 0
    for file in worlds["2.2"].rglob("*.csv.gz"):
        real = DEMO / file.relative_to(worlds["2.2"])
        if real.exists():
            assert read_header(file) == read_header(real), file.name
            compared += 1
    assert compared == 11


def test_the_older_worlds_differ_in_what_the_changelog_says(worlds):
    headers = {
        version: {name: read_header(table(world, name)) for name in find_layout(world).files}
        for version, world in worlds.items()
    }
    first, second, later, third = (headers[version] for version in VERSIONS)
    assert {"ethnicity"} == set(first["admissions"]) - set(second["admissions"])
    assert first["d_labitems"] == [*second["d_labitems"], "loinc_code"]
    assert {"comments_date", "cancelreason", "totalamount", "totalamountuom", "secondaryordercategoryname"} == set(
        first["procedureevents"]
    ) - set(second["procedureevents"])
    for name, column, place in (
        ("admissions", "admit_provider_id", 6), ("labevents", "order_provider_id", 5),
        ("chartevents", "caregiver_id", 3), ("procedureevents", "caregiver_id", 3),
    ):  # fmt: skip
        assert column not in second[name] + first[name]
        assert later[name].index(column) == place
    assert {name: columns for name, columns in third.items() if name != "echo_icustay"} == {
        name: columns for name, columns in later.items() if name != "echo_icustay"
    }


def test_1_0_keeps_its_patients_in_core_and_is_unpacked_as_haim_reads_it(worlds):
    assert sorted(file.name for file in (worlds["1.0"] / "core").iterdir()) == [
        "admissions.csv", "patients.csv", "transfers.csv",
    ]  # fmt: skip
    assert not list(worlds["1.0"].rglob("*.gz"))
    assert not any((worlds[version] / "core").exists() for version in VERSIONS[1:])


def test_every_word_of_a_versions_vocabulary_occurs(worlds):
    words = {version: pd.read_csv(table(world, "admissions")) for version, world in worlds.items()}
    assert set(words["1.0"]["ethnicity"]) == set(ETHNICITIES)
    assert set(words["2.0"]["race"]) == set(words["3.1"]["race"]) == set(RACES) - {"HISPANIC/LATINO"}
    assert set(words["3.1"]["language"].dropna()) == set(LANGUAGES_3) - {None}
    assert words["3.1"]["language"].str.len().max() > 10 >= words["2.2"]["language"].str.len().max()
    assert set(words["3.1"]["insurance"]) == set(INSURANCES_3)


def test_the_people_and_their_events_are_the_same_in_every_version(worlds):
    """And those that they were when 2.2 was the only version: the digests are of then."""
    old = {
        "labevents": "08616b47ff74a25190dd0854bc5f0aca", "icustays": "18acef38a800249c096698c038597516",
        "d_items": "958feb8e569da335b6841836a351dde5", "admissions": "344085d42368ce03791df293b28a83b1",
    }  # fmt: skip
    for name, digest in old.items():
        assert hashlib.md5(bytes_of(table(worlds["2.2"], name))).hexdigest() == digest, name
    frames = {version: pd.read_csv(table(world, "chartevents"))["valuenum"] for version, world in worlds.items()}
    for version in VERSIONS:
        pd.testing.assert_series_equal(frames[version], frames["2.2"])
    images = {version: sorted(p.name for p in world.glob("files/*/*/*/*.jpg")) for version, world in worlds.items()}
    assert all(names == images["2.2"] for names in images.values())


@EVERY_VERSION
def test_the_shapes_that_cohorts_stumble_over_all_occur(worlds, version):
    world = worlds[version]
    stays = pd.read_csv(table(world, "icustays"), parse_dates=["intime"])
    assert stays["hadm_id"].duplicated().any(), "an admission with two ICU stays"
    metadata = pd.read_csv(table(world, "cxr_metadata"))
    assert metadata["study_id"].duplicated().any(), "a study of several images"
    assert metadata["ViewPosition"].eq("LATERAL").any()
    cohort = MIMIC.build_cohort(world, CxrParams(both_labels=False)).items
    assert cohort.groupby("subject_id")["hadm_id"].nunique().max() > 1, "images in several admissions"
    before = cohort.merge(stays.groupby("hadm_id", as_index=False)["intime"].min(), on="hadm_id")
    assert (before["prediction_time"] < before["intime"]).any(), "an image before the ICU"


@EVERY_VERSION
def test_haims_note_tables_keep_its_column_contract(worlds, version):
    world = worlds[version]
    contracts = {"ecg": EcgNotes, "rad": RadiologyStayNotes, "echo": EchoNotes}
    stays = pd.read_csv(table(world, "icustays"))
    with open_tables(usable_layout(world)) as tables:
        for name, contract in contracts.items():
            rows = tables.frame(contract)
            assert len(rows) > 20 and rows["charttime"].notna().all(), name
            assert set(rows["stay_id"].astype(int)) <= set(stays["stay_id"])
    for name in ("ecg", "rad", "ds"):
        raw = pd.read_csv(next(world.glob(f"note/{name}_icustay.csv*")), dtype="str")
        assert raw["subject_id"].str.fullmatch(r"\d{8}\.0").all() and raw["stay_id"].str.endswith(".0").all()
        assert raw["charttime"].str.endswith("+00:00").all()
        assert ("subject_id_1" in raw) == ("offset.num" in raw) == (name == "rad")


def test_version_3_1_comes_with_the_files_that_mimic_cxr_jpg_2_1_0_adds(worlds):
    world = worlds["3.1"]
    labels = pd.read_csv(world / "mimic-cxr-2.1.0-test-set-labeled.csv")
    assert labels.columns[0] == "study_id" and len(labels.columns) == 15 and "Airspace Opacity" in labels
    split = pd.read_csv(table(world, "cxr_split"))
    assert set(labels["study_id"]) <= set(split.loc[split["split"] == "test", "study_id"])
    listed = (world / "IMAGE_FILENAMES").read_text().splitlines()
    there = {path.relative_to(world).as_posix() for path in world.glob("files/*/*/*/*.jpg")}
    assert len(listed) == len(split) and there < set(listed) and len(there) > 0.95 * len(listed)
    assert table(world, "cxr_metadata").name == "mimic-cxr-2.0.0-metadata.csv.gz"


def test_the_same_seed_and_version_give_the_same_bytes(worlds, tmp_path):
    generate(tmp_path / "again", "tiny", 3, "3.1")
    for file in (tmp_path / "again").rglob("*.*"):
        assert file.read_bytes() == (worlds["3.1"] / file.relative_to(tmp_path / "again")).read_bytes()


def test_an_unknown_version_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ParamsError, match=r"version: '2.1' is unknown; known: 1\.0, 2\.0, 2\.2, 3\.1"):
        generate(tmp_path / "raw", "tiny", 0, "2.1")


# Which version it is


@pytest.mark.parametrize(
    ("version", "told"),
    [("1.0", "1.0"), ("2.0", "2.0 or 2.1"), ("2.2", "2.2 or later"), ("3.1", "2.2 or later")],
)
def test_folders_and_headers_tell_the_version_and_a_generated_world_tells_its_own(worlds, tmp_path, version, told):
    assert find_layout(worlds[version]).version == f"generated (seed 3), in the format of {version}"
    bare = copy(worlds[version], tmp_path / "raw")
    assert (find_layout(bare).version, find_layout(bare).problem) == (told, None)
    named = copy(worlds[version], tmp_path / f"mimic-iv-{version}")
    assert find_layout(named).version == f"{version} by its folder's name"


def test_a_folders_name_that_the_headers_deny_is_not_believed(worlds, tmp_path):
    assert find_layout(copy(worlds["2.0"], tmp_path / "3.1")).version == "2.0 or 2.1"
    lying = copy(worlds["2.0"], tmp_path / "lying", told=True)
    truth = json.loads((lying / "GENERATED.json").read_text())
    (lying / "GENERATED.json").write_text(json.dumps({**truth, "version": "3.1"}))
    assert find_layout(lying).version == "generated (seed 3), in the format of 2.0 or 2.1"


@needs_demo
def test_the_real_demo_is_recognised():
    assert find_layout(DEMO).version == "demo, 2.2 by its folder's name"


def test_columns_in_any_order_and_packed_or_not_tell_the_same(worlds, tmp_path):
    raw = copy(worlds["2.2"], tmp_path / "raw")
    for file in list(raw.rglob("*.csv.gz")):
        frame = pd.read_csv(file, dtype="str", keep_default_na=False)
        frame[sorted(frame.columns, reverse=True)].to_csv(file.with_suffix(""), index=False)
        file.unlink()
    assert find_layout(raw).version == "2.2 or later"
    items = MIMIC_ICU.build_cohort(raw, IcuParams()).items
    pd.testing.assert_frame_equal(items, MIMIC_ICU.build_cohort(worlds["2.2"], IcuParams()).items)


@pytest.mark.parametrize(
    ("into", "name", "of", "says"),
    [
        (
            "2.2",
            "chartevents",
            "2.0",
            r"chartevents.csv.gz \(10 columns, header \w{8}, no caregiver_id\) is of 1.0 or 2",
        ),
        (
            "2.0",
            "labevents",
            "2.2",
            r"labevents.csv.gz \(16 columns, header \w{8}, order_provider_id\) is of 2.2 or la",
        ),
        ("2.2", "procedureevents", "1.0", r"procedureevents.csv \(.*no caregiver_id, comments_date\) is of 1.0\."),
        ("2.0", "d_labitems", "1.0", r"d_labitems.csv \(5 columns, header \w{8}, loinc_code\) is of 1.0\."),
        ("1.0", "admissions", "2.0", "core/admissions.csv.gz .* is of no known version"),
        ("2.2", "admissions", "1.0", "hosp/admissions.csv .* is of no known version"),
        (
            "2.2",
            "admissions",
            "2.0",
            r"no admit_provider_id\) is of 2.0 or 2.1, but hosp/labevents.csv.gz .* 2.2 or la",
        ),
    ],
)
def test_a_table_of_another_version_is_refused_with_both_fingerprints(worlds, tmp_path, into, name, of, says):
    raw = copy(worlds[into], tmp_path / "raw")
    mine, other = table(raw, name), table(worlds[of], name)
    mine.unlink()
    shutil.copy(other, mine.parent / other.name)
    with pytest.raises(RawFileError, match=f"different versions of MIMIC-IV: .*{says}"):
        usable_layout(raw)
    assert MIMIC_ICU.inspect(raw).problem and MIMIC.inspect(raw).version == "mixed"


def test_tables_from_folders_of_two_versions_are_refused_though_their_headers_agree(worlds, tmp_path):
    raw = copy(worlds["3.1"], tmp_path / "raw/mimiciv/3.1").parents[1]
    (raw / "mimiciv/2.2").mkdir()
    (raw / "mimiciv/3.1/icu").rename(raw / "mimiciv/2.2/icu")
    with pytest.raises(RawFileError, match=r"different versions .*hosp/.* of 3\.1, but .*icu/.* of 2\.2\. Take"):
        usable_layout(raw)


def test_rows_of_2_0_under_the_header_of_2_2_are_refused_and_not_shifted(worlds, tmp_path):
    raw = copy(worlds["2.2"], tmp_path / "raw")
    header = bytes_of(table(raw, "labevents")).split(b"\n", 1)[0]
    rows = bytes_of(table(worlds["2.0"], "labevents")).split(b"\n", 1)[1]
    table(raw, "labevents").write_bytes(gzip.compress(header + b"\n" + rows))
    cohort = MIMIC_ICU.build_cohort(raw, IcuParams())
    with pytest.raises(ContractError, match=r"hosp/labevents.csv.gz line \d"):
        items_of(MIMIC_ICU.read_evidence(raw, "lab_events", cohort, IcuParams()))


# Where it lies


def test_what_wget_makes_of_physionet_is_found_from_its_parent(worlds, tmp_path):
    raw = tmp_path / "raw"
    files = raw / "physionet.org/files"
    copy(worlds["3.1"], files / "mimiciv/3.1")
    for pattern, release in (("mimic-cxr-*", "mimic-cxr-jpg/2.1.0"), ("note", "mimic-iv-note/2.2")):
        (files / release).mkdir(parents=True)
        for path in (files / "mimiciv/3.1").glob(pattern):
            path.rename(files / release / path.name)
    shutil.copytree(worlds["3.1"] / "files", files / "mimic-cxr-jpg/2.1.0/files")
    # The reports of MIMIC-CXR, unpacked beside the images of MIMIC-CXR-JPG.
    (files / "mimic-cxr/2.1.0/files/p10/p10000032").mkdir(parents=True)
    layout = find_layout(raw)
    assert (layout.problem, layout.version) == (None, "3.1 by its folder's name")
    assert layout.image_root == Path("physionet.org/files/mimic-cxr-jpg/2.1.0")
    assert set(layout.files) == set(find_layout(worlds["3.1"]).files)
    for name, patterns in {**MIMIC.sources, **MIMIC_ICU.sources}.items():
        there = {path.name for path in files_of(worlds["3.1"], patterns)}
        assert {path.name for path in files_of(raw, patterns)} == there and there, name
    cohort = MIMIC.build_cohort(raw, CxrParams())
    assert len(MIMIC.read_evidence(raw, "xray", cohort, CxrParams()).rows) > 0.9 * len(cohort)


def test_downloads_that_lie_apart_are_found_through_links(worlds, tmp_path):
    world, raw = worlds["2.2"], tmp_path / "raw"
    (tmp_path / "cxr").mkdir()
    for path in (world / "files", *world.glob("mimic-cxr-*")):
        (tmp_path / "cxr" / path.name).symlink_to(path)
    for name, target in {"cxr": tmp_path / "cxr", **{name: world / name for name in ("hosp", "icu", "note")}}.items():
        (raw / "links").mkdir(parents=True, exist_ok=True)
        (raw / "links" / name).symlink_to(target)
    layout = find_layout(raw)
    assert layout.problem is None and set(layout.files) == set(find_layout(world).files)
    for patterns in MIMIC.sources.values():
        assert len(files_of(raw, patterns)) == len(files_of(world, patterns)) > 0
    cohort = MIMIC.build_cohort(raw, CxrParams())
    assert len(MIMIC.read_evidence(raw, "xray", cohort, CxrParams()).rows) > 0.9 * len(cohort)


def test_two_releases_of_the_images_are_refused(worlds, tmp_path):
    for release in ("2.0.0", "2.1.0"):
        folder = tmp_path / f"mimic-cxr-jpg/{release}"
        folder.mkdir(parents=True)
        shutil.copy(table(worlds["3.1"], "cxr_metadata"), folder)
    with pytest.raises(RawFileError, match="2 files could be `cxr_metadata`"):
        usable_layout(tmp_path)


# To evidence


@pytest.mark.parametrize("version", ["1.0", "2.2", "3.1"])
def test_each_version_is_read_to_evidence_for_every_modality(worlds, version):
    world = worlds[version]
    for dataset, params in ((MIMIC, CxrParams()), (MIMIC, CxrParams(mode="haim")), (MIMIC_ICU, IcuParams())):
        assert dataset.inspect(world).problem is None and not dataset.inspect(world).skipped
        cohort = dataset.build_cohort(world, params)
        for modality in dataset.modalities:
            evidence = dataset.read_evidence(world, modality.name, cohort, params)
            assert items_of(evidence) > 0.3 * len(cohort), (dataset.name, params.mode, modality.name)


def test_the_same_people_give_the_same_evidence_in_every_version(worlds):
    cohorts = {version: MIMIC_ICU.build_cohort(world, IcuParams()) for version, world in worlds.items()}
    for version, world in worlds.items():
        pd.testing.assert_frame_equal(cohorts[version].items, cohorts["2.2"].items)
        for modality in ("chart_events", "lab_events", "procedures"):
            now, then = (
                MIMIC_ICU.read_evidence(raw, modality, cohorts["2.2"], IcuParams()).frame()
                for raw in (world, worlds["2.2"])
            )
            pd.testing.assert_frame_equal(now, then, obj=f"{modality} of {version}")


@EVERY_VERSION
def test_no_word_of_any_version_is_taken_for_an_undocumented_one(worlds, version):
    cohort = MIMIC_ICU.build_cohort(worlds[version], IcuParams())
    evidence = MIMIC_ICU.read_evidence(worlds[version], "demographics", cohort, IcuParams())
    assert evidence.quarantined == {}
    assert evidence.rows["language"].notna().mean() > 0.8 and evidence.rows["insurance"].notna().all()


@needs_demo
def test_the_real_demo_is_read_to_evidence_for_every_modality_that_it_has():
    inspection = MIMIC_ICU.inspect(DEMO)
    assert inspection.problem is None and set(inspection.skipped) == {"chart_events", "notes"}
    cohort = MIMIC_ICU.build_cohort(DEMO, IcuParams())
    assert len(cohort) > 90
    shares = {"demographics": 1.0, "lab_events": 0.9, "procedures": 0.2}
    for modality in MIMIC_ICU.modalities:
        if modality.name in inspection.skipped:
            with pytest.raises(RawFileError, match=r"no (icu/chartevents|note/radiology)\.csv\.gz"):
                items_of(MIMIC_ICU.read_evidence(DEMO, modality.name, cohort, IcuParams()))
            continue
        evidence = MIMIC_ICU.read_evidence(DEMO, modality.name, cohort, IcuParams())
        assert items_of(evidence) >= shares[modality.name] * len(cohort), modality.name
    assert "no MIMIC-CXR-JPG here" in MIMIC.inspect(DEMO).problem
