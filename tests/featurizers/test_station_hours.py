"""Station hours: circular wind, long-tailed rain, and what is not known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import Cohort
from mmn.data.embeddings import check_embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.data.evidence import HourEvidence
from mmn.featurizers.station_hours import STATION_HOURS, StationHoursParams

T = 24


def featurized(modality, params=STATION_HOURS.defaults, **columns):
    """One item; a column is a number or 24 of them. The unit is read off the name."""
    units = {"p1": "mm", "wd": "°", "mwd": "°"}
    values = np.stack([np.broadcast_to(np.asarray(c, dtype=np.float32), (1, T)) for c in columns.values()], axis=-1)
    names = tuple(columns)
    evidence = HourEvidence(values=values, names=names, units=tuple(units.get(name, "m/s") for name in names))
    items = pd.DataFrame({"item": ["a"], "subject": ["a"], "prediction_time": [pd.NaT]})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame(), num_steps=T)
    told = []
    result = STATION_HOURS.run(evidence, cohort, modality, params, lambda done, total: told.append((done, total)))
    check_embeddings(result.embeddings, np.array(["a"]), modality)
    assert told[-1] == (1, 1)
    return result


def by_name(result):
    embeddings = result.embeddings
    return {name: embeddings.values[0, 0, :, i] for i, name in enumerate(embeddings.names)}


@pytest.mark.parametrize(("degrees", "east", "north"), [(360, 0, 5), (90, 5, 0), (180, 0, -5), (270, -5, 0)])
def test_a_wind_becomes_where_it_comes_from(degrees, east, north):
    wind = by_name(featurized("wind", wd=degrees, ws=5.0))
    np.testing.assert_allclose(wind["wind_from_east"], east, atol=1e-5)
    np.testing.assert_allclose(wind["wind_from_north"], north, atol=1e-5)
    assert (wind["wind_calm"] == 0).all()


def test_calm_is_no_wind_from_the_north():
    calm, north = by_name(featurized("wind", wd=0, ws=0.1)), by_name(featurized("wind", wd=360, ws=0.3))
    assert (calm["wind_from_north"] == 0).all() and (calm["wind_calm"] == 1).all()
    np.testing.assert_allclose(north["wind_from_north"], 0.3, atol=1e-6)
    assert (north["wind_calm"] == 0).all()


def test_359_and_1_degree_are_neighbours():
    one, other = (by_name(featurized("wind", wd=d, ws=5.0))["wind_from_east"][0] for d in (359, 1))
    assert abs(one - other) < 0.2


def test_calm_needs_no_direction_and_an_unknown_direction_is_not_calm():
    nan = np.nan
    wind = by_name(featurized("wind", wd=np.full(T, nan), ws=np.array([0.0] * 12 + [4.0] * 12)))
    assert (wind["wind_from_east"][:12] == 0).all() and (wind["wind_calm"][:12] == 1).all()
    assert np.isnan(wind["wind_from_east"][12:]).all() and (wind["wind_calm"][12:] == 0).all()


def test_both_winds_and_a_gust_without_direction_have_their_columns():
    assert featurized("wind", wd=90, ws=5.0, mwd=90, mws=8.0).embeddings.names == (
        "wind_from_east", "wind_from_north", "wind_calm",
        "max_wind_from_east", "max_wind_from_north", "max_wind_calm",
    )  # fmt: skip
    assert featurized("wind", wd=90, ws=5.0, mws=8.0).embeddings.names[-1] == "mws"


def test_rain_enters_as_a_logarithm_and_the_rest_as_it_is():
    np.testing.assert_allclose(by_name(featurized("rain", p1=np.e - 1))["log1p_p1"], 1.0, rtol=1e-6)
    np.testing.assert_allclose(by_name(featurized("air", t=-3.5, rh=71.0))["t"], -3.5)


def test_an_hour_is_present_where_any_variable_is_known():
    t, rh = np.full(T, 5.0), np.full(T, 50.0)
    t[3], t[4], rh[4] = np.nan, np.nan, np.nan
    result = featurized("air", t=t, rh=rh)
    assert np.flatnonzero(~result.embeddings.present[0]).tolist() == [4]
    assert np.isnan(by_name(result)["t"][3]) and by_name(result)["rh"][3] == 50.0
    assert result.card["present_share"] == pytest.approx(23 / 24, abs=1e-6)


def test_an_hour_that_is_known_in_part_can_be_left_out():
    t, rh = np.full(T, 5.0), np.full(T, 50.0)
    t[3] = np.nan
    result = featurized("air", StationHoursParams(incomplete="absent"), t=t, rh=rh)
    assert np.flatnonzero(~result.embeddings.present[0]).tolist() == [3]
    assert result.card["incomplete"] == {"as": "absent", "share of hours": pytest.approx(1 / 24, abs=1e-6)}


def test_published_mode_keeps_raw_degrees():
    result = featurized("wind", StationHoursParams(mode="published"), wd=350, ws=5.0)
    assert result.embeddings.names == ("wd", "ws")
    assert (by_name(result)["wd"] == 350).all() and result.card["mode"] == "published"


def test_position_can_be_given_once():
    once = StationHoursParams(static_once=True)
    assert featurized("geographic", once, lat=40.0).embeddings.present.sum() == 1
    assert featurized("geographic", lat=40.0).embeddings.present.sum() == T
    assert featurized("air", once, t=4.0).embeddings.present.sum() == T


def test_what_cannot_be_featurized_says_why():
    with pytest.raises(ContractError, match="wind direction without a speed"):
        featurized("wind", wd=90)
    with pytest.raises(ParamsError, match="mode 'raw' is unknown"):
        StationHoursParams(mode="raw")
    with pytest.raises(ParamsError, match="incomplete 'drop' is unknown; known: present, absent"):
        StationHoursParams(incomplete="drop")
    evidence = HourEvidence(values=np.zeros((2, T, 1), np.float32), names=("t",), units=("°C",))
    items = pd.DataFrame({"item": ["a"], "subject": ["a"], "prediction_time": [pd.NaT]})
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame(), num_steps=T)
    with pytest.raises(ContractError, match="Read the evidence again"):
        STATION_HOURS.run(evidence, cohort, "air", STATION_HOURS.defaults, lambda done, total: None)
