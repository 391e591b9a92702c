"""NumPy files, opened without reading them through and never unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmn.data.errors import RawFileError


def open_array(path: Path) -> np.ndarray:
    """Mapped from the disk, read-only. Raises RawFileError where it is missing, cut short or holds objects."""
    if not path.is_file():
        raise RawFileError(f"{path}: missing. Put the released file there; `mmn doctor` lists what is expected.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise RawFileError(
            f"{path}: not a whole NumPy file of numbers ({error}). Download it again; a file of Python objects "
            "is refused."
        ) from error
