"""HAIM's vector of an item's notes, against the published procedure written out slowly, one note at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from mmn.data.cohort import Cohort
from mmn.data.embeddings import check_embeddings
from mmn.data.evidence import TextEvidence
from mmn.featurizers.text import TEXT, TextParams
from mmn.featurizers.text_haim import UNTIMED

LIMIT = 20  # tokens of a chunk, 510 in the published code
WORDS = ["effusion", "no", "large", "heart", "lungs", ".", "clear", "normal"]
Note = tuple[float, str | None]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT of two layers with positions for LIMIT tokens besides [CLS] and [SEP]."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=LIMIT + 2, initializer_range=0.5,
        )
    ).save_pretrained(folder)  # fmt: skip
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


class Published:
    """mimic.md section 3.4, sentence by sentence."""

    def __init__(self, folder) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModel.from_pretrained(folder).eval()

    def vector(self, text: str) -> np.ndarray:
        ids = self.tokenizer(text, return_tensors="pt")["input_ids"]
        if ids.shape[1] > LIMIT + 2:
            raise RuntimeError("more tokens than positions")
        with torch.no_grad():
            return self.network(input_ids=ids).pooler_output[0].numpy()

    def chunks(self, text: str | None) -> list[str]:
        if text is None:
            raise TypeError("a null has no tokens")
        if len(self.tokenizer.tokenize(text)) <= LIMIT:
            return [text]
        emitted, held, size = [], [], 0
        for line in text.split("\n"):
            added = len(self.tokenizer.tokenize(line))
            if size + added > LIMIT:
                emitted.append(" ".join(held))
                held, size = [line], added
            else:
                held.append(line)
                size += added
        return emitted  # what is held at the end is lost

    def item(self, notes: list[Note]) -> np.ndarray:
        vectors, weights = [], []
        try:
            for hours, text in notes:
                for chunk in self.chunks(text):
                    vectors.append(self.vector(chunk))
                    weights.append(hours)
        except (RuntimeError, TypeError):
            return self.vector("")
        if not vectors:
            return self.vector("")
        try:
            return np.average(vectors, axis=0, weights=weights)
        except ZeroDivisionError:
            return np.zeros(16)


@pytest.fixture(scope="module")
def published(bert):
    return Published(bert)


def featurize(folder, of_items: list[list[Note]], **params):
    names = [f"item{n}" for n in range(len(of_items))]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    notes_of = zip(names, of_items, strict=True)
    rows = [(name, f"row {n}", *note) for name, notes in notes_of for n, note in enumerate(notes)]
    frame = pd.DataFrame(rows, columns=["item", "note", "hours", "text"]).astype({"hours": float, "text": "category"})
    params = TextParams(weights=str(folder), mode="haim", **params)
    made = TEXT.run(TextEvidence(rows=frame), cohort, "notes", params, lambda done, total: None)
    check_embeddings(made.embeddings, np.array(names), "notes")
    return made


lines = st.lists(st.sampled_from(WORDS), max_size=LIMIT + 6).map(" ".join)
texts = st.one_of(
    st.lists(lines, min_size=1, max_size=6).map("\n".join), st.sampled_from(["", " ", "\n", " \n\t\n", "\n\n"])
)
hours = st.integers(-600, 6_000).map(lambda minutes: minutes / 60)
item_notes = st.lists(st.tuples(hours, st.one_of(texts, texts, texts, st.none())), max_size=5)


@settings(max_examples=40, deadline=None)
@given(st.lists(item_notes, min_size=1, max_size=4))
def test_every_item_has_the_vector_that_the_published_procedure_gives(bert, published, of_items):
    made = featurize(bert, of_items)
    assert made.embeddings.present.all()
    for notes, vector in zip(of_items, made.embeddings.values[0, :, 0], strict=True):
        expected = published.item(notes)
        # Where weights nearly cancel, so do the numbers: the last bits of a vector are magnified alike in both.
        magnified = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(vector, expected, atol=2e-5 * magnified)


LONG_LINE = " ".join(["heart"] * (LIMIT + 1))
FULL_LINE = " ".join(["lungs"] * LIMIT)


@pytest.mark.parametrize(
    ("note", "equals"),
    [
        (f"{FULL_LINE}\nno effusion", FULL_LINE),  # the end of a long note is lost
        (LONG_LINE, ""),  # a first line that is too long leaves an empty chunk, and is lost itself
        (f"{LONG_LINE}\n", None),  # but fails where anything follows, be it nothing
        (f"no effusion\n{LONG_LINE}", "no effusion"),
        (f"no effusion\n{LONG_LINE}\nclear", None),
        ("", ""),
        (None, None),
    ],
    ids=["tail", "first line", "first line and an empty one", "last line", "middle line", "empty", "null"],
)
def test_the_documented_faults_are_repeated(bert, published, note, equals):
    made = featurize(bert, [[(2.0, note), (3.0, "large")], [(2.0, note)]])
    empty, large = published.vector(""), published.vector("large")
    mixed, alone = made.embeddings.values[0, :, 0]
    if equals is None:  # the whole set of notes falls back to the empty text
        np.testing.assert_allclose(mixed, empty, atol=1e-5)
        np.testing.assert_allclose(alone, empty, atol=1e-5)
        assert [count for what, count in made.card["haim"].items() if "fails" in what] == [2]
    else:
        np.testing.assert_allclose(alone, published.vector(equals), atol=1e-5)
        np.testing.assert_allclose(mixed, (2 * published.vector(equals) + 3 * large) / 5, atol=1e-5)


def test_an_item_without_notes_is_present_with_the_vector_of_the_empty_text(bert, published):
    made = featurize(bert, [[], []])
    assert made.embeddings.present.all()
    np.testing.assert_allclose(made.embeddings.values[0, 0, 0], published.vector(""), atol=1e-6)
    assert made.card["haim"]["items without a note: the empty text's vector"] == 2


def test_weights_are_raw_hours_and_a_sum_of_zero_gives_zeros(bert, published):
    large, clear = published.vector("large"), published.vector("clear")
    made = featurize(bert, [[(0.0, "large")], [(-2.0, "large"), (2.0, "clear")], [(-1.0, "large"), (3.0, "clear")]])
    vectors = made.embeddings.values[0, :, 0]
    assert made.embeddings.present.all() and not vectors[:2].any()
    np.testing.assert_allclose(vectors[2], (3 * clear - large) / 2, atol=1e-5)
    assert made.card["haim"]["items whose weights sum to 0: zeros"] == 2


def test_a_note_without_a_time_makes_its_item_absent_and_counted_where_haim_has_nan(bert):
    made = featurize(bert, [[(float("nan"), "large"), (1.0, "clear")], [(1.0, "clear")], [(float("nan"), None)]])
    # The last fails before its time is looked at, there as here.
    assert made.embeddings.present[:, 0].tolist() == [False, True, True]
    assert made.card["quarantined"] == {UNTIMED: 1}
    assert made.set_aside.to_dict("records") == [{"item": "item0", "source": "row 0", "reason": UNTIMED}]


def test_the_card_says_that_the_mode_is_haims_and_the_weights_are_not(bert):
    card = featurize(bert, [[(1.0, "clear")]]).card
    assert (card["mode"], card["pooling"], card["chunk_tokens"]) == ("haim", "pooler", LIMIT)
    assert "not HAIM's" in card["haim"]["weights"]


def test_text_is_in_lower_case_unless_told_otherwise(bert, published):
    upper = [[(1.0, "LARGE Effusion")]]
    made = [featurize(bert, upper, lowercase=lowercase).embeddings.values[0, 0, 0] for lowercase in (None, False)]
    np.testing.assert_allclose(made[0], published.vector("large effusion"), atol=1e-5)
    assert np.abs(made[0] - made[1]).max() > 1e-3


def test_the_packaged_weights_serve_haims_mode_too():
    made = featurize("minilm", [[(1.0, "No effusion.")], []])
    assert made.embeddings.values.shape == (1, 2, 1, 384) and made.embeddings.present.all()
    assert made.card["chunk_tokens"] == 510 and made.card["weights"]["name"] == "minilm"


@pytest.mark.parametrize("wrong", [{"pooling": "mean"}, {"half_life_hours": 24.0}])
def test_what_haim_does_not_do_is_refused_in_its_mode(wrong):
    with pytest.raises(ValueError, match="mode: clean"):
        TextParams(mode="haim", **wrong)
