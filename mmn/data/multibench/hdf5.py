"""HDF5 files, read only. h5py is an extra: `pip install mmn[multibench]`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmn.data.errors import ContractError, RawFileError
from mmn.data.multibench.numbers import check_shape

NOT_INSTALLED = "HDF5 files are read with h5py, which is not installed. Type `pip install 'mmn[multibench]'`."


def installed() -> bool:
    return importlib.util.find_spec("h5py") is not None


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """The open file. Raises RawFileError where h5py is not installed, or the file is missing or not whole."""
    if not installed():
        raise RawFileError(f"{path}: {NOT_INSTALLED}")
    import h5py

    if not path.is_file():
        raise RawFileError(f"{path}: missing. Put the released file there; `mmn doctor` lists what is expected.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise RawFileError(f"{path}: not a whole HDF5 file ({error}). Download it again.") from error
    with file:
        yield file


def read_array(group: Any, name: str, shape: tuple[int | None, ...], where: str) -> np.ndarray:
    """The whole array. Raises ContractError for a missing name or another shape, RawFileError where it breaks off."""
    held = group.get(name)
    if held is None or not hasattr(held, "dtype"):
        known = ", ".join(sorted(group)[:12])
        raise ContractError(f"{where}: has no array '{name}'; it holds {known or 'nothing'}. Take the released file.")
    try:
        array = held[()]
    except OSError as error:
        raise RawFileError(f"{where}: {name} cannot be read to its end ({error}). Download the file again.") from error
    check_shape(np.asarray(array), shape, f"{where}: {name}")
    return np.asarray(array)
