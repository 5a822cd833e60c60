"""OpenAI API: how does a model that generates text answer `/v1/chat/completions` and `/v1/completions`?"""

import itertools
import json
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from warmstart.data.schema.conversations import Role, Turn
from warmstart.errors import InputError, UsageError
from warmstart.inference.chat import Chat, ChatSession, chat_with
from warmstart.inference.predict import TrainedModel
from warmstart.inference.serve.guard import openai_error
from warmstart.inference.serve.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI


NAME = "warmstart"
OPENAI_ROLES = ("system", "user", "assistant")
MAX_WAITING = 16  # requests that wait for the model to have written another answer
DEFAULT_TOKENS = 256


@dataclass(frozen=True)
class Asked:
    """A request to write."""

    turns: tuple[Turn, ...]
    temperature: float
    top_p: float
    seed: int
    most: int
    stop: tuple[str, ...]
    stream: bool
    prompt: bool  # of /v1/completions


class _Busy:
    """The model writes one answer at a time."""

    def __init__(self) -> None:
        self._writing, self._counting = threading.Lock(), threading.Lock()
        self._waiting = 0

    def enter(self, seconds: float) -> bool:
        with self._counting:
            if self._waiting >= MAX_WAITING:
                return False
            self._waiting += 1
        entered = self._writing.acquire(timeout=seconds)
        with self._counting:
            self._waiting -= 1
        return entered

    def leave(self) -> None:
        self._writing.release()


def add_writing(app: "FastAPI", trained: TrainedModel, limits: Limits, body: Callable[[Any], Awaitable[Any]]) -> None:
    """Add the routes of OpenAI's API, for models that generate text."""
    network = trained.stored.network
    plain = None if network is None else network.inputs.continuation
    if trained.stored.task.generative is None and (plain is None or not plain.causal):
        return
    from fastapi import Request
    from fastapi.responses import JSONResponse, StreamingResponse
    from starlette.concurrency import run_in_threadpool

    busy = _Busy()

    def error(status: int, message: str) -> Any:
        return JSONResponse(openai_error(status, message), status)

    async def answer(request: Request, prompt: bool) -> Any:
        given = await body(request)
        try:
            asked = read_request(given, prompt, limits.tokens)
            talk = _session(trained, asked)
        except (InputError, UsageError) as problem:
            return error(400, str(problem))
        if not await run_in_threadpool(busy.enter, limits.seconds):
            return error(503, "too many requests are waiting: try again later")
        pieces = _until(talk.say(asked.turns[-1].content), asked.stop, time.monotonic() + limits.seconds)
        if asked.stream:
            return StreamingResponse(_events(pieces, asked, busy), media_type="text/event-stream")
        try:
            text = await run_in_threadpool("".join, pieces)
        except InputError as problem:
            return error(400, str(problem))
        finally:
            busy.leave()
        return JSONResponse(_whole(text, asked, trained))

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Any:
        """Answer a conversation, as OpenAI's API does; `stream` gives the answer as it is written."""
        return await answer(request, False)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Any:
        """Continue, or answer, a text."""
        return await answer(request, True)

    @app.get("/v1/models")
    async def models() -> Any:
        """The one model."""
        return {"object": "list", "data": [{"id": NAME, "object": "model", "created": 0, "owned_by": NAME}]}


def read_request(given: Any, prompt: bool, tokens: int) -> Asked:
    """What was asked for. Raises InputError for what is not understood, rather than leaving it out."""
    if not isinstance(given, Mapping):
        raise InputError("the body is no JSON object.")
    if given.get("n", 1) != 1:
        raise InputError("n must be 1.")
    for name in ("tools", "functions", "logprobs", "best_of", "suffix", "response_format"):
        if given.get(name):
            raise InputError(f"{name} is not supported.", "leave it out")
    most = given.get("max_completion_tokens") or given.get("max_tokens") or min(DEFAULT_TOKENS, tokens)
    if not isinstance(most, int) or not 1 <= most <= tokens:
        raise InputError(f"max_tokens must be a whole number from 1 to {tokens:,}.")
    stop = given.get("stop") or []
    stop = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else (None,)
    if not all(isinstance(each, str) and each for each in stop) or len(stop) > 4:
        raise InputError("stop must be a text, or at most 4 of them.")
    return Asked(
        turns=(Turn("user", _text(given.get("prompt"), "prompt")),) if prompt else _turns(given.get("messages")),
        temperature=_number(given, "temperature", 1.0, 0.0, 5.0),
        top_p=_number(given, "top_p", 1.0, 0.01, 1.0),
        seed=int(_number(given, "seed", 0, 0, 2**31)),
        most=most,
        stop=stop,
        stream=given.get("stream") is True,
        prompt=prompt,
    )


