"""Print results: how are results printed in a terminal?"""

import json
import math
import re
import statistics
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid

from warmstart.data.schema.schema import TEXT_OUT
from warmstart.errors import UNPRINTABLE, printable, shell_word
from warmstart.quantities import (
    describe_forgetting,
    format_disk_size,
    format_effort,
    format_energy,
    format_exact,
    format_flops,
    format_size,
)
from warmstart.reporting.formatting import format_score
from warmstart.results.constraints import BUDGET
from warmstart.runtime.environment import current_environment

if TYPE_CHECKING:
    from warmstart.data.rows.check import CheckResult
    from warmstart.planning.forecast import PlanResult
    from warmstart.results.comparison import Comparison
    from warmstart.results.probe_result import ProbeResult
    from warmstart.results.race_outcome import RaceOutcome
    from warmstart.results.record import Estimate, Run
    from warmstart.study.study import Study


NOTED_COLUMNS = {"disk": "disk", "kWh": "energy", "money": "money"}  # of a plan, to how a note about it begins
out = Console(highlight=False, markup=False, emoji=False)


def print_line(text: str) -> None:
    """A line with a path or a command in it: never broken, so that it can be copied."""
    out.print(printable(text), soft_wrap=True)


def print_sentence(text: str, indent: str = "") -> None:
    """A sentence, broken between words, but not inside `a command`, where it is longer than the terminal is wide."""
    width = max(out.width - 1, 40)
    held = re.sub("`[^`]*`", lambda command: command[0].replace(" ", "\0"), text)
    wrapped = textwrap.wrap(held, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    print_line("\n".join(wrapped).replace("\0", " "))


def typed_lines(how: str) -> Iterator[str]:
    """Lines from the keyboard, asked for where somebody sits there, who first sees `how` it goes."""
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    if asks:
        out.print(how, style="dim", highlight=False)
    while True:
        if asks:
            out.print("> ", end="")
        text = sys.stdin.readline()
        if not text:
            return
        yield text


def print_json(value: Any) -> None:
    """One JSON document on stdout. Numbers that JSON does not know (infinity) become null."""
    text = json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False, default=str)
    print(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_check(found: "CheckResult") -> None:
    """What was recognized, then findings, the worst first."""
    schema = found.schema
    kind = "multi-label classification" if schema.multi_label else schema.task
    target = ", ".join(map(repr, schema.fields or filter(None, [schema.target])))
    unit = "documents" if schema.piece_bytes else "rows"
    made = f"{':' if schema.task in TEXT_OUT else ' of'} {target}" if target else ""
    print_sentence(f"{found.rows:,} {unit}; task: {kind}{made} from {', '.join(map(repr, schema.text))}", "  ")
    for note in schema.notes:
        print_sentence(f"  {note}", "  ")
    if found.split:
        pieces = f" (pieces of at most {schema.piece_bytes:,} bytes)" if schema.piece_bytes else ""
        print_line("split: " + ", ".join(f"{n:,} {part}" for part, n in found.split.items()) + pieces)
    if found.spelling:
        figures: dict[str, Any] = found.spelling
        words, whole, lost = (figures[name] for name in ("tokens_per_word", "one_piece", "unknown"))
        low, high = words["interval"]
        spelled = f"base's tokenizer: {words['value']:.2f} tokens per word ({low:.2f}..{high:.2f})"
        print_sentence(f"{spelled}, {whole['value']:.0%} single-token words, {lost['value']:.1%} unknown tokens", "  ")
    for finding in found.findings:  # sorted: the worst first
        more = ", ..." if finding.count > 6 else ""
        named = "(row" in finding.message  # as the messages about bad rows do
        where = "rows" if finding.count > 1 else "row"
        shown = finding.rows[:6] if not named and not schema.piece_bytes else ()  # pieces are named by their documents
        rows = f" ({where} {', '.join(map(str, shown))}{more})" if shown else ""
        print_line("")
        print_sentence(f"{finding.severity}: {finding.message}{rows}", "  ")
        if finding.hint:
            print_line(f"  hint: {finding.hint}")
    if not found.findings:
        print_line("no problems found.")


def show_plan(found: "PlanResult") -> None:
    """One line a regime, in 80 columns; then what does not fit, and what was measured."""
    titles: tuple[str, ...] = ("regime", "rows", "runs", "learned", "of", "compute", "memory", "fits", "time", "disk")
    titles, lines = (*titles, "kWh", "money"), []
    for one in found.forecasts:
        counts = ("-" if n is None else _count(n) for n in (one.trainable, one.total))
        sizes = ["-" if n is None else format_size(n) for n in (one.peak_memory_bytes, one.disk_bytes)]
        rest = (
            "-" if one.flops is None else format_flops(one.flops),
            sizes[0],
            {True: "yes", False: "NO", None: "?"}[one.fits],
            "-" if one.seconds is None else _time(one.seconds),
            sizes[1],
            "-" if one.energy_kwh is None else format_energy(one.energy_kwh),
            "-" if one.money is None else f"${one.money:.2f}",
        )
        jobs = (", ".join(f"{n:,}" for n in one.rows) or "-", str(one.runs))
        lines.append((one.regime, *jobs, *counts, *rest))
    room = "" if found.room_bytes is None else f", {format_size(found.room_bytes)} of memory for a run"
    print_line(f"{found.where}{room}\n")
    grid = _grid(titles, lines, ("money", "disk", "of", "kWh", "learned", "compute"))
    out.print(grid)
    shown = {column.header for column in grid.columns}
    hidden = tuple(f"{what}:" for title, what in NOTED_COLUMNS.items() if title not in shown)
    energy = [one.energy_kwh for one in found.forecasts if one.energy_kwh is not None]
    print_line(f"total: {_time(found.seconds)}{f', {format_energy(sum(energy))} kWh' if energy else ''}\n")
    for one in found.forecasts:
        if one.advice:
            print_sentence(f"{one.regime}: {one.advice}", "  ")
    for note in found.notes:
        if not note.startswith(hidden):
            print_sentence(f"- {note}", "  ")


def _time(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def show_study(done: "Study", as_json: bool) -> None:
    """The verdict, the table, and where the rest is."""
    from warmstart.advice.budget_cuts import lead_of, on_a_part, winner_sentence
    from warmstart.advice.phrases import compared_instead, cut_to_fit, original_scale_error, original_scale_sentence

    comparison, advice = done.comparison, done.advice
    if as_json:
        print_json({"comparison": comparison.to_json(), "advice": advice.to_json(), "folder": str(done.folder)})
        return
    unit = f" of {comparison.units}" if comparison.units else ""
    bounds = "90 % intervals" if done.raced else "95 % intervals"
    better = "higher" if comparison.higher_is_better else "lower"
    print_line("")
    of_each = f" of each of {comparison.splits_run} splits" if comparison.splits_run > 1 else ""
    tested = f"{comparison.rows['test']:,} test rows{of_each}"
    print_sentence(f"{comparison.metric}{unit}, {better} is better; {tested}, {bounds}")
    bases = dict.fromkeys(row.start for row in comparison.table if row.family != "scratch" and row.start != "-")
    if bases:
        print_sentence(f"pretrained weights (--base): {', '.join(bases)}", "  ")
    print_line("")
    out.print(_race(done.raced) if done.raced else _table(comparison))
    if any(not row.converged and not row.failed for row in comparison.table):
        print_line("* was still improving when it stopped")
    parts = [] if done.raced else [f"{on_a_part(comparison, row)}." for row in comparison.partial]
    for said in parts:
        print_sentence(said, "  ")
    errors = [(row.name, original_scale_error(comparison, row)) for row in comparison.table]
    in_own = ", ".join(f"{name} {format_score(error)}" for name, error in errors if error is not None)
    if in_own and not done.raced:
        print_sentence(f"{original_scale_sentence(comparison)}: {in_own}", "  ")
    for each in comparison.excluded:
        why = "not run" if each.constraint == BUDGET else "not allowed"
        by = "" if each.constraint == BUDGET else f" by --{each.constraint}"
        print_sentence(f"{why}: `{each.regime}`{by}: {each.reason}", "  ")
    if comparison.noise_floor is not None:
        print_line(f"best reachable: {format_exact(comparison.noise_floor)}")
    print_line("")
    trained_on = winner_sentence(comparison, advice.winner)
    if trained_on and (done.folder / "winner").exists():
        print_sentence(trained_on)
    print_sentence(advice.reason)
    lead = lead_of(comparison) if advice.verdict == "undecided" and not done.raced else None
    if lead:
        print_sentence(lead.sentence, "  ")
    for said in (cut_to_fit(comparison), "" if done.raced else compared_instead(comparison)):
        if said:
            print_sentence(said, "  ")
    caveats = [caveat for caveat in advice.caveats if caveat not in (*comparison.cuts, *parts)]
    for caveat in caveats[:4]:
        print_sentence(f"- {caveat}", "  ")
    more = len(caveats) - 4
    if more > 0:
        print_sentence(f"- {caveats[4]}" if more == 1 else f"- and {more} more caveats in the report", "  ")
    print_line("")
    print_sentence(f"next: {advice.next_step}", "  ")
    print_line(f"report: {done.folder / 'report.html'}")
    if (done.folder / "winner").exists():
        print_line(f"model:  {done.folder / 'winner'}   (warmstart predict {shell_word(done.folder)} NEW-ROWS)")


def _table(comparison: "Comparison") -> Grid:
    """One line a regime, in 80 columns."""
    titles, lines = ("regime", "score", "interval", "rows", "rate", "learned", "compute", "time"), []
    for row in comparison.table:
        interval = "..".join(map(format_exact, row.interval))
        score = ["failed", ""] if row.failed else [format_exact(row.score), interval]
        rest = (
            f"{row.rows:,}",
            f"{row.lr:.0e}" if row.lr else "-",
            _count(row.trainable),
            format_flops(row.flops),
            f"{row.seconds:.1f} s",
        )
        lines.append((row.name + ("" if row.converged or row.failed else " *"), *score, *rest))
        found = comparison.predictions.get(row.name) if row in comparison.partial else None
        if found:
            low, high = found.interval
            scored = (format_exact(found.score), f"{format_exact(low)}..{format_exact(high)}", f"{found.rows:,}")
            lines.append(("  predicted", *scored, "", "", "", ""))
    return _grid(titles, lines, ("learned", "rate", "rows", "compute"))


def _race(raced: "RaceOutcome") -> Grid:
    """One line a regime, in 80 columns: what is predicted for all rows."""
    titles, lines = ("regime", f"score at {raced.whole:,} rows", "interval", "best?", "trained on", "full run"), []
    effort = partial(format_effort, by_compute=True) if raced.by_compute else _time
    for each in raced.outlooks:
        low, high = each.interval
        scored = (format_exact(each.score), f"{format_exact(low)}..{format_exact(high)}", f"{each.chance:.0%}")
        lines.append((each.regime, *scored, f"{each.rows:,}", effort(each.seconds)))
    return _grid(titles, lines, ("full run", "trained on"))


def _grid(titles: Sequence[str], lines: Sequence[Sequence[str]], spare: Sequence[str] = ()) -> Grid:
    """Columns as wide as what stands in them, the first to the left.

    Where they are wider than the terminal, the `spare` ones are left out, one after the other: first those in which
    nothing stands.
    """
    kept = list(range(len(titles)))
    columns = dict(zip(titles, zip(*lines, strict=True), strict=True)) if lines else dict.fromkeys(titles, ())
    widths = [max(map(len, (title, *cells))) for title, cells in columns.items()]
    for title in sorted(spare, key=lambda title: any(cell not in ("", "-") for cell in columns[title])):
        if sum(widths[place] + 1 for place in kept) - 1 > out.width:
            kept.remove(titles.index(title))
    grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for place in kept:
        grid.add_column(titles[place], justify="right" if place else "left", no_wrap=True)
    for each in lines:
        grid.add_row(*(each[place] for place in kept))
    return grid


def _count(weights: int) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if weights >= size:
            return f"{weights / size:.1f} {letter}"
    return str(weights)


def show_run(done: "Run", folder: Path, as_json: bool) -> None:
    """One run: its scores and its cost."""
    if as_json:
        print_json(done.to_json())
        return
    print_line(f"\n{done.regime}: {done.method}{'' if done.start == '-' else f', from {done.start}'}")
    if done.failed:
        print_sentence(f"failed: {done.failed}")
    unit = f" of {done.units}" if done.units else ""
    if done.test is not None:
        validation = "" if done.val is None else f" (validation {format_exact(done.val)})"
        if validation and _chosen_by_bits(done):
            validation = f" (validation {format_exact(-(done.val or 0.0))} bits per byte)"
        print_line(f"{done.metric}{unit} on the test rows: {format_exact(done.test)}{validation}")
    for name, value in done.metrics.items():
        print_line(f"  {name:<32} {format_exact(value)}")
    trained = f"learning rate {done.lr:.1e}, {done.steps:,} steps, " if done.lr else ""
    size = format_disk_size(done.disk_bytes, done.base_bytes)
    costs = f"{done.cost.seconds:.1f} s, {format_flops(done.cost.flops)}, {size} on disk"
    print_line(trained + costs)
    for words in describe_forgetting(done.retention or {}):
        print_sentence(words)
    for caveat in done.caveats:
        print_sentence(f"- {caveat}", "  ")
    if (folder / "model.json").exists():
        print_line(f"model: {folder}   (warmstart predict {shell_word(folder)} NEW-ROWS)")


def show_runs(found: "Sequence[Run]", as_json: bool) -> None:
    """One line a run."""
    if as_json:
        print_json([run.to_json() for run in found])
        return
    if not found:
        print_line("no run is finished yet.")
        return
    titles, lines = ("run", "score", "validation", "steps", "time", "predicted", "memory"), []
    for one in found:
        val = None if _chosen_by_bits(one) else one.val  # beside a score of what is written it would mislead
        scores = ("" if value is None else format_exact(value) for value in (one.test, val))
        times = (f"{one.cost.seconds:.1f} s", _against(one, "seconds"), _against(one, "peak_memory_bytes"))
        lines.append((one.id + ("" if one.converged or one.failed else " *"), *scores, f"{one.steps:,}", *times))
    out.print(_grid(titles, lines, ("memory", "predicted", "steps")))
    if any(not one.converged and not one.failed for one in found):
        print_line("* was still improving when it stopped")
    for one in found:
        if one.failed:
            print_sentence(f"{one.id} failed: {one.failed}", "  ")
    for key, words in (("seconds", "time"), ("peak_memory_bytes", "peak memory")):
        whole = [one for one in found if key != "seconds" or one.steps == one.settings.get("steps")]
        off = [abs(error) for error in (prediction_error(one, key) for one in whole) if error is not None]
        if off:
            early = f"; {len(found) - len(whole)} that stopped early or took none are left out" * (whole != found)
            runs = f"{len(off)} run{'s' * (len(off) > 1)}"
            print_sentence(f"{words} predicted for {runs}, off by {statistics.median(off):.0%} (median){early}", "  ")


def _chosen_by_bits(done: "Run") -> bool:
    """Whether validation rows are scored in bits per byte, below zero: their answers are not written."""
    return done.task in TEXT_OUT and done.higher_is_better


def prediction_error(done: "Run", key: str) -> float | None:
    """How far the prediction lay above what was measured, as a share of it; None without both."""
    predicted, measured = (done.predicted or {}).get(key), getattr(done.cost, key)
    return (predicted - measured) / measured if predicted and measured else None


def _against(done: "Run", key: str) -> str:
    error = prediction_error(done, key)
    return "" if error is None else f"{error:+.0%}"


def show_probe(found: "ProbeResult", folder: Path) -> None:
    """One line a regime, in 80 columns: every pair together, then each; then what to know."""
    from warmstart.results.probe_result import CHANGE_MEASURES

    measures = [name for name in found.measures if name in ("changed", "moved", "shift", "random")]  # three at most
    pairs = ", ".join(f"{each.left}/{each.right} ({each.rows:,})" for each in found.pairs)
    print_sentence(f"swapped in {found.texts:,} texts; texts with a term: {pairs}", "  ")
    scale = f" of {found.units}" if found.units else ""
    for number in [None, *range(len(found.pairs) if len(found.pairs) > 1 else 0)]:
        what = "all pairs" if number is None else f"{found.pairs[number].left} / {found.pairs[number].right}"
        grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        grid.add_column("regime", no_wrap=True)
        for name in measures:
            grid.add_column(CHANGE_MEASURES[name][0].lower(), justify="right", no_wrap=True)
        for regime in found.regimes:
            effects = (regime.together if number is None else regime.pairs[number]).effects
            grid.add_row(regime.name, *(_effect(effects[name]) for name in measures))
        print_line(f"\n{what}{scale}")
        out.print(grid)
    print_line("")
    for name in measures:
        print_sentence(f"{CHANGE_MEASURES[name][0].lower()}: {CHANGE_MEASURES[name][1]}", "  ")
    for caveat in found.caveats:
        print_sentence(f"- {caveat}", "  ")
    if (folder / "probe.json").exists():
        print_line(f"kept: {folder / 'probe.json'}   (warmstart report {shell_word(folder)} shows it)")


def _effect(found: "Estimate") -> str:
    return f"{format_score(found.value)} {format_score(found.interval.low)}..{format_score(found.interval.high)}"


def show_regimes() -> None:
    """Every way of training, by the name to type."""
    from warmstart.regimes.regimes import DEFAULT_REGIMES, DESCRIPTIONS, FOR_COLUMNS

    for name, words in DESCRIPTIONS.items():
        print_line(f"{name:<15} {words}{'' if name in (*DEFAULT_REGIMES, *FOR_COLUMNS) else ' (not by default)'}")


def show_doctor() -> None:
    """What this machine offers, and what is missing."""
    import importlib.util

    from warmstart.errors import MissingError
    from warmstart.models.pretrained.base import find_base
    from warmstart.runtime import device

    facts = current_environment(device.precision())
    for key, value in asdict(facts).items():
        print_line(f"{key:<14} {format_size(value) if key == 'memory_bytes' else value}")
    for package, use in (("bitsandbytes", "qlora"), ("datasets", "hub")):
        there = importlib.util.find_spec(package) is not None
        print_line(f"{package:<14} {'installed' if there else f'missing: pip install warmstart[{use}]'}")
    try:
        base = find_base(None, offline=True)
        print_line(f"{'default base':<14} {base.name}")
    except MissingError as error:
        print_line(f"{'default base':<14} missing: {error.hint}")
