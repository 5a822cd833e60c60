"""API: the public functions: a request carried out. The command line adds nothing but words and bars."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart import config
from warmstart.carry_out import (
    CATALOGUE,
    Begun,
    begin,
    begin_again,
    carrying_out,
    check_vacant,
    comparing,
    fitting,
    last,
    planning,
    resumable,
)
from warmstart.data.check import Checked
from warmstart.data.finding import Finding
from warmstart.data.read import InMemory, Table, is_in_memory, table_of
from warmstart.data.read import read as read_files
from warmstart.data.recognise import recognise
from warmstart.engine import world
from warmstart.errors import UsageError
from warmstart.keys import Command
from warmstart.prepare import checked, prepare
from warmstart.record import Run, load_run
from warmstart.watch import looking, watched

if TYPE_CHECKING:
    from torch import nn

    from warmstart.deliver.predict import Trained
    from warmstart.forecasts import Forecast
    from warmstart.probing import Probe
    from warmstart.report.blind import Preference
    from warmstart.study import Study
    from warmstart.work import Progress

__all__ = [
    "CATALOGUE",
    "Begun",
    "advise",
    "begin",
    "begin_again",
    "blind",
    "carrying_out",
    "check",
    "check_vacant",
    "checked",
    "compare",
    "comparing",
    "finished",
    "finished_run",
    "finished_study",
    "fit",
    "fitting",
    "last",
    "load",
    "plan",
    "planning",
    "prepare",
    "probe",
    "probing",
    "read",
    "report",
    "resumable",
    "resume",
    "table_of",
    "vote",
]

Data = str | Path | Sequence[str | Path] | InMemory | Table


def read(source: str | Path | Sequence[str | Path], *, offline: bool = False) -> Table:
    """CSV, TSV, JSONL, Parquet or Arrow files, a glob, a folder, or a hub id, as one table."""
    return read_files(source, offline=offline)


def check(data: Data, target: str | None = None, **settings: Any) -> Checked:
    """What a table was recognised as, and findings by row. Trains nothing."""
    request, table = _asked("check", data, target, settings)
    table = table or read_files(request.data, offline=request.offline)
    return checked(request, table, recognise(table, request.columns))


def plan(data: Data, target: str | None = None, *, quiet: bool = False, **settings: Any) -> "tuple[Forecast, ...]":
    """What each regime would take, before any training: weights, FLOPs, memory, time, disk, energy, money.

    Settings are those of `warmstart plan --help` with underscores: `device="h100"`, `devices=8`, `price_per_hour=4`.

    >>> [f.regime for f in plan("prices.csv", "price") if f.fits is False]  # doctest: +SKIP
    []
    """
    request, table = _asked("plan", data, target, settings)
    return looking(planning(request, table), quiet).forecasts


def compare(data: Data, target: str | None, out: str | Path, *, quiet: bool = False, **settings: Any) -> "Study":
    """Every regime x seeds on one split; the advice, the report and the winning model in `out`.

    How far it is is said on stderr, unless `quiet`.

    Settings are those of `warmstart compare --help` with underscores: `regimes=("full", "linear")`, `seeds=2`.
    `own` adds regimes of your own: a mapping of names to functions that take the vocabulary's size and give a body.

    >>> study = compare("prices.csv", "price", "study", budget=600)  # doctest: +SKIP
    >>> study.advice.verdict  # doctest: +SKIP
    'fine-tune'
    """
    own = settings.pop("own", {})
    request, table = _asked("compare", data, target, settings)
    request = _naming(request, own)
    return watched(comparing(begin(request, Path(out), table), own), quiet)


def advise(data: Data, target: str | None, out: str | Path, *, quiet: bool = False, **settings: Any) -> "Study":
    """The answer of `compare` for a tenth of its compute (`budget`: another share, or seconds), by a race.

    >>> study = advise("prices.csv", "price", "study", budget="10%")  # doctest: +SKIP
    >>> study.advice.choice, study.advice.predicted["score"]  # doctest: +SKIP
    ('full', 0.128)
    """
    own = settings.pop("own", {})
    request, table = _asked("advise", data, target, settings)
    request = _naming(request, own)
    return watched(comparing(begin(request, Path(out), table), own), quiet)


def fit(data: Data, target: str | None, regime: str, out: str | Path, *, quiet: bool = False, **settings: Any) -> Run:
    """Search a learning rate for one regime, train it, score it once; the model is in `out`.

    Regime `auto`: the one that a race advises, which is kept in `out/advice`.
    """
    own = settings.pop("own", {})
    request, table = _asked("fit", data, target, settings | {"regime": regime})
    if request.races:
        request = _naming(request, own)
    return watched(fitting(begin(request, Path(out), table), own), quiet)


def resume(folder: str | Path, *, code: str | None = None, quiet: bool = False) -> "Study | Run":
    """Go on with a study or a run that was stopped; one that is finished is read back.

    `code`: the `--model` that it was made with.
    """
    out = Path(folder)
    done = (finished_run if config.load(out).command == "fit" else finished_study)(out)
    if done is not None:
        return done
    steps: Generator[Progress, None, Study | Run] = carrying_out(begin_again(resumable(out, code), out))
    return watched(steps, quiet)


def load(folder: str | Path, *, code: str | None = None, build: "Callable[[], nn.Module] | None" = None) -> "Trained":
    """The model of a run, or the winner of a study: `load("study").predict(["some text"])`."""
    from warmstart.deliver.predict import load as load_trained

    return load_trained(folder, code=code, build=build)


def probe(folder: str | Path, swap: str | Path, data: Data | None = None, *, code: str | None = None) -> "Probe":
    """How far predictions move where terms are swapped: `swap` is a CSV file, two terms a line, without a header.

    In the test rows that a study kept, or in the rows of `data`. Of a study it is kept as `probe.json`.

    >>> probe("study", "pairs.csv").regimes[0].together.effects["moved"].value  # doctest: +SKIP
    0.012
    """
    return last(probing(folder, swap, data, code=code))


def probing(
    folder: str | Path, swap: str | Path, data: Data | None = None, *, code: str | None = None
) -> "Generator[str, None, Probe]":
    """The same as an iterator of what is being done."""
    from warmstart.data.swaps import read_pairs

    pairs = read_pairs(Path(swap))
    files, table = _given(data) if data is not None else ((), None)
    if files and table is None:
        table = read_files(files)

    def steps() -> "Generator[str, None, Probe]":
        from warmstart.deliver.probe import probe as probe_models

        return (yield from probe_models(Path(folder), pairs, table, code))

    return steps()


def report(folder: str | Path, *, examples: bool = True) -> Path:
    """Write `report.html` anew from the finished runs of a study; gives its path. Trains nothing."""
    out = _finished_comparison(folder)
    _write(config.load(out), out, examples=examples)
    return out / "report.html"


def _naming(request: config.Request, own: Mapping[str, Any]) -> config.Request:
    """With regimes of one's own among those asked for: `resume`, which has no code of theirs, then refuses."""
    from warmstart.regimes import DEFAULT

    names = dict.fromkeys((*(request.regimes or DEFAULT), *(f"scratch-{name}" for name in own)))
    return replace(request, regimes=tuple(names)) if own else request


