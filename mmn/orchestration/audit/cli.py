"""`mmn audit`: the questions a person may ask of the records. Every command ends with 1 where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mmn.orchestration.audit.audit import Audit
    from mmn.orchestration.audit.snapshot import Snapshot

app = typer.Typer(
    help="Which data, code and weights something came from, and whether what is recorded of it is still true.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Verify = Annotated[bool, typer.Option("--verify", help="Read every byte again and recompute every hash.")]
At = Annotated[str | None, typer.Option("--at", metavar="REV", help="As of a git revision; none: as it is now.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs; the keys are stable.")]
Export = Annotated[str, typer.Option(metavar="FORM", help="Instead: prov (W3C PROV-JSON), openlineage (events), card.")]
Out = Annotated[Path | None, typer.Option(help="Write there instead of to the terminal.")]


@app.command()
def model(key: str, verify: Verify = False, at: At = None, as_json: AsJson = False, export: Export = "",
          out: Out = None) -> None:  # fmt: skip
    """From a model back to its raw files: models/NAME/TASKS/ARCHITECTURE, or a path inside a step's output."""
    _answer(_full(key, "models"), verify, at, as_json, export, out)


@app.command()
def embedding(key: str, verify: Verify = False, at: At = None, as_json: AsJson = False, export: Export = "",
              out: Out = None) -> None:  # fmt: skip
    """An embedding: featurizer, weights, cohort, raw files, and what reads it: features/NAME/MODALITY."""
    _answer(_full(key, "features"), verify, at, as_json, export, out)


@app.command("all")
def everything(verify: Verify = False, at: At = None, as_json: AsJson = False, export: Export = "",
               out: Out = None) -> None:  # fmt: skip
    """Everything that is recorded, and files that nothing records."""
    _answer("", verify, at, as_json, export, out)


@app.command()
def item(
    name: Annotated[str, typer.Argument(metavar="ID")],
    dataset: Annotated[str, typer.Option(help="The data set whose item it is.")],
    of: Annotated[str, typer.Option("--model", help="Only the predictions of this model.")] = "",
    raw_rows: Annotated[bool, typer.Option(help="Look through the raw files too, which reads them.")] = True,
    verify: Verify = False,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Which rows of which files a prediction about one item used; no value is printed."""
    from mmn.orchestration.audit.item import audit_item
    from mmn.orchestration.audit.show import show_item

    key = _full(of, "models") if of else ""
    found = audit_item(_snapshot(at), name, dataset, model=key, verify=verify, raw_rows=raw_rows)
    if as_json:
        _say(json.dumps(found, indent=2, sort_keys=True))
    else:
        show_item(found, _console())
    raise typer.Exit(1 if found["faults"] else 0)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    verify: Verify = False,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Why two things differ. Each is KEY, REVISION, FOLDER (a workspace), REVISION:KEY or FOLDER:KEY."""
    from mmn.orchestration.audit.diff import diff as compare
    from mmn.orchestration.audit.diff import parse_side
    from mmn.orchestration.audit.show import show_diff

    root = _root()
    found = compare(parse_side(root, a, at), parse_side(root, b, at), verify=verify)
    if as_json:
        _say(json.dumps(found, indent=2, sort_keys=True, default=str))
    else:
        show_diff(found, _console())
    raise typer.Exit(0 if found["sound"] else 1)


def _answer(key: str, verify: bool, at: str | None, as_json: bool, export: str, out: Path | None) -> None:
    from mmn.orchestration.audit.audit import audit, audit_all
    from mmn.orchestration.audit.show import show

    snapshot = _snapshot(at)
    found = audit(snapshot, key, verify=verify) if key else audit_all(snapshot, verify=verify)
    if export or as_json:
        text = (
            _exported(found, export) if export else json.dumps(found.as_json(), indent=2, sort_keys=True, default=str)
        )
        if out is None:
            _say(text)
        else:
            from mmn.data.files import write_bytes

            write_bytes(out, (text.rstrip("\n") + "\n").encode())
    else:
        show(found, _console())
    raise typer.Exit(0 if found.sound else 1)


def _exported(found: Audit, form: str) -> str:
    from mmn.data.errors import ParamsError
    from mmn.orchestration.audit.cards import card
    from mmn.orchestration.audit.export import openlineage, prov

    forms = {"prov": prov, "openlineage": openlineage, "card": card}
    if form not in forms:
        raise ParamsError(f"--export {form}: known are {', '.join(forms)}.")
    return forms[form](found)


_ROOMS = ("raw", "prepared", "cohorts", "features", "models", "results", "report")


def _full(key: str, kind: str) -> str:
    """`mimic/notes` is `features/mimic/notes`, where a person asks for an embedding."""
    key = key.removeprefix("./").strip("/").removeprefix("artifacts/")
    return key if key.split("/")[0] in _ROOMS else f"{kind}/{key}"


def _snapshot(at: str | None) -> Snapshot:
    from mmn.orchestration.audit.snapshot import open_snapshot

    return open_snapshot(_root(), at)


def _root() -> Path:
    """The workspace; a clone that was not checked out is one too, as all that is recorded is in its last commit."""
    from mmn.data.errors import MmnError
    from mmn.orchestration.audit.git import show_many
    from mmn.orchestration.params import FILE
    from mmn.orchestration.workspace import find_workspace

    try:
        return find_workspace().root
    except MmnError:
        here = Path.cwd().resolve()
        for folder in (here, *here.parents):
            if (folder / ".git").exists() and show_many(folder, "HEAD", [FILE, ".dvc/config"]).keys() == {
                FILE, ".dvc/config",
            }:  # fmt: skip
                return folder
        raise


def _console() -> Any:
    from rich.console import Console

    # Into a file or a pipe there is no width to keep to, and a version that is cut off is no version.
    return Console() if Console().is_terminal else Console(width=160)


def _say(text: str) -> None:
    typer.echo(text.rstrip("\n"))
