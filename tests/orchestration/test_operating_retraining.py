"""When things run by themselves: nothing changed, nothing runs; something changed, exactly what depends on it."""

import datetime
import os
import re
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import dagster as dg
import pytest

from mmn.data import DATASETS, load_dataset
from mmn.data.dataset import Inspection
from mmn.data.files import write_json
from mmn.data.manifest import make_manifest
from mmn.orchestration.backfill import one_by_one
from mmn.orchestration.dvc_pipeline import dep_paths, entry_of, read_lock, write_lock
from mmn.orchestration.operating import Automation, NewFiles, Operating, Schedule
from mmn.orchestration.params import load_params
from mmn.orchestration.presentation import kinds, tags
from mmn.orchestration.run import make_plan, one_per_model
from mmn.orchestration.schedules import (
    ONLY_STALE_TAG,
    asset_key,
    automation,
    condition_of,
    of_dataset,
    schedules_of,
    what_would_run,
)
from mmn.orchestration.sensors import changed_sources, downstream, freshness_of, sensors_of
from mmn.orchestration.steps import activate, active_datasets, build_steps
from mmn.orchestration.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace in which every EDU step is recorded as fresh: the manifests are real, the rest is a word each."""
    root = tmp_path_factory.mktemp("retraining") / "study"
    root.mkdir()
    (root / "params.yaml").write_text("{}\n")
    (root / "mmn").symlink_to(REPOSITORY / "mmn")
    dataset = load_dataset("edu")
    assert dataset.generate is not None
    dataset.generate(root / "raw" / "edu", "tiny", 7)
    age(root)
    workspace = Workspace(root)
    steps = table_of(workspace)
    lock = {}
    for step in steps.values():
        if step.kind == "raw":
            pin(workspace, step)
        elif step.out.endswith(".parquet"):
            (root / step.out).parent.mkdir(parents=True, exist_ok=True)
            (root / step.out).write_text(step.key)
        else:
            (root / step.out).mkdir(parents=True)
            (root / step.out / "word").write_text(step.key)
        lock[step.stage] = entry_of(workspace, step, dep_paths(step, steps))
    write_lock(workspace, lock)
    return root


@pytest.fixture
def study(made, tmp_path) -> Workspace:
    """As above, to be changed. A copy keeps times, and is hashed anew."""
    root = tmp_path / "study"
    shutil.copytree(made, root, symlinks=True, ignore=shutil.ignore_patterns(".mmn"))
    workspace = Workspace(root)
    workspace.hashes.version_of(root / "raw" / "edu")
    return workspace


def table_of(workspace: Workspace):
    return build_steps(active_datasets(workspace))


def age(root: Path) -> None:
    """As if the files had lain there for a day."""
    then = time.time() - 86_400
    for file in (root / "raw").rglob("*"):
        os.utime(file, (then, then))


def pin(workspace: Workspace, step) -> None:
    manifest = make_manifest(workspace.raw("edu"), step.options["patterns"], version="any")
    write_json(workspace.root / step.out, {"provenance": {"params": {}}, **manifest})


def change(workspace: Workspace, table: str, age_seconds: float = 3600) -> None:
    file = next(workspace.raw("edu").rglob(f"{table}/*.csv*"))
    file.write_bytes(file.read_bytes() + b"\n")
    then = time.time() - age_seconds
    os.utime(file, (then, then))


def told_of(workspace: Workspace, steps) -> dict[str, str]:
    return {key: change.told for key, change in changed_sources(workspace, steps).items()}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """An instance that keeps its records: a schedule's tick is given no other. Tests end the runs that they begin."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("records"))) as instance:
        yield instance


def shown(steps) -> dg.AssetsDefinition:
    """The steps as the catalog shows them."""

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(
                asset_key(step.key), deps=[asset_key(d) for d in step.deps], group_name=step.dataset, tags=tags(step),
                kinds=kinds(step),
            )
            for step in steps.values()
        ],
        can_subset=True,
    )  # fmt: skip
    def everything(): ...

    return everything


