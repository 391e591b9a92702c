"""A raw file that is cut short, empty or not what its name says is refused before anything is read from it."""

import gzip
import hashlib
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import manifest as benchmark
from mmn.data.errors import RawFileError
from mmn.data.manifest import files_of, make_manifest

DEMO = Path(__file__).parents[2] / ".." / "shared" / "data" / "mimic-iv-demo-2.2"


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


# The publisher's hashes


def write_sums(root, *names: str, wrong: str = "") -> None:
    lines = [f"{hashlib.sha256((root / file).read_bytes()).hexdigest()} {file}\n" for file in names]
    (root / "SHA256SUMS.txt").write_text(
        "".join("0" * 64 + line[64:] if wrong and wrong in line else line for line in lines)
    )


def test_without_the_publishers_list_nothing_is_compared_and_no_sha256_is_made(tmp_path):
    write_gzip(tmp_path / "a.csv.gz", "id\n1\n")
    manifest = make_manifest(tmp_path, ("*.csv.gz",), version="1")
    assert (manifest["num_checked"], "sha256" in manifest["files"][0]) == (0, False)


def test_the_files_that_the_publisher_lists_are_compared_wherever_the_list_lies(tmp_path):
    release = tmp_path / "physionet.org/files/mimiciv/3.1"
    for name in ("hosp/a.csv.gz", "hosp/mine.csv.gz", "icu/b.csv.gz"):
        write_gzip(release / name, f"id\n{name}\n")
    write_sums(release, "hosp/a.csv.gz", "icu/b.csv.gz")
    with (release / "SHA256SUMS.txt").open("a") as stream:
        stream.write(f"{'1' * 64}  icu/not_downloaded.csv.gz\n")
    manifest = make_manifest(tmp_path, ("*/*/*/*/*/*.csv.gz",), version="1")
    assert (manifest["num_files"], manifest["num_checked"]) == (3, 2)
    assert ["sha256" in entry for entry in manifest["files"]] == [True, False, True]


def test_a_hash_that_is_not_the_publishers_is_refused_with_both(tmp_path):
    for name in ("a.csv.gz", "b.csv.gz", "c.csv.gz"):
        write_gzip(tmp_path / name, f"id\n{name}\n")
    write_sums(tmp_path, "a.csv.gz", "b.csv.gz", "c.csv.gz", wrong="b.csv")
    mine = hashlib.sha256((tmp_path / "b.csv.gz").read_bytes()).hexdigest()
    with pytest.raises(RawFileError, match=rf"b\.csv\.gz: its SHA-256 begins with {mine[:12]}, .* says 000000000000:"):
        make_manifest(tmp_path, ("*.gz",), version="1")
    write_sums(tmp_path, "a.csv.gz", "b.csv.gz", "c.csv.gz", wrong=".csv")
    with pytest.raises(RawFileError, match=r"a\.csv\.gz: .* 2 more of 3: b\.csv\.gz, c\.csv\.gz"):
        make_manifest(tmp_path, ("*.gz",), version="1")


def test_a_password_page_saved_as_the_list_is_no_list(tmp_path):
    write_gzip(tmp_path / "a.csv.gz", "id\n1\n")
    (tmp_path / "SHA256SUMS.txt").write_text("<html>\nPlease log in\n</html>\n")
    with pytest.raises(RawFileError, match=r"SHA256SUMS.txt line 1: not a SHA-256 and a file's name"):
        make_manifest(tmp_path, ("*.gz",), version="1")


def test_what_was_hashed_before_the_list_came_is_read_again_and_what_was_compared_is_not(tmp_path):
    write_gzip(tmp_path / "a.csv.gz", "id\n1\n")
    first = make_manifest(tmp_path, ("*.gz",), version="1")["files"][0]
    write_sums(tmp_path, "a.csv.gz")
    second = make_manifest(tmp_path, ("*.gz",), version="1", hashes={"a.csv.gz": first})
    assert second["files"][0]["sha256"] == hashlib.sha256((tmp_path / "a.csv.gz").read_bytes()).hexdigest()
    kept = {"a.csv.gz": {**second["files"][0], "rows": 77}}
    assert make_manifest(tmp_path, ("*.gz",), version="1", hashes=kept)["files"][0]["rows"] == 77
    write_sums(tmp_path, "a.csv.gz", wrong="a.csv")
    with pytest.raises(RawFileError, match="SHA-256"):
        make_manifest(tmp_path, ("*.gz",), version="1", hashes=kept)
    (tmp_path / "SHA256SUMS.txt").unlink()
    assert make_manifest(tmp_path, ("*.gz",), version="1", hashes=kept)["files"][0].keys() == first.keys()


