"""The witnesses besides: the journal in git, a lock that is away, `dvc.yaml`, Dagster's copies, the code."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmn.orchestration.audit.audit import audit_all
from mmn.orchestration.audit.broken import broken_code
from mmn.orchestration.audit.snapshot import open_snapshot
from mmn.orchestration.cli import app as main_app
from mmn.orchestration.code import PACKAGE
from mmn.orchestration.journal import append
from mmn.orchestration.promotion import promote
from tests.orchestration.audit_world import PARAMS, World, steps
from tests.orchestration.test_audit import MODEL, NOTES, OTHER_WIDTH, command, faults, first_world, now, world  # noqa: F401

RUN = {"did": "step", "version": "v", "entry": "e", "sha256": "s"}
RUNS = Path(".dagster") / "history" / "runs"


def notes(found) -> list[str]:
    return [finding.message for finding in found.findings if finding.severity == "note"]


def grow(world: World, number: int = 1, who: str = "x") -> bytes:  # noqa: F811
    """The journal, with so many more lines."""
    for line in range(number):
        append(world.root, RUN | {"step": f"{who}/{line}"})
    return (world.root / "journal.jsonl").read_bytes()


# The journal in git


def test_a_journal_that_was_shortened_and_committed_is_found_and_who_did_it_is_said(world):  # noqa: F811
    short = (world.root / "journal.jsonl").read_bytes()
    grow(world, 3)
    long = world.commit("Three more")
    (world.root / "journal.jsonl").write_bytes(short)
    cut = world.commit("Tidied up")
    found = now(world)
    (fault,) = faults(found)
    assert fault.startswith("journal.jsonl in git: ") and "removed or changed 3 lines" in fault
    assert cut[:12] in fault and long[:12] in fault and "Ada <ada@example.org>" in fault
    grow(world)
    world.commit("And on")
    assert faults(now(world)) == [fault]  # for ever
    assert faults(audit_all(open_snapshot(world.root, "HEAD~2"))) == [fault]  # whichever revision is asked for
    world.git("replace", "--graft", cut)  # as if nothing had been before
    assert faults(audit_all(open_snapshot(world.root, "HEAD~1"))) == [fault]


def test_a_shallow_clone_says_that_earlier_journals_are_not_here(world, tmp_path):  # noqa: F811
    grow(world)
    world.commit("One more")
    world.git("clone", "-q", "--depth", "1", f"file://{world.root}", str(tmp_path / "copy"))
    found = audit_all(open_snapshot(tmp_path / "copy"))
    assert any("shallow" in finding.message for finding in found.findings if finding.severity == "missing")


def test_a_journal_that_was_rewritten_or_removed_in_a_commit_is_found(world):  # noqa: F811
    path = world.root / "journal.jsonl"
    rows = grow(world).splitlines(keepends=True)
    world.commit("One more")
    path.write_bytes(b"".join(rows[:-1]))
    grow(world, who="y")  # the last line is another now, and the chain is whole
    world.commit("As long as before")
    assert ["removed or changed 1 line" in fault for fault in faults(now(world))] == [True]
    world.git("rm", "-q", "journal.jsonl")
    world.commit("Gone")
    assert len(faults(now(world))) == 2


def test_lines_that_a_later_commit_put_back_are_a_note_and_what_only_grew_is_sound(world):  # noqa: F811
    path = world.root / "journal.jsonl"
    short, long = path.read_bytes(), grow(world, 2)
    world.commit("Grown")
    assert now(world).sound and not notes(now(world))
    path.write_bytes(short)
    world.commit("By mistake")
    path.write_bytes(long)
    world.commit("Put back")
    found = now(world)
    assert found.sound and ["they are here again" in note for note in notes(found)] == [True]


def test_a_merge_may_take_one_of_two_journals_that_parted_but_not_the_shorter_of_one(world):  # noqa: F811
    path = world.root / "journal.jsonl"
    world.git("checkout", "-q", "-b", "side")
    aside = grow(world, 2, "side")
    world.commit("Aside")
    world.git("checkout", "-q", "main")
    ours = grow(world, 3)
    world.commit("On main")
    world.git("merge", "-q", "-s", "ours", "-m", "Both", "side")
    found = now(world)
    assert found.sound and any("kept one of two journals; 2 lines" in note for note in notes(found))
    assert path.read_bytes() == ours != aside
    world.git("checkout", "-q", "-b", "old", "HEAD~1")
    (world.root / "other.txt").write_text("")
    world.commit("Of an older state")
    world.git("checkout", "-q", "main")
    grow(world, 2)
    world.commit("Two more")
    world.git("checkout", "-q", "old")
    world.git("merge", "-q", "-s", "ours", "-m", "The older one kept", "main")
    assert any("removed or changed 2 lines" in fault for fault in faults(now(world)))


# A witness that is away


def test_a_lock_that_was_moved_away_is_read_from_the_last_commit_and_is_no_fault(world):  # noqa: F811
    before = now(world, verify=True)
    (world.root / "dvc.lock").unlink()
    found = now(world, verify=True)
    assert found.sound and set(found.missing) == {"dvc.lock"} and "last commit" in found.missing["dvc.lock"]
    assert [node.entry for node in found.nodes] == [node.entry for node in before.nodes]
    world.params(OTHER_WIDTH)
    world.walk()  # not committed: what ran since, the last commit cannot know
    world.tell_dagster()
    (world.root / "dvc.lock").unlink()
    found = now(world, verify=True)
    assert found.sound, faults(found)
    assert found.node(NOTES).entry.version != before.node(NOTES).entry.version
    card = world.root / "artifacts" / MODEL / "card.json"
    card.write_text(card.read_text().replace("0.8", "0.9"))
    assert any(f"artifacts/{MODEL}" in fault or "journal" in fault for fault in faults(now(world, verify=True)))


def test_without_any_lock_the_chain_is_taken_from_the_artifacts_and_only_tampering_is_a_fault(world):  # noqa: F811
    world.git("rm", "-q", "dvc.lock")
    world.git("commit", "-q", "--amend", "-m", "First run")
    found = now(world, verify=True)
    assert found.sound, faults(found)
    assert set(found.missing) == {"dvc.lock"} and found.node(MODEL).checked.witnesses["lock"] == "missing"
    assert {node.checked.witnesses["journal"] for node in found.nodes} == {"agrees"}
    assert all(node.stale is None for node in found.nodes)
    for name in ("artifacts/features/toy/notes.parquet", f"artifacts/{MODEL}/model.safetensors"):
        kept = (world.root / name).read_bytes()
        (world.root / name).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert faults(now(world, verify=True)), name
        (world.root / name).write_bytes(kept)


def test_a_journal_that_was_removed_is_a_fault_as_it_only_grows(world):  # noqa: F811
    (world.root / "journal.jsonl").unlink()
    assert faults(now(world)) == [
        "journal.jsonl: was removed; `git restore` brings back what the last commit holds of it"
    ]


def test_a_clone_that_was_not_checked_out_is_audited_with_what_its_last_commit_records(world, tmp_path, monkeypatch):  # noqa: F811
    copy = tmp_path / "copy"
    world.git("clone", "-q", "--no-checkout", str(world.root), str(copy))
    shutil.copytree(world.root / "artifacts", copy / "artifacts")
    monkeypatch.chdir(copy)
    monkeypatch.delenv("MMN_ROOT", raising=False)
    done = subprocess.run(
        [sys.executable, "-m", "mmn.orchestration.audit", "all", "--verify", "--json"],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["sound"] and set(told["missing_witnesses"]) == {
        "dvc.lock", "dvc.yaml", "params.yaml", "journal", "dagster",
    }  # fmt: skip


# dvc.yaml


def test_every_flipped_byte_of_dvc_yaml_is_found_and_a_stage_written_anew_is_none(world):  # noqa: F811
    path = world.root / "dvc.yaml"
    text = path.read_bytes()
    for at in range(0, len(text), 23):
        path.write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])
        assert any("dvc.yaml" in fault for fault in faults(now(world))), at
    path.write_bytes(text)
    world.params({**PARAMS, "toy": {**PARAMS["toy"], "cohort": {"x": 1}}})
    world.walk()  # a section more, recorded and not committed
    world.tell_dagster()
    assert path.read_bytes() != text and now(world, verify=True).sound


# Dagster's copies


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("index.db", "UPDATE event_logs SET event = replace(event, :old, :new)"),
        (".db", "UPDATE event_logs SET event = replace(event, :old, :new)"),
        (".db", "DELETE FROM event_logs WHERE event LIKE '%' || :old || '%' OR :new = ''"),
        ("index.db", "UPDATE asset_event_tags SET value = :new WHERE value = :old"),
        ("index.db", "UPDATE asset_keys SET last_materialization = replace(last_materialization, :old, :new)"),
    ],
)
def test_a_version_changed_in_any_copy_that_dagster_keeps_is_found(world, file, change):  # noqa: F811
    old = now(world, NOTES).node(NOTES).entry.version
    with sqlite3.connect(world.root / RUNS / file) as connection:
        connection.execute(change, {"old": old, "new": old[:-1] + ("0" if old[-1] != "0" else "1")})
    connection.close()
    assert any(fault.startswith((RUNS / file).as_posix()) for fault in faults(now(world, NOTES)))


def test_a_run_that_dagsters_index_does_not_know_is_found_with_verify(world):  # noqa: F811
    shutil.copy(world.root / RUNS / ".db", world.root / RUNS / "another.db")
    assert now(world).sound
    assert {fault.split(": ")[0] for fault in faults(now(world, verify=True))} == {(RUNS / "another.db").as_posix()}


# The code, and what is asked for


def test_a_damaged_file_of_code_is_named_without_a_traceback(world, tmp_path):  # noqa: F811
    shutil.copytree(PACKAGE, tmp_path / "mmn", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "mmn" / "orchestration" / "audit" / "lock.py"
    file.write_bytes(file.read_bytes().replace(b"def read_lock_text(", b"dEf read_lock_text("))
    done = subprocess.run(
        [sys.executable, "-c", "from mmn.orchestration.cli import main; main()", "audit", "all"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "MMN_ROOT": str(world.root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "mmn/orchestration/audit/lock.py line" in done.stderr and "Restore the code" in done.stderr
    assert broken_code(ValueError("of data")) is None


def test_a_card_of_everything_is_refused_with_what_there_are_cards_of(world, monkeypatch):  # noqa: F811
    refused = command(world, "all", "--export", "card", monkeypatch=monkeypatch)
    assert refused.exit_code == 1 and f"Recorded here: features/toy/age, {NOTES}, {MODEL}" in str(refused.exception)


def test_prune_says_whom_what_is_shown_is_not_needed_by(world, monkeypatch):  # noqa: F811
    monkeypatch.setenv("MMN_ROOT", str(world.root))
    shown = CliRunner().invoke(main_app, ["prune", "--only", NOTES]).output
    assert f"3  artifacts that {NOTES} and what they read do not need" in shown and "Nothing was removed" in shown
    assert (world.root / "artifacts" / MODEL).exists()


# Promotions


@pytest.fixture
def decided(world) -> Path:  # noqa: F811
    """Two decisions of a person, one after the other; the file that holds them."""
    step, version = steps()[MODEL], now(world, MODEL).node(MODEL).entry.version
    for why in ("It was looked at.", "It was looked at again."):
        promote(world.workspace, step, version, why)
    world.commit("Decided")
    return world.root / "promoted" / f"{MODEL.removeprefix('models/')}.json"


def test_the_audit_shows_who_decided_what_of_a_model_and_why(world, decided, monkeypatch):  # noqa: F811
    found = now(world, MODEL)
    assert found.sound and [line["why"] for line in found.decisions] == ["It was looked at.", "It was looked at again."]
    told = json.loads(command(world, "model", MODEL, "--json", monkeypatch=monkeypatch).stdout)["decisions"]
    assert told[0]["by"] and told[0]["verdict"] == "by hand" and told[1]["now_current"] == told[1]["candidate"]
    assert "by hand" in command(world, "model", MODEL, monkeypatch=monkeypatch).stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda told: told["decisions"][0].update(tasks=[{"worse_by": 0.0}]),
            "decision 1 of 2 is not what the journal",
        ),
        (lambda told: told["decisions"][1].update(why="Because."), "decision 2 of 2 is not what the journal"),
        (lambda told: told["decisions"].pop(), "holds 1 decisions, the journal 2"),
        (lambda told: told["decisions"].append(told["decisions"][0]), "decision 3 of 3 is in no line of the journal"),
        (lambda told: told.update(current="f" * 32), "names ffff"),
        (lambda told: told.pop("decisions"), "is not readable"),
    ],
)
def test_a_decision_that_was_changed_put_in_or_taken_out_is_a_fault(world, decided, change, message):  # noqa: F811
    told = json.loads(decided.read_bytes())
    change(told)
    decided.write_text(json.dumps(told))
    assert any(message in fault for fault in faults(now(world, MODEL))) and not now(world).sound


def test_decisions_that_are_not_here_are_said_and_are_no_fault(world, decided):  # noqa: F811
    decided.unlink()
    found = now(world, MODEL)
    assert found.sound and any("the journal holds 2 decisions of it" in finding.message for finding in found.findings)
