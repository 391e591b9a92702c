"""The two contracts that pass between rooms: they survive the disk, and refuse what breaks them."""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmn.data.cohort import Cohort, check_cohort, read_cohort, write_cohort
from mmn.data.embeddings import Embeddings, check_embeddings, embeddings_from_rows, read_embeddings, write_embeddings
from mmn.data.errors import CohortError, ContractError
from mmn.data.folds import subject_folds
from mmn.data.scaling import fit_scaler


def make_cohort(num_subjects: int = 30, per_subject: int = 2, seed: int = 0) -> Cohort:
    rng = np.random.default_rng(seed)
    subjects = np.repeat([f"s{i}" for i in range(num_subjects)], per_subject)
    items = pd.DataFrame({"item": [f"i{i}" for i in range(len(subjects))], "subject": subjects})
    items["prediction_time"] = pd.Timestamp("2150-01-01")
    label = rng.integers(0, 2, len(items)).astype(float)
    label[0] = np.nan
    series = rng.random((len(items), 3))
    series[1, 2] = np.nan
    return Cohort(
        items=items,
        targets={"label": label, "series": series},
        folds=subject_folds(items, np.nan_to_num(label).astype(int), 5, seed),
        num_steps=3,
        excluded={"no label": 4},
        notes=("a note",),
    )


def test_a_cohort_survives_the_disk_with_its_missing_labels(tmp_path):
    cohort = make_cohort()
    check_cohort(cohort, "cohorts/x")
    write_cohort(tmp_path / "c", cohort, {"step": "cohorts/x", "inputs": {}})
    back = read_cohort(tmp_path / "c")
    np.testing.assert_array_equal(back.targets["label"], cohort.targets["label"])
    np.testing.assert_array_equal(back.targets["series"], cohort.targets["series"])
    assert list(back.items["item"]) == list(cohort.items["item"])
    assert back.excluded == {"no label": 4} and back.num_folds == 5


@settings(max_examples=25, deadline=None)
@given(num_subjects=st.integers(12, 60), per_subject=st.integers(1, 4), seed=st.integers(0, 9))
def test_folds_are_subject_disjoint_complete_and_their_tests_share_nobody(num_subjects, per_subject, seed):
    cohort = make_cohort(num_subjects, per_subject, seed)
    check_cohort(cohort, "c")  # raises where a subject straddles
    tests = cohort.folds[cohort.folds["split"] == "test"]
    subject_of = cohort.items.set_index("item")["subject"]
    assert tests.assign(s=tests["item"].map(subject_of)).groupby("s")["fold"].nunique().max() == 1
    assert (cohort.folds.groupby("fold").size() == len(cohort)).all()


def test_folds_are_stratified():
    items = pd.DataFrame({"item": [f"i{i}" for i in range(200)], "subject": [f"s{i}" for i in range(200)]})
    label = (np.arange(200) % 4 == 0).astype(int)
    folds = subject_folds(items, label, 5, 0).merge(items.assign(label=label), on="item")
    # One in four is positive, so of the 20 test items of each fold 5 are, give or take one.
    assert folds[folds["split"] == "test"].groupby("fold")["label"].sum().between(4, 6).all()


def test_too_few_subjects_for_the_folds_is_said_with_the_numbers():
    items = pd.DataFrame({"item": list("abcdefgh"), "subject": list("aabbccdd")})
    with pytest.raises(CohortError, match=r"4 subjects are too few for 5 folds.*at least 10"):
        subject_folds(items, np.zeros(8, int), 5, 0)


def test_a_subject_on_two_sides_of_a_fold_is_refused():
    cohort = make_cohort()
    folds = cohort.folds.copy()
    row = folds.index[(folds["fold"] == 0) & (folds["split"] == "train")][0]
    folds.loc[row, "split"] = "test"
    broken = Cohort(items=cohort.items, targets={}, folds=folds)
    with pytest.raises(ContractError, match="1 values of `subject` sit on two sides of one fold"):
        check_cohort(broken, "cohorts/x")


def test_a_repeated_item_is_refused_with_its_count():
    cohort = make_cohort()
    items = cohort.items.copy()
    items.loc[1, "item"] = items.loc[0, "item"]
    with pytest.raises(ContractError, match=r"1 of 60 rows repeat an `item` key"):
        check_cohort(Cohort(items=items, targets={}, folds=cohort.folds), "cohorts/x")


