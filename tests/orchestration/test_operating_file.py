"""`operating.yaml`: what a person may write in it is read, and anything else is refused in words, before a run."""

import pytest
from typer.testing import CliRunner

from mmn.data.errors import ParamsError
from mmn.orchestration import cli
from mmn.orchestration.operating import Operating, load_operating
from mmn.orchestration.params import resolve
from mmn.orchestration.workspace import Workspace
from tests.orchestration.conftest import generate


def read(folder, text: str) -> Operating:
    (folder / "operating.yaml").write_text(text)
    return load_operating(folder)


def test_the_switches_of_the_conditions_and_of_the_guard_are_read_as_written(tmp_path):
    assert read(tmp_path, "automation: {enabled: true}").automation.enabled
    assert not read(tmp_path, "promotion: {enabled: false}").promotion.enabled
    assert read(tmp_path, "promotion:\n").promotion.enabled, "an empty block is the defaults"


@pytest.mark.parametrize(
    "text",
    ["automation: {on: true}", "promotion: {off: true}", "checks: {1: 2}", "schedules: {yes: {}}", "on: {}"],
)
def test_a_key_that_yaml_reads_as_no_text_is_refused_and_the_known_ones_are_named(tmp_path, text):
    with pytest.raises(ParamsError, match=r"operating\.yaml: .*does not read as text. Known: "):
        read(tmp_path, text)


def test_a_key_of_the_parameters_that_is_no_text_is_refused_too():
    with pytest.raises(ParamsError, match=r"edu.cohort has the key True.*Known: auroc_margin, enabled"):
        resolve(Operating().promotion, {True: 1}, "edu.cohort")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: {max_concurrent: -1}", "engine: max_concurrent is -1; 1 or more"),
        ("engine: {max_concurrent: 0}", "engine: max_concurrent is 0; 1 or more"),
        ("engine: {retries: -1}", "retries is -1; 0 or more"),
        ("engine: {retry_delay_seconds: -5}", "retry_delay_seconds is -5; 0 or more"),
        ("new_files: {seconds: 0}", "new_files: seconds is 0; 1 or more"),
        ("new_files: {settled_seconds: -1}", "settled_seconds is -1; 0 or more"),
        ("new_files: {expected_days: 0}", "expected_days is 0; 1 or more"),
        ("checks: {presence_margin: -0.1}", "presence_margin is -0.1; 0 to 1"),
        ("checks: {label_margin: 2}", "label_margin is 2.0; 0 to 1"),
        ("checks: {volume_margin: .nan}", "volume_margin is nan; 0 to 1"),
        ("promotion: {auroc_margin: -0.01}", "auroc_margin is -0.01; 0 to 1"),
        ("promotion: {rmse_margin: .inf}", "rmse_margin is inf; 0 or more"),
        ("promotion: {least_items: 0}", "least_items is 0; 1 or more"),
        ("promotion: {least_folds: 0}", "least_folds is 0; 1 or more"),
        ("promotion: off", "promotion must be a block of settings, found bool"),
        ("schedules: {edu: {timezone: Europe}}", "schedules.edu: timezone is 'Europe'"),
        ("automation: {timezone: ''}", "automation: timezone is ''"),
        ("owners: [a b@c]", "owners: 'a b@c' is neither"),
        ("owners: ['team:']", "owners: 'team:' is neither"),
        ("owners: ['team: ']", "owners: 'team: ' is neither"),
        ("owners: [5]", "owners: 5 is neither"),
        ("checks: {refuse: [5]}", "names of checks, found 5"),
    ],
)
def test_what_would_hang_a_run_or_mean_nothing_is_refused_with_what_is_expected(tmp_path, text, said):
    with pytest.raises(ParamsError, match=f"operating.yaml: .*{said}"):
        read(tmp_path, text)


def test_what_is_refused_as_owner_is_what_dagster_would_refuse(tmp_path):
    from dagster._core.definitions.utils import is_valid_owner

    for owner in ("team:research", "jane@hospital.example"):
        assert is_valid_owner(owner) and read(tmp_path, f"owners: ['{owner}']").owners == (owner,)


def test_a_dry_run_already_refuses_a_check_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("{}\n")
    generate(tmp_path, "edu")
    (tmp_path / "operating.yaml").write_text("checks: {refuse: [above_flors]}\n")
    for name in ("DAGSTER_HOME", "MMN_ROOT", "DAGSTER_DISABLE_TELEMETRY", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(cli, "_workspace", lambda: Workspace(tmp_path))
    done = CliRunner().invoke(cli.app, ["run", "--dry-run"])
    assert isinstance(done.exception, ParamsError)
    assert "no check is called 'above_flors'. Did you mean 'above_floors'" in str(done.exception)
