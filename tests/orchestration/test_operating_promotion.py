"""The guard: a retrained model becomes the current one only if it is no worse, and both are kept."""

import dataclasses
import json
import subprocess

import pandas as pd
import pytest

from mmn.data.errors import MmnError
from mmn.data.files import version_of, write_json
from mmn.orchestration.audit.decisions import check_decisions, digest_of
from mmn.orchestration.audit.snapshot import open_snapshot
from mmn.orchestration.dvc_pipeline import _save_to_cache, ensure_dvc
from mmn.orchestration.journal import append, journal_of
from mmn.orchestration.operating import PromotionSettings
from mmn.orchestration.promotion import (
    best_of,
    current_model,
    current_version,
    decide,
    decisions_of,
    kept_versions,
    named_current,
    promote,
)
from mmn.orchestration.promotion_compare import compare
from tests.modeling.worlds import LEVEL, SICK
from tests.orchestration.toy import MODEL, Toy, make_toy

TASKS = (SICK, LEVEL)
PLAIN = PromotionSettings()


@pytest.fixture
def toy(tmp_path):
    toy = make_toy(tmp_path / "study")
    toy.write_cohort()
    subprocess.run(["git", "init", "-q", toy.root], check=True)
    ensure_dvc(toy.root)
    return toy


def train(toy: Toy, noise: float, seed: int = 0) -> str:
    """A model in its place and in DVC's cache, as a finished step leaves it; its version."""
    from dvc.repo import Repo

    folder = toy.write_model(toy.predictions(noise, seed))
    with Repo(str(toy.root)) as repo:
        assert _save_to_cache(repo, folder) == version_of(folder)
    return version_of(folder)


def decided(toy: Toy, settings: PromotionSettings = PLAIN):
    return decide(toy.workspace, MODEL, TASKS, toy.root / "artifacts" / "cohorts" / "toy", settings)


def test_the_first_model_is_the_current_one(toy):
    version = train(toy, 0.5)
    assert decided(toy).verdict == "first"
    assert current_version(toy.root, MODEL.key) == version


def test_a_worse_model_is_refused_and_the_current_one_can_still_be_read(toy):
    good = train(toy, 0.5)
    decided(toy)
    kept = pd.read_parquet(toy.root / MODEL.out / "predictions.parquet")
    bad = train(toy, 2.0)
    decision = decided(toy)
    assert decision.verdict == "kept" and not decision.promoted
    assert "sick: auroc worse by" in decision.why and "level: rmse worse by" in decision.why
    assert current_version(toy.root, MODEL.key) == good
    folder = current_model(toy.workspace, MODEL)
    assert version_of(folder) == good
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "predictions.parquet"), kept)
    assert version_of(toy.root / MODEL.out) == bad
    assert kept_versions(toy.root) == {good, bad}


def test_a_better_model_takes_the_place(toy):
    train(toy, 2.0)
    decided(toy)
    better = train(toy, 0.5)
    assert decided(toy).verdict == "promoted"
    assert current_version(toy.root, MODEL.key) == better
    assert current_model(toy.workspace, MODEL) == toy.root / MODEL.out


def test_a_loss_within_the_margin_is_no_reason_and_beyond_it_is(toy):
    train(toy, 0.5)
    decided(toy)
    train(toy, 0.55)
    worse_by = {task.task: task.worse_by for task in decided(toy).tasks}
    assert worse_by["level"] > 0
    cohort, old, new = toy.cohort, toy.predictions(0.5), toy.predictions(0.55)
    strict = compare(cohort, [LEVEL], new, old, dataclasses.replace(PLAIN, rmse_margin=0.0))
    wide = compare(cohort, [LEVEL], new, old, dataclasses.replace(PLAIN, rmse_margin=0.5))
    assert strict[0].refused and not wide[0].refused


def test_one_worse_task_of_several_is_enough(toy):
    old, new = toy.predictions(0.5), toy.predictions(0.2)
    new.loc[new["task"] == "level", "prediction"] += 10
    assert [task.refused for task in compare(toy.cohort, TASKS, new, old, PLAIN)] == [False, True]


