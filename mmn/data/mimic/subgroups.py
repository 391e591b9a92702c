"""Whom results are told apart by: sex, age band, language and insurance, as they were at the item's admission."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmn.data.mimic.demographics import read_demographics
from mmn.data.mimic.reader import Tables

# Lower bounds in years; MIMIC has adults only, and above 89 no exact age.
AGE_BANDS = {"under 45": 0.0, "45 to 64": 45.0, "65 to 79": 65.0, "80 and over": 80.0}
_SEXES = {"F": "female", "M": "male"}


def read_subgroups(tables: Tables, items: pd.DataFrame) -> pd.DataFrame:
    """`item`, `sex`, `age`, `language`, `insurance`: strings, null = not known. items: with their admission."""
    facts = read_demographics(tables, items).rows
    age = facts["age"].to_numpy(dtype=np.float64)
    bands = np.array([*AGE_BANDS], dtype=object)
    which = np.clip(np.searchsorted(list(AGE_BANDS.values()), age, side="right") - 1, 0, len(bands) - 1)
    return pd.DataFrame(
        {
            "item": items["item"].to_numpy(),
            "sex": facts["gender"].astype("object").map(_SEXES).to_numpy(),
            "age": np.where(np.isnan(age), None, bands[which]),
            "language": facts["language"].astype("object").to_numpy(),
            "insurance": facts["insurance"].astype("object").to_numpy(),
        }
    )
