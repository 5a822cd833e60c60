"""Tables: those about `advise` in the documentation, written from the results file and nothing else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import draw
from warmstart.errors import count_phrase

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"
BEGIN, END = "<!-- written by benchmarks/advice/replay.py -->", "<!-- end of what it wrote -->"
WAYS = {
    "race, taught": "race, prior learned on the first half",
    "race, slopes of the others": "race, slopes learned on the first half",
    "last-value racing": "successive halving",
    "best elsewhere": "the best on the first half",
    "random": "random choice",
}  # the names in the results file, where the pages have plainer ones
FAMILIES = {
    "from scratch": ("scratch", "scratch-dnn", "scratch-cnn"),
    "fine-tuned": ("full", "lora"),
    "frozen features": ("embedded", "frozen"),
    "trees": ("boosted",),
    "linear": ("linear",),
    "constant": ("constant",),
}


def write(results: Path) -> None:
    """Write the tables into the pages, between their markers, and draw the curves."""
    found = json.loads(results.read_text(encoding="utf-8"))
    pages = {
        HERE / "README.md": f"{summary(found)}\n{winners(found)}\n{problems(found)}",
        DOCS / "advise.md": summary(found, ("reported",)),
        DOCS / "evidence.md": f"{winners(found)}\n{problems(found)}",
    }
    for page, content in pages.items():
        page.write_text(placed(page.read_text(encoding="utf-8"), content), encoding="utf-8")
    draw.PICTURE.write_text(draw.drawing(found["problems"]), encoding="utf-8")


def summary(found: Mapping[str, Any], halves: Sequence[str] = ("reported", "chosen on")) -> str:
    """One line for each strategy and budget."""
    lines = []
    for half in halves:
        rows = [row for row in found["ways"] if row["half"] == half]
        if not rows:
            continue
        count = len(rows[0]["choices"])
        what = "no constant was chosen on" if half == "reported" else "constants were chosen on, or that were looked at"
        lines += [
            f"{count_phrase(count, 'problem', 'problems')} from sources that {what}, each with both orders of "
            f"{found['seeds']} seeds. Brackets: 95 % intervals, from resampling the problems.",
            "",
            "| strategy | budget | spent | right | mean regret | 95th percentile | 90 % bands that held "
            "| wrong when over 90 % sure | regret of the race at 10 % less this |",
            "|---|---|---|---|---|---|---|---|---|",
            *map(_line, rows),
            "",
        ]
    if found["compared_in_full"]:
        quick = ", ".join(found["compared_in_full"])
        lines += [f"Not in this table, since `advise` compares everything in under two minutes there: {quick}.", ""]
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> str:
    unit = " of the FLOPs" if row["unit"] == "flops" else " of the time"
    cells = [
        WAYS.get(row["way"], row["way"]),
        "" if row["part"] is None else _share([row["part"]]) + unit,
        "" if row["way"] == "random" else f"{100 * row['spent']:.1f} %",
        _share(row["right"]),
        _share(row["regret"], 1),
        _share([row["worst_regret"]], 1),
        _share(row["coverage"]) if row["coverage"] else "",
        f"{row['sure_and_wrong']} of {row['sure']}" if row["part"] and row["way"].startswith("race") else "",
        _share(row["race_less_this"], 1) if "race_less_this" in row else "",
    ]
    return f"| {' | '.join(cells)} |"


def winners(found: Mapping[str, Any]) -> str:
    """How often each family of regimes is best, by what is read."""
    kinds = list(dict.fromkeys(each["reads"] for each in found["problems"]))
    heads = [f"{kind} ({sum(each['reads'] == kind for each in found['problems'])})" for kind in kinds]
    lines = [
        f"Best on all rows, of {len(found['problems'])} problems (in brackets: best, or as good as the best):",
        "",
        f"| | {' | '.join(heads)} |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for family, names in FAMILIES.items():
        cells = []
        for kind in kinds:
            like = [each for each in found["problems"] if each["reads"] == kind]
            best = sum(each["best"] in names for each in like)
            good = sum(bool({each["best"], *each["as_good"]} & set(names)) for each in like)
            offered = any(set(names) & set(each["scores"]) for each in like)
            cells.append(f"{best} ({good})" if offered else "")
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def problems(found: Mapping[str, Any]) -> str:
    """What is best on each problem, on few rows and on all."""
    lines = [
        "| problem | source | rows | best on the fewest rows | best on all | its score | equally good |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in found["problems"]:
        names = ", ".join(f"`{name}`" for name in each["as_good"])
        score = f"{each['scores'][each['best']]:.3f}"
        first = _best_at_first(each)
        source = each["source"] + (" (chosen on)" if each["chosen_on"] else "")
        lines.append(
            f"| {each['name']}: {each['words']} | {source} | {each['rows']:,} | {first} | `{each['best']}` | {score} "
            f"| {names} |"
        )
    if found["not_run"]:
        lines += ["", f"Not run yet, or not to the end: {', '.join(found['not_run'])}."]
    return "\n".join(lines) + "\n"


def _best_at_first(problem: Mapping[str, Any]) -> str:
    """'`linear` (62)': the best regime on the fewest rows."""
    rows = min(curve[0][0] for curve in problem["curves"].values())
    scores = {name: curve[0][1] for name, curve in problem["curves"].items() if curve[0][0] == rows}
    best = (max if problem["higher_is_better"] else min)(scores, key=scores.__getitem__)
    return f"`{best}` ({rows:,})"


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
