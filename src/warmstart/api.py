"""API: the public functions: a request carried out. The command line adds nothing but words and bars."""

import functools
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from warmstart import config
from warmstart.data.check import Checked, Finding
from warmstart.data.check import check as find
from warmstart.data.read import Table
from warmstart.data.read import read as read_files
from warmstart.data.recognise import recognise
from warmstart.data.split import make_rows, split
from warmstart.errors import MissingError, UsageError
from warmstart.record import Run, load_run, write_json

if TYPE_CHECKING:
    from torch import nn

    from warmstart.budget import Problem
    from warmstart.compare import Progress
    from warmstart.deliver.predict import Trained
    from warmstart.regimes import Regime
    from warmstart.study import Study

Value = TypeVar("Value")
Data = str | Path | Sequence[str | Path] | Table


def read(source: str | Path | Sequence[str | Path], *, offline: bool = False) -> Table:
    """CSV, TSV, JSONL, Parquet or Arrow files, a glob, a folder, or a hub id, as one table."""
    return read_files(source, offline=offline)


def check(data: Data, target: str, **settings: Any) -> Checked:
    """What a table was recognised as, and findings by row. Trains nothing."""
    request, table = _asked("check", data, target, settings)
    return checked(request, table)


def compare(data: Data, target: str, out: str | Path, **settings: Any) -> "Study":
    """Every regime x seeds on one split; the advice, the report and the winning model in `out`.

    Settings are those of `warmstart compare --help` with underscores: `regimes=("full", "linear")`, `seeds=2`.
    `own` adds regimes of your own: a mapping of names to functions that take the vocabulary's size and give a body.

    >>> study = compare("prices.csv", "price", "study", budget=600)  # doctest: +SKIP
    >>> study.advice.verdict  # doctest: +SKIP
    'fine-tune'
    """
    own = settings.pop("own", {})
    request, table = _asked("compare", data, target, settings)
    claim(request, Path(out))
    return last(comparing(request, Path(out), table, own))


def fit(data: Data, target: str, regime: str, out: str | Path, **settings: Any) -> Run:
    """Search a learning rate for one regime, train it, score it once; the model is in `out`."""
    own = settings.pop("own", {})
    request, table = _asked("fit", data, target, settings | {"regime": regime})
    claim(request, Path(out))
    return last(fitting(request, Path(out), table, own))


def load(folder: str | Path, *, code: str | None = None, build: "Callable[[], nn.Module] | None" = None) -> "Trained":
    """The model of a run, or the winner of a study: `load("study").predict(["some text"])`."""
    from warmstart.deliver.predict import load as load_trained

    return load_trained(folder, code=code, build=build)


def report(folder: str | Path, *, examples: bool = True) -> Path:
    """Write `report.html` anew from the finished runs of a study; gives its path. Trains nothing."""
    from warmstart.compare import remembered
    from warmstart.study import write

    out = Path(folder)
    request = config.load(out)
    findings = [Finding(**facts | {"rows": tuple(facts["rows"])}) for facts in _facts(out / "findings.json")]
    write(remembered(out), out, findings, config.command_line(request, str(out)), examples=examples)
    return out / "report.html"


def finished(folder: str | Path) -> list[Run]:
    """The finished runs of a study, or the one run of a fit, by name."""
    out = Path(folder)
    config.load(out)
    folders = [out, *sorted((out / "runs").glob("*"))] if out.is_dir() else []
    return [load_run(one) for one in folders if (one / "run.json").exists()]


def resumable(request: config.Request, folder: Path, model: str | None) -> config.Request:
    """The request to go on with. Code is only ever run when the person names it again."""
    if request.model and not model:
        raise UsageError(f"this was made with --model {request.model}.", f"name it again: --model {request.model}")
    return replace(request, model=model or request.model)


