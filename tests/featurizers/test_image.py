"""Pictures to vectors: sound ones are told apart, unsound ones set aside, and a killed run goes on where it stopped."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmn.data.cohort import Cohort
from mmn.data.embeddings import check_embeddings
from mmn.data.errors import ContractError
from mmn.data.evidence import ImageEvidence
from mmn.featurizers import image, image_precision, image_stream
from mmn.featurizers.image import IMAGE, ImageParams
from mmn.featurizers.image_stream import _in_order
from mmn.featurizers.shards import NOWHERE, Shards
from mmn.featurizers.weights import WeightsError

CHEST_XRAYS = Path(__file__).parents[2] / ".." / "shared" / "data" / "nih-cxr14-sample" / "images"
QUICK = replace(IMAGE.defaults, image_size=64)


def embed(pictures, num_items: int, params: ImageParams = QUICK, shards: Shards = NOWHERE, progress=lambda *_: None):
    """pictures: (item, path) or (item, path, weight)."""
    names = [f"item{i}" for i in range(num_items)]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    rows = pd.DataFrame(
        [(f"item{item}", str(path), path.name, *(weight or (1.0,))) for item, path, *weight in pictures],
        columns=["item", "path", "source", "weight"],
    )
    aside = pd.DataFrame({"item": ["item0"], "source": ["gone.jpg"], "reason": ["no picture"]})
    evidence = ImageEvidence(rows=rows, quarantined={"no picture": 1}, set_aside=aside)
    return IMAGE.run(evidence, cohort, "chest_xray", params, progress, shards=shards)


def vectors(made) -> np.ndarray:
    return made.embeddings.values[0, :, 0]


def pattern(seed: int) -> Image.Image:
    coarse = np.random.RandomState(seed).randint(0, 256, (6, 6)).astype(np.uint8)
    return Image.fromarray(coarse).resize((100, 80), Image.Resampling.BICUBIC)


@pytest.fixture
def sound(tmp_path) -> list[Path]:
    paths = [tmp_path / f"sound{i}.jpg" for i in range(5)]
    for i, path in enumerate(paths):
        pattern(i).save(path, quality=95)
    return paths


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """The size of each batch that reached the network, in any order."""
    sizes: list[int] = []
    load = image.load_network

    def counting(*arguments):
        encode = load(*arguments)
        return lambda grey: sizes.append(len(grey)) or encode(grey)

    monkeypatch.setattr(image, "load_network", counting)
    return sizes


# One vector per item


def test_each_picture_gets_its_own_features_and_an_item_without_one_is_absent(sound):
    made = embed(list(enumerate(sound)), 6)
    assert made.embeddings.values.shape == (1, 6, 1, 1280)
    assert made.embeddings.present[:, 0].tolist() == [True] * 5 + [False]
    assert made.card["weights"]["name"] == "efficientnet_lite0"
    assert np.nanstd(vectors(made), axis=0).max() > 0.1
    check_embeddings(made.embeddings, np.array([f"item{i}" for i in range(6)]), "chest_xray")


def test_batches_change_nothing_and_the_same_run_gives_the_same_bytes(sound, monkeypatch):
    pictures = list(enumerate(sound))
    together = vectors(embed(pictures, 5))
    np.testing.assert_allclose(together, vectors(embed(pictures, 5, replace(QUICK, batch_size=1))), atol=1e-5)
    for threads in (1, 2, 5):
        monkeypatch.setattr(image_stream, "num_cores", lambda threads=threads: threads)
        assert vectors(embed(pictures, 5)).tobytes() == together.tobytes()


def test_an_items_vector_is_the_mean_of_its_pictures_by_weight(sound):
    a, b, c = vectors(embed(list(enumerate(sound[:3])), 3))
    made = vectors(embed([(0, sound[0]), (0, sound[1]), (1, sound[0], 3.0), (1, sound[1], 1.0), (2, sound[2])], 3))
    np.testing.assert_allclose(made, [(a + b) / 2, (3 * a + b) / 4, c], rtol=1e-5, atol=1e-6)
    history = vectors(embed([(0, sound[0], 1.0), (0, sound[1], 0.5), (0, sound[2], 0.0)], 1))
    np.testing.assert_allclose(history[0], (2 * a + b) / 3, rtol=1e-5, atol=1e-6)


def test_where_only_pictures_of_weight_zero_are_left_they_count_alike(sound, tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    a, b = vectors(embed(list(enumerate(sound[:2])), 2))
    made = embed([(0, sound[0], 0.0), (0, sound[1], 0.0), (0, tmp_path / "empty.jpg", 1.0)], 1)
    np.testing.assert_allclose(vectors(made)[0], (a + b) / 2, rtol=1e-5, atol=1e-6)


def test_unsound_files_are_set_aside_with_their_reason_and_their_items_are_absent(tmp_path, sound):
    whole = sound[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    Image.new("L", (100, 100), 7).save(tmp_path / "blank.png")
    unsound = [tmp_path / name for name in ("cut.jpg", "empty.jpg", "blank.png", "none.jpg")]
    made = embed([(0, sound[0]), (1, sound[1]), *enumerate(unsound, 2), (1, unsound[0])], 6)
    assert made.embeddings.present[:, 0].tolist() == [True, True, False, False, False, False]
    np.testing.assert_allclose(vectors(made)[:2], vectors(embed(list(enumerate(sound[:2])), 2)), atol=1e-5)
    cut, blank = "image damaged or cut short", "blank: one grey level throughout"
    assert made.set_aside.to_numpy().tolist() == [
        ["item0", "gone.jpg", "no picture"],
        ["item2", "cut.jpg", cut], ["item3", "empty.jpg", "image empty"], ["item4", "blank.png", blank],
        ["item5", "none.jpg", "image missing"], ["item1", "cut.jpg", cut],
    ]  # fmt: skip
    assert made.card["quarantined"] == {"no picture": 1, cut: 2, "image empty": 1, blank: 1, "image missing": 1}


def test_impossible_requests_are_refused_and_no_picture_leaves_everyone_absent(sound):
    with pytest.raises(ValueError, match="batch_size"):
        ImageParams(batch_size=0)
    with pytest.raises(ContractError, match="1 of 1 pictures name no item"):
        embed([(9, sound[0])], 2)
    for weight in (np.nan, -1.0):
        with pytest.raises(ContractError, match="1 of 2 pictures have a weight"):
            embed([(0, sound[0]), (1, sound[1], weight)], 2)
    assert not embed([], 2).embeddings.present.any()


def test_a_network_that_answers_the_same_to_all_is_refused(tmp_path, sound):
    copies = [tmp_path / f"copy{i}.jpg" for i in range(3)]
    for copy in copies:
        copy.write_bytes(sound[0].read_bytes())
    with pytest.raises(ContractError, match="same features for all 3"):
        embed(list(enumerate(copies)), 3)


def test_modes_and_outputs_that_the_weights_do_not_have_are_refused(sound):
    with pytest.raises(WeightsError, match=r"mode haim.*densenet121-res224-chex.*or `mode: clean`"):
        embed([(0, sound[0])], 1, replace(IMAGE.defaults, mode="haim"))
    with pytest.raises(WeightsError, match=r"'efficientnet_lite0' names no findings"):
        embed([(0, sound[0])], 1, replace(QUICK, output="findings"))


# Kept shards


def test_what_is_kept_is_not_computed_again_and_the_bytes_are_the_same(sound, tmp_path, monkeypatch, encoded):
    monkeypatch.setattr(image_stream, "PICTURES_PER_SHARD", 2)
    (tmp_path / "empty.jpg").write_bytes(b"")
    pictures = [*enumerate(sound), (5, tmp_path / "empty.jpg")]
    plain = embed(pictures, 6)
    shards, seen = Shards(tmp_path / "shards"), []
    first = embed(pictures, 6, shards=shards)
    assert sum(encoded) == 10
    second = embed(pictures, 6, shards=shards, progress=lambda done, total: seen.append((done, total)))
    assert sum(encoded) == 10 and seen == [(2, 6), (4, 6), (6, 6)]
    for made in (first, second):
        assert vectors(made).tobytes() == vectors(plain).tobytes()
        assert made.card == plain.card
        pd.testing.assert_frame_equal(made.set_aside, plain.set_aside)


def test_a_shard_is_known_by_its_files_bytes_and_by_what_decides_its_features(sound, tmp_path, monkeypatch, encoded):
    monkeypatch.setattr(image_stream, "PICTURES_PER_SHARD", 2)
    shards, pictures = Shards(tmp_path / "shards"), list(enumerate(sound[:4]))
    embed(pictures, 4, shards=shards)
    assert sum(encoded) == 4
    copies = [tmp_path / f"copy{i}.jpg" for i in range(4)]
    for source, copy in zip(sound, copies, strict=False):
        copy.write_bytes(source.read_bytes())
    embed(list(enumerate(copies)), 4, shards=shards)
    assert sum(encoded) == 4, "the same pictures under other names"
    pattern(77).save(sound[3], quality=95)
    embed(pictures, 4, shards=shards)
    assert sum(encoded) == 6, "one picture changed: its shard alone"
    for number, other in enumerate(({"image_size": 96}, {"batch_size": 1}, {"most_pixels": 10**6}), 1):
        embed(pictures, 4, replace(QUICK, **other), shards)
        assert sum(encoded) == 6 + 4 * number


def test_a_damaged_shard_is_made_again(sound, tmp_path, encoded):
    shards, pictures = Shards(tmp_path / "shards"), list(enumerate(sound))
    plain = embed(pictures, 5, shards=shards)
    file = next(shards.folder.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-5])
    assert vectors(embed(pictures, 5, shards=shards)).tobytes() == vectors(plain).tobytes()
    assert sum(encoded) == 10


def test_a_killed_run_goes_on_where_it_stopped_and_ends_in_the_same_bytes(tmp_path, monkeypatch, encoded):
    paths = [tmp_path / f"picture{i:02}.jpg" for i in range(18)]
    for i, path in enumerate(paths):
        pattern(i).save(path, quality=95)
    code = f"""
        import os, signal, sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}]
        import test_image as room
        from mmn.featurizers import image_stream
        from mmn.featurizers.shards import Shards
        image_stream.PICTURES_PER_SHARD = 4
        def progress(done, total):
            if done >= 8:
                os.kill(os.getpid(), signal.SIGKILL)
        folder = room.Path({str(tmp_path)!r})
        pictures = list(enumerate(sorted(folder.glob("*.jpg"))))
        room.embed(pictures, 18, shards=Shards(folder / "shards"), progress=progress)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    monkeypatch.setattr(image_stream, "PICTURES_PER_SHARD", 4)
    pictures = list(enumerate(paths))
    resumed = embed(pictures, 18, shards=Shards(tmp_path / "shards"))
    assert sum(encoded) == 10, "two shards of four were done"
    whole = embed(pictures, 18)
    assert vectors(resumed).tobytes() == vectors(whole).tobytes()
    assert resumed.card == whole.card


