"""The audit of a world whose every byte is known: what it answers, and that nothing can be changed unseen."""

import json
import random
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mmn.data.errors import MmnError
from mmn.data.files import version_of
from mmn.orchestration.audit.audit import audit, audit_all
from mmn.orchestration.audit.cli import app
from mmn.orchestration.audit.diff import diff, parse_side
from mmn.orchestration.audit.item import audit_item
from mmn.orchestration.audit.item_rows import ranges
from mmn.orchestration.audit.snapshot import open_snapshot
from tests.orchestration.audit_world import PARAMS, SECRET, WEIGHTS, World, make_world

MODEL, NOTES, AGE = "models/toy/died/multimodn", "features/toy/notes", "features/toy/age"
OTHER_WIDTH = {"toy": {**PARAMS["toy"], "features": {"notes": {"width": 4}}}}


@pytest.fixture(scope="session")
def first_world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.getbasetemp() / "audit" / "study")


@pytest.fixture
def world(first_world, tmp_path) -> World:
    """A copy of its own, to be changed."""
    shutil.copytree(first_world.root, tmp_path / "study", symlinks=True)
    return World(tmp_path / "study")


def now(world: World, key: str = "", **more):
    snapshot = open_snapshot(world.root)
    return audit(snapshot, key, **more) if key else audit_all(snapshot, **more)


def faults(found) -> list[str]:
    return [f"{finding.place}: {finding.message}" for finding in found.findings if finding.severity == "fault"]


def command(world: World, *arguments: str, monkeypatch):
    monkeypatch.setenv("MMN_ROOT", str(world.root))
    return CliRunner().invoke(app, list(arguments))


# What it answers


def test_a_model_is_followed_back_to_its_raw_manifest_with_versions_weights_and_parameters(first_world):
    found = now(first_world, MODEL, verify=True)
    assert [node.key for node in found.nodes] == ["raw/toy/visits", "cohorts/toy", AGE, NOTES, MODEL]
    for node in found.nodes:
        assert node.entry.version == version_of(first_world.root / node.entry.path)
        assert set(node.checked.witnesses.values()) == {"agrees"}
        assert node.stale is None
    notes = found.node(NOTES)
    assert notes.featurizer["weights"] == WEIGHTS and notes.featurizer["settings"] == {"width": 3}
    assert notes.entry.params == {"toy.features.notes": {"width": 3}}
    assert found.node(MODEL).entry.inputs[NOTES] == notes.entry.version
    assert notes.made["git"] == "Ada <ada@example.org>" and "python" in notes.made["environment"]
    assert found.sound and not found.missing


def test_an_embedding_says_which_models_read_it_and_that_they_are_stale_once_it_is_another(world):
    assert now(world, NOTES).read_by == {MODEL: (now(world, NOTES).node(NOTES).entry.version, None)}
    old = now(world, NOTES).node(NOTES).entry.version
    world.params(OTHER_WIDTH)
    world.walk(NOTES)
    found = now(world, NOTES, verify=True)
    version, why = found.read_by[MODEL]
    assert version == old and why == f"it read {NOTES} at {old}, which is now {found.node(NOTES).entry.version}"
    assert now(world, AGE).read_by[MODEL][1] == why
    assert found.node(NOTES).checked.witnesses["dagster"] == "disagrees"  # it was not told
    world.tell_dagster()
    assert now(world, NOTES, verify=True).sound


def test_a_changed_parameter_or_file_of_code_makes_stale_and_is_no_fault_while_a_witness_vouches(world):
    world.params({"toy": {**PARAMS["toy"], "training": {"epochs": 9}}})
    assert now(world, MODEL, verify=True).node(MODEL).stale == "params.yaml: toy.training changed"
    (world.root / "mmn").unlink()
    (world.root / "mmn" / "data").mkdir(parents=True)
    (world.root / "mmn" / "data" / "errors.py").write_text("# another\n")
    found = now(world, MODEL, verify=True)
    assert found.sound and found.node(AGE).stale == "mmn/data/errors.py changed"


