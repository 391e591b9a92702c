"""The story of three revisions on the real road: run; change a parameter of the note encoder and press the UI's button;
remove notes from the raw table and `dvc repro`. Then every question is asked at each revision, and the answers are
compared with what was done; DVC shows, pushes and pulls it; and a clone gives the same answers."""

import gzip
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmn.data import load_dataset
from mmn.data.cohort import read_cohort
from mmn.data.mimic.narrow import prepare
from mmn.orchestration.audit.cli import app
from mmn.orchestration.audit.item_rows import candidates
from mmn.orchestration.audit.markdown import link
from mmn.orchestration.audit.used import LATER, NO_SIGNAL, USED, read_used
from mmn.orchestration.demo import make_workspace
from tests.orchestration.conftest import Road, generate
from tests.orchestration.test_road import _graphql

MODEL, SCORES = "models/mimic/cardiomegaly/multimodn", "results/mimic/scores"
NOTES, DEMOGRAPHICS, COHORT = "features/mimic/notes", "features/mimic/demographics", "cohorts/mimic"
RAW = {"raw/mimic/cxr_labels", "raw/mimic/notes", "raw/mimic/tables"}
MODELS = {f"models/mimic/{name}/multimodn" for name in ("cardiomegaly", "enlarged_cardiomediastinum", "multitask")}
EVERYTHING = RAW | MODELS | {COHORT, NOTES, DEMOGRAPHICS, SCORES}
CHAIN = RAW | {COHORT, DEMOGRAPHICS, NOTES, MODEL}
BLOCK = {"modalities": ["demographics", "notes"], "architectures": ["multimodn"], "training": {"epochs": 2}}
SETTING = {"features": {"notes": {"half_life_hours": 6.0}}}
REVISIONS = ("first", "second", "third")
WITNESSES = ("lock", "artifact", "bytes", "dagster", "journal")

# What the page of each asset says: key -> name of the metadata -> its text.
PAGES = """
import json, sys, dagster as dg
from mmn.orchestration import definitions
def text(value):
    rows = [record.data for record in getattr(value, "records", ())]
    return getattr(value, "md_str", None) or rows or str(getattr(value, "value", value))
told = {}
with dg.DagsterInstance.get() as instance:
    for key in sys.argv[1:]:
        asset = definitions.asset_key(key)
        event = instance.get_latest_materialization_event(asset).asset_materialization
        fixed = definitions.defs.resolve_asset_graph().get(asset).metadata
        told[key] = {name: text(value) for name, value in {**fixed, **event.metadata}.items()}
print(json.dumps(told))
"""


LAUNCH = """mutation($p: ExecutionParams!){launchPipelineExecution(executionParams:$p){__typename
... on LaunchRunSuccess{run{runId}} ... on PythonError{message}}}"""
STATUS = "query($r: ID!){runOrError(runId:$r){... on Run{status}}}"


class Story:
    def __init__(self, road: Road) -> None:
        self.road = road
        self.raw: dict[str, str] = {}

    @property
    def notes(self) -> Path:
        return next((self.road.root / "raw" / "mimic").rglob("echo_icustay.csv.gz"))

    def commit(self, name: str) -> None:
        self.road.run("git", "add", "-A", ".")
        self.road.run("git", "commit", "-q", "-m", f"The {name} state")
        self.road.run("git", "tag", name)
        self.raw[name] = hashlib.md5(self.notes.read_bytes()).hexdigest()

    def ask(self, *question: str, status: int = 0) -> dict:
        with _inside(self.road.root):
            done = CliRunner().invoke(app, [*question, "--json"])
        assert done.exit_code == status, done.output
        return json.loads(done.output)

    def pages(self, *keys: str) -> dict[str, dict]:
        return json.loads(self.road.run(sys.executable, "-W", "ignore", "-c", PAGES, *keys).stdout)

    def stale(self) -> set[str]:
        return EVERYTHING & set(self.road.stale_in_dagster())


@contextmanager
def _inside(root: Path) -> Iterator[None]:
    before = os.environ.get("MMN_ROOT")
    os.environ["MMN_ROOT"] = str(root)
    try:
        yield
    finally:
        os.environ.pop("MMN_ROOT") if before is None else os.environ.update(MMN_ROOT=before)


