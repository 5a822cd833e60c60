"""Browser: what happens when a page is opened? Code that ran, requests, and markup that came from a text."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hostile.payloads import MARK

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 120  # seconds
FLAGS = (
    "--headless",
    "--no-sandbox",  # as root there is none; the pages are ours
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",  # ms that the page believes to have: timers and requests end within them
    "--enable-logging=stderr",
    "--dump-dom",
)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


@dataclass
class Markup(HTMLParser):
    """What of a page is more than text: its elements, and what in them runs or loads something."""

    page: str
    elements: set[tuple[str, ...]] = field(default_factory=set)  # a tag with the names of its attributes
    scripts: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add((tag, *sorted(name for name, _ in attrs)))
        self.scripts += tag == "script"
        for name, value in attrs:
            loads = name in ("src", "href", "data", "action", "srcdoc", "style", "content", "xlink:href")
            said = (value or "").lower()
            if name.startswith("on") or name == MARK or (loads and ("127.0.0.1" in said or "javascript:" in said)):
                self.wrong.append(f"<{tag} {name}={said[:60]!r}>")


def find_browser() -> str | None:
    """A Chromium that is installed here; None: there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def counting_server() -> Iterator[tuple[int, list[str]]]:
    """Port of a server on this machine, and the paths that were asked for so far."""
    asked: list[str] = []

    class Note(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Note)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


def open_page(browser: str, path: Path, asked: list[str]) -> list[str]:
    """Open a file in a browser of its own; gives what is wrong with what it did, in words.

    `asked`: of `counting_server`. A refusal by the page's policy counts as well: there was something to refuse.
    """
    before = len(asked)
    with tempfile.TemporaryDirectory(prefix="browser-") as profile:
        process = subprocess.Popen(
            [browser, *FLAGS, f"--user-data-dir={profile}", path.resolve().as_uri()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"HOME": profile},
            start_new_session=True,  # it has a dozen processes
        )
        try:
            written, noted = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return [f"the page was not done after {PATIENCE} s: a dialog waits, or it never ends"]
    page, said = written.decode("utf-8", "replace"), noted.decode("utf-8", "replace")
    root = re.search(r"<html[^>]*>", page)
    wrong = Markup(page).wrong
    found = {
        "the browser showed nothing": root is None or process.returncode != 0,
        "code ran": root is not None and MARK in root.group(),
        f"{len(asked) - before} requests: {asked[before:][:3]}": len(asked) > before,
        "its policy had to refuse something": "Content Security Policy" in said,
        f"{len(wrong)} pieces of markup: {wrong[:2]}": bool(wrong),
    }
    return [what for what, there in found.items() if there]


def without_policy(path: Path) -> Path:
    """The same page without its Content-Security-Policy: escaping alone must do."""
    bare = path.with_name(f"bare-{path.name}")
    bare.write_text(POLICY.sub("", path.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    return bare
