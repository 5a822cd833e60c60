"""Show: results as people read them in a terminal; progress beside them on stderr."""

import csv
import json
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table as Grid

from warmstart.errors import UsageError
from warmstart.report.words import compute as compute_words
from warmstart.report.words import size as size_words

if TYPE_CHECKING:
    from warmstart.compare import Progress
    from warmstart.data.check import Checked
    from warmstart.data.read import Table
    from warmstart.deliver.predict import Trained
    from warmstart.record import Run
    from warmstart.study import Study

Value = TypeVar("Value")
out = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)
EVERY = 15.0  # seconds between lines where there is no terminal to draw a bar on


def say(text: str) -> None:
    """A line for the person, not for the next program."""
    err.print(text)


def progress(steps: "Generator[Progress, None, Value]", quiet: bool) -> Value:
    """Run to the end; meanwhile say what runs, how far it is and how long it will take."""
    watch = (_bar if sys.stderr.isatty() and not quiet else _lines)(quiet)
    next(watch)
    try:
        while True:
            watch.send(next(steps))
    except StopIteration as stop:
        value: Value = stop.value
        return value
    finally:
        watch.close()


def _bar(quiet: bool) -> "Generator[None, Progress, None]":
    columns = (TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Bars(*columns, console=err, transient=True) as bars:
        task = bars.add_task("starting", total=1.0, left="")
        while True:
            now = yield
            if now.message:
                bars.console.print(now.message)
            bars.update(task, description=now.doing, completed=now.done, left=_left(now))


def _lines(quiet: bool) -> "Generator[None, Progress, None]":
    said, last = "", 0.0
    while True:
        now = yield
        if quiet:
            continue
        if now.message:
            say(now.message)
        if now.doing != said or time.monotonic() - last > EVERY:
            say(f"[{now.done:4.0%}] {now.doing}{_left(now)}")
            said, last = now.doing, time.monotonic()


def _left(now: "Progress") -> str:
    if now.seconds_left is None:
        return ""
    minutes, seconds = divmod(round(now.seconds_left), 60)
    return f", {minutes}:{seconds:02} left"


def json_out(value: Any) -> None:
    """One JSON document on stdout."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    print(json.dumps(plain, indent=1, ensure_ascii=False, default=str))


def checked(found: "Checked") -> None:
    """What was recognised, then findings, the worst first."""
    schema = found.schema
    kind = "multi-label classification" if schema.multi_label else schema.task
    out.print(f"{found.rows:,} rows; task: {kind} of {schema.target!r} from {', '.join(map(repr, schema.text))}")
    for note in schema.notes:
        out.print(f"  {note}")
    if found.split:
        out.print("split: " + ", ".join(f"{n:,} {part}" for part, n in found.split.items()))
    for severity in ("error", "warning", "note"):
        for finding in (f for f in found.findings if f.severity == severity):
            rows = f" (rows {', '.join(map(str, finding.rows[:6]))}{', ...' if finding.count > 6 else ''})" if finding.rows else ""
            out.print(f"\n{severity}: {finding.message}{rows}")
            if finding.hint:
                out.print(f"  hint: {finding.hint}")
    if not found.findings:
        out.print("nothing to remark.")


def study(done: "Study", as_json: bool) -> None:
    """The verdict, the table, and where the rest is."""
    comparison, advice = done.comparison, done.advice
    if as_json:
        json_out({"comparison": comparison.to_json(), "advice": advice.to_json(), "folder": str(done.folder)})
        return
    unit = f" of {comparison.units}" if comparison.units else ""
    better = "higher" if comparison.higher_is_better else "lower"
    out.print(f"\n{comparison.metric}{unit}, {better} is better; {comparison.rows['test']:,} test rows, 95 % intervals\n")
    grid = Grid(box=None, pad_edge=False)
    for title in ("regime", "score", "interval", "rows", "learning rate", "weights", "compute", "time"):
        grid.add_column(title, justify="left" if title == "regime" else "right")
    for row in comparison.table:
        score = ["failed", ""] if row.failed else [f"{row.score:.4f}", f"{row.interval.low:.4f} to {row.interval.high:.4f}"]
        grid.add_row(
            row.name + ("" if row.converged or row.failed else " *"),
            *score,
            f"{row.rows:,}",
            f"{row.lr:.1e}" if row.lr else "-",
            _count(row.trainable),
            compute_words(row.flops),
            f"{row.seconds:.1f} s",
        )
    out.print(grid)
    if any(not row.converged and not row.failed for row in comparison.table):
        out.print("* was still improving when it stopped")
    if comparison.noise_floor is not None:
        out.print(f"best reachable: {comparison.noise_floor:.4f}")
    out.print(f"\n{advice.reason}")
    for caveat in advice.caveats[:4]:
        out.print(f"- {caveat}")
    if len(advice.caveats) > 4:
        out.print(f"- and {len(advice.caveats) - 4} more remarks in the report")
    out.print(f"\nnext: {advice.next_step}")
    out.print(f"report: {done.folder / 'report.html'}")
    if (done.folder / "winner").exists():
        out.print(f"model:  {done.folder / 'winner'}   (warmstart predict {done.folder} NEW-ROWS)")


def _count(weights: int) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if weights >= size:
            return f"{weights / size:.1f} {letter}"
    return str(weights)


def run(done: "Run", folder: Path, as_json: bool) -> None:
    """One run: its scores and its cost."""
    if as_json:
        json_out(done.to_json())
        return
    out.print(f"\n{done.regime}: {done.method}, from {done.start}")
    if done.failed:
        out.print(f"failed: {done.failed}")
    unit = f" of {done.units}" if done.units else ""
    if done.test is not None:
        out.print(f"{done.metric}{unit} on the test rows: {done.test:.4f} (validation {done.val or 0:.4f})")
    for name, value in done.metrics.items():
        out.print(f"  {name:<32} {value:,.4f}")
    rate = f"learning rate {done.lr:.1e}, " if done.lr else ""
    out.print(f"{rate}{done.steps:,} steps, {done.cost.seconds:.1f} s, {compute_words(done.cost.flops)}, {size_words(done.disk_bytes)} on disk")
    out.print(f"model: {folder}   (warmstart predict {folder} NEW-ROWS)")


def runs(found: "Sequence[Run]", as_json: bool) -> None:
    """One line a run."""
    if as_json:
        json_out([run.to_json() for run in found])
        return
    grid = Grid(box=None, pad_edge=False)
    for title in ("run", "score", "validation", "steps", "time", "remark"):
        grid.add_column(title, justify="left" if title in ("run", "remark") else "right")
    for one in found:
        scores = ("" if value is None else f"{value:.4f}" for value in (one.test, one.val))
        remark = one.failed or ("" if one.converged else "still improving")
        grid.add_row(one.id, *scores, f"{one.steps:,}", f"{one.cost.seconds:.1f} s", remark)
    out.print(grid)


def predictions(trained: "Trained", table: "Table", path: Path | None, quiet: bool) -> None:
    """Write one row for each row of the table: its number and what was predicted."""
    rows = trained.stream(trained.texts_of(table))
    numbered = ({"row": i} | row for i, row in enumerate(rows, 1))
    if path is None:
        _csv(numbered, sys.stdout)
        return
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise UsageError(f"{str(path)!r} has no ending that is known.", "end it in .csv, .jsonl or .parquet")
    temporary = path.with_name(path.name + ".tmp")
    try:
        _write(numbered, temporary, path.suffix)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror}.", "name another file with --out") from error
    if not quiet:
        say(f"{table.columns.num_rows:,} predictions in {path}")


def _write(rows: Iterator[dict[str, Any]], path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        if suffix == ".csv":
            _csv(rows, file)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: Iterable[dict[str, Any]], file: Any) -> None:
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
        writer.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: Any) -> Any:
    """Labels joined by '|'; a class name that a spreadsheet would run as a formula gets a quote before it."""
    if isinstance(value, list):
        value = "|".join(str(part) for part in value)
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value


def regimes() -> None:
    """Every way of training, by the name to type."""
    from warmstart.regimes import DEFAULT, WORDS

    for name, words in WORDS.items():
        out.print(f"{name:<15} {words}{'' if name in DEFAULT else ' (not by default)'}")


def doctor() -> None:
    """What this machine offers, and what is missing."""
    import importlib.util

    from warmstart import device
    from warmstart.errors import MissingError
    from warmstart.starts import find_base

    facts = device.environment(device.precision())
    for key, value in asdict(facts).items():
        out.print(f"{key:<14} {size_words(value) if key == 'memory_bytes' else value}")
    for package, use in (("bitsandbytes", "qlora"), ("datasets", "hub")):
        there = importlib.util.find_spec(package) is not None
        out.print(f"{package:<14} {'installed' if there else f'missing: pip install warmstart[{use}]'}")
    try:
        base = find_base(None, offline=True)
        out.print(f"{'default base':<14} {base.name}")
    except MissingError as error:
        out.print(f"{'default base':<14} missing: {error.hint}")

