"""Gentle Push and Vision&Touch on toy worlds of HDF5."""

import numpy as np
import pytest

from mmn.data.cohort import check_cohort
from mmn.data.errors import ContractError, ParamsError, RawFileError
from mmn.data.multibench import hdf5
from mmn.data.multibench.gentle_push import DEVIATIONS, GENTLE_PUSH, MEANS
from mmn.data.multibench.params import MultiBenchParams
from mmn.data.multibench.vision_touch import VISION_TOUCH, VisionTouchParams
from mmn.data.multibench.vision_touch_split import clean_sides, published_sides
from mmn.featurizers import load_featurizer
from tests.data import multibench_worlds as worlds

CLEAN, PUBLISHED = MultiBenchParams(), MultiBenchParams(mode="published")
needs_h5py = pytest.mark.skipif(not hdf5.installed(), reason="the extra 'multibench' (h5py) is not installed")


def test_without_h5py_the_inspection_and_the_reader_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for num in (1000, 10, 300):
        (tmp_path / f"gentle_push_{num}.hdf5").touch()
    assert "pip install 'mmn[multibench]'" in GENTLE_PUSH.inspect(tmp_path).problem
    with pytest.raises(RawFileError, match=r"gentle_push_1000\.hdf5: HDF5 files are read with h5py"):
        GENTLE_PUSH.build_cohort(tmp_path, CLEAN)


# Gentle Push


@needs_h5py
def test_trajectories_are_cut_into_overlapping_windows_that_stay_on_their_side(tmp_path):
    worlds.gentle_push(tmp_path)
    assert GENTLE_PUSH.inspect(tmp_path).problem is None
    cohort = GENTLE_PUSH.build_cohort(tmp_path, CLEAN)
    check_cohort(cohort, "gentle_push")
    # Of 40 steps: 0, 16 and 8, 24; of 30: 0 and 8.
    starts = cohort.items.loc[cohort.rows(0, "train")].groupby("trajectory")["start"].apply(list).to_dict()
    assert starts == {0: [0, 16, 8, 24], 1: [0, 8]}
    assert cohort.targets["x"].shape == (18, 16)
    assert GENTLE_PUSH.task("x").per_step


@needs_h5py
def test_a_window_holds_its_own_steps_and_the_step_before(tmp_path):
    import h5py

    worlds.gentle_push(tmp_path)
    cohort = GENTLE_PUSH.build_cohort(tmp_path, CLEAN)
    at = list(cohort.items["item"]).index("test-0000-0008")
    with h5py.File(tmp_path / "gentle_push_300.hdf5") as file:
        held = {name: array[()] for name, array in file["trajectory0"].items()}
    found = {}
    for modality in GENTLE_PUSH.modalities:
        evidence = GENTLE_PUSH.read_evidence(tmp_path, modality.name, cohort, CLEAN)
        run = load_featurizer(modality.featurizer)
        made = run.run(evidence, cohort, modality.name, run.defaults, lambda done, total: None)
        assert made.embeddings.present.all()
        found[modality.name] = made.embeddings.values[0, at]
    hand = held["eef_pos"]
    assert np.allclose(found["position"], hand[8:24])
    assert np.allclose(found["sensors"], np.column_stack([held["force"], held["contact"]])[8:24])
    assert np.allclose(found["image"].reshape(16, 32, 32), held["image"][8:24])
    assert np.allclose(found["control"][:, :3], hand[7:23])
    assert np.allclose(found["control"][:, 3:6], hand[8:24] - hand[7:23], atol=1e-6)
    assert np.allclose(cohort.targets["y"][at], held["Cylinder0_pos"][8:24, 1])
    first = list(cohort.items["item"]).index("test-0000-0000")
    control = GENTLE_PUSH.read_evidence(tmp_path, "control", cohort, CLEAN).values[first]
    assert (control[0, 3:6] == 0).all()


@needs_h5py
def test_mode_published_scales_by_the_written_constants(tmp_path):
    worlds.gentle_push(tmp_path)
    clean, published = (GENTLE_PUSH.build_cohort(tmp_path, params) for params in (CLEAN, PUBLISHED))
    assert any("constants" in note for note in published.notes)
    assert np.allclose(
        published.targets["x"], (clean.targets["x"] - MEANS["target"][0]) / DEVIATIONS["target"][0], atol=1e-5
    )
    raw, scaled = (GENTLE_PUSH.read_evidence(tmp_path, "position", clean, p).values for p in (CLEAN, PUBLISHED))
    assert np.allclose(scaled, (raw - MEANS["position"]) / DEVIATIONS["position"], atol=1e-3)


@needs_h5py
def test_short_trajectories_are_counted_and_wrong_files_refused(tmp_path):
    import h5py

    worlds.gentle_push(tmp_path, lengths=(20, 9))
    assert GENTLE_PUSH.build_cohort(tmp_path, CLEAN).excluded == {"trajectories shorter than 16 steps": 3}
    path = tmp_path / "gentle_push_10.hdf5"
    with h5py.File(path, "a") as file:
        del file["trajectory0/Cylinder0_pos"]
    with pytest.raises(ContractError, match="trajectory0: has no array 'Cylinder0_pos'; it holds contact, eef_pos"):
        GENTLE_PUSH.build_cohort(tmp_path, CLEAN)
    with h5py.File(path, "w") as file:
        file.create_group("walk0")
    with pytest.raises(ContractError, match="does not hold trajectory0"):
        GENTLE_PUSH.build_cohort(tmp_path, CLEAN)
    path.write_bytes(b"\x89HDF\r\n cut short")
    with pytest.raises(RawFileError, match="not a whole HDF5 file"):
        GENTLE_PUSH.build_cohort(tmp_path, CLEAN)
    path.unlink()
    assert "lacks gentle_push_10.hdf5" in GENTLE_PUSH.inspect(tmp_path).problem