def test_the_comparison_is_paired_over_folds_by_hand(toy):
    """Errors of 1 against 2 in fold 0, 3 against 2 elsewhere: per fold -1, +1, +1; on average a third worse."""
    rows = toy.predictions(0.0)
    rows = rows[rows["task"] == "level"]
    old, new = rows.copy(), rows.copy()
    old["prediction"] += 2
    new["prediction"] += rows["fold"].map({0: 1, 1: 3, 2: 3})
    told = compare(toy.cohort, [LEVEL], new, old, PLAIN)[0]
    assert told.candidate == [1, 3, 3] and told.current == [2, 2, 2]
    assert told.worse_by == pytest.approx(1 / 3, abs=1e-6)
    assert told.interval[0] < 0 < told.interval[1]
    assert told.margin == pytest.approx(0.04)


def test_only_items_that_both_were_tested_on_in_the_same_fold_count(toy):
    old, new = toy.predictions(0.5), toy.predictions(0.5)
    old = old[old["fold"] != 0]
    few = old[old["fold"] == 1].groupby("task").head(5)
    old = pd.concat([few, old[old["fold"] == 2]])
    with pytest.raises(
        MmnError, match=r"sick, against the current version: 1 folds have 10 or more items .* 3 are needed"
    ):
        compare(toy.cohort, TASKS, new, old, PLAIN)


def test_what_cannot_be_compared_is_not_promoted_but_a_person_may(toy):
    first = train(toy, 0.5)
    decided(toy)
    for file in (toy.root / ".dvc" / "cache" / "files").rglob("*.dir"):
        file.unlink()
    second = train(toy, 0.4)
    decision = decided(toy)
    assert decision.verdict == "not comparable" and "dvc fetch" in decision.why
    assert current_version(toy.root, MODEL.key) == first
    with pytest.raises(MmnError, match="--why"):
        promote(toy.workspace, MODEL, second, " ")
    assert promote(toy.workspace, MODEL, second, "checked by the team").verdict == "by hand"
    assert current_version(toy.root, MODEL.key) == second
    with pytest.raises(MmnError, match="not in DVC's cache"):
        promote(toy.workspace, MODEL, "0" * 32 + ".dir", "does not exist")


def test_a_persons_word_stands_when_the_same_model_is_looked_at_again(toy):
    old = train(toy, 2.0)
    decided(toy)
    new = train(toy, 0.5)
    assert decided(toy).promoted
    promote(toy.workspace, MODEL, old, "the new one is slow")
    again = decided(toy)
    assert not again.promoted and (again.candidate, again.current) == (new, old)
    assert old in again.why and "the new one is slow" in again.why
    assert current_version(toy.root, MODEL.key) == old
    assert [d.verdict for d in decisions_of(toy.root, MODEL.key)] == ["first", "promoted", "by hand"]


def test_a_persons_word_also_stands_after_a_later_model_was_looked_at_and_ends_with_the_next_word(toy):
    train(toy, 0.5)
    decided(toy)
    refused = train(toy, 0.4)
    assert decided(toy).promoted
    chosen = decisions_of(toy.root, MODEL.key)[0].candidate
    promote(toy.workspace, MODEL, chosen, "the new one is slow")
    train(toy, 0.1)
    assert decided(toy).verdict == "promoted", "what was not there when it was said is compared"
    train(toy, 0.5)
    assert decided(toy).verdict == "kept" and "worse by" in decided(toy).why, "the chosen one is compared too"
    assert train(toy, 0.4) == refused
    assert not decided(toy).promoted
    promote(toy.workspace, MODEL, refused, "it is fast now")
    assert decided(toy).promoted and current_version(toy.root, MODEL.key) == refused


def test_a_loss_within_the_margin_again_and_again_ends_at_one_margin_from_the_best(toy):
    wide = dataclasses.replace(PLAIN, auroc_margin=0.02, rmse_margin=0.06)
    best = train(toy, 0.5)
    verdicts = [decided(toy, wide).verdict]
    for noise in (0.525, 0.55, 0.575):
        train(toy, noise)
        verdicts.append(decided(toy, wide).verdict)
    assert verdicts == ["first", "promoted", "kept", "kept"]
    decisions = decisions_of(toy.root, MODEL.key)
    assert best_of(decisions) == best
    last_promoted, refused = decisions[1:3]
    assert last_promoted.best is None and refused.best == best and refused.current == last_promoted.candidate
    worse = {(task.task, task.against): task.refused for task in refused.tasks}
    assert worse[("level", "best")] and not worse[("level", "current")]
    assert "level: rmse worse by" in refused.why and "than of the best version" in refused.why
    assert best in kept_versions(toy.root), "or the next could not be compared with it"


