"""The networks hold the weights that were meant, wired as published, and see grey levels on the scale they learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torchvision.models import densenet121, resnet18

from mmn.data.cohort import Cohort
from mmn.data.errors import ContractError
from mmn.data.evidence import ImageEvidence
from mmn.featurizers import image_networks
from mmn.featurizers.image import IMAGE
from mmn.featurizers.image_networks import FINDINGS, Findings, _efficientnet_lite0, load_findings, load_network
from mmn.featurizers.shards import NOWHERE, Shards
from mmn.featurizers.weights import IMAGE_WEIGHTS, WeightsError, inference, load_state, resolve_image

CHEX = "densenet121-res224-chex"
NAN = float("nan")
# torchxrayvision 1.5.7, models.py, model_urls["densenet121-res224-chex"]["op_threshs"].
CHEX_THRESHOLDS = [
    0.1988969, 0.05710573, NAN, 0.0531293, 0.1435217, NAN, NAN, 0.27212676, 0.07749717, NAN, 0.19712369, NAN, NAN, NAN,
    0.09932402, 0.09273402, 0.3270967, 0.10888247,
]  # fmt: skip
UNTRAINED = [2, 5, 6, 9, 11, 12, 13]


def xrv_layout() -> torch.nn.Module:
    network = densenet121(num_classes=18)
    network.features.conv0 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network


def made_up_state() -> dict[str, torch.Tensor]:
    """Numbers for each tensor of torchxrayvision's DenseNet, by its name's place in the alphabet."""
    state = {}
    for number, (key, tensor) in enumerate(sorted(xrv_layout().state_dict().items())):
        noise = np.random.RandomState(number).standard_normal(tuple(tensor.shape))
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(1)
            continue
        if key.endswith("running_var"):
            value = 0.5 + 0.5 * noise**2
        elif ".norm" in key and key.endswith("weight"):
            value = 1 + 0.1 * noise
        elif key.endswith(("bias", "running_mean")):
            value = 0.1 * noise
        else:
            value = noise * np.sqrt(2 / np.prod(noise.shape[1:])) / (1024 if "conv0" in key else 1)
        state[key] = torch.from_numpy(value.astype(np.float32))
    return state


@pytest.fixture(scope="module")
def chex(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "chex.safetensors"
    save_file({**made_up_state(), "op_threshs": torch.tensor(CHEX_THRESHOLDS)}, file)
    return file


def two_pictures() -> np.ndarray:
    y, x = np.mgrid[0:224, 0:224]
    waves = 127 + 120 * np.sin(x / 9) * np.cos(y / 17), 127 + 100 * np.sin((x + y) / 23)
    return np.stack(waves).astype(np.uint8)


def encode(name: str, path: str, grey: np.ndarray) -> np.ndarray:
    with inference("cpu") as device:
        return load_network(resolve_image(name, path), grey.shape[1], "float32", device)(grey)


def embed(paths: list[Path], params, shards: Shards = NOWHERE, weights=None):
    names = [f"item{i}" for i in range(len(paths))]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    rows = pd.DataFrame({"item": names, "path": [str(path) for path in paths], "source": [path.name for path in paths]})
    evidence = ImageEvidence(rows=rows.assign(weight=1.0 if weights is None else weights))
    return IMAGE.run(evidence, cohort, "chest_xray", params, lambda *_: None, shards=shards)


# Golden: torchxrayvision's own DenseNet (1.5.7), filled with made_up_state(), on two_pictures()


def test_features_are_those_of_torchxrayvisions_own_network(chex):
    made = encode(CHEX, str(chex), two_pictures())
    assert made.shape == (2, 1024)
    expected = [
        [4.87305, 5.54825, 0.02217, 0.0, 6.58104, 0.21000],
        [5.60872, 6.31202, 0.00815, 0.0, 7.58285, 0.48611],
    ]
    np.testing.assert_allclose(made[:, :6], expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(made.sum(axis=1), [2540.636, 2846.032], rtol=1e-5)


def test_findings_are_those_of_torchxrayvisions_own_network(chex):
    made = load_findings(resolve_image(CHEX, str(chex))).probabilities(encode(CHEX, str(chex), two_pictures()))
    expected = [
        0.99667, 0.89312, 0.5, 0.36139, 0.97187, 0.5, 0.5, 0.87018, 1.0, 0.5, 1.0, 0.5, 0.5, 0.5, 0.99983, 0.99998,
        0.02761, 0.79068,
    ]  # fmt: skip
    np.testing.assert_allclose(made[0], expected, atol=1e-4)


def test_the_calibration_is_worked_by_hand():
    """Threshold 0.2: p = 0.1 is 0.1 / 0.4; p = 0.6 is 1 - 0.4 / 1.6; p = 0.2 is 0.5 from either side. NaN: 0.5."""
    logit = np.log(np.array([0.1, 0.6, 0.2, 0.9]) / (1 - np.array([0.1, 0.6, 0.2, 0.9])))
    findings = Findings(weight=np.eye(4), bias=np.zeros(4), threshold=np.array([0.2, 0.2, 0.2, NAN]))
    np.testing.assert_allclose(findings.probabilities(logit[None]), [[0.25, 0.75, 0.5, 0.5]], atol=1e-6)


def test_the_chexpert_network_was_never_trained_on_seven_findings(chex):
    findings = load_findings(resolve_image(CHEX, str(chex)))
    assert np.flatnonzero(~findings.trained).tolist() == UNTRAINED
    assert len(FINDINGS) == 18 and FINDINGS[10] == "Cardiomegaly" and FINDINGS[17] == "Enlarged Cardiomediastinum"


MIMIC_CH = "densenet121-res224-mimic_ch"


@pytest.mark.parametrize(
    ("held", "named", "said"),
    [(MIMIC_CH, CHEX, f"not those of '{CHEX}' but of '{MIMIC_CH}'"), (CHEX, MIMIC_CH, f"but of '{CHEX}'"),
     (None, CHEX, f"not those of '{CHEX}'\\. ")],
)  # fmt: skip
def test_weights_of_torchxrayvision_are_not_taken_for_those_of_another_name(tmp_path, held, named, said):
    """They have the same tensors, and most the same untrained findings; their operating points tell them apart. A card
    that named another network would not warn that it has seen MIMIC."""
    thresholds = torch.tensor(IMAGE_WEIGHTS[held].thresholds) if held else torch.full((18,), 0.1)
    file = tmp_path / "other.safetensors"
    save_file({**xrv_layout().state_dict(), "op_threshs": thresholds}, file)
    with pytest.raises(WeightsError, match=said):
        load_findings(resolve_image(named, str(file)))
    with pytest.raises(WeightsError, match="holds other weights"):
        encode(named, str(file), two_pictures()[:, :64, :64].copy())
    if held:
        assert len(load_findings(resolve_image(held, str(file))).threshold) == 18


def test_no_two_networks_have_the_same_operating_points():
    known = [np.nan_to_num(weights.thresholds) for weights in IMAGE_WEIGHTS.values() if weights.thresholds]
    assert len(known) == 4 == len(np.unique(np.stack(known), axis=0))
    np.testing.assert_array_equal(IMAGE_WEIGHTS[CHEX].thresholds, CHEX_THRESHOLDS)


# Through the featurizer


@pytest.fixture
def files(tmp_path) -> list[Path]:
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, path in enumerate(paths):
        coarse = np.random.RandomState(i).randint(0, 256, (6, 6)).astype(np.uint8)
        Image.fromarray(coarse).resize((300, 260), Image.Resampling.BICUBIC).save(path, quality=95)
    return paths


def test_clean_names_the_findings_it_was_trained_on_and_haim_all_eighteen(chex, files):
    params = replace(IMAGE.defaults, weights=CHEX, weights_path=str(chex), output="findings")
    clean, haim = embed(files, params), embed(files, replace(params, mode="haim"))
    assert clean.embeddings.names == tuple(name for i, name in enumerate(FINDINGS) if i not in UNTRAINED)
    assert haim.embeddings.names == FINDINGS
    values = haim.embeddings.values[0, :, 0]
    assert (values[:, UNTRAINED] == 0.5).all() and ((values >= 0) & (values <= 1)).all()
    assert clean.embeddings.width == 11


def test_features_and_findings_share_what_is_kept(chex, files, tmp_path, monkeypatch):
    params = replace(IMAGE.defaults, weights=CHEX, weights_path=str(chex), image_size=64)
    shards = Shards(tmp_path / "shards")
    embed(files, params, shards)
    monkeypatch.setattr("mmn.featurizers.image.read_grey", lambda *_, **__: pytest.fail("a picture was read again"))
    assert embed(files, replace(params, output="findings"), shards).embeddings.width == 11


def test_in_haim_an_item_whose_weights_are_all_zero_is_zeros_and_present(chex, files):
    params = replace(IMAGE.defaults, weights=CHEX, weights_path=str(chex), mode="haim")
    made = embed(files, params, weights=[1.0, 0.0, 1.0])
    assert made.embeddings.present.all()
    assert not made.embeddings.values[0, 1].any() and made.embeddings.values[0, 0].any()


def test_grey_levels_on_the_wrong_scale_are_caught_by_the_variance_gate(files, tmp_path, monkeypatch):
    """torchxrayvision#89: fed [0, 1], a network that learnt [-1024, 1024] answers the same to every picture."""
    torch.manual_seed(0)
    network = xrv_layout()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    noise = torch.nn.functional.interpolate(torch.rand(4, 1, 8, 8), (64, 64), mode="bilinear")
    with torch.no_grad():
        network.train()(noise * 2048 - 1024)
    save_file({**network.state_dict(), "op_threshs": torch.tensor(CHEX_THRESHOLDS)}, tmp_path / "learnt.safetensors")
    params = replace(IMAGE.defaults, weights=CHEX, weights_path=str(tmp_path / "learnt.safetensors"), image_size=64)
    assert embed(files, params).embeddings.present.all()
    build = image_networks._NETWORKS["densenet121-xrv"]
    wrong = {"densenet121-xrv": lambda *arguments: (build(*arguments)[0], lambda grey: grey / 255.0)}
    monkeypatch.setattr(image_networks, "_NETWORKS", wrong)
    with pytest.raises(ContractError, match="scale that it was not trained on"):
        embed(files, params)