def test_at_a_revision_it_answers_as_things_were_then(world):
    before = now(world, MODEL)
    world.params(OTHER_WIDTH)
    world.walk()
    world.tell_dagster()
    then, after = audit(open_snapshot(world.root, "HEAD"), MODEL, verify=True), now(world, MODEL, verify=True)
    assert {n.key: n.entry.version for n in then.nodes} == {n.key: n.entry.version for n in before.nodes}
    assert then.node(NOTES).entry.params == {"toy.features.notes": {"width": 3}}
    assert after.node(NOTES).entry.params == {"toy.features.notes": {"width": 4}}
    assert after.node(NOTES).entry.version != then.node(NOTES).entry.version
    assert {node.checked.witnesses["bytes"] for node in then.nodes} == {"agrees"}  # from DVC's cache
    assert then.sound and after.sound
    with pytest.raises(MmnError, match="no such git revision"):
        open_snapshot(world.root, "nowhere")


def test_a_copy_of_the_artifacts_and_the_git_repository_is_enough_and_it_says_who_is_missing(world, tmp_path):
    copy = tmp_path / "copy"
    world.git("clone", "-q", str(world.root), str(copy))
    shutil.copytree(world.root / "artifacts", copy / "artifacts")
    found = now(World(copy), MODEL, verify=True)
    assert found.sound and found.missing == {"dagster": "no database of Dagster is here"}
    assert {f.code for f in found.findings if f.severity == "missing"} == {"raw", "code"}
    witnesses = found.node(MODEL).checked.witnesses
    assert witnesses["dagster"] == "missing" and witnesses["bytes"] == witnesses["journal"] == "agrees"
    # And without anything but the artifacts.
    for name in ("dvc.lock", "journal.jsonl"):
        (copy / name).unlink()
    bare = now(World(copy), MODEL, verify=True)
    assert set(bare.missing) == {"dvc.lock", "journal", "dagster"}
    assert [node.key for node in bare.nodes] == [node.key for node in found.nodes]
    assert bare.node(MODEL).checked.witnesses["artifact"] == "agrees"


