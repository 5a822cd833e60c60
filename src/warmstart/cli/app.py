"""App: which commands are there? Parse, call one public function, print: results to stdout, messages to stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer

from warmstart.cli import option_types, process
from warmstart.cli.flags import SectionedCommand, command_options
from warmstart.cli.model_commands import commands_of_a_model
from warmstart.cli.option_types import DryRun, Folder, Json, Out, Quiet
from warmstart.cli.study_commands import commands_of_a_study
from warmstart.errors import UsageError, did_you_mean
from warmstart.request.serialize import command_line, commented_yaml
from warmstart.runtime import supervisor
from warmstart.runtime.distributed import world

if TYPE_CHECKING:
    from warmstart.data.rows.check import CheckResult
    from warmstart.request.request import Request
    from warmstart.request.start import Started
    from warmstart.results.record import Run
    from warmstart.study.study import Study


# Lazily imported below: rich, pyarrow, torch, transformers. `--help` must answer at once.

MISTYPED = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])  # an unknown flag, a missing one: all of them

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train from scratch, fine-tune, or both? Find out on your own data, then ship the winner.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"warmstart {version('warmstart')}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print name and version.")
    ] = False,
) -> None:
    """What stands before a command."""


# The default ones without `discriminative`, which takes as long as `full` and comes to much the same here.
# Without `scratch`: the base's architecture from random weights takes as long as `full`, and came last but `frozen`.
DEMO_REGIMES = (
    *("constant", "linear", "boosted", "embedded", "scratch-dnn"),
    *("frozen", "full", "lora", "ensemble"),
)


@app.command(cls=SectionedCommand)
def demo(
    out: Out = Path("demo"),
    budget: Annotated[str, typer.Option("--budget", help="Time to spend.")] = "4m",
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Compare regimes on a generated product catalog.

    Which way of training predicts the prices best? Needs no network.
    """
    import pyarrow.csv

    from warmstart import api
    from warmstart.cli.demo_data import catalog
    from warmstart.quantities import parse_duration
    from warmstart.request.request import Request, save_request
    from warmstart.study.progress import print_status, run_with_progress

    made = catalog()
    request = Request(
        data=(str(out / api.CATALOG),),
        target="price",
        text=("title", "description", "category", "brand", "weight", "rating", "in_stock"),
        regimes=DEMO_REGIMES,
        rows=(1600,),
        seeds=1,
        trials=1,  # at their usual rates: a search would take as long as all runs together
        dropout=0.0,  # of the base: in numbers to predict it left more error (.158 against .152 here), and costs time
        budget=parse_duration(budget),
        noise_floor=made.noise_floor,
    )
    api.check_vacant(out)
    save_request(request, out)
    pyarrow.csv.write_csv(made.table, out / api.CATALOG)
    if not quiet:
        where = f"{made.table.num_rows:,} products in {out / api.CATALOG}"
        print_status(f"{where}; each price is a known function of words and columns, times noise:")
        print_status(f"no model can reach a mean absolute error below {made.noise_floor:.4f} of log10(price).")
    begun = api.restart(request, out)
    with _resumable(begun, quiet, json_):
        _show_study(run_with_progress(api.compare_steps(begun), quiet), json_)


@app.command(cls=SectionedCommand)
@command_options("check")
def check(request: "Request", json_: Json = False) -> None:
    """Check the data: task, columns and problems.

    Nothing is trained. Exits with code 2 if the data has errors.
    """
    from warmstart import api
    from warmstart.cli import print_results
    from warmstart.data.schema.infer import infer_schema
    from warmstart.data.schema.label_columns import join_label_columns
    from warmstart.data.tables.read import read_table

    table = join_label_columns(read_table(request.data, offline=request.offline, table=request.table), request.target)
    found = api.check_data(request, table, infer_schema(table, request.columns))
    print_results.print_json(found) if json_ else print_results.show_check(found)
    _fail_if(found)


@app.command(cls=SectionedCommand)
@command_options("plan")
def plan(request: "Request", json_: Json = False, quiet: Quiet = False) -> None:
    """Estimate time, memory and cost before training.

    Disk and energy too. With --task and --rows instead of DATA, estimates come from the log of earlier runs.
    """
    from warmstart import api
    from warmstart.cli import print_results
    from warmstart.study.progress import run_with_status

    found = run_with_status(api.plan_steps(request), quiet)
    print_results.print_json([one.to_json() for one in found.forecasts]) if json_ else print_results.show_plan(found)


