"""Events of MIMIC: from the raw csv.gz over the narrow table to blocks, against pandas and against answers by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import Cohort
from mmn.data.errors import ContractError, RawFileError
from mmn.data.mimic import MIMIC, MIMIC_ICU, events, narrow
from mmn.data.mimic.ahead import ahead
from mmn.data.mimic.events import OF_ADMISSION, OF_STAY, OF_VISIT, read_events
from mmn.data.mimic.events_spool import Spool
from mmn.data.mimic.params import CxrParams, IcuParams
from mmn.data.mimic.signals import CHART_SIGNALS, LAB_SIGNALS, PROCEDURE_SIGNALS
from mmn.featurizers.event_statistics import EventStatisticsParams, summarise_events
from tests.data.mimic_worlds import tiny_world

DEMO = Path(__file__).parents[2] / ".." / "shared" / "data" / "mimic-iv-demo-2.2"
needs_demo = pytest.mark.skipif(not DEMO.is_dir(), reason="the open MIMIC-IV demo 2.2 is not beside the repository")

CHART, LABS, PROCEDURES = "icu/chartevents.csv.gz", "hosp/labevents.csv.gz", "icu/procedureevents.csv.gz"
FILES = {"chart": CHART, "lab": LABS, "procedure": PROCEDURES}
TIMES = {"chart": "charttime", "lab": "charttime", "procedure": "starttime"}
SIGNALS = {"chart": CHART_SIGNALS, "lab": LAB_SIGNALS, "procedure": PROCEDURE_SIGNALS}
BELONGS = {"chart": OF_STAY, "lab": OF_VISIT, "procedure": OF_STAY}
KINDS = pytest.mark.parametrize("which", list(FILES))
HOUR = pd.Timedelta(hours=1)
FORM = "%Y-%m-%d %H:%M:%S"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("mimic") / "raw", 1)


@pytest.fixture(scope="module")
def icu(world) -> pd.DataFrame:
    return MIMIC_ICU.build_cohort(world, IcuParams()).items


@pytest.fixture(scope="module")
def cxr(world) -> pd.DataFrame:
    return MIMIC.build_cohort(world, CxrParams()).items


def copy(world: Path, to: Path, file: str = "", change: Callable[[pd.DataFrame], pd.DataFrame] | None = None) -> Path:
    """The world's tables without its images, one of them changed."""
    shutil.copytree(world, to, ignore=shutil.ignore_patterns("files"), dirs_exist_ok=True)
    if change is not None:
        frame = change(pd.read_csv(to / file, dtype="str"))
        frame.to_csv(to / file, index=False, compression={"method": "gzip", "mtime": 1})
    return to


def evidence(raw: Path, items: pd.DataFrame, which: str, mode: str = "clean", belongs: str = "", **settings):
    return read_events(raw, items, which, belongs=belongs or BELONGS[which], mode=mode, **settings)


def rows(raw: Path, items: pd.DataFrame, which: str, *args, **settings) -> pd.DataFrame:
    return evidence(raw, items, which, *args, **settings).frame(items["item"])


