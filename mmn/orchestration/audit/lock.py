"""`dvc.lock`, read strictly and fast: a lock of a thousand models has a hundred thousand lines.

The form in which DVC and `mmn` write is matched word for word; what does not match is read as YAML and marked, so that
an audit can say that somebody else wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from mmn.orchestration.dvc_pipeline import LOADER, Dumper, code_version_from
from mmn.orchestration.journal import entry_digest
from mmn.orchestration.params import FILE as PARAMS_FILE

HEAD = "schema: '2.0'\nstages:\n"
_HASH = r"      hash: md5\n      md5: [0-9a-f]{32}(?:\.dir)?\n      size: \d+\n(?:      nfiles: \d+\n)?"
_ITEM = rf"    - path: \S+\n{_HASH}"
_BLOCK = re.compile(
    r"    cmd: (?P<cmd>mmn step \S+)\n"
    rf"(?:    deps:\n(?P<deps>(?:{_ITEM})*))?"
    rf"(?:    params:\n      {re.escape(PARAMS_FILE)}:\n(?P<params>(?:        .*\n)*))?"
    rf"    outs:\n(?P<outs>{_ITEM})"
)
_ITEMS = re.compile(r"- path: (\S+)\n      hash: md5\n      md5: (\S+)\n      size: (\d+)\n(?:      nfiles: (\d+)\n)?")
_STAGE = re.compile(r"^  (\S[^\n]*):\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One recorded step. deps: path -> its line in the lock. whole: written as DVC or `mmn` writes, byte for byte.
    rebuilt: from what the artifact says of itself, as the lock is not here: no code, no raw folder, no sizes."""

    stage: str
    cmd: str
    deps: Mapping[str, Mapping[str, Any]]
    out: Mapping[str, Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = True
    rebuilt: bool = False

    @property
    def key(self) -> str:
        return self.cmd.removeprefix("mmn step ")

    @property
    def path(self) -> str:
        return str(self.out["path"])

    @property
    def version(self) -> str:
        return str(self.out["md5"])

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Artifacts read: key -> version."""
        return {key_of(path): dep["md5"] for path, dep in self.deps.items() if path.startswith("artifacts/")}

    @cached_property
    def raw(self) -> dict[str, str]:
        return {path: dep["md5"] for path, dep in self.deps.items() if path.startswith("raw/")}

    @cached_property
    def code(self) -> dict[str, str]:
        return {p: dep["md5"] for p, dep in self.deps.items() if not p.startswith(("artifacts/", "raw/"))}

    @cached_property
    def code_version(self) -> str:
        return code_version_from({path: md5 for path, md5 in self.code.items() if path.endswith(".py")}, self.params)

    @cached_property
    def digest(self) -> str:
        params = {"params": {PARAMS_FILE: self.params}} if self.params else {}
        return entry_digest({"cmd": self.cmd, "deps": list(self.deps.values()), "outs": [self.out], **params})


@dataclass(frozen=True, kw_only=True)
class Lock:
    """entries: by key. problems: (place, what is wrong) of the file as a whole."""

    entries: Mapping[str, Entry]
    problems: tuple[tuple[str, str], ...] = ()


def key_of(path: str) -> str:
    """artifacts/features/mimic/notes.parquet -> features/mimic/notes"""
    return path.removeprefix("artifacts/").removesuffix(".parquet").removesuffix(".json")


def read_lock_text(text: str) -> Lock:
    problems: list[tuple[str, str]] = []
    if not text.startswith(HEAD):
        problems.append(("dvc.lock line 1", "does not begin as DVC writes it"))
    entries: dict[str, Entry] = {}
    texts_of_params: dict[str, tuple[dict[str, Any], bool]] = {}
    for stage, block, line in _blocks(text):
        place = f"dvc.lock line {line}, {stage}"
        try:
            entry = _entry(stage, block, texts_of_params)
        except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, IndexError):
            problems.append((place, "cannot be read: it was changed by hand"))
            continue
        if not entry.whole:
            problems.append((place, "is not written as DVC or mmn writes it: it was changed by hand"))
        if entry.key.replace("/", "-") != stage or key_of(entry.path) != entry.key:
            problems.append((place, "its name, command and output are not of one step: it was changed by hand"))
        if strange := _not_of_a_step(entry):
            problems.append((place, f"{', '.join(strange)} can be no input of its step: it was changed by hand"))
        if entry.key in entries:
            problems.append((place, f"{entry.key} is recorded twice"))
        entries[entry.key] = entry
    return Lock(entries=entries, problems=tuple(problems))


def _not_of_a_step(entry: Entry) -> list[str]:
    """Inputs that no step has: they are artifacts and code, and for a manifest of raw files its own raw folder."""
    kind, _, rest = entry.key.partition("/")
    own = {f"raw/{rest.partition('/')[0]}"} if kind == "raw" else set()
    known = [path for path in entry.deps if path in own or path.startswith(("artifacts/", "mmn/"))]
    missing = own - set(entry.deps)
    return sorted({*entry.deps, *missing} - set(known))


def _blocks(text: str) -> Iterator[tuple[str, str, int]]:
    """(stage, its lines, line number) of each; lines before the first stage beyond the head are a block named ''."""
    found = list(_STAGE.finditer(text))
    start = len(HEAD) if text.startswith(HEAD) else 0
    first = found[0].start() if found else len(text)
    if text[start:first].strip() and text.startswith(HEAD):
        yield "", text[start:first], 3
    line, at = text.count("\n", 0, first) + 1, first
    for match, following in zip(found, [*found[1:], None], strict=True):
        line += text.count("\n", at, match.start())
        at = match.start()
        yield match[1], text[match.end() : following.start() if following else len(text)], line


def _entry(stage: str, block: str, texts_of_params: dict[str, tuple[dict[str, Any], bool]]) -> Entry:
    match = _BLOCK.fullmatch(block)
    if match is None:
        return _by_yaml(stage, block)
    params: dict[str, Any] = {}
    whole = True
    if (text := match["params"]) is not None:
        if text not in texts_of_params:
            texts_of_params[text] = _params(text)
        params, whole = texts_of_params[text]
    deps = {item["path"]: item for item in _items(match["deps"] or "")}
    return Entry(
        stage=stage, cmd=match["cmd"], deps=deps, out=_items(match["outs"])[0], params=params, whole=whole,
    )  # fmt: skip


def _items(text: str) -> list[dict[str, Any]]:
    return [
        {"path": path, "hash": "md5", "md5": md5, "size": int(size)} | ({"nfiles": int(nfiles)} if nfiles else {})
        for path, md5, size, nfiles in _ITEMS.findall(text)
    ]


def _params(text: str) -> tuple[dict[str, Any], bool]:
    params = yaml.load(text, Loader=LOADER)
    return params, _is_canonical(params, "".join(line[8:] for line in text.splitlines(keepends=True)), indent=8)


def _by_yaml(stage: str, block: str) -> Entry:
    """What the pattern does not know: a quoted path or hash, or a block that somebody edited."""
    loaded = yaml.load(block, Loader=LOADER)
    outs = loaded["outs"]
    known = {"cmd", "deps", "params", "outs"}
    items = [*loaded.get("deps", []), *outs]
    plain = (
        set(loaded) <= known
        and len(outs) == 1
        and set(loaded.get("params") or {}) <= {PARAMS_FILE}
        and all(set(item) <= {"path", "hash", "md5", "size", "nfiles"} and item.get("hash") == "md5" for item in items)
    )
    for item in items:
        if not isinstance(item["path"], str) or not isinstance(item["md5"], str):
            raise ValueError(stage)
    return Entry(
        stage=stage,
        cmd=str(loaded["cmd"]),
        deps={item["path"]: item for item in loaded.get("deps", [])},
        out=outs[0],
        params=(loaded.get("params") or {}).get(PARAMS_FILE) or {},
        whole=plain and _is_canonical(loaded, "".join(row[4:] for row in block.splitlines(keepends=True)), indent=4),
    )


def _is_canonical(value: Any, text: str, *, indent: int) -> bool:
    """Whether YAML's writers (ours, and DVC's) would write the value so."""
    around: Any = value
    for _ in range(indent // 2):
        around = {"x": around}
    head = "".join(f"{'  ' * level}x:\n" for level in range(indent // 2))
    whole = head + "".join(" " * indent + row for row in text.splitlines(keepends=True))
    if yaml.dump(around, Dumper=Dumper, sort_keys=False, allow_unicode=True) == whole:
        return True
    from io import StringIO

    from ruamel.yaml import YAML

    writer, stream = YAML(), StringIO()
    writer.default_flow_style = False
    writer.dump(around, stream)
    return stream.getvalue() == whole
