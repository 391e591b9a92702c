"""A picture file becomes the grey square that its network was trained on, or the reason why it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmn.featurizers.image_reading import read_grey, stretch_as_opencv


def pattern(seed: int, size: tuple[int, int] = (300, 240)) -> Image.Image:
    """A smooth grey pattern, width by height."""
    coarse = np.random.RandomState(seed).randint(0, 256, (6, 6)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write_unsound(folder: Path) -> dict[str, str]:
    """File name -> reason; what `mmn.data` tells without decoding is tested there."""
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
    Image.new("1", (20_000, 20_000)).save(folder / "bigger bomb.png")
    rotated = good.getexif()
    rotated[0x0112] = 6
    good.save(folder / "rotated.jpg", exif=rotated)
    good.save(folder / "other.gif")
    return {
        "cut.jpg": "image damaged or cut short",
        "cut.png": "image damaged or cut short",
        "flipped.png": "image damaged or cut short",
        "empty.jpg": "image empty",
        "text.jpg": "not a JPEG or PNG file",
        "other.gif": "not a JPEG or PNG file",
        "cmyk.jpg": "mode CMYK, not 8-bit grey or RGB",
        "deep.png": "mode I;16, not 8-bit grey or RGB",
        "dot.png": "a side below 32 pixels",
        "blank.png": "blank: one grey level throughout",
        "bomb.png": "more than 50,000,000 pixels",
        "bigger bomb.png": "more than 50,000,000 pixels",
        "rotated.jpg": "rotated or mirrored by its EXIF tag",
        "missing.jpg": "image missing",
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("mode", ["clean", "haim"])
def test_every_unsound_file_gives_its_reason(tmp_path, mode):
    unsound = write_unsound(tmp_path)
    assert {name: read_grey(tmp_path / name, 64, mode) for name in unsound} == unsound
    assert read_grey(tmp_path / "whole.jpg", 64, mode).shape == (64, 64)


@pytest.mark.parametrize("mode", ["clean", "haim"])
def test_a_cut_file_is_set_aside_even_if_another_library_allowed_half_pictures(tmp_path, monkeypatch, mode):
    write_unsound(tmp_path)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert read_grey(tmp_path / "cut.jpg", 64, mode) == "image damaged or cut short"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_eight_bit_pictures_of_every_mode_read_alike(tmp_path, mode):
    pattern(3).save(tmp_path / "grey.png")
    pattern(3).convert(mode).save(tmp_path / "other.png")
    grey, other = (read_grey(tmp_path / name, 64) for name in ("grey.png", "other.png"))
    assert np.abs(grey.astype(int) - other.astype(int)).max() <= 1


def test_reading_a_jpeg_at_a_smaller_scale_is_reading_it_whole(tmp_path):
    pattern(4, (1_600, 1_600)).save(tmp_path / "large.jpg", quality=95)
    whole = Image.open(tmp_path / "large.jpg").convert("L").resize((64, 64), Image.Resampling.BILINEAR)
    assert np.abs(read_grey(tmp_path / "large.jpg", 64).astype(int) - np.asarray(whole)).mean() < 1


def test_in_clean_the_middle_square_is_taken_and_nothing_is_stretched(tmp_path):
    wide = np.zeros((100, 300), dtype=np.uint8)
    wide[:, 100:200] = pattern(5, (100, 100))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert np.abs(read_grey(tmp_path / "wide.png", 100).astype(int) - wide[:, 100:200]).max() <= 1


def test_in_haim_the_whole_picture_is_stretched_and_read_at_full_scale(tmp_path):
    pattern(5, (900, 700)).save(tmp_path / "wide.jpg", quality=95)
    whole = np.asarray(Image.open(tmp_path / "wide.jpg"))
    np.testing.assert_array_equal(read_grey(tmp_path / "wide.jpg", 100, "haim"), stretch_as_opencv(whole, 100))


NOISE = np.array(
    [
        [172, 47, 117, 192, 67, 251, 195], [103, 9, 211, 21, 242, 36, 87], [70, 216, 88, 140, 58, 193, 230],
        [39, 87, 174, 88, 81, 165, 25], [77, 72, 9, 148, 115, 208, 243], [197, 254, 79, 175, 192, 82, 99],
        [216, 177, 243, 29, 147, 147, 142], [167, 32, 193, 9, 185, 127, 32], [31, 202, 244, 151, 163, 254, 203],
    ],
    dtype=np.uint8,
)  # fmt: skip


def test_the_stretch_is_opencvs_to_the_last_bit():
    """Golden: cv2.resize(NOISE, (4, 4)) and the first and last lines of (12, 12), by OpenCV 4.5.5 and by 5.0.0."""
    assert stretch_as_opencv(NOISE, 4).tolist() == [
        [89, 164, 165, 123], [65, 155, 80, 95], [216, 107, 183, 99], [108, 193, 162, 126],
    ]  # fmt: skip
    larger = stretch_as_opencv(NOISE, 12)
    assert larger[0].tolist() == [172, 125, 52, 85, 126, 170, 155, 83, 151, 249, 216, 195]
    assert larger[5].tolist() == [63, 68, 77, 74, 77, 109, 118, 105, 143, 190, 173, 161]
    assert larger[11].tolist() == [31, 95, 195, 225, 232, 178, 154, 161, 205, 252, 222, 203]


def test_the_stretch_is_worked_by_hand():
    """Of 4 columns two remain: centres 0.5 and 2.5, each the mean of two, along both sides."""
    grey = np.array([[0, 100, 200, 40], [20, 120, 220, 60], [4, 8, 12, 16], [8, 12, 16, 20]], dtype=np.uint8)
    assert stretch_as_opencv(grey, 2).tolist() == [[60, 130], [8, 16]]
    assert stretch_as_opencv(grey, 4).tolist() == grey.tolist()


def test_the_stretch_skips_pixels_as_opencv_does():
    """No antialiasing: of 1,000 lines only the two around each of the 10 centres count."""
    lines = np.zeros((1_000, 10), dtype=np.uint8)
    lines[[49, 50]] = 200
    assert stretch_as_opencv(lines, 10)[:, 0].tolist() == [200, *[0] * 9]
    assert not stretch_as_opencv(np.where(lines, 0, 255).astype(np.uint8), 10)[0].any()
