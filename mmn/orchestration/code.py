"""Which files' code decides a step's result: the modules it names and everything of this package that they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# Tables of contents: they name things and compute nothing, so a new line in one must not make every step stale.
TABLES = {"mmn", "mmn.data", "mmn.featurizers", "mmn.modeling", "mmn.orchestration", "mmn.orchestration.actions"}
# How steps are found, run and recorded; what they compute does not depend on it.
MACHINERY = {
    f"mmn.orchestration.{name}"
    for name in ("walk", "steps", "workspace", "dvc_pipeline", "code", "pictures", "params", "settings")
}


def code_files(modules: tuple[str, ...], tables: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Paths relative to the workspace, sorted: the closure of this package's imports, lazy ones included.

    tables: modules whose own text matters but not what they import: a step that reads a data set's tasks does not
    depend on how its raw files are read.
    """
    listed = {module for module in tables if _exists(module)}
    seen: set[str] = set(listed)
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        # A generator writes raw files before the road begins; no step's result depends on its code.
        if module in seen or module in TABLES | MACHINERY or module.rpartition(".")[2].startswith("generat"):
            continue
        seen.add(module)
        waiting.extend(_imports(module))
    return tuple(sorted(_file(module).relative_to(PACKAGE.parent).as_posix() for module in seen))


@cache
def _imports(module: str) -> tuple[str, ...]:
    file = _file(module)
    found: list[str] = []
    for node in _statements(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
    # A package's own __init__ runs whenever one of its modules is imported.
    found.extend(".".join(name.split(".")[:depth]) for name in tuple(found) for depth in range(2, name.count(".") + 1))
    return tuple(sorted({name for name in found if name.startswith("mmn.") and _exists(name)}))


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All of them, nested ones too, and no expression: an import is a statement, and expressions are most of a tree."""
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        node = waiting.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, part, ()))


@cache
def _exists(module: str) -> bool:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()


@cache
def _file(module: str) -> Path:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    return base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
