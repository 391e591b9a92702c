"""Opening picture files that others made: one place judges what is fit to be read, and says why where it is not.

What cannot be decoded to its end is set aside. A JPEG that was cut and then closed with an end mark decodes without a
word, its missing part even or coarse, and is not told from a picture that looks so. What this machine does wrong (no
permission, a failing disk, too many open files) is an error that stops the run: the picture is not to blame, and must
not be set aside for it.
"""

from __future__ import annotations

import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mmn.data.errors import RawFileError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG")
MODES = ("L", "LA", "RGB", "RGBA", "P", "1")
SMALLEST_SIDE = 32
MOST_PIXELS = 50_000_000  # a chest X-ray of MIMIC-CXR-JPG has about 8 million

MISSING = "image missing"
EMPTY = "image empty"
DAMAGED = "image damaged or cut short"
TOO_SMALL = f"a side below {SMALLEST_SIDE} pixels"
OTHER_SIZE = "another size than the metadata says"
ROTATED = "rotated or mirrored by its EXIF tag"

_EXIF_ORIENTATION = 0x0112
_END_OF_JPEG, _TAIL_BYTES = b"\xff\xd9", 4096


class PictureFault(Exception):
    """Why a picture is set aside; never leaves the functions that read pictures."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def open_picture(path: Path, formats: tuple[str, ...] = FORMATS, most_pixels: int = MOST_PIXELS) -> Iterator[Image]:
    """The picture, its header judged, its pixels not yet decoded; what goes wrong while they are is judged alike.

    Raises PictureFault for the picture's own faults, RawFileError for this machine's.
    """
    from PIL import Image, ImageFile, UnidentifiedImageError

    # Another library may have set it for the whole process; half a picture must never pass for one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    if not os.path.isfile(path):  # noqa: PTH113 - unlike Path.is_file, no error for a name that no disk could hold
        raise PictureFault(MISSING)
    try:
        if not path.stat().st_size:
            raise PictureFault(EMPTY)
        with Image.open(path, formats=formats) as picture:
            _judge(picture, most_pixels)
            yield picture
    except Image.DecompressionBombError:
        raise PictureFault(too_large(most_pixels)) from None
    except UnidentifiedImageError:
        raise PictureFault(f"not a {' or '.join(formats)} file") from None
    except OSError as error:
        if error.errno is not None:
            _blame_the_machine(path, error)
        raise PictureFault(DAMAGED) from None
    except (SyntaxError, ValueError, EOFError, struct.error, zlib.error):
        raise PictureFault(DAMAGED) from None


def fault_of(path: Path, formats: tuple[str, ...] = FORMATS, size: tuple[int, int] | None = None) -> str | None:
    """Why a picture cannot be used, as far as its two ends tell (no pixel is decoded); None if they are sound.

    size: width and height as the tables tell them, None where they do not.
    """
    try:
        with open_picture(path, formats) as picture:
            jpeg, found = picture.format == "JPEG", picture.size
    except PictureFault as fault:
        return fault.reason
    if size is not None and found != size:
        return OTHER_SIZE
    if not jpeg:
        return None
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return None if _END_OF_JPEG in stream.read() else DAMAGED


def digest_of(path: Path) -> str:
    """SHA-256 of the file's bytes, "" where there is no file. Raises RawFileError where this machine cannot read it."""
    if not os.path.isfile(path):  # noqa: PTH113 - as above
        return ""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        _blame_the_machine(path, error)


@contextmanager
def large_pictures_allowed() -> Iterator[None]:
    """PIL warns of large pictures, once per process; here they are judged by `most_pixels`. For the calling thread's
    whole pool: the filters are the process's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=_bomb_warning())
        yield


def too_large(most_pixels: int) -> str:
    return f"more than {most_pixels:,} pixels"


def _judge(picture: Image, most_pixels: int) -> None:
    width, height = picture.size
    if width * height > most_pixels:
        raise PictureFault(too_large(most_pixels))
    if min(width, height) < SMALLEST_SIDE:
        raise PictureFault(TOO_SMALL)
    if picture.mode not in MODES:
        # 16 bits hold 10 to 16 used ones: no one scale is right for all. CMYK is no picture of an X-ray.
        raise PictureFault(f"mode {picture.mode}, not 8-bit grey or RGB")
    if picture.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        raise PictureFault(ROTATED)


def _blame_the_machine(path: Path, error: OSError) -> NoReturn:
    raise RawFileError(
        f"{path}: cannot be read ({error.strerror}). This is the machine's fault and not the picture's, so it is not "
        "set aside: mend the permission or the disk and run again; what is done is kept."
    ) from error


def _bomb_warning() -> type[Warning]:
    from PIL import Image

    return Image.DecompressionBombWarning
