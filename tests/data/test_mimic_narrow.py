"""The narrow table: each number of the raw table in its order, the same bytes each time; what is damaged is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mmn.data.errors import ContractError, MmnError, RawFileError
from mmn.data.mimic import events_csv, narrow
from mmn.data.mimic.signals import CHART_SIGNALS
from tests.data.mimic_worlds import tiny_world
from tests.data.test_mimic_events import CHART, LABS, T, copy


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("mimic") / "raw", 1)


def spoil_text(file: Path, change: Callable[[str], str]) -> None:
    file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes()).decode()).encode(), mtime=0))


def prepared(raw: Path, out: Path, name: str = "chartevents", provenance: dict | None = None) -> bytes:
    narrow.prepare(raw, name, out, provenance or {}, lambda done, total: None)
    return out.read_bytes()


@pytest.mark.parametrize("name", list(narrow.SOURCES))
def test_three_runs_give_the_same_bytes_on_any_number_of_threads(world, tmp_path, monkeypatch, name):
    monkeypatch.setattr(events_csv, "PIECE_BYTES", 20_000)
    monkeypatch.setattr(events_csv, "READ_BYTES", 3_000)
    made = []
    for threads in (1, 2, 4):
        monkeypatch.setattr(events_csv, "num_threads", lambda threads=threads: threads)
        made.append(prepared(world, tmp_path / f"{threads}.parquet", name, {"b": 1, "a": [2]}))
    assert made[0] == made[1] == made[2]
    metadata = pq.read_metadata(tmp_path / "1.parquet").metadata
    # In the schema too, where every other artifact has it and the audit looks for it.
    assert pq.read_schema(tmp_path / "1.parquet").metadata[b"mmn"] == metadata[b"mmn"]
    assert metadata[b"mmn"] == json.dumps({"a": [2], "b": 1}, sort_keys=True).encode()


def test_the_narrow_table_holds_each_number_of_the_raw_table_in_its_order(world, tmp_path, monkeypatch):
    monkeypatch.setattr(events_csv, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(narrow, "ROW_GROUP", 1_000)
    for name, source in narrow.SOURCES.items():
        prepared(world, tmp_path / "n.parquet", name)
        made = pq.read_table(tmp_path / "n.parquet").to_pandas()
        file = next(world.glob(f"*/{name}.csv.gz"))
        raw = pd.read_csv(file, parse_dates=[source.time, "storetime"])
        raw = raw[raw[source.number].notna()].reset_index(drop=True)
        assert len(made) == len(raw) > 1_000 or name == "procedureevents"
        np.testing.assert_array_equal(made["number"], raw[source.number])
        np.testing.assert_array_equal(made["itemid"], raw["itemid"])
        assert (made["time"] == raw[source.time]).all() and (made["storetime"] == raw["storetime"]).all()
        assert made["unit"].fillna("").tolist() == raw["valueuom"].fillna("").tolist()
        for key in {"subject_id", "hadm_id", "stay_id"} & set(made):
            assert made[key].fillna(-1).tolist() == raw[key].fillna(-1).tolist()


def test_members_pieces_marks_and_line_ends_of_the_file_change_nothing(world, tmp_path, monkeypatch):
    expected = prepared(world, tmp_path / "n.parquet")
    text = gzip.decompress((world / CHART).read_bytes())
    for name, data in {
        "members": b"".join(gzip.compress(text[n : n + 7_001], mtime=0) for n in range(0, len(text), 7_001)),
        "windows": gzip.compress(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"), mtime=0),
        "no last line end": gzip.compress(text.rstrip(b"\n"), mtime=0),
        "blank last lines": gzip.compress(text + b"\n\n", mtime=0),
    }.items():
        raw = copy(world, tmp_path / name)
        (raw / CHART).write_bytes(data)
        for size in (900, 1 << 20):
            monkeypatch.setattr(events_csv, "PIECE_BYTES", size)
            assert prepared(raw, tmp_path / "other.parquet") == expected, (name, size)
    plain = copy(world, tmp_path / "plain")
    (plain / CHART).unlink()
    (plain / "icu/chartevents.csv").write_bytes(text)
    prepared(plain, tmp_path / "other.parquet")
    assert pq.read_table(tmp_path / "other.parquet").equals(pq.read_table(tmp_path / "n.parquet"))


def test_a_lab_result_that_is_there_twice_counts_once_and_two_alike_of_their_own_count_twice(world, tmp_path):
    """Told by labevent_id, whether the copy is next to the first or a file's length away."""
    expected = pq.read_table(_made(world, tmp_path / "a.parquet", "labevents"))
    sodium = lambda f: f[f["itemid"].eq("50983") & f["valuenum"].notna()]  # noqa: E731
    doubled = lambda f: pd.concat([f.iloc[:1], f, sodium(f).iloc[:5]])  # noqa: E731
    raw = copy(world, tmp_path / "doubled", LABS, doubled)
    assert pq.read_table(_made(raw, tmp_path / "b.parquet", "labevents")).equals(expected)
    counts, before = (narrow.read_counts(tmp_path / name) for name in ("b.parquet", "a.parquet"))
    assert counts.repeated[50983] >= 5 and sum(counts.repeated.values()) == counts.rows - before.rows == 6
    assert counts.numbers == before.numbers and not before.repeated
    assert json.loads(pq.read_metadata(tmp_path / "b.parquet").metadata[b"mmn_left_out"])["labevent_id repeated"] == 6
    # Two specimens may give one value in one minute; and a table without the key says nothing of copies.
    for name, change in {
        "alike": lambda f: pd.concat(
            [f, sodium(f).iloc[:5].assign(labevent_id=["900001", "900002", "900003", "", ""])]
        ),
        "no key": lambda f: doubled(f).drop(columns="labevent_id"),
    }.items():
        _made(copy(world, tmp_path / name, LABS, change), tmp_path / "c.parquet", "labevents")
        assert len(pq.read_table(tmp_path / "c.parquet")) == len(expected) + (5 if name == "alike" else 6)