# Other networks, other files


def test_efficientnets_grey_levels_are_on_the_scale_it_was_trained_on():
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


def test_resnet_reads_its_own_state_from_safetensors(tmp_path):
    torch.manual_seed(0)
    network = resnet18()
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    grey = two_pictures()[:, :64, :64].copy()
    x = torch.from_numpy(grey).float()[:, None].expand(-1, 3, -1, -1) / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        expected = torch.nn.Sequential(*list(network.eval().children())[:-1])(x)[..., 0, 0].numpy()
    made = encode("resnet18", str(tmp_path / "resnet18.safetensors"), grey)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("change", ["renamed", "missing classifier", "extra", "another network"])
def test_tensors_that_are_not_exactly_this_networks_are_refused(tmp_path, change):
    state = xrv_layout().state_dict()
    if change == "renamed":
        state["features.conv_0.weight"] = state.pop("features.conv0.weight")
    elif change == "missing classifier":
        del state["classifier.weight"], state["classifier.bias"]
    elif change == "extra":
        state["features.more"] = torch.zeros(1)
    else:
        state = {"weight": torch.zeros(3)}
    save_file(state, tmp_path / "chex.safetensors")
    with pytest.raises(WeightsError, match="not those of this network"):
        encode(CHEX, str(tmp_path / "chex.safetensors"), two_pictures())