def _finished_comparison(folder: str | Path) -> Path:
    out = Path(folder)
    if config.load(out).command == "fit":
        raise UsageError(
            f"{str(out)!r} is a single run; a report compares several.", f"see it with: warmstart runs {out}"
        )
    if not (out / "study.json").exists():
        raise UsageError(f"the study in {str(out)!r} is not finished.", f"go on with: warmstart resume {out}")
    return out


def blind(folder: str | Path, names: Sequence[str]) -> Path:
    """Write `blind.html`: answers of two regimes, or of one and `reference`, for a person to judge; gives its path."""
    from warmstart import votes
    from warmstart.study import load_examples, read_back

    out = _finished_comparison(folder)
    return votes.make_page(read_back(out).comparison, load_examples(out / "examples.parquet"), names, out)


def vote(folder: str | Path, file: str | Path) -> "Preference":
    """Keep the votes that such a page gave: they are in `report.html` and `comparison.json` from the next report on."""
    from warmstart import votes

    return votes.enter(_finished_comparison(folder), Path(file))


def finished(folder: str | Path) -> list[Run]:
    """The finished runs of a study, or the one run of a fit, by name."""
    out = Path(folder)
    config.load(out)
    folders = [out, *sorted((out / "runs").glob("*"))]
    return [load_run(one) for one in folders if (one / "run.json").exists()]


def finished_study(folder: Path) -> "Study | None":
    """A study all of whose runs are done, read back; None where there is still something to train."""
    from warmstart.study import read_back

    if not (folder / "study.json").exists():
        return None
    results = ("comparison.json", "advice.json", "report.html", "winner")
    if not all((folder / name).exists() for name in results):  # stopped after the last run
        return _write(config.load(folder), folder)
    return read_back(folder)


def finished_run(folder: Path) -> Run | None:
    """The run of a fit, read back; None where it is not finished."""
    return load_run(folder) if world().by_main((folder / "run.json").exists) else None


def _write(request: config.Request, folder: Path, *, examples: bool = True) -> "Study":
    from warmstart.study import read_back, write

    findings = [Finding(**facts | {"rows": tuple(facts["rows"])}) for facts in _facts(folder / "findings.json")]
    found, command = read_back(folder), config.command_line(request, str(folder))
    return write(found.comparison, folder, findings, command, examples=examples, raced=found.raced)


def _facts(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


def _given(data: Data) -> tuple[tuple[str, ...], Table | None]:
    """Names of files, and the table where it was given itself. Raises UsageError for what is neither."""
    if isinstance(data, str | Path):
        return (str(data),), None
    if isinstance(data, Table) or is_in_memory(data):
        table = data if isinstance(data, Table) else table_of(data)
        return table.files, table
    if isinstance(data, Sequence) and all(isinstance(each, str | Path) for each in data):
        return tuple(map(str, data)), None
    raise UsageError(
        f"data is a {type(data).__name__}, which is neither files nor columns.",
        "give a path, several paths, a DataFrame, or a mapping of column names to lists",
    )


def _asked(
    command: Command, data: Data, target: str | None, settings: Mapping[str, Any]
) -> tuple[config.Request, Table | None]:
    """The request that keyword arguments make, and the table if it was given as one."""
    files, table = _given(data)
    values = {key: config.parsed(key, value) for key, value in settings.items()}
    return config.from_mapping(values | {"command": command, "data": files, "target": target}), table
