"""Pictures as rows of numbers: resized, in [0, 1], channels first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmn.data.multibench.numbers import pixels
from mmn.data.pictures import PictureFault, open_picture

RGB = ("red", "green", "blue")


def rgb_names(height: int, width: int) -> tuple[str, ...]:
    return pixels(height, width, RGB)


def read_rgb(paths: Sequence[Path], height: int, width: int) -> tuple[np.ndarray, dict[str, int]]:
    """(N, 3 x height x width) float32, NaN where a picture cannot be read; and how many could not, by reason.

    Transparent places become black, as they do where a picture is converted without a background.
    """
    from PIL import Image

    values = np.full((len(paths), 3 * height * width), np.nan, dtype=np.float32)
    left_out: dict[str, int] = {}
    for row, path in enumerate(paths):
        try:
            with open_picture(path) as picture:
                small = picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        except PictureFault as fault:
            left_out[fault.reason] = left_out.get(fault.reason, 0) + 1
            continue
        values[row] = np.asarray(small, dtype=np.float32).transpose(2, 0, 1).reshape(-1) / 255
    return values, left_out


def shrink(values: np.ndarray, size: int) -> np.ndarray:
    """(..., H, W) to (..., size, size) by the mean of blocks; H = W is a multiple of size."""
    side = values.shape[-1]
    if side == size:
        return values
    step = side // size
    blocks = values.reshape(*values.shape[:-2], size, step, size, step)
    return blocks.mean(axis=(-3, -1), dtype=np.float32)