# Vision & Touch


@pytest.fixture(scope="module")
def touched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vision_touch")
    worlds.vision_touch(folder)
    return folder


@needs_h5py
def test_every_step_with_a_next_one_is_an_item_and_runs_stay_on_one_side(touched):
    import h5py

    assert VISION_TOUCH.inspect(touched).found == {"trajectories": "20 files"}
    cohort = VISION_TOUCH.build_cohort(touched, VisionTouchParams())
    check_cohort(cohort, "vision_touch")
    assert len(cohort) == 20 * 5
    runs = {split: set(cohort.items["subject"].str[:4].iloc[cohort.rows(0, split)]) for split in ("train", "test")}
    assert not runs["train"] & runs["test"]
    at = list(cohort.items["item"]).index("run3_1/02")
    with h5py.File(touched / "run3_1_1000.h5") as file:
        assert cohort.targets["contact_next"][at] == float(file["contact"][3].any())
        hand = [cohort.targets[task][at] for task in VISION_TOUCH.multitask["hand_next"]]
        np.testing.assert_allclose(hand, file["proprio"][3, :4])
        held = {name: array[()] for name, array in file.items()}
    read = {
        modality.name: VISION_TOUCH.read_evidence(touched, modality.name, cohort, VisionTouchParams())
        for modality in VISION_TOUCH.modalities
    }
    values = {name: evidence.values[at] for name, evidence in read.items()}
    assert all(len(evidence.names) == evidence.values.shape[1] for evidence in read.values())
    assert np.allclose(values["force"].reshape(6, 32), np.tanh(held["ee_forces_continuous"][2, -32:].T))
    assert np.allclose(values["action"], held["action"][3])
    assert np.allclose(values["proprio"], held["proprio"][2])
    image = values["image"].reshape(3, 32, 32)
    assert np.allclose(image[1, 0, 5], held["image"][2, :4, 20:24, 1].mean() / 255)
    assert np.allclose(values["depth"].reshape(32, 32)[31, 0], held["depth_data"][2, 124:, :4, 0].mean())
    full = VISION_TOUCH.read_evidence(touched, "depth", cohort, VisionTouchParams(image_size=128)).values[at]
    assert np.array_equal(full.reshape(128, 128), held["depth_data"][2, :, :, 0])


@needs_h5py
def test_the_published_test_items_are_the_validation_items_and_the_notes_say_so(touched):
    params = VisionTouchParams(mode="published", image_size=32)
    cohort = VISION_TOUCH.build_cohort(touched, params)
    check_cohort(cohort, "vision_touch")
    sides = [set(cohort.items["subject"].iloc[cohort.rows(0, split)]) for split in ("validation", "test", "train")]
    assert sides[0] == sides[1]
    assert not sides[0] & sides[2]
    assert any("by which the models were chosen" in note for note in cohort.notes)
    last = cohort.items[cohort.items["item"].str.endswith("/04")]
    assert (last["step"] < 4).all()
    assert np.array_equal(*(VISION_TOUCH.build_cohort(touched, params).items["step"] for _ in range(2)))


def test_the_published_draw_loses_trajectories_and_ours_does_not():
    names = tuple(sorted(f"run{run}_{number}_1000.h5" for run in range(12) for number in range(20)))
    sides, _ = published_sides(names, seed=0)
    drawn = np.random.RandomState(0).randint(0, 240, 48)
    lost = [name for name, side in sides.items() if side is None]
    assert len(lost) == 48 - len(set(drawn))
    assert all(sides[names[at]] == "validation" for at in drawn)
    ours, notes = clean_sides(names, seed=0)
    assert list(ours.values()).count("test") == list(ours.values()).count("validation") == 20
    assert len({(name[:5], side) for name, side in ours.items()}) == 12
    assert "by run" in notes[0]
    assert "by trajectory" in clean_sides(names[:40], seed=0)[1][0]
    assert ours != clean_sides(names, seed=1)[0]
    with pytest.raises(ContractError, match="does not end in a number"):
        published_sides(("some_1000.h5", "other_1000.h5"), seed=0)


@needs_h5py
def test_other_sizes_are_refused(tmp_path):
    import h5py

    with pytest.raises(ParamsError, match="image_size is 33; it must divide 128"):
        VisionTouchParams(image_size=33)
    worlds.vision_touch(tmp_path, runs=3, numbers=1, num_steps=3)
    cohort = VISION_TOUCH.build_cohort(tmp_path, VisionTouchParams())
    with h5py.File(tmp_path / "run1_0_1000.h5", "a") as file:
        del file["image"], file["proprio"]
        file["image"] = np.zeros((3, 64, 64, 3))
        file["proprio"] = np.zeros((3, 7))
    with pytest.raises(ContractError, match=r"run1_0_1000\.h5: image has pictures of \(64, 64, 3\)"):
        VISION_TOUCH.read_evidence(tmp_path, "image", cohort, VisionTouchParams())
    with pytest.raises(ContractError, match="proprio: shape 3 x 7, expected any x 8"):
        VISION_TOUCH.read_evidence(tmp_path, "proprio", cohort, VisionTouchParams())
