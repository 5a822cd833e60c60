"""Command line: parse, call one public function, print. Results go to stdout, progress and messages to stderr."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from warmstart.errors import UsageError, WarmstartError

# Lazily imported below: rich, pyarrow, torch, transformers. `--help` must answer at once.

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train from scratch, fine-tune, or both? Find out on your own data, then ship the winner.",
)

DataArgument = Annotated[list[str], typer.Argument(metavar="DATA...", help="files, a glob, a folder or a hub id; also key=value")]
Target = Annotated[str, typer.Option("--target", help="the column to predict")]
Text = Annotated[list[str] | None, typer.Option("--text", help="a column to read (repeatable); default: all that can be")]
Group = Annotated[str | None, typer.Option("--group", help="rows of one group stay on one side of the split")]
Task = Annotated[str | None, typer.Option("--task", help="regression or classification; default: from the target")]
Separator = Annotated[str | None, typer.Option("--separator", help="splits a target cell into several labels")]
Scale = Annotated[str | None, typer.Option("--scale", help="linear, log10 or log10(1+x); default: log for skewed positives")]
DropBad = Annotated[bool | None, typer.Option("--drop-bad-rows", help="leave unusable rows out, and list them")]
BaseModel = Annotated[str | None, typer.Option("--base", help="pretrained weights: folder, Python package or hub id")]
Code = Annotated[str | None, typer.Option("--model", help="an architecture of your own, file.py:function (runs that file)")]
Init = Annotated[str | None, typer.Option("--init", help="random weights: default, xavier, he or normal")]
Seed = Annotated[int | None, typer.Option("--seed", help="the first seed")]
Trials = Annotated[int | None, typer.Option("--trials", help="learning rates tried for each regime (3)")]
Rate = Annotated[float | None, typer.Option("--lr", help="one learning rate, not searched")]
Epochs = Annotated[float | None, typer.Option("--epochs", help="passes over the rows; default: each regime's own")]
Length = Annotated[float | None, typer.Option("--length", help="times each regime's own number of steps (1)")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="rows a step; default: 16, or 32 from 2,000 rows")]
MaxLength = Annotated[int | None, typer.Option("--max-length", help="tokens read of a text (256)")]
Optimizer = Annotated[str | None, typer.Option("--optimizer", help="adamw, adam or sgd")]
Schedule = Annotated[str | None, typer.Option("--schedule", help="linear, cosine or constant, after a warm-up")]
Decay = Annotated[float | None, typer.Option("--weight-decay", help="0.01")]
Dropout = Annotated[float | None, typer.Option("--dropout", help="of the base's layers; default: the base's own")]
WordDropout = Annotated[float | None, typer.Option("--word-dropout", help="share of words left out while training (0)")]
Precision = Annotated[str | None, typer.Option("--precision", help="auto, fp32 or bf16")]
Worth = Annotated[str | None, typer.Option("--worth", help="the smallest gain that matters (1%)")]
Config = Annotated[Path | None, typer.Option("--config", help="a YAML file with these settings (see init)")]
Out = Annotated[Path, typer.Option("--out", help="the folder to write")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress")]
Offline = Annotated[bool | None, typer.Option("--offline", help="use nothing but what is on this machine")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, and stop")]
RowsOption = Annotated[str | None, typer.Option("--rows", help="training rows to use: 1000 or 250,1000,4000; default: all")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="a run or a study")]


@app.command()
def demo(
    out: Out = Path("demo"),
    budget: Annotated[str, typer.Option("--budget", help="time to spend")] = "6m",
    quiet: Quiet = False,
) -> None:
    """The whole way on a product catalogue made here: which way of training predicts its prices best?"""
    import pyarrow.csv

    from warmstart import api, config, show
    from warmstart.catalogue import catalogue


    made = catalogue()
    request = config.Request(
        ("catalogue.csv",), "price", text=("title", "description", "category", "brand"), rows=(1200,), seeds=2,
        budget=config.duration(budget), noise_floor=made.noise_floor,
    )
    api.claim(request, out)
    data = out / "catalogue.csv"
    pyarrow.csv.write_csv(made.table, data)
    request = replace(request, data=(str(data),))
    config.save(request, out)
    show.say(f"{made.table.num_rows:,} products in {data}; price = a law of its words x known noise:")
    show.say(f"no model can have a mean absolute error below {made.noise_floor:.4f} of log10(price).")
    _finish_study(request, out, quiet, as_json=False)


@app.command()
def check(
    data: DataArgument, target: Target, text: Text = None, group: Group = None, task: Task = None,
    separator: Separator = None, scale: Scale = None, base: BaseModel = None, max_length: MaxLength = None,
    offline: Offline = None, json_: Json = False,
) -> None:
    """What a table is recognised as, and what to know before training. Trains nothing."""
    from warmstart import api, show
    from warmstart.data.read import read

    request = _request(locals(), "check")
    found = api.checked(request, read(request.data, offline=request.offline))
    show.json_out(found) if json_ else show.checked(found)


@app.command()
def compare(
    data: DataArgument, target: Target, out: Out, text: Text = None, group: Group = None, task: Task = None,
    separator: Separator = None, scale: Scale = None, drop_bad_rows: DropBad = None, base: BaseModel = None,
    regimes: Annotated[str | None, typer.Option("--regimes", help="a,b,c; default: all that this machine can try")] = None,
    model: Code = None, init: Init = None, rows: RowsOption = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="draws of the training rows (3)")] = None,
    seed: Seed = None, trials: Trials = None, lr: Rate = None, epochs: Epochs = None, length: Length = None,
    batch_size: BatchSize = None, max_length: MaxLength = None, optimizer: Optimizer = None, schedule: Schedule = None,
    weight_decay: Decay = None, dropout: Dropout = None, word_dropout: WordDropout = None, precision: Precision = None,
    budget: Annotated[str | None, typer.Option("--budget", help="time to spend, e.g. 10m or 2h (30m)")] = None,
    worth: Worth = None,
    examples: Annotated[bool | None, typer.Option("--examples/--no-examples", help="texts in the report")] = None,
    config_file: Config = None, offline: Offline = None, json_: Json = False, quiet: Quiet = False, dry_run: DryRun = False,
) -> None:
    """Every way of training on the same split: a verdict, a report, and the winning model."""
    from warmstart import api

    request = _request(locals(), "compare")
    if dry_run:
        return _describe(request)
    api.claim(request, out)
    _finish_study(request, out, quiet, json_)


@app.command()
def fit(
    data: DataArgument, target: Target,
    regime: Annotated[str, typer.Option("--regime", help="how to train; `warmstart regimes` lists them")],
    out: Out, text: Text = None, group: Group = None, task: Task = None, separator: Separator = None, scale: Scale = None,
    drop_bad_rows: DropBad = None, base: BaseModel = None, model: Code = None, init: Init = None, rows: RowsOption = None,
    seed: Seed = None, trials: Trials = None, lr: Rate = None, epochs: Epochs = None, length: Length = None,
    batch_size: BatchSize = None, max_length: MaxLength = None, optimizer: Optimizer = None, schedule: Schedule = None,
    weight_decay: Decay = None, dropout: Dropout = None, word_dropout: WordDropout = None, precision: Precision = None,
    config_file: Config = None, offline: Offline = None, json_: Json = False, quiet: Quiet = False, dry_run: DryRun = False,
) -> None:
    """Train one way: search its learning rate, train, score once, keep the model."""
    from warmstart import api

    request = _request(locals(), "fit")
    if dry_run:
        return _describe(request)
    api.claim(request, out)
    _finish_fit(request, out, quiet, json_)


@app.command()
def predict(
    folder: Folder,
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="rows to predict, with the columns it was trained on")],
    out: Annotated[Path | None, typer.Option("--out", help="a .csv, .jsonl or .parquet file; default: CSV to stdout")] = None,
    model: Code = None, quiet: Quiet = False,
) -> None:
    """Predictions for new rows, in the target's own units, by a run or by a study's winner."""
    from warmstart import api, show
    from warmstart.data.read import read

    table = read(data)
    trained = api.load(folder, code=model)
    show.predictions(trained, table, out, quiet)


@app.command()
def report(
    folder: Folder,
    examples: Annotated[bool, typer.Option("--examples/--no-examples", help="texts in the report")] = True,
) -> None:
    """Write DIR/report.html anew from the runs that are there."""
    from warmstart import api

    print(api.report(folder, examples=examples))


@app.command()
def runs(folder: Folder, json_: Json = False) -> None:
    """The finished runs of a study, or the one run in DIR."""
    from warmstart import api, show

    show.runs(api.finished(folder), json_)


@app.command()
def resume(folder: Folder, model: Code = None, quiet: Quiet = False, json_: Json = False) -> None:
    """Go on with a run or a study that was stopped; what is finished is not done again."""
    from warmstart import api, config

    request = api.resumable(config.load(folder), folder, model)
    finish = _finish_fit if request.command == "fit" else _finish_study
    finish(request, folder, quiet, json_)


@app.command()
def init(data: DataArgument, target: Target, out: Annotated[Path, typer.Option("--out")] = Path("warmstart.yaml")) -> None:
    """Write a configuration file with every setting, its default and a remark."""
    from warmstart import config

    if out.exists():
        raise UsageError(f"{str(out)!r} exists already.", "choose another file with --out")
    out.write_text(config.commented(config.Request(tuple(data), target)), encoding="utf-8")
    print(f"wrote {out}; use it with: warmstart compare --config {out} --out study")


@app.command()
def regimes() -> None:
    """The ways of training that can be compared."""
    from warmstart import show

    show.regimes()


@app.command()
def doctor() -> None:
    """Device, versions, what is missing and how to get it."""
    from warmstart import show

    show.doctor()


def _request(given: dict[str, Any], command: str) -> Any:
    """The request of a command: the file of --config, then flags, then key=value."""
    from warmstart import config

    data = [part for part in given["data"] if not _is_pair(part)]
    pairs = [part for part in given["data"] if _is_pair(part)]
    names = set(config.Request.__dataclass_fields__)
    flags = {k: config.parsed(k, v) for k, v in given.items() if k in names and v is not None and k != "data"}
    file = config.read_yaml(given["config_file"]) if given.get("config_file") else {}
    values = {k: config.parsed(k, v) for k, v in file.items() if v is not None} | flags | config.override(pairs)
    if data:
        values["data"] = tuple(data)
    return config.from_mapping(values | {"command": command}, "command line")


def _is_pair(part: str) -> bool:
    key, equals, _ = part.partition("=")
    return bool(equals) and key.replace("-", "_").isidentifier() and not Path(part).exists()


def _describe(request: Any) -> None:
    from warmstart import api, config, show
    from warmstart.data.read import read

    show.checked(api.checked(request, read(request.data, offline=request.offline)))
    print(f"\nwould run: {config.command_line(request, 'DIR')}")


def _finish_study(request: Any, out: Path, quiet: bool, as_json: bool) -> None:
    from warmstart import api, show

    done = show.progress(api.comparing(request, out), quiet)
    show.study(done, as_json)


def _finish_fit(request: Any, out: Path, quiet: bool, as_json: bool) -> None:
    from warmstart import api, show

    done = show.progress(api.fitting(request, out), quiet)
    show.run(done, out, as_json)


class Stopped(BaseException):
    """Ctrl-C or SIGTERM arrived; the value is the exit code."""


def main() -> NoReturn:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong use or input, 130 Ctrl-C, 143 SIGTERM."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except WarmstartError as error:
        code = _complain(str(error), error.exit_code)
    except Stopped as stopped:
        code = _complain("stopped; what is finished is kept.\nhint: warmstart resume DIR goes on", stopped.args[0])
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _stop(number: int, frame: object) -> NoReturn:
    raise Stopped(128 + number)


def _complain(message: str, code: int) -> int:
    print(f"error: {message}" if code in (1, 2) else message, file=sys.stderr)
    return code
