"""API: which functions are public? Each carries out a request; the command line adds only text and progress bars."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from warmstart.data.rows.check import CheckResult
from warmstart.data.rows.findings import Finding
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.label_columns import join_label_columns
from warmstart.data.tables.in_memory import InMemory, given, table_of
from warmstart.data.tables.read import Table
from warmstart.data.tables.read import read_table as read_files
from warmstart.request.keywords import AdviseSettings, CheckSettings, CompareSettings, FitSettings, PlanSettings
from warmstart.request.launch import compare_steps, fit_steps, plan_steps, run_to_end, steps_of
from warmstart.request.parse import parse_value
from warmstart.request.prepare import check_data, prepare_study
from warmstart.request.request import Request, from_mapping, load_request
from warmstart.request.serialize import command_line
from warmstart.request.signatures import check_keywords, with_settings
from warmstart.request.start import CATALOG, Started, check_vacant, raise_budget, restart, resumable, start
from warmstart.request.unfinished import comparison_folder, finished_comparison, report_unfinished
from warmstart.results.record import Run, load_run
from warmstart.runtime.distributed import world
from warmstart.runtime.files import read_json
from warmstart.settings.setting import Command
from warmstart.study.progress import run_with_progress, run_with_status

if TYPE_CHECKING:
    from torch import nn

    from warmstart.inference.export.export import Exported
    from warmstart.inference.predict import TrainedModel
    from warmstart.planning.forecast import PlanResult
    from warmstart.reporting.blind_comparison import Preference
    from warmstart.request.read_data import OwnRegimes
    from warmstart.results.probe_result import ProbeResult
    from warmstart.study.study import Study
    from warmstart.training.event import Event


__all__ = [
    "CATALOG",
    "Started",
    "advise",
    "blind",
    "check",
    "check_data",
    "check_vacant",
    "compare",
    "compare_steps",
    "export",
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
    "raise_budget",
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

Data = str | Path | Sequence[str | Path] | Sequence[Mapping[str, Any]] | InMemory


def read(source: str | Path | Sequence[str | Path], *, offline: bool = False, table: str | None = None) -> Table:
    """Read CSV, TSV, JSON, Parquet, Arrow, Excel, SQLite or text files, a glob, a folder, or a Hugging Face id.

    `columns` of the `Table` is a `pyarrow.Table`; every function that takes `data` takes it. `offline`: use only what
    is on this machine. `table`: which table of a database. Raises InputError, which names file and row, where a file
    cannot be read.
    """
    return read_files(source, offline=offline, table=table)


@with_settings("check")
def check(data: Data, target: str | None = None, **settings: Unpack[CheckSettings]) -> CheckResult:
    """Check data without training: its task, its columns, and findings by row. Parameters as of `compare`.

    The `CheckResult` is `usable` unless training would refuse the data; `to_table()` lists its findings.
    """
    request, table = _asked("check", data, target, settings)
    table = table or read_files(request.data, offline=request.offline, table=request.table)
    table = join_label_columns(table, request.target)
    return check_data(request, table, infer_schema(table, request.columns))


@with_settings("plan")
def plan(
    data: Data, target: str | None = None, *, quiet: bool = False, **settings: Unpack[PlanSettings]
) -> "PlanResult":
    """Estimate what each regime takes before any training: weights, FLOPs, memory, time, disk, energy and money.

    Parameters as of `compare`. The `PlanResult` holds one `RegimeForecast` for each regime: `seconds` and `flops` are
    of all its runs, `peak_memory_bytes` of one process, `money` in US dollars.

    >>> [f.regime for f in plan("prices.csv", "price", device="h100") if f.fits is False]  # doctest: +SKIP
    []
    """
    request, table = _asked("plan", data, target, settings)
    return run_with_status(plan_steps(request, table), quiet)


@with_settings("compare")
def compare(
    data: Data,
    target: str | None,
    out: str | Path,
    *,
    quiet: bool = False,
    own: "OwnRegimes | None" = None,
    **settings: Unpack[CompareSettings],
) -> "Study":
    """Compare regimes on the same test rows, with several seeds each.

    Parameters
    ----------
    data : path, glob, sequence of paths, DataFrame, mapping of column names to lists, sequence of mappings, or Table
        The rows.
    target : str or None
        Column to predict. None for a corpus, conversations or `fields`.
    out : path
        Folder to write: the report, the winning model, and every run. It must not exist yet.
    quiet : bool, default False
        Show no progress on stderr.
    own : mapping of str to callable, optional
        Architectures of your own by name: functions that take the size of the vocabulary and give a `torch.nn.Module`.
        Each is trained as regime `scratch-NAME`.

    Returns
    -------
    Study
        `advice` is the answer, `comparison` the table behind it. A notebook shows both.

    Raises
    ------
    UsageError, InputError
        A setting, the folder, or the data cannot be used. Nothing is left behind then.

    Examples
    --------
    >>> study = compare("prices.csv", "price", "study", budget="10m", regimes=["full", "linear"])  # doctest: +SKIP
    >>> study.advice.verdict  # doctest: +SKIP
    'fine-tune'
    """
    request, table = _asked("compare", data, target, settings)
    request = _naming(request, own or {})
    return run_with_progress(compare_steps(start(request, Path(out), table), own), quiet)


@with_settings("advise")
def advise(
    data: Data,
    target: str | None,
    out: str | Path,
    *,
    quiet: bool = False,
    own: "OwnRegimes | None" = None,
    **settings: Unpack[AdviseSettings],
) -> "Study":
    """Find the best regime at about a tenth of the compute, by a race over growing numbers of training rows.

    Parameters as of `compare`; `budget` may also be a share of the full comparison's time.

    >>> study = advise("prices.csv", "price", "study", budget="10%")  # doctest: +SKIP
    >>> study.advice.choice, study.advice.predicted["score"]  # doctest: +SKIP
    ('full', 0.128)
    """
    request, table = _asked("advise", data, target, settings)
    request = _naming(request, own or {})
    return run_with_progress(compare_steps(start(request, Path(out), table), own), quiet)


@with_settings("fit")
def fit(
    data: Data,
    target: str | None,
    regime: str,
    out: str | Path,
    *,
    quiet: bool = False,
    own: "OwnRegimes | None" = None,
    **settings: Unpack[FitSettings],
) -> Run:
    """Train one regime: search its learning rate, train, and score it once on the test rows.

    Parameters as of `compare`. `regime`: a name that `warmstart regimes` lists, or "auto" for the one that a race
    recommends, which is kept in `out/advice`. `test` of the `Run` is its score in `units`; `load(out)` is the model.
    """
    request, table = _asked("fit", data, target, settings, regime)
    if request.races:
        request = _naming(request, own or {})
    return run_with_progress(fit_steps(start(request, Path(out), table), own), quiet)


def resume(
    folder: str | Path,
    *,
    code: str | None = None,
    budget: float | str | None = None,
    compute: float | str | None = None,
    quiet: bool = False,
) -> "Study | Run":
    """Resume a study or a run that was stopped; one that is finished is read back.

    Gives a `Run` where `folder` is one of `fit`, otherwise a `Study`. `code`: the `model` that it was made with, whose
    file is executed again. `budget`: more time for the study, finished runs included, such as "1h": what there was no
    time for is trained. `compute`: the same for a study that was given `compute`, such as "40TFLOP". Raises UsageError
    where it is not more than before.
    """
    out = Path(folder)
    if budget is not None or compute is not None:
        raise_budget(out, parse_value("budget", budget), parse_value("compute", compute))
    done = (finished_run if load_request(out).command == "fit" else finished_study)(out)
    if done is not None:
        return done
    steps: Generator[Event, None, Study | Run] = steps_of(restart(resumable(out, code), out))
    return run_with_progress(steps, quiet)


def load(
    folder: str | Path, *, code: str | None = None, build: "Callable[[], nn.Module] | None" = None
) -> "TrainedModel":
    """Load the model of a run, or the winner of a study.

    `code`: the `model` that it was made with, whose file is executed. `build`: what builds an architecture of your own.
    `predict` of the `TrainedModel` gives one dict for each row: "prediction" in the target's units, and its "low" and
    "high" (90 % interval) or its "probability".

    >>> load("study").predict([{"title": "camping tent"}])  # doctest: +SKIP
    [{'prediction': 41.9, 'low': 28.5, 'high': 61.6}]
    """
    from warmstart.inference.predict import load_model_for_prediction as load_trained

    return load_trained(folder, code=code, build=build)


def export(
    folder: str | Path,
    to: str,
    out: str | Path,
    *,
    data: Data | None = None,
    int8: bool = False,
    code: str | None = None,
) -> "Exported":
    """Write the model of a run, or the winner of a study, so that other tools load it; it is scored again there.

    Parameters
    ----------
    folder : path
        A finished run or study.
    to : {"hf", "merged", "onnx", "gguf"}
        For transformers or sentence-transformers; adapters merged into their base; one graph for onnxruntime; one file
        for llama.cpp.
    out : path
        Folder to write. It must not exist yet.
    data : path, paths, DataFrame, mapping or Table, optional
        The data of the study, from which its test rows are taken. [default: the files that it was made with]
    int8 : bool, default False
        Weights of an ONNX graph or a GGUF file in int8.
    code : str, optional
        The `model` that it was made with, whose file is executed.

    Returns
    -------
    Exported
        `before` and `after` are the metric on the test rows.

    Raises
    ------
    UsageError, InputError
        The model does not exist in that format, or the test rows are not there.
    TrainingError
        The export scores otherwise: by more than 0.1 % of the metric, int8 by more than 1 %. Nothing is kept then.

    Examples
    --------
    >>> export("study", "onnx", "model").drift < 0.001  # doctest: +SKIP
    True
    """
    from warmstart.request.export_run import export_run

    files, table = given(data) if data is not None else ((), None)
    return export_run(Path(folder), to, Path(out), files, table, int8=int8, code=code)


def probe(folder: str | Path, swap: str | Path, data: Data | None = None, *, code: str | None = None) -> "ProbeResult":
    """How far predictions move where terms are swapped: `swap` is a CSV file, two terms a line, without a header.

    In the test rows that a study kept, or in the rows of `data`. Of a study it is kept as `probe.json`.

    >>> probe("study", "pairs.csv").regimes[0].together.effects["moved"].value  # doctest: +SKIP
    0.012
    """
    return run_to_end(probing(folder, swap, data, code=code))


def probing(
    folder: str | Path, swap: str | Path, data: Data | None = None, *, code: str | None = None
) -> "Generator[Event, None, ProbeResult]":
    """The same as an iterator of events."""
    from warmstart.data.rows.term_swaps import read_pairs

    pairs = read_pairs(Path(swap))
    files, table = given(data) if data is not None else ((), None)
    if files and table is None:
        table = read_files(files)

    from warmstart.study.probe import probe_models

    return probe_models(Path(folder), pairs, table, code)


def report(folder: str | Path, *, examples: bool = True) -> Path:
    """Write `report.html` anew from the finished runs of a study, all or so far; gives its path. Trains nothing."""
    out = comparison_folder(folder)
    if not (out / "study.json").exists():
        return report_unfinished(out, examples=examples)
    _write(load_request(out), out, examples=examples)
    return out / "report.html"


def _naming(request: Request, own: Mapping[str, Any]) -> Request:
    """With regimes of one's own among those asked for: `resume`, which has no code of theirs, then refuses."""
    from warmstart.regimes.regimes import DEFAULT_REGIMES

    names = dict.fromkeys((*(request.regimes or DEFAULT_REGIMES), *(f"scratch-{name}" for name in own)))
    return replace(request, regimes=tuple(names)) if own else request


