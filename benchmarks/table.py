"""Table: the tables of docs/benchmarks.md on speed and on cheap regimes, from the results files and nothing else."""

import json
from pathlib import Path
from typing import Any

from harness import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- benchmarks: written by benchmarks/table.py -->", "<!-- end of benchmarks -->"
CHEAP_BEGIN, CHEAP_END = "<!-- cheap regimes: written by benchmarks/table.py -->", "<!-- end of cheap regimes -->"

TESTS = {
    "C1": "fine-tune MiniLM, 2,000 texts, 1 epoch",
    "C2": "compare 7 regimes x 3 seeds",
    "C3": "frozen encoder, 3 seeds x 3 epochs",
    "C4": "DNN on 50,000 hashed texts",
    "C6": "a step of 1,000 parameters",
    "L1": "LoRA on SmolLM2-135M, 100 documents",
    "L2": "decoder of 10M weights from scratch",
}
PEERS = {
    "trainer": "Hugging Face Trainer",
    "accelerate": "Accelerate loop",
    "torch": "plain PyTorch loop",
    "setfit": "SetFit",
    "ludwig": "Ludwig, encoder cached",
    "dense": "the same with dense input",
    "sklearn": "scikit-learn MLPRegressor",
    "fabric": "Lightning Fabric",
    "sft": "TRL SFTTrainer",
}

# The ratio to reach, by test, peer and setting; a peer with several options is judged by its defaults.
GOALS: dict[tuple[str, str, str], float] = {
    ("C1", "trainer", "default"): 2.4,
    ("C1", "trainer", "tuned"): 1.15,
    ("C1", "accelerate", "tuned"): 1.1,
    ("C1", "torch", "tuned"): 0.98,
    ("C2", "trainer", "processes"): 3.0,
    ("C2", "trainer", "one process"): 2.0,
    ("C3", "trainer", "head"): 20.0,
    ("C3", "trainer", "top-1"): 5.0,
    ("C3", "setfit", "head"): 1.0,
    ("C3", "ludwig", "head"): 1.0,
    ("C4", "dense", "first layer"): 5.0,
    ("C4", "dense", "whole step"): 1.25,
    ("C4", "sklearn", "default"): 1.0,
    ("C6", "trainer", "default"): 1.0,
    ("C6", "accelerate", "default"): 1.0,
    ("C6", "fabric", "default"): 1.0,
    ("L1", "sft", "lora"): 1.3,
    ("L2", "trainer", "default"): 1.2,
    ("L2", "trainer", "tuned"): 1.2,
}
MEMORY_GOAL = 10.0  # dense input's bytes over ours
ONE_PRECISION = {"C4", "C6", "L1"}  # tests that give both sides the same one; elsewhere only a `tuned` peer has ours

FAIR = "Same precision, equal quality"
UNEQUAL_PRECISION = "Different precision, equal quality: ours bf16, the peer's its default (fp32)"
LESS_ACCURATE = "Worse quality than the peer: not comparable"
AUTOGLUON_BEGIN, AUTOGLUON_END = "<!-- autogluon: written by benchmarks/table.py -->", "<!-- end of autogluon -->"


def goal(row: dict[str, Any]) -> float | None:
    """The ratio that this row is to reach, if one was set."""
    if row["test"] != "C1" and row.get("options") == "tuned":
        return None
    return GOALS.get((row["test"], row["peer"], row["setting"]))