def test_bytes_that_are_not_here_are_not_said_to_have_been_read(world, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    world.git("clone", "-q", str(world.root), str(copy))
    shutil.copytree(world.root / "artifacts", copy / "artifacts")
    (copy / "artifacts" / f"{NOTES}.parquet").unlink()
    done = command(World(copy), "model", "toy/died/multimodn", "--verify", monkeypatch=monkeypatch)
    said = " ".join(done.output.split())
    assert "the bytes of 1 are not here, all others were read" in said and "every byte" not in said


def test_what_was_changed_by_hand_and_recorded_without_a_run_is_found_without_dagster(world, tmp_path):
    copy = tmp_path / "copy"
    world.git("clone", "-q", str(world.root), str(copy))
    shutil.copytree(world.root / "artifacts", copy / "artifacts")
    card = copy / "artifacts" / MODEL / "card.json"
    card.write_text(card.read_text() + "\n")
    lock = yaml.safe_load((copy / "dvc.lock").read_text())
    out = lock["stages"][MODEL.replace("/", "-")]["outs"][0]
    out["md5"], out["size"] = version_of(card.parent), out["size"] + 1  # as `dvc commit -f` leaves it
    (copy / "dvc.lock").write_text(yaml.safe_dump(lock))
    found = now(World(copy), MODEL, verify=True)
    assert not found.sound
    told = [f.message for f in found.findings if f.severity == "fault" and f.code == "journal"]
    assert any("recorded without a run" in message for message in told)


def test_the_command_prints_a_tree_and_json_with_stable_keys_and_ends_with_1_for_a_fault(world, monkeypatch):
    done = command(world, "model", "toy/died/multimodn", "--verify", monkeypatch=monkeypatch)
    assert done.exit_code == 0 and "Sound" in done.output and "weights: toy, SHA-256 abab" in done.output
    told = json.loads(command(world, "model", MODEL, "--json", "--at", "HEAD", monkeypatch=monkeypatch).output)
    assert told["schema"] == "mmn-audit/1" and told["revision"]["author"] == "Ada <ada@example.org>"
    assert set(told) == {
        "artifacts", "decisions", "findings", "missing_witnesses", "part", "read_by", "revision", "schema", "sound",
        "subject", "verified",
    }  # fmt: skip
    assert told["part"] is None
    assert set(told["artifacts"][0]) == {
        "code", "code_version", "featurizer", "inputs", "key", "made", "params", "path", "raw", "stale", "version",
        "witnesses",
    }  # fmt: skip
    with (world.root / "artifacts" / MODEL / "model.safetensors").open("ab") as stream:
        stream.write(b"x")
    done = command(world, "model", MODEL, "--verify", monkeypatch=monkeypatch)
    assert done.exit_code == 1 and f"artifacts/{MODEL}: its bytes (model.safetensors) have version" in done.output
    assert (
        command(world, "embedding", "toy/notse", monkeypatch=monkeypatch)
        .exception.args[0]
        .endswith("Did you mean 'features/toy/notes'?")
    )


# Nothing can be changed unseen


def _places(world: World) -> list[Path]:
    files = [file for file in (world.root / "artifacts").rglob("*") if file.is_file()]
    return [file for file in sorted(files) if file.name != ".gitignore"]


@pytest.mark.parametrize("witnesses", ["all", "without Dagster", "without the journal", "with neither"])
def test_every_flipped_byte_of_an_artifact_or_of_what_is_recorded_is_found_with_its_place(
    first_world, tmp_path, witnesses
):
    shutil.copytree(first_world.root, tmp_path / "study", symlinks=True)
    world = World(tmp_path / "study")
    if witnesses in {"without Dagster", "with neither"}:
        shutil.rmtree(world.root / ".dagster")
    if witnesses in {"without the journal", "with neither"}:
        world.forget_journal()
    assert now(world, verify=True).sound
    recorded = [path for name in ("dvc.lock", "dvc.yaml", "journal.jsonl") if (path := world.root / name).exists()]
    places = [*_places(world), *recorded * 4]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(places), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
    def flips(path: Path, where: float, by: int) -> None:
        kept = path.read_bytes()
        at = int(where * len(kept))
        path.write_bytes(kept[:at] + bytes([kept[at] ^ by]) + kept[at + 1 :])
        try:
            found = now(world, verify=True)
            assert not found.sound, (path.name, at, by)
            if path.name != "dvc.lock":  # what its changed word is compared with is named too
                place = path.relative_to(world.root).as_posix()
                assert any(place.startswith(re.split("[: ,]", fault)[0]) for fault in faults(found)), (place, at)
        finally:
            path.write_bytes(kept)

    flips()


def test_every_flipped_byte_of_a_raw_folders_line_in_the_lock_is_found_without_the_journal(world):
    # Dagster hears nothing of raw folders: here the lock has no other witness than the folder itself.
    world.forget_journal()
    path = world.root / "dvc.lock"
    kept = path.read_bytes()
    begins = kept.index(b"    - path: raw/toy\n")
    for at in range(begins, kept.index(b"    outs:", begins)):
        path.write_bytes(kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :])
        assert any("dvc.lock" in fault for fault in faults(now(world, verify=True))), at


def test_every_flipped_byte_of_the_journal_is_found(world):
    path = world.root / "journal.jsonl"
    kept = path.read_bytes()
    chosen = random.Random(5)
    for _ in range(80):
        at = chosen.randrange(len(kept))
        path.write_bytes(kept[:at] + bytes([kept[at] ^ chosen.randrange(1, 256)]) + kept[at + 1 :])
        assert any("journal.jsonl" in fault for fault in faults(now(world))), at
    path.write_bytes(kept[: kept[:-1].rindex(b"\n") + 1])
    assert "does not begin with what the last commit holds" in faults(now(world))[0]


