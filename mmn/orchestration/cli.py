"""`mmn`, the command line. Heavy imports wait until a command needs them, so that help comes at once."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmn.orchestration.audit.cli import app as audit_app

app = typer.Typer(
    help="From raw multimodal data to trained, evaluated and auditable models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(audit_app, name="audit")
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
    each: Annotated[bool, typer.Option("--each", help="A Dagster run per model, instead of one for all.")] = False,
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
    fresh = run_road(workspace, targets or (), dry_run=dry_run, each=each)
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
def ui(
    port: int = 3000,
    host: Annotated[str, typer.Option(help="Where it listens; this machine alone, as it comes.")] = "127.0.0.1",
    read_only: Annotated[bool, typer.Option("--read-only", help="Look, and start nothing.")] = False,
    i_have_a_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--i-have-a-proxy",
            metavar="NAME",
            help="Others reach this under NAME, through a proxy that asks who they are. Without one, everybody may "
            "start and delete runs.",
        ),
    ] = None,
) -> None:
    """Open Dagster on this machine only (loopback), with the same assets."""
    from mmn.orchestration.dvc_pipeline import ensure_dvc, write_stages
    from mmn.orchestration.steps import active_datasets, build_steps
    from mmn.orchestration.ui import be_the_only, command, serve_names

    started = command(host=host, port=port, read_only=read_only, proxies=i_have_a_proxy or ())
    serve_names(i_have_a_proxy or ())
    workspace = _workspace()
    workspace.prepare()
    if not read_only:
        be_the_only(workspace.root, port)
        ensure_dvc(workspace.root)
        write_stages(workspace, build_steps(active_datasets(workspace)))
        sync()
    typer.echo(f"Dagster opens at http://{host}:{port}; Ctrl-C ends it.")
    # A script's background job ignores Ctrl-C, and Dagster would then never end: give it back.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.chdir(workspace.root)
    os.execv(started[0], started)


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="A model's key (models/mimic/multitask/multimodn).")],
    version: Annotated[str, typer.Option(help="The version to make current; none: the newest.")] = "",
    why: Annotated[str, typer.Option(help="The reason, which is recorded. Without one: say how things stand.")] = "",
) -> None:
    """Say which version of a model is the current one and why, or decide it yourself."""
    from mmn.orchestration.promotion import current_version, decisions_of, model_step
    from mmn.orchestration.promotion import promote as decide_by_hand
    from mmn.orchestration.steps import active_datasets, build_steps

    workspace = _workspace()
    step = model_step(build_steps(active_datasets(workspace)), model)
    if why:
        decide_by_hand(workspace, step, version or workspace.hashes.version_of(workspace.root / step.out), why)
    for decision in decisions_of(workspace.root, step.key):
        typer.echo(f"{decision.candidate}  {decision.verdict:<15} {decision.why}")
    typer.echo(f"{current_version(workspace.root, step.key) or 'none'} is current.")


@app.command()
def report() -> None:
    """Bring the report up to date and say where it is."""
    from mmn.orchestration.run import run as run_road

    workspace = _workspace()
    fresh = run_road(workspace, ("report",))
    if fresh:
        _say_next(workspace.root)
    _exit(fresh)


@app.command()
def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's key (models/mimic/multitask/multimodn) or its folder; current:KEY for the promoted version."
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Option("--input", metavar="MODALITY=FILE", help="An embedding table; what is not given is absent."),
    ],
    out: Annotated[Path, typer.Option(help="The parquet to write.")] = Path("predictions.parquet"),
    order: Annotated[
        str, typer.Option(metavar="A,B,...", help="In which MultiModN meets the modalities; none: that of training.")
    ] = "",
) -> None:
    """Predict for embeddings, after every modality and step. Embeddings of another featurizer are refused."""
    from mmn.data.errors import ParamsError
    from mmn.orchestration.predict import predict as run_predict
    from mmn.orchestration.promotion import CURRENT, named_current

    pairs = {}
    for text in inputs:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise ParamsError(f"--input {text}: write it as MODALITY=FILE, for example --input notes=notes.parquet.")
        if name in pairs:
            raise ParamsError(f"--input {text}: {name} is given twice. Give one file of each modality.")
        pairs[name] = Path(path)
    folder = named_current(_workspace(), model) if model.startswith(CURRENT) else Path(model)
    if not folder.is_dir():
        folder = _workspace().artifacts / model
    if not folder.is_dir():
        raise ParamsError(f"{model}: neither a model's folder nor the key of one that is made here. See `mmn steps`.")
    for what, said in run_predict(folder, pairs, out, order.split(",") if order else None).items():
        typer.echo(f"{what:<18} {said}")
    typer.echo(f"written            {out}")


@app.command()
def search(
    model: Annotated[str, typer.Argument(help="A model's key: models/DATASET/TASK SET/ARCHITECTURE.")],
    sampler: Annotated[
        Literal["paper", "random", "tpe"], typer.Option(help="paper: its one-at-a-time sweeps.")
    ] = "paper",
    settings: Annotated[int, typer.Option(min=2, help="How many settings random and tpe try.")] = 30,
) -> None:
    """Look for better training settings by validation scores. A killed search goes on where it was."""
    from rich.progress import Progress

    from mmn.orchestration.search import search as run_search

    with Progress() as bar:
        task = bar.add_task("epochs")
        said, folder = run_search(
            _workspace(), model, sampler, settings, lambda done, total: bar.update(task, completed=done, total=total)
        )
    typer.echo(said)
    typer.echo(f"written: {folder} (copy choice.yaml into params.yaml to train with it)")


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
def prune(
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; the journal says what and who.")] = False,
    keep: Annotated[list[str] | None, typer.Option(metavar="REV", help="One more git revision to keep.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Keep of the working tree only these steps and what they read."),
    ] = None,
    tips: Annotated[bool, typer.Option("--tips", help="Of history keep only what branches and tags point at.")] = False,
) -> None:
    """Show what no kept model needs; remove it only when asked."""
    from mmn.orchestration.prune import KINDS, find_unneeded
    from mmn.orchestration.prune import remove as remove_all
    from mmn.orchestration.steps import active_datasets, build_steps

    workspace = _workspace()
    table = build_steps(active_datasets(workspace))
    found = find_unneeded(workspace, table, keep=keep or (), only=only or (), tips=tips)
    for kind, what in KINDS.items():
        if kind == "artifact" and only:
            what = f"artifacts that {', '.join(only)} and what they read do not need"
        if items := [item for item in found if item.kind == kind]:
            typer.echo(f"{sum(item.num_bytes for item in items) / 1e6:>10.1f} MB {len(items):>6}  {what}")
            for item in items[:10]:
                typer.echo(f"{'':>20} {item.key or item.path}")
    if not found:
        typer.echo("Nothing: all that is here is needed.")
    elif remove:
        typer.echo(f"{remove_all(workspace, found) / 1e6:.1f} MB removed; journal.jsonl says what.")
    else:
        typer.echo("Nothing was removed. Type the same with --remove to remove it.")


@app.command()
def generate(
    name: Annotated[str, typer.Argument(help="Which raw data: mimic, edu, weather2k.")],
    folder: Annotated[Path, typer.Argument(help="A new folder, or an earlier generated world, which is replaced.")],
    size: Annotated[str, typer.Option(help="tiny, demo or medium.")] = "demo",
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 7,
    form: Annotated[str, typer.Option("--format", help="An on-disk format, as mimic's 1.0; none: the usual.")] = "",
) -> None:
    """Write a made-up raw world in the real on-disk format, with known ground truth."""
    from mmn.orchestration.demo import generate_world

    generate_world(name, folder, size, seed, form)
    typer.echo(f"{folder} is written. Next: mmn run --raw {name}={folder}")


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="A data set whose features have a published form: mimic, edu.")],
    out: Annotated[Path, typer.Argument(help="What to write.")],
) -> None:
    """Write a data set's features in the form in which its authors published theirs."""
    from mmn.orchestration.export import export as run_export

    for what, number in run_export(_workspace(), name, out).items():
        typer.echo(f"{what:<12} {number}")
    typer.echo(f"written      {out}")


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
    typer.echo("Lineage: dvc status; keep it with `git add dvc.yaml dvc.lock params.yaml journal.jsonl && git commit`")


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
    except Exception as error:
        from mmn.orchestration.audit.broken import broken_code

        said = broken_code(error, any_error=sys.argv[1:2] == ["audit"])
        if said is None:
            raise
        typer.echo(f"mmn: {said}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
