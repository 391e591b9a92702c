"""A picture file to the grey square that a network sees, or to the reason why it is set aside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmn.data.pictures import FORMATS, MOST_PIXELS, PictureFault, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["clean", "haim"]

BLANK = "blank: one grey level throughout"
_COEFFICIENT_BITS = 11


def read_grey(path: Path, size: int, mode: Mode = "clean", most_pixels: int = MOST_PIXELS) -> np.ndarray | str:
    """uint8 (size, size), or the reason why the file is set aside.

    clean: the centre square, resized with antialiasing; a JPEG is decoded at the smallest scale that is not below
    `size` (a mean difference of 0.2 grey levels).
    haim: decoded whole and stretched to the square as OpenCV's default does, without antialiasing: of a picture of
    3056 x 2544 most pixels play no part.
    """
    try:
        with open_picture(path, FORMATS, most_pixels) as picture:
            picture.draft("L", (size, size) if mode == "clean" else picture.size)
            grey = picture.convert("L")
    except PictureFault as fault:
        return fault.reason
    darkest, brightest = grey.getextrema()
    if darkest == brightest:
        return BLANK
    return _centre_square(grey, size) if mode == "clean" else stretch_as_opencv(np.asarray(grey), size)


def _centre_square(grey: Image, size: int) -> np.ndarray:
    from PIL import Image

    width, height = grey.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = grey.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(square, dtype=np.uint8)


def stretch_as_opencv(grey: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W) to (size, size), as cv2.resize does by default (INTER_LINEAR), to the last bit.

    Half-pixel centres, two neighbours per side, no antialiasing. OpenCV computes 8-bit pictures in whole numbers: the
    shares have 11 bits, and four of them are dropped before the second pass, which is why rounding a float result
    differs in one pixel of eight. Checked against OpenCV 4.5.5 and 5.0.0.
    """
    top, bottom, of_top, of_bottom = _neighbours(grey.shape[0], size, edge_is_whole=False)
    left, right, of_left, of_right = _neighbours(grey.shape[1], size, edge_is_whole=True)

    def across(rows: np.ndarray) -> np.ndarray:
        """(size, size) int32: the rows, interpolated along x."""
        lines = grey[rows].astype(np.int32)
        return lines[:, left] * of_left + lines[:, right] * of_right

    above = (of_top[:, None] * (across(top) >> 4)) >> 16
    below = (of_bottom[:, None] * (across(bottom) >> 4)) >> 16
    return ((above + below + 2) >> 2).astype(np.uint8)


def _neighbours(length: int, size: int, edge_is_whole: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each output position: its two source positions and their int32 shares, which sum to 2^11.

    edge_is_whole: beyond the outermost centre the edge has the whole share (OpenCV along x), else the shares stay and
    both fall on the edge (along y), which rounds otherwise.
    """
    centre = ((np.arange(size) + 0.5) * (length / size) - 0.5).astype(np.float32)
    first = np.floor(centre)
    share = centre - first
    first = first.astype(np.int64)
    if edge_is_whole:
        share[(first < 0) | (first >= length - 1)] = 0
    scale = np.float32(1 << _COEFFICIENT_BITS)
    near, far = np.clip(first, 0, length - 1), np.clip(first + 1, 0, length - 1)
    return near, far, np.rint((1 - share) * scale).astype(np.int32), np.rint(share * scale).astype(np.int32)