@pytest.mark.parametrize("num_folds", [1, 3])
@pytest.mark.parametrize("num_steps", [1, 4])
def test_embeddings_survive_the_disk_with_null_where_absent(tmp_path, num_folds, num_steps):
    rng = np.random.default_rng(0)
    items = np.array([f"i{i}" for i in range(10)], dtype=object)
    present = rng.random((10, num_steps)) > 0.3
    values = rng.normal(size=(num_folds, 10, num_steps, 5)).astype(np.float32)
    values[:, ~present] = np.nan
    values[0, present.nonzero()[0][0], present.nonzero()[1][0], 2] = np.nan  # undefined, yet present
    made = Embeddings(items=items, values=values, present=present, names=tuple("abcde"))
    check_embeddings(made, items, "features/x/y")
    write_embeddings(tmp_path / "e.parquet", made, {"step": "features/x/y"})
    back = read_embeddings(tmp_path / "e.parquet")
    np.testing.assert_array_equal(back.values, made.values)
    np.testing.assert_array_equal(back.present, made.present)
    assert back.names == made.names and list(back.items) == list(items)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A series of 6 items over 3 steps, fitted for 2 folds, and its table."""
    path = tmp_path_factory.mktemp("series") / "e.parquet"
    values = np.arange(2 * 6 * 3 * 2, dtype=np.float32).reshape(2, 6, 3, 2)
    present = np.arange(18).reshape(6, 3) % 5 > 0
    items = np.array([f"i{i}" for i in range(6)], dtype=object)
    write_embeddings(path, Embeddings(items=items, values=values, present=present), {})
    return pq.read_table(path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t.sort_by([("fold", "ascending"), ("step", "ascending")]), id="sorted by step"),
        pytest.param(lambda t: t.sort_by([("item", "ascending"), ("step", "ascending")]), id="sorted by item"),
        pytest.param(lambda t: t.slice(0, len(t) - 3), id="an item is missing in a fold"),
        pytest.param(lambda t: t.slice(1), id="a step is missing"),
        pytest.param(lambda t: pa.concat_tables([t, t]), id="every row twice"),
        pytest.param(lambda t: t.take([1, 0, *range(2, len(t))]), id="two steps exchanged"),
        pytest.param(lambda t: t.take([*range(15), 15, 16, 14, *range(18, len(t))]), id="another item's step"),
        pytest.param(lambda t: t.set_column(2, "step", pa.array([10**12] * len(t))), id="a step beyond all measure"),
        pytest.param(lambda t: t.set_column(2, "step", pa.array([-1] * len(t))), id="a negative step"),
        pytest.param(lambda t: t.set_column(2, "step", pa.nulls(len(t), pa.int32())), id="no step"),
        pytest.param(lambda t: t.set_column(2, "step", pa.array(["one"] * len(t))), id="a step that is no number"),
        pytest.param(lambda t: t.set_column(1, "item", pa.nulls(len(t), pa.string())), id="no item"),
    ],
)
def test_a_table_whose_rows_are_not_every_fold_item_and_step_in_order_is_refused(stored, tmp_path, change):
    """What is read by its place would be another item's evidence."""
    pq.write_table(change(stored), tmp_path / "e.parquet")
    with pytest.raises(ContractError, match="rows are not every fold, item and step once, in this order"):
        read_embeddings(tmp_path / "e.parquet")


def test_items_may_come_in_any_order_as_long_as_each_keeps_its_steps(stored, tmp_path):
    kept = [fold * 18 + item * 3 + step for fold in range(2) for item in (4, 1, 5) for step in range(3)]
    pq.write_table(stored.take(kept), tmp_path / "some.parquet")
    pq.write_table(stored, tmp_path / "all.parquet")
    some, whole = read_embeddings(tmp_path / "some.parquet"), read_embeddings(tmp_path / "all.parquet")
    assert list(some.items) == ["i4", "i1", "i5"]
    np.testing.assert_array_equal(some.values, whole.values[:, [4, 1, 5]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.slice(0, 0), "has no row"),
        (lambda t: t.drop_columns("item"), "has no column item"),
        (lambda t: t.set_column(3, "embedding", pa.array([1.0] * len(t))), "not lists of one size"),
        (
            lambda t: t.set_column(
                3, "embedding", pa.concat_arrays([*t["embedding"][:-1].chunks, pa.nulls(1, t[3].type)])
            ),
            "present in one fold and absent in another",
        ),
    ],
)
def test_a_table_that_is_none_of_embeddings_is_refused(stored, tmp_path, change, message):
    pq.write_table(change(stored), tmp_path / "e.parquet")
    with pytest.raises(ContractError, match=message):
        read_embeddings(tmp_path / "e.parquet")


