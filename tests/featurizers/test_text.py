"""Notes, through the real packaged encoder: every token counts, batches change nothing, absence stays absence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mmn.data.cohort import Cohort
from mmn.data.embeddings import check_embeddings
from mmn.data.errors import ContractError
from mmn.data.evidence import TextEvidence
from mmn.featurizers.shards import NOWHERE, Shards
from mmn.featurizers.text import NO_TIME, NO_TOKEN, TEXT, TextParams
from mmn.featurizers.text_chunks import clean_bounds
from mmn.featurizers.text_encoder import load_encoder
from mmn.featurizers.weights import TEXT_WEIGHTS, WeightsError, inference, resolve_text

FINDINGS = "No acute cardiopulmonary process."
EFFUSION = "Large left pleural effusion with adjacent atelectasis."
LONG = "\n".join(f"Line {i}: heart size is normal, lungs are clear, no effusion is seen." for i in range(60))


def evidence_of(notes: list[tuple[int, float, str | None]], quarantined: dict[str, int]) -> TextEvidence:
    rows = pd.DataFrame(
        [(f"item{item}", f"row {n}", hours, text) for n, (item, hours, text) in enumerate(notes)],
        columns=["item", "note", "hours", "text"],
    )
    return TextEvidence(rows=rows.astype({"text": "category"}), quarantined=quarantined)


def embed(
    notes: list[tuple[int, float, str | None]],
    num_items: int = 3,
    params: TextParams = TEXT.defaults,
    progress=None,
    shards: Shards = NOWHERE,
):
    names = [f"item{i}" for i in range(num_items)]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    evidence = evidence_of(notes, {"note after the prediction": 2})
    return TEXT.run(evidence, cohort, "notes", params, progress or (lambda done, total: None), shards)


def vectors(notes, num_items: int = 3, params: TextParams = TEXT.defaults) -> np.ndarray:
    return embed(notes, num_items, params).embeddings.values[0, :, 0]


def test_a_short_text_gets_the_vector_that_sentence_transformers_gives():
    """Golden: SentenceTransformer(all-MiniLM-L6-v2).encode, version 6.2.0, first six numbers."""
    expected = [0.0794081166, 0.0377435051, -0.0549692474, 0.0505451113, -0.0389951505, -0.0736422017]
    made = vectors([(0, 1.0, FINDINGS)])[0]
    np.testing.assert_allclose(made[:6], expected, atol=1e-6)
    assert made.shape == (384,)
    assert np.linalg.norm(made) == pytest.approx(1, abs=1e-5)


def test_a_text_has_the_same_vector_to_the_last_bit_whatever_else_is_embedded():
    notes = [(i, 1.0, f"{FINDINGS} " * (i + 1) + EFFUSION) for i in range(8)] + [(8, 1.0, LONG)]
    together = vectors(notes, 9)
    np.testing.assert_array_equal(vectors([(0, 1.0, notes[5][2])], 1)[0], together[5])
    np.testing.assert_allclose(vectors(notes, 9, replace(TEXT.defaults, batch_tokens=512)), together, atol=1e-5)


def test_threads_change_nothing():
    notes = [(i, 1.0, f"{FINDINGS} " * (i + 1)) for i in range(8)]
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            made.append(vectors(notes, 8))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*made)


def test_the_same_run_gives_the_same_bytes():
    notes = [(0, 1.0, FINDINGS), (1, 2.0, LONG)]
    assert vectors(notes).tobytes() == vectors(notes).tobytes()


def test_the_tail_of_a_long_text_counts():
    """More than three times 512 tokens; the last word is another."""
    changed = vectors([(0, 1.0, LONG + " stable"), (1, 1.0, LONG + " worse")])
    assert np.abs(changed[0] - changed[1]).max() > 1e-3


def test_an_item_without_a_note_is_absent_and_never_an_empty_text():
    made = embed([(0, 1.0, FINDINGS)])
    assert made.embeddings.present[:, 0].tolist() == [True, False, False]
    assert np.isnan(made.embeddings.values[0, 1:]).all()
    assert made.card["quarantined"] == {"note after the prediction": 2}
    assert made.card["weights"]["name"] == "minilm"
    check_embeddings(made.embeddings, np.array(["item0", "item1", "item2"]), "notes")


def test_a_note_in_which_nothing_can_be_read_is_set_aside_and_counted():
    made = embed([(0, 1.0, " \n\t "), (1, 1.0, FINDINGS), (1, 2.0, "\x00")])
    assert made.embeddings.present[:, 0].tolist() == [False, True, False]
    assert made.card["quarantined"][NO_TOKEN] == 2
    assert made.set_aside.to_dict("list") == {
        "item": ["item0", "item1"], "source": ["row 0", "row 2"], "reason": [NO_TOKEN] * 2
    }  # fmt: skip
    np.testing.assert_allclose(made.embeddings.values[0, 1, 0], vectors([(1, 1.0, FINDINGS)])[1], atol=1e-6)


def test_no_note_at_all_leaves_everyone_absent():
    made = embed([])
    assert not made.embeddings.present.any()
    assert made.embeddings.width == 384


def test_an_item_is_the_mean_of_its_notes_and_a_half_life_weights_the_latest():
    one, two = vectors([(0, 0.0, FINDINGS), (1, 0.0, EFFUSION)])[:2]
    notes = [(0, 0.0, FINDINGS), (0, 24.0, EFFUSION)]
    np.testing.assert_allclose(vectors(notes)[0], (one + two) / 2, atol=1e-6)
    weighted = vectors(notes, params=replace(TEXT.defaults, half_life_hours=24.0))[0]
    np.testing.assert_allclose(weighted, (one + 2 * two) / 3, atol=1e-6)


def test_with_a_half_life_a_note_without_a_time_is_set_aside_and_counted():
    half_life = replace(TEXT.defaults, half_life_hours=24.0)
    made = embed([(0, 5.0, FINDINGS), (0, float("nan"), EFFUSION), (1, float("nan"), EFFUSION)], params=half_life)
    assert made.embeddings.present[:, 0].tolist() == [True, False, False]
    assert made.card["quarantined"][NO_TIME] == 2
    assert made.set_aside["source"].tolist() == ["row 1", "row 2"]
    np.testing.assert_allclose(made.embeddings.values[0, 0, 0], vectors([(0, 5.0, FINDINGS)])[0], atol=1e-6)


def test_each_different_text_is_embedded_once():
    calls = []
    made = embed([(i, 1.0, FINDINGS) for i in range(3)], progress=lambda done, total: calls.append((done, total)))
    assert made.card["different notes"] == 1
    assert calls == [(1, 1)]
    assert np.ptp(made.embeddings.values[0, :, 0], axis=0).max() < 1e-7


@pytest.mark.parametrize("most", [5, 16, 254])
def test_chunks_hold_every_token_in_order_and_fit(most):
    one_long_line = "word " * 40 + "\n" + "short line\n" + "end " * 20
    with inference("cpu") as device:
        encoder = load_encoder(resolve_text("minilm"), replace(TEXT.defaults, chunk_tokens=most), device)
        chunks, owner = encoder.chunks([one_long_line, FINDINGS])
        whole = encoder.tokenizer([one_long_line, FINDINGS], add_special_tokens=False)["input_ids"]
    for number, ids in enumerate(whole):
        mine = [chunk for chunk, of in zip(chunks, owner, strict=True) if of == number]
        assert np.concatenate(mine).tolist() == ids
        assert max(map(len, mine)) <= most


def test_a_chunk_ends_at_a_line_end_where_it_can():
    text = "one two three\nfour five six\nseven eight nine"
    offsets = [(m, m + 1) for m in (0, 4, 8, 14, 19, 24, 28, 34, 40)]
    assert clean_bounds(text, offsets, 7) == [(0, 6), (6, 9)]
    assert clean_bounds(text, offsets, 2) == [(0, 2), (2, 3), (3, 5), (5, 6), (6, 8), (8, 9)]
    assert clean_bounds(text, offsets, 9) == [(0, 9)]


def test_bfloat16_is_measured_on_the_notes_themselves_and_the_card_says_the_result():
    exact = vectors([(0, 1.0, LONG)])[0]
    made = embed([(0, 1.0, LONG)], params=replace(TEXT.defaults, dtype="bfloat16"))
    fast = made.embeddings.values[0, 0, 0]
    assert 0.999 < exact @ fast / np.linalg.norm(exact) / np.linalg.norm(fast) < 1 - 1e-9
    assert 0.999 <= made.card["bfloat16"]["smallest cosine to float32"] < 1
    assert made.card["bfloat16"]["chunks measured"] > 1


def test_bfloat16_that_loses_too_much_is_refused_with_the_numbers_and_the_way_on(monkeypatch):
    monkeypatch.setattr("mmn.featurizers.text_encoder.LEAST_COSINE", 0.9999999)
    with pytest.raises(WeightsError, match=r"cosine to float32 is 0\.99\d+, below 0\.9999999.*dtype: float32"):
        embed([(0, 1.0, LONG)], params=replace(TEXT.defaults, dtype="bfloat16"))


def test_nothing_is_fetched(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert embed([(0, 1.0, FINDINGS)]).embeddings.present[0, 0]


def test_errors_name_counts_and_never_the_text():
    with pytest.raises(ContractError, match="1 of 2 notes") as caught:
        embed([(0, 1.0, FINDINGS), (7, 1.0, EFFUSION)])
    assert "effusion" not in str(caught.value)
    with pytest.raises(ContractError, match="have no text"):
        embed([(0, 1.0, None)])


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="half_life_hours"):
        TextParams(half_life_hours=0.0)
    with pytest.raises(WeightsError, match="positions for 510"):
        embed([(0, 1.0, FINDINGS)], params=replace(TEXT.defaults, chunk_tokens=511))


@pytest.fixture
def small_bert(tmp_path):
    """A folder with a BERT of 2 layers and a cased vocabulary without tokenizer settings, as Bio_ClinicalBERT's."""
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Effusion", "effusion", "no", "large", "."]
    torch.manual_seed(0)
    network = BertModel(
        BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=34,
        )
    )
    network.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    return tmp_path


