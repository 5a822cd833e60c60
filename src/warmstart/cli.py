"""Command line: parse, call one public function, print. Results go to stdout, progress and messages to stderr."""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from warmstart import process, supervise
from warmstart.engine import world
from warmstart.errors import UsageError

if TYPE_CHECKING:
    from warmstart.api import Begun
    from warmstart.config import Command, Request
    from warmstart.record import Run
    from warmstart.study import Study
    from warmstart.work import Progress

# Lazily imported below: rich, pyarrow, torch, transformers. `--help` must answer at once.

Value = TypeVar("Value")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train from scratch, fine-tune, or both? Find out on your own data, then ship the winner.",
)

DataArgument = Annotated[
    list[str] | None, typer.Argument(metavar="DATA", help="files, a glob, a folder or a hub id; also key=value")
]
Target = Annotated[str | None, typer.Option("--target", help="the column to predict, or to write")]
Text = Annotated[
    list[str] | None, typer.Option("--text", help="a column to read (repeatable); default: all that can be")
]
Group = Annotated[str | None, typer.Option("--group", help="rows of one group stay on one side of the split")]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="regression, classification, causal-lm, masked-lm, summarise, translate, chat, structured; default: auto",
    ),
]
Separator = Annotated[str | None, typer.Option("--separator", help="splits a target cell into several labels")]
Instruction = Annotated[
    str | None, typer.Option("--instruction", help="before each text to summarise, translate or describe")
]
Fields = Annotated[str | None, typer.Option("--fields", help="a,b,c: columns that make up the JSON object to write")]
JsonSchema = Annotated[
    str | None, typer.Option("--schema", help="the JSON Schema of what is written; default: from the data")
]
Parameters = Annotated[str | None, typer.Option("--parameters", help="weights of a language model from scratch: 10M")]
Corpus = Annotated[
    list[str] | None, typer.Option("--corpus", help="texts to learn the language from, for hybrid (repeatable)")
]
Retain = Annotated[str | None, typer.Option("--retain", help="general text on which forgetting is measured")]
Tokens = Annotated[str | None, typer.Option("--tokens", help="training tokens to use: 10M or 10M,50M; default: all")]
Scale = Annotated[
    str | None, typer.Option("--scale", help="linear, log10 or log10(1+x); default: log for skewed positives")
]
DropBad = Annotated[bool | None, typer.Option("--drop-bad-rows", help="leave unusable rows out, and list them")]
BaseModel = Annotated[str | None, typer.Option("--base", help="pretrained weights: folder, Python package or hub id")]
Code = Annotated[
    str | None, typer.Option("--model", help="an architecture of your own, file.py:function (runs that file)")
]
Init = Annotated[str | None, typer.Option("--init", help="random weights: default, xavier, he or normal")]
Seed = Annotated[int | None, typer.Option("--seed", help="the first seed")]
Trials = Annotated[int | None, typer.Option("--trials", help="learning rates tried for each regime (3)")]
Rate = Annotated[float | None, typer.Option("--lr", help="one learning rate, not searched")]
Epochs = Annotated[float | None, typer.Option("--epochs", help="passes over the rows; default: each regime's own")]
Length = Annotated[float | None, typer.Option("--length", help="times each regime's own number of steps (1)")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="rows a step; default: 16, or 32 from 2,000 rows")]
MicroBatch = Annotated[
    int | None, typer.Option("--micro-batch", help="rows computed at a time, if memory is short; same result")
]
MaxLength = Annotated[int | None, typer.Option("--max-length", help="tokens read of a text (256)")]
Optimizer = Annotated[str | None, typer.Option("--optimizer", help="adamw, adam or sgd")]
Schedule = Annotated[str | None, typer.Option("--schedule", help="linear, cosine or constant, after a warm-up")]
Decay = Annotated[float | None, typer.Option("--weight-decay", help="0.01")]
Dropout = Annotated[float | None, typer.Option("--dropout", help="of body and head; default: their own")]
WordDropout = Annotated[float | None, typer.Option("--word-dropout", help="share of words left out while training (0)")]
Precision = Annotated[str | None, typer.Option("--precision", help="auto, fp32 or bf16")]
Shard = Annotated[
    bool | None, typer.Option("--shard", help="under torchrun: cut weights and optimizer over the processes")
]
Worth = Annotated[str | None, typer.Option("--worth", help="the smallest gain that matters (1%)")]
Config = Annotated[Path | None, typer.Option("--config", help="a YAML file with these settings (see init)")]
Out = Annotated[Path, typer.Option("--out", help="the folder to write")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress")]
Log = Annotated[bool | None, typer.Option("--log/--no-log", help="note what runs took, for `plan`")]
Offline = Annotated[bool | None, typer.Option("--offline", help="use nothing but what is on this machine")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, and stop")]
RowsOption = Annotated[
    str | None, typer.Option("--rows", help="training rows to use: 1000, 250,1000,4000 or auto; default: all")
]
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
    budget: Annotated[str, typer.Option("--budget", help="time to spend")] = "6m",
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """The whole way on a product catalogue made here: which way of training predicts its prices best?"""
    import pyarrow.csv

    from warmstart import api, config, show
    from warmstart.catalogue import catalogue

    made = catalogue()
    request = config.Request(
        data=(str(out / api.CATALOGUE),),
        target="price",
        text=("title", "description", "category", "brand"),
        rows=(1200,),
        seeds=2,
        dropout=0.0,  # of the base: in numbers to predict it left more error (.158 against .152 here), and costs time
        budget=config.duration(budget),
        noise_floor=made.noise_floor,
    )
    api.check_vacant(out)
    config.save(request, out)
    pyarrow.csv.write_csv(made.table, out / api.CATALOGUE)
    if not quiet:
        show.say(
            f"{made.table.num_rows:,} products in {out / api.CATALOGUE}; price = a law of its words x known noise:"
        )
        show.say(f"no model can have a mean absolute error below {made.noise_floor:.4f} of log10(price).")
    _finish(api.begin_again(request, out), quiet, json_)


@app.command()
def check(
    data: DataArgument = None,
    target: Target = None,
    text: Text = None,
    group: Group = None,
    task: Task = None,
    separator: Separator = None,
    scale: Scale = None,
    instruction: Instruction = None,
    fields: Fields = None,
    schema: JsonSchema = None,
    base: BaseModel = None,
    max_length: MaxLength = None,
    config_file: Config = None,
    offline: Offline = None,
    json_: Json = False,
) -> None:
    """What a table is recognised as, and what to know before training. Trains nothing."""
    from warmstart import api, show
    from warmstart.data.read import read
    from warmstart.data.recognise import recognise

    request = _request(locals(), "check")
    table = read(request.data, offline=request.offline)
    found = api.checked(request, table, recognise(table, request.columns))
    show.json_out(found) if json_ else show.checked(found)


@app.command()
def plan(
    data: DataArgument = None,
    target: Target = None,
    text: Text = None,
    group: Group = None,
    task: Task = None,
    separator: Separator = None,
    scale: Scale = None,
    drop_bad_rows: DropBad = None,
    base: BaseModel = None,
    regimes: Annotated[str | None, typer.Option("--regimes", help="a,b,c (see `regimes`)")] = None,
    model: Code = None,
    init: Init = None,
    rows: RowsOption = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="draws of the training rows (3)")] = None,
    seed: Seed = None,
    trials: Trials = None,
    lr: Rate = None,
    epochs: Epochs = None,
    length: Length = None,
    batch_size: BatchSize = None,
    micro_batch: MicroBatch = None,
    max_length: MaxLength = None,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    weight_decay: Decay = None,
    dropout: Dropout = None,
    word_dropout: WordDropout = None,
    precision: Precision = None,
    budget: Annotated[str | None, typer.Option("--budget", help="of compare: says what it would cut (30m)")] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu (here), h100, a100, l4, rtx4090 ...")] = None,
    devices: Annotated[int | None, typer.Option("--devices", help="how many of them (1)")] = None,
    price_per_hour: Annotated[float | None, typer.Option("--price-per-hour", help="of one device")] = None,
    config_file: Config = None,
    offline: Offline = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Memory, time, disk, energy and money of each regime, before any training. Without DATA: --task and --rows."""
    from warmstart import api, show

    request = _request(locals(), "plan")
    found = show.looking(api.planning(request), quiet)
    show.json_out([one.to_json() for one in found.forecasts]) if json_ else show.plan(found)


@app.command()
def compare(
    out: Out,
    data: DataArgument = None,
    target: Target = None,
    text: Text = None,
    group: Group = None,
    task: Task = None,
    separator: Separator = None,
    scale: Scale = None,
    instruction: Instruction = None,
    fields: Fields = None,
    schema: JsonSchema = None,
    drop_bad_rows: DropBad = None,
    base: BaseModel = None,
    regimes: Annotated[str | None, typer.Option("--regimes", help="a,b,c (see `regimes`)")] = None,
    model: Code = None,
    init: Init = None,
    parameters: Parameters = None,
    corpus: Corpus = None,
    retain: Retain = None,
    rows: RowsOption = None,
    tokens: Tokens = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="draws of the training rows (3)")] = None,
    seed: Seed = None,
    trials: Trials = None,
    lr: Rate = None,
    epochs: Epochs = None,
    length: Length = None,
    batch_size: BatchSize = None,
    micro_batch: MicroBatch = None,
    max_length: MaxLength = None,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    weight_decay: Decay = None,
    dropout: Dropout = None,
    word_dropout: WordDropout = None,
    precision: Precision = None,
    budget: Annotated[str | None, typer.Option("--budget", help="time to spend, e.g. 10m or 2h (30m)")] = None,
    worth: Worth = None,
    examples: Annotated[bool | None, typer.Option("--examples/--no-examples", help="texts in the report")] = None,
    config_file: Config = None,
    offline: Offline = None,
    log: Log = None,
    json_: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Every way of training on the same split: a verdict, a report, and the winning model."""
    _begin(_request(locals(), "compare"), out, quiet, json_, dry_run)


@app.command()
def fit(
    out: Out,
    data: DataArgument = None,
    target: Target = None,
    regime: Annotated[str | None, typer.Option("--regime", help="how to train; `regimes` lists them")] = None,
    text: Text = None,
    group: Group = None,
    task: Task = None,
    separator: Separator = None,
    scale: Scale = None,
    instruction: Instruction = None,
    fields: Fields = None,
    schema: JsonSchema = None,
    drop_bad_rows: DropBad = None,
    base: BaseModel = None,
    model: Code = None,
    init: Init = None,
    parameters: Parameters = None,
    corpus: Corpus = None,
    retain: Retain = None,
    rows: RowsOption = None,
    tokens: Tokens = None,
    seed: Seed = None,
    trials: Trials = None,
    lr: Rate = None,
    epochs: Epochs = None,
    length: Length = None,
    batch_size: BatchSize = None,
    micro_batch: MicroBatch = None,
    max_length: MaxLength = None,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    weight_decay: Decay = None,
    dropout: Dropout = None,
    word_dropout: WordDropout = None,
    precision: Precision = None,
    shard: Shard = None,
    config_file: Config = None,
    offline: Offline = None,
    log: Log = None,
    json_: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Train one way: search its learning rate, train, score once, keep the model."""
    _begin(_request(locals(), "fit"), out, quiet, json_, dry_run)


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
    from warmstart import api, show
    from warmstart.data.read import read

    show.check_ending(out)
    table = read(data, offline=bool(offline))
    show.predictions(api.load(folder, code=model), table, out, quiet)


@app.command()
def chat(
    folder: Folder,
    system: Annotated[str | None, typer.Option("--system", help="what the model is told before you speak")] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="0: the likeliest words", min=0.0, max=5.0)] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", help="draw from the likeliest words", min=0.01, max=1.0)] = 1.0,
    most: Annotated[int, typer.Option("--max-tokens", help="of an answer", min=1)] = 256,
    seed: Annotated[int, typer.Option("--seed", help="of what is drawn")] = 0,
) -> None:
    """Talk to a model that was trained to write; a line is a turn, /new begins anew, Ctrl-D ends."""
    from warmstart import api, show
    from warmstart.deliver.chat import chat_with, converse

    talk = chat_with(api.load(folder), system, temperature=temperature, top_p=top_p, most=most, seed=seed)
    converse(talk, show.typed())


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
    from warmstart import api, config, show

    done = (api.finished_run if config.load(folder).command == "fit" else api.finished_study)(folder)
    if done is not None:
        if world().main:
            show.say(f"{folder} is finished: nothing is left to train.")
        return _show(done, folder, json_)
    _finish(api.begin_again(api.resumable(folder, model), folder), quiet, json_)


@app.command()
def init(
    data: DataArgument = None,
    target: Target = None,
    out: Annotated[Path, typer.Option("--out", help="the file to write")] = Path("warmstart.yaml"),
) -> None:
    """Write a configuration file with every setting, its default and a remark."""
    import shlex

    from warmstart import config, show

    text = config.commented(_request(locals(), "compare"))
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{str(out)!r} exists already.", "choose another file with --out") from error
    except OSError as error:
        raise UsageError(
            f"{str(out)!r} cannot be written: {error.strerror}.", "choose another file with --out"
        ) from error
    show.line(f"wrote {out}; use it with: warmstart compare --config {shlex.quote(str(out))} --out study")


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


def _request(given: dict[str, Any], command: "Command") -> "Request":
    """The request of a command: the file of --config, then flags, then key=value."""
    from warmstart import config

    names = set(config.Request.__dataclass_fields__)
    parts = given["data"] or []
    data = tuple(part for part in parts if not _is_pair(part, names))
    flags = {k: config.parsed(k, v) for k, v in given.items() if k in names and v is not None and k != "data"}
    pairs = config.override([part for part in parts if _is_pair(part, names)])
    file = given.get("config_file")
    settings = config.read_yaml(file) if file else {}
    typed = flags | pairs | ({"data": data} if data else {})
    values = {key: value for key, value in (settings | typed).items() if value is not None}
    return config.from_mapping(values | {"command": command}, {key: str(file) for key in settings if key not in typed})


def _is_pair(part: str, names: set[str]) -> bool:
    """Whether `part` is meant as key=value, not as a path such as year=2024/*.csv."""
    key, equals, value = part.partition("=")
    key = key.replace("-", "_")
    path = Path(part).exists() or any(character in value for character in "/*?.")
    return bool(equals) and (key in names or (key.isidentifier() and not path))


def _begin(request: "Request", out: Path, quiet: bool, as_json: bool, dry_run: bool) -> None:
    from warmstart import api

    if dry_run:
        return _describe(request, out, as_json) if world().main else None
    _finish(api.begin(request, out), quiet, as_json)


def _describe(request: "Request", out: Path, as_json: bool) -> None:
    """Everything that can be found wrong, what was recognised, and the command in full."""
    from warmstart import api, config, show

    api.check_vacant(out)
    found = api.prepare(request, None, {}).checked
    command = config.command_line(request, str(out))
    if as_json:
        return show.json_out({"checked": found, "command": command})
    show.checked(found)
    show.line(f"\nwould run: {command}")


def _finish(begun: "Begun", quiet: bool, as_json: bool) -> None:
    """Carry out a comparison or a fit, and show what came of it: the main process does."""
    from warmstart import api, show

    flags = (["--json"] * as_json) + (["--quiet"] * quiet)
    code = ["--model", begun.request.model] if begun.request.model else []
    go_on = ["resume", *flags, *code, "--", str(begun.folder)]
    quiet = quiet or not world().main
    try:
        if begun.request.command == "fit":
            _show(show.progress(_told(api.fitting(begun), go_on), quiet), begun.folder, as_json)
        else:
            _show(show.progress(_told(api.comparing(begun), go_on), quiet), begun.folder, as_json)
    except process.Stopped as stopped:
        raise process.Stopped(stopped.code, begun.folder) from None


def _told(steps: "Generator[Progress, None, Value]", go_on: list[str]) -> "Generator[Progress, None, Value]":
    """The same steps; the process that waits for this one, if one does, is told what is being done."""
    doing = "starting"
    supervise.tell(doing, go_on)
    while True:
        try:
            now = next(steps)
        except StopIteration as stop:
            value: Value = stop.value
            return value
        if now.doing != doing:
            doing = now.doing
            supervise.tell(doing, go_on)
        yield now


def _show(done: "Study | Run", folder: Path, as_json: bool) -> None:
    """Show what came of it. A run that diverged has left no model: that is a failure."""
    from warmstart import show
    from warmstart.record import Run

    if world().main:
        show.result(done, folder, as_json)
    if isinstance(done, Run) and done.test is None:
        raise typer.Exit(1)


def main() -> NoReturn:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong use or input, 130 Ctrl-C, 143 SIGTERM."""
    process.run(lambda: app(prog_name="warmstart"))
