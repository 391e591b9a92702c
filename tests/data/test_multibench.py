"""MultiBench's files on toy worlds: what each reader gives, refuses, and where the published loaders differ."""

import random

import numpy as np
import pytest

from mmn.data.cohort import check_cohort
from mmn.data.errors import CohortError, ContractError, ParamsError, RawFileError
from mmn.data.multibench.avmnist import AVMNIST
from mmn.data.multibench.mimic_iii import MIMIC_III
from mmn.data.multibench.mosei import MOSEI
from mmn.data.multibench.params import MultiBenchParams
from mmn.data.multibench.ur_funny import UR_FUNNY
from mmn.featurizers import load_featurizer
from tests.data import multibench_worlds as worlds

CLEAN, PUBLISHED = MultiBenchParams(), MultiBenchParams(mode="published")


def embedded(dataset, raw, modality, cohort, params=CLEAN):
    """Through the featurizer that the data set names, as a model would read it: (N, T, D) and who is present."""
    featurizer = load_featurizer(dataset.modality(modality).featurizer)
    evidence = dataset.read_evidence(raw, modality, cohort, params)
    made = featurizer.run(evidence, cohort, modality, featurizer.defaults, lambda done, total: None)
    return made.embeddings.values[0], made.embeddings.present, evidence


@pytest.mark.parametrize(
    ("dataset", "make", "steps"),
    [
        (AVMNIST, worlds.avmnist, 1),
        (MOSEI, worlds.mosei, 50),
        (UR_FUNNY, worlds.ur_funny, 50),
        (MIMIC_III, worlds.mimic_iii, 24),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_data_set_gives_one_sound_fold_and_an_embedding_of_each_modality(tmp_path, dataset, make, steps):
    assert dataset.inspect(tmp_path).problem
    make(tmp_path)
    inspection = dataset.inspect(tmp_path)
    assert inspection.problem is None
    assert set(inspection.found) == set(dataset.sources)
    cohort = dataset.build_cohort(tmp_path, CLEAN)
    check_cohort(cohort, dataset.name)
    assert cohort.num_folds == 1
    assert cohort.num_steps == steps
    assert set(cohort.targets) == {task.name for task in dataset.tasks}
    for task in dataset.tasks:
        classes = len(task.classes) if task.kind == "multiclass" else 2
        assert set(np.unique(cohort.targets[task.name])) == set(range(classes))
        assert task.read_step == steps - 1
    few = dataset.build_cohort(tmp_path, MultiBenchParams(limit=2))
    assert len(few) == 6
    assert few.excluded["beyond `limit`"] == len(cohort) - 6
    for modality in dataset.modalities:
        values, present, _ = embedded(dataset, tmp_path, modality.name, few)
        everyone, _, _ = embedded(dataset, tmp_path, modality.name, cohort)
        assert present.any(axis=1).all()
        at = [list(cohort.items["item"]).index(item) for item in few.items["item"]]
        assert np.array_equal(values, everyone[at], equal_nan=True), "an item's evidence is its own"


def test_unknown_modes_and_limits_are_refused():
    with pytest.raises(ParamsError, match="'publisht' is unknown"):
        MultiBenchParams(mode="publisht")
    with pytest.raises(ParamsError, match="limit is -1"):
        MultiBenchParams(limit=-1)


def test_folds_of_our_own_keep_subjects_apart_and_use_every_item(tmp_path):
    worlds.mosei(tmp_path)
    cohort = MOSEI.build_cohort(tmp_path, MultiBenchParams(num_folds=3))
    check_cohort(cohort, "mosei")
    assert cohort.num_folds == 3
    assert any("published split is not used" in note for note in cohort.notes)
    tested = [item for fold in range(3) for item in cohort.items["item"].iloc[cohort.rows(fold, "test")]]
    assert len(tested) == len(set(tested))
    with pytest.raises(ParamsError, match="mode published has one fold"):
        MultiBenchParams(num_folds=3, mode="published")
    with pytest.raises(ParamsError, match="num_folds is 0"):
        MultiBenchParams(num_folds=0)


# AV-MNIST


def test_av_mnist_is_split_as_published_and_divided_by_255(tmp_path):
    worlds.avmnist(tmp_path)
    cohort = AVMNIST.build_cohort(tmp_path, CLEAN)
    assert [len(cohort.rows(0, split)) for split in ("train", "validation", "test")] == [110, 10, 40]
    assert cohort.items["item"].iloc[cohort.rows(0, "validation")[0]] == "train-00110"
    values, _, evidence = embedded(AVMNIST, tmp_path, "audio", cohort)
    raw = np.load(tmp_path / "audio" / "test_data.npy")[7] / 255
    at = list(cohort.items["item"]).index("test-00007")
    assert np.allclose(values[at, 0].reshape(112, 112), raw)
    assert evidence.names[113] == "row 1 column 1"


def test_av_mnist_counts_labels_that_are_no_digit_and_refuses_other_pictures(tmp_path):
    worlds.avmnist(tmp_path)
    labels = np.load(tmp_path / "train_labels.npy").astype(float)
    labels[:3] = [10, 2.5, np.nan]
    np.save(tmp_path / "train_labels.npy", labels)
    cohort = AVMNIST.build_cohort(tmp_path, CLEAN)
    assert cohort.excluded == {"the label is no digit": 3}
    assert not set(cohort.items["item"]) & {"train-00000", "train-00001", "train-00002"}
    values = np.load(tmp_path / "image" / "test_data.npy")
    np.save(tmp_path / "image" / "test_data.npy", values[:, :783])
    with pytest.raises(ContractError, match=r"test_data\.npy: shape 40 x 783, expected 40 x 784"):
        AVMNIST.read_evidence(tmp_path, "image", cohort, CLEAN)
    np.save(tmp_path / "image" / "test_data.npy", values[:30])
    with pytest.raises(ContractError, match="shape 30 x 784, expected 40 x 784"):
        AVMNIST.read_evidence(tmp_path, "image", cohort, CLEAN)
    np.save(tmp_path / "image" / "test_data.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(RawFileError, match="file of Python objects is refused"):
        AVMNIST.read_evidence(tmp_path, "image", cohort, CLEAN)


# MOSEI and UR-FUNNY


def test_a_sentence_begins_at_its_first_word_and_what_follows_it_is_absent(tmp_path):
    file = worlds.mosei(tmp_path)
    cohort = MOSEI.build_cohort(tmp_path, CLEAN)
    item = list(cohort.items["item"]).index("valid-00004")
    spoken = (file["valid"]["text"][4] != 0).any(axis=1)
    words = file["valid"]["audio"][4][spoken].astype(float)
    wanted = (words - words.mean(axis=0)) / words.std(axis=0, ddof=1)
    values, present, _ = embedded(MOSEI, tmp_path, "audio", cohort)
    assert present[item].tolist() == [True] * len(words) + [False] * (50 - len(words))
    assert np.allclose(values[item, : len(words)], wanted, atol=1e-4)
    published, all_there, _ = embedded(MOSEI, tmp_path, "audio", cohort, PUBLISHED)
    assert all_there.all()
    assert np.allclose(published[item, : len(words)], wanted, atol=1e-4)
    assert (published[item, len(words) :] == 0).all()


def test_sentences_without_text_are_left_out_and_silent_faces_are_absent(tmp_path):
    file = worlds.mosei(tmp_path)
    file["train"]["text"][[1, 5]] = 0
    file["train"]["labels"][2] = np.nan
    file["test"]["vision"][3] = 0
    file["test"]["audio"][4, -1, 7] = -np.inf
    worlds.write_pickle(tmp_path / "mosei_senti_data.pkl", file)
    cohort = MOSEI.build_cohort(tmp_path, CLEAN)
    assert cohort.excluded == {"all-zero text": 2, "no label": 1}
    items = list(cohort.items["item"])
    _, present, evidence = embedded(MOSEI, tmp_path, "vision", cohort)
    assert not present[items.index("test-00003")].any()
    assert evidence.quarantined == {"all zero, so absent": 1}
    values, present, evidence = embedded(MOSEI, tmp_path, "audio", cohort)
    assert evidence.quarantined == {"values that are no number or infinite": 1}
    row = values[items.index("test-00004")][present[items.index("test-00004")]]
    assert np.isnan(row[-1, 7])
    assert np.isfinite(np.delete(row, 7, axis=1)).all()
    assert np.isfinite(row[:-1, 7]).all()
    published, _, _ = embedded(MOSEI, tmp_path, "audio", cohort, PUBLISHED)
    assert (published[items.index("test-00004"), :, 7] == 0).all(), "the released loader loses the whole feature"


def test_a_neutral_sentence_is_not_negative(tmp_path):
    file = worlds.mosei(tmp_path)
    file["test"]["labels"][:3, 0, 0] = [0.0, -0.01, 3.0]
    worlds.write_pickle(tmp_path / "mosei_senti_data.pkl", file)
    cohort = MOSEI.build_cohort(tmp_path, CLEAN)
    at = [list(cohort.items["item"]).index(f"test-0000{row}") for row in range(3)]
    assert cohort.targets["sentiment"][at].tolist() == [1, 0, 1]


def test_a_video_on_two_sides_stays_on_the_later_one_and_is_told_of_where_it_does_not(tmp_path):
    file = worlds.mosei(tmp_path)
    file["train"]["id"][:4] = ["testvideo0[90]", "testvideo0[91]", "validvideo1_8", "other"]
    worlds.write_pickle(tmp_path / "mosei_senti_data.pkl", file)
    cohort = MOSEI.build_cohort(tmp_path, CLEAN)
    assert cohort.excluded == {"the subject is in a later split as well": 3}
    check_cohort(cohort, "mosei")
    published = MOSEI.build_cohort(tmp_path, PUBLISHED)
    assert len(published) == len(cohort) + 3
    assert any("2 subjects sit on two sides" in note for note in published.notes)
    check_cohort(published, "mosei")


def test_the_other_mosei_file_is_refused_by_its_713_visual_features(tmp_path):
    worlds.mosei(tmp_path, num=4, widths={**worlds.MOSEI_WIDTHS, "vision": 713})
    with pytest.raises(ContractError, match=r"train\.vision: shape 4 x 50 x 713, expected 4 x any x 35.*has 713"):
        MOSEI.build_cohort(tmp_path, CLEAN)


def test_a_file_without_a_split_or_an_array_is_refused(tmp_path):
    file = worlds.mosei(tmp_path, num=4)
    worlds.write_pickle(tmp_path / "mosei_senti_data.pkl", {key: file[key] for key in ("train", "test")})
    with pytest.raises(ContractError, match="does not hold train, valid, test, each with its arrays; valid is missing"):
        MOSEI.build_cohort(tmp_path, CLEAN)
    worlds.write_pickle(tmp_path / "mosei_senti_data.pkl", {"valid": file["valid"], "test": [1]})
    with pytest.raises(ContractError, match=r"arrays; train is missing; test is no dict\. "):
        MOSEI.build_cohort(tmp_path, CLEAN)
    worlds.write_pickle(tmp_path / "mosei_senti_data.pkl", [1])
    with pytest.raises(ContractError, match=r"arrays; it is no dict but list\. "):
        MOSEI.build_cohort(tmp_path, CLEAN)
    del file["test"]["audio"]
    worlds.write_pickle(tmp_path / "mosei_senti_data.pkl", file)
    with pytest.raises(ContractError, match="test has no array 'audio'"):
        MOSEI.build_cohort(tmp_path, CLEAN)


def test_ur_funny_takes_both_ways_of_writing_no_and_says_that_speakers_are_not_named(tmp_path):
    file = worlds.ur_funny(tmp_path)
    file["test"]["labels"][:3, 0] = [-1, 1, 7]
    worlds.write_pickle(tmp_path / "humor.pkl", file)
    cohort = UR_FUNNY.build_cohort(tmp_path, CLEAN)
    assert cohort.excluded == {"no label": 1}
    at = [list(cohort.items["item"]).index(f"test-0000{row}") for row in range(2)]
    assert cohort.targets["humor"][at].tolist() == [0, 1]
    assert any("which video" in note for note in cohort.notes)


def test_a_split_without_items_is_refused(tmp_path):
    file = worlds.ur_funny(tmp_path)
    file["valid"]["text"][:] = 0
    worlds.write_pickle(tmp_path / "humor.pkl", file)
    with pytest.raises(CohortError, match=r"the validation split has no item; left out: \{'all-zero text': 12\}"):
        UR_FUNNY.build_cohort(tmp_path, CLEAN)


# MIMIC-III


def test_mimic_iii_is_shuffled_as_published_and_its_first_tenth_is_validation(tmp_path):
    worlds.mimic_iii(tmp_path)
    cohort = MIMIC_III.build_cohort(tmp_path, CLEAN)
    rows = list(range(60))
    random.Random(10).shuffle(rows)
    for split, wanted in (("validation", rows[:6]), ("test", rows[6:12]), ("train", rows[12:])):
        assert sorted(cohort.items["row"].iloc[cohort.rows(0, split)]) == sorted(wanted)


def test_mortality_is_the_first_column_that_is_set(tmp_path):
    file = worlds.mimic_iii(tmp_path)
    file["adm_labels_all"] = np.tile([1.0, 0, 0, 0, 0, 0], (60, 1))
    file["adm_labels_all"][1] = [0, 0, 1, 1, 1, 1]
    file["adm_labels_all"][2] = [0, 0, 0, 0, 0, 1]
    file["adm_labels_all"][3] = [0, 0, np.nan, 0, 0, 1]
    worlds.write_pickle(tmp_path / "im.pk", file)
    cohort = MIMIC_III.build_cohort(tmp_path, CLEAN)
    assert np.array_equal(cohort.targets["mortality"][:4], [0, 2, 5, np.nan], equal_nan=True)


def test_mimic_iii_is_scaled_with_test_rows_in_mode_published_alone(tmp_path):
    file = worlds.mimic_iii(tmp_path)
    file["ep_tdata"][0, 3, 2], file["adm_features_all"][1, 4] = np.nan, np.inf
    worlds.write_pickle(tmp_path / "im.pk", file)
    cohort = MIMIC_III.build_cohort(tmp_path, PUBLISHED)
    assert any("test included" in note for note in cohort.notes)
    values, _, _ = embedded(MIMIC_III, tmp_path, "series", cohort, PUBLISHED)
    assert np.allclose(values.mean(axis=(0, 1)), 0, atol=1e-5)
    assert np.allclose(values.std(axis=(0, 1)), 1, atol=1e-4)
    values, _, _ = embedded(MIMIC_III, tmp_path, "series", cohort, CLEAN)
    assert np.isnan(values[0, 3, 2])
    assert np.allclose(values[5], file["ep_tdata"][5])
    facts, _, evidence = embedded(MIMIC_III, tmp_path, "facts", cohort, CLEAN)
    assert np.isnan(facts[1, 0, 4])
    assert evidence.quarantined == {"values that are no number or infinite": 1}


def test_mimic_iii_with_30_signals_or_uneven_arrays_is_refused(tmp_path):
    file = worlds.mimic_iii(tmp_path)
    worlds.write_pickle(tmp_path / "im.pk", {**file, "ep_tdata": np.zeros((60, 24, 30))})
    with pytest.raises(ContractError, match="ep_tdata: shape 60 x 24 x 30, expected any x 24 x 12"):
        MIMIC_III.build_cohort(tmp_path, CLEAN)
    worlds.write_pickle(tmp_path / "im.pk", {**file, "y_icd9": file["y_icd9"][:50]})
    with pytest.raises(ContractError, match=r"different lengths.*y_icd9 50"):
        MIMIC_III.build_cohort(tmp_path, CLEAN)