def test_a_local_folder_works_and_says_that_it_does_not_know_what_its_weights_have_seen(small_bert):
    made = embed([(0, 1.0, "large effusion .")], params=TextParams(weights=str(small_bert)))
    assert made.embeddings.width == 16
    assert "Not known" in made.card["warning"]
    assert str(small_bert.parent) not in json.dumps(made.card)


@pytest.fixture
def any_shape(monkeypatch):
    """Lets a small network stand for bio_clinicalbert."""
    monkeypatch.setitem(TEXT_WEIGHTS, "bio_clinicalbert", replace(TEXT_WEIGHTS["bio_clinicalbert"], shape=None))


def test_another_model_is_not_taken_for_bio_clinicalbert(small_bert):
    params = TextParams(weights="bio_clinicalbert", weights_path=str(small_bert), chunk_tokens=32)
    said = r"hidden size 16, 2 layers and .*'bio_clinicalbert' has hidden size 768, 12 layers and 28,996 words"
    with pytest.raises(WeightsError, match=said):
        embed([(0, 1.0, "effusion")], params=params)


@pytest.mark.usefixtures("any_shape")
def test_bio_clinicalbert_pools_by_its_pooler_in_lower_case_and_warns(small_bert):
    params = TextParams(weights="bio_clinicalbert", weights_path=str(small_bert), chunk_tokens=32)
    made = embed([(0, 1.0, "Effusion"), (1, 1.0, "effusion")], params=params)
    np.testing.assert_array_equal(made.embeddings.values[0, 0], made.embeddings.values[0, 1])
    assert (made.card["pooling"], "MIMIC-III" in made.card["warning"]) == ("pooler", True)
    cased = vectors([(0, 1.0, "Effusion"), (1, 1.0, "effusion")], params=replace(params, lowercase=False))
    assert np.abs(cased[0] - cased[1]).max() > 1e-4


