"""`mmn`, the command line. Heavy imports wait until a command needs them, so that help comes at once."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="From raw multimodal data to trained, evaluated and auditable models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Raw = Annotated[
    list[str] | None,
    typer.Option(
        "--raw",
        metavar="NAME=PATH",
        help="Where raw files are (mimic, edu, weather2k). Kept for later runs.",
    ),
]
Targets = Annotated[
    list[str] | None, typer.Argument(help="Step keys or prefixes (features/mimic); none means everything.")
]


@app.command()
def demo(size: Annotated[str, typer.Option(help="Size of the generated worlds: tiny or demo.")] = "demo") -> None:
    """Generate a raw world for every data set, walk the whole road, and say where the report is."""
    from mmn.orchestration.demo import demo as run_demo

    _exit(run_demo(_workspace(), size))


@app.command()
def doctor(raw: Raw = None) -> None:
    """Say which raw files are there, which version, what will be skipped for want of what, and what to type next."""
    from mmn.orchestration.doctor import examine

    _exit(examine(_workspace(), _pairs(raw)))


@app.command()
def run(
    targets: Targets = None,
    raw: Raw = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and why; run nothing.")] = False,
) -> None:
    """Bring everything, or the steps named, up to date."""
    from mmn.data.errors import MmnError
    from mmn.orchestration.run import run as run_road
    from mmn.orchestration.steps import check_params, refuse_unusable

    workspace = _workspace()
    check_params(workspace.params)
    for name, path in _pairs(raw).items():
        refuse_unusable(name, path)
        if not dry_run:
            workspace.link_raw(name, path)
        elif workspace.raw(name).resolve() != path.expanduser().resolve():
            raise MmnError(
                f"--dry-run links nothing, and raw/{name} is not {path}. `mmn doctor --raw` says what it allows."
            )
    fresh = run_road(workspace, targets or (), dry_run=dry_run)
    if fresh and not targets:
        _say_next(workspace.root)
    _exit(fresh or dry_run)


@app.command()
def steps() -> None:
    """List the steps of the road in this workspace, and which are fresh."""
    from mmn.orchestration.dvc_pipeline import read_lock, why_stale
    from mmn.orchestration.steps import active_datasets, build_steps, check_params

    workspace = _workspace()
    check_params(workspace.params)
    table = build_steps(active_datasets(workspace))
    lock = read_lock(workspace)
    for step in table.values():
        typer.echo(f"{step.key:<60} {why_stale(workspace, step, table, lock) or 'fresh'}")


@app.command()
def step(key: str) -> None:
    """Walk one step; what the stages of dvc.yaml call."""
    import dagster as dg

    workspace = _workspace()
    workspace.prepare()
    from mmn.orchestration import definitions

    with dg.DagsterInstance.get() as instance:
        result = dg.materialize(
            [*definitions.defs.resolve_asset_graph().assets_defs],
            selection=[definitions.asset_key(key)],
            instance=instance,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={"via": "dvc repro" if os.environ.get("DVC_STAGE") else "mmn step"},
            raise_on_error=False,
        )
    if not result.success:
        for event in result.get_step_failure_events():
            failure = event.step_failure_data
            cause = failure.user_failure_data
            typer.echo(cause.description if cause else str(failure.error), err=True)
    _exit(result.success)


@app.command()
def stages(
    check: Annotated[bool, typer.Option("--check", help="Only say whether dvc.yaml is up to date.")] = False,
) -> None:
    """Write dvc.yaml from the table of steps."""
    from mmn.orchestration.dvc_pipeline import render_stages, write_stages
    from mmn.orchestration.steps import active_datasets, build_steps

    workspace = _workspace()
    table = build_steps(active_datasets(workspace))
    path = workspace.root / "dvc.yaml"
    if check:
        same = path.exists() and path.read_text() == render_stages(table, workspace.params)
        typer.echo(
            "dvc.yaml is up to date." if same else "dvc.yaml differs from the table of steps. Type `mmn stages`."
        )
        _exit(same)
    typer.echo("dvc.yaml written." if write_stages(workspace, table) else "dvc.yaml was up to date.")


@app.command()
def sync() -> None:
    """Tell Dagster what DVC recorded, after `dvc pull`, `dvc checkout` or a run-cache hit."""
    import dagster as dg

    from mmn.orchestration.steps import active_datasets, build_steps
    from mmn.orchestration.sync import sync as tell_dagster

    workspace = _workspace()
    workspace.prepare()
    with dg.DagsterInstance.get() as instance:
        reported = tell_dagster(instance, workspace, build_steps(active_datasets(workspace)))
    typer.echo(f"{len(reported)} assets brought up to what DVC recorded.")


@app.command()
def ui(port: int = 3000) -> None:
    """Open Dagster on this machine only (loopback), with the same assets."""
    from mmn.orchestration.dvc_pipeline import ensure_dvc, write_stages
    from mmn.orchestration.steps import active_datasets, build_steps

    workspace = _workspace()
    workspace.prepare()
    ensure_dvc(workspace.root)
    write_stages(workspace, build_steps(active_datasets(workspace)))
    sync()
    typer.echo(f"Dagster opens at http://127.0.0.1:{port}; Ctrl-C ends it.")
    # A script's background job ignores Ctrl-C, and Dagster would then never end: give it back.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.chdir(workspace.root)
    arguments = ["dev", "-m", "mmn.orchestration.definitions", "-h", "127.0.0.1", "-p", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "dagster", *arguments])


@app.command()
def report() -> None:
    """Bring the report up to date and say where it is."""
    from mmn.orchestration.run import run as run_road

    workspace = _workspace()
    fresh = run_road(workspace, ("report",))
    if fresh:
        _say_next(workspace.root)
    _exit(fresh)


@app.command("verify-reference")
def verify_reference(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Weights, inputs and answers.")],
) -> None:
    """Run the published implementation's weights in our MultiModN, and say how far its answers are from ours."""
    from mmn.modeling.reference import TOLERANCE, beyond
    from mmn.modeling.reference import verify_reference as verify

    differences = verify(file)
    failed = beyond(differences)
    typer.echo(f"{'quantity':<16}  largest difference")
    for quantity, difference in differences.items():
        typer.echo(f"{quantity:<16}  {difference:.2e}{'  <-' if quantity in failed else ''}")
    if failed:
        typer.echo(f"{file} is not met within {TOLERANCE:g}: {', '.join(failed)}.", err=True)
    _exit(not failed)


