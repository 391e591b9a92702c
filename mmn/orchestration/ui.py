"""Starting the Dagster UI: on this machine only, unless somebody says in so many words that others shall reach it.

One writable UI per workspace: with each comes a daemon, and two would both start what is due.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmn.data.errors import MmnError, ParamsError
from mmn.orchestration.webserver import HOSTS_VARIABLE, LOOPBACK

MODULE = "mmn.orchestration.definitions"
PROXY_FLAG = "--i-have-a-proxy"
# The number of the open lock, for the process that takes this one's place.
LOCK_VARIABLE = "MMN_UI_LOCK"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"({_LABEL}(\.{_LABEL})*|\[(?P<six>[0-9a-f:.]+)\])(:\d{{1,5}})?", re.IGNORECASE)


def command(*, host: str, port: int, read_only: bool, proxies: Sequence[str]) -> list[str]:
    """What to run. Raises ParamsError where others could reach it and nobody said that they may.

    read_only: runs can be looked at and not started, and nothing starts by itself: for beside a writable one.
    proxies: the names (and ports, where unusual) of reverse proxies with a login before it.
    """
    for name in proxies:
        _check_name(name)
    if host not in LOOPBACK and not proxies:
        raise ParamsError(
            f"--host {host}: whoever reaches this address could start and delete runs and read all metadata: Dagster "
            f"asks nobody who he is. Leave the host out and use an SSH tunnel, or put a reverse proxy with a login "
            f"before it and say {PROXY_FLAG} (docs/operating.md)."
        )
    where = ["-m", MODULE, "-h", host, "-p", str(port)]
    if read_only:
        return [sys.executable, "-m", "mmn.orchestration.webserver", *where, "--read-only"]
    return [sys.executable, "-m", "mmn.orchestration.ui", *where]


def main(arguments: Sequence[str] | None = None) -> None:
    """`dagster dev`, with the guarded webserver in place of the plain one."""
    from dagster._cli import dev

    start, lock = dev.open_ipc_subprocess, os.environ.pop(LOCK_VARIABLE, "")

    def start_guarded(parts: Sequence[str], **options: Any) -> Any:
        if lock and "dagster._daemon" in parts:  # it may outlive this process, and then still is the one
            options["pass_fds"] = [*options.get("pass_fds", ()), int(lock)]
        guarded = ["mmn.orchestration.webserver" if part == "dagster_webserver" else part for part in parts]
        return start(guarded, **options)

    dev.open_ipc_subprocess = start_guarded
    dev.dev_command(list(sys.argv[1:] if arguments is None else arguments))


def be_the_only(root: Path, port: int) -> None:
    """Hold the workspace for this process, for the one that takes its place, and for its daemon. Raises MmnError where
    another writable UI does: freed when its processes have ended, however they ended."""
    path = root / ".mmn" / "ui.lock"
    path.parent.mkdir(exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise MmnError(
            f"{root}: {path.read_text().strip() or 'another `mmn ui`'} is open already, or was killed and left its "
            "daemon behind. Two would both start what is due: use that one, end it, or type `mmn ui --read-only --port "
            "3001` to look."
        ) from error
    os.ftruncate(lock, 0)
    os.write(lock, f"`mmn ui` at port {port} (process {os.getpid()} on {socket.gethostname()})\n".encode())
    os.set_inheritable(lock, True)
    os.environ[LOCK_VARIABLE] = str(lock)


def _check_name(name: str) -> None:
    found = _NAME.fullmatch(name)
    try:
        address = ipaddress.ip_address((found["six"] or found[1]) if found else "")
    except ValueError:
        address = None
    # 0.0.0.0 is every address and no host; a browser takes it for this machine.
    nowhere = address is not None and address.is_unspecified
    if found is None or nowhere or (found["six"] and address is None):
        raise ParamsError(
            f"{PROXY_FLAG} {name!r}: that names no host. Give the name by which people reach the proxy, with the port "
            f"where it is an unusual one: {PROXY_FLAG} mmn.hospital.example (docs/operating.md)."
        )


def serve_names(names: Sequence[str]) -> None:
    """By which names the UI may be asked for, besides the loopback ones: those of the proxy."""
    os.environ[HOSTS_VARIABLE] = ",".join(names)


if __name__ == "__main__":
    main()
