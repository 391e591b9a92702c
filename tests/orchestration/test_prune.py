"""`mmn prune` and the journal: what nobody needs, who removed it, and that history stays."""

import json
import multiprocessing
import shutil

import pytest

from mmn.data.errors import MmnError
from mmn.orchestration.audit.audit import audit, audit_all
from mmn.orchestration.audit.snapshot import open_snapshot
from mmn.orchestration.journal import append, environment_now, journal_of, read_journal
from mmn.orchestration.prune import find_unneeded, remove
from tests.orchestration.audit_world import World, steps
from tests.orchestration.test_audit import MODEL, NOTES, OTHER_WIDTH, first_world, world  # noqa: F401 - fixtures

RUN = {"did": "step", "version": "v", "entry": "e", "sha256": "s"}


def test_what_is_recorded_or_in_a_commit_is_needed(world):  # noqa: F811
    assert find_unneeded(world.workspace, steps()) == []
    world.params(OTHER_WIDTH)
    world.walk()
    assert find_unneeded(world.workspace, steps()) == []  # the old versions are those of the commit


def test_versions_that_no_commit_holds_are_shown_and_removed_only_when_told_to(world):  # noqa: F811
    lost = open_snapshot(world.root)
    world.params(OTHER_WIDTH)
    world.walk()
    between = {node.key: node.entry.version for node in audit(open_snapshot(world.root), MODEL).nodes}
    world.params({"toy": {**OTHER_WIDTH["toy"], "features": {"notes": {"width": 5}}}})
    world.walk()
    found = find_unneeded(world.workspace, steps())
    assert {item.kind for item in found} == {"cache"}
    assert {between[NOTES], between[MODEL]} <= {item.version for item in found}
    assert all((world.root / item.path).exists() for item in found)
    freed = remove(world.workspace, found)
    assert freed == sum(item.num_bytes for item in found) > 0
    assert not any((world.root / item.path).exists() for item in found)
    assert find_unneeded(world.workspace, steps()) == []
    assert audit_all(open_snapshot(world.root, "HEAD"), verify=True).sound  # the commit's are all there
    line = journal_of(world.root).lines[-1]
    assert line["did"] == "removed" and line["git"] == "Ada <ada@example.org>"
    assert {item["version"] for item in line["what"]} == {item.version for item in found}
    assert lost.entries.keys() == open_snapshot(world.root).entries.keys()


def test_the_whole_history_is_kept_unless_only_its_tips_are_asked_for(world):  # noqa: F811
    for width in (4, 5):
        world.params({"toy": {**OTHER_WIDTH["toy"], "features": {"notes": {"width": width}}}})
        world.walk()
        world.commit(f"Width {width}")
    assert find_unneeded(world.workspace, steps()) == []
    middle = {open_snapshot(world.root, "HEAD~1").entry(key).version for key in (NOTES, MODEL)}
    assert middle <= {item.version for item in find_unneeded(world.workspace, steps(), tips=True)}
    assert not middle & {i.version for i in find_unneeded(world.workspace, steps(), tips=True, keep=["HEAD~1"])}


def test_an_audit_of_what_was_removed_says_who_removed_it(world):  # noqa: F811
    world.params(OTHER_WIDTH)
    world.walk()
    version = open_snapshot(world.root).entry(NOTES).version
    revision = world.commit("Wider")
    world.params({"toy": {**OTHER_WIDTH["toy"], "features": {"notes": {"width": 5}}}})
    world.walk()
    world.git("checkout", "-q", "--detach")
    world.git("branch", "-q", "-f", "main", "HEAD~1")
    world.git("checkout", "-q", "-f", "main")  # nothing names the wider one any more
    world.walk()
    remove(world.workspace, find_unneeded(world.workspace, steps()))
    found = audit(open_snapshot(world.root, revision), NOTES)
    (told,) = [f.message for f in found.findings if f.key == NOTES and f.severity == "missing" and f.code == "bytes"]
    assert "removed on purpose" in told and "`mmn prune`" in told
    assert found.node(NOTES).entry.version == version


def test_a_step_that_is_no_longer_in_the_table_may_go_and_its_record_with_it(world):  # noqa: F811
    table = {key: step for key, step in steps().items() if not key.startswith("results/")}
    (item,) = [one for one in find_unneeded(world.workspace, table) if one.kind == "artifact"]
    assert item.key == "results/toy/scores"
    remove(world.workspace, [item])
    assert not (world.root / "artifacts" / "results" / "toy" / "scores").exists()
    assert "results/toy/scores" not in open_snapshot(world.root).entries
    assert audit_all(open_snapshot(world.root)).sound