def test_weights_without_a_pooler_are_not_pooled_by_random_numbers(small_bert):
    from safetensors.torch import load_file, save_file

    file = small_bert / "model.safetensors"
    kept = {key: value for key, value in load_file(file).items() if "pooler" not in key}
    save_file(kept, file, metadata={"format": "pt"})
    notes = [(0, 1.0, "no effusion")]
    assert embed(notes, params=TextParams(weights=str(small_bert))).embeddings.present[0, 0]
    with pytest.raises(WeightsError, match="random"):
        embed(notes, params=TextParams(weights=str(small_bert), pooling="pooler"))


@pytest.mark.usefixtures("any_shape")
def test_bio_clinicalbert_is_read_from_the_hubs_cache_in_its_published_form(small_bert, monkeypatch, tmp_path_factory):
    """Published as a pickle of tensors: read by torch's reader that runs no code, and equal to safetensors."""
    import hashlib

    from safetensors.torch import load_file

    from mmn.featurizers.weights import BIO_CLINICALBERT_REVISION

    root = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    blobs = root / "models--emilyalsentzer--Bio_ClinicalBERT" / "blobs"
    snapshot = blobs.parent / "snapshots" / BIO_CLINICALBERT_REVISION
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "vocab.txt"):
        (snapshot / name).write_bytes((small_bert / name).read_bytes())
    torch.save(load_file(small_bert / "model.safetensors"), blobs / "new")
    blob = (blobs / "new").rename(blobs / hashlib.sha256((blobs / "new").read_bytes()).hexdigest())
    (snapshot / "pytorch_model.bin").symlink_to(blob)
    notes = [(0, 1.0, "no large effusion .")]
    cached = embed(notes, params=TextParams(weights="bio_clinicalbert", chunk_tokens=32))
    given = embed(notes, params=TextParams(weights="bio_clinicalbert", weights_path=str(small_bert), chunk_tokens=32))
    np.testing.assert_allclose(cached.embeddings.values[0, 0], given.embeddings.values[0, 0], atol=1e-6)
    said = cached.card["weights"]
    assert (said["sha256"], said["revision"], said["licence"]) == (blob.name, BIO_CLINICALBERT_REVISION, "MIT")
    assert "MIMIC-III" in said["has_seen"] and "revision" not in given.card["weights"]
