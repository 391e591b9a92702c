"""Where HAIM's embedding file lies under a raw folder, and what it offers. Names and headers only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmn.data.dataset import Inspection
from mmn.data.errors import MmnError, RawFileError
from mmn.data.haim.columns import IMAGE, NEEDED, STAY, VECTORS, all_columns, complete_modalities
from mmn.data.haim.reader import read_header
from mmn.data.manifest import TRUTH_FILE, files_of

FILE = "cxr_ic_fusion_1103"
KEYS = "haim_mimiciv_key_ids"
MAX_LEVELS = 4
_WHERE = (
    f"{FILE}.csv is in PhysioNet's credentialed release haim-multimodal 1.0.1, folder Extracted_HAIM_Embeddings; give "
    "the folder that holds it"
)


def _globs(stem: str) -> tuple[str, ...]:
    return tuple("*/" * level + stem + ending for level in range(MAX_LEVELS + 1) for ending in (".csv", ".csv.gz"))


# A csv of another name is looked at only at the top: a raw folder may lie above much that is not HAIM's.
PATTERNS = (*_globs(FILE), *_globs(KEYS), "*.csv", "*.csv.gz")


@dataclass(frozen=True, kw_only=True)
class HaimFile:
    """path: the embedding file. keys: HAIM's key file, None where it is not there."""

    path: Path
    header: tuple[str, ...]
    keys: Path | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        return complete_modalities(self.header)


def find_file(raw: Path) -> HaimFile:
    """Raises RawFileError where there is no such file, several, or one without the columns that a cohort needs."""
    if not raw.is_dir():
        raise RawFileError(f"{raw}: there is no such folder. {_WHERE}.")
    embeddings: dict[Path, tuple[str, ...]] = {}
    keys = []
    for path in files_of(raw, PATTERNS):
        stem = path.name.removesuffix(".gz").removesuffix(".csv")
        if stem == KEYS:
            keys.append(path)
            continue
        try:
            header = read_header(path)
        except MmnError:
            if stem == FILE:
                raise
            continue  # somebody else's table
        if stem == FILE or {STAY, IMAGE} <= set(header):
            embeddings[path] = header
    if not embeddings:
        raise RawFileError(f"{raw}: no csv with HAIM's header is here. {_WHERE}.")
    for what, several in (("embedding", list(embeddings)), ("key", keys)):
        if len(several) > 1:
            names = " and ".join(path.relative_to(raw).as_posix() for path in several[:2])
            raise RawFileError(f"{raw}: {len(several)} files could be HAIM's {what} file: {names}. Keep one.")
    ((path, header),) = embeddings.items()
    if missing := [column for column in NEEDED if column not in header]:
        raise RawFileError(
            f"{path}: the header has no {', '.join(missing)} ({len(header):,} columns; HAIM's has "
            f"{len(all_columns()):,}). It is not HAIM's embedding file, or was written by another program: {_WHERE}."
        )
    return HaimFile(path=path, header=header, keys=keys[0] if keys else None)


def inspect(raw: Path) -> Inspection:
    generated = (raw / TRUTH_FILE).is_file()
    try:
        file = find_file(raw)
    except MmnError as error:
        return Inspection(version="unknown", found={}, skipped={}, problem=str(error), generated=generated)
    there, expected = set(file.header), all_columns()
    skipped = {}
    for name, vector in VECTORS.items():
        if has := len(vector.columns) - len(missing := [c for c in vector.columns if c not in there]):
            if missing:
                skipped[name] = (
                    f"{vector.prefix}_*: {has:,} of {vector.width:,} columns are here, {missing[0]} is the first that "
                    "is not; the released file would bring it back"
                )
        else:
            skipped[name] = f"no columns {vector.prefix}_0 to {vector.prefix}_{vector.width - 1}; the released file "
            skipped[name] += "would bring it back"
    if file.header == expected:
        version = f"HAIM's {len(expected):,} columns in its order"
    else:
        known = len(there.intersection(expected))
        version = f"{known:,} of HAIM's {len(expected):,} columns, {len(there) - known:,} others"
    found = f"{file.path.relative_to(raw).as_posix()} ({file.path.stat().st_size / 1e6:,.1f} MB)"
    found += f", with {file.keys.relative_to(raw).as_posix()}" if file.keys else f", without {KEYS}.csv"
    return Inspection(
        version=version,
        found={"embeddings": found},
        skipped=skipped,
        problem=None if len(skipped) < len(VECTORS) else f"{file.path}: no modality is complete. {_WHERE}.",
        generated=generated,
    )