def materialise_in_ui(road: Road, *keys: str) -> None:
    """What the UI's button does: its webserver is asked, by GraphQL, for a run of the chosen assets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "mmn.orchestration.cli", "ui", "--port", str(port)], cwd=road.root,
        env={k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "DVC", "MMN", "PYTEST"))},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "mmn.orchestration.definitions",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": key.split("/")} for key in keys],
    }
    try:
        launched, status, deadline = None, "", time.monotonic() + 300
        while launched is None and time.monotonic() < deadline:
            try:
                launched = _graphql(port, LAUNCH, {"p": {"selector": selector, "runConfigData": {}, "mode": "default"}})
            except OSError:
                time.sleep(0.3)
        assert launched and launched["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess", launched
        run = launched["launchPipelineExecution"]["run"]["runId"]
        while status not in {"SUCCESS", "FAILURE", "CANCELED"} and time.monotonic() < deadline:
            time.sleep(0.5)
            status = _graphql(port, STATUS, {"r": run})["runOrError"]["status"]
        assert status == "SUCCESS"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    make_workspace(folder / "study")
    road = Road(folder / "study")
    generate(road.root, "mimic")
    for name, value in (("user.name", "Ada"), ("user.email", "ada@example.org")):
        road.run("git", "config", name, value)
    road.run("dvc", "remote", "add", "-d", "store", str(folder / "store"))
    told = Story(road)
    road.params({"mimic": BLOCK})
    road.run("mmn", "run", SCORES)
    told.commit("first")
    road.params({"mimic": BLOCK | SETTING})
    materialise_in_ui(road, NOTES, *sorted(MODELS), SCORES)
    told.commit("second")
    notes = pd.read_csv(told.notes, dtype=str, keep_default_na=False)
    told.notes.write_bytes(gzip.compress(notes.iloc[::2].to_csv(index=False).encode(), mtime=0))
    road.run("dvc", "repro", SCORES.replace("/", "-"))
    told.commit("third")
    return told


# What is recorded of it


def test_after_each_way_of_running_dvc_and_dagster_find_nothing_stale(story: Story):
    assert "up to date" in story.road.run("dvc", "status", SCORES.replace("/", "-")).stdout
    assert story.stale() == set()
    assert set(story.raw) == set(REVISIONS) and story.raw["first"] == story.raw["second"] != story.raw["third"]


def test_at_each_revision_the_model_is_followed_back_and_every_byte_is_as_recorded(story: Story):
    ways = {"first": "mmn", "second": "mmn", "third": "dvc repro"}
    for revision in REVISIONS:
        found = story.ask("model", MODEL, "--at", revision, "--verify")
        artifacts = {artifact["key"]: artifact for artifact in found["artifacts"]}
        assert found["sound"] and found["verified"] and found["missing_witnesses"] == {}
        assert found["revision"]["subject"] == f"The {revision} state"
        assert set(artifacts) == CHAIN
        for artifact in artifacts.values():
            assert artifact["witnesses"] == dict.fromkeys(WITNESSES, "agrees")
            assert artifact["made"]["sha256"] and artifact["made"]["git"] == "Ada <ada@example.org>"
        settings = {} if revision == "first" else {"mimic.features.notes": SETTING["features"]["notes"]}
        assert artifacts[NOTES]["params"] == settings
        assert artifacts[NOTES]["featurizer"]["weights"]["sha256"]
        assert artifacts[MODEL]["inputs"][NOTES] == artifacts[NOTES]["version"]
        assert artifacts[MODEL]["made"]["via"] == ways[revision]


def test_at_each_revision_the_embedding_says_who_read_it_and_all_that_is_recorded_is_sound(story: Story):
    for revision in REVISIONS:
        found = story.ask("embedding", NOTES, "--at", revision, "--verify")
        version = found["artifacts"][-1]["version"]
        readers = {reader["key"]: (reader["version_read"], reader["stale"]) for reader in found["read_by"]}
        assert found["sound"] and readers == dict.fromkeys([*MODELS, SCORES], (version, None))
        everything = story.ask("all", "--at", revision)
        assert everything["sound"] and {artifact["key"] for artifact in everything["artifacts"]} == EVERYTHING
    now = story.ask("all", "--verify")
    assert now["sound"] and now["revision"] is None
    assert all(artifact["stale"] is None for artifact in now["artifacts"])


def test_the_differences_of_the_revisions_are_what_was_done(story: Story):
    by_parameter = story.ask("diff", f"first:{MODEL}", f"second:{MODEL}", "--verify")
    (cause,) = by_parameter["root_causes"]
    assert (cause["kind"], cause["key"]) == ("parameters", NOTES)
    assert (cause["what"], cause["b"]) == ("mimic.features.notes.half_life_hours", 6.0)
    assert {change["key"] for change in by_parameter["changed"]} == {NOTES, MODEL}
    by_data = story.ask("diff", "second", "third")
    assert {(c["kind"], c["key"], c["what"]) for c in by_data["root_causes"]} == {
        ("inputs", "raw/mimic/notes", "raw/mimic")
    }
    assert {change["key"] for change in by_data["changed"]} == {"raw/mimic/notes", NOTES, *MODELS, SCORES}
    assert story.ask("diff", "third", "third")["same"]


def test_an_item_is_told_by_rows_at_each_revision(story: Story):
    table = pq.read_table(story.road.root / "artifacts" / COHORT / "items.parquet")
    item = table["item"][0].as_py()
    for revision in REVISIONS:
        found = story.ask("item", item, "--dataset", "mimic", "--at", revision, "--verify")
        assert found["faults"] == [] and {one["key"] for one in found["embeddings"]} == {NOTES, DEMOGRAPHICS}
        assert {one["key"] for one in found["predictions"]} == MODELS
        told = {one["file"]: one for one in found["raw"]}
        changed = next(one for file, one in told.items() if file.endswith(story.notes.name))
        if revision == "third":
            assert changed["rows"] is not None
        else:
            assert changed["rows"] is None and "other than the manifest says" in changed["why"]
        assert any(one["num_rows"] for one in told.values() if one["rows"])


def test_of_an_items_notes_those_are_told_that_were_written_before_the_picture_and_no_path_of_a_patient(story: Story):
    table = pq.read_table(story.road.root / "artifacts" / COHORT / "items.parquet").to_pandas()
    notes = pd.read_csv(story.notes, parse_dates=["charttime", "storetime"])
    known = notes[["charttime", "storetime"]].max(axis=1).dt.tz_localize(None)
    own = {
        item.item: (notes["hadm_id"] == item.hadm_id) & (notes["stay_id"] == item.stay_id)
        for item in table.itertuples()
    }
    until = dict(zip(table["item"], table["prediction_time"], strict=True))
    wanted = {item: set(notes.index[rows & (known <= until[item])] + 1) for item, rows in own.items()}
    later = {item: set(notes.index[rows & (known > until[item])] + 1) for item, rows in own.items()}
    asked = [next(item for item in own if rows[item]) for rows in (wanted, later)]
    for item in asked:
        found = story.ask("item", item, "--dataset", "mimic")
        (told,) = [one for one in found["raw"] if one["file"].endswith(story.notes.name)]
        assert _numbers(told) == wanted[item] and (told["used_by"] == [NOTES]) == bool(wanted[item])
        after = [one for one in told["not_used"] if one["why"] == f"{NOTES}: after the prediction time"]
        assert set().union(*map(_numbers, after)) == later[item]
        subject = table.loc[table["item"] == item, "subject"].iloc[0]
        assert subject not in json.dumps(found)


def test_of_an_items_chart_events_the_rows_that_its_reader_takes_are_told_and_no_other(story: Story, tmp_path):
    dataset, raw = load_dataset("mimic"), story.road.root / "raw" / "mimic"
    cohort = read_cohort(story.road.root / "artifacts" / COHORT)
    narrow = {"chartevents": tmp_path / "chartevents.parquet"}
    prepare(raw, "chartevents", narrow["chartevents"], {}, lambda done, total: None)
    evidence = dataset.read_evidence(raw, "chart_events", cohort, dataset.cohort_defaults, narrow)
    of_item = evidence.frame(cohort.items["item"])["item"].value_counts()
    reasons: set[str] = set()
    for place in range(0, len(cohort), 11):
        items = cohort.items.iloc[[place]]
        used = read_used(dataset, "chart_events", raw, items, {}, narrow)
        rows, _ = candidates(narrow["chartevents"], items.to_dict("records")[0], parquet=True)
        why = used.judge("", rows)
        assert (why == USED).sum() == of_item.get(items["item"].iloc[0], 0)
        reasons |= set(why)
    assert {USED, LATER, NO_SIGNAL} <= reasons


def _numbers(told: dict) -> set[int]:
    return {number for first, last in told["rows"] for number in range(first, last + 1)}


# What the pages of Dagster's UI say


def test_the_pages_of_the_ui_show_the_inputs_the_chain_and_the_readers_with_their_state(story: Story):
    now = {artifact["key"]: artifact for artifact in story.ask("all")["artifacts"]}
    pages = story.pages(MODEL, NOTES)
    model, notes = pages[MODEL], pages[NOTES]
    assert {row["input"]: row["version"] for row in model["inputs"]} == now[MODEL]["inputs"]
    assert f"- {link(MODEL)} `{now[MODEL]['version']}`" in model["audit"]
    assert f"  - {link(NOTES)} `{now[NOTES]['version']}`" in model["audit"]
    assert "half_life_hours = 6.0" in model["audit"] and "reads raw/mimic at" in model["audit"]
    assert f"| {link(NOTES)} | `{now[NOTES]['version']}` | fresh |" in model["made from (when loaded)"]
    assert f"| {link(MODEL)} | `{now[NOTES]['version']}` | fresh |" in notes["read by (when loaded)"]
    # The embedding was made anew before its readers were: at that moment they were stale.
    then = {artifact["key"]: artifact["version"] for artifact in story.ask("all", "--at", "second")["artifacts"]}
    assert f"| {link(MODEL)} | `{then[NOTES]}` | stale: it read another version |" in notes["read by"]


# What DVC shows, and brings to others


def test_dvc_shows_the_metrics_and_plots_of_each_revision(story: Story):
    with (story.road.root / "artifacts" / SCORES / "metrics.json").open() as stream:
        current = json.load(stream)
    assert set(current["cardiomegaly"]) == {"cardiomegaly/multimodn", "multitask/multimodn"}
    shown = json.loads(story.road.run("dvc", "metrics", "show", "--json").stdout)
    assert shown[""]["data"][f"artifacts/{SCORES}/metrics.json"]["data"] == current
    compared = json.loads(story.road.run("dvc", "metrics", "diff", "first", "third", "--json").stdout)
    (changed,) = compared.values()
    for name, change in changed.items():
        task, model, metric = name.split(".")
        assert change["new"] == current[task][model][metric] != change["old"]
    assert changed
    plots = json.loads(story.road.run("dvc", "plots", "diff", "first", "third", "--json").stdout)["data"]
    for file in ("estimates.csv", "learning.csv"):
        assert any(f"artifacts/{SCORES}/{file}" in name and drawn for name, drawn in plots.items())
    assert SCORES.replace("/", "-") in story.road.run("dvc", "dag").stdout


def test_a_clone_that_pulls_has_the_artifacts_and_after_a_sync_dagster_shows_them_as_fresh(story: Story, tmp_path):
    story.road.run("dvc", "push", "--all-commits")
    copy = Story(Road(tmp_path / "copy"))
    story.road.run("git", "clone", "-q", str(story.road.root), str(copy.road.root))
    (copy.road.root / "raw").mkdir()
    (copy.road.root / "raw" / "mimic").symlink_to(story.road.root / "raw" / "mimic", target_is_directory=True)
    copy.road.run("dvc", "pull", "--allow-missing")  # of the steps, ten were run
    copy.road.run("dvc", "fetch", "--all-commits")
    bare = copy.ask("model", MODEL, "--verify")
    assert bare["sound"] and set(bare["missing_witnesses"]) == {"dagster"}
    assert "10 assets" in copy.road.run("mmn", "sync").stdout
    assert copy.stale() == set()
    assert "up to date" in copy.road.run("dvc", "status", SCORES.replace("/", "-")).stdout
    assert link("features/mimic/notes") in copy.pages(MODEL)[MODEL]["audit"]
    for revision in ((), ("--at", "first")):
        here, there = (one.ask("model", MODEL, "--verify", *revision) for one in (story, copy))
        assert there["sound"]
        assert [(a["key"], a["version"]) for a in there["artifacts"]] == [
            (a["key"], a["version"]) for a in here["artifacts"]
        ]
    weights = copy.road.root / "artifacts" / MODEL / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.unlink()
    weights.write_bytes(data)
    found = copy.ask("model", MODEL, "--verify", status=1)
    assert [f["place"] for f in found["findings"] if f["severity"] == "fault"] == [f"artifacts/{MODEL}"]
