"""What is told of a version when it is made: counts, pictures, checks. Kept, so that whoever finds the step fresh or
tells another storage of it tells the same. A cache: without it the page has what the artifact itself says.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmn.data.files import read_json, write_json
from mmn.orchestration.checks import Check


@dataclass(frozen=True, kw_only=True)
class Page:
    """summary: counts for people to read, in their order. pictures: small PNGs, by what they show, where one says more
    than words. checks: what was checked of the bytes, all that refuse passed; () where that is not known. Aggregates
    only."""

    summary: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    def checked(self, names: Sequence[str]) -> bool:
        return [check.name for check in self.checks] == list(names)


def remember(folder: Path, stage: str, version: str, page: Page) -> None:
    told = {
        "version": version,
        "summary": [[name, value] for name, value in page.summary.items()],
        "pictures": [[shown, base64.b64encode(png).decode()] for shown, png in page.pictures.items()],
        "checks": [{**vars(check), "metadata": dict(check.metadata)} for check in page.checks],
    }
    write_json(folder / f"{stage}.json", told)


def recall(folder: Path, stage: str, version: str) -> Page:
    """An empty one where nothing of this version is kept here."""
    path = folder / f"{stage}.json"
    told = read_json(path) if path.exists() else {}
    if told.get("version") != version:
        return Page()
    return Page(
        # Before pages were kept there were checks alone.
        summary=dict(told.get("summary", ())),
        pictures={shown: base64.b64decode(png) for shown, png in told.get("pictures", ())},
        checks=tuple(Check(**row) for row in told["checks"]),
    )