def test_an_artifact_that_was_forged_with_a_lock_to_match_is_found(world):
    """Whoever changes a card and its MD5 in dvc.lock has not changed what others recorded of it."""
    card = world.root / "artifacts" / MODEL / "card.json"
    old = version_of(card.parent)
    card.write_text(card.read_text().replace("0.8", "0.9"))
    lock = world.root / "dvc.lock"
    lock.write_text(lock.read_text().replace(old, version_of(card.parent)))
    said = " ".join(faults(now(world, MODEL, verify=True)))
    assert f"Dagster's latest version is {old}" in said
    report = now(world, "results/toy/scores")
    assert not report.sound  # its own card says which version it was made from


def test_a_footer_that_tells_of_another_input_is_found_without_reading_every_byte(world):
    card = world.root / "artifacts" / MODEL / "card.json"
    told = json.loads(card.read_text())
    told["provenance"]["inputs"][NOTES] = "0" * 32
    card.write_text(json.dumps(told))
    assert (
        f"artifacts/{MODEL}/card.json: says that it was made from {NOTES} at {'0' * 32}" in faults(now(world, MODEL))[0]
    )


def test_a_version_that_was_changed_in_dagsters_records_is_found(world):
    database = world.root / ".dagster" / "history" / "runs" / "index.db"
    version = now(world, MODEL).node(MODEL).entry.version
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE event_logs SET event = replace(event, ?, ?)", [version, "f" * 32 + ".dir"])
    assert f"Dagster's latest version is {'f' * 32}.dir" in faults(now(world, MODEL))[0]


def test_a_raw_file_that_changed_is_named_but_not_at_an_older_revision(world):
    world.visits(age=41)
    assert faults(now(world, MODEL, verify=True))[0].startswith("raw/toy/visits.csv: is other than the manifest says")
    assert now(world, MODEL).sound
    assert audit(open_snapshot(world.root, "HEAD"), MODEL, verify=True).sound


def test_a_lock_written_by_hand_is_found_and_one_written_by_dvc_is_not(world):
    lock = world.root / "dvc.lock"
    text = lock.read_text()
    for changed in (text.replace("size: ", "size:  ", 1), text + "# a remark\n", text.replace("'2.0'", '"2.0"')):
        lock.write_text(changed)
        assert any("dvc.lock" in fault for fault in faults(now(world))), changed[:80]
    from dvc.utils.serialize import dump_yaml, load_yaml

    lock.write_text(text)
    dump_yaml(str(lock), load_yaml(str(lock)))
    assert now(world, verify=True).sound
    entries, loaded = open_snapshot(world.root).entries, yaml.safe_load(text)["stages"]
    assert {e.stage: e.version for e in entries.values()} == {s: e["outs"][0]["md5"] for s, e in loaded.items()}


# One item


def test_an_item_is_told_by_rows_and_files_and_never_by_value(first_world, monkeypatch):
    found = audit_item(open_snapshot(first_world.root), "103", "toy", verify=True)
    assert found["cohort"]["row"] == 4 and sum(found["cohort"]["folds"].values()) == 2
    assert {e["key"]: e["rows"] for e in found["embeddings"]} == {AGE: [[4, 4]], NOTES: [[4, 4]]}
    assert found["predictions"][0]["rows"] == [[4, 4]]
    (raw,) = found["raw"]
    assert raw["file"] == "visits.csv" and raw["rows"] == [[7, 8]] and raw["keys"] == ["stay_id", "subject_id"]
    assert raw["used_by"] == ["cohorts/toy", AGE, NOTES] and raw["not_used"] == []
    assert found["faults"] == []
    shown = command(first_world, "item", "103", "--dataset", "toy", monkeypatch=monkeypatch).output
    for told in (json.dumps(found), shown):
        assert SECRET not in told and "43" not in told.replace(found["raw"][0]["version"], "").split()
    with pytest.raises(MmnError, match="no such item"):
        audit_item(open_snapshot(first_world.root), "999", "toy")
    with pytest.raises(MmnError, match="Did you mean 'toy'"):
        audit_item(open_snapshot(first_world.root), "103", "toys")


