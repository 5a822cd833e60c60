"""Endpoint: how is a chat model on another machine asked, each question once, within a bound of tokens?

What is asked is sent to the endpoint: texts leave this machine. Answers are kept in a journal, by a hash of the
question, so that a study that is resumed does not ask again.
"""

import json
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from warmstart.errors import InputError, MissingError, TrainingError, UsageError, shorten

KEY_VARIABLE = "WARMSTART_ENDPOINT_KEY"
REQUESTS_AT_ONCE = 8  # requests
TIMEOUT = 60.0  # seconds for an answer
WAITS = (1.0, 4.0, 15.0)  # seconds before a request is tried again: after 429, 5xx and lost connections
LARGEST_ANSWER = 1_000_000  # bytes
QUESTION_BYTES_PER_TOKEN = 3  # where the endpoint does not count tokens: rather too many than too few
Message = dict[str, str]


@dataclass(frozen=True)
class Endpoint:
    """An API that answers chats as OpenAI's does, at `URL/chat/completions`."""

    url: str
    model: str
    most_tokens: int  # read and written, of all that the journal holds
    price: float | None = None  # US dollars for a million of them
    journal: Path | None = None  # None: nothing is kept
    appends: bool = True  # whether new answers are kept
    planned_tokens: float = 0.0  # that a study is estimated to take
    note: str = ""  # that rows are sent, how many, and what that takes: for people
    by_flag: bool = True  # whether someone just said that rows may be sent; else the variable of the key has to say so

    @classmethod
    def of(cls, url: str, model: str | None, most_tokens: int, price: float | None) -> "Endpoint":
        """Raises UsageError for what is no address, or holds a password."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--prompted-endpoint {shorten(url)} is no address.", "such as https://example.org/v1")
        if parts.username or parts.password or parts.query:
            raise UsageError(
                "--prompted-endpoint holds a password or a query, which would be written to files.",
                f"give the key in the environment variable {KEY_VARIABLE}",
            )
        if not model:
            raise UsageError("--prompted-endpoint asks a model that has a name.", "name it with --prompted-model")
        return cls(url.rstrip("/"), model, most_tokens, price)

    def at(self, journal: Path) -> "Endpoint":
        """The same with this journal."""
        return replace(self, journal=journal)

    def ask(self, chats: Sequence[Sequence[Message]], longest: int, again: bool = False) -> list[str]:
        """The answer to each chat, of at most `longest` tokens. `again`: also where it is known.

        Raises TrainingError where the bound of tokens is reached, InputError where the endpoint does not answer,
        MissingError where nobody said that rows may be sent.
        """
        known, spent = self._read_journal()
        bodies = [self._body(chat, longest) for chat in chats]
        keys = [sha256(f"{self.url}\0{body}".encode()).hexdigest() for body in bodies]
        new = {key: body for key, body in zip(keys, bodies, strict=True) if again or key not in known}
        if new:
            if not self.by_flag and KEY_VARIABLE not in os.environ:
                raise MissingError(
                    f"predictions of this model are asked of {self.url}: rows would leave this machine.",
                    f"set {KEY_VARIABLE} (to the key, or to any text where none is needed) if they may",
                )
            asked = _Asked(self, spent)
            with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                answers = pool.map(lambda key: asked.ask("" if again else key, new[key], longest), new)
                known = known | dict(zip(new, answers, strict=True))
        return [known[key] for key in keys]

    def _body(self, chat: Sequence[Message], longest: int) -> str:
        said = {"model": self.model, "messages": list(chat), "temperature": 0, "max_tokens": longest}
        return json.dumps(said, ensure_ascii=False)

    def _read_journal(self) -> tuple[dict[str, str], int]:
        """Answers by their keys, and the tokens that all of them took. A last line that was cut short is left out."""
        found: dict[str, str] = {}
        spent = 0
        if self.journal is None or not self.journal.exists():
            return found, spent
        for line in self.journal.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                found[entry["key"]] = entry["answer"]
                spent += entry["tokens"]
            except (ValueError, KeyError, TypeError):
                continue
        return found, spent


class _Asked:
    """The requests of one call, which share a bound and a journal."""

    def __init__(self, endpoint: Endpoint, spent: int) -> None:
        self.endpoint, self.spent, self.lock = endpoint, spent, threading.Lock()

    def ask(self, key: str, body: str, longest: int) -> str:
        reserved = len(body.encode()) // QUESTION_BYTES_PER_TOKEN + longest
        with self.lock:
            if self.spent + reserved > self.endpoint.most_tokens:
                raise TrainingError(
                    f"the bound of {self.endpoint.most_tokens:,} tokens for {self.endpoint.url} is reached",
                    "allow more with --prompted-tokens",
                )
            self.spent += reserved
        answer, tokens = _answer(self.endpoint.url, body)
        with self.lock:
            self.spent += (tokens or reserved) - reserved
            if self.endpoint.journal is not None and self.endpoint.appends:
                line = json.dumps({"key": key, "answer": answer, "tokens": tokens or reserved}, ensure_ascii=False)
                with self.endpoint.journal.open("a+b") as file:
                    if file.seek(0, os.SEEK_END) and not _ends_a_line(file):
                        file.write(b"\n")
                    file.write(line.encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
        return answer


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _answer(url: str, body: str) -> tuple[str, int | None]:
    """The answer, and the tokens that question and answer took; None: the endpoint does not count them."""
    import urllib.error
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        """Rows and key go where they were meant to go, and nowhere else."""

        def redirect_request(self, *given: Any, **more: Any) -> None:
            return None

    key = os.environ.get(KEY_VARIABLE)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    asked = urllib.request.Request(f"{url}/chat/completions", body.encode(), headers, method="POST")
    opener = urllib.request.build_opener(Stay)
    for wait in (*WAITS, None):
        try:
            with opener.open(asked, timeout=TIMEOUT) as reply:
                return _parsed(url, reply.read(LARGEST_ANSWER + 1))
        except urllib.error.HTTPError as error:
            why = f"status {error.code}: {shorten(error.read(500).decode(errors='replace'), 200)}"
            if wait is None or not (error.code == 429 or error.code >= 500):
                break
        except OSError as error:
            why = shorten(error, 200)
            if wait is None:
                break
        time.sleep(wait)
    raise InputError(
        f"{url} did not answer ({why}).", f"see that it runs, and the key in {KEY_VARIABLE}; then `warmstart resume`"
    )


def _parsed(url: str, reply: bytes) -> tuple[str, int | None]:
    try:
        if len(reply) > LARGEST_ANSWER:
            raise ValueError("it is too long")
        found = json.loads(reply)
        answer = found["choices"][0]["message"]["content"] or ""
        if not isinstance(answer, str):
            raise TypeError("the answer is no text")
        used = (found.get("usage") or {}).get("total_tokens")
        return answer, used if isinstance(used, int) and used > 0 else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{url} does not answer as OpenAI's API does ({shorten(error, 100)}).", "name the address before /chat"
        ) from error
