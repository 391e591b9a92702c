"""Pictures to one vector per item: the pooled features of a pretrained convolutional network.

Each file is read once as grey levels; its centre square is resized to the network's input. A file that cannot be read
as it should is set aside with the reason, and its item is absent if it had no other.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError
from mmn.data.evidence import ImageEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.weights import (
    Device,
    Precision,
    Resolved,
    WeightsError,
    inference,
    load_state,
    resolve_image,
)

if TYPE_CHECKING:
    import torch

FORMATS = ("JPEG", "PNG")
MODES = ("L", "LA", "RGB", "RGBA", "P", "1")
SMALLEST_SIDE = 32
_EXIF_ORIENTATION = 0x0112
_DECODERS = 2


@dataclass(frozen=True, kw_only=True)
class ImageParams:
    """weights: "efficientnet_lite0" (1280 features), "densenet121-res224-chex" (1024) or "resnet18" (512), the last two
    with weights_path, a safetensors file. image_size: side of the network's input; 128 costs a third of 224.
    batch_size: None is 1 on a processor, where larger batches leave its cache and are slower, and 64 on a GPU.
    dtype: "bfloat16" is about twice as fast where the processor has it. most_pixels: larger files are set aside.
    """

    weights: str = "efficientnet_lite0"
    weights_path: str = ""
    image_size: int = 224
    batch_size: int | None = None
    dtype: Precision = "float32"
    device: Device = "auto"
    most_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        if self.image_size < SMALLEST_SIDE:
            raise ValueError(f"image_size is {self.image_size}; at least {SMALLEST_SIDE} is needed.")
        if (self.batch_size is not None and self.batch_size < 1) or self.most_pixels < 1:
            raise ValueError("batch_size and most_pixels must be at least 1.")


def embed_images(
    evidence: ImageEvidence, cohort: Cohort, modality: str, params: ImageParams, progress: Progress
) -> Featurized:
    """An item with several pictures gets the mean of their features. Raises ContractError where the network answers the
    same to different pictures: its input is then not on the scale it was trained on."""
    items = cohort.items["item"].to_numpy()
    rows = evidence.rows
    position = pd.Index(items).get_indexer(rows["item"])
    if (lost := (position < 0) | rows["path"].isna().to_numpy()).any():
        raise ContractError(
            f"{modality}: {int(lost.sum())} of {len(rows)} pictures name no item of the cohort, or no path; the reader "
            "must leave them out and count them."
        )
    code, paths = pd.factorize(rows["path"])
    resolved = resolve_image(params.weights, params.weights_path)
    with inference(params.device) as device:
        encode = load_network(resolved, params, device)
        files = [Path(str(path)) for path in paths]
        batch_size = params.batch_size or (64 if device.type == "cuda" else 1)
        batches = _read_ahead(files, batch_size, params)
        features, reasons = _embed_batches(batches, len(files), encode, resolved.weights.width, progress)
    sound = np.asarray([not reason for reason in reasons], dtype=bool)
    _check_variance(features[sound], modality, params.weights)
    quarantined = Counter(evidence.quarantined) + Counter(reasons[i] for i in code if reasons[i])
    values, present = _mean_by_item(features, code, position, sound, len(items))
    return Featurized(
        embeddings=embeddings_from_rows(items, values, present),
        card={
            "weights": resolved.card(),
            "scaling": resolved.weights.scaling,
            "image_size": params.image_size,
            "dtype": params.dtype,
            "pictures": len(rows),
            "quarantined": dict(quarantined),
            **({"warning": resolved.weights.has_seen} if resolved.weights.has_seen else {}),
        },
    )


def read_grey(path: Path, size: int, most_pixels: int) -> np.ndarray | str:
    """uint8 (size, size): the centre square, resized with antialiasing; or the reason why the file is set aside.

    A JPEG is decoded at the smallest scale that is not below `size` (a mean difference of 0.2 grey levels).
    """
    from PIL import Image, ImageFile

    # Another library may have set it for the whole process; half a picture must never pass for one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    if not path.is_file():
        return "no file at the path"
    if not path.stat().st_size:
        return "empty file"
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            if reason := _reason_against(picture, most_pixels):
                return reason
            picture.draft("L", (size, size))
            grey = picture.convert("L")
    except Image.DecompressionBombError:
        return f"more than {most_pixels:,} pixels"
    except Image.UnidentifiedImageError:
        return f"not a {' or '.join(FORMATS)} file"
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error):
        return "damaged or cut short"
    if grey.getextrema()[0] == grey.getextrema()[1]:
        return "blank: one grey level throughout"
    width, height = grey.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = grey.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(square, dtype=np.uint8)


def _reason_against(picture: Any, most_pixels: int) -> str:
    width, height = picture.size
    if width * height > most_pixels:
        return f"more than {most_pixels:,} pixels"
    if min(width, height) < SMALLEST_SIDE:
        return f"a side below {SMALLEST_SIDE} pixels"
    if picture.mode not in MODES:
        # 16 bits hold 10 to 16 used ones: no one scale is right for all. CMYK is no picture of an X-ray.
        return f"mode {picture.mode}, expected 8-bit grey or RGB"
    if picture.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        return "rotated or mirrored by its EXIF tag"
    return ""


def load_network(resolved: Resolved, params: ImageParams, device: torch.device) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 (B, size, size) to float32 (B, width)."""
    import torch

    name, dtype = resolved.weights.name, getattr(torch, params.dtype)
    features, scale = _NETWORKS[name](load_state(resolved), params.image_size, str(resolved.file))
    features = features.eval().to(device=device, dtype=dtype, memory_format=torch.channels_last)

    def encode(grey_BHW: np.ndarray) -> np.ndarray:
        x_BCHW = scale(torch.from_numpy(grey_BHW).to(device).float()[:, None])
        x_BCHW = x_BCHW.to(dtype=dtype).contiguous(memory_format=torch.channels_last)
        return features(x_BCHW).float().mean(dim=(2, 3)).cpu().numpy()

    return encode


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


