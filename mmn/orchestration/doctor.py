"""`mmn doctor`: which raw files are there, which version, what will be skipped for want of what, what to type."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmn.data import DATASETS, load_dataset
from mmn.orchestration.settings import highmmt_settings
from mmn.orchestration.steps import Active, activate, build_steps, check_params
from mmn.orchestration.steps_highmmt import not_there
from mmn.orchestration.workspace import Workspace


def examine(workspace: Workspace, raw: Mapping[str, Path]) -> bool:
    """True if at least one data set can be walked. Without `raw`, the folders that are linked already are examined."""
    console = Console()
    check_params(workspace.params)
    folders = dict(raw) or {
        name: workspace.raw(name) for name in dict.fromkeys(load_dataset(key).raw for key in DATASETS)
    }
    active: dict[str, Active] = {}
    unlinked: dict[str, None] = {}
    for key in DATASETS:
        dataset = load_dataset(key)
        if dataset.raw not in folders:
            continue
        folder = folders[dataset.raw].expanduser()
        if not raw and not folder.exists() and not folder.is_symlink():
            unlinked[dataset.raw] = None
            continue
        console.rule(f"{key}: {dataset.title}", align="left")
        if not folder.is_dir():
            console.print(f"{folder}: no such folder. Next: mmn doctor --raw {dataset.raw}=PATH", highlight=False)
            continue
        inspection = dataset.inspect(folder)
        world = " (a generated world)" if inspection.generated else ""
        console.print(f"version: {inspection.version}{world}", highlight=False)
        table = Table("what", "state", "detail", show_header=True, box=None, pad_edge=False)
        for name, detail in inspection.found.items():
            table.add_row(escape(name), "[green]found[/green]", escape(detail))
        for name, why in inspection.skipped.items():
            table.add_row(escape(name), "[yellow]skipped[/yellow]", escape(why))
        console.print(table)
        if inspection.problem:
            console.print(f"[red]cannot run:[/red] {escape(inspection.problem)}", highlight=False)
        else:
            active[key] = activate(dataset, inspection, workspace.params)
            if unread := [
                m.name for m in dataset.modalities if m.name not in {*active[key].modalities, *inspection.skipped}
            ]:
                # A modality that defines a label of every task is refused unless it is forced as well.
                forced = [n for n in unread if len(dataset.modality(n).unusable_for) == len(dataset.tasks)]
                more = f" ({', '.join(forced)}: under {key}.forced, too)" if forced else ""
                console.print(
                    f"there but not read: {', '.join(unread)}; name them in params.yaml under {key}.modalities to read "
                    f"them{more}.",
                    highlight=False,
                )
    console.rule()
    if unlinked:
        console.print(
            f"not linked: {', '.join(unlinked)}. To look at files of yours: `mmn doctor --raw NAME=PATH`.",
            highlight=False, markup=False,
        )  # fmt: skip
    if not active:
        console.print("No data set can be walked with these files.")
        return False
    steps = build_steps(active)
    console.print(f"Ready: {', '.join(active)} ({len(steps)} steps).")
    joined = highmmt_settings(workspace.params)
    if lacking := not_there(joined, active):
        what = "the others are joined" if len(joined.datasets) - len(lacking) > 1 else "so nothing is joined"
        console.print(f"highmmt: {', '.join(lacking)} is not here; {what}.", highlight=False)
    options = "".join(f" --raw {shlex.quote(f'{name}={folder}')}" for name, folder in raw.items())
    console.print(f"Next: mmn run{options}", highlight=False, soft_wrap=True)
    return True