def test_line_ends_commas_and_quotes_within_a_cell_are_part_of_it(world, tmp_path, monkeypatch):
    expected = pq.read_table(_made(world, tmp_path / "a.parquet"))

    def remark(text: str) -> str:
        lines = text.split("\n")
        place = lines[0].split(",").index("value")
        for number in range(1, len(lines) - 1, 3):
            cells = lines[number].split(",")
            cells[place] = '"said ""yes"",\nthen\nno"'
            lines[number] = ",".join(cells)
        return "\n".join(lines)

    raw = copy(world, tmp_path / "raw")
    spoil_text(raw / CHART, remark)
    for size in (300, 1 << 20):
        monkeypatch.setattr(events_csv, "PIECE_BYTES", size)
        assert pq.read_table(_made(raw, tmp_path / "b.parquet")).equals(expected)


def _made(raw: Path, out: Path, name: str = "chartevents") -> Path:
    prepared(raw, out, name)
    return out


def test_columns_are_found_by_name_whatever_their_order_and_company(world, tmp_path):
    expected = prepared(world, tmp_path / "a.parquet", "labevents")
    other = lambda f: f.assign(extra="x")[["extra", *sorted(f.columns, reverse=True)]]  # noqa: E731
    raw = copy(world, tmp_path / "raw", LABS, other)
    assert prepared(raw, tmp_path / "b.parquet", "labevents") == expected


def test_progress_is_told_in_bytes_of_the_file(world, tmp_path, monkeypatch):
    monkeypatch.setattr(events_csv, "PIECE_BYTES", 50_000)
    monkeypatch.setattr(events_csv, "READ_BYTES", 10_000)
    told = []
    narrow.prepare(world, "chartevents", tmp_path / "n.parquet", {}, lambda done, total: told.append((done, total)))
    size = (world / CHART).stat().st_size
    assert told == sorted(told) and told[-1] == (size, size) and len(told) > 3


