"""Pickles of numbers, read without executing them.

A pickle may name any class or function of the machine and have it called. Here a name leads to a stand-in of this file
or to a refusal: arrays, their kinds of number, dicts, lists, tuples, texts, bytes and numbers are all that is read.
NumPy's own functions of unpickling are not called either, as they trust what the file says of the memory.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from mmn.data.errors import RawFileError

# Truth, whole and broken numbers, bytes, text, objects; NumPy would parse anything else as a small language.
_PLAIN_KIND = re.compile(r"[<>=|]?(\?|[biuf]\d{1,2}|[SU]\d{0,9}|O[48]?)")
_ONLY = "Only arrays, dicts, lists, texts and numbers are read; nothing of it was run."


class _Refused(Exception):
    """Why a pickle is not read; never leaves this module."""


class _Step:
    """A stand-in for a function that a pickle names: it can be called, and nothing of it can be set."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise _Refused("it sets an attribute of a function")

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class _Kind:
    """Stands for a `numpy.dtype` while it is read: a plain number, text or bytes, or a list of objects."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str):
            raise _Refused(f"an array's kind is given as {type(code).__name__}")
        if not _PLAIN_KIND.fullmatch(code):
            raise _Refused(f"an array's kind is {code[:20]!r}")
        try:
            self.dtype = np.dtype("O" if code in ("O4", "O8") else code)
        except TypeError:
            raise _Refused(f"an array's kind is {code[:20]!r}") from None

    def __setstate__(self, state: Any) -> None:
        """(version, byte order, subarray, names, fields, size, alignment, flags): of these the order and size count."""
        if not isinstance(state, tuple) or len(state) < 7 or any(part is not None for part in state[2:5]):
            raise _Refused("an array's kind has parts")
        order, size = state[1], state[5]
        if order not in ("<", ">", "|", "="):
            raise _Refused("an array's byte order is unknown")
        if self.dtype.kind in "SU" and isinstance(size, int) and size > 0:
            self.dtype = np.dtype(f"{self.dtype.kind}{size // (4 if self.dtype.kind == 'U' else 1)}")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for an array while it is read."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("an array's state is not of the known form")
        _, shape, kind, by_columns, content = state
        self.array = _array(content, kind, shape, "F" if by_columns else "C")


def _array(content: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if not isinstance(kind, _Kind) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise _Refused("an array's state is not of the known form")
    if kind.dtype.hasobject:
        if not isinstance(content, list):
            raise _Refused("an array of objects does not list them")
        flat = _objects(content)
    else:
        if isinstance(content, str):
            # As Python 2 wrote bytes.
            content = content.encode("latin1")
        if not isinstance(content, bytes | bytearray):
            raise _Refused("an array's content is no bytes")
        if not kind.dtype.itemsize or len(content) % kind.dtype.itemsize:
            raise _Refused("an array's content does not fit its kind")
        flat = np.frombuffer(content, dtype=kind.dtype)
    try:
        return flat.reshape(shape, order=order)
    except (TypeError, ValueError):
        raise _Refused("an array's content has not the size that its shape says") from None


def _objects(content: list[Any]) -> np.ndarray:
    flat = np.empty(len(content), dtype=object)
    # One by one: NumPy would lay arrays among them out side by side.
    for place, one in enumerate(content):
        flat[place] = one
    return flat


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    if axes is not None:
        raise _Refused("an array's axes are out of order")
    return _array(content, kind, shape, order)


def _empty(subtype: Any, shape: Any, code: Any) -> _Array:
    if subtype is not _NDARRAY:
        raise _Refused("an array is of another class than numpy.ndarray")
    return _Array()


def _scalar(kind: Any, content: Any = b"") -> Any:
    if not isinstance(kind, _Kind) or kind.dtype.hasobject:
        raise _Refused("a number is of no known kind")
    return _array(content, kind, (1,))[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("it encodes something else than bytes")
    return text.encode("latin1")


def _bytes(content: Any = b"") -> bytes:
    if not isinstance(content, bytes):
        raise _Refused("it makes bytes of something else than bytes")
    return content


_NDARRAY = _Step(lambda *_: _refuse("it makes an array by calling its class"))
_KNOWN: dict[tuple[str, str], _Step] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Step(lambda code, *flags: _Kind(code)),
    ("_codecs", "encode"): _Step(_encode),
    **{(home, name): _Step(_bytes) for home in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
    **{
        (f"numpy.{core}.{module}", name): _Step(call)
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _empty),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def _refuse(what: str) -> NoReturn:
    raise _Refused(what)


class _Counted:
    """A stream that knows how far it was read; the unpickler takes no more of it than it needs."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.read_bytes += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        num = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        self.read_bytes += num
        return num

    def readline(self) -> bytes:
        line = self._stream.readline()
        self.read_bytes += len(line)
        return line


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Refused(f"it names {module[:60]}.{name[:60]}")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused("it refers to something outside of it")


def read_pickle(path: Path) -> Any:
    """What the file holds, arrays as read-only `np.ndarray`. Raises RawFileError: missing, cut short, or refused."""
    if not path.is_file():
        raise RawFileError(f"{path}: missing. Put the released file there; `mmn doctor` lists what is expected.")
    with path.open("rb") as stream:
        counted = _Counted(stream)
        try:
            # latin1: bytes of Python 2 stay what they are.
            return _plain(_Unpickler(counted, encoding="latin1").load(), 0)
        except _Refused as why:
            raise RawFileError(
                f"{path}: refused after {counted.read_bytes:,} bytes, as {why}. {_ONLY} Take the released file."
            ) from None
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise RawFileError(
                f"{path}: not a whole pickle of numbers; it broke after {counted.read_bytes:,} bytes "
                f"({type(error).__name__}). Download it again."
            ) from error
        except (MemoryError, OverflowError, RecursionError) as error:
            raise RawFileError(
                f"{path}: asks for more than there is, after {counted.read_bytes:,} bytes ({type(error).__name__}). "
                "Take the released file, or a machine with more memory."
            ) from error


def _plain(value: Any, depth: int) -> Any:
    """Stand-ins replaced by the arrays they stand for; anything that is not plain data is refused."""
    if depth > 50:
        raise _Refused("it is nested more than 50 levels deep")
    if isinstance(value, _Array):
        value = value.array
        if value is None:
            raise _Refused("an array has no content")
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            value = _objects([_plain(one, depth + 1) for one in value.reshape(-1)]).reshape(value.shape)
        value.flags.writeable = False
        return value
    if isinstance(value, dict):
        return {_plain(key, depth + 1): _plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(one, depth + 1) for one in value)
    if value is None or isinstance(value, str | bytes | bool | int | float | complex | np.generic):
        return value
    raise _Refused(f"it holds {type(value).__name__}")
