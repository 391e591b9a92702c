"""The restricted unpickler: plain data comes back as it was, and nothing else is read, let alone run."""

import contextlib
import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmn.data.errors import RawFileError
from mmn.data.multibench.pickles import read_pickle

PLAIN = {
    "floats": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "swapped": np.arange(3, dtype=">i4"),
    "text": np.array(["a[0]", "bb[1]"]),
    "bytes": np.array([b"ab", b"c"]),
    "objects": np.array(["x", b"y", 1, np.ones(2)], dtype=object),
    "scalar": np.float32(2.5),
    "flag": np.array([True, False]),
    "nothing": np.empty((0, 3)),
    "plain": [1, 2.5, "ü", b"\xff", None, (True, {"deep": [3]})],
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_data_comes_back_as_it_was(tmp_path, protocol):
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(PLAIN, protocol=protocol))
    found = read_pickle(path)
    assert list(found) == list(PLAIN)
    for name, value in PLAIN.items():
        if isinstance(value, np.ndarray):
            assert type(found[name]) is np.ndarray
            assert found[name].shape == value.shape
            assert found[name].dtype == value.dtype
            assert all(np.array_equal(a, b) for a, b in zip(found[name].reshape(-1), value.reshape(-1), strict=True))
        else:
            assert found[name] == value


def test_arrays_of_one_shape_in_an_array_of_objects_stay_apart(tmp_path):
    ragged = np.empty(2, dtype=object)
    ragged[0], ragged[1] = np.zeros(3), np.ones(3)
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(ragged))
    found = read_pickle(tmp_path / "file.pkl")
    assert found.shape == (2,)
    assert found[1].tolist() == [1, 1, 1]


class Harm:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Harm(os.system, "touch harm"), "system"),
        (Harm(eval, "open('harm', 'w')"), "builtin.*eval"),
        (Harm(getattr, "text", "join"), "builtin.*getattr"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (np.ma.masked_array([1.0]), "numpy.ma"),
        ({1, 2}, "set"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "'M8'"),
        (np.zeros(2, dtype=[("a", "f4")]), "'V4'"),
        (np.zeros(2, dtype=complex), "'c16'"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_anything_else_is_refused_by_name_and_not_run(tmp_path, monkeypatch, value, named, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps([np.ones(3), value], protocol=protocol))
    with pytest.raises(RawFileError, match=f"refused after .*{named}.*Take the released file"):
        read_pickle(path)
    assert not (tmp_path / "harm").exists()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """Opcodes: call module.name with what the opcodes of the arguments leave."""
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


DTYPE = call("numpy", "dtype", text("O"), number(0), number(1))


@pytest.mark.parametrize(
    "body",
    [
        # Objects whose places in memory the file makes up: NumPy itself would follow them.
        call("numpy._core.numeric", "_frombuffer", b"C\x08AAAAAAAA", DTYPE, b"(" + number(1) + b"t", text("C")),
        call("numpy._core.multiarray", "scalar", DTYPE, b"C\x08AAAAAAAA"),
        # More numbers than there are bytes.
        call(
            "numpy._core.numeric",
            "_frombuffer",
            b"C\x08AAAAAAAA",
            call("numpy", "dtype", text("f8")),
            b"(" + number(9) + b"t",
            text("C"),
        ),
        # The attribute of a function that everybody uses.
        b"cnumpy\ndtype\n(N}(" + text("_call") + b"N" + b"utb",
        # A class made by its __new__, and a reference out of the file.
        b"cnumpy\nndarray\n)\x81",
        b"Psomewhere\n",
    ],
)
def test_a_crafted_file_is_refused(tmp_path, body):
    (tmp_path / "file.pkl").write_bytes(b"\x80\x03" + body + b".")
    with pytest.raises(RawFileError):
        read_pickle(tmp_path / "file.pkl")
    assert pickle.loads(pickle.dumps(np.ones(1)))[0] == 1
    # And what it tried to change is as it was.
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(np.arange(3)))
    assert read_pickle(tmp_path / "file.pkl").tolist() == [0, 1, 2]


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from([0, 2, 4, 5]), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=4))
def test_a_damaged_file_is_read_as_plain_data_or_refused(tmp_path, protocol, changes):
    data = bytearray(pickle.dumps(PLAIN, protocol=protocol))
    for place, value in changes:
        data[place % len(data)] = value
    (tmp_path / "file.pkl").write_bytes(data)
    # A wrong size may ask for more memory than there is; nothing else may come out of it.
    with contextlib.suppress(RawFileError):
        assert_plain(read_pickle(tmp_path / "file.pkl"))


def assert_plain(value) -> None:
    assert type(value) in (dict, list, tuple, str, bytes, bool, int, float, type(None), np.ndarray) or isinstance(
        value, np.generic
    )
    parts = [*value, *value.values()] if type(value) is dict else value
    if type(value) in (dict, list, tuple) or (type(value) is np.ndarray and value.dtype.hasobject):
        for part in parts:
            assert_plain(part)


def test_a_file_that_was_cut_short_is_refused_with_the_place(tmp_path):
    whole = pickle.dumps(PLAIN)
    (tmp_path / "file.pkl").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RawFileError, match=r"file\.pkl: not a whole pickle.*bytes.*Download it again"):
        read_pickle(tmp_path / "file.pkl")
    with pytest.raises(RawFileError, match="missing"):
        read_pickle(tmp_path / "other.pkl")
