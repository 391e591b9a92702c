"""ENRICO on a toy world: its pictures, its split, and its published test set, which is the training set."""

import random

import numpy as np
import pytest
from PIL import Image

from mmn.data.cohort import check_cohort
from mmn.data.errors import ContractError, ParamsError, RawFileError
from mmn.data.multibench.enrico import ENRICO, TOPICS, EnricoParams
from tests.data import multibench_worlds as worlds

CLEAN, PUBLISHED = EnricoParams(height=8, width=4), EnricoParams(mode="published", height=8, width=4)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("enrico")
    worlds.enrico(folder)
    return folder


def test_screens_are_split_as_published_without_the_two_damaged_ones(raw):
    assert ENRICO.inspect(raw).problem is None
    cohort = ENRICO.build_cohort(raw, CLEAN)
    check_cohort(cohort, "enrico")
    assert cohort.excluded == {"the wireframe is damaged, by the published list": 2}
    screens = [str(50100 + row) for row in range(40) if row not in (5, 9)]
    order = list(range(38))
    random.Random(42).shuffle(order)
    assert set(cohort.items["item"].iloc[cohort.rows(0, "train")]) == {screens[at] for at in order[:24]}
    assert set(cohort.items["item"].iloc[cohort.rows(0, "test")]) == {screens[at] for at in order[30:]}
    assert [TOPICS[int(topic)] for topic in cohort.targets["topic"][:3]] == ["chat", "form", "login"]
    assert len(TOPICS) == 20
    assert list(TOPICS) == sorted(TOPICS)


def test_the_published_test_set_is_the_training_set_and_the_notes_say_so(raw):
    cohort = ENRICO.build_cohort(raw, PUBLISHED)
    check_cohort(cohort, "enrico")
    sides = {split: set(cohort.items["screen"].iloc[cohort.rows(0, split)]) for split in ("train", "test")}
    assert sides["train"] == sides["test"]
    assert cohort.excluded["the test split, as published"] == 8
    assert any("the scores are of no use" in note for note in cohort.notes)


def test_pictures_are_resized_and_laid_out_channels_first(raw):
    cohort = ENRICO.build_cohort(raw, CLEAN)
    evidence = ENRICO.read_evidence(raw, "wireframe", cohort, CLEAN)
    assert evidence.values.shape == (38, 3 * 8 * 4)
    assert evidence.present.all()
    with Image.open(raw / "wireframes" / f"{cohort.items['screen'][3]}.png") as picture:
        mean = np.asarray(picture, dtype=float).mean(axis=(0, 1)) / 255
    assert np.allclose(evidence.values[3].reshape(3, -1).mean(axis=1), mean, atol=0.01)
    assert evidence.names[0] == "red row 0 column 0"
    assert evidence.names[33] == "green row 0 column 1"
    wide = ENRICO.read_evidence(raw, "screenshot", cohort, EnricoParams())
    assert wide.values.shape[1] == 3 * 256 * 128


def test_a_missing_or_damaged_picture_is_absent_and_counted(tmp_path):
    worlds.enrico(tmp_path)
    (tmp_path / "screenshots" / "50101.jpg").unlink()
    (tmp_path / "screenshots" / "50102.jpg").write_bytes(b"no picture")
    cohort = ENRICO.build_cohort(tmp_path, CLEAN)
    evidence = ENRICO.read_evidence(tmp_path, "screenshot", cohort, CLEAN)
    assert (~evidence.present).sum() == 2
    assert evidence.quarantined["image missing"] == 1
    assert sum(evidence.quarantined.values()) == 2
    assert np.isnan(evidence.values[~evidence.present]).all()


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_that_is_not_utf_8_is_refused_with_its_name(tmp_path, encoding):
    (tmp_path / "design_topics.csv").write_bytes("screen_id,topic\n50101,caf\u00e9\n".encode(encoding))
    with pytest.raises(RawFileError, match=r"design_topics\.csv: not a CSV in UTF-8 .* Save it as UTF-8"):
        ENRICO.build_cohort(tmp_path, CLEAN)


def test_an_unknown_topic_is_counted_and_another_table_refused(tmp_path):
    worlds.enrico(tmp_path)
    path = tmp_path / "design_topics.csv"
    table = path.read_text()
    path.write_text(table.replace("50101,form", "50101,brochure"))
    assert ENRICO.build_cohort(tmp_path, CLEAN).excluded["the topic is unknown"] == 1
    path.write_text(table.replace("screen_id", "id"))
    with pytest.raises(ContractError, match="column 'screen_id' is missing"):
        ENRICO.build_cohort(tmp_path, CLEAN)
    path.write_text(table + "50103,form\n")
    with pytest.raises(ContractError, match="a screen is named twice"):
        ENRICO.build_cohort(tmp_path, CLEAN)
    with pytest.raises(ParamsError, match="height is 0"):
        EnricoParams(height=0)
    (tmp_path / "wireframes").rename(tmp_path / "elsewhere")
    assert "lacks wireframes/" in ENRICO.inspect(tmp_path).problem
