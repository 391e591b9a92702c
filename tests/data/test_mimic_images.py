"""X-rays as files: which belong to an item, with what weight, and which are set aside, by reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmn.data import pictures
from mmn.data.errors import ContractError, RawFileError
from mmn.data.mimic.images import read_image_history, read_images
from mmn.data.pictures import fault_of


def pattern(size: tuple[int, int] = (64, 48)) -> Image.Image:
    coarse = np.random.RandomState(0).randint(0, 256, (6, 6)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def save(raw: Path, *sources: str) -> None:
    for source in sources:
        (raw / source).parent.mkdir(parents=True, exist_ok=True)
        pattern().save(raw / source, quality=95)


def cohort(*rows: tuple[str, int, str]) -> pd.DataFrame:
    items = pd.DataFrame(rows, columns=["item", "subject_id", "prediction_time"])
    return items.astype({"prediction_time": "datetime64[us]"})


def images(*rows: tuple[int, str, str | None]) -> pd.DataFrame:
    """subject, name, time."""
    frame = pd.DataFrame(rows, columns=["subject_id", "dicom_id", "time"])
    frame["time"] = pd.to_datetime(frame["time"])
    return frame.assign(image_path="files/" + frame["dicom_id"] + ".jpg")


def weights(evidence) -> dict[str, dict[str, float]]:
    """Item -> picture's name -> weight."""
    made: dict[str, dict[str, float]] = {}
    for row in evidence.rows.itertuples():
        assert row.path.endswith(row.source) and Path(row.path).is_absolute()
        made.setdefault(row.item, {})[Path(row.source).stem] = row.weight
    return made


# One picture per item


def write_unsound(folder: Path) -> dict[str, str]:
    """File name -> reason."""
    good = pattern((300, 240))
    good.save(folder / "whole.jpg", quality=95)
    jpeg = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "header only.jpg").write_bytes(jpeg[:10])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"this is no picture")
    (folder / "folder.jpg").mkdir()
    good.save(folder / "png.jpg", format="PNG")
    Image.fromarray(np.arange(10_000, dtype=np.uint16).reshape(100, 100)).save(folder / "deep.jpg", format="PNG")
    good.convert("CMYK").save(folder / "cmyk.jpg")
    Image.new("L", (1, 1)).save(folder / "dot.jpg")
    Image.new("L", (9_000, 9_000)).save(folder / "bomb.jpg")
    Image.new("L", (20_000, 20_000)).save(folder / "bigger bomb.jpg")
    exif = good.getexif()
    exif[0x0112] = 6
    good.save(folder / "rotated.jpg", exif=exif)
    return {
        "cut.jpg": "image damaged or cut short",
        "header only.jpg": "image damaged or cut short",
        "empty.jpg": "image empty",
        "text.jpg": "not a JPEG file",
        "folder.jpg": "image missing",
        "png.jpg": "not a JPEG file",
        "deep.jpg": "not a JPEG file",
        "cmyk.jpg": "mode CMYK, not 8-bit grey or RGB",
        "dot.jpg": "a side below 32 pixels",
        "bomb.jpg": "more than 50,000,000 pixels",
        "bigger bomb.jpg": "more than 50,000,000 pixels",
        "rotated.jpg": "rotated or mirrored by its EXIF tag",
        "none.jpg": "image missing",
        f"{'x' * 300}.jpg": "image missing",
        "nul\0.jpg": "image missing",
        "../outside.jpg": "path leaves the raw folder",
        "/etc/passwd": "path leaves the raw folder",
    }


def test_every_unfit_picture_is_set_aside_with_its_reason_and_the_others_are_kept(tmp_path, recwarn):
    raw = tmp_path / "raw"
    raw.mkdir()
    save(tmp_path, "outside.jpg")
    unsound = write_unsound(raw)
    pattern().convert("RGB").save(raw / "colour.jpg", quality=95)
    sources = ["whole.jpg", *unsound, "colour.jpg"]
    items = pd.DataFrame({"item": [f"item{i}" for i in range(len(sources))], "image_path": sources})
    evidence = read_images(raw, items)
    assert weights(evidence) == {"item0": {"whole": 1.0}, f"item{len(sources) - 1}": {"colour": 1.0}}
    assert dict(zip(evidence.set_aside["source"], evidence.set_aside["reason"], strict=True)) == unsound
    assert evidence.set_aside["item"].tolist() == [f"item{i}" for i in range(1, len(sources) - 1)]
    assert evidence.quarantined == evidence.set_aside["reason"].value_counts().to_dict()
    assert not recwarn