def _number(given: Mapping[str, Any], name: str, usual: float, low: float, high: float) -> float:
    value = given.get(name)
    value = usual if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{name} must be a number from {low:g} to {high:g}.")
    return float(value)


def _text(value: Any, name: str) -> str:
    """A text, or the parts of one as newer clients send them."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if (
        isinstance(value, list)
        and value
        and all(isinstance(part, Mapping) and part.get("type") == "text" for part in value)
    ):
        value = "".join(str(part.get("text", "")) for part in value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} must be a text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name} holds half of a character.") from error
    return value


def _turns(messages: Any) -> tuple[Turn, ...]:
    if not isinstance(messages, list) or not messages:
        raise InputError("messages must be a list of objects with role and content.")
    turns = []
    for message in messages:
        role = message.get("role") if isinstance(message, Mapping) else None
        role = "system" if role == "developer" else role
        if role not in OPENAI_ROLES:
            raise InputError(f"a role must be one of {', '.join(OPENAI_ROLES)}.")
        turns.append(Turn(cast(Role, role), _text(message.get("content"), "content")))
    if turns[-1].role != "user":
        raise InputError("the last message must be the user's.")
    return tuple(turns)


def _session(trained: TrainedModel, asked: Asked) -> ChatSession:
    """The chat or continuation for a request. Raises UsageError if the model cannot do it."""
    talk = chat_with(trained, temperature=asked.temperature, top_p=asked.top_p, most=asked.most, seed=asked.seed)
    if isinstance(talk, Chat):
        talk.turns[:] = asked.turns[:-1]
    elif len(asked.turns) > 1:
        raise UsageError("this model answers each text by itself.", "send one message of the user")
    return talk


def _until(pieces: Iterator[str], stop: tuple[str, ...], deadline: float) -> Iterator[str]:
    """The pieces up to a stop text or the end of the time; what may begin a stop text is held back."""
    held, longest = "", max(map(len, stop), default=1) - 1
    for piece in pieces:
        held += piece
        ends = [at for each in stop if (at := held.find(each)) >= 0]
        if ends:
            yield held[: min(ends)]
            return
        ready = len(held) - longest
        if ready > 0:
            yield held[:ready]
            held = held[ready:]
        if time.monotonic() > deadline:
            break
    if held:
        yield held


def _head(asked: Asked, chunk: bool) -> dict[str, Any]:
    kind = "text_completion" if asked.prompt else "chat.completion.chunk" if chunk else "chat.completion"
    prefix = "cmpl" if asked.prompt else "chatcmpl"
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": NAME}


def _events(pieces: Iterator[str], asked: Asked, busy: _Busy) -> Iterator[str]:
    head = _head(asked, True)

    def event(piece: str | None, reason: str | None, role: bool = False) -> str:
        if asked.prompt:
            choice: dict[str, Any] = {"index": 0, "text": piece or "", "logprobs": None, "finish_reason": reason}
        else:
            delta = ({"role": "assistant"} if role else {}) | ({} if piece is None else {"content": piece})
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps(head | {'choices': [choice]}, ensure_ascii=False)}\n\n"

    try:
        if not asked.prompt:
            yield event("", None, role=True)
        for piece in itertools.filterfalse(lambda piece: not piece, pieces):
            yield event(piece, None)
        yield event(None, "stop")
        yield "data: [DONE]\n\n"
    except InputError as problem:
        yield f"data: {json.dumps({'error': {'message': str(problem), 'type': 'invalid_request_error'}})}\n\n"
    finally:
        busy.leave()


def _whole(text: str, asked: Asked, trained: TrainedModel) -> dict[str, Any]:
    network, said = trained.stored.network, [turn.content for turn in asked.turns] + [text]
    tokens = None if network is None else network.inputs.tokens
    sizes = [len(each.split()) for each in said] if tokens is None else tokens.count(said)  # without tokens, words
    read, wrote = sum(sizes[:-1]), sizes[-1] if text else 0
    reason = "length" if wrote >= asked.most else "stop"
    if asked.prompt:
        choice: dict[str, Any] = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
    else:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
    return _head(asked, False) | {"choices": [choice], "usage": usage}
