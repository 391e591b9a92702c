"""Pictures to one vector per item: the pooled features of a pretrained convolutional network, or the findings it names.

Each file is read once as grey levels. One that cannot be read as it should is set aside with the reason, and its item
is absent if it had no other.
"""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError
from mmn.data.evidence import ImageEvidence
from mmn.data.pictures import MOST_PIXELS, SMALLEST_SIDE, large_pictures_allowed
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.image_networks import FINDINGS, load_findings, load_network, unknown_origin
from mmn.featurizers.image_precision import compare_with_float32
from mmn.featurizers.image_reading import Mode, read_grey
from mmn.featurizers.image_stream import PictureStream
from mmn.featurizers.shards import NOWHERE, Shards
from mmn.featurizers.weights import Device, Precision, Resolved, WeightsError, inference, resolve_image

if TYPE_CHECKING:
    import torch

HAIM_SIZE = 224
_FEATURES_VERSION = 1  # raise it when reading or encoding gives other numbers: what is kept is then not used


@dataclass(frozen=True, kw_only=True)
class ImageParams:
    """weights: "efficientnet_lite0" (1280 features), or with weights_path, a safetensors file:
    "densenet121-res224-chex" (1024; also -all, -mimic_ch, -mimic_nb) or "resnet18" (512). image_size: side of the
    network's input; 128 costs a third of 224. batch_size: None is 4 on a processor and 64 on a GPU.
    mode: "haim" reads and resizes as HAIM did (needs densenet121 weights and size 224).
    output: "features" or, of densenet121, "findings": calibrated probabilities, in mode clean those it was trained on.
    dtype: "bfloat16" is about three times as fast where the processor has it. It is compared with float32 on the first
    pictures and refused where it differs too much (image_precision.TOLERANCE). most_pixels: larger files are set aside.
    """

    weights: str = "efficientnet_lite0"
    weights_path: str = ""
    image_size: int = 224
    batch_size: int | None = None
    mode: Mode = "clean"
    output: Literal["features", "findings"] = "features"
    dtype: Precision = "float32"
    device: Device = "auto"
    most_pixels: int = MOST_PIXELS

    def __post_init__(self) -> None:
        if self.image_size < SMALLEST_SIDE:
            raise ValueError(f"image_size is {self.image_size}; at least {SMALLEST_SIDE} is needed.")
        if (self.batch_size is not None and self.batch_size < 1) or self.most_pixels < 1:
            raise ValueError("batch_size and most_pixels must be at least 1.")


def embed_images(
    evidence: ImageEvidence,
    cohort: Cohort,
    modality: str,
    params: ImageParams,
    progress: Progress,
    shards: Shards = NOWHERE,
) -> Featurized:
    """An item with several pictures gets the mean of their vectors by `weight`.

    Where the weights of an item's sound pictures are all 0, these count alike in mode clean, and the item gets zeros in
    mode haim. Raises ContractError where the network answers the same to different pictures (its input is then not on
    the scale it was trained on) or bfloat16 is not near enough to float32.
    """
    items, rows = cohort.items["item"].to_numpy(), evidence.rows
    position = pd.Index(items).get_indexer(pd.Index(rows["item"]).astype(object))
    _check_rows(rows, position, modality)
    code, paths = pd.factorize(rows["path"])
    files = [Path(str(path)) for path in paths]
    resolved = resolve_image(params.weights, params.weights_path)
    _check_mode(params, resolved)
    findings = load_findings(resolved) if params.output == "findings" else None
    with inference(params.device) as device, large_pictures_allowed():
        stream = picture_stream(resolved, params, device, shards)
        if params.dtype == "bfloat16":
            exact = load_network(resolved, params.image_size, "float32", device)
            precision = compare_with_float32(stream, files, exact, modality)
        else:
            precision = {}
        features, reasons = stream.run(files, progress)
    sound = reasons == ""
    _check_variance(features, sound, modality, params.weights)
    names: tuple[str, ...] = ()
    if findings is not None:
        told = findings.trained if params.mode == "clean" else np.ones(len(FINDINGS), dtype=bool)
        features, names = findings.probabilities(features)[:, told], tuple(np.asarray(FINDINGS)[told])
    weight = rows["weight"].to_numpy(dtype=np.float64)
    values, present = _mean_by_item(features, code, position, weight, sound, len(items), params.mode)
    warning = resolved.weights.has_seen or unknown_origin(resolved)
    lost = rows.loc[~sound[code], ["item", "source"]].astype(str).assign(reason=reasons[code[~sound[code]]])
    quarantined = Counter(evidence.quarantined) + Counter(lost["reason"].tolist())
    return Featurized(
        embeddings=embeddings_from_rows(items, values, present, names),
        set_aside=pd.concat([evidence.set_aside, lost], ignore_index=True).astype(str),
        card={
            "weights": resolved.card(),
            "scaling": resolved.weights.scaling,
            "mode": params.mode,
            "output": params.output,
            "image_size": params.image_size,
            "dtype": params.dtype,
            "pictures": len(rows),
            "different pictures": len(files),
            "quarantined": dict(sorted(quarantined.items())),
            **({"reading": list(evidence.notes)} if evidence.notes else {}),
            **({"bfloat16 against float32": precision} if precision else {}),
            **({"warning": warning} if warning else {}),
        },
    )


