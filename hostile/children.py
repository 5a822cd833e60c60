"""Children: what runs in a process of its own? Importing this imports what the commands need, once for all cases."""

import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Never

from warmstart.cli.app import run_cli

for name in (
    "peft",
    "pyarrow.csv",
    "pydantic.dataclasses",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "transformers.models.bert.modeling_bert",
    "warmstart.api",
    "warmstart.cli.print_results",
    "warmstart.inference.predict",
    "warmstart.study.study",
):
    importlib.import_module(name)


def run_command(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: str, cpu_seconds: int
) -> None:
    """Run `warmstart WORDS` in a folder, without a network. Beside the folder: `said`, what it printed; `peak`, its
    memory in kB; `connected`, where a connection was asked for.

    A process that computes for longer than `cpu_seconds` is killed by SIGXCPU: time of the processor, which does not
    depend on what else the machine does.
    """
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where nohup started the server
    os.chdir(folder)
    os.environ.update(environment)
    place = folder.parent
    (place / "stdin").write_text(stdin, encoding="utf-8")
    for stream, path, flags in (
        (0, place / "stdin", os.O_RDONLY),
        (1, place / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, place / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        os.dup2(os.open(path, flags), stream)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))

    def refuse(*given: object, **more: object) -> Never:
        (place / "connected").write_text(str(given[-1]), encoding="utf-8")
        raise OSError("no network here")

    for kind, function in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket, "getaddrinfo")):
        setattr(kind, function, refuse)
    sys.argv = ["warmstart", *words]
    try:
        run_cli()
    finally:
        sys.stdout.flush()
        (place / "peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss), encoding="utf-8")