def tick(definition, steps, instance: dg.DagsterInstance | None = None, cursor: str | None = None):

    is_schedule = isinstance(definition, dg.ScheduleDefinition)
    definitions = dg.Definitions(
        assets=[shown(steps)],
        schedules=[definition] if is_schedule else [],
        sensors=[] if is_schedule else [definition],
    )
    repository = definitions.get_repository_def()
    with nullcontext(instance) if instance else dg.DagsterInstance.ephemeral() as instance:
        if is_schedule:
            context = dg.build_schedule_context(
                instance=instance,
                repository_def=repository,
                scheduled_execution_time=datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC),
            )
            return repository.get_schedule_def(definition.name).evaluate_tick(context)
        context = dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor)
        return repository.get_sensor_def(definition.name).evaluate_tick(context)


def keys(request: dg.RunRequest) -> set[str]:
    assert request.asset_selection
    return {key.to_user_string() for key in request.asset_selection}


def schedule_of(workspace: Workspace, operating: Operating | None = None):
    return schedules_of(workspace, table_of(workspace), active_datasets(workspace), operating or Operating())[0]


def sensor_of(workspace: Workspace):
    return sensors_of(workspace, table_of(workspace), NewFiles())[0]


def begin(instance: dg.DagsterInstance, *making: str) -> dg.DagsterRun:
    """A run that has begun and makes these steps; all of its job's where none is named."""

    @dg.multi_asset(specs=[dg.AssetSpec(asset_key(key)) for key in making or ("other",)], can_subset=True)
    def steps(): ...

    job = dg.Definitions(assets=[steps], jobs=[dg.define_asset_job("some")]).resolve_job_def("some")
    chosen = {asset_key(key) for key in making} or None
    return instance.create_run_for_job(job, asset_selection=chosen, status=dg.DagsterRunStatus.STARTED)


def test_a_schedules_tick_with_nothing_changed_runs_nothing(study, records):
    told = tick(schedule_of(study), table_of(study), records)
    assert not told.run_requests
    assert told.skip_message == "Nothing of edu is stale."


def test_a_sensors_look_with_nothing_changed_runs_nothing_and_reads_no_file(study, monkeypatch):
    monkeypatch.setattr("mmn.orchestration.workspace.md5_of_file", lambda path: pytest.fail(f"{path} was read"))
    told = tick(sensor_of(study), table_of(study))
    assert not told.run_requests
    assert told.skip_message.startswith("No file of")


def test_a_changed_raw_file_leads_to_a_run_of_exactly_what_depends_on_it(study):
    steps = table_of(study)
    change(study, "problem_event")
    told = tick(sensor_of(study), steps)
    request = told.run_requests[0]
    pins = {key for key in steps if key.startswith("raw/")}
    expected, before = {"raw/edu/problem_events"}, 0
    while len(expected) > before:
        before = len(expected)
        expected |= {step.key for step in steps.values() if expected & set(step.deps)}
    assert keys(request) == expected | pins
    assert "features/edu/problem" in expected
    assert request.tags[ONLY_STALE_TAG] == "true"
    assert request.tags["mmn/because"] == "raw/edu/problem_events: raw files: 1 changed"
    assert tick(sensor_of(study), steps).run_requests[0].run_key == request.run_key, "asked for once"


def test_the_schedule_sees_the_same_change_and_says_why(study, records):
    change(study, "problem_event")
    steps = table_of(study)
    why = what_would_run(study, steps, of_dataset(steps, "edu"))
    assert why["raw/edu/problem_events"] == "raw files: 1 changed"
    assert why["features/edu/problem"].endswith("may change")
    told = tick(schedule_of(study), steps, records)
    assert set(why) <= keys(told.run_requests[0])


def test_a_tick_and_a_look_ask_for_nothing_that_a_run_is_already_making(study, records):
    change(study, "problem_event")
    steps = table_of(study)
    model = next(key for key in steps if key.startswith("models/edu/"))
    for definition in (schedule_of(study), sensor_of(study)):
        assert tick(definition, steps, records).run_requests
        for making in ([model], []):
            run = begin(records, *making)
            told = tick(definition, steps, records)
            assert not told.run_requests and f"The run {run.run_id[:8]} makes" in told.skip_message
            records.report_run_canceled(run)
        assert tick(definition, steps, records).run_requests, "it has ended"
        other = begin(records, "models/mimic/any")
        assert tick(definition, steps, records).run_requests, "it makes nothing of what is stale"
        records.report_run_canceled(other)


