"""What a model's card says of the evidence it was trained on."""

import dataclasses

from mmn.data.dataset import Inspection
from mmn.orchestration.actions.model_inputs import notes_of
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
