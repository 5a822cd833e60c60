"""Option types: which flags and arguments are there in addition to the settings?"""

from pathlib import Path
from typing import Annotated

import typer

from warmstart.settings.groups import SETTINGS

# of several commands
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run or a study.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Do not show progress.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and print the full command, then stop.")]
Code = Annotated[str | None, typer.Option("--model", help=SETTINGS["model"].help)]
TableName = Annotated[str | None, typer.Option("--table", help=SETTINGS["table"].help)]
Offline = Annotated[bool | None, typer.Option("--offline", help=SETTINGS["offline"].help)]

# of resume
LargerBudget = Annotated[
    str | None,
    typer.Option("--budget", help="New budget for a study, finished runs included, such as 1h. [default: as before]"),
]

MoreCompute = Annotated[
    str | None,
    typer.Option("--compute", help="The same for a study with --compute, such as 40TFLOP. [default: as before]"),
]

# of predict
DataArgument = Annotated[list[str], typer.Argument(metavar="DATA", help="Rows with the columns that the model reads.")]
Predictions = Annotated[
    Path | None, typer.Option("--out", help="A .csv, .jsonl, .parquet or .xlsx file. [default: CSV to stdout]")
]
IdColumn = Annotated[
    str | None, typer.Option("--id", help="Column that identifies a row. [default: the row number, as `row`]")
]
KeepColumns = Annotated[bool, typer.Option("--keep-columns", help="Also write all input columns.")]
EveryClass = Annotated[bool, typer.Option("--probabilities", help="Write the probability of every class.")]

Influences = Annotated[
    int | None,
    typer.Option("--explain", help="Number of words and columns to list that moved each prediction most.", min=1),
]

# of refit
AllRows = Annotated[bool, typer.Option("--all", help="Train on the test rows too. Then no rows are left for scoring.")]

# of export
ExportFormat = Annotated[
    str, typer.Option("--to", help="hf (Hugging Face), merged (adapters merged into their base), onnx or gguf.")
]
ScoredRows = Annotated[
    list[str] | None, typer.Option("--data", help="Data of the study. [default: its original files]")
]
Int8 = Annotated[bool, typer.Option("--int8", help="Quantize the weights of an ONNX graph or a GGUF file to 8 bits.")]

# of push
ExportFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `warmstart export` wrote.")]
Repository = Annotated[str, typer.Argument(metavar="REPO", help="Repository on the Hub, as org/name.")]
Public = Annotated[bool, typer.Option("--public", help="Create a public repository. [default: private]")]

# of serve
Host = Annotated[
    str, typer.Option("--host", help="Address to listen on. Any other than 127.0.0.1 is open to other machines.")
]
Port = Annotated[int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="File with a token that requests must send. [default: $WARMSTART_TOKEN]"),
]
HostNames = Annotated[
    list[str] | None, typer.Option("--name", help="Additional host name to accept, such as model.example.org.")
]
MostRows = Annotated[int, typer.Option("--max-rows", help="Maximum number of rows per request.", min=1)]
Timeout = Annotated[float, typer.Option("--timeout", help="Time limit per request, in seconds.", min=0.1)]

# of chat
System = Annotated[str | None, typer.Option("--system", help="System prompt.")]
Temperature = Annotated[
    float, typer.Option("--temperature", help="Sampling temperature. 0 takes the likeliest token.", min=0.0, max=5.0)
]
TopP = Annotated[
    float,
    typer.Option("--top-p", help="Sample from the likeliest tokens up to this total probability.", min=0.01, max=1.0),
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Maximum length of an answer, in tokens.", min=1)]
SamplingSeed = Annotated[int, typer.Option("--seed", help="Seed for sampling.")]

# of probe
Swap = Annotated[Path, typer.Option("--swap", help="CSV file without a header, two terms per line, such as he,she.")]
SwapRows = Annotated[
    str | None, typer.Option("--data", help="Rows in which to swap terms. [default: the study's test rows]")
]

# of report
ShowExamples = Annotated[bool, typer.Option("--examples/--no-examples", help="Show texts of test rows.")]
Pairs = Annotated[
    str | None,
    typer.Option(
        "--pairs",
        help="Write DIR/blind.html to judge answers blind: two regimes, such as full,lora, or a regime and reference.",
    ),
]
Votes = Annotated[Path | None, typer.Option("--votes", help="File votes.json from that page, to add to the study.")]