def test_no_more_pictures_are_under_way_than_the_threads_can_use():
    from concurrent.futures import ThreadPoolExecutor

    drawn: list[int] = []
    inputs = (drawn.append(number) or number for number in range(500))
    with ThreadPoolExecutor(3) as pool:
        for taken, (value, result) in enumerate(_in_order(pool, lambda x: x * 2, inputs, ahead=6)):
            assert (value, result) == (taken, 2 * taken)
            assert len(drawn) - taken <= 6
    assert len(drawn) == 500


# bfloat16


def test_bfloat16_that_strays_from_float32_is_refused_with_the_numbers(sound):
    """EfficientNet-Lite0's own weights do, by a fifth of the spread between pictures."""
    with pytest.raises(ContractError, match=r"first 5 pictures bfloat16 differs .* by 0\.\d+.*`dtype: float32`"):
        embed(list(enumerate(sound)), 5, replace(QUICK, dtype="bfloat16"))


def test_the_difference_is_measured_once_and_told_by_the_card(sound, tmp_path, monkeypatch, encoded):
    monkeypatch.setattr(image_precision, "TOLERANCE", 1.0)
    shards, params = Shards(tmp_path / "shards"), replace(QUICK, dtype="bfloat16")
    made = embed(list(enumerate(sound)), 5, params, shards)
    told = made.card["bfloat16 against float32"]
    assert told["pictures"] == 5 and 0 < told["error"] < 1 and 0.9 < told["lowest cosine"] < 1
    assert sum(encoded) == 10, "each picture once in both"
    again = embed(list(enumerate(sound)), 5, params, shards)
    assert sum(encoded) == 10 and again.card == made.card
    exact = embed(list(enumerate(sound)), 5)
    assert "bfloat16 against float32" not in exact.card
    difference = np.linalg.norm(vectors(made) - vectors(exact))
    spread = np.linalg.norm(vectors(exact) - vectors(exact).mean(axis=0))
    assert told["error"] == pytest.approx(difference / spread, rel=1e-3)


@pytest.mark.skipif(not CHEST_XRAYS.is_dir(), reason="the NIH chest X-ray sample is not beside the repository")
def test_real_chest_xrays_are_all_read_and_told_apart():
    paths = sorted(CHEST_XRAYS.glob("*.png"))[:24]
    made = embed(list(enumerate(paths)), len(paths), replace(IMAGE.defaults, image_size=128))
    values = vectors(made)
    assert made.embeddings.present.all()
    assert (values.std(axis=0) > 1e-3).mean() > 0.5
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    likeness = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    assert likeness.max() < 0.999


def test_the_benchmark_compares_ways_that_give_the_same(tmp_path, monkeypatch):
    from benchmarks import images

    monkeypatch.setattr(images, "SIDE", 64)
    ways = images.compare(2, 1, (300, 240), "cpu", tmp_path)["ways"]
    assert {"reading: naive: decoded whole", "network: naive", "both: naive"} <= set(ways)
    assert all(way["cosine"] > 0.999 for way in ways.values() if way["cosine"] is not None)
    assert all(way["ratio"] > 0 and way["images/s"] > 0 for way in ways.values())
