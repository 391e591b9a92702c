"""Chart events from csv.gz to statistics against a loop over stays; every known unit by hand; numbers that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import Cohort
from mmn.data.errors import ContractError
from mmn.data.evidence import EventEvidence
from mmn.data.mimic import events, narrow
from mmn.data.mimic.events_judge import Judge
from mmn.data.mimic.events_repeats import SeenKeys
from mmn.data.mimic.generated_events import make_dictionaries
from mmn.data.mimic.signals import CHART_SIGNALS, LAB_SIGNALS, PROCEDURE_SIGNALS, Signal
from mmn.featurizers.event_statistics import EventStatisticsParams, series_statistics, summarise_events
from tests.data.test_mimic_events import CHART, ITEMS, LABS, T, evidence, rows, small_world
from tests.featurizers.test_event_statistics import reference

ITEMIDS = [signal.itemids[0] for signal in CHART_SIGNALS]
OTHER_ITEMID = PROCEDURE_SIGNALS[0].itemids[0]
START = pd.Timestamp("2150-01-01")


@pytest.fixture(scope="module", params=range(3))
def random_world(request, tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """Twelve stays, two of them without an event; ties, gaps, flat stretches, later entries, no order in the file."""
    rng = np.random.default_rng(request.param)
    raw = tmp_path_factory.mktemp("random")
    (raw / "icu").mkdir()
    make_dictionaries()[0].to_csv(raw / "icu/d_items.csv.gz", index=False)
    num = 1_500
    stay = rng.integers(10, size=num)
    time = START + pd.to_timedelta(rng.integers(0, 40, size=num) * 45, unit="min")  # few times, so many ties
    entered = time + pd.to_timedelta(rng.choice([0, 1, 1, 60, 400], size=num), unit="min")
    number = rng.choice([3.0, 4.0, 4.0, 4.5, 60.25, 99.0, -999.0, 1e6, np.inf, np.nan], size=num)
    chart = pd.DataFrame(
        {
            "subject_id": 1 + stay // 3,
            "hadm_id": 101 + stay // 2,
            "stay_id": 201 + stay,
            "charttime": pd.Series(time).mask(rng.random(num) < 0.02),
            "storetime": pd.Series(entered).mask(rng.random(num) < 0.1),
            "itemid": rng.choice([*ITEMIDS, OTHER_ITEMID], size=num, p=[0.45, *[0.06] * 8, 0.07]),
            "valuenum": number,
            "valueuom": rng.choice(["", "bpm", "furlongs"], size=num, p=[0.8, 0.15, 0.05]),
        }
    )
    chart.to_csv(raw / CHART, index=False, date_format="%Y-%m-%d %H:%M:%S")
    stays = np.arange(12)
    items = pd.DataFrame(
        {
            "item": [f"s{n}" for n in stays],
            "subject": "1",
            "subject_id": 1 + stays // 3,
            "hadm_id": 101 + stays // 2,
            "stay_id": 201 + stays,
            "start_time": START,
            "prediction_time": START + pd.to_timedelta(3 + 2 * stays, unit="h"),
        }
    )
    return raw, items.sample(frac=1, random_state=request.param, ignore_index=True)


def by_stay(raw: Path, items: pd.DataFrame, mode: str) -> dict[tuple[int, int], list[float]]:
    """(place of the item, place of the signal) -> its series, with a mask over the whole table per stay."""
    table = pd.read_csv(raw / CHART, parse_dates=["charttime", "storetime"])
    table = table[np.isfinite(table["valuenum"])]
    series = {}
    for place, item in enumerate(items.itertuples()):
        own = table[table["stay_id"] == item.stay_id]
        if mode == "clean":
            own = own[own["charttime"] <= item.prediction_time]
            own = own[~(own["storetime"] > item.prediction_time)]
            own = own.sort_values(["charttime", "storetime"], kind="stable", na_position="last")
        else:
            own = own[~(own["charttime"] > item.prediction_time)]
        for code, signal in enumerate(CHART_SIGNALS):
            values = own[own["itemid"] == signal.itemids[0]]
            if mode == "clean":
                units = values["valueuom"].fillna("")
                values = values[(units == "") | ((units == "bpm") & ("bpm" in signal.known_units))]
                values = values[values["valuenum"].between(signal.low, signal.high)]
            if len(values):
                series[place, code] = values["valuenum"].tolist()
    return series


def cut_small(monkeypatch) -> None:
    for name, rows_each in (("SCAN_ROWS", 97), ("PART_ROWS", 60), ("BLOCK_ROWS", 25)):
        monkeypatch.setattr(events, name, rows_each)
    monkeypatch.setattr(narrow, "ROW_GROUP", 311)
    monkeypatch.setattr("mmn.data.mimic.events_judge.MOST_IMPLAUSIBLE", 1.0)


def in_series(found: EventEvidence) -> dict[tuple[int, int], list[float]]:
    frame = found.frame()
    codes = frame["signal"].cat.codes
    return {key: part["value"].tolist() for key, part in frame.groupby([frame["item"], codes], sort=False)}


@pytest.mark.parametrize("mode", ["clean", "haim"])
def test_the_statistics_of_random_stays_equal_a_loop_over_the_stays(random_world, mode, monkeypatch):
    raw, items = random_world
    cut_small(monkeypatch)
    expected = by_stay(raw, items, mode)
    assert {len(series) for series in expected.values()} >= {1, 2} and max(map(len, expected.values())) > 15
    found = evidence(raw, items, "chart", mode, memory_bytes=300)
    assert in_series(found) == expected

    zero = [0.0] if mode == "haim" else []
    ordered = [np.array([*expected[key], *zero]) for key in sorted(expected)]
    made = series_statistics(np.concatenate(ordered), np.array([len(series) for series in ordered]))
    np.testing.assert_allclose(made, np.array([reference(series) for series in ordered]), rtol=1e-9, atol=1e-9)

    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame())
    params = EventStatisticsParams(mode=mode)
    embeddings = summarise_events(found, cohort, "chart_events", params, lambda done, total: None).embeddings
    values = embeddings.values[0, :, 0].reshape(len(items), len(CHART_SIGNALS), 11)
    for place, key in enumerate(sorted(expected)):
        np.testing.assert_array_equal(values[key], made[place].astype(np.float32))
    without = {(item, code) for item in range(len(items)) for code in range(len(CHART_SIGNALS))} - expected.keys()
    nothing = np.array([values[key] for key in sorted(without)])
    assert without and ((nothing == 0).all() if mode == "haim" else np.isnan(nothing).all())
    there = sorted({item for item, _ in expected})
    assert embeddings.present.all() if mode == "haim" else np.flatnonzero(embeddings.present).tolist() == there


def test_no_row_of_a_wanted_itemid_is_lost_without_being_counted(random_world, tmp_path, monkeypatch):
    raw, items = random_world
    cut_small(monkeypatch)
    narrow.prepare(raw, "chartevents", tmp_path / "n.parquet", {}, lambda done, total: None)
    counts = narrow.read_counts(tmp_path / "n.parquet")
    table = pd.read_csv(raw / CHART)
    assert counts.rows == len(table) == sum(counts.numbers.values()) + sum(counts.no_number.values())
    everyone = items.assign(prediction_time=START + pd.Timedelta(days=30))
    found = evidence(raw, everyone, "chart", narrow=tmp_path / "n.parquet", memory_bytes=300)
    wanted = table["itemid"].isin(ITEMIDS)
    assert int(wanted.sum()) == len(found.frame()) + sum(found.quarantined.values())
    reasons = {reason.split(": ")[1].split(" ")[0] for reason in found.quarantined}
    assert reasons == {"no", "outside", "unit"}


def test_ties_between_blocks_pieces_and_row_groups_come_out_the_same_each_time(random_world, monkeypatch):
    raw, items = random_world
    whole = evidence_without_refusal(raw, items, monkeypatch).frame()
    cut_small(monkeypatch)
    for memory_bytes in (300, 1 << 20):
        pd.testing.assert_frame_equal(evidence(raw, items, "chart", memory_bytes=memory_bytes).frame(), whole)


def evidence_without_refusal(raw: Path, items: pd.DataFrame, monkeypatch) -> EventEvidence:
    monkeypatch.setattr("mmn.data.mimic.events_judge.MOST_IMPLAUSIBLE", 1.0)
    return evidence(raw, items, "chart")


# What a value is in the signal's unit: worked by hand, for each unit that is known besides it.
CONVERTED = {
    ("Heart Rate", "beats/min"): (72, 72), ("Heart Rate", "/min"): (72, 72),
    ("Non Invasive Blood Pressure systolic", "kPa"): (16, 120.00992),
    ("Non Invasive Blood Pressure diastolic", "kPa"): (10, 75.0062),
    ("Non Invasive Blood Pressure mean", "kPa"): (12, 90.00744),
    ("Respiratory Rate", "bpm"): (14, 14), ("Respiratory Rate", "/min"): (14, 14),
    ("Respiratory Rate", "breaths/min"): (14, 14),
    ("Glucose", "mmol/L"): (5, 90.08),
    ("Potassium", "mmol/L"): (4, 4), ("Sodium", "mmol/L"): (140, 140), ("Chloride", "mmol/L"): (100, 100),
    ("Creatinine", "umol/L"): (88.42, 1), ("Creatinine", "µmol/L"): (88.42, 1),
    ("Urea Nitrogen", "mmol/L"): (5, 14.005),
    ("Bicarbonate", "mmol/L"): (24, 24), ("Anion Gap", "mmol/L"): (12, 12),
    ("Hemoglobin", "g/L"): (140, 14), ("Hemoglobin", "mmol/L"): (10, 16.114),
    ("Magnesium", "mmol/L"): (1, 2.4305), ("Magnesium", "mEq/L"): (2, 2.4305),
    ("Platelet Count", "K/uL"): (250, 250), ("Platelet Count", "10^9/L"): (250, 250),
    ("Platelet Count", "10*9/L"): (250, 250),
    ("Platelet Count", "#/uL"): (250_000, 250), ("Platelet Count", "/uL"): (250_000, 250),
    ("Phosphate", "mmol/L"): (1, 3.0974),
    ("White Blood Cells", "K/uL"): (7, 7), ("White Blood Cells", "10^9/L"): (7, 7),
    ("White Blood Cells", "10*9/L"): (7, 7),
    ("White Blood Cells", "#/uL"): (7_000, 7), ("White Blood Cells", "/uL"): (7_000, 7),
    ("Calcium, Total", "mmol/L"): (2, 8.0156), ("Calcium, Total", "g/dL"): (0.009, 9),
    ("Red Blood Cells", "10^12/L"): (4.5, 4.5), ("Red Blood Cells", "10*12/L"): (4.5, 4.5),
    ("MCHC", "%"): (33, 33), ("MCHC", "g/L"): (330, 33),
    ("Vancomycin", "mg/L"): (15, 15),
    ("Foley Catheter", "hour"): (2, 120), ("Foley Catheter", "hours"): (2, 120),
    ("Foley Catheter", "day"): (3, 4320), ("Foley Catheter", "days"): (3, 4320),
}  # fmt: skip


def judged(signal: Signal, value: float, unit: str) -> tuple[float, bool]:
    one = {"signal": np.zeros(1, dtype=np.int16), "time": np.zeros(1, dtype=np.int64), "value": np.array([value])}
    sound, _ = Judge((signal,), "file").convert(one, np.zeros(1, dtype=np.int32), [unit])
    return float(one["value"][0]), bool(sound[0])


def test_each_known_unit_in_any_spelling_is_converted_to_the_signals_own():
    signals = {signal.label: signal for signal in (*CHART_SIGNALS, *LAB_SIGNALS, *PROCEDURE_SIGNALS)}
    for (label, unit), (value, expected) in CONVERTED.items():
        for spelled in (unit, unit.upper(), f" {unit.lower()} ", unit.replace("µ", "μ")):  # micro sign, Greek mu
            converted, sound = judged(signals[label], value, spelled)
            assert converted == pytest.approx(expected, rel=1e-9) and sound, (label, spelled)
    tested = {(label, unit.lower()) for label, unit in CONVERTED}
    others = [signal for signal in signals.values() if signal not in PROCEDURE_SIGNALS[1:]]  # of one table of units
    assert tested == {(signal.label, unit) for signal in others for unit in signal.factors}


def test_a_right_number_under_a_wrong_unit_or_a_wrong_number_under_the_right_one_is_set_aside():
    signals = {signal.label: signal for signal in (*CHART_SIGNALS, *LAB_SIGNALS)}
    # Not among HAIM's signals, but the best-known slips of MIMIC's tables.
    signals |= {
        "Temperature": Signal("Temperature", (1,), "°C", 20, 45),
        "Height": Signal("Height", (2,), "inch", 10, 100),
    }
    for label, value, unit in (
        ("Temperature", 98.6, "°C"),  # degrees Fahrenheit under the name of Celsius
        ("Temperature", 98.6, "°F"),
        ("Height", 825_070.0, "inch"),
        ("Calcium, Total", 0.009, "mg/dL"),  # grams written as milligrams
        ("Calcium, Total", 9.0, "g/dL"),
        ("Platelet Count", 250_000.0, "K/uL"),
        ("O2 saturation pulseoxymetry", 0.97, "%"),
        ("Heart Rate", 72.0, "ml/min"),
        ("Non Invasive Blood Pressure systolic", 120.0, "kPa"),
    ):
        assert not judged(signals[label], value, unit)[1], (label, unit)


def test_what_is_no_number_or_stands_for_none_reaches_no_series(tmp_path):
    """NaN, infinities and the -999 of other systems, beside one sound value."""
    chart = [(3, T(n), 220045, value) for n, value in enumerate(["nan", "inf", "-inf", "-999", "80", "", "1e400"])]
    found = evidence(small_world(tmp_path, chart), ITEMS, "chart")
    assert found.frame()["value"].tolist() == [80]
    assert found.quarantined == {
        "Heart Rate: no number (in the whole table)": 5,
        "Heart Rate: outside [0, 350] bpm": 1,
    }


def test_the_two_dictionaries_exchanged_are_noticed_for_charts_and_for_labs(tmp_path):
    """A join of chart items with the laboratory's dictionary would leave every signal empty."""
    raw = small_world(tmp_path, [(3, T(1), 220045, 80)] * 30, [(2, T(1), 50931, 100)] * 30)
    items, lab_items = (pd.read_csv(raw / name) for name in ("icu/d_items.csv.gz", "hosp/d_labitems.csv.gz"))
    exchanged = items.assign(itemid=lab_items["itemid"].iloc[np.arange(len(items)) % len(lab_items)].to_numpy())
    exchanged.drop_duplicates("itemid").to_csv(raw / "icu/d_items.csv.gz", index=False)
    with pytest.raises(ContractError, match=r"chartevents.csv.gz.itemid: 30 of the 30 rows .* not in d_items"):
        rows(raw, ITEMS, "chart")
    exchanged = lab_items.assign(itemid=items["itemid"].iloc[np.arange(len(lab_items)) % len(items)].to_numpy())
    exchanged.drop_duplicates("itemid").to_csv(raw / "hosp/d_labitems.csv.gz", index=False)
    with pytest.raises(ContractError, match=r"labevents.csv.gz.itemid: 30 of the 30 rows .* not in d_labitems"):
        rows(raw, ITEMS, "lab")


