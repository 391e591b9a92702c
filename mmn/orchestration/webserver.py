"""Dagster's webserver behind a guard; `python -m mmn.orchestration.webserver` takes the arguments of its own command.

Dagster's server runs a mutation that is sent as a GET, for any Host and any Origin: a page in the same browser could
start or delete runs. The guard answers only to the names it is known by, only to its own pages, and only to POST. It
does not ask who somebody is: that is a reverse proxy's part (docs/operating.md).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Names (with the port, where it is not the scheme's own), comma-separated, by which a proxy in front is reached.
HOSTS_VARIABLE = "MMN_UI_HOSTS"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """proxies: the names of those in front, besides the loopback ones. A proxy passes on the Host that the browser
    asked for, with or without its port."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], proxies: Iterable[str] = ()) -> None:
        self._app, self._proxies = app, frozenset(name.lower() for name in proxies)
        self._hosts = {*LOOPBACK, *(self._name("//" + name) for name in self._proxies)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._why_not(scope) if scope["type"] in {"http", "websocket"} else None
        if refused is None:
            return await self._app(scope, receive, send)
        status, why = refused
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4000 + status, "reason": why})
            return None
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": why.encode()})
        return None

    def _why_not(self, scope: Scope) -> tuple[int, str] | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._name("//" + headers.get("host", "")) not in self._hosts:
            return 421, "This name is not served here."
        # A browser says where a page came from; curl and scripts do not, and carry nobody's session. What else is
        # served on this machine, at another port, is another site.
        if "origin" in headers and self._place(headers["origin"]) not in {headers["host"].lower(), *self._proxies}:
            return 403, "Pages of other sites are not answered."
        by_get = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}
        names = {name.lower() for name, _ in parse_qsl(scope.get("query_string", b"").decode("latin-1"))}
        if by_get and scope["path"].rstrip("/").endswith("/graphql") and names & {"query", "mutation", "id"}:
            return 405, "Send GraphQL as a POST."
        return None

    def _name(self, url: str) -> str:
        try:
            return (urlsplit(url).hostname or "").lower()
        except ValueError:
            return ""

    def _place(self, origin: str) -> str:
        """Name and port, as a browser writes them in Host: the port only where it is not the scheme's own."""
        try:
            parts = urlsplit(origin)
            own = parts.port is not None and parts.port == {"http": 80, "https": 443}.get(parts.scheme)
        except ValueError:
            return ""
        return parts.netloc.lower().removesuffix(f":{parts.port}" if own else "")


def proxies() -> tuple[str, ...]:
    names = (name.strip() for name in os.environ.get(HOSTS_VARIABLE, "").split(","))
    return tuple(name for name in names if name)


def main() -> None:
    import dagster_webserver.app
    from dagster_webserver.cli import main as serve
    from dagster_webserver.webserver import DagsterWebserver
    from starlette.middleware import Middleware

    from mmn.orchestration import served_report
    from mmn.orchestration.workspace import ROOT_VARIABLE

    class Guarded(DagsterWebserver):
        def build_middleware(self) -> list[Middleware]:
            return [Middleware(Guard, proxies=proxies()), *super().build_middleware()]

        def build_routes(self) -> list[Any]:
            root = Path(os.environ.get(ROOT_VARIABLE, "."))
            return [served_report.route(root / "artifacts" / "report"), *super().build_routes()]

    dagster_webserver.app.DagsterWebserver = Guarded  # type: ignore[misc]
    serve()


if __name__ == "__main__":
    main()