# Bad input


def test_a_file_that_was_cut_short_is_refused_at_every_64_kb(world, tmp_path):
    raw = copy(world, tmp_path / "raw")
    noise = np.random.default_rng(0).random(60_000)
    labs = pd.DataFrame({"subject_id": 1, "hadm_id": 2, "itemid": 50983, "valuenum": noise, "valueuom": "mEq/L"})
    labs.assign(charttime=T(1), storetime=T(2), order_provider_id=None).to_csv(raw / LABS, index=False)
    data = (raw / LABS).read_bytes()
    assert len(data) > 5 * 65_536
    for end in [*range(65_536, len(data), 65_536), len(data) - 1, len(data) - 8]:
        (raw / LABS).write_bytes(data[:end])
        with pytest.raises(RawFileError, match=r"hosp/labevents.csv.gz: .*cut short"):
            prepared(raw, tmp_path / "n.parquet", "labevents")
        assert not list(tmp_path.glob("*n.parquet*"))
    (raw / LABS).write_bytes(data[:70_000] + b"\0\1\2" + data[70_003:])
    with pytest.raises(MmnError, match=r"hosp/labevents.csv.gz"):
        prepared(raw, tmp_path / "n.parquet", "labevents")
    assert not list(tmp_path.glob("*n.parquet*"))


def test_a_very_long_cell_is_read_whole_and_one_beyond_all_measure_is_refused_with_its_line(
    world, tmp_path, monkeypatch
):
    """MIMIC's own schema once cut or refused such cells (mimic-code#1055)."""
    expected = pq.read_table(_made(world, tmp_path / "a.parquet"))
    raw = copy(world, tmp_path / "raw")

    def lengthen(text: str) -> str:
        lines = text.split("\n")
        cells = lines[50].split(",")
        cells[lines[0].split(",").index("value")] = '"' + "MARY,\n" * 30_000 + '"'
        return "\n".join([*lines[:50], ",".join(cells), *lines[51:]])

    spoil_text(raw / CHART, lengthen)
    for size in (20_000, 1 << 20):
        monkeypatch.setattr(events_csv, "PIECE_BYTES", size)
        assert pq.read_table(_made(raw, tmp_path / "b.parquet")).equals(expected)
    monkeypatch.setattr(events_csv, "PIECE_BYTES", 3_000)
    monkeypatch.setattr(events_csv, "LONGEST_CELL_BYTES", 50_000)
    with pytest.raises(ContractError, match=r"icu/chartevents.csv.gz line 51: .*never closed") as caught:
        prepared(raw, tmp_path / "n.parquet")
    assert "MARY" not in str(caught.value)


def test_any_number_of_rows_fills_its_row_groups_and_none_gives_an_empty_table(world, tmp_path, monkeypatch):
    monkeypatch.setattr(narrow, "ROW_GROUP", 100)
    for num_rows in (0, 1, 99, 100, 101, 200):
        numbered = lambda f: f[f["valuenum"].notna()].iloc[:num_rows]  # noqa: B023, E731
        raw = copy(world, tmp_path / str(num_rows), CHART, numbered)
        made = pq.read_table(_made(raw, tmp_path / "n.parquet"))
        assert len(made) == narrow.read_counts(tmp_path / "n.parquet").rows == num_rows
        assert (
            made.schema.equals(pq.read_schema(tmp_path / "n.parquet").remove_metadata()) and "unit" in made.schema.names
        )


