"""Guard: which requests reach the application, and what is counted of each?

ASGI middleware without a framework's: Starlette's, which is written more easily, took half a millisecond a request.
"""

import hmac
import json
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from warmstart.inference.serve.batching import Metrics

AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
Application = Callable[[AsgiMessage, Receive, Send], Awaitable[None]]

OPEN = ("/health",)  # without a token
ADDED = {b"x-content-type-options": b"nosniff", b"cache-control": b"no-store"}  # headers of every answer


@dataclass
class Guard:
    """Refuses requests without the token, or to a host name that is not ours; counts every answer."""

    app: Application
    token: str | None
    hosts: Sequence[str]  # that it answers to; "*": any
    paths: Callable[[], Collection[str]]  # those of the application, once it is complete
    metrics: Metrics

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.paths())

    async def __call__(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, status = time.perf_counter(), 500

        async def sending(message: AsgiMessage) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                others = [header for header in message.get("headers", ()) if header[0].lower() not in ADDED]
                message = {**message, "headers": [*others, *ADDED.items()]}
            await send(message)

        answering = self._refusal(scope) or self.app
        try:
            await answering(scope, receive, sending)
        finally:
            path = scope["path"] if scope["path"] in self._known else "other"
            self.metrics.add(path, status, time.perf_counter() - began)

    def _refusal(self, scope: AsgiMessage) -> Application | None:
        """The response to a request that is refused; None if it may pass."""
        path, host = scope["path"], _header(scope, b"host")
        if self.token is not None and path not in OPEN and not _allowed(_header(scope, b"authorization"), self.token):
            more = {"www-authenticate": "Bearer"}
            return error_response(path, 401, "a token is needed.", "send it as `Authorization: Bearer TOKEN`", more)
        if "*" not in self.hosts and _without_port(host).lower() not in self.hosts:
            said = f"this server does not answer to the name {json.dumps(_without_port(host))}."
            return error_response(path, 400, said, "allow it with --name")
        return None


def error_response(
    path: str, status: int, message: str, hint: str = "", headers: dict[str, str] | None = None
) -> Application:
    """An error as a response of Starlette, in the format that clients of this path expect."""
    from starlette.responses import JSONResponse

    if path.startswith("/v1/"):  # as OpenAI's clients read it
        content: dict[str, Any] = openai_error(status, f"{message} {hint}".strip())
    else:
        content = {"error": message, "hint": hint}
    return JSONResponse(content, status, headers)


def _header(scope: AsgiMessage, name: bytes) -> str:
    found = next((value for key, value in scope["headers"] if key == name), b"")
    return str(found, "latin-1")


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _allowed(header: str, token: str) -> bool:
    kind, _, given = header.partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def openai_error(status: int, message: str) -> dict[str, Any]:
    """The body of an answer that is an error."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
