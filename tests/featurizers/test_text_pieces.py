"""Pieces of a long embedding: kept over a kill, never mistaken, and nothing of a note can be read from them."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertModel

from mmn.data.cohort import Cohort
from mmn.data.errors import MmnError
from mmn.data.evidence import TextEvidence
from mmn.featurizers import text_pieces as room
from mmn.featurizers.shards import NOWHERE, Shards
from mmn.featurizers.text import TEXT, TextParams

CANARY = "Mrs Zyxwv Canary of 17 Nowhere Lane"
WORDS = ["effusion", "no", "large", "heart", "lungs", "clear"]
NUM_TEXTS, SIZE = 20, 4


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(room, "TEXTS_PER_PIECE", {"cpu": SIZE, "cuda": SIZE})


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=34,
        )
    ).save_pretrained(folder)  # fmt: skip
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


def texts(num: int = NUM_TEXTS) -> list[str]:
    return [" ".join(WORDS[(n >> shift) % 6] for shift in range(5)) + " heart" * n for n in range(num)]


def run(params: TextParams, of: list[str], shards: Shards = NOWHERE, progress=lambda done, total: None):
    names = [f"item{n}" for n in range(len(of))]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    rows = pd.DataFrame({"item": names, "note": names, "hours": 1.0, "text": pd.Categorical(of)})
    return TEXT.run(TextEvidence(rows=rows), cohort, "notes", params, progress, shards)


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def counted(monkeypatch):
    """How many texts are embedded anew."""
    count: list[int] = []
    embed = room._embed
    monkeypatch.setattr(room, "_embed", lambda encoder, of, *rest: count.append(len(of)) or embed(encoder, of, *rest))
    return count


MODES = ("clean", "haim")
# Loading the libraries takes most of the time, so it is done once: each mode is run, and killed, in a child of its own.
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_text_pieces as tests
from mmn.featurizers.shards import Shards
from mmn.featurizers.text import TextParams
tests.room.TEXTS_PER_PIECE = {"cpu": tests.SIZE, "cuda": tests.SIZE}

def die(done, total):
    if done == 11:
        os.kill(os.getpid(), signal.SIGKILL)

for mode in tests.MODES:
    if not (child := os.fork()):
        tests.run(TextParams(weights=sys.argv[2], mode=mode), tests.texts(), Shards(Path(sys.argv[3]) / mode), die)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def killed(bert, tmp_path_factory):
    """A folder per mode with what a run left that was killed in the third piece of five."""
    folder = tmp_path_factory.mktemp("killed")
    arguments = [str(Path(__file__).parent), str(bert), str(folder)]
    ran = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, timeout=300)
    assert ran.stdout.split() == [str(-signal.SIGKILL)] * len(MODES), ran.stderr
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_run_goes_on_where_it_stopped_and_ends_with_the_same_bytes(bert, killed, counted, mode):
    """Of five pieces two are kept, three are made, and nobody can tell from the result."""
    assert len(files(killed / mode)) == 2
    params = TextParams(weights=str(bert), mode=mode)
    resumed = run(params, texts(), Shards(killed / mode))
    assert counted == [SIZE] * 3
    whole = run(params, texts())
    assert resumed.embeddings.values.tobytes() == whole.embeddings.values.tobytes()
    assert resumed.card == whole.card


def test_a_second_run_embeds_nothing_anew_and_reports_its_progress(bert, tmp_path, counted):
    params, calls = TextParams(weights=str(bert)), []
    run(params, texts(), Shards(tmp_path))
    counted.clear()
    run(params, texts(), Shards(tmp_path), lambda done, total: calls.append((done, total)))
    assert counted == [] and calls == [(done, NUM_TEXTS) for done in (4, 8, 12, 16, 20)]


@pytest.mark.parametrize(
    "other",
    [{"pooling": "pooler"}, {"chunk_tokens": 7}, {"lowercase": False}, {"dtype": "bfloat16"}, {"mode": "haim"},
     {"batch_tokens": 64}],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_a_piece_made_with_other_settings_is_not_taken(bert, tmp_path, counted, other):
    params = TextParams(weights=str(bert))
    run(params, texts(), Shards(tmp_path))
    counted.clear()
    run(replace(params, **other), texts(), Shards(tmp_path))
    assert sum(counted) == NUM_TEXTS


def test_a_changed_text_makes_its_own_piece_anew_and_no_other(bert, tmp_path, counted):
    params = TextParams(weights=str(bert))
    run(params, texts(), Shards(tmp_path))
    counted.clear()
    run(params, [*texts()[:-1], "no effusion"], Shards(tmp_path))
    assert counted == [SIZE]


def test_a_piece_cut_short_is_made_anew(bert, tmp_path, counted):
    params = TextParams(weights=str(bert))
    whole = run(params, texts(), Shards(tmp_path))
    damaged = files(tmp_path)[0]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    counted.clear()
    again = run(params, texts(), Shards(tmp_path))
    assert counted == [SIZE]
    np.testing.assert_array_equal(whole.embeddings.values, again.embeddings.values)


def test_memory_holds_one_piece_at_a_time(bert, monkeypatch):
    """Each piece is added to its items before the next is made."""
    order = []
    embed, add = room._embed, room.add_to_items
    monkeypatch.setattr(room, "_embed", lambda *args: order.append("made") or embed(*args))
    monkeypatch.setattr("mmn.featurizers.text.add_to_items", lambda *args: order.append("added") or add(*args))
    run(TextParams(weights=str(bert)), texts())
    assert order == ["made", "added"] * 5


def test_nothing_of_a_note_can_be_read_from_pieces_cards_logs_or_errors(tmp_path, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        for mode in ("clean", "haim"):
            made = run(TextParams(mode=mode), [f"{CANARY}\n" * 200, "\x00", "clear"], Shards(tmp_path / mode))
        with pytest.raises(MmnError) as caught:
            run(TextParams(chunk_tokens=10_000), [CANARY])
    out, err = capfd.readouterr()
    said = [out, err, caplog.text, str(caught.value), json.dumps(made.card), made.set_aside.to_csv()]
    said += [file.name for file in files(tmp_path)]
    kept = [file.read_bytes() for file in files(tmp_path)]
    assert len(kept) == 2
    for word in ("Zyxwv", "Canary", "Nowhere"):
        assert not [text for text in said if word.lower() in text.lower()]
        assert not [data for data in kept if word.lower().encode() in data.lower()]


def test_the_benchmark_embeds_the_same_texts_in_every_way(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks.texts import compare

    found = compare("minilm", 2, 1, "cpu", tmp_path)
    assert set(found["ways"]) >= {"naive", "ours, float32"} and found["tokens"] > 16
    for name, way in found["ways"].items():
        assert way["cosine"] > (0.999 if "bfloat16" in name else 0.999999)
        assert way["ratio"] > 0 and way["tokens/s"] > 0 and way["share"] > 0