@app.command()
def init(folder: Path) -> None:
    """Make a new workspace beside the code: one folder per study, readable by its owner only."""
    from mmn.orchestration.demo import make_workspace

    make_workspace(folder)
    typer.echo(f"{folder} is ready. Next: cd {folder} && mmn run --raw mimic=PATH")


def _workspace():
    from mmn.orchestration.workspace import find_workspace

    return find_workspace()


def _pairs(raw: list[str] | None) -> dict[str, Path]:
    from mmn.data import DATASETS, load_dataset
    from mmn.data.errors import ParamsError
    from mmn.orchestration.params import nearest_of

    pairs = {}
    for text in raw or []:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise ParamsError(f"--raw {text}: write it as NAME=PATH, for example --raw mimic=/data/mimic.")
        known = sorted({load_dataset(key).raw for key in DATASETS})
        if name not in known:
            raise ParamsError(f"--raw {text}: there is no raw data called '{name}'. {nearest_of(name, known)}")
        pairs[name] = Path(path)
    return pairs


def _say_next(root: Path) -> None:
    typer.echo(f"Report:  {root / 'artifacts' / 'report' / 'index.html'}  (open it in a browser)")
    typer.echo("Dagster: mmn ui   (then http://127.0.0.1:3000)")
    typer.echo("Lineage: dvc status; keep it with `git add dvc.yaml dvc.lock params.yaml && git commit`")


def _exit(success: bool) -> None:
    raise typer.Exit(0 if success else 1)


def main() -> None:
    """The console script: an error that a person can mend is printed as such, without a traceback."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    from mmn.data.errors import MmnError

    try:
        app()
    except MmnError as error:
        typer.echo(f"mmn: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
