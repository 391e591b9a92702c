"""Where the files of a MIMIC tree are, and which version they are. Names and headers only; nothing is scanned.

The tree may lie anywhere within five levels: PATH/hosp, PATH/mimiciv/2.2/hosp and what `wget -r` makes,
PATH/physionet.org/files/mimiciv/3.1/hosp beside PATH/physionet.org/files/mimic-cxr-jpg/2.1.0/files/p10/..., all work.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmn.data.errors import RawFileError
from mmn.data.files import read_json
from mmn.data.manifest import TRUTH_FILE, open_text

MAX_LEVELS = 5
# Table -> (the folders that may hold it, its name without extension; a `?` stands for one figure of the version).
TABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "patients": (("hosp", "core"), "patients"),
    "admissions": (("hosp", "core"), "admissions"),
    "icustays": (("icu",), "icustays"),
    "d_items": (("icu",), "d_items"),
    "d_labitems": (("hosp",), "d_labitems"),
    "chartevents": (("icu",), "chartevents"),
    "labevents": (("hosp",), "labevents"),
    "procedureevents": (("icu",), "procedureevents"),
    "radiology": (("note",), "radiology"),
    "echo_icustay": (("note",), "echo_icustay"),
    "ecg_icustay": (("note",), "ecg_icustay"),
    "rad_icustay": (("note",), "rad_icustay"),
    "cxr_metadata": ((), "mimic-cxr-?.?.?-metadata"),
    "cxr_split": ((), "mimic-cxr-?.?.?-split"),
    "cxr_chexpert": ((), "mimic-cxr-?.?.?-chexpert"),
    "cxr_negbio": ((), "mimic-cxr-?.?.?-negbio"),
}
_SHARD = re.compile(r"p\d\d")
_NUMBERED = re.compile(r"(?:mimic-?iv-?)?(?:clinical-database-)?(?:demo-)?([1-9]\.\d)")
FIRST, SECOND, LATER = ERAS = ("1.0", "2.0 or 2.1", "2.2 or later")
# Table -> columns that tell the version: (name, where it is there, where it is not). MIMIC-IV's changelog.
_SIGNS: dict[str, tuple[tuple[str, set[str], set[str]], ...]] = {
    "admissions": (
        ("ethnicity", {FIRST}, {SECOND, LATER}),
        ("race", {SECOND, LATER}, {FIRST}),
        ("admit_provider_id", {LATER}, {FIRST, SECOND}),
    ),
    "labevents": (("order_provider_id", {LATER}, {FIRST, SECOND}),),
    "chartevents": (("caregiver_id", {LATER}, {FIRST, SECOND}),),
    "procedureevents": (("caregiver_id", {LATER}, {FIRST, SECOND}), ("comments_date", {FIRST}, set(ERAS))),
    "d_labitems": (("loinc_code", {FIRST}, set(ERAS)),),
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What lies where. files: table -> its file; image_root: the folder in which `files/p10/...` lies, relative to raw.

    version: as far as folders and headers tell. problem: why the tree cannot be read as it is, and what to do.
    """

    raw: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    image_root: Path | None = None
    version: str = "unknown"
    problem: str | None = None
    generated: bool = False

    def file(self, table: str) -> Path:
        """Raises RawFileError where the table is not there."""
        if table in self.files:
            return self.files[table]
        folders, stem = TABLES[table]
        stem = stem.replace("?.?.?", "2.0.0")
        wanted = f"{' or '.join(folders)}/{stem}.csv.gz" if folders else f"{stem}.csv.gz"
        raise RawFileError(
            f"{self.raw}: no {wanted} (or .csv) within {MAX_LEVELS} levels. Download it, or name its folder."
        )


def globs(*tables: str) -> tuple[str, ...]:
    """Glob patterns of tables, level by level: `**` would walk through 377,110 image folders."""
    patterns = []
    for table in tables:
        folders, stem = TABLES[table]
        names = [f"{folder}/{stem}" for folder in folders] or [stem.replace("?", "[0-9]")]
        patterns += [f"{name}{ending}" for name in names for ending in (".csv.gz", ".csv")]
    return tuple("*/" * level + pattern for level in range(MAX_LEVELS) for pattern in patterns)


def image_globs() -> tuple[str, ...]:
    return tuple("*/" * level + "files/p[0-9][0-9]/p*/s*/*.jpg" for level in range(MAX_LEVELS))


def find_layout(raw: Path) -> Layout:
    """Never raises for what is missing or mixed: `problem` says it."""
    if not raw.is_dir():
        return Layout(raw=raw, problem=f"{raw}: there is no such folder. Give the folder that holds hosp/ and icu/.")
    found: dict[str, list[Path]] = {}
    image_roots: list[Path] = []
    demo = False
    for folder in _folders(raw):
        names = {entry.name for entry in os.scandir(folder)}
        demo |= "demo_subject_id.csv" in names
        if "files" in names and any(_SHARD.fullmatch(name) for name in _listdir(folder / "files")):
            image_roots.append(folder.relative_to(raw))
        for table, name in _tables_in(folder, names):
            found.setdefault(table, []).append(folder / name)
    generated = (raw / TRUTH_FILE).is_file()
    files = {table: paths[0] for table, paths in sorted(found.items())}
    # MIMIC-CXR (DICOM or reports) beside MIMIC-CXR-JPG: the tree that lies beside the tables is meant.
    if len(image_roots) > 1 and "cxr_metadata" in files:
        image_roots = [root for root in image_roots if raw / root == files["cxr_metadata"].parent] or image_roots
    layout = Layout(raw=raw, files=files, image_root=image_roots[0] if image_roots else None, generated=generated)
    for table, paths in found.items():
        if len(paths) > 1:
            return replace(
                layout,
                problem=(
                    f"{raw}: {len(paths)} files could be `{table}`: {paths[0].relative_to(raw)} and "
                    f"{paths[1].relative_to(raw)}. Give the folder of one version."
                ),
            )
    if len(image_roots) > 1:
        return replace(layout, problem=f"{raw}: images lie in {len(image_roots)} trees. Give a folder that holds one.")
    try:
        version, problem = _version(layout, demo)
    except RawFileError as error:
        return replace(layout, problem=str(error))
    return replace(layout, version=version, problem=problem)


