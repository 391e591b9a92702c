"""A raw file that is cut short, empty or not what its name says is refused before anything is read from it."""

import gzip

import pytest

from mmn.data.errors import RawFileError
from mmn.data.manifest import make_manifest


def write_gzip(path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") as stream:
        stream.write(text)


def test_rows_are_counted_without_the_header_and_line_ends_inside_quotes(tmp_path):
    write_gzip(tmp_path / "note.csv.gz", 'id,text\n1,"two\nlines"\n2,"a ""quoted"" word"\n3,last without line end')
    (tmp_path / "plain.csv").write_text("id\n1\n2\n")
    manifest = make_manifest(tmp_path, ("*.csv*",), version="1")
    assert {entry["path"]: entry["rows"] for entry in manifest["files"]} == {"note.csv.gz": 3, "plain.csv": 2}


def test_every_way_of_cutting_a_gzip_short_is_refused(tmp_path):
    whole = tmp_path / "whole.csv.gz"
    write_gzip(whole, "id,value\n" + "".join(f"{i},{i * i}\n" for i in range(500)))
    data = whole.read_bytes()
    for kept in range(1, len(data), max(1, len(data) // 40)):
        cut = tmp_path / "cut" / "t.csv.gz"
        cut.parent.mkdir(exist_ok=True)
        cut.write_bytes(data[:kept])
        with pytest.raises(RawFileError, match=r"t\.csv\.gz: (the gzip stream ends early|not a sound gzip)"):
            make_manifest(cut.parent, ("*.gz",), version="1")


def test_an_empty_file_is_refused_with_its_name(tmp_path):
    (tmp_path / "patients.csv").touch()
    with pytest.raises(RawFileError, match=r"patients\.csv: the file is empty\. Download it again"):
        make_manifest(tmp_path, ("*.csv",), version="1")


def test_gzip_files_of_several_members_are_read_to_the_end(tmp_path):
    first, second = gzip.compress(b"id\n1\n"), gzip.compress(b"2\n3\n")
    (tmp_path / "t.csv.gz").write_bytes(first + second)
    assert make_manifest(tmp_path, ("*.gz",), version="1")["files"][0]["rows"] == 3
