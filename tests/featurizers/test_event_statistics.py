"""Eleven statistics per signal: the published vectors by hand, and everything else against a plain reference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks

from mmn.data.cohort import Cohort
from mmn.data.embeddings import check_embeddings
from mmn.data.errors import ContractError
from mmn.data.evidence import EventEvidence
from mmn.featurizers.event_statistics import (
    EVENT_STATISTICS,
    STATISTICS,
    EventStatisticsParams,
    series_statistics,
)

SIGNALS = ["Heart Rate", "Respiratory Rate"]
CLEAN, HAIM = EventStatisticsParams(), EventStatisticsParams(mode="haim")


def cohort_of(num_items: int) -> Cohort:
    names = [f"item{i}" for i in range(num_items)]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    return Cohort(items=items, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))


def events_of(series: dict[tuple[int, str], list[float]]) -> EventEvidence:
    rows = [
        (f"item{item}", signal, float(hour), value)
        for (item, signal), values in series.items()
        for hour, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows, columns=["item", "signal", "hours", "value"]).astype({"hours": float, "value": float})
    frame["signal"] = pd.Categorical(frame["signal"], categories=SIGNALS)
    return EventEvidence(rows=frame, units={"Heart Rate": "bpm"}, quarantined={"unit not known": 3})


def summarise(evidence: EventEvidence, num_items: int, params: EventStatisticsParams = CLEAN):
    return EVENT_STATISTICS.run(evidence, cohort_of(num_items), "chart_events", params, lambda done, total: None)


def reference(series: np.ndarray) -> list[float]:
    """One series at a time, with numpy and scipy as they come."""
    n, steps = len(series), np.diff(series)
    nan = float("nan")
    return [
        series.max(),
        series.min(),
        series.mean(),
        series.var(ddof=1) if n > 1 else nan,
        steps.mean() if n > 1 else nan,
        np.abs(steps).mean() if n > 1 else nan,
        np.abs(steps).max() if n > 1 else nan,
        np.abs(steps).sum(),
        series[-1] - series[0],
        len(find_peaks(series)[0]),
        np.polyfit(np.arange(n), series, 1)[0] if n > 1 else nan,
    ]


# mimic.md section 3.3.
@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ([80, 100, 90], [100, 0, 67.5, 2091.6667, -26.6667, 40, 90, 120, -80, 1, -25]),
        ([20], [20, 0, 10, 200, -20, 20, 20, 20, -20, 0, -20]),
        ([5, 5, 5], [5, 0, 3.75, 6.25, -1.6667, 1.6667, 5, 5, -5, 0, -1.5]),
        ([15, 14, 15, 15, 14], [15, 0, 12.1667, 35.7667, -3, 3.4, 14, 17, -15, 1, -2.1429]),
    ],
)
def test_haim_mode_gives_the_published_vectors(series, expected):
    made = summarise(events_of({(0, "Heart Rate"): series}), 1, HAIM).embeddings
    np.testing.assert_allclose(made.values[0, 0, 0, :11], expected, rtol=1e-6, atol=5e-5)
    assert (made.values[0, 0, 0, 11:] == 0).all()


def test_haim_mode_gives_zeros_for_an_item_without_values_and_calls_it_present():
    made = summarise(events_of({(0, "Heart Rate"): [80.0]}), 2, HAIM).embeddings
    assert made.present.all()
    assert (made.values[0, 1] == 0).all()


def test_clean_mode_describes_the_real_series():
    made = summarise(events_of({(0, "Heart Rate"): [80, 100, 90]}), 1).embeddings
    # Mean 90; squares 100 + 100 + 0, over 2; steps +20, -10; slope (90 - 80) / 2.
    np.testing.assert_allclose(made.values[0, 0, 0, :11], [100, 80, 90, 100, 5, 15, 20, 30, 10, 1, 5])


def test_a_single_value_has_no_variance_no_step_and_no_slope():
    made = summarise(events_of({(0, "Heart Rate"): [80]}), 1).embeddings
    values = dict(zip(STATISTICS, made.values[0, 0, 0, :11], strict=True))
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined == {"variance", "meandiff", "meanabsdiff", "maxdiff", "trend"}
    assert (values["max"], values["min"], values["mean"]) == (80, 80, 80)
    assert (values["sumabsdiff"], values["diff"], values["npeaks"]) == (0, 0, 0)


def test_a_signal_without_values_is_unknown_and_an_item_without_any_is_absent():
    made = summarise(events_of({(0, "Respiratory Rate"): [12, 14]}), 2)
    embeddings = made.embeddings
    assert embeddings.present[:, 0].tolist() == [True, False]
    assert np.isnan(embeddings.values[0, 0, 0, :11]).all()
    assert not np.isnan(embeddings.values[0, 0, 0, 11:]).any()
    assert embeddings.names[0] == "Heart Rate: max"
    assert embeddings.names[21] == "Respiratory Rate: trend"
    assert made.card["quarantined"] == {"unit not known": 3}
    check_embeddings(embeddings, np.array(["item0", "item1"]), "chart_events")


def test_no_event_at_all_leaves_everyone_absent():
    made = summarise(events_of({}), 3).embeddings
    assert not made.present.any()
    assert made.width == 22


# Few different values, so that flat tops and ties are common; and any values at all.
LEVELS = st.integers(-3, 3).map(float)
ANY = st.floats(-1e4, 1e4, allow_nan=False).map(lambda x: round(x, 6))
ONE = st.lists(LEVELS, min_size=1, max_size=12) | st.lists(ANY, min_size=1, max_size=12)
SERIES = st.lists(ONE, min_size=1, max_size=8)


@settings(max_examples=300, deadline=None)
@given(SERIES)
def test_all_series_at_once_equal_each_series_alone(several):
    made = series_statistics(np.concatenate(several), np.array([len(series) for series in several]))
    expected = np.array([reference(np.array(series)) for series in several])
    scale = np.array([max(1.0, np.abs(series).max()) for series in several])[:, None] * np.ones(11)
    scale[:, STATISTICS.index("variance")] **= 2
    np.testing.assert_array_equal(np.isnan(made), np.isnan(expected))
    assert np.nanmax(np.abs(made - expected) / scale) < 1e-9


@settings(max_examples=100, deadline=None)
@given(SERIES)
def test_haim_mode_equals_the_reference_with_a_zero_appended(several):
    evidence = events_of({(item, "Respiratory Rate"): series for item, series in enumerate(several)})
    made = summarise(evidence, len(several), HAIM).embeddings.values[0, :, 0, 11:]
    expected = np.array([reference(np.array([*series, 0.0])) for series in several])
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-3)


def test_items_may_come_in_any_order_but_time_may_not_run_backwards():
    first, second = events_of({(0, "Heart Rate"): [1, 2]}).rows, events_of({(1, "Heart Rate"): [7, 5, 6]}).rows
    swapped = EventEvidence(rows=pd.concat([second, first], ignore_index=True))
    in_order = EventEvidence(rows=pd.concat([first, second], ignore_index=True))
    np.testing.assert_array_equal(summarise(swapped, 2).embeddings.values, summarise(in_order, 2).embeddings.values)
    with pytest.raises(ContractError, match="must sort"):
        summarise(EventEvidence(rows=second.iloc[::-1]), 2)


def test_an_event_of_nobody_and_an_event_without_a_number_are_refused():
    with pytest.raises(ContractError, match="no item of the cohort"):
        summarise(events_of({(5, "Heart Rate"): [1]}), 2)
    with pytest.raises(ContractError, match="finite"):
        summarise(events_of({(0, "Heart Rate"): [1, float("inf")]}), 2)
