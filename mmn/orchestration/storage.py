"""Where Dagster keeps its runs and events: SQLite for one machine, Postgres for many. `operating.yaml` chooses.

`.dagster/dagster.yaml` is written from that choice. One that a person wrote or changed is left alone. The address of
the server, with its password, is in the environment alone: no file holds it.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from mmn.data.errors import ParamsError
from mmn.orchestration.operating import FILE as OPERATING_FILE
from mmn.orchestration.operating import Operating, load_operating

URL_VARIABLE = "MMN_POSTGRES_URL"
# Named outright: SQLAlchemy 2.1 takes plain postgresql:// for a driver that dagster-postgres does not use.
SCHEME = "postgresql+psycopg2"
_FORM = f"{SCHEME}://USER:PASSWORD@HOST:5432/DATABASE"
_POSTGRES = f"storage: {{postgres: {{postgres_url: {{env: {URL_VARIABLE}}}}}}}"
_LAUNCHER = "run_launcher: {module: mmn.orchestration.launcher, class: WatchedRunLauncher}\n"
_ALL = """\
concurrency: {pools: {default_limit: 1, granularity: op}}
run_queue: {dequeue_interval_seconds: 1}
run_monitoring:
  {enabled: true, start_timeout_seconds: 180, poll_interval_seconds: 10, free_slots_after_run_end_seconds: 20}
"""
SETTINGS = {
    "sqlite": f"""\
# One machine, one person: SQLite storage, nothing leaves the machine.
telemetry: {{enabled: false}}
nux: {{enabled: false}}
{_LAUNCHER}{_ALL}""",
    "postgres": f"""\
# Several people or machines: Postgres, whose address is in the environment ({URL_VARIABLE}).
telemetry: {{enabled: false}}
nux: {{enabled: false}}
{_LAUNCHER}{_POSTGRES}
run_retries: {{enabled: true, max_retries: 1}}
{_ALL}""",
}
# What `mmn` wrote itself, now or before runs were watched.
_OURS = {text.replace(before, "") for text in SETTINGS.values() for before in ("", _LAUNCHER)}


def write_settings(root: Path, home: Path) -> None:
    """Make `home/dagster.yaml` say what `operating.yaml` chose. Raises ParamsError where that cannot be."""
    operating = load_operating(root)
    if operating.storage == "postgres":
        _check_postgres(operating)
    path = home / "dagster.yaml"
    written = path.read_text(encoding="utf-8") if path.exists() else None
    if written is None or written in _OURS:
        if written != SETTINGS[operating.storage]:
            path.write_text(SETTINGS[operating.storage], encoding="utf-8")
    elif operating.storage == "postgres" and "storage" not in (yaml.safe_load(written) or {}):
        raise ParamsError(
            f"{path}: somebody changed it and it names no Postgres, which {OPERATING_FILE} asks for. Remove it, so "
            f"that it is written anew, or add its line:\n{_POSTGRES}"
        )


def _check_postgres(operating: Operating) -> None:
    if find_spec("dagster_postgres") is None or find_spec("psycopg2") is None:
        raise ParamsError(
            f"{OPERATING_FILE}: storage postgres needs two more packages. Type `pip install 'mmn[postgres]'`."
        )
    url = os.environ.get(URL_VARIABLE, "")
    if not url:
        raise ParamsError(f"{OPERATING_FILE}: storage is postgres, but {URL_VARIABLE} is not set. Set it to {_FORM}.")
    parts = urlsplit(url)
    if parts.scheme != SCHEME:
        raise ParamsError(f"{URL_VARIABLE} begins with {parts.scheme or 'no scheme'}://; write it as {_FORM}.")
    if parts.password and operating.engine.name == "slurm":
        raise ParamsError(
            f"{URL_VARIABLE} holds a password, which would be written into every batch script. Leave it out and put it "
            "into ~/.pgpass, readable by you alone, on the file system that the nodes share."
        )
    _check_answers(url, parts.hostname or "")


def _check_answers(url: str, host: str) -> None:
    import psycopg2

    try:
        psycopg2.connect(url.replace(SCHEME, "postgresql", 1), connect_timeout=10).close()
    except psycopg2.OperationalError as error:
        # Its words may repeat the address; the host is enough to know which.
        refused = "password authentication failed" in str(error) or "no password supplied" in str(error)
        why = "refuses this user and password" if refused else "does not answer, or has no such database"
        raise ParamsError(
            f"{URL_VARIABLE}: the Postgres server on '{host}' {why}. Try it with `psql`, then run again."
        ) from None