def _facts(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


# --- carrying out -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A problem, ready to be trained on, and what was found on the way."""

    problem: "Problem"
    findings: tuple[Finding, ...]


def last(steps: Generator[Any, None, Value]) -> Value:
    """Run a generator to its end; give its value."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: Value = stop.value
            return value


def claim(request: config.Request, out: Path) -> None:
    """Make the folder of a run or a study and write the request into it, before anything slow is imported.

    Raises UsageError where the folder holds something else, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        known = (out / "request.json").exists() if out.is_dir() else False
        hint = f"warmstart resume {out}, or choose another folder with --out" if known else "choose another folder with --out"
        raise UsageError(f"{str(out)!r} exists already.", hint)
    config.save(request, out)


def checked(request: config.Request, table: Table) -> Checked:
    """Findings, with the lengths that the base's own tokenizer counts where the base is there."""
    schema = recognise(table, request.columns)
    count: Callable[[list[str]], list[int]] | None = None
    longest = request.max_length
    try:
        from warmstart.starts import find_base

        base = find_base(request.base, max_length=request.max_length, offline=request.offline)
        count, longest = base.inputs.count, base.inputs.max_length
    except MissingError:
        if request.base:
            raise
    return find(table, schema, count_tokens=count, max_length=longest)


def prepare(request: config.Request, table: Table | None, own: "Mapping[str, Callable[[int], nn.Module]]") -> Prepared:
    """Read, recognise, check, split, and find the base."""
    from warmstart.budget import Problem
    from warmstart.starts import find_base

    table = table or read_files(request.data, offline=request.offline)
    schema = recognise(table, request.columns)
    rows, dropped = make_rows(table, schema, drop_bad_rows=request.drop_bad_rows)
    splits = split(rows, schema)
    base = find_base(request.base, max_length=request.max_length, offline=request.offline)
    findings = checked(request, table).findings
    caveats = [*dropped, *(finding.message for finding in findings if finding.severity == "warning")]
    problem = Problem(splits, schema, base, own_regimes(request, base, own), tuple(caveats))
    return Prepared(problem, findings)


def own_regimes(request: config.Request, base: Any, own: "Mapping[str, Callable[[int], nn.Module]]") -> "tuple[Regime, ...]":
    """Regimes for architectures of the user's own, trained from random weights on the base's tokens."""
    from warmstart.methods import Full
    from warmstart.regimes import HABITS, Regime, Stage
    from warmstart.starts import Scratch, from_file

    vocabulary = len(base.inputs.tokenizer) if own or request.model else 0
    builds: dict[str, Callable[[], nn.Module]] = {n: functools.partial(build, vocabulary) for n, build in own.items()}
    if request.model:
        builds[request.model.rpartition(":")[2]] = from_file(request.model, vocabulary)
    habits = replace(HABITS["scratch"], lr=1e-3)
    return tuple(
        Regime(f"scratch-{name}", Scratch(build, base.inputs, base.pooling, request.init), (Stage(Full()),), habits)
        for name, build in builds.items()
    )


def comparing(
    request: config.Request, out: Path, table: Table | None = None, own: "Mapping[str, Callable[[int], nn.Module]] | None" = None
) -> "Generator[Progress, None, Study]":
    """A comparison as an iterator of its progress."""
    from warmstart.regimes import DEFAULT
    from warmstart.study import study

    prepared = prepare(request, table, own or {})
    names = request.regimes or DEFAULT
    names = (*names, *(regime.name for regime in prepared.problem.own if regime.name not in names))
    problem = replace(prepared.problem, noise_floor=request.noise_floor)
    options = request.options(names)
    if not request.examples:
        options = replace(options, examples=False)
    write_json(out / "findings.json", [vars(finding) for finding in prepared.findings])
    command = config.command_line(request, str(out))
    return (yield from study(problem, options, out, prepared.findings, command))


def fitting(
    request: config.Request, out: Path, table: Table | None = None, own: "Mapping[str, Callable[[int], nn.Module]] | None" = None
) -> "Generator[Progress, None, Run]":
    """One regime, searched and trained, as an iterator of its progress."""
    from warmstart.compare import fit_one

    prepared = prepare(request, table, own or {})
    names = (request.regime or "", *(regime.name for regime in prepared.problem.own))
    return (yield from fit_one(prepared.problem, request.options((names[-1],)), out))


def _asked(command: config.Command, data: Data, target: str, settings: Mapping[str, Any]) -> tuple[config.Request, Table]:
    """The request that keyword arguments make, and the table."""
    if isinstance(data, Table):
        table, files = data, data.files
    else:
        files = (str(data),) if isinstance(data, str | Path) else tuple(str(path) for path in data)
        table = read_files(files)
    values = {key: config.parsed(key, value) for key, value in settings.items()}
    return config.from_mapping(values | {"command": command, "data": files, "target": target}, "arguments"), table


def table_of(columns: Mapping[str, Sequence[Any]]) -> Table:
    """A table from columns that are already in memory."""
    found = pa.table({name: pa.array(values) for name, values in columns.items()})
    return Table(found, ("memory",), (found.num_rows,))