@pytest.mark.skipif(not DEMO.is_dir(), reason="the open MIMIC-IV demo 2.2 is not beside the repository")
def test_the_open_demo_is_as_published_though_a_listed_table_is_absent():
    listed = {line.split()[1] for line in (DEMO / "SHA256SUMS.txt").read_text().splitlines()}
    assert any(not (DEMO / name).exists() for name in listed)
    manifest = make_manifest(DEMO, ("hosp/*.csv.gz", "icu/*.csv.gz"), version="2.2")
    assert manifest["num_checked"] == manifest["num_files"] > 25


# Finding and reading at scale


@given(
    names=st.lists(
        st.lists(st.sampled_from(["a", "hosp", "x.csv", "y.csv.gz", "files", "p1"]), min_size=1, max_size=4),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_files_are_found_as_glob_finds_them(names):
    patterns = ("*.csv", "hosp/*.csv*", "*/*.csv", "*/*/x.csv", "a/[hp]*/*", "files/p*/*", "*/files/x.csv")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)
        for parts in names:
            path = raw.joinpath(*parts)
            if not path.exists() and all(p.is_dir() or not p.exists() for p in path.parents):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        by_glob = {path for pattern in patterns for path in raw.glob(pattern) if path.is_file()}
        assert files_of(raw, patterns) == sorted(by_glob, key=lambda path: path.relative_to(raw).as_posix())


def test_a_search_for_tables_enters_no_folder_of_images(tmp_path):
    for folder in ("files/p10/p10000032/hosp", ".hidden/hosp", "mimiciv/3.1/hosp"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.csv").write_text("id\n1\n")
    patterns = tuple("*/" * level + "hosp/a.csv" for level in range(5))
    assert files_of(tmp_path, patterns) == [tmp_path / "mimiciv/3.1/hosp/a.csv"]


def test_many_small_files_give_one_order_and_the_hashes_of_their_bytes(tmp_path):
    for number in range(700):
        (tmp_path / f"{number:04x}.jpg").write_bytes(number.to_bytes(2, "big") * (number + 1))
    seen = []
    manifest = make_manifest(tmp_path, ("*.jpg",), version="1", progress=lambda done, total: seen.append((done, total)))
    assert [entry["path"] for entry in manifest["files"]] == [f"{number:04x}.jpg" for number in range(700)]
    for number in (0, 300, 699):
        data = number.to_bytes(2, "big") * (number + 1)
        assert manifest["files"][number]["md5"] == hashlib.md5(data).hexdigest()
        assert manifest["files"][number]["size"] == len(data)
    assert seen[-1] == (700, 700)


def test_a_file_that_is_packed_a_thousandfold_is_read_in_pieces(tmp_path):
    text = b"id\n" + b"1\n" * 30_000_000
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text, 1, mtime=0))
    tracemalloc.start()
    manifest = make_manifest(tmp_path, ("*.gz",), version="1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert manifest["files"][0]["rows"] == 30_000_000
    assert peak < 0.9 * len(text)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("mmn.data.manifest.os.scandir", refuse)
    with pytest.raises(RawFileError, match=f"{tmp_path}: the folder may not be read"):
        files_of(tmp_path, ("*.csv",))


def test_the_benchmark_runs_at_toy_size(tmp_path):
    assert benchmark.make_images(tmp_path, 6, 600) == 3_600
    took = benchmark.compare(tmp_path, repeats=1)
    assert set(took) == {"manifest (md5)", "manifest (md5, sha256 compared)", "md5sum", "sha256sum"}
    assert benchmark.manifest(tmp_path)["num_files"] == 6