def test_the_same_change_is_asked_for_again_when_it_comes_again_and_when_a_cause_of_failing_was_mended(study):
    steps = table_of(study)
    look = sensor_of(study)
    change(study, "problem_event")

    def asked() -> str:
        return tick(look, steps).run_requests[0].run_key

    first = asked()
    assert first == asked() and first.startswith("raw/edu/problem_events:")
    manifest = study.root / steps["raw/edu/problem_events"].out
    before, then = manifest.read_bytes(), manifest.stat().st_mtime_ns
    manifest.write_bytes(before)  # a run took the files as they are, they became as before, another run took those
    os.utime(manifest, ns=(then + 10_000_000, then + 10_000_000))
    again = asked()
    assert again != first
    (study.root / "params.yaml").write_text("edu: {training: {epochs: 3}}\n")
    other_params = asked()
    (study.root / "operating.yaml").write_text("checks: {volume_margin: 1.0}\n")
    assert len({first, again, other_params, asked()}) == 4


def test_new_and_gone_files_are_changes_too(study):
    steps = table_of(study)
    file = next(study.raw("edu").rglob("problem_event/*.csv*"))
    twin = file.with_name(file.name.replace(".csv", "_2.csv"))
    shutil.copyfile(file, twin)
    assert told_of(study, steps) == {"raw/edu/problem_events": "raw files: 1 new"}
    file.unlink()
    assert told_of(study, steps) == {"raw/edu/problem_events": "raw files: 1 new, 1 gone"}


def test_a_file_that_may_still_be_written_is_waited_for(study):
    change(study, "problem_event", age_seconds=5)
    told = tick(sensor_of(study), table_of(study))
    assert not told.run_requests and "may still be written" in told.skip_message


def test_a_stale_artifact_is_made_again_by_the_schedule_and_leaves_what_is_fresh(study, records):
    steps = table_of(study)
    shutil.rmtree(study.root / "artifacts" / "results" / "edu" / "early")
    request = tick(schedule_of(study), steps, records).run_requests[0]
    assert keys(request) == {"results/edu/early", "report"}
    assert request.tags["mmn/because"] == "results/edu/early: its output is gone"


def test_the_dry_run_says_of_every_step_that_would_or_may_run_why(study):
    steps = table_of(study)
    assert make_plan(study, steps).keys == ()
    (study.root / steps["features/edu/video"].out).unlink()
    plan = make_plan(study, steps)
    assert plan.why == {"features/edu/video": "its output is gone"}
    assert list(plan.keys) == downstream(steps, ["features/edu/video"])
    assert plan.maybe["features/edu/video_autoencoded"] == "artifacts/features/edu/video.parquet is not made yet"
    assert plan.maybe["report"].endswith("may change")


def test_schedules_and_sensors_are_off_until_somebody_switches_them_on(study):
    assert schedule_of(study).default_status is dg.DefaultScheduleStatus.STOPPED
    assert sensor_of(study).default_status is dg.DefaultSensorStatus.STOPPED
    on = Operating(schedules={"edu": Schedule(cron="0 4 * * 1", timezone="Europe/Zurich", running=True)})
    schedule = schedule_of(study, on)
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 4 * * 1", "Europe/Zurich")


def test_conditions_are_there_only_when_chosen_and_raw_pins_have_none(study):
    steps = table_of(study)
    assert all(condition_of(step, Automation()) is None for step in steps.values()) and automation(Automation()) == []
    on = Automation(enabled=True)
    assert {step.kind for step in steps.values() if condition_of(step, on) is None} == {"raw"}
    assert automation(on)[0].name == "follow_changes"
    assert "new_files_" in automation(on)[0].description, "both must be on"