def test_a_table_that_a_disk_has_cut_is_refused(stored, tmp_path):
    pq.write_table(stored, tmp_path / "e.parquet")
    (tmp_path / "e.parquet").write_bytes((tmp_path / "e.parquet").read_bytes()[:-40])
    with pytest.raises(ContractError, match="not a whole parquet file"):
        read_embeddings(tmp_path / "e.parquet")


def test_an_infinite_value_is_refused():
    items = np.array(["a", "b"], dtype=object)
    values = np.array([[1.0, np.inf], [0.0, 1.0]])
    with pytest.raises(ContractError, match="1 present rows hold an infinite value"):
        check_embeddings(embeddings_from_rows(items, values, np.array([True, True])), items, "features/x/y")


def test_a_row_called_present_that_holds_nothing_is_refused():
    items = np.array(["a", "b"], dtype=object)
    values = np.array([[1.0, 2.0], [np.nan, np.nan]])
    with pytest.raises(ContractError, match="1 rows are called present but hold nothing"):
        check_embeddings(embeddings_from_rows(items, values, np.array([True, True])), items, "features/x/y")


def test_a_scaler_ignores_what_is_unknown_and_fills_it_with_the_training_mean():
    rows = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    scaler = fit_scaler(rows, "standard")
    # Column 0: mean 2, standard deviation 1 over the two known rows. Column 1 is constant: 0 throughout.
    np.testing.assert_allclose(scaler(rows), [[-1, 0], [1, 0], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(scaler(np.array([[4.0, 9.0]])), [[2, 0]], atol=1e-6)
    rows = np.array([[1.0, 5.0], [1.0, 5.0], [5.0, 5.0], [np.nan, 5.0]])
    minmax = fit_scaler(rows, "minmax")
    np.testing.assert_allclose(minmax(np.array([[2.0, 5.0], [9.0, 7.0]])), [[0.25, 0], [1, 0]], atol=1e-6)
    # The mean of 0, 0 and 1: neither the lowest value nor the middle of the range.
    np.testing.assert_allclose(minmax(np.array([[np.nan, np.nan]])), [[1 / 3, 0]], atol=1e-6)
    nothing_known = fit_scaler(np.full((2, 1), np.nan), "minmax")
    np.testing.assert_allclose(nothing_known(np.array([[np.nan], [3.0]])), [[0], [0]], atol=1e-6)


def test_folds_may_be_grouped_otherwise_only_where_a_note_says_so(tmp_path):
    cohort = make_cohort()
    items = cohort.items.assign(admission=cohort.items["item"])
    folds = subject_folds(items.assign(subject=items["admission"]), np.zeros(len(items), dtype=int), 5, 0)
    grouped = dataclasses.replace(cohort, items=items, folds=folds, fold_group="admission")
    with pytest.raises(ContractError, match="a note must say so"):
        check_cohort(grouped, "c")
    said = dataclasses.replace(grouped, notes=("folds are by admission: a patient may be on two sides",))
    check_cohort(said, "c")
    write_cohort(tmp_path / "c", said, {})
    assert read_cohort(tmp_path / "c").fold_group == "admission"
    with pytest.raises(ContractError, match="of `subject` sit on two sides"):
        check_cohort(dataclasses.replace(said, fold_group="subject"), "c")


def test_what_was_set_aside_is_in_the_table_beside_its_item(tmp_path):
    items = np.array(["a", "b", "c"], dtype=object)
    made = embeddings_from_rows(items, np.ones((3, 2)), np.array([True, False, True]))
    aside = pd.DataFrame(
        {"item": ["b", "c", "c"], "source": ["x", "y", "z"], "reason": ["image empty", "not a JPEG", "image empty"]}
    )
    write_embeddings(tmp_path / "e.parquet", made, {}, aside)
    assert pq.read_table(tmp_path / "e.parquet")["set_aside"].to_pylist() == [
        None, "image empty", "image empty; not a JPEG",
    ]  # fmt: skip
    np.testing.assert_array_equal(read_embeddings(tmp_path / "e.parquet").present, made.present)
