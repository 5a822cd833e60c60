"""API: the public functions: a request carried out. The command line adds nothing but words and bars."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.data.rows.check import CheckResult
from warmstart.data.rows.findings import Finding
from warmstart.data.schema.infer import infer_schema
from warmstart.data.tables.read import InMemory, Table, is_in_memory, table_of
from warmstart.data.tables.read import read_table as read_files
from warmstart.errors import UsageError
from warmstart.request import request as config
from warmstart.request.launch import (
    CATALOGUE,
    Started,
    check_vacant,
    compare_steps,
    fit_steps,
    plan_steps,
    restart,
    resumable,
    run_to_end,
    start,
    steps_of,
)
from warmstart.request.options import Command
from warmstart.request.parse import parse_value
from warmstart.request.prepare import check_data, prepare_study
from warmstart.request.show import command_line
from warmstart.results.record import Run, load_run
from warmstart.runtime.distributed import world
from warmstart.runtime.files import read_json
from warmstart.study.progress import run_with_progress, run_with_status

if TYPE_CHECKING:
    from torch import nn

    from warmstart.inference.predict import TrainedModel
    from warmstart.planning.forecast import RegimeForecast
    from warmstart.reporting.blind import Preference
    from warmstart.results.term_swaps import ProbeResult
    from warmstart.study.progress import Progress
    from warmstart.study.study import Study


__all__ = [
    "CATALOGUE",
    "Started",
    "advise",
    "blind",
    "check",
    "check_data",
    "check_vacant",
    "compare",
    "compare_steps",
    "finished",
    "finished_run",
    "finished_study",
    "fit",
    "fit_steps",
    "load",
    "plan",
    "plan_steps",
    "prepare_study",
    "probe",
    "probing",
    "read",
    "report",
    "restart",
    "resumable",
    "resume",
    "run_to_end",
    "start",
    "steps_of",
    "table_of",
    "vote",
]

Data = str | Path | Sequence[str | Path] | InMemory | Table


def read(source: str | Path | Sequence[str | Path], *, offline: bool = False) -> Table:
    """CSV, TSV, JSONL, Parquet or Arrow files, a glob, a folder, or a hub id, as one table."""
    return read_files(source, offline=offline)


def check(data: Data, target: str | None = None, **settings: Any) -> CheckResult:
    """What a table was recognised as, and findings by row. Trains nothing."""
    request, table = _asked("check", data, target, settings)
    table = table or read_files(request.data, offline=request.offline)
    return check_data(request, table, infer_schema(table, request.columns))


def plan(
    data: Data, target: str | None = None, *, quiet: bool = False, **settings: Any
) -> "tuple[RegimeForecast, ...]":
    """What each regime would take, before any training: weights, FLOPs, memory, time, disk, energy, money.

    Settings are those of `warmstart plan --help` with underscores: `device="h100"`, `devices=8`, `price_per_hour=4`.

    >>> [f.regime for f in plan("prices.csv", "price") if f.fits is False]  # doctest: +SKIP
    []
    """
    request, table = _asked("plan", data, target, settings)
    return run_with_status(plan_steps(request, table), quiet).forecasts


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
    return run_with_progress(compare_steps(start(request, Path(out), table), own), quiet)


def advise(data: Data, target: str | None, out: str | Path, *, quiet: bool = False, **settings: Any) -> "Study":
    """The answer of `compare` for a tenth of its compute (`budget`: another share, or seconds), by a race.

    >>> study = advise("prices.csv", "price", "study", budget="10%")  # doctest: +SKIP
    >>> study.advice.choice, study.advice.predicted["score"]  # doctest: +SKIP
    ('full', 0.128)
    """
    own = settings.pop("own", {})
    request, table = _asked("advise", data, target, settings)
    request = _naming(request, own)
    return run_with_progress(compare_steps(start(request, Path(out), table), own), quiet)


def fit(data: Data, target: str | None, regime: str, out: str | Path, *, quiet: bool = False, **settings: Any) -> Run:
    """Search a learning rate for one regime, train it, score it once; the model is in `out`.

    Regime `auto`: the one that a race advises, which is kept in `out/advice`.
    """
    own = settings.pop("own", {})
    request, table = _asked("fit", data, target, settings | {"regime": regime})
    if request.races:
        request = _naming(request, own)
    return run_with_progress(fit_steps(start(request, Path(out), table), own), quiet)


def resume(folder: str | Path, *, code: str | None = None, quiet: bool = False) -> "Study | Run":
    """Go on with a study or a run that was stopped; one that is finished is read back.

    `code`: the `--model` that it was made with.
    """
    out = Path(folder)
    done = (finished_run if config.load_request(out).command == "fit" else finished_study)(out)
    if done is not None:
        return done
    steps: Generator[Progress, None, Study | Run] = steps_of(restart(resumable(out, code), out))
    return run_with_progress(steps, quiet)


def load(
    folder: str | Path, *, code: str | None = None, build: "Callable[[], nn.Module] | None" = None
) -> "TrainedModel":
    """The model of a run, or the winner of a study: `load("study").predict(["some text"])`."""
    from warmstart.inference.predict import load_model_for_prediction as load_trained

    return load_trained(folder, code=code, build=build)


def probe(folder: str | Path, swap: str | Path, data: Data | None = None, *, code: str | None = None) -> "ProbeResult":
    """How far predictions move where terms are swapped: `swap` is a CSV file, two terms a line, without a header.

    In the test rows that a study kept, or in the rows of `data`. Of a study it is kept as `probe.json`.

    >>> probe("study", "pairs.csv").regimes[0].together.effects["moved"].value  # doctest: +SKIP
    0.012
    """
    return run_to_end(probing(folder, swap, data, code=code))


def probing(
    folder: str | Path, swap: str | Path, data: Data | None = None, *, code: str | None = None
) -> "Generator[str, None, ProbeResult]":
    """The same as an iterator of what is being done."""
    from warmstart.data.rows.term_swaps import read_pairs

    pairs = read_pairs(Path(swap))
    files, table = _given(data) if data is not None else ((), None)
    if files and table is None:
        table = read_files(files)

    def steps() -> "Generator[str, None, ProbeResult]":
        from warmstart.study.probe import probe_models as probe_models

        return (yield from probe_models(Path(folder), pairs, table, code))

    return steps()


def report(folder: str | Path, *, examples: bool = True) -> Path:
    """Write `report.html` anew from the finished runs of a study; gives its path. Trains nothing."""
    out = _finished_comparison(folder)
    _write(config.load_request(out), out, examples=examples)
    return out / "report.html"


def _naming(request: config.Request, own: Mapping[str, Any]) -> config.Request:
    """With regimes of one's own among those asked for: `resume`, which has no code of theirs, then refuses."""
    from warmstart.regimes.regimes import DEFAULT_REGIMES

    names = dict.fromkeys((*(request.regimes or DEFAULT_REGIMES), *(f"scratch-{name}" for name in own)))
    return replace(request, regimes=tuple(names)) if own else request