def test_a_lab_result_copied_within_the_file_is_one_event_and_its_copy_is_counted(tmp_path):
    raw = small_world(tmp_path, [], [(2, T(n), 50931, 100 + n) for n in range(4)])
    labs = pd.read_csv(raw / LABS).assign(labevent_id=[11, 12, 13, 14])
    pd.concat([labs, labs.iloc[1:3], labs.iloc[1:2]]).to_csv(raw / LABS, index=False)
    for mode in ("clean", "haim"):
        found = evidence(raw, ITEMS.iloc[:1], "lab", mode)
        assert found.frame()["value"].tolist() == [100, 101, 102, 103]
        assert found.quarantined["Glucose: repeated (in the whole table)"] == 3


def test_a_key_is_new_once_however_the_rows_are_cut_and_however_large_it_is():
    rng = np.random.default_rng(0)
    keys = np.concatenate([rng.integers(-2, 400, size=900), rng.integers(1_000_000, 1_000_050, size=300)])
    known = pd.Series(rng.permutation(keys).astype(np.int32))
    expected = ~known.duplicated() | (known < 1)
    for cuts in ([], [1], [5, 5, 700], list(range(0, 1200, 7))):
        seen = SeenKeys()
        found = [seen.first(piece) for piece in np.split(known.to_numpy(), cuts)]
        np.testing.assert_array_equal(np.concatenate(found), expected)
