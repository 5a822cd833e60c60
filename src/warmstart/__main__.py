"""Main: what do `warmstart` and `python -m warmstart` do? The same; torchrun starts it as the second."""

import sys
from typing import NoReturn

from warmstart.supervise import possible, supervised

LONG = ("compare", "demo", "fit", "resume")  # commands that may train for hours


def main() -> NoReturn:
    """Run a command, one that trains in a process of its own. Exit codes: as of `cli.main`."""
    if sys.argv[1:2] and sys.argv[1] in LONG and possible():
        supervised(_command)
    _command()


def _command() -> NoReturn:
    from warmstart.cli import main

    main()


if __name__ == "__main__":
    main()