def test_with_conditions_the_sensor_asks_for_the_pins_alone_as_models_wait_for_their_hour(study):
    steps = table_of(study)
    change(study, "problem_event")
    (look,) = sensors_of(study, steps, NewFiles(), pins_only=True)
    pins = {key for key in steps if key.startswith("raw/")}
    with dg.DagsterInstance.ephemeral() as instance:
        assert keys(tick(look, steps, instance).run_requests[0]) == pins
        begin(instance, "models/edu/any")
        assert keys(tick(look, steps, instance).run_requests[0]) == pins, "a model under way makes no pin"
        begin(instance, *pins)
        assert not tick(look, steps, instance).run_requests


def test_under_conditions_data_follows_at_once_and_models_wait_for_their_hour():
    on = Automation(enabled=True, cron="0 3 * * *")
    from mmn.orchestration.steps import Step

    def step(key: str, kind: str) -> Step:
        return Step(key=key, kind=kind, dataset="d", out=key, description="")

    @dg.asset
    def raw(): ...

    @dg.asset(deps=[raw], automation_condition=condition_of(step("f", "features"), on))
    def feature(): ...

    @dg.asset(deps=[feature], automation_condition=condition_of(step("m", "model"), on))
    def model(): ...

    definitions = dg.Definitions(assets=[raw, feature, model])
    with dg.DagsterInstance.ephemeral() as instance:

        def evaluate(hour: int, cursor=None):
            now = datetime.datetime(2026, 11, 21, hour, 30, tzinfo=datetime.UTC)
            return dg.evaluate_automation_conditions(definitions, instance, cursor=cursor, evaluation_time=now)

        def requested(result) -> set[str]:
            return {k.to_user_string() for k in (raw.key, feature.key, model.key) if result.get_num_requested(k)}

        dg.materialize([raw, feature, model], instance=instance)
        first = evaluate(0)
        dg.materialize([raw], instance=instance)
        second = evaluate(1, first.cursor)
        assert requested(second) == {"feature"}
        dg.materialize([raw, feature], instance=instance, selection=[feature])
        third = evaluate(2, second.cursor)
        assert requested(third) == set(), "its features changed, its hour has not come"
        fourth = evaluate(3, third.cursor)
        dg.materialize([raw, feature], instance=instance, selection=[feature])
        run = begin(instance, "model")
        fifth = evaluate(4, fourth.cursor)
        assert requested(fifth) == set(), "a run is making it"
        instance.report_run_canceled(run)
        assert requested(evaluate(4, fifth.cursor)) == {"model"}


def test_raw_files_that_bring_nothing_new_are_shown_as_overdue_and_nothing_else_is(study):
    steps = table_of(study)
    assert not any(freshness_of(step, NewFiles()) for step in steps.values())
    overdue = {key: freshness_of(step, NewFiles(expected_days=7)) for key, step in steps.items()}
    assert {key for key, policy in overdue.items() if policy} == {key for key in steps if key.startswith("raw/")}
    assert next(filter(None, overdue.values())).fail_window.to_timedelta() == datetime.timedelta(days=7)
    with pytest.raises(ValueError, match="expected_days is 0; 1 or more"):
        NewFiles(expected_days=0)


def test_a_run_per_model_makes_first_what_they_need_and_last_what_is_made_of_them(study):
    steps = table_of(study)
    parts = one_per_model(steps, list(steps))
    models = [key for key in steps if steps[key].kind == "model"]
    assert [list(part) for part in parts[1:-1]] == [[key] for key in models]
    order = [key for part in parts for key in part]
    assert sorted(order) == sorted(steps)
    assert all(order.index(dep) < order.index(key) for key in order for dep in steps[key].deps)
    assert one_per_model(steps, ["cohorts/edu"]) == [["cohorts/edu"]]


