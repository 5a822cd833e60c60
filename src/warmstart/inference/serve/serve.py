"""Serve: how does a trained model answer over HTTP? Rows in, predictions out, within bounds."""

import asyncio
import errno
import functools
import math
import os
import socket
from collections.abc import Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.errors import MissingError, UsageError, WarmstartError
from warmstart.inference.predict import TrainedModel
from warmstart.inference.serve.batching import Batcher, Metrics, Predict, QueueFullError
from warmstart.inference.serve.guard import Guard, error_response
from warmstart.inference.serve.limits import USUAL_LIMITS, Limits
from warmstart.inference.serve.page import PAGE_POLICY, form_row, render_page, score_sentence, with_influences
from warmstart.inference.serve.request_body import BodyReader, RefusedError
from warmstart.inference.serve.request_rows import rows_of_request
from warmstart.regimes.regimes import reads_images

if TYPE_CHECKING:
    from fastapi import FastAPI

TOKEN_VARIABLE = "WARMSTART_TOKEN"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 16  # characters


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
    trained: TrainedModel, *, limits: Limits = USUAL_LIMITS, token: str | None = None, hosts: Sequence[str] = LOOPBACK
) -> Any:
    """The FastAPI application. `hosts`: names it answers to; "*": any, which a page of another site can use as well."""
    from fastapi import FastAPI

    from warmstart.inference.serve.openai_api import add_writing

    predictions = PredictionQueue(trained, limits)
    bodies = BodyReader(limits.body_bytes, images=reads_images(trained.stored.schema.columns))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        yield
        predictions.close()

    # no pages of FastAPI: their scripts load from another site
    app = FastAPI(title="warmstart", docs_url=None, redoc_url=None, lifespan=lifespan)

    def paths() -> set[str]:
        return {str(getattr(route, "path", "")) for route in app.routes}

    app.add_middleware(Guard, token=token, hosts=hosts, paths=paths, metrics=predictions.metrics)
    _add_error_responses(app)
    _add_predict(app, predictions, bodies)
    _add_health_and_metrics(app, predictions)
    if token is None:  # a browser sends no token with a page
        _add_page(app, predictions, bodies)
    add_writing(app, trained, limits, bodies.parsed)
    return app


class PredictionQueue:
    """A model that predicts the rows of several requests together, within the limits of a server."""

    def __init__(self, trained: TrainedModel, limits: Limits):
        self.trained, self.limits = trained, limits
        self.metrics = Metrics()
        # a model that writes gives one answer at a time: a batch of many would hold the others up
        self._batcher = Batcher(
            lambda new: list(trained.stream(new)),
            batch_rows=1 if trained.stored.task.writes else limits.batch_rows,
            queued_rows=limits.queued_rows,
        )

    async def predict(self, rows: Sequence[Any], work: Predict | None = None) -> tuple[list[dict[str, Any]], list[str]]:
        """One prediction per row, and the warnings. `work`: what to compute instead.

        Raises RefusedError for too many rows, a full queue, and an answer that takes too long.
        """
        limits = self.limits
        if len(rows) > limits.rows:
            raise RefusedError(
                413, f"{len(rows):,} rows were sent, and {limits.rows:,} are taken at a time.", "send fewer rows"
            )
        new = rows_of_request(self.trained, rows)
        try:
            waiting = asyncio.wrap_future(self._batcher.submit(new, work))
        except QueueFullError:
            raise RefusedError(503, "too many rows are waiting.", "try again later") from None
        try:
            found = await asyncio.wait_for(waiting, limits.seconds)
        except TimeoutError:
            raise RefusedError(504, f"no answer within {limits.seconds:g} s.", "send fewer rows") from None
        self.metrics.add_rows(len(rows))
        return [{name: _plain(value) for name, value in row.items()} for row in found], list(new.warnings)

    def metrics_text(self) -> str:
        """Counts and times, as Prometheus reads them."""
        return self.metrics.text(self._batcher.queued)

    def close(self) -> None:
        """Finish what is being predicted."""
        self._batcher.close()


def _add_error_responses(app: "FastAPI") -> None:
    """Have all errors answered in one form: status, message and hint."""
    from fastapi import Request
    from starlette.exceptions import HTTPException

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


def _add_predict(app: "FastAPI", predictions: PredictionQueue, bodies: BodyReader) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse

    example = dict.fromkeys(predictions.trained.stored.schema.text, "...")
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
        given = await bodies.parsed(request)
        rows = given if isinstance(given, list) else [given]
        found, said = await predictions.predict(rows)
        return JSONResponse({"predictions": found, "warnings": said})


def _add_health_and_metrics(app: "FastAPI", predictions: PredictionQueue) -> None:
    from fastapi.responses import PlainTextResponse

    @app.get("/health")
    async def health() -> Any:
        """Whether it answers."""
        return {"status": "ok"}

    @app.get("/metrics")
    async def all_metrics() -> Any:
        """Counts and times, for Prometheus."""
        return PlainTextResponse(predictions.metrics_text(), media_type="text/plain; version=0.0.4")


def _add_page(app: "FastAPI", predictions: PredictionQueue, bodies: BodyReader) -> None:
    """The page with a form, to try the model in a browser."""
    from fastapi import Request
    from fastapi.responses import HTMLResponse

    trained = predictions.trained
    score = score_sentence(trained)

    async def shown(row: dict[str, Any] | None, status: int = 200) -> Any:
        found: dict[str, Any] = {}
        error: str | None = None
        said: list[str] = []
        if row is not None:
            try:
                sent = row if trained.stored.schema.columns else next(iter(row.values()))
                (found,), said = await predictions.predict([sent], functools.partial(with_influences, trained))
            except (RefusedError, WarmstartError) as problem:
                status = problem.status if isinstance(problem, RefusedError) else 422
                error = f"{problem.message} {problem.hint}".strip()
        page = render_page(trained, row, found, score=score, error=error, said=said)
        return HTMLResponse(
            page, status, headers={"content-security-policy": PAGE_POLICY, "referrer-policy": "no-referrer"}
        )

    @app.get("/", include_in_schema=False)
    async def page() -> Any:
        return await shown(None)

    @app.post("/", include_in_schema=False)
    async def tried(request: Request) -> Any:
        content = await bodies.content(request)
        return await shown(await form_row(content, request.headers, trained.stored.schema))


def listen(host: str, port: int) -> socket.socket:
    """An open, listening socket. Raises UsageError if the address or port cannot be used."""
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


def _plain(value: Any) -> Any:
    """A value that JSON can hold: null for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
