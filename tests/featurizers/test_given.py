"""Vectors that somebody else made: taken as they are, or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import Cohort
from mmn.data.embeddings import check_embeddings
from mmn.data.errors import ContractError
from mmn.data.evidence import VectorEvidence
from mmn.featurizers.given import GIVEN

ITEMS = ["a", "b", "c"]


def take(values, present=(True, True, True), names=("x", "y"), dtype=np.float32):
    items = pd.DataFrame({"item": ITEMS, "subject": ITEMS, "prediction_time": pd.NaT})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    evidence = VectorEvidence(
        values=np.array(values, dtype=dtype),
        present=np.array(present),
        names=names,
        card={"vectors": "made elsewhere"},
        quarantined={"the vector of an empty note": 1},
    )
    return GIVEN.run(evidence, cohort, "notes", GIVEN.defaults, lambda done, total: None)


def test_vectors_pass_as_they_are_with_their_names_and_card():
    made = take([[1, 2], [np.nan, 4], [5, 6]], present=(True, True, False))
    check_embeddings(made.embeddings, np.array(ITEMS), "features/notes")
    np.testing.assert_array_equal(made.embeddings.values[0, :, 0], [[1, 2], [np.nan, 4], [np.nan, np.nan]])
    assert made.embeddings.values.dtype == np.float32
    assert made.embeddings.present[:, 0].tolist() == [True, True, False]
    assert made.embeddings.names == ("x", "y")
    assert made.card == {"vectors": "made elsewhere", "quarantined": {"the vector of an empty note": 1}}
    assert made.set_aside is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": [[1, 2], [3, 4]]}, "shape \\(2, 2\\).* for 3 items"),
        ({"values": [1, 2, 3]}, "shape \\(3,\\)"),
        ({"present": (True, True)}, "presence of shape \\(2,\\)"),
        ({"present": (1, 1, 1)}, "int64 presence"),
        ({"dtype": np.float64}, "float64 vectors"),
        ({"names": ("x",)}, "1 names for 2 dimensions"),
        ({"values": [[1, np.inf], [3, 4], [5, 6]]}, "1 of 3 vectors hold an infinite number"),
        ({"values": [[np.nan, np.nan], [3, 4], [5, 6]]}, "1 present vectors hold nothing"),
    ],
)
def test_what_breaks_the_contract_is_refused_with_the_count(change, said):
    with pytest.raises(ContractError, match=said):
        take(**{"values": [[1, 2], [3, 4], [5, 6]], **change})


def test_an_absent_vector_may_hold_anything_as_nobody_reads_it():
    made = take([[np.inf, 2], [3, 4], [5, 6]], present=(False, True, True))
    assert np.isnan(made.embeddings.values[0, 0]).all()
