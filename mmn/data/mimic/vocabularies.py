"""Frozen vocabularies of the demographics, with the raw spellings of every MIMIC-IV version.

Frozen, so that a column means the same in every cohort and version. A raw value that says "not known" is null; a value
that no version documents is null too and is counted.
"""

from __future__ import annotations

GENDERS = ("F", "M")
RACE_GROUPS = (
    "American Indian or Alaska Native",
    "Asian",
    "Black",
    "Hispanic or Latino",
    "Native Hawaiian or Pacific Islander",
    "White",
    "Multiple",
    "Other",
)
MARITAL_STATUSES = ("Divorced", "Married", "Single", "Widowed")
LANGUAGES = ("English", "Other")
INSURANCES = ("Medicaid", "Medicare", "Private", "No charge", "Other")

_INDIAN, _ASIAN, _BLACK, _HISPANIC, _PACIFIC, _WHITE, _MULTIPLE, _OTHER = RACE_GROUPS

# `race` of 2.0 and later (33 values); the 8 values of `ethnicity` in 1.0 are among them but for HISPANIC/LATINO.
RACES: dict[str, str | None] = {
    "AMERICAN INDIAN/ALASKA NATIVE": _INDIAN,
    "ASIAN": _ASIAN,
    "ASIAN - ASIAN INDIAN": _ASIAN,
    "ASIAN - CHINESE": _ASIAN,
    "ASIAN - KOREAN": _ASIAN,
    "ASIAN - SOUTH EAST ASIAN": _ASIAN,
    "BLACK/AFRICAN": _BLACK,
    "BLACK/AFRICAN AMERICAN": _BLACK,
    "BLACK/CAPE VERDEAN": _BLACK,
    "BLACK/CARIBBEAN ISLAND": _BLACK,
    "HISPANIC OR LATINO": _HISPANIC,
    "HISPANIC/LATINO": _HISPANIC,
    "HISPANIC/LATINO - CENTRAL AMERICAN": _HISPANIC,
    "HISPANIC/LATINO - COLUMBIAN": _HISPANIC,
    "HISPANIC/LATINO - CUBAN": _HISPANIC,
    "HISPANIC/LATINO - DOMINICAN": _HISPANIC,
    "HISPANIC/LATINO - GUATEMALAN": _HISPANIC,
    "HISPANIC/LATINO - HONDURAN": _HISPANIC,
    "HISPANIC/LATINO - MEXICAN": _HISPANIC,
    "HISPANIC/LATINO - PUERTO RICAN": _HISPANIC,
    "HISPANIC/LATINO - SALVADORAN": _HISPANIC,
    "MULTIPLE RACE/ETHNICITY": _MULTIPLE,
    "NATIVE HAWAIIAN OR OTHER PACIFIC ISLANDER": _PACIFIC,
    "OTHER": _OTHER,
    "PATIENT DECLINED TO ANSWER": None,
    "PORTUGUESE": _WHITE,
    "SOUTH AMERICAN": _HISPANIC,
    "UNABLE TO OBTAIN": None,
    "UNKNOWN": None,
    "WHITE": _WHITE,
    "WHITE - BRAZILIAN": _WHITE,
    "WHITE - EASTERN EUROPEAN": _WHITE,
    "WHITE - OTHER EUROPEAN": _WHITE,
    "WHITE - RUSSIAN": _WHITE,
}
