"""Eleven statistics per signal: the published vectors by hand, and everything else against a plain reference."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks

from mmn.data.cohort import Cohort
from mmn.data.embeddings import check_embeddings
from mmn.data.errors import ContractError
from mmn.data.evidence import EventBlock, EventEvidence
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


def block_of(rows: list[tuple[int, int, float, float]]) -> EventBlock:
    item, signal, hours, value = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return EventBlock(item=item.astype(np.int32), signal=signal.astype(np.int16), hours=hours, value=value)


def evidence_of(*blocks: EventBlock) -> EventEvidence:
    return EventEvidence(
        signals=tuple(SIGNALS),
        blocks=lambda: iter(blocks),
        units={"Heart Rate": "bpm"},
        quarantined={"unit not known": 3},
    )


def rows_of(series: dict[tuple[int, str], list[float]]) -> list[tuple[int, int, float, float]]:
    return [
        (item, SIGNALS.index(signal), float(hour), value)
        for (item, signal), values in sorted(series.items())
        for hour, value in enumerate(values)
    ]


def events_of(series: dict[tuple[int, str], list[float]]) -> EventEvidence:
    return evidence_of(block_of(rows_of(series)))


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


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.tuples(st.integers(0, 9), st.sampled_from(SIGNALS)), ONE, max_size=12),
    st.sampled_from([CLEAN, HAIM]),
    st.sets(st.integers(0, 10)),
)
def test_where_a_block_ends_changes_no_bit_and_all_equals_one_series_at_a_time(series, params, cuts):
    rows = rows_of(series)
    edges = [0, *sorted(cuts), 10]
    blocks = [block_of([row for row in rows if a <= row[0] < b]) for a, b in pairwise(edges)]
    cut = summarise(evidence_of(*blocks), 10, params).embeddings
    whole = summarise(evidence_of(block_of(rows)), 10, params).embeddings
    assert cut.values.tobytes() == whole.values.tobytes()
    np.testing.assert_array_equal(cut.present, whole.present)
    zero = [0.0] if params is HAIM else []
    for item in range(10):
        for place, signal in enumerate(SIGNALS):
            made = cut.values[0, item, 0, 11 * place : 11 * place + 11]
            values = series.get((item, signal))
            if values is None:
                assert (made == 0).all() if params is HAIM else np.isnan(made).all()
            else:
                expected = reference(np.array([*values, *zero]))
                scale = max(1.0, *map(abs, values))
                np.testing.assert_allclose(made, np.float32(expected), rtol=1e-6, atol=1e-9 * scale**2)


def test_time_may_not_run_backwards_but_in_haim_mode_where_it_may_even_be_missing():
    backwards = [(0, 0, 2.0, 7.0), (0, 0, np.nan, 9.0), (0, 0, 1.0, 8.0)]
    with pytest.raises(ContractError, match="2 events lie before the one above them; the reader must sort"):
        summarise(evidence_of(block_of(backwards)), 1)
    made = summarise(evidence_of(block_of(backwards)), 1, HAIM).embeddings.values[0, 0, 0, :11]
    np.testing.assert_allclose(made, np.float32(reference(np.array([7.0, 9.0, 8.0, 0.0]))), rtol=1e-6)


@pytest.mark.parametrize("params", [CLEAN, HAIM])
def test_blocks_are_of_whole_items_in_order(params):
    first, second = block_of([(0, 0, 1.0, 1.0), (1, 0, 1.0, 1.0)]), block_of([(1, 0, 2.0, 1.0)])
    with pytest.raises(ContractError, match="begins with item 1, but item 1 was there before"):
        summarise(evidence_of(first, second), 2, params)
    with pytest.raises(ContractError, match="must sort"):
        summarise(evidence_of(block_of([(0, 1, 1.0, 1.0), (0, 0, 2.0, 1.0)])), 2, params)


def test_an_event_of_nobody_and_an_event_without_a_number_are_refused():
    with pytest.raises(ContractError, match="no item of the cohort"):
        summarise(events_of({(5, "Heart Rate"): [1]}), 2)
    with pytest.raises(ContractError, match="no signal"):
        summarise(evidence_of(block_of([(0, 2, 1.0, 1.0)])), 2)
    with pytest.raises(ContractError, match="finite"):
        summarise(events_of({(0, "Heart Rate"): [1, float("inf")]}), 2)