@pytest.mark.parametrize("size", [300, 1 << 20])
def test_errors_name_file_line_and_column_but_never_quote_the_line(world, tmp_path, monkeypatch, size):
    monkeypatch.setattr(events_csv, "PIECE_BYTES", size)

    def at(line: int, change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
        def spoil(text: str) -> str:
            lines = text.split("\n")
            # The row before holds two line ends, so that rows and lines are not the same.
            cells = lines[line - 4].split(",")
            cells[lines[0].split(",").index("value")] = '"a\nb\nc"'
            lines[line - 4] = ",".join(cells)
            lines[line - 3] = ",".join(change(lines[line - 3].split(",")))
            return "\n".join(lines)

        return spoil

    spoiled = {
        "line 99, column 'subject_id': the value is not of the promised type": lambda c: ["MARY-SMITH", *c[1:]],
        "line 99: more or fewer cells": lambda c: ["MARY-SMITH", *c],
        "line 99: more or fewer cells than": lambda c: c[:-1],
    }
    for number, (message, change) in enumerate(spoiled.items()):
        raw = copy(world, tmp_path / str(number))
        spoil_text(raw / CHART, at(99, change))
        with pytest.raises(MmnError, match=f"^icu/chartevents.csv.gz {message}") as caught:
            prepared(raw, tmp_path / "n.parquet")
        assert "MARY" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__
    raw = copy(world, tmp_path / "quote")
    spoil_text(raw / CHART, lambda text: text.replace("220045,", '220045,"', 1))
    with pytest.raises(ContractError, match="quotation mark is never closed"):
        prepared(raw, tmp_path / "n.parquet")
    raw = copy(world, tmp_path / "bytes")
    text = gzip.decompress((raw / CHART).read_bytes())
    (raw / CHART).write_bytes(gzip.compress(b"b\xffm".join(text.rsplit(b"bpm", 1))))
    with pytest.raises(RawFileError, match=r"line \d+: .*UTF-8"):
        prepared(raw, tmp_path / "n.parquet")


def test_a_missing_table_or_column_and_a_foreign_parquet_say_what_to_do(world, tmp_path):
    raw = copy(world, tmp_path / "raw", LABS, lambda f: f.drop(columns="valuenum"))
    with pytest.raises(ContractError, match="column 'valuenum' is missing"):
        prepared(raw, tmp_path / "n.parquet", "labevents")
    (raw / CHART).unlink()
    with pytest.raises(RawFileError, match=r"no icu/chartevents.csv.gz \(or .csv\)"):
        prepared(raw, tmp_path / "n.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(ContractError, match="format None"):
        narrow.read_counts(tmp_path / "foreign.parquet")
    (tmp_path / "half.parquet").write_bytes(prepared(world, tmp_path / "n.parquet")[:-9])
    with pytest.raises(RawFileError, match="not a complete parquet file"):
        narrow.read_counts(tmp_path / "half.parquet")


def test_the_benchmarks_world_goes_all_the_way_and_spilling_changes_nothing(tmp_path, monkeypatch):
    from benchmarks import chart_events
    from benchmarks.generated_chart_events import HEADER, make_chart_world

    monkeypatch.setattr(chart_events.events, "MEMORY_BYTES", 1_000)
    made = make_chart_world(tmp_path / "a", 30_000, seed=3)
    made.items.to_parquet(tmp_path / "a/items.parquet")
    again = make_chart_world(tmp_path / "b", 30_000, seed=3)
    assert (again.raw / CHART).read_bytes() == (made.raw / CHART).read_bytes()
    rows = pd.read_csv(made.raw / CHART)
    assert len(rows) == made.num_rows >= 30_000 and list(rows.columns) == HEADER.strip().split(",")
    assert rows["itemid"].isin(events_of_signals()).mean() == pytest.approx(0.3, abs=0.01)
    assert chart_events.measure("convert", made.raw)["rows"] == made.num_rows
    found = [chart_events.measure(step, made.raw) for step in ("statistics", "unspilled")]
    assert found[0]["hash"] == found[1]["hash"] and found[0]["notes"] != found[1]["notes"]
    assert [" 0.0 MB spilled" in of_step["notes"] for of_step in found] == [False, True]
    assert chart_events.measure("scan", made.raw)["wall"] > 0


def events_of_signals() -> list[int]:
    return [itemid for signal in CHART_SIGNALS for itemid in signal.itemids]