def _finished_comparison(folder: str | Path) -> Path:
    out = Path(folder)
    if config.load_request(out).command == "fit":
        raise UsageError(
            f"{str(out)!r} is a single run; a report compares several.", f"see it with: warmstart runs {out}"
        )
    if not (out / "study.json").exists():
        raise UsageError(f"the study in {str(out)!r} is not finished.", f"go on with: warmstart resume {out}")
    return out


def blind(folder: str | Path, names: Sequence[str]) -> Path:
    """Write `blind.html`: answers of two regimes, or of one and `reference`, for a person to judge; gives its path."""
    from warmstart.reporting import votes
    from warmstart.study.study import load_examples, read_study

    out = _finished_comparison(folder)
    return votes.write_blind_page(read_study(out).comparison, load_examples(out / "examples.parquet"), names, out)


def vote(folder: str | Path, file: str | Path) -> "Preference":
    """Keep the votes that such a page gave: they are in `report.html` and `comparison.json` from the next report on."""
    from warmstart.reporting import votes

    return votes.enter_votes(_finished_comparison(folder), Path(file))


def finished(folder: str | Path) -> list[Run]:
    """The finished runs of a study, or the one run of a fit, by name."""
    out = Path(folder)
    config.load_request(out)
    folders = [out, *sorted((out / "runs").glob("*"))]
    return [load_run(one) for one in folders if (one / "run.json").exists()]


def finished_study(folder: Path) -> "Study | None":
    """A study all of whose runs are done, read back; None where there is still something to train."""
    from warmstart.study.study import read_study

    if not (folder / "study.json").exists():
        return None
    results = ("comparison.json", "advice.json", "report.html", "winner")
    if not all((folder / name).exists() for name in results):  # stopped after the last run
        return _write(config.load_request(folder), folder)
    return read_study(folder)


def finished_run(folder: Path) -> Run | None:
    """The run of a fit, read back; None where it is not finished."""
    return load_run(folder) if world().on_main((folder / "run.json").exists) else None


def _write(request: config.Request, folder: Path, *, examples: bool = True) -> "Study":
    from warmstart.study.study import read_study, write_study

    path = folder / "findings.json"
    findings = list(read_json(path, tuple[Finding, ...], "delete it")) if path.exists() else []
    found, command = read_study(folder), command_line(request, str(folder))
    return write_study(found.comparison, folder, findings, command, examples=examples, raced=found.raced)


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
    values = {key: parse_value(key, value) for key, value in settings.items()}
    return config.from_mapping(values | {"command": command, "data": files, "target": target}), table
