"""The cohort's X-rays as files: those that are there and sound at both ends. Pixels are not decoded."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from mmn.data.evidence import ImageEvidence

MODES = ("L", "RGB")
MIN_SIDE = 32
MAX_PIXELS = 40_000_000  # a chest X-ray of MIMIC-CXR-JPG has about 8 million
_END_OF_IMAGE = b"\xff\xd9"
_TAIL_BYTES = 4096
_EXIF_ORIENTATION = 274


def read_images(raw: Path, items: pd.DataFrame) -> ImageEvidence:
    """Items in the cohort's order; those whose picture is missing or unfit have no row and are counted."""
    paths = [raw / path for path in items["image_path"]]
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=8) as pool:
        warnings.simplefilter("ignore")  # PIL warns of large pictures; they are refused below
        faults = list(pool.map(fault_of, paths))
    rows = pd.DataFrame({"item": items["item"].to_numpy(), "path": [str(path) for path in paths]})
    sound = [fault is None for fault in faults]
    return ImageEvidence(
        rows=rows[sound].reset_index(drop=True),
        quarantined=dict(sorted(Counter(fault for fault in faults if fault).items())),
    )


def fault_of(path: Path) -> str | None:
    """Why a picture cannot be used, None if it can."""
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        return "image missing"
    if path.stat().st_size == 0:
        return "image empty"
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.format != "JPEG":
                return "not a JPEG"
            if width * height > MAX_PIXELS:
                return "too many pixels (decompression bomb)"
            if min(width, height) < MIN_SIDE:
                return f"smaller than {MIN_SIDE} pixels"
            if image.mode not in MODES:
                return "neither grey nor RGB"
            if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
                return "rotated by EXIF"
    except Image.DecompressionBombError:
        return "too many pixels (decompression bomb)"
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return "image unreadable"
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES), os.SEEK_SET)
        if _END_OF_IMAGE not in stream.read():
            return "image cut short"
    return None
