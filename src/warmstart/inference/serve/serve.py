"""Serve: how does a trained model answer over HTTP? Rows in, predictions out, within bounds."""

import asyncio
import errno
import functools
import json
import math
import os
import socket
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from warmstart.data.schema.schema import Schema
from warmstart.data.tables.images import bytes_of_text
from warmstart.errors import InputError, MissingError, UsageError, WarmstartError, shorten
from warmstart.inference.predict import NewRows, TrainedModel
from warmstart.inference.serve.batching import Batcher, Metrics, Predict, QueueFullError
from warmstart.inference.serve.guard import Guard, error_response
from warmstart.inference.serve.page import PAGE_POLICY, form_row, render_page, score_sentence, with_influences
from warmstart.regimes.regimes import reads_images

TOKEN_VARIABLE = "WARMSTART_TOKEN"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 16  # characters
IMAGE_BODY_BYTES = 32 << 20  # of a request to a model that reads images


@dataclass(frozen=True)
class Limits:
    """What a server takes at most."""

    body_bytes: int = 4 << 20
    rows: int = 1_000  # of a request
    queued_rows: int = 10_000
    seconds: float = 60.0  # for an answer
    batch_rows: int = 64
    tokens: int = 2_048  # of a text that is written


class RefusedError(Exception):
    """A request that is not carried out, with its status."""

    def __init__(self, status: int, message: str, hint: str = ""):
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint


def require_packages() -> None:
    """Raises MissingError without the packages of `[serve]`."""
    from importlib.util import find_spec

    for name in ("fastapi", "uvicorn", "python_multipart"):
        if find_spec(name) is None:
            raise MissingError(f"serving needs the package {name!r}.", "pip install 'warmstart[serve]'")


def read_token(file: Path | None) -> str | None:
    """The token that requests must have, from a file or the environment. Raises UsageError for a short one."""
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{str(file)!r} cannot be read as a token.", "name a text file") from error
    else:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            return None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"the token must have at least {SHORTEST_TOKEN} ASCII characters and no space.",
            "make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts_for(host: str, names: Sequence[str]) -> tuple[str, ...]:
    """The host names that requests may use: without a list of them, a page of another site could name one of its own.

    An address that is not loopback is reached by names that are not known here: any, unless some are given.
    """
    if names:
        return (*names, *LOOPBACK)
    return LOOPBACK if is_loopback(host) else ("*",)


