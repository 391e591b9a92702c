"""The report and its csv at /report/ of the UI: a browser does not follow a link from a page of a server to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

PLACE = "/report/"
LINK = f"{PLACE}index.html"
# A page of its own: its scripts run, and reach neither the UI nor anything else.
_ALONE = {
    "Content-Security-Policy": "sandbox allow-scripts allow-downloads allow-popups; default-src 'none'; "
    "img-src data:; font-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    # It is made anew in its place.
    "Cache-Control": "no-cache",
}


def route(folder: Path) -> Route:
    """folder: where the report lies, or will."""
    from starlette.responses import FileResponse, PlainTextResponse
    from starlette.routing import Route

    async def answer(request: Request) -> Response:
        file = (folder / (request.path_params["path"] or "index.html")).resolve()
        if not file.is_relative_to(folder.resolve()) or file.suffix not in {".html", ".csv"} or not file.is_file():
            return PlainTextResponse("There is no report yet. `mmn report` makes it.", 404)
        return FileResponse(file, headers=_ALONE)

    return Route(f"{PLACE}{{path:path}}", answer, methods=["GET"])