def test_in_the_ui_what_is_stale_is_made_in_many_runs_one_after_another_and_a_failed_one_is_passed_over(study):
    steps = table_of(study)
    models = [key for key in steps if key.startswith("models/edu/")]
    (look,) = one_by_one(study, steps)
    assert look.default_status is dg.DefaultSensorStatus.STOPPED

    def made(wanted: set[str]) -> None:
        now = Workspace(study.root)
        for key in (key for key in steps if key in wanted):
            step = steps[key]
            (study.root / step.out / "word").write_text(f"{key} anew")
            lock = read_lock(now) | {step.stage: entry_of(now, step, dep_paths(step, steps))}
            write_lock(now, lock)

    with dg.DagsterInstance.ephemeral() as instance:

        @dg.job
        def road(): ...

        def ask(status: dg.DagsterRunStatus) -> set[str]:
            told = tick(look, steps, instance)
            if not told.run_requests:
                return {told.skip_message.split(" ")[0]}
            instance.create_run_for_job(road, tags=told.run_requests[0].tags, status=status)
            return keys(told.run_requests[0])

        done, failed, running = (dg.DagsterRunStatus[name] for name in ("SUCCESS", "FAILURE", "STARTED"))
        assert ask(done) == {"Nothing"}
        for key in models[:3]:
            shutil.rmtree(study.root / steps[key].out)
            (study.root / steps[key].out).mkdir()
        assert ask(done) == {models[0]}
        made({models[0]})
        assert ask(failed) == {models[1]}
        assert ask(running) == {models[2]}
        made({models[2]})
        assert ask(done) == {"The"}, "the run before has not ended"
        for run in instance.get_runs():
            if not run.is_finished:
                instance.report_run_canceled(run)
        assert ask(done) == {f"{models[1]}:"}, "of the same inputs it is asked for once"
        made({models[1]})  # by hand
        after = ask(done)
        assert after == set(downstream(steps, models[:3])) - set(models)
        made(after)
        assert ask(done) == {"Nothing"}


def test_a_selection_in_the_sensors_cursor_is_made_in_many_runs_and_nothing_else_is(study):
    steps = table_of(study)
    (look,) = one_by_one(study, steps)
    for key in steps:
        if key.startswith("models/edu/"):
            shutil.rmtree(study.root / steps[key].out)
    chosen = [key for key in steps if key.startswith("models/edu/") and key.endswith("/multimodn")]
    selection = 'kind:"model" and tag:"mmn/architecture"="multimodn"'
    with dg.DagsterInstance.ephemeral() as instance:

        @dg.job
        def road(): ...

        asked = []
        while (told := tick(look, steps, instance, selection)).run_requests:
            asked += list(keys(told.run_requests[0]))
            run = instance.create_run_for_job(road, tags=told.run_requests[0].tags, status=dg.DagsterRunStatus.FAILURE)
            assert run.is_finished and len(keys(told.run_requests[0])) == 1
        assert asked == chosen and len(chosen) > 1
        assert "not made by their runs" in told.skip_message
        assert keys(tick(look, steps, instance).run_requests[0]) < set(steps) - set(chosen), "without one: all the rest"
        (study.root / steps["features/edu/video"].out).unlink()
        first = keys(tick(look, steps, instance, f'key:"{chosen[0]}"').run_requests[0])
        assert "features/edu/video" in first and not any(key.startswith("results/") for key in first), "what it needs"
        assert tick(look, steps, instance, 'key:"cohorts/edu"').skip_message.startswith("Nothing of the ")
        no = ("kind: and", "models/edu/any", "tag:a=b=c", "column:a")
        for wrong, said in (*((text, "no selection") for text in no), ("group:mimic", "selects nothing here")):
            told = tick(look, steps, instance, wrong)
            assert not told.run_requests and said in told.skip_message and wrong in told.skip_message


def test_the_selections_on_the_page_choose_as_many_assets_of_the_demo_as_it_says():
    page = (REPOSITORY / "docs" / "operating.md").read_text()
    quoted = re.findall(r"^\| `(.+?)` \| (\d+) ", page, re.MULTILINE)
    params, any_version = load_params(REPOSITORY), Inspection(version="any", found={}, skipped={})
    generated = [dataset for dataset in map(load_dataset, DATASETS) if dataset.generate is not None]
    steps = build_steps({dataset.name: activate(dataset, any_version, params) for dataset in generated})
    graph = dg.Definitions(assets=[shown(steps)]).resolve_asset_graph()
    assert len(quoted) >= 3
    for selection, number in quoted:
        assert len(dg.AssetSelection.from_string(selection).resolve(graph)) == int(number), selection
