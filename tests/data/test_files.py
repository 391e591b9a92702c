"""Nothing is half-written, and the same table gives the same bytes."""

import hashlib
import json
import os
import subprocess
import sys

import pyarrow as pa
import pytest

from mmn.data.files import atomic_path, read_provenance, sweep, version_of, write_json, write_parquet


def test_an_error_while_writing_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"v": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert json.loads(target.read_text()) == {"v": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_takes_the_place_of_another_in_one_step(tmp_path):
    target = tmp_path / "folder"
    for content in ("old", "new"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / f"{content}.txt").write_text(content)
    assert [p.name for p in target.iterdir()] == ["new.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_an_error_while_writing_a_folder_leaves_the_old_one(tmp_path):
    target = tmp_path / "folder"
    with atomic_path(target) as temporary:
        temporary.mkdir()
        (temporary / "old.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.mkdir()
        raise RuntimeError("killed")
    assert (target / "old.txt").read_text() == "old"


def test_parquet_is_byte_stable_and_says_what_it_was_made_from(tmp_path):
    table = pa.table({"item": ["a", "b"], "x": [1.0, None]})
    provenance = {"step": "features/x/y", "inputs": {"cohorts/x": "abc"}}
    for name in ("1.parquet", "2.parquet"):
        write_parquet(tmp_path / name, table, provenance)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert read_provenance(tmp_path / "1.parquet") == provenance


def test_a_version_is_the_one_dvc_gives(tmp_path):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "b.txt").write_bytes(b"b\r\n")
    (tmp_path / "d" / "sub" / "a.txt").write_bytes(b"a")
    assert version_of(tmp_path / "d" / "b.txt") == hashlib.md5(b"b\r\n").hexdigest()
    # By hand: the MD5 of the JSON listing, sorted by relative path.
    listing = (
        f'[{{"md5": "{hashlib.md5(bytes([98, 13, 10])).hexdigest()}", "relpath": "b.txt"}}, '
        f'{{"md5": "{hashlib.md5(b"a").hexdigest()}", "relpath": "sub/a.txt"}}]'
    )
    assert version_of(tmp_path / "d") == hashlib.md5(listing.encode()).hexdigest() + ".dir"


def test_what_a_killed_process_left_is_swept_and_a_living_ones_work_is_not(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".a.parquet.999999999.tmp").write_text("half")
    (tmp_path / f".b.parquet.{os.getpid()}.tmp").write_text("being written")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as killed:
        (tmp_path / f".c.parquet.{killed.pid}.tmp").write_text("half")
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet asked after: still in the list
        assert sweep(tmp_path) == 2
    assert [p.name for p in tmp_path.rglob(".*.tmp")] == [f".b.parquet.{os.getpid()}.tmp"]
