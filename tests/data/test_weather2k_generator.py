"""The generated Weather2K: the real format, the same bytes, and the structure it says it has."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import weather2k as benchmark
from mmn.data.errors import ParamsError
from mmn.data.files import version_of
from mmn.data.weather2k import WEATHER2K, generator
from mmn.data.weather2k.quality import check_plausible
from mmn.data.weather2k.sources import open_series
from mmn.data.weather2k.variables import V1_ORDER


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    raw = tmp_path_factory.mktemp("weather2k")
    WEATHER2K.generate(raw, "tiny", 0)
    return raw


@pytest.fixture(scope="module")
def weather(raw):
    series = open_series(raw)
    stations = np.arange(len(series.stations))
    values, quarantined = series.take(stations, np.tile(np.arange(series.num_hours), (40, 1)), V1_ORDER)
    return {name: values[:, :, i] for i, name in enumerate(V1_ORDER)}, quarantined


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(raw, tmp_path):
    WEATHER2K.generate(tmp_path / "same", "tiny", 0)
    WEATHER2K.generate(tmp_path / "other", "tiny", 1)
    assert version_of(tmp_path / "same") == version_of(raw) != version_of(tmp_path / "other")


def test_it_tells_the_truth_about_itself(raw):
    assert json.loads((raw / "GENERATED.json").read_text())["generated"] is True
    said = WEATHER2K.inspect(raw)
    assert said.generated and said.problem is None and not said.skipped


def test_it_has_the_published_layout_and_a_reader_finds_nothing_odd(raw):
    array = np.load(raw / "Weather2K-R" / "data.npy", mmap_mode="r")
    assert array.shape == (40, 23, 800) and array.dtype == np.float32
    assert check_plausible(open_series(raw), "generated") == ()


def test_its_faults_are_codes_and_gaps_only(weather):
    values, quarantined = weather
    assert set(quarantined) and all(reason.endswith("missing-value code 999999") for reason in quarantined)
    assert 0.001 < np.isnan(values["t"]).mean() < 0.02
    assert not np.isnan(values["lat"]).any()


def test_calm_has_direction_0_and_wind_never(weather):
    values, _ = weather
    both = ~np.isnan(values["ws"]) & ~np.isnan(values["wd"])
    calm = values["ws"][both] <= 0.2
    assert calm.any() and (values["wd"][both][calm] == 0).all() and (values["wd"][both][~calm] > 0).all()
    assert values["wd"][both].max() == 360.0


def test_the_planted_structure_can_be_found(weather):
    values, _ = weather
    mean = np.nanmean(values["t"][:-1], axis=1)
    x = np.stack([np.ones(39), values["lat"][:-1, 0], values["alt"][:-1, 0] / 1000], axis=1)
    _, per_degree, per_km = np.linalg.lstsq(x, mean, rcond=None)[0]
    assert per_degree == pytest.approx(-1.2, abs=0.25) and per_km == pytest.approx(-6.0, abs=2.5)
    for higher, lower in (("rh", "hv2"), ("p1", "hv2")):
        known = ~np.isnan(values[higher]) & ~np.isnan(values[lower])
        assert np.corrcoef(values[higher][known], values[lower][known])[0, 1] < -0.1
    np.testing.assert_array_equal(values["t"][0], values["t"][39])


def test_an_unknown_size_is_refused(tmp_path):
    with pytest.raises(ParamsError, match="size 'huge' is unknown; known: tiny, demo, medium"):
        WEATHER2K.generate(tmp_path, "huge", 0)


def test_the_benchmarks_stages_run_at_toy_size(tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "SIZES", dict(generator.SIZES))
    assert benchmark.write_array(tmp_path, 40, 800) == "0.00 GB"
    assert benchmark.build_cohort(tmp_path, "stations", 100, False, tmp_path / "kept").startswith("40 items, 5 folds")
    assert benchmark.read_and_featurize(tmp_path, tmp_path / "kept") == "5 modalities of 3, 10, 6, 5, 1 columns"
    assert "faults of 40 stations" in benchmark.scan(tmp_path)
