"""Pictures, through the real packaged network: sound ones are told apart, unsound ones set aside with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageFile
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torchvision.models import densenet121, resnet18

from mmn.data.cohort import Cohort
from mmn.data.embeddings import check_embeddings
from mmn.data.errors import ContractError
from mmn.data.evidence import ImageEvidence
from mmn.featurizers.image import IMAGE, ImageParams, _efficientnet_lite0, load_network, read_grey
from mmn.featurizers.weights import WeightsError, inference, load_state, resolve_image

CHEST_XRAYS = Path(__file__).parents[2] / ".." / "shared" / "data" / "nih-cxr14-sample" / "images"
QUICK = replace(IMAGE.defaults, image_size=64)


def embed(pictures: list[tuple[int, Path]], num_items: int, params: ImageParams = QUICK):
    names = [f"item{i}" for i in range(num_items)]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    rows = pd.DataFrame([(f"item{item}", str(path)) for item, path in pictures], columns=["item", "path"])
    evidence = ImageEvidence(rows=rows, quarantined={"no picture before the prediction": 4})
    return IMAGE.run(evidence, cohort, "chest_xray", params, lambda done, total: None)


def pattern(seed: int, size: tuple[int, int] = (300, 240)) -> Image.Image:
    """A smooth grey pattern, width by height."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def sound(tmp_path) -> list[Path]:
    paths = [tmp_path / f"sound{i}.jpg" for i in range(5)]
    for i, path in enumerate(paths):
        pattern(i).save(path, quality=95)
    return paths


def test_each_picture_gets_its_own_features_and_an_item_without_one_is_absent(sound):
    made = embed(list(enumerate(sound)), 6)
    assert made.embeddings.values.shape == (1, 6, 1, 1280)
    assert made.embeddings.present[:, 0].tolist() == [True] * 5 + [False]
    assert made.card["quarantined"] == {"no picture before the prediction": 4}
    assert made.card["weights"]["name"] == "efficientnet_lite0"
    assert np.nanstd(made.embeddings.values[0, :, 0], axis=0).max() > 0.1
    check_embeddings(made.embeddings, np.array([f"item{i}" for i in range(6)]), "chest_xray")


def test_batches_change_nothing_and_the_same_run_gives_the_same_bytes(sound):
    pictures = list(enumerate(sound))
    together = embed(pictures, 5).embeddings.values
    alone = embed(pictures, 5, replace(QUICK, batch_size=2)).embeddings.values
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.tobytes() == embed(pictures, 5).embeddings.values.tobytes()


def test_an_item_with_two_pictures_gets_their_mean(sound):
    apart = embed([(0, sound[0]), (1, sound[1])], 2).embeddings.values[0, :, 0]
    joined = embed([(0, sound[0]), (0, sound[1]), (1, sound[2])], 2).embeddings.values[0, 0, 0]
    np.testing.assert_allclose(joined, apart.mean(axis=0), atol=1e-5)


