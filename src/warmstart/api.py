"""API: the public functions: a request carried out. The command line adds nothing but words and bars."""

import functools
import json
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from warmstart import config
from warmstart.data.check import Checked, Finding
from warmstart.data.check import check as find
from warmstart.data.conversations import read as read_turns
from warmstart.data.corpus import read_corpus
from warmstart.data.read import Table
from warmstart.data.read import read as read_files
from warmstart.data.recognise import recognise
from warmstart.data.schema import CORPUS, TEXT_OUT, Columns, Schema, TaskName
from warmstart.data.split import Splits, make_rows, split
from warmstart.engine import world
from warmstart.errors import MissingError, UsageError, WarmstartError
from warmstart.lock import locked
from warmstart.record import Run, load_run, write_json

if TYPE_CHECKING:
    from torch import nn

    from warmstart.bases import Reach
    from warmstart.budget import Options, Problem
    from warmstart.deliver.predict import Trained
    from warmstart.plan import Forecast, Planned
    from warmstart.regimes import Regime
    from warmstart.starts import Base
    from warmstart.study import Study
    from warmstart.work import Progress

Value = TypeVar("Value")
Data = str | Path | Sequence[str | Path] | Table
Own = Mapping[str, Callable[[int], "nn.Module"]]  # name -> a function of the vocabulary's size that gives a body

# What is in a folder before its request has been found to make sense.
UNBEGUN = {"request.json", "request.json.tmp", "lock"}
COUNTED = 500  # texts whose tokens are counted, to know how many a row has
GENERAL = 64  # pieces of text on which forgetting is measured
CATALOGUE = "catalogue.csv"  # the demo writes its table beside its request
# What is written after that, before the first measured step.
PREPARED = UNBEGUN | {"findings.json", "findings.json.tmp", "examples.parquet", "examples.parquet.tmp"}


def read(source: str | Path | Sequence[str | Path], *, offline: bool = False) -> Table:
    """CSV, TSV, JSONL, Parquet or Arrow files, a glob, a folder, or a hub id, as one table."""
    return read_files(source, offline=offline)


def check(data: Data, target: str | None = None, **settings: Any) -> Checked:
    """What a table was recognised as, and findings by row. Trains nothing."""
    request, table = _asked("check", data, target, settings)
    table = table or read_files(request.data, offline=request.offline)
    return checked(request, table, recognise(table, request.columns))


def plan(data: Data, target: str | None = None, **settings: Any) -> "tuple[Forecast, ...]":
    """What each regime would take, before any training: weights, FLOPs, memory, time, disk, energy, money.

    Settings are those of `warmstart plan --help` with underscores: `device="h100"`, `devices=8`, `price_per_hour=4`.

    >>> [f.regime for f in plan("prices.csv", "price") if f.fits is False]  # doctest: +SKIP
    []
    """
    request, table = _asked("plan", data, target, settings)
    return last(planning(request, table)).forecasts


def compare(data: Data, target: str | None, out: str | Path, **settings: Any) -> "Study":
    """Every regime x seeds on one split; the advice, the report and the winning model in `out`.

    Settings are those of `warmstart compare --help` with underscores: `regimes=("full", "linear")`, `seeds=2`.
    `own` adds regimes of your own: a mapping of names to functions that take the vocabulary's size and give a body.

    >>> study = compare("prices.csv", "price", "study", budget=600)  # doctest: +SKIP
    >>> study.advice.verdict  # doctest: +SKIP
    'fine-tune'
    """
    own = settings.pop("own", {})
    request, table = _asked("compare", data, target, settings)
    if own:
        from warmstart.regimes import DEFAULT

        # named in the request, so that `resume`, which does not have their code, refuses instead of leaving them out
        names = dict.fromkeys((*(request.regimes or DEFAULT), *(f"scratch-{name}" for name in own)))
        request = replace(request, regimes=tuple(names))
    return last(comparing(begin(request, Path(out), table), own))