def test_an_items_raw_rows_are_not_read_from_a_file_that_is_another_now(world):
    world.visits(num_items=30)
    (raw,) = audit_item(open_snapshot(world.root), "103", "toy")["raw"]
    assert raw["rows"] is None and "other than the manifest says" in raw["why"]


def test_row_numbers_are_joined_into_ranges():
    assert ranges([1, 2, 3, 7, 9, 10]) == [[1, 3], [7, 7], [9, 10]] and ranges([]) == []


# Why two differ


def test_the_difference_of_two_revisions_names_the_parameter_and_what_follows_from_it(world, monkeypatch):
    world.params(OTHER_WIDTH)
    world.walk()
    world.tell_dagster()
    found = diff(parse_side(world.root, f"HEAD:{MODEL}"), parse_side(world.root, MODEL))
    (cause,) = [cause for cause in found["root_causes"] if cause["kind"] == "parameters"]
    assert (cause["key"], cause["what"], cause["a"], cause["b"]) == (NOTES, "toy.features.notes.width", 3, 4)
    assert {change["key"] for change in found["changed"]} == {NOTES, MODEL}
    assert not found["same"] and found["sound"]
    shown = command(world, "diff", "HEAD", ".", monkeypatch=monkeypatch).output
    assert "toy.features.notes.width" in shown and "what follows: models/toy/died/multimodn" in shown
    assert diff(parse_side(world.root, "HEAD"), parse_side(world.root, "HEAD"))["same"]


def test_the_difference_of_two_workspaces_names_the_raw_data(world, first_world):
    world.visits(age=50)
    world.walk()
    found = diff(parse_side(first_world.root, "."), parse_side(first_world.root, str(world.root)))
    assert {cause["kind"] for cause in found["root_causes"]} == {"inputs"}
    assert {(cause["key"], cause["what"]) for cause in found["root_causes"]} == {
        (key, "raw/toy") for key in ("raw/toy/visits",)
    }


def test_other_bytes_from_the_same_inputs_are_explained_by_the_environment(world, first_world, monkeypatch):
    from mmn.orchestration import journal
    from tests.orchestration import audit_world

    monkeypatch.setattr(journal, "environment_now", lambda: {"python": "3.12.0", "packages": {"torch": "9.9"}})
    make = audit_world._MAKERS["scores"]

    def another(world, step, out, provenance):
        make(world, step, out, provenance)
        (out / "scores.csv").write_text("task,auroc\ndied,0.70000001\n")

    monkeypatch.setitem(audit_world._MAKERS, "scores", another)
    world.walk("results/toy/scores")
    found = diff(parse_side(world.root, "HEAD:results/toy/scores"), parse_side(world.root, "results/toy/scores"))
    assert {cause["kind"] for cause in found["root_causes"]} == {"environment"}
    assert "packages.torch" in {cause["what"] for cause in found["root_causes"]}


def test_the_difference_of_two_artifacts_of_one_workspace_names_settings_and_weights(first_world):
    found = diff(parse_side(first_world.root, AGE), parse_side(first_world.root, NOTES))
    assert {(c["kind"], c["what"]) for c in found["root_causes"]} >= {
        ("weights", "sha256"), ("settings", "featurizer"), ("parameters", "toy.features.notes.width"),
    }  # fmt: skip
    with pytest.raises(MmnError, match="neither a recorded key nor a workspace's folder nor a git revision"):
        parse_side(first_world.root, "nothing/such")