def usable_layout(raw: Path) -> Layout:
    """Raises RawFileError where the tree cannot be read as it is."""
    layout = find_layout(raw)
    if layout.problem:
        raise RawFileError(layout.problem)
    return layout


def read_header(path: Path) -> list[str]:
    """The column names. Raises RawFileError for a file that is empty, cut, or no csv."""
    try:
        # What follows the header is read along; if it is no UTF-8, the reader says so with its line.
        with open_text(path, errors="replace") as stream:
            header = next(csv.reader(stream), [])
    except (EOFError, OSError, zlib.error, csv.Error) as error:
        raise RawFileError(
            f"{path}: its header cannot be read ({type(error).__name__}); the file is cut short or not a csv. "
            "Download it again and compare its checksum with the publisher's."
        ) from error
    if not header:
        raise RawFileError(f"{path}: the file is empty. Download it again, or remove it if it is not wanted.")
    return header


def _folders(raw: Path) -> Iterator[Path]:
    """raw and the folders below it, sorted; the shards of the image tree (p10, ...) are not entered."""
    level = [raw]
    for depth in range(MAX_LEVELS + 1):
        yield from level
        if depth < MAX_LEVELS:
            level = [
                Path(entry.path)
                for folder in level
                for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
                if entry.is_dir() and not entry.name.startswith(".") and not _SHARD.fullmatch(entry.name)
            ]


def _listdir(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _tables_in(folder: Path, names: set[str]) -> Iterator[tuple[str, str]]:
    """Each table that lies in this folder, with its file name; of a .csv.gz and its unpacked copy, the .csv.gz."""
    for table, (folders, stem) in TABLES.items():
        if folders and folder.name not in folders:
            continue
        pattern = re.compile(re.escape(stem).replace(r"\?", r"\d") + r"\.csv(\.gz)?")
        matches = sorted((name for name in names if pattern.fullmatch(name)), key=lambda name: (-len(name), name))
        kept = {name.removesuffix(".gz"): name for name in reversed(matches)}
        yield from ((table, name) for name in sorted(kept.values()))


def _version(layout: Layout, demo: bool) -> tuple[str, str | None]:
    """(version, problem). A table of one version beside one of another is refused: its columns would be shifted."""
    if "admissions" not in layout.files:
        return "unknown", None
    named = _names(layout)
    if len(named) > 1:
        evidence = ", but ".join(f"{file} lies in a folder of {version}" for version, file in list(named.items())[:2])
        return "mixed", _of_different_versions(layout, evidence)
    possible, told_by = set(ERAS), ""
    for table, eras, fingerprint in _fingerprints(layout):
        if not possible & eras:
            evidence = f"{told_by}, but {fingerprint}" if told_by else fingerprint
            return "mixed", _of_different_versions(layout, evidence)
        if table == "admissions" or eras & possible < possible:
            told_by = fingerprint
        possible &= eras
    era = next(era for era in ERAS if era in possible)
    version = era
    if named and _era(name := next(iter(named))) == era:
        version = f"{name} by its folder's name"
    if layout.generated:
        truth = read_json(layout.raw / TRUTH_FILE)
        told = truth.get("version", "2.2")
        version = f"generated (seed {truth.get('seed')}), in the format of {told if _era(told) == era else era}"
    return ("demo, " if demo else "") + version, None


def _names(layout: Layout) -> dict[str, str]:
    """Version as folders name it -> a table of MIMIC-IV that lies there; none where no folder names one. MIMIC-IV-Note
    and MIMIC-CXR-JPG have version numbers of their own."""
    named: dict[str, str] = {}
    for table, path in layout.files.items():
        if not {"hosp", "core", "icu"} & set(TABLES[table][0]):
            continue
        parts = reversed(path.resolve().parts[:-1])
        version = next((match[1] for part in parts if (match := _NUMBERED.fullmatch(part))), None)
        if version:
            named.setdefault(version, path.relative_to(layout.raw).as_posix())
    return named


def _of_different_versions(layout: Layout, evidence: str) -> str:
    return f"{layout.raw}: the files are of different versions of MIMIC-IV: {evidence}. Take all from one version."


def _fingerprints(layout: Layout) -> Iterator[tuple[str, set[str], str]]:
    """Of each table that tells: its name, the versions that it may be of, and the evidence in words."""
    for table, signs in _SIGNS.items():
        if table not in layout.files:
            continue
        path = layout.files[table]
        header = read_header(path)
        eras, telling = set(ERAS), []
        for column, there, absent in signs:
            eras &= there if column in header else absent
            if set(ERAS) != (there if column in header else absent):
                telling.append(f"{'' if column in header else 'no '}{column}")
        if table == "admissions":
            eras &= {FIRST} if path.parent.name == "core" else {SECOND, LATER}
        file, mark = path.relative_to(layout.raw).as_posix(), hashlib.sha256("\n".join(header).encode()).hexdigest()[:8]
        known = " or ".join(era for era in ERAS if era in eras) or "no known version"
        yield table, eras, f"{file} ({len(header)} columns, header {mark}, {', '.join(telling)}) is of {known}"


def _era(version: str) -> str:
    return FIRST if version < "2.0" else SECOND if version < "2.2" else LATER
