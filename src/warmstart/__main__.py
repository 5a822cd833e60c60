"""Main: what do `warmstart` and `python -m warmstart` run? The same program; torchrun starts the second form."""

import gc
import os
import sys
from typing import NoReturn

from warmstart.runtime.supervisor import can_supervise, run_supervised

LONG = ("compare", "demo", "fit", "resume")  # commands that may train for hours
NEW_OBJECTS = 10_000  # after which garbage is collected, not 700: importing torch and transformers took 10 % longer


def main() -> NoReturn:
    """Run a command, one that trains in a process of its own. Exit codes: as of `cli.app.run_cli`."""
    _use_utf8()
    if sys.argv[1:2] and sys.argv[1] in LONG:
        if can_supervise():
            run_supervised(_command)
    else:
        gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])  # not where memory is short
    _command()


def _use_utf8() -> None:
    """Begin anew in Python's UTF-8 mode where the locale is another: names of files and columns are UTF-8 today."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":  # once: -E ignores it
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _command() -> NoReturn:
    from warmstart.cli.app import run_cli

    run_cli()


if __name__ == "__main__":
    main()
