"""Command line: parse, call one public function, print. Results go to stdout, progress and messages to stderr."""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar, cast

import typer

from warmstart.cli import process
from warmstart.cli.flags import command_options
from warmstart.errors import UsageError, did_you_mean
from warmstart.request.options import OPTIONS
from warmstart.request.show import command_line, commented_yaml
from warmstart.runtime import supervisor as supervise
from warmstart.runtime.distributed import world
from warmstart.runtime.load_pretrained import go_offline

if TYPE_CHECKING:
    from warmstart.data.rows.check import CheckResult
    from warmstart.request.launch import Started
    from warmstart.request.request import Request
    from warmstart.results.record import Run
    from warmstart.study.progress import Progress
    from warmstart.study.study import Study


# Lazily imported below: rich, pyarrow, torch, transformers. `--help` must answer at once.

Value = TypeVar("Value")
MISTYPED = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])  # an unknown flag, a missing one: all of them

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train from scratch, fine-tune, or both? Find out on your own data, then ship the winner.",
)

Code = Annotated[str | None, typer.Option("--model", help=OPTIONS["model"].help)]
Offline = Annotated[bool | None, typer.Option("--offline", help=OPTIONS["offline"].help)]
Out = Annotated[Path, typer.Option("--out", help="the folder to write")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, and stop")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="a run or a study")]


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"warmstart {version('warmstart')}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print name and version")
    ] = False,
) -> None:
    """What stands before a command."""


@app.command()
def demo(
    out: Out = Path("demo"),
    budget: Annotated[str, typer.Option("--budget", help="time to spend")] = "5m",
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """The whole way on a product catalogue made here: which way of training predicts its prices best?"""
    import pyarrow.csv

    from warmstart import api
    from warmstart.cli.demo_data import catalogue
    from warmstart.quantities import parse_duration
    from warmstart.request import request as config
    from warmstart.study.progress import print_status

    made = catalogue()
    request = config.Request(
        data=(str(out / api.CATALOGUE),),
        target="price",
        text=("title", "description", "category", "brand"),
        rows=(1200,),
        seeds=2,
        dropout=0.0,  # of the base: in numbers to predict it left more error (.158 against .152 here), and costs time
        budget=parse_duration(budget),
        noise_floor=made.noise_floor,
    )
    api.check_vacant(out)
    config.save_request(request, out)
    pyarrow.csv.write_csv(made.table, out / api.CATALOGUE)
    if not quiet:
        print_status(
            f"{made.table.num_rows:,} products in {out / api.CATALOGUE}; price = a law of its words x known noise:"
        )
        print_status(f"no model can have a mean absolute error below {made.noise_floor:.4f} of log10(price).")
    _finish(api.restart(request, out), quiet, json_)


@app.command()
@command_options("check")
def check(request: "Request", json_: Json = False) -> None:
    """What a table is recognised as, and what to know before training. Trains nothing; exit code 2 for an error."""
    from warmstart import api
    from warmstart.cli import show
    from warmstart.data.schema.infer import infer_schema
    from warmstart.data.tables.read import read_table

    table = read_table(request.data, offline=request.offline)
    found = api.check_data(request, table, infer_schema(table, request.columns))
    show.print_json(found) if json_ else show.show_check(found)
    _fail_if(found)


@app.command()
@command_options("plan")
def plan(request: "Request", json_: Json = False, quiet: Quiet = False) -> None:
    """Memory, time, disk, energy and money of each regime, before any training. Without DATA: --task and --rows."""
    from warmstart import api
    from warmstart.cli import show
    from warmstart.study.progress import run_with_status

    found = run_with_status(api.plan_steps(request), quiet)
    show.print_json([one.to_json() for one in found.forecasts]) if json_ else show.show_plan(found)


@app.command()
@command_options("compare")
def compare(out: Out, request: "Request", json_: Json = False, quiet: Quiet = False, dry_run: DryRun = False) -> None:
    """Every way of training on the same split: a verdict, a report, and the winning model."""
    _begin(request, out, quiet, json_, dry_run)


@app.command()
@command_options("advise")
def advise(out: Out, request: "Request", json_: Json = False, quiet: Quiet = False, dry_run: DryRun = False) -> None:
    """The same answer for a tenth of the compute: a race over more and more rows."""
    _begin(request, out, quiet, json_, dry_run)


@app.command()
@command_options("fit")
def fit(out: Out, request: "Request", json_: Json = False, quiet: Quiet = False, dry_run: DryRun = False) -> None:
    """Train one way: search its learning rate, train, score once, keep the model."""
    _begin(request, out, quiet, json_, dry_run)


@app.command()
def predict(
    folder: Folder,
    data: Annotated[list[str], typer.Argument(metavar="DATA", help="rows with the columns that the model reads")],
    out: Annotated[Path | None, typer.Option("--out", help="a .csv, .jsonl or .parquet file (CSV to stdout)")] = None,
    model: Code = None,
    offline: Offline = None,
    quiet: Quiet = False,
) -> None:
    """Predictions for new rows, in the target's own units, by a run or by a study's winner."""
    from warmstart import api
    from warmstart.cli import show
    from warmstart.data.tables.read import read_table
    from warmstart.inference.prediction_files import check_apart, check_ending

    check_ending(out)
    if offline:
        go_offline()
    table = read_table(data, offline=bool(offline))
    check_apart(out, table.files)
    show.show_predictions(api.load(folder, code=model), table, out, quiet)


@app.command()
def chat(
    folder: Folder,
    system: Annotated[str | None, typer.Option("--system", help="what the model is told before you speak")] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="0: the likeliest words", min=0.0, max=5.0)] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", help="draw from the likeliest words", min=0.01, max=1.0)] = 1.0,
    most: Annotated[int, typer.Option("--max-tokens", help="of an answer", min=1)] = 256,
    seed: Annotated[int, typer.Option("--seed", help="of what is drawn")] = 0,
) -> None:
    """Talk to a model that was trained to write; a line is a turn, /new begins anew, /quit or Ctrl-D ends.

    What summarises, translates or describes does so with each line; a language model (causal-lm) goes on with it.
    """
    from warmstart import api
    from warmstart.cli import show
    from warmstart.inference.chat import chat_with, converse

    talk = chat_with(api.load(folder), system, temperature=temperature, top_p=top_p, most=most, seed=seed)
    converse(talk, show.typed_lines(talk.how))


