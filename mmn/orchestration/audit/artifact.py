"""An artifact's bytes, in the working tree or in DVC's cache, and what they say of themselves."""

from __future__ import annotations

import configparser
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from mmn.data.errors import MmnError
from mmn.data.files import PROVENANCE_KEY, md5_of_file, version_of_listing
from mmn.orchestration.journal import sha256_of_files


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """place: where it lies, as a person would name it. files: name -> path; of a single file the name is its path's."""

    place: str
    folder: bool
    files: Mapping[str, Path]

    @cached_property
    def version(self) -> str:
        """From the bytes, every time: no remembered hash."""
        md5s = {name: md5_of_file(path) for name, path in self.files.items()}
        return version_of_listing(md5s) if self.folder else next(iter(md5s.values()))

    @property
    def sha256(self) -> str:
        return sha256_of_files(self.files.items(), folder=self.folder)

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.files.values())

    def provenance(self, name: str = "") -> dict[str, Any] | None:
        """What a file of it says that it was made from, by default its card or the one file; None where it says
        nothing. Raises ValueError for a file that is not readable."""
        name = name or ("card.json" if self.folder else next(iter(self.files)))
        return provenance_in(name, self.files[name]) if name in self.files else None

    @property
    def holders(self) -> tuple[str, ...]:
        """The files that can say it."""
        return tuple(name for name in self.files if _can_hold(name))

    def card(self, folder: str = ".") -> dict[str, Any]:
        """`card.json` of it, or of a folder inside; {} where there is none."""
        name = (PurePosixPath(folder) / "card.json").as_posix()
        return json.loads(self.files[name].read_text(encoding="utf-8")) if name in self.files else {}

    def holds(self, path: str) -> bool:
        """A file or a folder inside."""
        return self.folder and any(name == path or name.startswith(f"{path}/") for name in self.files)

    def models_in(self, path: str = "") -> list[str]:
        """Folders below `path` that have a card of their own: the models of a step that trains several."""
        inside = f"{path}/" if path else ""
        return sorted(
            name.removesuffix("/card.json")
            for name in self.files
            if name.startswith(inside) and name.endswith("/card.json") and name != f"{inside}card.json"
        )


def in_tree(root: Path, path: str) -> Artifact | None:
    there = root / path
    if there.is_file():
        return Artifact(place=path, folder=False, files={there.name: there})
    if not there.is_dir():
        return None
    files = {file.relative_to(there).as_posix(): file for file in sorted(there.rglob("*")) if file.is_file()}
    return Artifact(place=path, folder=True, files=files)


def in_cache(cache: Path, path: str, version: str) -> Artifact | None:
    """None where a file of it is not in the cache."""
    md5 = version.removesuffix(".dir")
    place = f"DVC's cache, {version}"
    file = cache / md5[:2] / md5[2:]
    if not version.endswith(".dir"):
        return Artifact(place=place, folder=False, files={Path(path).name: file}) if file.is_file() else None
    listing = file.with_name(file.name + ".dir")
    if not listing.is_file():
        return None
    try:
        rows = {row["relpath"]: cache / row["md5"][:2] / row["md5"][2:] for row in json.loads(listing.read_bytes())}
    except (ValueError, KeyError, TypeError) as error:
        raise MmnError(f"{place}: the folder's listing is damaged. `dvc fetch` brings it from a remote.") from error
    return Artifact(place=place, folder=True, files=rows) if all(f.is_file() for f in rows.values()) else None


def changed_files(cache: Path, version: str, artifact: Artifact) -> list[str]:
    """Which files of a folder are not those of the version, where DVC's cache still holds its listing; else []."""
    listing = cache / version[:2] / version[2:]
    if not version.endswith(".dir") or not listing.is_file():
        return []
    try:
        recorded = {row["relpath"]: row["md5"] for row in json.loads(listing.read_bytes())}
    except (ValueError, KeyError, TypeError):
        return []
    now = {name: md5_of_file(path) for name, path in artifact.files.items()}
    return sorted(name for name in {*recorded, *now} if recorded.get(name) != now.get(name))


def cache_folder(root: Path) -> Path:
    """Where DVC keeps files by MD5: `.dvc/cache`, or what its settings say."""
    settings = configparser.ConfigParser()
    settings.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    told = settings.get("cache", "dir", fallback="")
    return (root / ".dvc" / (told or "cache")).resolve() / "files" / "md5"


def provenance_in(name: str, path: Path) -> dict[str, Any] | None:
    """As `mmn.data.files.read_provenance`, for files whose name on disk is a hash, and for weights."""
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            footer = (pq.read_schema(path).metadata or {}).get(PROVENANCE_KEY)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{name}: not a whole parquet file") from error
        return json.loads(footer) if footer else None
    if name.endswith(".safetensors"):
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError(f"{name}: not a whole safetensors file")
            header = json.loads(stream.read(length))
        footer = (header.get("__metadata__") or {}).get(PROVENANCE_KEY.decode())
        return json.loads(footer) if footer else None
    loaded = json.loads(path.read_text(encoding="utf-8"))
    return loaded.get("provenance") if isinstance(loaded, dict) else None


def _can_hold(name: str) -> bool:
    if name.endswith((".parquet", ".safetensors", "/card.json")):
        return True
    return "/" not in name and name.endswith(".json")