def create_app(
    trained: TrainedModel, *, limits: Limits = Limits(), token: str | None = None, hosts: Sequence[str] = LOOPBACK
) -> Any:
    """The FastAPI application. `hosts`: names it answers to; "*": any, which a page of another site can use as well."""
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
    from starlette.exceptions import HTTPException

    from warmstart.inference.serve.openai_api import add_writing

    metrics = Metrics()
    writes = trained.stored.task.writes
    # a model that writes gives one answer at a time: a batch of many would hold the others up
    batcher = Batcher(
        lambda new: list(trained.stream(new)),
        batch_rows=1 if writes else limits.batch_rows,
        queued_rows=limits.queued_rows,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        yield
        batcher.close()

    app = FastAPI(
        title="warmstart", docs_url=None, redoc_url=None, lifespan=lifespan
    )  # whose pages load from elsewhere

    async def predicted(rows: Sequence[Any], work: Predict | None = None) -> tuple[list[dict[str, Any]], list[str]]:
        if len(rows) > limits.rows:
            raise RefusedError(
                413, f"{len(rows):,} rows were sent, and {limits.rows:,} are taken at a time.", "send fewer rows"
            )
        new = _read(trained, rows)
        try:
            waiting = asyncio.wrap_future(batcher.submit(new, work))
        except QueueFullError:
            raise RefusedError(503, "too many rows are waiting.", "try again later") from None
        try:
            found = await asyncio.wait_for(waiting, limits.seconds)
        except TimeoutError:
            raise RefusedError(504, f"no answer within {limits.seconds:g} s.", "send fewer rows") from None
        metrics.add_rows(len(rows))
        return [{name: _plain(value) for name, value in row.items()} for row in found], list(new.warnings)

    def paths() -> set[str]:
        return {str(getattr(route, "path", "")) for route in app.routes}

    app.add_middleware(Guard, token=token, hosts=hosts, paths=paths, metrics=metrics)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Any:
        headers = {"retry-after": "1"} if error.status == 503 else None
        return error_response(request.scope["path"], error.status, error.message, error.hint, headers)

    @app.exception_handler(HTTPException)
    async def no_address(request: Request, error: HTTPException) -> Any:
        path = request.scope["path"]
        what = f"{request.method} {path}" if error.status_code == 405 else path
        hint = "POST /predict; or GET /health or /openapi.json"
        return error_response(path, error.status_code, f"there is no {what} here.", hint)

    @app.exception_handler(WarmstartError)
    async def unusable(request: Request, error: WarmstartError) -> Any:
        return error_response(request.scope["path"], 422, error.message, error.hint)

    images = reads_images(trained.stored.schema.columns)
    body_bytes = max(limits.body_bytes, IMAGE_BODY_BYTES) if images else limits.body_bytes

    async def body(request: Request) -> Any:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if images and kind.startswith("image/"):
            return await _bounded(request, body_bytes)
        if kind != "application/json":  # which no form of another site can send
            raise RefusedError(415, "the body must be JSON.", "send `Content-Type: application/json`")
        return _json(await _bounded(request, body_bytes))

    example = dict.fromkeys(trained.stored.schema.text, "...")
    content = {
        "application/json": {
            "schema": {
                "description": "A row, as an object of its columns or as its text; or a list of rows. Images are sent "
                "in base64.",
                "anyOf": [{"type": "object"}, {"type": "string"}, {"type": "array"}],
            },
            "example": [example],
        }
    }

    @app.post("/predict", openapi_extra={"requestBody": {"required": True, "content": content}})
    async def predict(request: Request) -> Any:
        """Predict one row or a list of rows: 'predictions' has one object for each, in the same order."""
        given = await body(request)
        rows = given if isinstance(given, list) else [given]
        found, said = await predicted(rows)
        return JSONResponse({"predictions": found, "warnings": said})

    @app.get("/health")
    async def health() -> Any:
        """Whether it answers."""
        return {"status": "ok"}

    @app.get("/metrics")
    async def all_metrics() -> Any:
        """Counts and times, for Prometheus."""
        return PlainTextResponse(metrics.text(batcher.queued), media_type="text/plain; version=0.0.4")

    score = score_sentence(trained)

    async def shown(row: dict[str, Any] | None, status: int = 200) -> Any:
        found: dict[str, Any] = {}
        error: str | None = None
        said: list[str] = []
        if row is not None:
            try:
                sent = row if trained.stored.schema.columns else next(iter(row.values()))
                (found,), said = await predicted([sent], functools.partial(with_influences, trained))
            except (RefusedError, WarmstartError) as problem:
                status = problem.status if isinstance(problem, RefusedError) else 422
                error = f"{problem.message} {problem.hint}".strip()
        page = render_page(trained, row, found, score=score, error=error, said=said)
        return HTMLResponse(
            page, status, headers={"content-security-policy": PAGE_POLICY, "referrer-policy": "no-referrer"}
        )

    if token is None:  # a browser sends no token with a page

        @app.get("/", include_in_schema=False)
        async def page() -> Any:
            return await shown(None)

        @app.post("/", include_in_schema=False)
        async def tried(request: Request) -> Any:
            content = await _bounded(request, body_bytes)
            return await shown(await form_row(content, request.headers, trained.stored.schema))

    add_writing(app, trained, limits, body)
    return app


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes requests from now on. Raises UsageError where the address or port cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, asyncio sends answers at once (TCP_NODELAY). Else each waits 40 ms for its second packet.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        hint = "choose another with --port" if error.errno == errno.EADDRINUSE else "check --host and --port"
        raise UsageError(f"port {port} of {host} cannot be used: {error.strerror or error}.", hint) from error
    return listening


def run_server(app: Any, listening: socket.socket) -> None:
    """Serve until it is stopped; what is being answered then is finished."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=10,
        limit_concurrency=512,
        h11_max_incomplete_event_size=64 << 10,
    )
    uvicorn.Server(config).run(sockets=[listening])


async def _bounded(request: Any, most: int) -> bytes:
    """The body, of which no more than the bound is ever held."""
    length = request.headers.get("content-length", "")
    too_long = RefusedError(413, f"the body has more than {most:,} bytes.", "send fewer rows at a time")
    if length.isdigit() and int(length) > most:
        raise too_long
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_long
        parts.append(part)
    return b"".join(parts)


def _json(content: bytes) -> Any:
    def number(name: str) -> Any:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(content.decode("utf-8"), parse_constant=number)
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            400, f"the body is no JSON: {error}.", "send a row as an object, or a list of rows"
        ) from error


def _read(trained: TrainedModel, rows: Sequence[Any]) -> NewRows:
    """The rows as `predict` reads them. Raises InputError for what is neither a text nor an object of single values."""
    rows = _with_images(trained.stored.schema, rows)
    if not all(isinstance(row, str | dict) for row in rows):
        raise InputError("a row is neither an object of its columns nor a text.", 'send [{"column": "value"}]')
    mixed: set[str] = set()
    kinds: dict[str, bool] = {}
    for i, row in enumerate(rows, 1):
        for name, cell in row.items() if isinstance(row, dict) else ():
            if isinstance(cell, list | dict) and not trained.stored.task.writes:
                kind = "a list" if isinstance(cell, list) else "an object"
                raise InputError(
                    f"row {i}: column {shorten(name)} holds {kind}.", "send a text, a number, true, false or null"
                )
            if cell is not None and kinds.setdefault(name, isinstance(cell, str)) != isinstance(cell, str):
                mixed.add(name)
    if mixed:  # what one row says must not hang on how another is written
        rows = [
            {name: _as_text(cell) if name in mixed else cell for name, cell in row.items()}
            if isinstance(row, dict)
            else row
            for row in rows
        ]
    return trained.new_rows(rows)


def _with_images(schema: Schema, rows: Sequence[Any]) -> Sequence[Any]:
    """The same rows with the bytes of images, which are sent in base64; no file of the server is read.

    Raises InputError for what is no base64.
    """
    names = [column.name for column in schema.columns if column.kind == "image"]
    if not names:
        return rows
    found = []
    for i, row in enumerate(rows, 1):
        if isinstance(row, str | bytes) and len(schema.columns) == 1:
            row = {names[0]: row}
        if isinstance(row, dict):
            row = row | {name: _image_of(row.get(name), name, i) for name in names}
        found.append(row)
    return found


def _image_of(cell: Any, name: str, row: int) -> bytes | None:
    if cell is None or isinstance(cell, bytes):
        return cell
    found = bytes_of_text(cell) if isinstance(cell, str) else None
    if found is None:
        raise InputError(
            f"row {row}: column {shorten(name)} holds no image in base64.",
            'send the content of a file: {"' + name + '": "data:image/jpeg;base64,..."}',
        )
    return found


def _as_text(cell: Any) -> str | None:
    return cell if cell is None or isinstance(cell, str) else json.dumps(cell)


def _plain(value: Any) -> Any:
    """As JSON has it: a number that is none is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
