"""`python -m mmn.orchestration.audit`: the audit without the rest of the command line."""

import sys

import typer

from mmn.data.errors import MmnError
from mmn.orchestration.audit.broken import broken_code
from mmn.orchestration.audit.cli import app

try:
    app(prog_name="mmn audit")
except MmnError as error:
    typer.echo(f"mmn: {error}", err=True)
    sys.exit(1)
except Exception as error:
    if (said := broken_code(error, any_error=True)) is None:
        raise
    typer.echo(f"mmn: {said}", err=True)
    sys.exit(1)