def time(which: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda frame: pd.to_datetime(frame[TIMES[which]])


def written(times: pd.Series) -> pd.Series:
    return times.dt.strftime("%Y-%m-%d %H:%M:%S")


# Which events belong to an item


@KINDS
def test_events_are_those_of_the_stay_up_to_the_prediction_and_within_range(world, icu, which):
    """Counted again with pandas, from the raw file."""
    found = evidence(world, icu, which)
    frame = found.frame(icu["item"])
    raw = pd.read_csv(world / FILES[which])
    raw["time"] = time(which)(raw)
    raw["signal"] = raw["itemid"].map({itemid: s.label for s in SIGNALS[which] for itemid in s.itemids})
    raw = raw[raw["signal"].notna()]
    keys = icu[["item", "subject_id", "hadm_id", "stay_id", "start_time", "prediction_time"]]
    if which == "lab":
        pairs = raw.merge(keys, on="subject_id", suffixes=("", "_item"))
        pairs = pairs[
            pairs["hadm_id"].eq(pairs["hadm_id_item"])
            | (pairs["hadm_id"].isna() & (pairs["time"] >= pairs["start_time"]))
        ]
    else:
        pairs = raw.merge(keys, on="stay_id")
    entered = pd.to_datetime(pairs["storetime"])
    pairs = pairs[(pairs["time"] <= pairs["prediction_time"]) & ~(entered > pairs["prediction_time"])]
    assert 0 < len(frame) <= len(pairs) <= len(frame) + 2 * sum(found.quarantined.values())
    for signal in SIGNALS[which]:
        values = frame.loc[frame["signal"] == signal.label, "value"]
        assert values.between(signal.low, signal.high).all(), signal.label
    assert list(frame["signal"].cat.categories) == [signal.label for signal in SIGNALS[which]]
    position = frame["item"].map({item: n for n, item in enumerate(icu["item"])})
    assert pd.MultiIndex.from_arrays([position, frame["signal"].cat.codes, frame["hours"]]).is_monotonic_increasing
    hours = frame["item"].map(((icu["prediction_time"] - icu["start_time"]) / HOUR).set_axis(icu["item"]))
    assert (frame["hours"] <= hours + 1e-9).all()


@pytest.mark.parametrize(
    ("name", "which", "belongs"),
    [
        ("icu", "chart", OF_STAY),
        ("icu", "lab", OF_VISIT),
        ("icu", "procedure", OF_STAY),
        ("cxr", "chart", OF_ADMISSION),
        ("cxr", "lab", OF_VISIT),
        ("cxr", "procedure", OF_ADMISSION),
    ],
)
def test_what_happens_after_the_prediction_changes_nothing(name, which, belongs, request, world, tmp_path):
    """Every later event is moved by an hour and given another value."""
    items = request.getfixturevalue(name)
    latest = items.groupby("subject_id")["prediction_time"].max()

    def disturb(frame: pd.DataFrame) -> pd.DataFrame:
        moments = time(which)(frame)
        later = moments > frame["subject_id"].astype(int).map(latest)
        assert later.any()
        frame[TIMES[which]] = written(moments.where(~later, moments + HOUR))
        for changed in {"valuenum", "value"} & set(frame.columns):
            frame.loc[later, changed] = "3"
        return frame

    before = rows(world, items, which, belongs=belongs)
    raw = copy(world, tmp_path / "raw", FILES[which], disturb)
    pd.testing.assert_frame_equal(before, rows(raw, items, which, belongs=belongs))


def test_how_long_a_procedure_goes_on_after_the_prediction_changes_nothing(world, icu, tmp_path):
    ends = icu.set_index("stay_id")["prediction_time"]

    def prolong(frame: pd.DataFrame) -> pd.DataFrame:
        started = (frame["stay_id"].astype(int).map(ends) - time("procedure")(frame)).dt.total_seconds() / 60
        ongoing = frame["valueuom"].eq("min") & (frame["value"].astype(float) > started) & (started > 0)
        assert ongoing.any()
        frame.loc[ongoing, "value"] = (frame.loc[ongoing, "value"].astype(float) * 3).astype(str)
        return frame

    raw = copy(world, tmp_path / "raw", PROCEDURES, prolong)
    pd.testing.assert_frame_equal(rows(world, icu, "procedure"), rows(raw, icu, "procedure"))


def chart_row(item: pd.Series, moment: str, value: str, **other: str) -> dict[str, str]:
    keys = {name: str(item[name]) for name in ("subject_id", "hadm_id", "stay_id")}
    row = {"itemid": "220045", "charttime": moment, "storetime": moment, "valuenum": value, "valueuom": "bpm"}
    return {**keys, **row, **other}


def append(*more: dict[str, str]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: pd.concat([frame, pd.DataFrame(list(more))], ignore_index=True)


@pytest.mark.parametrize(("shift", "kept"), [(0, True), (1, False)])
def test_an_event_at_the_prediction_is_in_and_a_minute_later_is_out(world, icu, tmp_path, shift, kept):
    item = icu.iloc[0]
    moment = (item["prediction_time"] + pd.Timedelta(minutes=shift)).strftime("%Y-%m-%d %H:%M:%S")
    raw = copy(world, tmp_path / "raw", CHART, append(chart_row(item, moment, "123.25")))
    assert (rows(raw, icu, "chart")["value"] == 123.25).any() == kept


@KINDS
@pytest.mark.parametrize(("shift", "kept"), [(0, True), (1, False), (None, True)])
def test_a_value_entered_after_the_prediction_was_not_known_and_one_without_a_storetime_was(
    world, icu, tmp_path, which, shift, kept
):
    item = icu.iloc[0]
    taken, entered = (
        "" if minutes is None else (item["prediction_time"] + pd.Timedelta(minutes=minutes)).strftime(FORM)
        for minutes in (-30, shift)
    )
    signal = SIGNALS[which][0]
    row = chart_row(item, taken, "7.125", itemid=str(signal.itemids[0]), storetime=entered, valueuom=signal.unit)
    row |= {"starttime": taken, "value": "7.125"}
    there = pd.read_csv(world / FILES[which], nrows=0).columns
    raw = copy(world, tmp_path / "raw", FILES[which], append({name: row[name] for name in there if name in row}))
    assert (rows(raw, icu, which)["value"] == 7.125).any() == kept
    assert (rows(raw, icu, which, "haim")["value"] == 7.125).any()


def test_events_of_stays_that_are_in_no_table_are_counted_and_many_are_refused(world, icu, tmp_path):
    heart = str(CHART_SIGNALS[0].itemids[0])

    def lose(column: str, every: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
        return lambda f: f.assign(**{column: f[column].mask((f.index % every == 0) & f[column].notna(), "99999999")})

    def one(frame: pd.DataFrame) -> pd.DataFrame:
        first = frame.index[frame["itemid"].eq(heart)][0]
        return frame.assign(stay_id=frame["stay_id"].mask(frame.index == first, "99999999"))

    for file, which, key, table in ((CHART, "chart", "stay_id", "icustays"), (LABS, "lab", "hadm_id", "admissions")):
        for mode in ("clean", "haim"):
            with pytest.raises(
                ContractError, match=rf"{key}: \d+ of \d+ events .* not in {table}; .*Events and stays are of different"
            ):
                rows(copy(world, tmp_path / which, file, lose(key, 5)), icu, which, mode)
    found = evidence(copy(world, tmp_path / "few", CHART, one), icu, "chart")
    assert found.quarantined["stay_id that is not in icustays"] == 1
    others = evidence(world, icu.iloc[:3], "chart")  # of the cohort or not: it is in the table
    assert not any("icustays" in reason for reason in others.quarantined)
    labs = pd.read_csv(world / LABS)
    assert labs["hadm_id"].isna().any() and not any("admissions" in r for r in evidence(world, icu, "lab").quarantined)


def test_each_image_of_an_admission_takes_the_same_events_up_to_its_own_time(world, cxr):
    frame = rows(world, cxr, "chart", belongs=OF_ADMISSION)
    several = cxr[cxr["hadm_id"].duplicated(keep=False)].sort_values(["hadm_id", "prediction_time"])
    shown = 0
    for _, images in several.groupby("hadm_id"):
        last = frame[frame["item"] == images["item"].iloc[-1]].drop(columns="item")
        for image in images.itertuples():
            until = (image.prediction_time - image.start_time) / HOUR
            own = frame[frame["item"] == image.item].drop(columns="item").reset_index(drop=True)
            pd.testing.assert_frame_equal(own, last[last["hours"] <= until + 1e-9].reset_index(drop=True))
            shown += len(own)
    assert shown


def test_the_order_of_the_items_decides_the_order_of_the_blocks_alone(world, cxr, monkeypatch):
    monkeypatch.setattr(events, "PART_ROWS", 200)
    shuffled = cxr.sample(frac=1, random_state=0, ignore_index=True)
    by_item = {item: part.drop(columns="item") for item, part in rows(world, cxr, "chart").groupby("item")}
    found = rows(world, shuffled, "chart")
    assert list(found["item"].unique()) == [item for item in shuffled["item"] if item in by_item]
    for item, part in found.groupby("item"):
        pd.testing.assert_frame_equal(
            part.drop(columns="item").reset_index(drop=True), by_item[item].reset_index(drop=True)
        )


def test_urine_glucose_is_not_blood_glucose(world, icu):
    labs = pd.read_csv(world / LABS)
    assert labs["itemid"].eq(51478).any()
    frame = rows(world, icu, "lab")
    assert (frame.loc[frame["signal"] == "Glucose", "value"] != 1000.0).all()


def test_ties_in_time_are_ordered_by_storetime_and_then_by_the_place_in_the_file(world, icu, tmp_path):
    item = icu.iloc[0]
    moment = (item["prediction_time"] - HOUR).strftime("%Y-%m-%d %H:%M:%S")
    late, early = (
        (item["prediction_time"] - pd.Timedelta(minutes=minutes)).strftime("%Y-%m-%d %H:%M:%S") for minutes in (3, 9)
    )
    entered = (("201", late), ("202", early), ("203", ""), ("204", early), ("205", late))
    more = [chart_row(item, moment, value, storetime=storetime) for value, storetime in entered]
    frame = rows(copy(world, tmp_path / "raw", CHART, append(*more)), icu, "chart")
    own = frame[(frame["item"] == item["item"]) & (frame["signal"] == "Heart Rate")]
    assert own.loc[own["value"].between(201, 205), "value"].tolist() == [202, 204, 201, 205, 203]


# Units, ranges, dictionaries


def test_units_are_converted_and_what_cannot_be_is_set_aside_with_its_reason(world, icu, tmp_path):
    def foreign(labs: pd.DataFrame) -> pd.DataFrame:
        """Every second glucose in mmol/L; a sodium that no living patient has; a unit that nobody knows."""
        labs["valuenum"] = labs["valuenum"].astype(float)
        glucose = np.flatnonzero(labs["itemid"].isin(["50809", "50931", "52569"]) & labs["valueuom"].eq("mg/dL"))[::2]
        labs.loc[glucose, "valuenum"] /= 18.016
        labs.loc[glucose, "valueuom"] = " MMOL/L"
        labs.loc[labs.index[labs["itemid"].eq("50983")][:7], "valuenum"] = 1.0e4
        labs.loc[labs.index[labs["itemid"].eq("50902")][:5], "valueuom"] = "furlongs"
        return labs

    everyone = icu.assign(prediction_time=icu["prediction_time"] + pd.Timedelta(days=365))
    before = evidence(world, everyone, "lab")
    after = evidence(copy(world, tmp_path / "raw", LABS, foreign), everyone, "lab")
    glucose = [found.frame().query("signal == 'Glucose'")["value"].to_numpy() for found in (before, after)]
    np.testing.assert_allclose(*glucose, rtol=1e-9)
    assert after.quarantined["Sodium: outside [70, 220] mEq/L"] == 7
    assert after.quarantined["Chloride: unit not known"] == 5
    lost = len(before.frame()) - len(after.frame())
    assert 0 < lost <= sum(after.quarantined.values()) - sum(before.quarantined.values())


def test_conversion_keeps_counts(world, icu):
    """Every row of the wanted itemids and of the cohort is in the blocks or in a count, each once."""
    everyone = icu.assign(prediction_time=icu["prediction_time"] + pd.Timedelta(days=365))
    found = evidence(world, everyone, "chart")
    raw = pd.read_csv(world / CHART)
    itemids = [itemid for signal in CHART_SIGNALS for itemid in signal.itemids]
    wanted = raw[raw["itemid"].isin(itemids) & raw["stay_id"].isin(icu["stay_id"])]
    assert len(wanted) == len(found.frame()) + sum(found.quarantined.values())
    assert found.quarantined["Heart Rate: outside [0, 350] bpm"] > 0


def test_rows_without_a_number_or_a_time_are_counted_and_not_lost(world, icu, tmp_path):
    def blank(frame: pd.DataFrame) -> pd.DataFrame:
        own = frame.index[frame["itemid"].eq("220045") & frame["stay_id"].isin(icu["stay_id"].astype(str))]
        frame.loc[own[:4], "valuenum"] = ""
        frame.loc[own[4:6], "valuenum"] = "nan"
        frame.loc[own[6:9], "charttime"] = ""
        frame["valuenum"] = frame["valuenum"].mask(frame["itemid"].eq("223761"), "")
        return frame

    raw = copy(world, tmp_path / "raw", CHART, blank)
    narrow.prepare(raw, "chartevents", tmp_path / "n.parquet", {}, lambda done, total: None)
    counts = narrow.read_counts(tmp_path / "n.parquet")
    assert counts.no_number[220045] == 6 and counts.no_time == 3
    assert counts.rows == sum(counts.numbers.values()) + sum(counts.no_number.values())
    assert 223761 in counts.no_number and 223761 not in counts.numbers
    found = evidence(raw, icu, "chart", narrow=tmp_path / "n.parquet")
    assert found.quarantined["Heart Rate: no number (in the whole table)"] == 6
    assert found.quarantined["Heart Rate: no time"] == 3


def test_the_wrong_dictionary_is_noticed(world, icu, tmp_path):
    ids = lambda f: f.assign(itemid=[str(n) for n in range(900_000, 900_000 + len(f))])  # noqa: E731
    with pytest.raises(ContractError, match=r"labevents.csv.gz.itemid: \d+ of the \d+ rows .* not in d_labitems"):
        rows(copy(world, tmp_path / "a", "hosp/d_labitems.csv.gz", ids), icu, "lab")
    salt = lambda f: f.assign(label=f["label"].replace("Sodium", "Salt"))  # noqa: E731
    for mode in ("clean", "haim"):
        with pytest.raises(ContractError, match="no itemid of Sodium"):
            rows(copy(world, tmp_path / "b", "hosp/d_labitems.csv.gz", salt), icu, "lab", mode)


def test_an_itemid_that_means_something_else_in_this_version_is_not_read(world, icu, tmp_path):
    other = lambda f: f.assign(label=f["label"].mask(f["itemid"].eq("52623"), "Salt"))  # noqa: E731
    found = evidence(copy(world, tmp_path / "raw", "hosp/d_labitems.csv.gz", other), icu, "lab")
    assert found.quarantined["itemids that mean something else in this version"] == 1


def test_a_whole_quantity_in_another_unit_is_refused_and_not_thinned_out(world, icu, tmp_path):
    def shrink(labs: pd.DataFrame) -> pd.DataFrame:
        sodium = labs["itemid"].isin(["50983", "52623"])
        labs.loc[sodium, "valuenum"] = (labs.loc[sodium, "valuenum"].astype(float) / 1000).astype(str)
        return labs

    with pytest.raises(ContractError, match=r"labevents.csv.gz: Sodium: (\d+) of \1 values lie outside \[70, 220\]"):
        rows(copy(world, tmp_path / "raw", LABS, shrink), icu, "lab")


@needs_demo
def test_the_open_demo_gives_events_counted_by_hand():
    """Stays of at least 24 h: 117."""
    items = MIMIC_ICU.build_cohort(DEMO, IcuParams()).items
    labs = evidence(DEMO, items, "lab")
    assert labs.frame()["item"].nunique() == len(items) == 117
    assert {reason.split(": ")[1] for reason in labs.quarantined} == {"no number (in the whole table)"}
    procedures = rows(DEMO, items, "procedure")
    assert procedures["value"].between(0, 60 * 24 * 365).all() and procedures["item"].nunique() == 26


# Mode haim


def small_world(tmp_path: Path, chart: list[tuple], labs: list[tuple] = (), procedures: list[tuple] = ()) -> Path:
    """chart: (stay, time, itemid, valuenum); labs: (hadm, time, itemid, valuenum); procedures: (stay, time, itemid,
    value, unit). Patient 1, admission 2. The dictionaries are the generated world's."""
    from mmn.data.mimic.generated_events import make_dictionaries

    raw = tmp_path / "small"
    for folder in ("icu", "hosp"):
        (raw / folder).mkdir(parents=True)
    items, lab_items = make_dictionaries()
    items.to_csv(raw / "icu/d_items.csv.gz", index=False)
    lab_items.to_csv(raw / "hosp/d_labitems.csv.gz", index=False)
    both = {"subject_id": 1, "hadm_id": 2, "storetime": None}
    frame = pd.DataFrame(chart, columns=["stay_id", "charttime", "itemid", "valuenum"])
    frame.assign(valueuom="bpm", **both).to_csv(raw / CHART, index=False)
    frame = pd.DataFrame(list(labs), columns=["hadm_id", "charttime", "itemid", "valuenum"])
    frame.assign(valueuom="mg/dL", subject_id=1, storetime=None).to_csv(raw / LABS, index=False)
    frame = pd.DataFrame(list(procedures), columns=["stay_id", "starttime", "itemid", "value", "valueuom"])
    frame.assign(**both).to_csv(raw / PROCEDURES, index=False)
    return raw


ITEMS = pd.DataFrame(
    {
        "item": ["a", "b"], "subject": "1", "subject_id": 1, "hadm_id": [2, 2], "stay_id": [3, 4],
        "start_time": pd.Timestamp("2150-01-01"), "prediction_time": pd.Timestamp("2150-01-02"),
    }
)  # fmt: skip
T = "2150-01-01 {:02d}:00:00".format


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
def test_the_published_vectors_come_out_of_the_raw_file(tmp_path, series, expected):
    chart = [(3, T(hour + 1), 220045, value) for hour, value in enumerate(series)]
    raw = small_world(tmp_path, [*chart, (3, "2150-01-02 00:01:00", 220045, 999)])
    found = evidence(raw, ITEMS, "chart", "haim")
    cohort = Cohort(items=ITEMS, targets={}, folds=pd.DataFrame())
    made = summarise_events(found, cohort, "chart_events", EventStatisticsParams(mode="haim"), lambda done, total: None)
    np.testing.assert_allclose(made.embeddings.values[0, 0, 0, :11], expected, rtol=1e-6, atol=5e-5)
    assert (made.embeddings.values[0, 0, 0, 11:] == 0).all()
    assert (made.embeddings.values[0, 1] == 0).all() and made.embeddings.present.all()


def test_haim_keeps_the_files_order_events_without_a_time_and_what_nobody_can_have(tmp_path):
    chart = [(3, T(5), 220045, 1), (3, None, 220045, 2), (3, T(1), 220045, 9999), (4, T(2), 220045, 7)]
    raw = small_world(tmp_path, chart)
    haim, clean = rows(raw, ITEMS, "chart", "haim"), evidence(raw, ITEMS, "chart")
    assert haim["value"].tolist() == [1, 2, 9999, 7]
    assert np.isnan(haim["hours"][1]) and haim["hours"].drop(1).tolist() == [5, 1, 2]
    assert clean.frame()["value"].tolist() == [1, 7]
    assert clean.quarantined == {"Heart Rate: no time": 1, "Heart Rate: outside [0, 350] bpm": 1}


def test_haim_mixes_fluids_and_units_by_label_and_loses_labs_of_no_admission(tmp_path):
    labs = [(2, T(3), 50931, 100), (2, T(2), 51478, 1000), (2, T(1), 52569, 5), (None, T(1), 50931, 7)]
    raw = small_world(tmp_path, [], labs)
    haim, clean = rows(raw, ITEMS, "lab", "haim"), rows(raw, ITEMS, "lab")
    assert haim[haim["item"] == "a"]["value"].tolist() == [100, 1000, 5]
    assert clean[clean["item"] == "a"]["value"].tolist() == [5, 7, 100]


def test_haim_never_cuts_procedures_and_keeps_their_raw_value(tmp_path):
    done = [(3, T(1), 225802, 2, "day"), (3, "2150-03-01 00:00:00", 225802, 3, "day"), (3, T(2), 221223, 1, "None")]
    raw = small_world(tmp_path, [], [], done)
    haim, clean = rows(raw, ITEMS, "procedure", "haim"), rows(raw, ITEMS, "procedure")
    assert haim["signal"].tolist() == ["EEG", "Dialysis - CRRT", "Dialysis - CRRT"]
    assert haim["value"].tolist() == [1, 2, 3]
    # Two days, cut at the prediction 23 h after it began; what has no duration counts 1.
    assert clean["value"].tolist() == [1, 23 * 60]


def test_haim_wants_patient_admission_and_stay_to_agree(tmp_path):
    raw = small_world(tmp_path, [(3, T(1), 220045, 80), (4, T(1), 220045, 90)])
    other = ITEMS.assign(hadm_id=[2, 99])
    assert rows(raw, other, "chart", "haim")["item"].tolist() == ["a"]
    assert rows(raw, other, "chart")["item"].tolist() == ["a", "b"]
    nobody = ITEMS.astype({"stay_id": "Int64"}).assign(stay_id=pd.array([None, None], dtype="Int64"))
    assert rows(raw, nobody, "chart", "haim").empty


# Memory: parts, blocks, spill


@pytest.mark.parametrize("mode", ["clean", "haim"])
@KINDS
def test_parts_blocks_and_spilling_change_no_bit(world, icu, which, mode, monkeypatch):
    whole = evidence(world, icu, which, mode)
    expected = whole.frame()
    assert len(list(whole.blocks())) == 1
    monkeypatch.setattr(events, "PART_ROWS", 50)
    monkeypatch.setattr(events, "BLOCK_ROWS", 10)
    spools = []
    monkeypatch.setattr(events, "Spool", lambda *args: spools.append(Spool(*args)) or spools[-1])
    cut = evidence(world, icu, which, mode, memory_bytes=200)
    assert spools[0].spilled_bytes > 200 and spools[0].num_parts > 2
    assert len(list(cut.blocks())) > 2
    pd.testing.assert_frame_equal(cut.frame(), expected)
    pd.testing.assert_frame_equal(cut.frame(), expected)  # a second pass
    assert cut.quarantined == whole.quarantined
    cohort = Cohort(items=icu, targets={}, folds=pd.DataFrame())
    made = [
        summarise_events(found, cohort, which, EventStatisticsParams(mode=mode), lambda done, total: None)
        for found in (whole, cut)
    ]
    assert made[0].embeddings.values.tobytes() == made[1].embeddings.values.tobytes()
    assert made[0].card == made[1].card


def test_a_table_in_no_order_gives_the_same_events(world, icu, tmp_path, monkeypatch):
    monkeypatch.setattr(narrow, "ROW_GROUP", 300)
    monkeypatch.setattr(events, "PART_ROWS", 300)
    # Of two rows at one time the place in the file would decide.
    single = lambda f: f.drop_duplicates(["stay_id", "itemid", "charttime", "storetime"])  # noqa: E731
    ordered = copy(world, tmp_path / "ordered", CHART, single)
    shuffled = copy(world, tmp_path / "shuffled", CHART, lambda f: single(f).sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(
        rows(ordered, icu, "chart"), rows(shuffled, icu, "chart", memory_bytes=50_000), check_exact=True
    )


def test_two_passes_at_once_do_not_disturb_each_other(world, icu, monkeypatch):
    monkeypatch.setattr(events, "PART_ROWS", 50)
    found = evidence(world, icu, "chart", memory_bytes=1_000)
    for one, other in zip(found.blocks(), found.blocks(), strict=True):
        np.testing.assert_array_equal(one.value, other.value)


def test_a_full_disk_names_the_folder_and_the_way_on(monkeypatch):
    spool = Spool(1, 10)

    def full(*args, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmn.data.mimic.events_spool.tempfile.TemporaryFile", full)
    with pytest.raises(RawFileError, match="TMPDIR"):
        spool.add(np.zeros(100, dtype=np.int32), {"value": np.zeros(100)})


def test_what_runs_ahead_keeps_its_order_and_its_errors():
    def three():
        yield from range(3)
        raise ContractError("here")

    seen = []
    with pytest.raises(ContractError, match="here"):
        seen.extend(ahead(three()))
    assert list(ahead(range(100), depth=1)) == list(range(100))
    endless = ahead(iter(int, 1))
    assert next(endless) == 0
    endless.close()  # the producer stops


def test_a_table_without_rows_gives_no_events(tmp_path):
    raw = small_world(tmp_path, [])
    for which in FILES:
        for mode in ("clean", "haim"):
            assert rows(raw, ITEMS, which, mode).empty