def test_nothing_of_a_data_set_is_judged_whose_raw_files_are_not_linked(world):  # noqa: F811
    assert find_unneeded(world.workspace, {}) == []


def test_only_some_models_may_be_kept(world):  # noqa: F811
    gone = {one.key for one in find_unneeded(world.workspace, steps(), only=[NOTES]) if one.kind == "artifact"}
    assert gone == {"features/toy/age", MODEL, "results/toy/scores"}
    with pytest.raises(MmnError, match="nothing recorded bears that name"):
        find_unneeded(world.workspace, steps(), only=["models/nothing"])


def test_states_of_trainings_of_other_code_and_pieces_of_finished_featurizations_may_go(world):  # noqa: F811
    stage = world.workspace.checkpoints / "models-toy-died-multimodn"
    stage.mkdir(parents=True)
    (stage / "multimodn-0123456789abcdef.safetensors").write_bytes(b"old")
    shard = world.workspace.shards / "ab" / "abcd.safetensors"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"piece")
    assert {one.kind for one in find_unneeded(world.workspace, steps())} == {"checkpoint", "shard"}
    world.params(OTHER_WIDTH)  # a featurization is to be done again, and may go on from its pieces
    assert {one.kind for one in find_unneeded(world.workspace, steps())} == {"checkpoint"}


def test_a_damaged_listing_in_the_cache_stops_the_pruning(world):  # noqa: F811
    version = open_snapshot(world.root).entry(MODEL).version
    listing = world.root / ".dvc" / "cache" / "files" / "md5" / version[:2] / version[2:]
    listing.chmod(0o644)
    listing.write_text("[")
    with pytest.raises(MmnError, match="nothing was removed"):
        find_unneeded(world.workspace, steps())


# The journal


def test_the_journal_tells_who_ran_what_with_which_code_and_environment(first_world):  # noqa: F811
    journal = journal_of(first_world.root)
    assert journal.problems == ()
    runs = [line for line in journal.lines if line["did"] == "step"]
    assert [line["step"] for line in runs] == list(steps())
    assert [line["number"] for line in journal.lines] == list(range(len(journal.lines)))
    for line in runs:
        assert line["git"] == "Ada <ada@example.org>" and line["by"] and len(line["sha256"]) == 64
        assert journal.environment(line["environment"]) == environment_now()
    assert str(first_world.root) not in (first_world.root / "journal.jsonl").read_text()


def _write(root, number):
    for step in range(5):
        append(root, RUN | {"step": f"{number}/{step}"})


def test_processes_that_write_at_once_lose_no_line(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    journal = journal_of(tmp_path)
    assert journal.problems == () and len([line for line in journal.lines if line["did"] == "step"]) == 15


def test_a_line_that_a_killed_process_left_half_written_is_named_and_the_next_one_follows(tmp_path):
    append(tmp_path, RUN | {"step": "a"})
    whole = (tmp_path / "journal.jsonl").read_bytes()
    (tmp_path / "journal.jsonl").write_bytes(whole + b'{"at":"20')
    assert journal_of(tmp_path).problems[0][1] == "the last line was cut short"
    append(tmp_path, RUN | {"step": "b"})
    journal = journal_of(tmp_path)
    assert [line["step"] for line in journal.lines if line["did"] == "step"] == ["a", "b"]
    assert [number for number, _ in journal.problems] == [len(whole.splitlines()) + 1]


def test_a_line_that_was_taken_out_or_forged_is_seen(first_world):  # noqa: F811
    rows = (first_world.root / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert read_journal(b"".join(rows[:2] + rows[3:])).problems == (
        (3, "does not follow the line before it: a line was changed, removed or put in"),
    )
    line = json.loads(rows[2]) | {"by": "someone else"}
    forged = json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert "its own hash" in read_journal(b"".join([*rows[:2], forged, *rows[3:]])).problems[0][1]


def test_a_copy_of_the_world_is_as_it_was(first_world, tmp_path):  # noqa: F811
    shutil.copytree(first_world.root, tmp_path / "copy", symlinks=True)
    assert audit_all(open_snapshot(World(tmp_path / "copy").root), verify=True).sound
