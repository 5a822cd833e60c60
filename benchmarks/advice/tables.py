"""Tables: those about `advise` in the documentation, written from the results file and nothing else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- written by benchmarks/advice/replay.py -->", "<!-- end of what it wrote -->"
WAYS = {
    "race, taught": "race, prior for each regime",
    "race, slopes of the others": "race, slopes from other problems",
    "race, arms apart": "race, no shared slope",
    "last-value racing": "successive halving",
    "random": "random choice",
}  # the names in the results file, where the pages have plainer ones
PAGES = (HERE / "README.md", HERE.parent.parent / "docs" / "advise.md")


def write(results: Path) -> None:
    """Write the tables into the pages, between their markers."""
    found = json.loads(results.read_text())
    contents = (f"{summary(found)}\n{problems(found)}", summary(found))
    for page, content in zip(PAGES, contents, strict=True):
        page.write_text(placed(page.read_text(), content))


def summary(found: Mapping[str, Any]) -> str:
    """One line for each strategy and budget."""
    count = len(found["problems"])
    lines = [
        f"{count} problems, each with both orders of its {found['seeds']} seeds. Brackets: 95 % intervals, from "
        "resampling the problems.",
        "",
        "| strategy | budget | spent | right | mean regret | 90 % intervals that held | wrong when over 90 % sure |",
        "|---|---|---|---|---|---|---|",
        *map(_line, found["ways"]),
    ]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    cells = [
        WAYS.get(row["way"], row["way"]),
        "" if row["part"] is None else _share([row["part"]]),
        "" if row["way"] == "random" else f"{100 * row['spent']:.1f} %",
        _share(row["right"]),
        _share(row["regret"], 1),
        _share(row["coverage"]) if row["coverage"] else "",
        f"{row['sure_and_wrong']} of {row['sure']}" if row["part"] and row["way"].startswith("race") else "",
    ]
    return f"| {' | '.join(cells)} |"


def problems(found: Mapping[str, Any]) -> str:
    """What is best on each problem."""
    lines = ["| problem | rows | best | its score | equally good |", "|---|---|---|---|---|"]
    for each in found["problems"]:
        names = ", ".join(f"`{name}`" for name in each["as_good"])
        score = f"{each['scores'][each['best']]:.3f}"
        lines.append(f"| {each['name']}: {each['words']} | {each['rows']} | `{each['best']}` | {score} | {names} |")
    return "\n".join(lines) + "\n"


def _share(values: Sequence[float], digits: int = 0) -> str:
    """'86 % [70, 97]'."""
    first, *ends = (f"{100 * value:.{digits}f}" for value in values)
    return f"{first} %" + (f" [{', '.join(ends)}]" if ends else "")


def placed(page: str, content: str) -> str:
    """The page with this content between its two markers."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    assert found and closed, "the page has lost the markers of the table"
    return f"{before}{BEGIN}\n\n{content}\n{END}{after}"
