"""Starting the Dagster UI: on this machine only, unless somebody says in so many words that others shall reach it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from mmn.data.errors import ParamsError
from mmn.orchestration.webserver import HOSTS_VARIABLE, LOOPBACK

MODULE = "mmn.orchestration.definitions"
PROXY_FLAG = "--i-have-a-proxy"


def command(*, host: str, port: int, read_only: bool, proxied: bool) -> list[str]:
    """What to run. Raises ParamsError where others could reach it and nobody said that they may.

    read_only: runs can be looked at and not started, and nothing starts by itself: for beside a writable one.
    proxied: a reverse proxy with a login stands before it.
    """
    if host not in LOOPBACK and not proxied:
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

    start = dev.open_ipc_subprocess

    def start_guarded(parts: Sequence[str], **options: Any) -> Any:
        guarded = ["mmn.orchestration.webserver" if part == "dagster_webserver" else part for part in parts]
        return start(guarded, **options)

    dev.open_ipc_subprocess = start_guarded
    dev.dev_command(list(sys.argv[1:] if arguments is None else arguments))


def serve_names(names: Sequence[str]) -> None:
    """By which names the UI may be asked for, besides the loopback ones: those of the proxy."""
    os.environ[HOSTS_VARIABLE] = ",".join(names)


if __name__ == "__main__":
    main()