def write_unsound(folder: Path) -> dict[str, Path]:
    """Reason (a part of it) -> file."""
    good = pattern(1)
    good.save(folder / "whole.jpg", quality=95)
    good.save(folder / "whole.png")
    jpeg, png = (folder / "whole.jpg").read_bytes(), (folder / "whole.png").read_bytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "cut.png").write_bytes(png[: len(png) // 2])
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    (folder / "flipped.png").write_bytes(flipped)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"this is no picture")
    good.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(10_000, dtype=np.uint16).reshape(100, 100)).save(folder / "deep.png")
    Image.new("L", (1, 1), 7).save(folder / "dot.png")
    Image.new("L", (100, 100), 7).save(folder / "blank.png")
    Image.new("1", (8_000, 8_000)).save(folder / "bomb.png")
    Image.new("1", (20_000, 20_000)).save(folder / "bigger_bomb.png")
    rotated = good.getexif()
    rotated[0x0112] = 6
    good.save(folder / "rotated.jpg", exif=rotated)
    good.save(folder / "other.gif")
    return {
        "damaged or cut short|cut.jpg": folder / "cut.jpg",
        "damaged or cut short|cut.png": folder / "cut.png",
        "damaged or cut short|flipped": folder / "flipped.png",
        "empty file": folder / "empty.jpg",
        "not a JPEG or PNG file|text": folder / "text.jpg",
        "not a JPEG or PNG file|gif": folder / "other.gif",
        "mode CMYK": folder / "cmyk.jpg",
        "mode I;16": folder / "deep.png",
        "a side below 32 pixels": folder / "dot.png",
        "blank": folder / "blank.png",
        "more than 50,000,000 pixels|1": folder / "bomb.png",
        "more than 50,000,000 pixels|2": folder / "bigger_bomb.png",
        "rotated": folder / "rotated.jpg",
        "no file at the path": folder / "missing.jpg",
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unsound_files_are_set_aside_with_their_reason_and_their_items_are_absent(tmp_path, sound):
    unsound = write_unsound(tmp_path)
    for reason, path in unsound.items():
        found = read_grey(path, 64, QUICK.most_pixels)
        assert isinstance(found, str), path.name
        assert found.startswith(reason.split("|")[0]), path.name
    pictures = [(0, sound[0]), (1, sound[1]), *enumerate(unsound.values(), 2)]
    made = embed(pictures, len(pictures))
    assert made.embeddings.present[:, 0].tolist() == [True, True] + [False] * len(unsound)
    reasons = {key: n for key, n in made.card["quarantined"].items() if "before the prediction" not in key}
    assert sum(reasons.values()) == len(unsound)
    assert reasons["damaged or cut short"] == 3
    alone = embed([(0, sound[0]), (1, sound[1])], 2).embeddings.values[0, :2]
    np.testing.assert_allclose(made.embeddings.values[0, :2], alone, atol=1e-5)


def test_a_cut_file_is_set_aside_even_if_another_library_allowed_half_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert read_grey(write_unsound(tmp_path)["damaged or cut short|cut.jpg"], 64, 10**9) == "damaged or cut short"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_eight_bit_pictures_of_every_mode_read_alike(tmp_path, mode):
    pattern(3).save(tmp_path / "grey.png")
    pattern(3).convert(mode).save(tmp_path / "other.png")
    grey, other = (read_grey(tmp_path / name, 64, 10**9) for name in ("grey.png", "other.png"))
    assert np.abs(grey.astype(int) - other.astype(int)).max() <= 1


def test_reading_a_jpeg_at_a_smaller_scale_is_reading_it_whole(tmp_path):
    pattern(4, (1_600, 1_600)).save(tmp_path / "large.jpg", quality=95)
    whole = Image.open(tmp_path / "large.jpg").convert("L").resize((64, 64), Image.Resampling.BILINEAR)
    assert np.abs(read_grey(tmp_path / "large.jpg", 64, 10**9).astype(int) - np.asarray(whole)).mean() < 1


def test_the_middle_square_is_taken_and_nothing_is_stretched(tmp_path):
    wide = np.zeros((100, 300), dtype=np.uint8)
    wide[:, 100:200] = pattern(5, (100, 100))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert np.abs(read_grey(tmp_path / "wide.png", 100, 10**9).astype(int) - wide[:, 100:200]).max() <= 1


def test_a_network_that_answers_the_same_to_all_is_refused(tmp_path, sound):
    copies = [tmp_path / f"copy{i}.jpg" for i in range(3)]
    for copy in copies:
        copy.write_bytes(sound[0].read_bytes())
    with pytest.raises(ContractError, match="same features for all 3"):
        embed(list(enumerate(copies)), 3)


def test_grey_levels_reach_the_network_on_the_scale_it_was_trained_on():
    """Golden: on two photographs, the variance after the first layer is about what the network's own statistics say.

    On ImageNet's mean and deviation, or on [0, 1], it is not.
    """
    with inference("cpu"):
        features, scale = _efficientnet_lite0(load_state(resolve_image("efficientnet_lite0")), 224, "file")
        network = features.eval().network
        photographs = [Image.fromarray(load_sample_image(name)) for name in ("flower.jpg", "china.jpg")]
        squares = [np.asarray(p.convert("L").crop((106, 0, 533, 427)).resize((224, 224))) for p in photographs]
        grey = torch.from_numpy(np.stack(squares)).float()[:, None]

        def ratio(x: torch.Tensor) -> float:
            return float((network._conv_stem(x).var(dim=(0, 2, 3)) / network._bn0.running_var).median())

        assert 0.5 < ratio(scale(grey)) < 2
        assert ratio((grey / 255).expand(-1, 3, -1, -1)) < 0.5
        assert ratio(((grey / 255 - 0.45) / 0.226).expand(-1, 3, -1, -1)) > 2


def test_the_other_networks_read_their_own_state_from_safetensors(tmp_path, sound):
    torch.manual_seed(0)
    dense = densenet121(num_classes=18)
    dense.features.conv0 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    save_file({**dense.state_dict(), "op_threshs": torch.zeros(18)}, tmp_path / "chex.safetensors")
    save_file(resnet18().state_dict(), tmp_path / "resnet18.safetensors")
    grey = np.stack([read_grey(path, 64, 10**9) for path in sound[:2]])
    for name, file, width in (("densenet121-res224-chex", "chex", 1024), ("resnet18", "resnet18", 512)):
        resolved = resolve_image(name, str(tmp_path / f"{file}.safetensors"))
        with inference("cpu") as device:
            made = load_network(resolved, replace(QUICK, weights=name), device)(grey)
        assert made.shape == (2, width)
        assert np.isfinite(made).all()
    dense.eval()
    with torch.no_grad():
        x = torch.from_numpy(grey).float()[:, None] / 255 * 2048 - 1024
        expected = torch.relu(dense.features(x)).mean(dim=(2, 3)).numpy()
    resolved = resolve_image("densenet121-res224-chex", str(tmp_path / "chex.safetensors"))
    with inference("cpu") as device:
        made = load_network(resolved, replace(QUICK, weights="densenet121-res224-chex"), device)(grey)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-4)


def test_another_networks_tensors_are_refused(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "resnet18.safetensors")
    resolved = resolve_image("resnet18", str(tmp_path / "resnet18.safetensors"))
    with pytest.raises(WeightsError, match="not those of this network"), inference("cpu") as device:
        load_network(resolved, QUICK, device)


def test_impossible_requests_are_refused_and_no_picture_leaves_everyone_absent(sound):
    with pytest.raises(ValueError, match="batch_size"):
        ImageParams(batch_size=0)
    with pytest.raises(ContractError, match="1 of 1 pictures"):
        embed([(9, sound[0])], 2)
    assert not embed([], 2).embeddings.present.any()


@pytest.mark.skipif(not CHEST_XRAYS.is_dir(), reason="the NIH chest X-ray sample is not beside the repository")
def test_real_chest_xrays_are_all_read_and_told_apart():
    paths = sorted(CHEST_XRAYS.glob("*.png"))[:24]
    made = embed(list(enumerate(paths)), len(paths), replace(IMAGE.defaults, image_size=128))
    values = made.embeddings.values[0, :, 0]
    assert made.embeddings.present.all()
    assert (values.std(axis=0) > 1e-3).mean() > 0.5
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    likeness = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    assert likeness.max() < 0.999
