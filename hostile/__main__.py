"""Hostile: what do strangers' files, texts and hard surroundings do to commands and pages? Prints a table.

    python -m hostile [--time 10m] [--only PART_OF_A_NAME]

Cases are tried in an order that mixes the kinds, until the time is over. Exit code 1 where anything was wrong. Nothing
outside this machine is asked for: a connection is an error.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hostile.browser import counting_server, find_browser, open_page, without_policy
from hostile.cases import CASES, Case
from hostile.damages import DAMAGES
from hostile.payloads import write_pages
from hostile.trial import ROOT, Outcome, start_server, try_case

RESULTS = ROOT / "benchmarks" / "results" / "hostile.json"
SECONDS = {"s": 1, "m": 60, "h": 3600}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hostile", description="hostile files and hard surroundings")
    parser.add_argument("--time", default="10m", help="to spend, such as 90s or 10m")
    parser.add_argument("--only", default="", help="part of the names of the cases to try")
    given = parser.parse_args()
    ends = time.monotonic() + float(given.time[:-1]) * SECONDS[given.time[-1]]
    cases = [*CASES, *DAMAGES]
    chosen = [case for case in cases if given.only in f"{case.kind}: {case.name}"]
    places = {kind: [case for case in chosen if case.kind == kind] for kind in {case.kind for case in chosen}}
    chosen.sort(key=lambda case: places[case.kind].index(case))
    start_server()
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "hostile.make", str(folder)], check=True, cwd=ROOT)
        found: list[Outcome] = []
        for case in chosen:
            if time.monotonic() > ends:
                break
            found.append(try_case(case, folder))
            outcome = found[-1]
            print(
                f"{'FAIL' if outcome.wrong else 'ok':<5}{outcome.seconds:5.1f} s  {case.kind}: {case.name}", flush=True
            )
            for what in outcome.wrong:
                print(f"             {what}")
        pages = _open_pages(folder) if given.only in "pages" else {}
    _show(found, chosen)
    if not given.only:
        facts = [{"case": f"{one.case.kind}: {one.case.name}", "wrong": list(one.wrong)} for one in found]
        facts += [{"case": f"page: {name}", "wrong": wrong} for name, wrong in pages.items()]
        RESULTS.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if any(one.wrong for one in found) or any(pages.values()) else 0


def _open_pages(folder: Path) -> dict[str, list[str]]:
    """Pages with 200 payloads of markup in a browser, with their policy and by escaping alone; what was wrong."""
    browser = find_browser()
    if browser is None:
        print("no Chromium is installed: pages were not opened")
        return {}
    found = {}
    with counting_server() as (port, asked):
        for name, path in write_pages(folder / "pages", port, folder / "bert").items():
            found[name] = open_page(browser, path, asked)
            found[f"{name}, without its policy"] = open_page(browser, without_policy(path), asked)
    for name, wrong in found.items():
        print(f"{'FAIL' if wrong else 'ok':<12}page: {name}")
        for what in wrong:
            print(f"             {what}")
    return found


def _show(found: list[Outcome], chosen: list[Case]) -> None:
    print(f"\n{'kind':<16}{'cases':>7}{'tried':>7}{'right':>7}")
    for kind in dict.fromkeys(case.kind for case in chosen):
        tried = [one for one in found if one.case.kind == kind]
        right = sum(not one.wrong for one in tried)
        print(f"{kind:<16}{sum(case.kind == kind for case in chosen):>7}{len(tried):>7}{right:>7}")
    if found:
        slowest, most = max(found, key=lambda one: one.seconds), max(one.peak_bytes for one in found)
        print(f"slowest: {slowest.seconds:.1f} s ({slowest.case.name}); at most {most >> 20:,} MB")


if __name__ == "__main__":
    sys.exit(main())