def fit(data: Data, target: str | None, regime: str, out: str | Path, **settings: Any) -> Run:
    """Search a learning rate for one regime, train it, score it once; the model is in `out`."""
    own = settings.pop("own", {})
    request, table = _asked("fit", data, target, settings | {"regime": regime})
    return last(fitting(begin(request, Path(out), table), own))


def load(folder: str | Path, *, code: str | None = None, build: "Callable[[], nn.Module] | None" = None) -> "Trained":
    """The model of a run, or the winner of a study: `load("study").predict(["some text"])`."""
    from warmstart.deliver.predict import load as load_trained

    return load_trained(folder, code=code, build=build)


def report(folder: str | Path, *, examples: bool = True) -> Path:
    """Write `report.html` anew from the finished runs of a study; gives its path. Trains nothing."""
    out = Path(folder)
    request = config.load(out)
    if request.command == "fit":
        raise UsageError(
            f"{str(out)!r} is a single run; a report compares several.", f"see it with: warmstart runs {out}"
        )
    if not (out / "study.json").exists():
        raise UsageError(f"the study in {str(out)!r} is not finished.", f"go on with: warmstart resume {out}")
    _write(request, out, examples=examples)
    return out / "report.html"


def finished(folder: str | Path) -> list[Run]:
    """The finished runs of a study, or the one run of a fit, by name."""
    out = Path(folder)
    config.load(out)
    folders = [out, *sorted((out / "runs").glob("*"))]
    return [load_run(one) for one in folders if (one / "run.json").exists()]


def finished_study(folder: Path) -> "Study | None":
    """A study all of whose runs are done, read back; None where there is still something to train."""
    from warmstart.advise import advise
    from warmstart.compare import remembered
    from warmstart.study import Study

    if not (folder / "study.json").exists():
        return None
    results = ("comparison.json", "advice.json", "report.html", "winner")
    if not all((folder / name).exists() for name in results):  # stopped after the last run
        return _write(config.load(folder), folder)
    comparison = remembered(folder)
    return Study(comparison, advise(comparison), folder)


def finished_run(folder: Path) -> Run | None:
    """The run of a fit, read back; None where it is not finished."""
    return load_run(folder) if world().by_main((folder / "run.json").exists) else None


def _write(request: config.Request, folder: Path, *, examples: bool = True) -> "Study":
    from warmstart.compare import remembered
    from warmstart.study import write

    findings = [Finding(**facts | {"rows": tuple(facts["rows"])}) for facts in _facts(folder / "findings.json")]
    return write(remembered(folder), folder, findings, config.command_line(request, str(folder)), examples=examples)


