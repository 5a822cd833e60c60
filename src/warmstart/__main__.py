"""Main: what do `warmstart` and `python -m warmstart` run? The same program; torchrun starts the second form."""

import sys
from typing import NoReturn

from warmstart.runtime.supervisor import can_supervise, run_supervised

LONG = ("compare", "demo", "fit", "resume")  # commands that may train for hours


def main() -> NoReturn:
    """Run a command, one that trains in a process of its own. Exit codes: as of `cli.app.run_cli`."""
    if sys.argv[1:2] and sys.argv[1] in LONG and can_supervise():
        run_supervised(_command)
    _command()


def _command() -> NoReturn:
    from warmstart.cli.app import run_cli

    run_cli()


if __name__ == "__main__":
    main()
