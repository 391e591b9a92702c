"""What a model's card says of the evidence it was trained on."""

import dataclasses
import errno

import pytest

from mmn.data.dataset import Inspection
from mmn.data.errors import MmnError
from mmn.orchestration.actions.model_inputs import notes_of
from mmn.orchestration.walk import said_if_full
from tests.orchestration.toy import STEPS, make_toy


def test_a_models_card_says_which_modalities_the_raw_files_do_not_have(tmp_path):
    toy = make_toy(tmp_path)
    key = next(key for key in STEPS if key.startswith("models/"))
    job = toy.job(key)
    assert notes_of(job) == ()
    gone = Inspection(version="1", found={}, skipped={"a": "its file is not there"})
    without = {"toy": dataclasses.replace(toy.active["toy"], inspection=gone)}
    told = ("not read, as the raw files for it are not there: a",)
    assert notes_of(dataclasses.replace(job, active=without)) == told


def test_a_full_disk_is_said_with_the_way_on_and_another_trouble_of_a_disk_stays_what_it_is(tmp_path):
    with (
        pytest.raises(MmnError, match=r"there/x: no room left on its disk \(.* MB are free.*mmn prune"),
        said_if_full(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", "there/x")
    with pytest.raises(OSError, match="away"), said_if_full(tmp_path):
        raise OSError(errno.EIO, "away")