@app.command()
def probe(
    folder: Folder,
    swap: Annotated[Path, typer.Option("--swap", help="a CSV file without a header: two terms a line, e.g. he,she")],
    data: Annotated[str | None, typer.Option("--data", help="rows to swap in (the test rows that were kept)")] = None,
    model: Code = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """How far predictions move where one term is swapped for another: what was inherited from the base, or learned."""
    from warmstart import api
    from warmstart.cli import show
    from warmstart.study.progress import run_with_status

    found = run_with_status(api.probing(folder, swap, data, code=model), quiet)
    show.print_json(found.to_json()) if json_ else show.show_probe(found, folder)


@app.command()
def report(
    folder: Folder,
    examples: Annotated[bool, typer.Option("--examples/--no-examples", help="texts in the report")] = True,
    pairs: Annotated[
        str | None,
        typer.Option("--pairs", help="a,b: write DIR/blind.html to judge answers of two regimes, or reference"),
    ] = None,
    votes: Annotated[Path | None, typer.Option("--votes", help="the votes.json that such a page gave")] = None,
) -> None:
    """Write DIR/report.html anew from the runs that are there; or a page to judge answers blind, and its votes."""
    from warmstart import api
    from warmstart.cli import show
    from warmstart.study.progress import print_status

    if pairs is not None:
        if votes is not None or not examples:
            other = "--votes" if votes is not None else "--no-examples"
            raise UsageError(f"--pairs writes a page with texts to vote on: it cannot go with {other}.", "choose one")
        print(api.blind(folder, [name.strip() for name in pairs.split(",")]))
        print_status(
            f"open it in a browser, vote, download votes.json; then: warmstart report {folder} --votes votes.json"
        )
        return
    if votes is not None:
        show.print_sentence(api.vote(folder, votes).statement)
    print(api.report(folder, examples=examples))


@app.command()
def runs(folder: Folder, json_: Json = False) -> None:
    """The finished runs of a study, or the one run in DIR."""
    from warmstart import api
    from warmstart.cli import show

    show.show_runs(api.finished(folder), json_)


@app.command()
def resume(folder: Folder, model: Code = None, quiet: Quiet = False, json_: Json = False) -> None:
    """Go on with a run or a study that was stopped; what is finished is not done again."""
    from warmstart import api
    from warmstart.request import request as config
    from warmstart.study.progress import print_status

    done = (api.finished_run if config.load_request(folder).command == "fit" else api.finished_study)(folder)
    if done is not None:
        if world().main:
            print_status(f"{folder} is finished: nothing is left to train.")
        return _show(done, folder, json_)
    _finish(api.restart(api.resumable(folder, model), folder), quiet, json_)


@app.command()
@command_options("compare", ("data", "target"))
def init(
    request: "Request",
    out: Annotated[Path, typer.Option("--out", help="the file to write")] = Path("warmstart.yaml"),
) -> None:
    """Write a configuration file with every setting, its default and a remark."""
    import shlex

    from warmstart.cli import show

    text = commented_yaml(request)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{str(out)!r} exists already.", "choose another file with --out") from error
    except OSError as error:
        raise UsageError(
            f"{str(out)!r} cannot be written: {error.strerror}.", "choose another file with --out"
        ) from error
    show.print_line(f"wrote {out}; use it with: warmstart compare --config {shlex.quote(str(out))} --out study")


@app.command()
def regimes() -> None:
    """The ways of training that can be compared."""
    from warmstart.cli import show

    show.show_regimes()


@app.command()
def doctor() -> None:
    """Device, versions, what is missing and how to get it."""
    from warmstart.cli import show

    show.show_doctor()


def _begin(request: "Request", out: Path, quiet: bool, as_json: bool, dry_run: bool) -> None:
    from warmstart import api

    if dry_run:
        return _describe(request, out, as_json) if world().main else None
    _finish(api.start(request, out), quiet, as_json)


def _describe(request: "Request", out: Path, as_json: bool) -> None:
    """Everything that can be found wrong, what was recognised, and the command in full."""
    from warmstart import api
    from warmstart.cli import show

    api.check_vacant(out)
    found = api.prepare_study(request, None, {}).checked
    command = command_line(request, str(out))
    if as_json:
        show.print_json({"checked": found, "command": command})
    else:
        show.show_check(found)
        if found.usable:
            show.print_line(f"\nwould run: {command}")
    _fail_if(found)


def _fail_if(found: "CheckResult") -> None:
    if not found.usable:
        raise typer.Exit(2)


def _finish(begun: "Started", quiet: bool, as_json: bool) -> None:
    """Carry out a comparison or a fit, and show what came of it: the main process does."""
    from warmstart import api
    from warmstart.study.progress import run_with_progress

    flags = (["--json"] * as_json) + (["--quiet"] * quiet)
    code = ["--model", begun.request.model] if begun.request.model else []
    go_on = ["resume", *flags, *code, "--", str(begun.folder)]
    try:
        steps: Generator[Progress, None, Study | Run] = api.steps_of(begun)
        _show(run_with_progress(_told(steps, go_on), quiet), begun.folder, as_json)
    except process.Stopped as stopped:
        raise process.Stopped(stopped.code, begun.folder) from None


def _told(steps: "Generator[Progress, None, Value]", go_on: list[str]) -> "Generator[Progress, None, Value]":
    """The same steps; the process that waits for this one, if one does, is told what is being done."""
    doing = "starting"
    supervise.note_job(doing, go_on)
    while True:
        try:
            now = next(steps)
        except StopIteration as stop:
            value: Value = stop.value
            return value
        if now.doing != doing:
            doing = now.doing
            supervise.note_job(doing, go_on)
        yield now


def _show(done: "Study | Run", folder: Path, as_json: bool) -> None:
    """Show what came of it. A run that diverged has left no model: that is a failure."""
    from warmstart.cli import show
    from warmstart.results.record import Run

    if world().main:
        show.show_result(done, folder, as_json)
    if isinstance(done, Run) and done.test is None:
        raise typer.Exit(1)


def main() -> NoReturn:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong use or input, 130 Ctrl-C, 143 SIGTERM."""
    process.run_command(_asked)


def _asked() -> None:
    """Carry out what was typed; what is wrong in it is told like all other errors."""
    try:
        code = app(prog_name="warmstart", standalone_mode=False)
    except MISTYPED as error:
        said = " ".join(error.format_message().split())
        if said.startswith("Usage:"):  # nothing was typed
            error.show()
            raise SystemExit(error.exit_code) from None
        alike = getattr(error, "possibilities", None)
        name = getattr(error, "option_name", "")
        known = f"`{error.ctx.command_path if error.ctx else 'warmstart'} --help` lists what can be typed"
        said = said.partition(" (Possible options")[0].partition(" Did you mean")[0]
        raise UsageError(f"{said[:1].lower()}{said[1:]}", did_you_mean(name, alike) if alike else known) from None
    raise SystemExit(code or 0)
