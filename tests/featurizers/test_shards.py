"""Kept pieces: found again by what they were made from, never believed when they are damaged."""

from __future__ import annotations

import numpy as np
import pytest

from mmn.featurizers.shards import KEPT_DAYS, NOWHERE, Shards, shard_key

ARRAYS = {"features": np.arange(12, dtype=np.float32).reshape(4, 3), "reasons": np.frombuffer(b"\n\n", dtype=np.uint8)}
KEY = shard_key("weights", {"size": 224}, ["a", "b"])


@pytest.fixture
def shards(tmp_path) -> Shards:
    shards = Shards(tmp_path / "shards")
    shards.put(KEY, ARRAYS)
    return shards


def test_a_piece_comes_back_as_it_was_put(shards):
    made = shards.get(KEY)
    assert made is not None and set(made) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(made[name], array)
        assert made[name].dtype == array.dtype
    assert shards.get(shard_key("other")) is None


def test_a_key_changes_with_each_part_and_not_with_the_order_of_settings():
    assert shard_key({"a": 1, "b": 2}) == shard_key({"b": 2, "a": 1})
    keys = {KEY, shard_key("weights", {"size": 128}, ["a", "b"]), shard_key("weights", {"size": 224}, ["b", "a"])}
    assert len(keys) == 3


@pytest.mark.parametrize("place", [-1, -9, 8, 30, 0])
def test_a_changed_byte_is_noticed_and_the_piece_removed(shards, place):
    file = next(shards.folder.rglob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[place] ^= 0x10
    file.write_bytes(data)
    assert shards.get(KEY) is None
    assert not file.exists()


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_piece_cut_short_is_removed(shards, kept):
    file = next(shards.folder.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:kept])
    assert shards.get(KEY) is None
    assert not file.exists()


def test_the_sweep_takes_what_nobody_asked_for_and_what_a_dead_process_left(shards):
    import time

    file = next(shards.folder.rglob("*.safetensors"))
    left = file.with_name(f".{file.name}.999999999.tmp")
    left.write_bytes(b"half")
    later = time.time() + (KEPT_DAYS - 1) * 86_400
    assert shards.sweep(later) == 0 and file.exists() and not left.exists()
    assert shards.sweep(later + 2 * 86_400) == 1 and not file.exists()


def test_nowhere_keeps_nothing(tmp_path):
    NOWHERE.put(KEY, ARRAYS)
    assert NOWHERE.get(KEY) is None and NOWHERE.sweep() == 0
    assert Shards(tmp_path / "none").sweep() == 0