def test_a_file_without_operating_points_gives_features_but_no_findings_and_is_said_to_be_of_unknown_origin(
    tmp_path, chex, files
):
    save_file(xrv_layout().state_dict(), tmp_path / "chex.safetensors")
    params = replace(IMAGE.defaults, weights=CHEX, image_size=64)
    made = embed(files, replace(params, weights_path=str(tmp_path / "chex.safetensors")))
    assert made.embeddings.width == 1024 and "Not known to be the weights of that name" in made.card["warning"]
    assert "warning" not in embed(files, replace(params, weights_path=str(chex))).card
    with pytest.raises(WeightsError, match="operating points"):
        load_findings(resolve_image(CHEX, str(tmp_path / "chex.safetensors")))


def test_a_card_warns_of_weights_that_have_seen_mimic_and_only_of_those():
    warned = {name for name, weights in IMAGE_WEIGHTS.items() if "MIMIC" in weights.has_seen}
    assert warned == {f"densenet121-res224-{name}" for name in ("all", "mimic_ch", "mimic_nb")}
    assert "CheXpert" in IMAGE_WEIGHTS[CHEX].licence


@pytest.mark.parametrize("name", [CHEX, "densenet121-res224-all", "densenet121-res224-mimic_ch"])
def test_torchxrayvisions_own_download_is_named_and_never_opened(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = {CHEX: "chex", "densenet121-res224-all": "nih-pc-chex-mimic_ch-google-openi-kaggle"}.get(name, "mimic_ch")
    download = tmp_path / ".torchxrayvision/models_data" / f"{file}-densenet121-d121-tw-lr001-seed0-best.pt"
    with pytest.raises(WeightsError, match=rf"python -c .*weights='{name}'.*set weights_path to {name}.safetensors"):
        resolve_image(name)
    download.parent.mkdir(parents=True)
    download.write_bytes(b"a pickle")
    with pytest.raises(WeightsError, match=rf"{file}-densenet121.*is a pickle, which can run code, and is not opened"):
        resolve_image(name)