def _densenet121_chex(state: dict[str, Any], size: int, file: str) -> tuple[Any, Callable[[Any], Any]]:
    """torchxrayvision's network is torchvision's DenseNet-121 with one input channel; [-1024, 1024] is its scale."""
    from torch import nn
    from torchvision.models import densenet121

    features = densenet121().features
    features.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    prefix = "features."
    _fill(features, {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}, file)
    return nn.Sequential(features, nn.ReLU()), lambda grey: (grey / 255.0 * 2.0 - 1.0) * 1024.0


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
    "efficientnet_lite0": _efficientnet_lite0,
    "densenet121-res224-chex": _densenet121_chex,
    "resnet18": _resnet18,
}


def _fill(network: Any, state: dict[str, Any], file: str) -> None:
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{file}: its tensors are not those of this network. Give the file that was made for these weights."
        ) from error


def _embed_batches(
    batches: Iterator[tuple[int, list[np.ndarray | str]]],
    num_files: int,
    encode: Callable[[np.ndarray], np.ndarray],
    width: int,
    progress: Progress,
) -> tuple[np.ndarray, list[str]]:
    """float32 (P, width), NaN where set aside; a reason per file, "" if sound."""
    features = np.full((num_files, width), np.nan, dtype=np.float32)
    reasons = [""] * num_files
    for start, read in batches:
        for offset, picture in enumerate(read):
            if isinstance(picture, str):
                reasons[start + offset] = picture
        sound = {start + offset: picture for offset, picture in enumerate(read) if not isinstance(picture, str)}
        if sound:
            features[list(sound)] = encode(np.stack(list(sound.values())))
        progress(start + len(read), num_files)
    return features, reasons


def _read_ahead(
    paths: list[Path], batch_size: int, params: ImageParams
) -> Iterator[tuple[int, list[np.ndarray | str]]]:
    """Batches in order; the next one is decoded while the network works on this one."""

    def submit(start: int) -> list[Any]:
        block = paths[start : start + batch_size]
        return [pool.submit(read_grey, path, params.image_size, params.most_pixels) for path in block]

    with ThreadPoolExecutor(_DECODERS) as pool:
        waiting = submit(0)
        for start in range(0, len(paths), batch_size):
            current, waiting = waiting, submit(start + batch_size)
            yield start, [future.result() for future in current]


def _check_variance(features: np.ndarray, modality: str, weights: str) -> None:
    different = np.unique(features, axis=0)
    if len(features) > 1 and (len(different) == 1 or different.std(axis=0).max() < 1e-4 * np.abs(different).max()):
        raise ContractError(
            f"{modality}: '{weights}' gives the same features for all {len(features)} pictures. Either the files are "
            "copies of one picture, or grey levels reach the network on a scale that it was not trained on."
        )


def _mean_by_item(
    features: np.ndarray, code: np.ndarray, position: np.ndarray, sound: np.ndarray, num_items: int
) -> tuple[np.ndarray, np.ndarray]:
    from scipy.sparse import csr_array

    kept = sound[code]
    code, position = code[kept], position[kept]
    count = np.bincount(position, minlength=num_items)
    mean = csr_array((1.0 / count[position], (position, code)), shape=(num_items, len(features)))
    return mean @ np.nan_to_num(features, nan=0.0), count > 0


IMAGE = Featurizer(name="image", evidence="images", defaults=ImageParams(), run=embed_images)
