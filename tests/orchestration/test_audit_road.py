"""The story of three revisions on the real road: run; change a featurizer's parameter and run; change a raw table and
`dvc repro`. Then every question is asked at each revision, and the answers are compared with what was done."""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmn.orchestration.demo import make_workspace
from tests.orchestration.conftest import PARAMS, Road, generate

MODEL, VIDEO, PROBLEM = "models/edu/pass_course/multimodn", "features/edu/video", "features/edu/problem"
CHAIN = {
    "raw/edu/course", "raw/edu/problem_events", "raw/edu/video_events", "prepared/edu/events", "cohorts/edu",
    PROBLEM, VIDEO, MODEL,
}  # fmt: skip
SETTING = {"features": {"video": {"silent_week": "absent"}}}


class Story:
    """revisions: first, wider parameter, other raw table. raw: of each, the MD5 of the video events' file."""

    def __init__(self, road: Road) -> None:
        self.road, self.revisions, self.raw = road, [], []

    @property
    def video_events(self) -> Path:
        return next((self.road.root / "raw" / "edu").rglob("video_event/*.csv*"))

    def commit(self, message: str) -> None:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        self.road.run("git", "add", "dvc.yaml", "dvc.lock", "params.yaml", "journal.jsonl")
        self.road.run("git", *who, "commit", "-q", "-m", message)
        self.revisions.append(self.road.run("git", "rev-parse", "HEAD").stdout.strip())
        self.raw.append(hashlib.md5(self.video_events.read_bytes()).hexdigest())

    def ask(self, *question: str, check: bool = True) -> dict:
        return json.loads(self._ask(*question, "--json", check=check).stdout)

    def _ask(self, *question: str, check: bool = True) -> subprocess.CompletedProcess:
        return self.road.run(sys.executable, "-m", "mmn.orchestration.audit", *question, check=check)


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    root = tmp_path_factory.mktemp("audited") / "study"
    make_workspace(root)
    road = Road(root)
    generate(root, "edu")
    told = Story(road)
    road.params({"edu": PARAMS["edu"]})
    road.run("mmn", "run", MODEL)
    told.commit("First run")
    road.params({"edu": PARAMS["edu"] | SETTING})
    road.run("mmn", "run", MODEL)
    told.commit("A silent week is absent")
    lines = gzip.decompress(told.video_events.read_bytes()).decode().splitlines()
    told.video_events.write_bytes(gzip.compress(("\n".join(lines[:-40]) + "\n").encode(), mtime=0))
    road.run("dvc", "repro", MODEL.replace("/", "-"))
    told.commit("Fewer video events")
    return told


def test_at_each_revision_the_model_is_followed_back_and_every_byte_is_as_recorded(story: Story):
    for number, revision in enumerate(story.revisions):
        found = story.ask("model", MODEL, "--at", revision, "--verify")
        artifacts = {artifact["key"]: artifact for artifact in found["artifacts"]}
        assert found["sound"] and found["verified"] and found["missing_witnesses"] == {}
        assert set(artifacts) == CHAIN
        for artifact in artifacts.values():
            assert artifact["witnesses"] == dict.fromkeys(("lock", "artifact", "bytes", "dagster", "journal"), "agrees")
            assert artifact["made"]["sha256"] and artifact["made"]["by"]
        assert artifacts[VIDEO]["params"] == ({"edu.features.video": SETTING["features"]["video"]} if number else {})
        assert artifacts[MODEL]["inputs"][VIDEO] == artifacts[VIDEO]["version"]
        assert artifacts[MODEL]["made"]["via"] == ("dvc repro" if number == 2 else "mmn")
    commits = [story.ask("model", MODEL, "--at", revision)["revision"] for revision in story.revisions]
    assert [commit["sha"] for commit in commits] == story.revisions
    assert commits[1]["subject"] == "A silent week is absent"


def test_the_differences_of_the_revisions_are_what_was_done(story: Story):
    first, second, third = story.revisions
    by_parameter = story.ask("diff", f"{first}:{MODEL}", f"{second}:{MODEL}")
    (cause,) = by_parameter["root_causes"]
    assert (cause["kind"], cause["key"], cause["what"]) == ("parameters", VIDEO, "edu.features.video.silent_week")
    assert cause["b"] == "absent"
    assert {change["key"] for change in by_parameter["changed"]} == {VIDEO, MODEL}
    by_data = story.ask("diff", second, third)
    assert {(c["kind"], c["key"], c["what"]) for c in by_data["root_causes"]} == {
        ("inputs", "raw/edu/video_events", "raw/edu")
    }
    assert MODEL in {change["key"] for change in by_data["changed"]}
    assert "raw/edu/problem_events" not in {change["key"] for change in by_data["changed"]}
    assert story.raw[0] == story.raw[1] != story.raw[2]


def test_the_embedding_says_who_reads_it_and_nothing_is_stale_now(story: Story):
    found = story.ask("embedding", VIDEO, "--verify")
    assert found["sound"]
    assert {reader["key"]: reader["stale"] for reader in found["read_by"]} == {MODEL: None}
    assert found["artifacts"][-1]["featurizer"]["name"] == "weekly_clicks"
    assert found["artifacts"][-1]["featurizer"]["settings"]["silent_week"] == "absent"
    assert all(artifact["stale"] is None for artifact in found["artifacts"])


def test_an_item_is_told_by_rows_at_each_revision(story: Story):
    import pyarrow.parquet as pq

    table = pq.read_table(story.road.root / "artifacts" / "cohorts" / "edu" / "items.parquet")
    item = table["item"][0].as_py()
    now = story.ask("item", item, "--dataset", "edu", "--verify")
    assert now["faults"] == [] and {e["key"] for e in now["embeddings"]} == {VIDEO, PROBLEM}
    raw = {one["file"].split("/")[0]: one for one in now["raw"]}
    assert raw["grade"]["num_rows"] == 1 and raw["video_event"]["num_rows"] > 0
    then = story.ask("item", item, "--dataset", "edu", "--at", story.revisions[0])
    changed = next(one for one in then["raw"] if one["file"].startswith("video_event"))
    assert changed["rows"] is None and "other than the manifest says" in changed["why"]


def test_a_clone_with_the_artifacts_alone_gives_the_same_answers(story: Story, tmp_path):
    copy = Road(tmp_path / "copy")
    story.road.run("git", "clone", "-q", str(story.road.root), str(copy.root))
    shutil.copytree(story.road.root / "artifacts", copy.root / "artifacts")
    shutil.copytree(story.road.root / ".dvc", copy.root / ".dvc", dirs_exist_ok=True)
    (copy.root / "mmn").symlink_to((story.road.root / "mmn").resolve(), target_is_directory=True)
    here, there = story.ask("model", MODEL), Story(copy).ask("model", MODEL, "--verify")
    assert there["sound"] and set(there["missing_witnesses"]) == {"dagster"}
    assert [(a["key"], a["version"]) for a in there["artifacts"]] == [
        (a["key"], a["version"]) for a in here["artifacts"]
    ]
    weights = copy.root / "artifacts" / MODEL / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    found = Story(copy).ask("model", MODEL, "--verify", check=False)
    assert not found["sound"]
    assert [f["place"] for f in found["findings"] if f["severity"] == "fault"] == [f"artifacts/{MODEL}"]
