"""Run: the benchmarks against peers, one row of the table at a time.

    python benchmarks/run.py c1 [--data debian.parquet] [--repetitions 5] [--peer trainer] [--again] [--quick]
    python benchmarks/run.py all

Each row is written to results/<test>.json as soon as it is measured; a later call from the same environment keeps it.
`--quick` only sees that everything runs: tiny sizes, one repetition, nothing written.
"""

import argparse
import importlib
import sys
import warnings
from pathlib import Path

import table
import texts
from harness import FEWEST, RESULTS, Results, hold, rehearse

# True: trains on the table of packages
TESTS = {"c1": True, "c2": True, "c3": True, "c4": False, "c6": False, "l1": True, "l2": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", choices=[*TESTS, "all"])
    parser.add_argument("--data", type=Path, default=Path("debian.parquet"))
    parser.add_argument("--base", help="a folder with a model; MiniLM where none is named")
    parser.add_argument("--repetitions", type=int, default=FEWEST)
    parser.add_argument("--peer", help="only the rows against this peer")
    parser.add_argument("--setting", help="only the rows of this setting")
    parser.add_argument("--options", help="only the rows with these options of the peer")
    parser.add_argument("--again", action="store_true", help="measure rows that are there already")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    given = parser.parse_args()
    if given.repetitions < FEWEST and not given.quick:
        sys.exit(f"at least {FEWEST} repetitions are needed for a median; --quick only sees that it runs")
    warnings.filterwarnings("ignore")  # peers warn about themselves
    for test in TESTS if given.test == "all" else [given.test]:
        if TESTS[test] and not given.data.exists():
            print(f"{test}: skipped, {given.data} is not here; name the table of packages with --data", flush=True)
        else:
            _run(test, given)
    if not given.quick:
        table.write()


def _run(test: str, given: argparse.Namespace) -> None:
    module = importlib.import_module(test)
    small, full = (
        [
            contest
            for contest in module.contests(texts.Given(given.data, given.base, quick))
            if given.peer in (None, contest.peer)
            and given.setting in (None, contest.setting)
            and given.options in (None, contest.options)
        ]
        for quick in (True, False)
    )
    if given.quick:
        rehearse(small)
    else:
        hold(full, small, Results(RESULTS / f"{test.upper()}.json"), given.repetitions, given.again)


if __name__ == "__main__":
    main()