def test_a_picture_of_another_size_than_the_metadata_says_is_set_aside(tmp_path):
    save(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    items = pd.DataFrame({"item": list("abc"), "image_path": ["a.jpg", "b.jpg", "c.jpg"]})
    items = items.assign(height=pd.array([48, 64, None], dtype="Int64"), width=pd.array([64, 48, None], dtype="Int64"))
    evidence = read_images(tmp_path, items)
    assert evidence.rows["item"].tolist() == ["a", "c"]
    assert evidence.quarantined == {"another size than the metadata says": 1}


def test_where_most_pictures_have_another_size_it_is_a_resized_copy_and_sizes_are_not_checked(tmp_path):
    save(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    whole = (tmp_path / "c.jpg").read_bytes()
    (tmp_path / "c.jpg").write_bytes(whole[: len(whole) // 2])
    items = pd.DataFrame({"item": list("abc"), "image_path": ["a.jpg", "b.jpg", "c.jpg"]})
    evidence = read_images(tmp_path, items.assign(height=2544, width=3056))
    assert evidence.rows["item"].tolist() == ["a", "b"], "what is cut short is still found"
    assert len(evidence.notes) == 1 and "a resized copy" in evidence.notes[0]


def test_what_this_machine_does_wrong_is_not_blamed_on_the_picture(tmp_path, monkeypatch):
    save(tmp_path, "a.jpg")

    def fail(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(RawFileError, match=r"a\.jpg: cannot be read \(Too many open files\)"):
        fault_of(tmp_path / "a.jpg")


def test_no_item_and_no_sound_picture_give_empty_evidence_of_the_same_shape(tmp_path):
    none = pd.DataFrame({"item": pd.Series(dtype=str), "image_path": pd.Series(dtype=str)})
    for items in (none, pd.DataFrame({"item": ["a"], "image_path": ["none.jpg"]})):
        evidence = read_images(tmp_path, items)
        assert evidence.rows.empty and list(evidence.rows) == ["item", "source", "path", "weight"]
        assert list(evidence.set_aside) == ["item", "source", "reason"]


# All pictures of a patient


# Table order: late, early, mid, prev. Hours from the oldest: 20, 10, 15, 0.
FOUR = images(
    (1, "late", "2150-01-01 20:00"),
    (1, "early", "2150-01-01 10:00"),
    (1, "mid", "2150-01-01 15:00"),
    (1, "prev", "2150-01-01 00:00"),
)
AT_EARLY, AT_LATE = ("early", 1, "2150-01-01 10:00"), ("late", 1, "2150-01-01 20:00")


@pytest.fixture
def raw(tmp_path) -> Path:
    save(tmp_path, *FOUR["image_path"], *(f"files/{name}.jpg" for name in "abcd"))
    return tmp_path


def test_clean_takes_the_pictures_up_to_the_prediction_the_later_the_heavier(raw):
    made = weights(read_image_history(raw, cohort(AT_EARLY, AT_LATE), FOUR))
    assert made == {
        "early": {"early": 1.0, "prev": 0.0},
        "late": {"late": 1.0, "early": 0.5, "mid": 0.75, "prev": 0.0},
    }


def test_haim_takes_the_first_k_pictures_of_the_table_with_the_weights_of_others(raw):
    """mimic.md 3.6: for the sample "early" the rows were early (1) and prev (0), the pictures late and early."""
    made = weights(read_image_history(raw, cohort(AT_EARLY, AT_LATE), FOUR, "haim"))
    assert made == {
        "early": {"late": 1.0, "early": 0.0},
        "late": {"late": 1.0, "early": 0.5, "mid": 0.75, "prev": 0.0},
    }


def test_haims_stored_order_is_used_where_it_is_known(raw):
    stored = FOUR.assign(haim_order=[3, 2, 1, 0])  # prev, mid, early, late
    made = weights(read_image_history(raw, cohort(AT_EARLY), stored, "haim"))
    assert made == {"early": {"prev": 0.0, "mid": 1.0}}
    assert weights(read_image_history(raw, cohort(AT_EARLY), stored)) == {"early": {"early": 1.0, "prev": 0.0}}


def test_an_only_picture_is_the_history_in_clean_and_weighs_nothing_in_haim(raw):
    others = images((1, "a", "2150-01-01 10:00"), (2, "b", "2150-01-01 10:00"), (2, "c", "2150-01-01 10:00"))
    items = cohort(("one", 1, "2150-01-01 10:00"), ("two of a minute", 2, "2150-01-01 11:00"))
    assert weights(read_image_history(raw, items, others)) == {
        "one": {"a": 1.0}, "two of a minute": {"b": 1.0, "c": 1.0},
    }  # fmt: skip
    assert weights(read_image_history(raw, items, others, "haim")) == {
        "one": {"a": 0.0}, "two of a minute": {"b": 0.0, "c": 0.0},
    }  # fmt: skip


def test_no_later_picture_and_no_other_patients_picture_enters_a_clean_history(raw):
    rng = np.random.RandomState(3)
    times = pd.Timestamp("2150-01-01") + pd.to_timedelta(rng.randint(0, 300, 200), unit="min")
    others = pd.DataFrame({"subject_id": rng.randint(0, 9, 200), "dicom_id": [str(i) for i in range(200)]})
    others = others.assign(image_path=[f"files/{'abcd'[i % 4]}.jpg" for i in range(200)], time=times)
    # Each picture needs a name of its own to be found again: links to four files.
    for i, source in enumerate(others["image_path"]):
        (raw / f"files/{i}.jpg").symlink_to(raw / source)
    others["image_path"] = "files/" + others["dicom_id"] + ".jpg"
    items = others.rename(columns={"dicom_id": "item", "time": "prediction_time"})[
        ["item", "subject_id", "prediction_time"]
    ]
    evidence = read_image_history(raw, items, others)
    seen = evidence.rows.assign(dicom_id=evidence.rows["source"].astype(str).str.extract(r"(\d+)")[0])
    seen = seen.astype({"item": str}).merge(others, on="dicom_id").merge(items, on="item", suffixes=("", "_of_item"))
    assert (seen["time"] <= seen["prediction_time"]).all()
    assert (seen["subject_id"] == seen["subject_id_of_item"]).all()
    pairs = items.merge(others, on="subject_id").query("time <= prediction_time")
    assert len(seen) == len(pairs)
    hour = pd.Timedelta(hours=1)
    later = others.assign(time=others["time"] + hour)
    shifted = read_image_history(raw, items.assign(prediction_time=items["prediction_time"] + hour), later)
    pd.testing.assert_frame_equal(shifted.rows, evidence.rows)


def test_in_clean_unfit_and_untimed_pictures_leave_before_the_weights_are_made(raw):
    (raw / "files/late.jpg").write_bytes(b"")
    others = pd.concat([FOUR, images((1, "a", None), (2, "b", "2150-01-01 00:00"))], ignore_index=True)
    evidence = read_image_history(raw, cohort(AT_LATE), others)
    assert weights(evidence)["late"] == pytest.approx({"early": 10 / 15, "mid": 1.0, "prev": 0.0})
    assert evidence.set_aside.to_numpy().tolist() == [
        ["late", "files/late.jpg", "image empty"],
        ["late", "files/a.jpg", "image without a readable time"],
    ]
    assert evidence.quarantined == {"image empty": 1, "image without a readable time": 1}


def test_in_haim_an_unfit_picture_takes_its_weight_with_it(raw):
    (raw / "files/late.jpg").write_bytes(b"")
    evidence = read_image_history(raw, cohort(AT_LATE), FOUR, "haim")
    assert weights(evidence)["late"] == {"early": 0.5, "mid": 0.75, "prev": 0.0}


def test_an_item_whose_patient_has_no_picture_by_then_has_no_row(raw):
    items = cohort(("before all", 1, "2149-12-31 00:00"), ("nobody", 7, "2150-01-01 00:00"), AT_EARLY)
    for mode in ("clean", "haim"):
        assert set(weights(read_image_history(raw, items, FOUR, mode))) == {"early"}


def test_an_item_without_a_prediction_time_is_an_error(raw):
    items = cohort(AT_EARLY, ("when", 1, "2150-01-01"))
    items.loc[1, "prediction_time"] = pd.NaT
    with pytest.raises(ContractError, match="1 of 2 items have no prediction time"):
        read_image_history(raw, items, FOUR)


def test_each_file_is_looked_at_once_however_many_items_it_serves(raw, monkeypatch):
    looked: list[str] = []
    monkeypatch.setattr(
        "mmn.data.mimic.images.fault_of", lambda path, *_, **__: looked.append(path.name) or pictures.fault_of(path)
    )
    read_image_history(raw, cohort(AT_EARLY, AT_LATE), FOUR)
    assert sorted(looked) == ["early.jpg", "late.jpg", "mid.jpg", "prev.jpg"]
