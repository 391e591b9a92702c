"""Small made-up MIMIC worlds, each made once in a run of the tests: making one takes longer than most tests do."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from mmn.data.mimic.generator import generate


def tiny_world(to: Path, seed: int, version: str = "2.2") -> Path:
    """A copy of one's own, so that nobody reads what another test did to it. `to` must not be there yet."""
    return Path(shutil.copytree(Path(_made(seed, version).name) / "raw", to))


@cache
def _made(seed: int, version: str) -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends, as nobody holds it then."""
    folder = tempfile.TemporaryDirectory(prefix="mmn-world-")
    generate(Path(folder.name) / "raw", "tiny", seed, version)
    return folder