@app.command(cls=SectionedCommand)
@command_options("compare")
def compare(out: Out, request: "Request", json_: Json = False, quiet: Quiet = False, dry_run: DryRun = False) -> None:
    """Compare regimes on the same split of your data.

    Writes a recommendation, an HTML report and the winning model.
    """
    from warmstart import api
    from warmstart.study.progress import run_with_progress

    if dry_run:
        return _describe(request, out, json_)
    begun = api.start(request, out)
    with _resumable(begun, quiet, json_):
        _show_study(run_with_progress(api.compare_steps(begun), quiet), json_)


@app.command(cls=SectionedCommand)
@command_options("advise")
def advise(out: Out, request: "Request", json_: Json = False, quiet: Quiet = False, dry_run: DryRun = False) -> None:
    """Find the best regime at about a tenth of the compute.

    Regimes race on growing numbers of training rows. Writes the same files as compare.
    """
    from warmstart import api
    from warmstart.study.progress import run_with_progress

    if dry_run:
        return _describe(request, out, json_)
    begun = api.start(request, out)
    with _resumable(begun, quiet, json_):
        _show_study(run_with_progress(api.compare_steps(begun), quiet), json_)


@app.command(cls=SectionedCommand)
@command_options("fit")
def fit(out: Out, request: "Request", json_: Json = False, quiet: Quiet = False, dry_run: DryRun = False) -> None:
    """Train one regime and score it.

    Its learning rate is searched first.
    """
    from warmstart import api
    from warmstart.study.progress import run_with_progress

    if dry_run:
        return _describe(request, out, json_)
    begun = api.start(request, out)
    with _resumable(begun, quiet, json_):
        _show_run(run_with_progress(api.fit_steps(begun), quiet), out, json_)


@app.command(cls=SectionedCommand)
def predict(
    folder: Folder,
    data: option_types.DataArgument,
    out: option_types.Predictions = None,
    id_: option_types.IdColumn = None,
    keep_columns: option_types.KeepColumns = False,
    probabilities: option_types.EveryClass = False,
    explain: option_types.Influences = None,
    model: option_types.Code = None,
    table: option_types.TableName = None,
    offline: option_types.Offline = None,
    quiet: Quiet = False,
) -> None:
    """Predict new rows with a run or the winner of a study."""
    from warmstart import api
    from warmstart.cli.predictions import Beside, RowsToPredict, show_predictions
    from warmstart.data.tables.parts import parts_of
    from warmstart.data.tables.read import read_table
    from warmstart.inference.prediction_files import check_apart, check_ending

    check_ending(out)
    parts = parts_of(data) if table is None else None
    if parts is not None:
        asked = RowsToPredict(parts, parts.names, None)
        check_apart(out, [str(parts.path)])
    else:
        rows = read_table(data, offline=bool(offline), table=table)
        asked = RowsToPredict((rows,), rows.columns.column_names, rows.columns.num_rows)
        check_apart(out, rows.files)
    beside = Beside(id_, keep_columns, probabilities, explain or 0)
    show_predictions(api.load(folder, code=model), asked, out, quiet, beside)


for name, command in commands_of_a_model().items():
    app.command(name, cls=SectionedCommand)(command)