def section(row: dict[str, Any]) -> str:
    """The heading that a row belongs under: only an equally accurate side at the same precision is a fair rival."""
    if not row["equal"]:
        return LESS_ACCURATE
    tuned = "tuned" in (row["setting"], row.get("options"))
    fair = tuned or row["test"] in ONE_PRECISION or row["environment"]["precision"] == "fp32"
    return FAIR if fair else UNEQUAL_PRECISION


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table for each section, fair rows first, in the order of the goals; a goal that was missed is bold."""
    if not rows:
        return "Not measured yet: `make bench`.\n"
    order = list(GOALS)
    places = {key: i for i, key in enumerate(order)}
    keys = [(row["test"], row["peer"], row["setting"]) for row in rows]
    by_place = sorted(zip(keys, rows, strict=True), key=lambda found: (found[0][0], places.get(found[0], len(order))))
    lines: list[str] = []
    for title in (FAIR, UNEQUAL_PRECISION, LESS_ACCURATE):
        members = [_line(row) for _, row in by_place if section(row) == title]
        if members:
            head = "| test | against | setting | goal | peer's time / ours | quality, ours and peer's | measured on |"
            lines += [f"### {title}", "", head, "|---|---|---|---|---|---|---|", *members, ""]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    ratio, quality, objective, environment = row["ratio"], row["quality"], goal(row), row["environment"]
    measured = f"{_number(ratio['median'])} [{_number(ratio['min'])}, {_number(ratio['max'])}]"
    if objective is not None and ratio["median"] < objective:
        measured = f"**{measured}, missed**"
    if "memory" in row:
        measured += f"; memory {_number(row['memory']['ratio'])}"
    as_good = f"{quality['metric']} {quality['ours']:.4g} and {quality['peer']:.4g}"
    cells = [
        TESTS.get(row["test"], row["test"]),
        PEERS.get(row["peer"], row["peer"]),
        ", ".join(dict.fromkeys(word for word in (row["setting"], row.get("options")) if word)),
        "" if objective is None else f"{objective:g}",
        measured,
        as_good if row["equal"] else f"**no**: {as_good}",
        f"{environment['cpu'].split('(')[0].split()[0]}, {environment['date'][:10]}",
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# The score that the interval of the best regime has to reach.
CHEAP_GOALS = {
    ("mixed columns -> log10 installed_kb", 1_000): 0.158,
    ("mixed columns -> log10 installed_kb", 4_000): 0.140,
    ("synopsis -> section", 1_000): 0.625,
    ("synopsis -> section", 4_000): 0.700,
}
LOWER_IS_BETTER = ("mixed columns -> log10 installed_kb", "summary -> log10 age_months")


def cheap_markdown(found: dict[str, Any] | None) -> str:
    """The scores of the cheap regimes, and the goal for the best of them."""
    if found is None:
        return "Not measured yet: `python benchmarks/strong.py debian.parquet`.\n"
    head = "| task | training rows | samples | regime | score | minus `linear` | CPU seconds | goal |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in found["results"]:
        low, high = row["interval"]
        less = (
            "" if row["regime"] in ("constant", "linear") else _signed(row["less_linear"], row["less_linear_interval"])
        )
        taken = row["cpu_seconds"]  # none of what was measured beside other work
        seconds = f"{sum(taken) / len(taken):.0f}" if taken else ""
        objective = CHEAP_GOALS.get((row["task"], row["rows"])) if less else None
        reached = objective is not None and (low <= objective if row["task"] in LOWER_IS_BETTER else high >= objective)
        cells = [
            row["task"],
            f"{row['rows']:,}",
            str(row["draws"]),
            f"`{row['regime']}`",
            f"{row['score']:.3f} [{low:.3f}, {high:.3f}]",
            less,
            seconds,
            "" if objective is None else f"{objective:.3f}: {'reached' if reached else '**missed**'}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    environment = found["environment"]
    lines += ["", f"Measured on {environment['cpu'].split('(')[0].split()[0]}, {environment['date'][:10]}.", ""]
    return "\n".join(lines)


def autogluon_markdown(found: dict[str, Any] | None) -> str:
    """Errors of our winner and of AutoGluon's on the same test rows."""
    if found is None:
        return "Not measured yet: `python benchmarks/autogluon.py`.\n"
    head = "| table | rows, test rows | error | ours | AutoGluon, preset | ours minus AutoGluon's | seconds of both |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for row in found["results"]:
        low, high = row["interval"]
        verdict = "**worse**" if low > 0 else "better" if high < 0 else "tied"
        cells = [
            row["table"],
            f"{row['rows']:,}, {row['test_rows']:,}",
            row["error"],
            f"`{row['our_winner']['regime']}` {row['ours']:.4f}",
            f"{row['autogluon']:.4f}, {row['preset'].replace('_quality', '')}",
            f"{row['difference']:+.4f} [{low:+.4f}, {high:+.4f}]: {verdict}",
            f"{row['our_winner']['seconds']:,}, {row['autogluon_winner']['seconds']:,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    environment = found["environment"]
    lines += ["", f"Measured on {environment['cpu'].split('(')[0].split()[0]}, {environment['date'][:10]}.", ""]
    return "\n".join(lines)


def _signed(value: float, interval: list[float]) -> str:
    return f"{value:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"


def placed(page: str, content: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with this content between two markers."""
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    assert found and closed, f"docs/benchmarks.md has lost the markers {begin} and {end}"
    return f"{before}{begin}\n\n{content}\n{end}{after}"


def write() -> None:
    """Read every results file, write the page."""
    rows = [row for test in TESTS for row in _rows(RESULTS / f"{test}.json")]
    page = placed(PAGE.read_text(), markdown(rows))
    page = placed(page, cheap_markdown(_found("strong")), CHEAP_BEGIN, CHEAP_END)
    PAGE.write_text(placed(page, autogluon_markdown(_found("autogluon")), AUTOGLUON_BEGIN, AUTOGLUON_END))


def _found(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else []


if __name__ == "__main__":
    write()
