"""When a file of this package is damaged: which one, said without a traceback."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import traceback
from importlib import metadata
from pathlib import Path

from mmn.orchestration.code import PACKAGE


def broken_code(error: BaseException, *, any_error: bool = False) -> str | None:
    """In words, where the error comes of a file of code that cannot be read as Python; any_error: or where files of
    code are other than they were committed or installed, which is then the likely reason. None where neither is so."""
    place = _unreadable(error)
    changed = _changed() if place or any_error else []
    if place is None and not changed:
        return None
    others = f" Files of code that are not as committed or installed: {', '.join(changed)}." if changed else ""
    what = f"{place}: this file of mmn itself cannot be read" if place else f"mmn itself failed in {_last(error)}"
    return (
        f"{what} ({type(error).__name__}).{others} Restore the code (`git restore`, or install it again) and ask again."
    )


def _unreadable(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(PACKAGE):
        return f"{Path(error.filename).relative_to(PACKAGE.parent).as_posix()} line {error.lineno or 0}"
    return None


def _last(error: BaseException) -> str:
    ours = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(PACKAGE)]
    return f"{Path(ours[-1].filename).relative_to(PACKAGE.parent).as_posix()} line {ours[-1].lineno}" if ours else "mmn"


def _changed() -> list[str]:
    """Files of the package that differ from the commit of the code; where it is not in git, from what was installed."""
    asked = ["git", "diff", "--name-only", "--relative", "HEAD", "--", PACKAGE.name]
    done = subprocess.run(asked, cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout.split()
    try:
        listed = metadata.files("mmn") or []
    except metadata.PackageNotFoundError:
        return []
    return [
        str(file)
        for file in listed
        if file.suffix == ".py" and file.hash and Path(str(file.locate())).is_file() and _other(file)
    ]


def _other(file: metadata.PackagePath) -> bool:
    assert file.hash is not None
    digest = hashlib.new(file.hash.mode, file.read_binary()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value