def picture_stream(resolved: Resolved, params: ImageParams, device: torch.device, shards: Shards) -> PictureStream:
    """Shards do not depend on `output`: features and findings share them."""
    batch_size = params.batch_size or (64 if device.type == "cuda" else 4)
    pixels = {"mode": params.mode, "size": params.image_size, "most_pixels": params.most_pixels}
    return PictureStream(
        read=partial(read_grey, size=params.image_size, mode=params.mode, most_pixels=params.most_pixels),
        encode=load_network(resolved, params.image_size, params.dtype, device),
        width=resolved.weights.width,
        batch_size=batch_size,
        fingerprint=[
            _FEATURES_VERSION, resolved.sha256, resolved.weights.network, pixels, params.dtype, batch_size,
            *_versions(device),
        ],
        shards=shards,
    )  # fmt: skip


def _versions(device: torch.device) -> list[str]:
    """What else decides the last bits: the libraries and the kind of device."""
    import PIL.features
    import torch
    import torchvision

    kind = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    )
    libraries = [torch.__version__, torchvision.__version__, PIL.__version__, str(PIL.features.version("jpg"))]
    return [device.type, kind, *libraries]


def _check_rows(rows: pd.DataFrame, position: np.ndarray, modality: str) -> None:
    if (lost := (position < 0) | rows["path"].isna().to_numpy()).any():
        raise ContractError(
            f"{modality}: {int(lost.sum())} of {len(rows)} pictures name no item of the cohort, or no path; the reader "
            "must leave them out and count them."
        )
    if (wrong := ~(rows["weight"].to_numpy(dtype=float) >= 0)).any():
        raise ContractError(
            f"{modality}: {int(wrong.sum())} of {len(rows)} pictures have a weight that is missing or below 0; the "
            "reader must give each a share of its item's vector."
        )


def _check_mode(params: ImageParams, resolved: Resolved) -> None:
    if params.mode == "haim" and (resolved.weights.network != "densenet121-xrv" or params.image_size != HAIM_SIZE):
        raise WeightsError(
            f"mode haim repeats HAIM's pictures: densenet121 at {HAIM_SIZE} pixels, not '{params.weights}' at "
            f"{params.image_size}. Set `weights: densenet121-res224-chex` with its weights_path and `image_size: "
            f"{HAIM_SIZE}`, or `mode: clean`."
        )


def _check_variance(features: np.ndarray, sound: np.ndarray, modality: str, weights: str) -> None:
    """Over the sound pictures the widest feature must vary by more than rounding."""
    if sound.sum() < 2:
        return
    low = features.min(axis=0, where=sound[:, None], initial=np.inf)
    high = features.max(axis=0, where=sound[:, None], initial=-np.inf)
    if not (high - low).max() > 2e-4 * np.abs([low, high]).max():
        raise ContractError(
            f"{modality}: '{weights}' gives the same features for all {int(sound.sum())} pictures. Either the files "
            "are copies of one picture, or grey levels reach the network on a scale that it was not trained on."
        )


def _mean_by_item(
    features: np.ndarray,
    code: np.ndarray,
    position: np.ndarray,
    weight: np.ndarray,
    sound: np.ndarray,
    num_items: int,
    mode: Mode,
) -> tuple[np.ndarray, np.ndarray]:
    """(float32 (N, D), (N,) bool): an item with a sound picture is present."""
    from scipy.sparse import csr_array

    kept = sound[code]
    code, position, weight = code[kept], position[kept], weight[kept]
    present = np.bincount(position, minlength=num_items) > 0
    total = np.bincount(position, weights=weight, minlength=num_items)
    if mode == "clean":
        weight = np.where(total[position] > 0, weight, 1.0)
        total = np.bincount(position, weights=weight, minlength=num_items)
    share = np.divide(weight, total[position], out=np.zeros_like(weight), where=total[position] > 0)
    mean = csr_array((share.astype(np.float32), (position, code)), shape=(num_items, len(features)))
    return mean @ features, present


IMAGE = Featurizer(name="image", evidence="images", defaults=ImageParams(), run=embed_images)