def _facts(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


# --- beginning --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Understood:
    """A table that can be learned from: what it is, its parts, and what was left out."""

    table: Table
    schema: Schema
    splits: Splits
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Begun:
    """A request whose folder is claimed."""

    request: config.Request
    folder: Path
    understood: Understood
    fresh: bool  # False: it was begun before, and there may be something in the folder to go on from


def begin(request: config.Request, folder: Path, table: Table | None = None) -> Begun:
    """Find what is wrong with folder and table; only then claim the folder: a typo leaves nothing behind.

    Nothing slow is imported before the request is written down. Raises UsageError or InputError.
    """
    _check_processes(request)
    world().by_main(lambda: check_vacant(folder))
    understood = understand(request, table)
    world().by_main(lambda: config.save(request, folder))
    return Begun(request, folder, understood, fresh=True)


def begin_again(request: config.Request, folder: Path) -> Begun:
    """Go on in a folder that was claimed before."""
    _check_processes(request)
    return Begun(request, folder, understand(request), fresh=False)


def _check_processes(request: config.Request) -> None:
    """Raises UsageError where many processes were started for what takes one."""
    if request.command != "fit" and world().size > 1:
        raise UsageError(
            f"{request.command} runs in one process, not in {world().size}.",
            "start it without torchrun; many processes are for fit",
        )


def resumable(folder: Path, model: str | None) -> config.Request:
    """The request to go on with. Code is only ever run when the person names it again."""
    request = config.load(folder)
    if request.model and not model:
        raise UsageError(f"this was made with --model {request.model}.", f"name it again: --model {request.model}")
    return replace(request, model=model or request.model)


def check_vacant(folder: Path) -> None:
    """Raises UsageError where the folder holds anything but a request that came to nothing."""
    try:
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        there = folder.exists() and not folder.is_dir()
    except OSError as error:
        raise UsageError(
            f"{str(folder)!r} cannot be used: {error.strerror}.", "name another folder with --out"
        ) from error
    if there or names - (UNBEGUN | {CATALOGUE} if "request.json" in names else set()):
        other = "choose another folder with --out"
        hint = f"warmstart resume {folder}, or {other}" if "request.json" in names else other
        raise UsageError(f"{str(folder)!r} exists already.", hint)


def _release(folder: Path) -> None:
    """Take a claim back, unless something in the folder has been measured."""
    if any(entry.name not in PREPARED for entry in folder.iterdir()):
        return
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()


def understand(request: config.Request, table: Table | None = None) -> Understood:
    """Read, recognise and split: everything about the data that can be wrong, without torch."""
    table = table or read_files(request.data, offline=request.offline)
    schema = recognise(table, request.columns)
    rows, dropped = make_rows(table, schema, drop_bad_rows=request.drop_bad_rows)
    return Understood(table, schema, split(rows, schema), dropped)


# --- carrying out -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A problem, ready to be trained on, and what was found on the way."""

    problem: "Problem"
    checked: Checked


def last(steps: Generator[Any, None, Value]) -> Value:
    """Run a generator to its end; give its value."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: Value = stop.value
            return value


def checked(request: config.Request, table: Table, schema: Schema) -> Checked:
    """Findings, with the lengths that the base's own tokenizer counts where the base is there."""
    from warmstart.bases import locate, reach

    found: Reach | None = None
    try:
        _, folder = locate(source_of(request, schema.task))
        found = (reach(folder, request.max_length) if folder else None) or _reach_by_loading(request, schema.task)
    except MissingError:
        if request.base:
            raise
    if found is None:
        return find(table, schema, max_length=request.max_length)
    return find(table, schema, count_tokens=found.count, max_length=found.tokens)


def _reach_by_loading(request: config.Request, task: TaskName) -> "Reach":
    from warmstart.bases import Reach
    from warmstart.starts import find_base

    source = source_of(request, task)
    inputs = find_base(source, max_length=request.max_length, offline=request.offline).inputs
    return Reach(inputs.max_length, inputs.count)


def prepare(request: config.Request, table: Table | None, own: Own) -> Prepared:
    """Read, recognise, split, check, and find the base. Raises what is wrong with any of them."""
    with tempfile.TemporaryDirectory() as folder:
        return _prepared(request, understand(request, table), own, Path(folder))


def _prepared(request: config.Request, understood: Understood, own: Own, folder: Path) -> Prepared:
    """`folder` is for what has to be made first."""
    from warmstart.budget import Problem
    from warmstart.regimes import LEARN_LANGUAGE

    table, schema, splits = understood.table, understood.schema, understood.splits
    base, scratch = bases_of(request, understood, folder)
    regimes = own_regimes(request, base, own)
    chosen = chosen_regimes(request, regimes, schema.task)
    corpus = domain(request, understood) if not LEARN_LANGUAGE.isdisjoint(chosen) else None
    found = checked(request, table, schema)
    warnings = (finding.message for finding in found.findings if finding.severity == "warning")
    caveats = (*understood.dropped, *warnings)
    problem = Problem(
        splits=splits,
        schema=schema,
        base=base,
        own=regimes,
        scratch=scratch,
        general=general_text(request),
        corpus=corpus,
        caveats=caveats,
        noise_floor=request.noise_floor,
    )
    return Prepared(problem, found)


def bases_of(request: config.Request, understood: Understood, folder: Path) -> "tuple[Base, Base | None]":
    """The base, and what is built instead of it from random weights, with --parameters: made in `folder`.

    No base is looked for where nothing starts from one. Raises UsageError for a base that cannot do the task.
    """
    from warmstart.making import made
    from warmstart.models.whole import Kind
    from warmstart.regimes import FROM_NOTHING
    from warmstart.starts import find_base, require_kind

    task, length = understood.schema.task, request.max_length
    needed: dict[TaskName, Kind] = {"causal-lm": "decoder", "masked-lm": "encoder"}
    needed |= dict.fromkeys(TEXT_OUT, "decoder")
    names = {*request.regimes, *([request.regime] if request.regime else [])}
    texts, parameters = understood.splits.train.texts, request.parameters
    if parameters and names and names <= FROM_NOTHING and request.base is None:
        alone = made(folder / "base", needed.get(task, "encoder"), parameters, texts, length, None)
        return alone, alone
    base = find_base(source_of(request, task), max_length=length, offline=request.offline)
    if task in needed:
        require_kind(base, needed[task], task=task)
    if not parameters:
        return base, None
    return base, made(folder / "base", needed.get(task, base.kind), parameters, texts, length, base)


def options_of(request: config.Request, problem: "Problem") -> "Options":
    """How the problem is gone about. Numbers of tokens become numbers of rows, each read once."""
    options = request.options(chosen_regimes(request, problem.own, problem.schema.task))
    if not request.tokens:
        return options
    if problem.schema.task not in CORPUS:
        raise UsageError("--tokens is for causal-lm and masked-lm.", "say how many rows to use with --rows")
    texts = problem.splits.train.texts
    some = [texts[i] for i in range(0, len(texts), max(1, len(texts) // COUNTED))]
    inputs = (problem.scratch or problem.base).inputs
    mean = sum(min(count, inputs.max_length) for count in inputs.count(some)) / len(some)
    rows = tuple(max(2, round(tokens / mean)) for tokens in request.tokens)
    return replace(options, rows=rows, epochs=options.epochs or 1.0)


def general_text(request: config.Request) -> tuple[str, ...]:
    """Some pieces of --retain, from all over it; none where nothing was named."""
    if request.retain is None:
        return ()
    pieces = read_corpus([request.retain], piece_bytes=request.columns.piece_bytes, offline=request.offline)
    count = min(GENERAL, len(pieces))
    return tuple(pieces[i * len(pieces) // count] for i in range(count))


def source_of(request: config.Request, task: TaskName) -> str | None:
    """The base that was named, or what is usual for the task."""
    from warmstart.bases import usual_decoder

    return request.base or (usual_decoder() if task in (*TEXT_OUT, "causal-lm") else None)


def domain(request: config.Request, understood: Understood) -> Splits | None:
    """What `hybrid` learns the language from: the corpus that was named; None: the task's own training texts.

    Those of a task whose rows are conversations are what is said in them.
    """
    schema = understood.schema
    if request.corpus:
        piece_bytes = request.columns.piece_bytes
        pieces = read_corpus(request.corpus, text=request.text, piece_bytes=piece_bytes, offline=request.offline)
        table = table_of({"text": list(pieces)})
    elif schema.task in TEXT_OUT:
        said = ("\n\n".join(turn.content for turn in read_turns(text)) for text in understood.splits.train.texts)
        table = table_of({"text": list(said)})
    else:
        return None
    plain = recognise(table, Columns(text=("text",), task="causal-lm", piece_bytes=request.columns.piece_bytes))
    rows, _ = make_rows(table, plain, drop_bad_rows=True)
    return split(rows, plain)


def chosen_regimes(request: config.Request, own: "Sequence[Regime]", task: TaskName) -> tuple[str, ...]:
    """The names to compare, or the one to fit. Raises UsageError for one that is not known, or not for this task."""
    from warmstart.regimes import default_for, known_regime, suits

    mine = tuple(regime.name for regime in own)
    if request.command == "fit":
        names = (request.regime,) if request.regime else mine[:1]
        if not names:
            raise UsageError(
                "no regime was named.", "say how to train, e.g. --regime full; `warmstart regimes` lists them"
            )
    else:
        names = tuple(dict.fromkeys((*(request.regimes or default_for(task)), *mine)))
    found = tuple(name if name in mine else known_regime(name) for name in names)
    for name in found:
        if name not in mine and not suits(name, task):
            raise UsageError(
                f"regime {name!r} is not for the task {task}.", f"choose among others: {', '.join(default_for(task))}"
            )
    return found


def own_regimes(request: config.Request, base: "Base", own: Own) -> "tuple[Regime, ...]":
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


def planning(request: config.Request, table: Table | None = None) -> "Generator[str, None, Planned]":
    """A plan as an iterator of what it looks at. Writes nothing."""
    from warmstart.machines import known_machine
    from warmstart.plan import Where, forecast, from_log

    machine = None if request.device in (None, "cpu", "here") else known_machine(str(request.device))
    if machine is None and request.devices > 1:
        raise UsageError(
            f"devices is {request.devices}, but which device is not said.", "name it, e.g. --device h100 --devices 8"
        )
    where = Where(machine, request.devices, request.price_per_hour)
    if not request.data and table is None:
        if machine is not None:
            raise UsageError("a plan for another device needs the data.", "name DATA and --target")
        rows = 0 if request.rows == "auto" else max(request.rows)
        return from_log(str(request.task), request.regimes, rows, request.base, where)
    problem = prepare(request, table, {}).problem
    options = options_of(request, problem)
    return (yield from forecast(problem, options, where))


def comparing(begun: Begun, own: Own | None = None) -> "Generator[Progress, None, Study]":
    """A comparison as an iterator of its progress."""
    return _released_if_impossible(begun, _comparing(begun, own or {}))


def fitting(begun: Begun, own: Own | None = None) -> "Generator[Progress, None, Run]":
    """One regime, searched and trained, as an iterator of its progress."""
    return _released_if_impossible(begun, _fitting(begun, own or {}))


def _comparing(begun: Begun, own: Own) -> "Generator[Progress, None, Study]":
    from warmstart.study import study

    request, out = begun.request, begun.folder
    prepared = _prepared(request, begun.understood, own, out)
    options = options_of(request, prepared.problem)
    findings = prepared.checked.findings
    write_json(out / "findings.json", [vars(finding) for finding in findings])
    return (yield from study(prepared.problem, options, out, findings, config.command_line(request, str(out))))


def _fitting(begun: Begun, own: Own) -> "Generator[Progress, None, Run]":
    from warmstart.compare import fit_one

    problem = _prepared(begun.request, begun.understood, own, begun.folder).problem
    options = options_of(begun.request, problem)
    return (yield from fit_one(problem, options, begun.folder))


def _released_if_impossible(
    begun: Begun, steps: "Generator[Progress, None, Value]"
) -> "Generator[Progress, None, Value]":
    """Alone in the folder. A base or regime that is not there is found here: the corrected command may use the same."""
    try:
        with ExitStack() as stack:
            world().by_main(lambda: stack.enter_context(locked(begun.folder)))
            return (yield from steps)
    except WarmstartError:
        if begun.fresh and world().main:
            _release(begun.folder)
        raise


def _asked(
    command: config.Command, data: Data, target: str | None, settings: Mapping[str, Any]
) -> tuple[config.Request, Table | None]:
    """The request that keyword arguments make, and the table if it was given as one."""
    table = data if isinstance(data, Table) else None
    if isinstance(data, Table):
        files = data.files
    else:
        files = (str(data),) if isinstance(data, str | Path) else tuple(str(path) for path in data)
    values = {key: config.parsed(key, value) for key, value in settings.items()}
    return config.from_mapping(values | {"command": command, "data": files, "target": target}), table


def table_of(columns: Mapping[str, Sequence[Any]]) -> Table:
    """A table from columns that are already in memory."""
    found = pa.table({name: pa.array(values) for name, values in columns.items()})
    return Table(found, ("memory",), (found.num_rows,))
