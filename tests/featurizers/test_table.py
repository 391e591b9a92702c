"""Plain facts: numbers pass, categories become columns that do not depend on the cohort."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import Cohort
from mmn.data.errors import ContractError
from mmn.data.evidence import TableEvidence
from mmn.featurizers.table import TABLE


def encode(rows: pd.DataFrame):
    names = [f"item{i}" for i in range(len(rows))]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    evidence = TableEvidence(rows=rows, quarantined={"a value that no version documents": 1})
    return TABLE.run(evidence, cohort, "demographics", TABLE.defaults, lambda done, total: None)


def gender(*values: str | None) -> pd.Categorical:
    return pd.Categorical(values, categories=["F", "M"])


def test_numbers_pass_and_categories_become_columns_with_one_for_unknown():
    made = encode(pd.DataFrame({"age": [61.0, np.nan, np.nan], "gender": gender("M", None, "F")}))
    assert made.embeddings.names == ("age", "gender: F", "gender: M", "gender: unknown")
    np.testing.assert_array_equal(made.embeddings.values[0, [0, 2], 0], [[61, 0, 1, 0], [np.nan, 1, 0, 0]])
    assert made.card["quarantined"] == {"a value that no version documents": 1}


def test_a_row_that_is_null_throughout_is_absent():
    made = encode(pd.DataFrame({"age": [61.0, np.nan], "gender": gender(None, None)})).embeddings
    assert made.present[:, 0].tolist() == [True, False]
    np.testing.assert_array_equal(made.values[0, 0, 0], [61, 0, 0, 1])
    assert np.isnan(made.values[0, 1]).all()


def test_the_width_follows_the_frozen_categories_not_the_cohort():
    one = encode(pd.DataFrame({"gender": gender("F")})).embeddings
    both = encode(pd.DataFrame({"gender": gender("F", "M")})).embeddings
    assert one.names == both.names


def test_a_category_that_is_called_unknown_is_the_column_of_nulls_too():
    column = pd.Categorical(["unknown", None, "yes"], categories=["yes", "unknown"])
    made = encode(pd.DataFrame({"age": [1.0, 2.0, 3.0], "insured": column})).embeddings
    assert made.names == ("age", "insured: yes", "insured: unknown")
    np.testing.assert_array_equal(made.values[0, :, 0, 2], [1, 1, 0])


@pytest.mark.parametrize(
    ("column", "message"),
    [(pd.Series(["a", "b"]), "frozen categories"), (pd.Series([1.0, np.inf]), "infinite")],
)
def test_free_text_and_infinities_are_refused(column, message):
    with pytest.raises(ContractError, match=message):
        encode(pd.DataFrame({"oddity": column}))


def test_rows_that_are_not_one_per_item_are_refused():
    names = ["item0"]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    with pytest.raises(ContractError, match="2 rows for 1 items"):
        evidence = TableEvidence(rows=pd.DataFrame({"age": [1.0, 2.0]}))
        TABLE.run(evidence, cohort, "demographics", TABLE.defaults, lambda done, total: None)
