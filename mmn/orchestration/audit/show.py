"""An audit for people: a tree from the artifact back to its raw files, the witnesses side by side, what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from mmn.orchestration.audit.audit import Audit, Node
from mmn.orchestration.report.lineage import settings

COLOURS = {"fault": "red", "stale": "yellow", "missing": "magenta", "note": "dim"}
SIGNS = {
    "agrees": "[green]agrees[/green]",
    "disagrees": "[red]DISAGREES[/red]",
    "missing": "[dim]–[/dim]",
    "not read": "·",
}


def show(audit: Audit, console: Console) -> None:
    _show_head(audit, console)
    if audit.subject:
        console.print(tree(audit))
        _show_readers(audit, console)
    _show_decisions(audit, console)
    console.print(witnesses(audit))
    show_findings(audit, console)


def _show_head(audit: Audit, console: Console) -> None:
    commit = audit.snapshot.commit
    when = f"at {commit.sha[:12]} ({commit.at}, {commit.author}: {commit.subject})" if commit else "as it is now"
    console.print(f"[bold]{escape(audit.subject or 'All that is recorded')}[/bold] {escape(when)}", highlight=False)
    if audit.part:
        told = f"{audit.part.path} is a part of it, made, recorded and verified with the whole"
        console.print(escape(told), highlight=False)
    for witness, why in audit.missing.items():
        console.print(f"[magenta]missing witness[/magenta] {witness}: {escape(why)}", highlight=False)


def tree(audit: Audit) -> Tree:
    nodes = {node.key: node for node in audit.nodes}
    shown: set[str] = set()

    def grow(branch: Tree, key: str, version: str) -> None:
        node = nodes.get(key)
        if node is None:
            branch.add(f"{escape(key)} [dim]{version}[/dim] [magenta]not recorded[/magenta]")
            return
        other = "" if node.entry.version == version else f" [yellow]read at {version[:12]}, now another[/yellow]"
        twig = branch.add(_title(node) + other + (" [dim](above)[/dim]" if key in shown else ""))
        if key not in shown:
            shown.add(key)
            fill(twig, node)

    def fill(branch: Tree, node: Node) -> None:
        for line in details(node):
            branch.add(f"[dim]{escape(line)}[/dim]")
        for source, version in sorted(node.entry.inputs.items()):
            grow(branch, source, version)

    subject = nodes[audit.subject]
    shown.add(audit.subject)
    root = Tree(_title(subject))
    if audit.part:
        branch = root.add(f"part [bold]{escape(audit.part.path)}[/bold]")
        for line in audit.part.lines():
            branch.add(f"[dim]{escape(line)}[/dim]")
    fill(root, subject)
    return root


def _title(node: Node) -> str:
    state = f"[yellow]stale: {escape(node.stale)}[/yellow]" if node.stale else "[green]fresh[/green]"
    return f"[bold]{escape(node.key)}[/bold] {node.entry.version[:12]} {state}"


def details(node: Node) -> list[str]:
    lines = [f"code version {node.entry.code_version} ({len(node.entry.code)} files)"]
    if node.entry.params:
        lines.append(f"parameters: {settings(node.entry.params)}")
    if (told := node.featurizer).get("name"):
        lines.append(f"featurizer: {told['name']}")
        if isinstance(weights := told.get("weights"), Mapping):
            lines.append(f"weights: {weights.get('name')}, SHA-256 {weights.get('sha256')}, {weights.get('licence')}")
            lines += [f"weights have seen: {weights['has_seen']}"] if weights.get("has_seen") else []
    if "at" in node.made:
        code = node.made.get("code") or {}
        revision = f", code at {code['revision'][:12]}{' with changes' if code['changed'] else ''}" if code else ""
        how = " with dvc repro" if node.made.get("via") == "dvc repro" else ""
        lines.append(f"made {node.made['at']} by {node.made.get('git') or node.made['by']}{how}{revision}")
    lines += [f"reads {path} at {version}" for path, version in node.entry.raw.items()]
    return lines


def _show_readers(audit: Audit, console: Console) -> None:
    if not audit.read_by:
        return
    table = Table("read by", "at version", "state", box=None, pad_edge=False)
    for key, (version, why) in list(audit.read_by.items())[:40]:
        table.add_row(escape(key), version[:12], f"[yellow]{escape(why)}[/yellow]" if why else "[green]fresh[/green]")
    console.print(table)
    if len(audit.read_by) > 40:
        console.print(f"… and {len(audit.read_by) - 40} more; --json lists all", highlight=False)


def _show_decisions(audit: Audit, console: Console) -> None:
    for line in audit.decisions[-5:]:
        said = f"{line['verdict']}: version {line['candidate'][:12]}, {line['at']} by {line['by']}. {line['why']}"
        console.print(f"promotion  {escape(said)}", highlight=False)


def witnesses(audit: Audit) -> Table:
    table = Table("artifact", "dvc.lock", "footer", "bytes", "Dagster", "journal", box=None, pad_edge=False)
    for node in audit.nodes:
        said = node.checked.witnesses
        table.add_row(
            escape(node.key), *(SIGNS[said[name]] for name in ("lock", "artifact", "bytes", "dagster", "journal"))
        )
    return table


def show_findings(audit: Audit, console: Console) -> None:
    for severity in ("fault", "stale", "missing", "note"):
        found = Counter(f"{f.place}: {f.message}" for f in audit.findings if f.severity == severity)
        for told, times in list(found.items())[:20]:
            more = f" ({times} artifacts)" if times > 1 else ""
            console.print(f"[{COLOURS[severity]}]{severity}[/] {escape(told)}{more}", highlight=False)
        if len(found) > 20:
            console.print(f"… and {len(found) - 20} more of these; --json lists all", highlight=False)
    num = sum(finding.severity == "fault" for finding in audit.findings)
    away = sum(finding.code == "bytes" and finding.severity == "missing" for finding in audit.findings)
    read = f"the bytes of {away} are not here, all others were read" if away else "every byte was read"
    read = read if audit.verified else "bytes were not read; --verify reads them"
    if audit.sound:
        console.print(
            f"[green]Sound[/green]: {len(audit.nodes)} artifacts, the witnesses that are here agree; {read}.",
            highlight=False,
        )
    else:
        console.print(
            f"[red]NOT SOUND[/red]: {num} fault{'s' if num > 1 else ''} in {len(audit.nodes)} artifacts; {read}.",
            highlight=False,
        )


def show_item(found: Mapping[str, Any], console: Console) -> None:
    cohort = found["cohort"]
    folds = ", ".join(f"{split} in {num}" for split, num in sorted(cohort["folds"].items())) or "in none"
    root = Tree(f"[bold]{escape(found['item'])}[/bold] of {found['dataset']}")
    root.add(f"{cohort['key']} {cohort['version'][:12]}: row {cohort['row']}; folds: {folds}")
    for part, title in (("predictions", "predicted by"), ("embeddings", "from"), ("prepared", "from"), ("raw", "raw")):
        for one in found[part]:
            what = f"{one['key']} {one['version'][:12]}, {one['file']}"
            if one.get("md5"):
                what += f", MD5 {one['md5']}"
            branch = root.add(escape(f"{title} {what}: {_told(part, one)}"))
            for other in one.get("not_used", ()):
                rows = f"{other['num_rows']} rows: {_ranges(other['rows'])}" if other["rows"] else "the file"
                branch.add(f"[dim]not used, {escape(other['why'])}: {rows}[/dim]")
    console.print(root, highlight=False)
    for fault in found["faults"]:
        console.print(f"[red]fault[/red] {escape(fault['place'])}: {escape(fault['message'])}", highlight=False)


def _told(part: str, one: Mapping[str, Any]) -> str:
    if one.get("why"):
        return str(one["why"])
    rows = _ranges(one["rows"])
    if part == "embeddings":
        aside = one["with_evidence_set_aside"]
        return f"rows {rows}; {one['present']} present, {one['absent']} absent" + (
            f", {aside} set aside" if aside else ""
        )
    if part == "predictions":
        return f"rows {rows}" if one["rows"] else "no prediction kept (the item is in no test side)"
    if not one["rows"]:
        return "no row used"
    return f"{one['num_rows']} rows by {', '.join(one['keys'])}: {rows}, for {', '.join(one['used_by'])}"


def _ranges(ranges: list[list[int]]) -> str:
    text = ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in ranges[:6])
    return text + (f" and {len(ranges) - 6} more ranges" if len(ranges) > 6 else "") or "none"


def show_diff(found: Mapping[str, Any], console: Console) -> None:
    for side in "ab":
        told = found[side]
        revision = f" at {told['revision']['sha'][:12]}" if told["revision"] else ""
        version = f" {told['version'][:12]}" if told["version"] else ""
        console.print(f"{side.upper()}: {escape(told['given'])}{revision}{version}", highlight=False)
    if found["same"]:
        console.print("[green]The same bytes[/green] on both sides.", highlight=False)
    for name in ("added", "removed"):
        for key in found[name]:
            console.print(f"{'only in B' if name == 'added' else 'only in A'}: {escape(key)}", highlight=False)
    if found["root_causes"]:
        table = Table("why", "where", "what", "A", "B", box=None, pad_edge=False)
        for cause in found["root_causes"]:
            table.add_row(cause["kind"], escape(cause["key"]), escape(cause["what"]), *(_short(cause[s]) for s in "ab"))
        console.print(table)
    if others := sorted({f"{cause['what']} of {cause['key']}" for cause in found["without_effect"]}):
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        console.print(f"differs too, without effect on bytes: {escape(', '.join(others[:5]))}{more}", highlight=False)
    rooted = {cause["key"] for cause in found["root_causes"]}
    if follows := [change["key"] for change in found["changed"] if change["key"] not in rooted]:
        console.print(f"what follows: {escape(', '.join(follows))}", highlight=False)
    for fault in found["findings"]:
        console.print(f"[red]fault[/red] {escape(fault['place'])}: {escape(fault['message'])}", highlight=False)


def _short(value: Any) -> str:
    text = str(value)
    is_hash = len(text.removesuffix(".dir")) in {32, 40, 64} and set(text.removesuffix(".dir")) <= set(
        "0123456789abcdef"
    )
    return escape(text[:12] if is_hash else text if len(text) < 60 else f"{text[:57]}…")
