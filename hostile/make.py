"""Make: the good material in a folder: a table, a base, a run and a study.  python -m hostile.make FOLDER"""

import os
import sys
from pathlib import Path

from hostile.material import run_command, write_base, write_table


def make(folder: Path) -> None:
    """A process of its own: where we are, and what is printed, is changed."""
    write_table(folder / "t.csv")
    write_base(folder / "bert")
    os.chdir(folder)
    table = ("t.csv", "--target", "price", "--quiet")
    frozen = ("--base", "bert", "--regime", "frozen", "--lr", "1e-3", "--epochs", "1")
    run_command(["fit", *table, *frozen, "--out", "run"])
    run_command(["compare", *table, "--regimes", "linear,constant", "--seeds", "1", "--out", "study"])


if __name__ == "__main__":
    os.environ["WARMSTART_SUPERVISED"] = "1"
    os.environ["HOME"] = sys.argv[1]
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    make(Path(sys.argv[1]))