def blind(folder: str | Path, names: Sequence[str]) -> Path:
    """Write `blind.html`: answers of two regimes, or of one and `reference`, for a person to judge; gives its path."""
    from warmstart.reporting import votes
    from warmstart.study.study import load_examples, read_study

    out = finished_comparison(folder)
    return votes.write_blind_page(read_study(out).comparison, load_examples(out / "examples.parquet"), names, out)


def vote(folder: str | Path, file: str | Path) -> "Preference":
    """Keep the votes that such a page gave: they are in `report.html` and `comparison.json` from the next report on."""
    from warmstart.reporting import votes

    return votes.enter_votes(finished_comparison(folder), Path(file))


def finished(folder: str | Path) -> list[Run]:
    """The finished runs of a study, or the one run of a fit, by name."""
    out = Path(folder)
    load_request(out)
    folders = [out, *sorted((out / "runs").glob("*"))]
    return [load_run(one) for one in folders if (one / "run.json").exists()]


def finished_study(folder: Path) -> "Study | None":
    """A study all of whose runs are done, read back; None where there is still something to train."""
    from warmstart.study.study import read_study

    if not (folder / "study.json").exists():
        return None
    results = ("comparison.json", "advice.json", "report.html", "winner")
    if not all((folder / name).exists() for name in results):  # stopped after the last run
        return _write(load_request(folder), folder)
    return read_study(folder)


def finished_run(folder: Path) -> Run | None:
    """The run of a fit, read back; None where it is not finished."""
    return load_run(folder) if world().on_main((folder / "run.json").exists) else None


def _write(request: Request, folder: Path, *, examples: bool = True) -> "Study":
    from warmstart.study.study import read_study, write_study

    path = folder / "findings.json"
    findings = list(read_json(path, tuple[Finding, ...], "delete it")) if path.exists() else []
    found, command = read_study(folder), command_line(request, str(folder))
    return write_study(found.comparison, folder, findings, command, examples=examples, raced=found.raced)


def _asked(
    command: Command, data: Data, target: str | None, settings: Mapping[str, Any], regime: str | None = None
) -> tuple[Request, Table | None]:
    """The request that keyword arguments make, and the table if it was given as one."""
    files, table = given(data)
    check_keywords(command, settings)
    values = {key: parse_value(key, value) for key, value in settings.items() if value is not None}
    named = {"command": command, "data": files, "target": target, "regime": regime}
    return from_mapping(values | named), table