def test_the_best_version_is_the_first_then_what_is_on_no_task_worse_and_a_persons_choice(toy):
    train(toy, 0.5)
    decided(toy)
    better = train(toy, 0.3)
    assert decided(toy).promoted
    assert best_of(decisions_of(toy.root, MODEL.key)) == better
    slightly = train(toy, 0.302)
    assert decided(toy).promoted and current_version(toy.root, MODEL.key) == slightly
    assert best_of(decisions_of(toy.root, MODEL.key)) == better
    promote(toy.workspace, MODEL, slightly, "smaller")
    assert best_of(decisions_of(toy.root, MODEL.key)) == slightly


def test_decisions_of_before_the_best_version_was_asked_for_are_read_and_pass_the_audit(toy):
    """As they were written: without `best` and `against`, and the journal holds the hash of those very words."""
    train(toy, 0.5)
    decided(toy)
    train(toy, 0.505)
    assert decided(toy).promoted
    path = toy.root / "promoted" / "toy" / "both" / "multimodn.json"
    told = json.loads(path.read_text())
    (toy.root / "journal.jsonl").unlink()
    for decision in told["decisions"]:
        del decision["best"]
        for task in decision["tasks"]:
            del task["against"]
        words = {name: decision[name] for name in ("model", "candidate", "current", "verdict", "why")}
        now = {"now_current": decision["candidate"], "decision": digest_of(decision)}
        append(toy.root, {"did": "promotion", **words, **now})
    write_json(path, told)
    assert best_of(decisions_of(toy.root, MODEL.key)) == told["decisions"][0]["candidate"]
    train(toy, 2.0)
    assert {task.against for task in decided(toy).tasks} == {"current", "best"}
    assert list(check_decisions(open_snapshot(toy.root), [MODEL.key])) == []
    assert json.loads(path.read_text())["decisions"][:2] == told["decisions"]


def test_the_same_pair_is_decided_once_and_the_journal_holds_it(toy):
    train(toy, 0.5)
    decided(toy)
    train(toy, 2.0)
    first, again = decided(toy), decided(toy)
    assert first == again
    assert [d.verdict for d in decisions_of(toy.root, MODEL.key)] == ["first", "kept"]
    journal = journal_of(toy.root)
    assert journal is not None and not journal.problems
    lines = [line for line in journal.lines if line["did"] == "promotion"]
    assert [line["verdict"] for line in lines] == ["first", "kept"]
    assert lines[1]["now_current"] == lines[0]["candidate"]


def test_the_record_holds_aggregates_and_no_item(toy):
    train(toy, 0.5)
    decided(toy)
    train(toy, 0.4)
    decided(toy)
    text = (toy.root / "promoted" / "toy" / "both" / "multimodn.json").read_text()
    assert json.loads(text)["model"] == MODEL.key
    assert "item0" not in text and "subject0" not in text


def test_predict_takes_the_current_model_by_its_name_and_says_which_names_there_are(toy):
    current = train(toy, 0.4)
    decided(toy)
    train(toy, 2.0, seed=1)
    assert decided(toy).verdict == "kept"
    for name in ("current:models/toy/both/multimodn", "current:toy/both/multimodn"):
        folder = named_current(toy.workspace, name)
        assert version_of(folder) == current and folder != toy.root / MODEL.out
    with pytest.raises(MmnError, match=r"no version was promoted\. Did you mean 'toy/both/multimodn'"):
        named_current(toy.workspace, "current:toy/both/multimodm")


def test_mmn_predict_reads_the_promoted_version_and_not_the_newest(toy, monkeypatch):
    from typer.testing import CliRunner

    from mmn.orchestration import cli, predict

    current = train(toy, 0.4)
    decided(toy)
    train(toy, 2.0, seed=1)
    decided(toy)
    read = []
    monkeypatch.setattr(predict, "predict", lambda folder, *_: read.append(version_of(folder)) or {"items": 1})
    monkeypatch.setattr(cli, "_workspace", lambda: toy.workspace)
    done = CliRunner().invoke(cli.app, ["predict", "current:toy/both/multimodn", "--input", "a=a.parquet"])
    assert done.exit_code == 0 and read == [current]