@app.command(cls=SectionedCommand)
def probe(
    folder: Folder,
    swap: option_types.Swap,
    data: option_types.SwapRows = None,
    model: option_types.Code = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how predictions change when terms are swapped.

    Shows what was inherited from the base, and what was learned from your data.
    """
    from warmstart import api
    from warmstart.cli import print_results
    from warmstart.study.progress import run_with_status

    found = run_with_status(api.probing(folder, swap, data, code=model), quiet)
    print_results.print_json(found.to_json()) if json_ else print_results.show_probe(found, folder)


for name, command in commands_of_a_study().items():
    app.command(name, cls=SectionedCommand)(command)


@app.command(cls=SectionedCommand)
def resume(
    folder: Folder,
    budget: option_types.LargerBudget = None,
    compute: option_types.MoreCompute = None,
    model: option_types.Code = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Resume a study or a run that was stopped.

    Finished runs are not repeated. With a larger --budget, a finished study trains what it had no time for.
    """
    from warmstart import api
    from warmstart.request.parse import parse_value
    from warmstart.request.request import load_request
    from warmstart.study.progress import print_status, run_with_progress

    if budget is not None or compute is not None:
        api.raise_budget(folder, parse_value("budget", budget), parse_value("compute", compute))
    fits = load_request(folder).command == "fit"
    run, study = (api.finished_run(folder), None) if fits else (None, api.finished_study(folder))
    if (run or study) and world().main:
        print_status(f"{folder} is finished: nothing is left to train.")
    if run is not None:
        return _show_run(run, folder, json_)
    if study is not None:
        return _show_study(study, json_)
    begun = api.restart(api.resumable(folder, model), folder)
    with _resumable(begun, quiet, json_):
        if fits:
            return _show_run(run_with_progress(api.fit_steps(begun), quiet), folder, json_)
        _show_study(run_with_progress(api.compare_steps(begun), quiet), json_)


@app.command(cls=SectionedCommand)
@command_options("compare", ("data", "target"))
def init(
    request: "Request",
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("warmstart.yaml"),
) -> None:
    """Write a YAML file with every setting and its default."""
    import shlex

    from warmstart.cli import print_results

    text = commented_yaml(request)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{str(out)!r} already exists.", "choose another file with --out") from error
    except OSError as error:
        raise UsageError(
            f"{str(out)!r} cannot be written: {error.strerror}.", "choose another file with --out"
        ) from error
    print_results.print_line(
        f"wrote {out}; use it with: warmstart compare --config {shlex.quote(str(out))} --out study"
    )


@app.command("config-schema", cls=SectionedCommand)
def print_config_schema() -> None:
    """Print a JSON Schema of the file of --config, for editors."""
    import json

    from warmstart.request.serialize import config_schema

    print(json.dumps(config_schema(), indent=2))


@app.command(cls=SectionedCommand)
def regimes() -> None:
    """List the regimes."""
    from warmstart.cli import print_results

    print_results.show_regimes()


@app.command(cls=SectionedCommand)
def doctor() -> None:
    """Show the device, versions and missing packages."""
    from warmstart.cli import print_results

    print_results.show_doctor()


def _describe(request: "Request", out: Path, as_json: bool) -> None:
    """Everything that can be found wrong, what was recognized, and the command in full."""
    from warmstart import api
    from warmstart.cli import print_results

    if not world().main:
        return
    api.check_vacant(out)
    found = api.prepare_study(request, None, {}).checked
    command = command_line(request, str(out))
    if as_json:
        print_results.print_json({"checked": found, "command": command})
    else:
        print_results.show_check(found)
        if found.usable:
            print_results.print_line(f"\nwould run: {command}")
    _fail_if(found)


def _fail_if(found: "CheckResult") -> None:
    if not found.usable:
        raise typer.Exit(2)


@contextmanager
def _resumable(begun: "Started", quiet: bool, as_json: bool) -> Iterator[None]:
    """Inside, work can be resumed after a stop: by a person, and by the process that waits for this one."""
    flags = (["--json"] * as_json) + (["--quiet"] * quiet)
    code = ["--model", begun.request.model] if begun.request.model else []
    supervisor.resume_with(["resume", *flags, *code, "--", str(begun.folder)])
    try:
        yield
    except process.Stopped as stopped:
        raise process.Stopped(stopped.code, begun.folder) from None


def _show_study(done: "Study", as_json: bool) -> None:
    """Show the verdict, the table, and where the rest is."""
    from warmstart.cli import print_results

    if world().main:
        print_results.show_study(done, as_json)


def _show_run(done: "Run", folder: Path, as_json: bool) -> None:
    """Show the result. A run that diverged has left no model: that is a failure."""
    from warmstart.cli import print_results

    if world().main:
        print_results.show_run(done, folder, as_json)
    if done.test is None:
        raise typer.Exit(1)


def run_cli() -> NoReturn:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong use or input, 130 Ctrl-C, 143 SIGTERM."""
    process.run_command(_asked)


def _asked() -> None:
    """Carry out what was typed; what is wrong in it is reported like all other errors."""
    try:
        code = app(prog_name="warmstart", standalone_mode=False)
    except MISTYPED as error:
        said = " ".join(error.format_message().split())
        if said.startswith("Usage:"):  # nothing was typed
            error.show()
            raise SystemExit(error.exit_code) from None
        alike = getattr(error, "possibilities", None)
        name = getattr(error, "option_name", "")
        known = f"`{error.ctx.command_path if error.ctx else 'warmstart'} --help` lists all options"
        said = said.partition(" (Possible options")[0].partition(" Did you mean")[0]
        raise UsageError(f"{said[:1].lower()}{said[1:]}", did_you_mean(name, alike) if alike else known) from None
    raise SystemExit(code or 0)
