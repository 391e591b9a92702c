"""A path inside a step's output is audited with the whole, and what its own card says is shown of it alone."""

import json

import pytest

from mmn.data.errors import MmnError
from mmn.orchestration.audit.audit import audit
from mmn.orchestration.audit.item import audit_item
from mmn.orchestration.audit.snapshot import open_snapshot
from tests.orchestration.test_audit import MODEL, NOTES, command, faults, first_world, now, world  # noqa: F401

WHOLE = "results/toy/scores"
SHARED = "models/all_shared/toy"
INSIDE = f"{WHOLE}/{SHARED}"


def test_a_model_inside_a_steps_output_is_audited_as_that_step_with_its_own_settings_shown(first_world, monkeypatch):  # noqa: F811
    done = command(first_world, "model", f"artifacts/{INSIDE}/", "--verify", monkeypatch=monkeypatch)
    assert done.exit_code == 0 and "Sound" in done.output and "raw/toy/visits" in done.output
    assert done.output.startswith(f"{WHOLE} as it is now\n{SHARED} is a part of it")
    for line in (
        "model: HighMMT, tasks died",
        "reads notes: featurizer text (width = 3), weights toy, SHA-256 abab",
        "reads age: featurizer table\n",
        "settings: epochs = 7",
    ):
        assert line in done.output
    told = json.loads(command(first_world, "model", INSIDE, "--json", monkeypatch=monkeypatch).output)
    assert told["subject"] == WHOLE and told["part"]["path"] == SHARED
    assert told["part"]["model"]["settings"] == {"epochs": 7}
    whole = now(first_world, WHOLE).as_json()
    assert whole["part"] is None and told["artifacts"] == whole["artifacts"]


def test_the_card_of_a_model_inside_is_its_own_and_says_whose_version_it_has(first_world, monkeypatch):  # noqa: F811
    text = command(first_world, "model", INSIDE, "--export", "card", monkeypatch=monkeypatch).output
    assert text.startswith(f"# HighMMT: {INSIDE}\n") and f"A part of `{WHOLE}`" in text
    assert "| epochs | 7 |" in text and "| died | auroc | 0.500 ± 0.000 | 1 |" in text
    assert f"| notes | text (width = 3) | toy, SHA-256 {'ab' * 32}, MIT |" in text
    assert f"| {NOTES} |" in text and "- trained with other as one model" in text
    refused = command(first_world, "model", WHOLE, "--export", "card", monkeypatch=monkeypatch)
    assert str(refused.exception).endswith(f"models in it: {WHOLE}/models/all_shared/other, {INSIDE}.")


def test_a_folder_of_models_names_them_and_what_is_not_inside_is_refused_with_the_nearest(first_world):  # noqa: F811
    part = now(first_world, f"{WHOLE}/models/all_shared").part
    assert part.card == {} and part.lines() == [f"holds the models models/all_shared/other, {SHARED}"]
    assert now(first_world, f"{WHOLE}/scores.csv").part.lines() == []
    assert now(first_world, f"{MODEL}/model.safetensors").part is not None
    with pytest.raises(MmnError, match=f"holds no models/all_sharde/toy. Did you mean '{INSIDE}'"):
        now(first_world, f"{WHOLE}/models/all_sharde/toy")
    with pytest.raises(MmnError, match="'results/toy/score/models' is recorded nowhere"):
        now(first_world, "results/toy/score/models")


def test_at_a_revision_the_model_inside_is_the_one_of_then(world):  # noqa: F811
    (world.root / "artifacts" / INSIDE / "card.json").unlink()
    assert audit(open_snapshot(world.root, "HEAD"), INSIDE, verify=True).part.card["settings"] == {"epochs": 7}
    assert now(world, INSIDE).part.card == {}


def test_a_damaged_card_inside_is_a_fault_and_one_that_tells_of_other_inputs_too(world):  # noqa: F811
    path = world.root / "artifacts" / INSIDE / "card.json"
    kept = path.read_text()
    for damaged in (kept[:-9], kept.replace('"modalities"', '"modalities": 3, "m"')):
        path.write_text(damaged)
        found = now(world, INSIDE)
        assert not found.sound and found.part.card == {}
        assert f"artifacts/{INSIDE}/card.json: cannot be read" in faults(found)[-1]
    path.write_text(kept.replace('"cohorts/toy"', '"cohorts/another"'))
    assert any(
        f"{INSIDE}/card.json: says that it was made from cohorts/another" in f
        for f in faults(now(world, INSIDE, verify=True))
    )


def test_without_a_lock_a_model_inside_is_no_artifact_of_its_own(world):  # noqa: F811
    world.git("rm", "-q", "dvc.lock")
    world.git("commit", "-q", "--amend", "-m", "First run")
    found = now(world)
    assert [node.key for node in found.nodes if node.key.startswith("results/")] == [WHOLE]
    assert now(world, INSIDE).part.card["title"] == "HighMMT"


def test_an_items_prediction_by_a_model_inside_is_found_and_that_of_another_data_set_is_not(first_world):  # noqa: F811
    snapshot = open_snapshot(first_world.root)
    for asked in (INSIDE, WHOLE):
        (predicted,) = audit_item(snapshot, "103", "toy", model=asked)["predictions"]
        assert predicted["key"] == WHOLE and predicted["rows"] == [[1, 1]]
        assert predicted["file"] == f"artifacts/{INSIDE}/predictions.parquet"
    with pytest.raises(MmnError, match="all_shared/other: it holds no model of toy"):
        audit_item(snapshot, "103", "toy", model=f"{WHOLE}/models/all_shared/other")
