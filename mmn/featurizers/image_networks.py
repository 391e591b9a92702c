"""The image networks, filled with their weights: grey squares to pooled features, and features to findings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmn.featurizers.weights import IMAGE_WEIGHTS, Precision, Resolved, WeightsError, load_state

if TYPE_CHECKING:
    import torch

Encode = Callable[[np.ndarray], np.ndarray]

THRESHOLDS = "op_threshs"
# The order of torchxrayvision's outputs, the same for all its DenseNets.
FINDINGS = (
    "Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion",
    "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture",
    "Lung Opacity", "Enlarged Cardiomediastinum",
)  # fmt: skip


def load_network(resolved: Resolved, image_size: int, dtype: Precision, device: torch.device) -> Encode:
    """A function from uint8 (B, size, size) to float32 (B, width), which several threads may call at once."""
    import torch

    precision = getattr(torch, dtype)
    state = load_state(resolved)
    features, scale = _NETWORKS[resolved.weights.network](state, image_size, str(resolved.file))
    _check_thresholds(resolved, state)
    features = features.eval().to(device=device, dtype=precision, memory_format=torch.channels_last)
    turn: Any = threading.Lock() if device.type == "cuda" else nullcontext()

    def encode(grey_BHW: np.ndarray) -> np.ndarray:
        grey = torch.from_numpy(grey_BHW)
        # The mode of inference is a thread's own. One batch at a time is on the GPU; the other threads read meanwhile.
        with torch.inference_mode(), turn:
            if device.type == "cuda":
                grey = grey.pin_memory().to(device, non_blocking=True)
            x_BCHW = scale(grey.float()[:, None]).to(dtype=precision).contiguous(memory_format=torch.channels_last)
            return features(x_BCHW).float().mean(dim=(2, 3)).cpu().numpy()

    return encode


@dataclass(frozen=True)
class Findings:
    """torchxrayvision's last layer and calibration. weight: (18, 1024); bias, threshold: (18,), NaN = never trained."""

    weight: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray

    @property
    def trained(self) -> np.ndarray:
        """(18,) bool. The others answer 0.5 to every picture."""
        return ~np.isnan(self.threshold)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """float32 (P, 18): sigmoid, then the operating point is moved to 0.5, linearly on either side of it."""
        from scipy.special import expit

        chance = expit(features @ self.weight.T + self.bias)
        point = np.where(self.trained, self.threshold, 0.5)
        below, above = chance / (2 * point), 1 - (1 - chance) / (2 * (1 - point))
        return np.where(self.trained, np.where(chance < point, below, above), 0.5).astype(np.float32)


def load_findings(resolved: Resolved) -> Findings:
    """Raises WeightsError where the network names no findings, or its file lacks the operating points."""
    if resolved.weights.network != "densenet121-xrv":
        raise WeightsError(
            f"'{resolved.weights.name}' names no findings. Set `output: features`, or weights of torchxrayvision "
            "such as densenet121-res224-chex."
        )
    state = load_state(resolved)
    parts = [state.get(key) for key in ("classifier.weight", "classifier.bias", THRESHOLDS)]
    if [part.shape[0] if part is not None else 0 for part in parts] != [len(FINDINGS)] * 3:
        raise WeightsError(
            f"{resolved.file}: has no last layer with {len(FINDINGS)} findings and their operating points "
            f"(`{THRESHOLDS}`). Save the state_dict of torchxrayvision's network made with weights=...; it holds both."
        )
    _check_thresholds(resolved, state)
    weight, bias, threshold = (part.numpy() for part in parts if part is not None)
    return Findings(weight=weight, bias=bias, threshold=threshold)


def unknown_origin(resolved: Resolved) -> str:
    """What is to be said of a file that could be another network of the same shape; "" where that is ruled out."""
    if resolved.weights.thresholds is None or THRESHOLDS in load_state(resolved):
        return ""
    return (
        "Not known to be the weights of that name: the file has no operating points, by which torchxrayvision's "
        "networks are told apart, and some of these have seen MIMIC-CXR."
    )


def _check_thresholds(resolved: Resolved, state: dict[str, Any]) -> None:
    """Raises WeightsError where the operating points are another network's.

    torchxrayvision's networks have the same tensors, whatever they were trained on; this tells them apart.
    """
    known, found = resolved.weights.thresholds, state.get(THRESHOLDS)
    if known is None or found is None or _same(found, known):
        return
    others = [
        weights.name for weights in IMAGE_WEIGHTS.values() if weights.thresholds and _same(found, weights.thresholds)
    ]
    raise WeightsError(
        f"{resolved.file}: its operating points are not those of '{resolved.weights.name}'"
        + (f" but of '{others[0]}'" if others else "")
        + ". The file holds other weights: give the right file, or name those it holds."
    )


def _same(found: torch.Tensor, known: tuple[float, ...]) -> bool:
    values = found.float().numpy()
    return values.shape == (len(known),) and np.allclose(values, known, rtol=1e-5, atol=0, equal_nan=True)


def _efficientnet_lite0(state: dict[str, Any], size: int, file: str) -> tuple[Any, Callable[[Any], Any]]:
    """The TensorFlow original was trained on (x - 127) / 128; the statistics of its first layer on photographs agree
    with that, not with the ImageNet mean and deviation that the package's text repeats from another network."""
    from efficientnet_lite_pytorch import EfficientNet
    from torch import nn

    network = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    _fill(network, state, file)

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network.extract_features(x)

    return Features(), lambda grey: ((grey - 127.0) / 128.0).expand(-1, 3, -1, -1)


def _densenet121_xrv(state: dict[str, Any], size: int, file: str) -> tuple[Any, Callable[[Any], Any]]:
    """torchxrayvision's network is torchvision's DenseNet-121 with one input channel; [-1024, 1024] is its scale."""
    from torch import nn
    from torchvision.models import densenet121

    network = densenet121(num_classes=len(FINDINGS))
    network.features.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    _fill(network, {key: value for key, value in state.items() if key != THRESHOLDS}, file)
    return nn.Sequential(_lightened(network.features.eval()), nn.ReLU()), lambda grey: (grey / 255 * 2 - 1) * 1024


def _lightened(features: Any) -> Any:
    """The same function at 12 % less time: a mean over four pixels is taken before the 1x1 convolution that follows it
    and not after, and a norm that stands right behind a convolution is folded into it."""
    from torch import nn
    from torch.nn.utils import fuse_conv_bn_eval

    features.conv0, features.norm0 = fuse_conv_bn_eval(features.conv0, features.norm0), nn.Identity()
    for name, part in features.named_children():
        if name.startswith("transition"):
            setattr(features, name, nn.Sequential(part.norm, part.relu, part.pool, part.conv))
        elif name.startswith("denseblock"):
            for layer in part.children():
                layer.conv1, layer.norm2 = fuse_conv_bn_eval(layer.conv1, layer.norm2), nn.Identity()
    return features


def _resnet18(state: dict[str, Any], size: int, file: str) -> tuple[Any, Callable[[Any], Any]]:
    import torch
    from torch import nn
    from torchvision.models import resnet18

    network = resnet18()
    _fill(network, state, file)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

    def scale(grey):
        return (grey / 255.0 - mean.to(grey.device)) / deviation.to(grey.device)

    return nn.Sequential(*list(network.children())[:-2]), scale


_NETWORKS = {
    "efficientnet-lite0": _efficientnet_lite0,
    "densenet121-xrv": _densenet121_xrv,
    "resnet18": _resnet18,
}


def _fill(network: Any, state: dict[str, Any], file: str) -> None:
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{file}: its tensors are not those of this network. Give the file that was made for these weights."
        ) from error
