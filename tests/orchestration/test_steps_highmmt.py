"""The steps over several data sets: there when `params.yaml` names them, with everything they read."""

import re
from pathlib import Path

import pytest
import yaml

from mmn.data import load_dataset
from mmn.data.dataset import Inspection
from mmn.data.errors import ParamsError
from mmn.orchestration.actions.heterogeneity import by_lot
from mmn.orchestration.settings import highmmt_training, joined_names
from mmn.orchestration.steps import activate, build_steps, check_params

THREE = ("mimic", "edu", "weather2k")


def steps_of(block: dict, datasets=THREE, skipped: dict | None = None):
    params = {"highmmt": block}
    check_params(params)
    inspection = Inspection(version="any", found={}, skipped=skipped or {})
    return build_steps({name: activate(load_dataset(name), inspection, params) for name in datasets})


def ours(steps) -> dict:
    return {key.rpartition("/")[2]: step for key, step in steps.items() if key.startswith("results/highmmt/")}


def test_eleven_modalities_of_three_data_sets_are_joined_where_they_are_named():
    assert not ours(steps_of({}))
    found = ours(steps_of({"datasets": list(THREE)}))
    assert list(found) == [
        "unimodal", "crossmodal", "sharing", "transfer", "ablations", "involvement", "interference",
    ]  # fmt: skip
    assert "results/highmmt/sharing" in found["involvement"].deps and "results/highmmt/sharing" in (
        found["interference"].deps
    )
    read = [key for key in found["unimodal"].deps if key.startswith("features/")]
    assert len(read) == 11 and not any("autoencoded" in key for key in read)
    assert {"results/highmmt/unimodal", "results/highmmt/crossmodal"} < set(found["sharing"].deps)
    assert sum(map(len, found["sharing"].options["tasks"].values())) == 10
    assert (
        "report" in (steps := steps_of({"datasets": list(THREE)})) and "results/highmmt/sharing" in steps["report"].deps
    )


def test_what_is_switched_off_or_not_there_is_no_step():
    off = {"crossmodal": False, "few_shot": [], "ablations": False, "analyses": False}
    assert set(ours(steps_of({"datasets": list(THREE), **off}))) == {"unimodal", "sharing"}
    assert not ours(steps_of({"datasets": ["mimic", "edu"]}, datasets=("mimic",)))
    two = ours(steps_of({"datasets": ["mimic", "edu"]}, datasets=("mimic", "edu", "weather2k")))
    assert set(two["unimodal"].options["modalities"]) == {"mimic", "edu"}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"datasets": ["mimic", "edu2"]}, "highmmt.datasets has no setting 'edu2'. Did you mean 'edu'"),
        ({"datasets": ["mimic"]}, "two or more"),
        ({"datasets": list(THREE), "measuring": {"epoch": 3}}, "highmmt.measuring has no setting 'epoch'"),
        ({"datasets": list(THREE), "training": {"mode": "paper"}}, "training names mode: `mode` decides it once"),
        ({"datasets": list(THREE), "tuning": {"marks": "learnt"}}, "tuning names marks: `mode` decides it once"),
        ({"datasets": list(THREE), "cross_group": [-1]}, "cross_group must be a list of weights"),
        ({"datasets": list(THREE), "training": {"task_weights": {"mortalty": 2}}}, "task_weights has no .*'mortalty'"),
        ({"datasets": list(THREE), "tasks": {"edu": ["dropout_"]}}, r"highmmt.tasks.edu has no setting 'dropout_'"),
        ({"datasets": list(THREE), "mode": "coded"}, "mode"),
        ({"seed": [1]}, "highmmt has no setting 'seed'. Did you mean 'seeds'"),
    ],
)
def test_a_wrong_block_is_refused_with_the_place(block, message):
    with pytest.raises(ParamsError, match=message):
        steps_of(block, datasets=("mimic", "mimic_icu", "edu"))


def test_modalities_of_one_name_get_their_data_sets_before_it():
    found = ours(steps_of({"datasets": ["mimic", "mimic_icu", "edu"]}, datasets=("mimic", "mimic_icu", "edu")))
    names = found["sharing"].options["names"]
    assert names["mimic"]["demographics"] == "mimic_demographics" and names["edu"] == {"problem": "problem",
                                                                                       "video": "video"}  # fmt: skip
    large = joined_names(("mimic_iii", "avmnist", "mosei", "ur_funny"))  # the paper's large setting
    every = [name for of_set in large.values() for name in of_set.values()]
    assert len(every) == len(set(every)) == 10 and large["avmnist"] == {"image": "image", "audio": "avmnist_audio"}
    assert highmmt_training({"highmmt": {"datasets": ["avmnist", "vision_touch"]}}, "tuning").tokens.keys() == {
        "avmnist_image", "audio", "vision_touch_image", "depth", "force", "proprio", "action",
    }  # fmt: skip


def test_a_share_of_the_pairs_is_drawn_by_lot_and_the_same_twice():
    names = [f"m{n}" for n in range(11)]
    assert by_lot(names, 1.0) is None
    few = by_lot(names, 0.2)
    assert few == by_lot(names, 0.2) and len(few) == 11 == len(set(few))


@pytest.mark.parametrize("page", ["multibench", "highmmt"])
def test_every_block_of_settings_in_the_docs_is_understood(page):
    text = (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]
    assert len(blocks) >= 3
    for block in blocks:
        check_params(block)
        for phase in ("training", "measuring", "tuning"):
            highmmt_training(block, phase)
