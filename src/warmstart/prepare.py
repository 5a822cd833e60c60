"""Prepare: from a request to a problem, ready to be trained on: rows, base, regimes, and what was found on the way."""

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from warmstart import config
from warmstart.data.check import Checked
from warmstart.data.check import check as find
from warmstart.data.conversations import read as read_turns
from warmstart.data.corpus import read_corpus
from warmstart.data.read import Table, table_of
from warmstart.data.read import read as read_files
from warmstart.data.recognise import recognise
from warmstart.data.schema import CORPUS, TEXT_OUT, Columns, Schema, TaskName
from warmstart.data.split import Splits, make_rows, split
from warmstart.errors import MissingError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from warmstart.bases import Reach
    from warmstart.budget import Options, Problem
    from warmstart.regimes import Regime
    from warmstart.starts import Base

Own = Mapping[str, Callable[[int], "nn.Module"]]  # name -> a function of the vocabulary's size that gives a body

COUNTED = 500  # texts whose tokens are counted, to know how many a row has
GENERAL = 64  # pieces of text on which forgetting is measured
REPLAYED = 2000  # that are replayed, at most


@dataclass(frozen=True)
class Understood:
    """A table that can be learned from: what it is, its parts, and what was left out."""

    table: Table
    schema: Schema
    splits: Splits
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """A problem, ready to be trained on, and what was found on the way."""

    problem: "Problem"
    checked: Checked


def understand(request: config.Request, table: Table | None = None) -> Understood:
    """Read, recognise and split: everything about the data that can be wrong, without torch."""
    table = table or read_files(request.data, offline=request.offline)
    schema = recognise(table, request.columns)
    rows, dropped = make_rows(table, schema, drop_bad_rows=request.drop_bad_rows)
    return Understood(table, schema, split(rows, schema), dropped)


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
        return prepared(request, understand(request, table), own, Path(folder))


def prepared(request: config.Request, understood: Understood, own: Own, folder: Path) -> Prepared:
    """`folder` is for what has to be made first."""
    from warmstart.budget import Problem
    from warmstart.regimes import LEARN_LANGUAGE

    table, schema, splits = understood.table, understood.schema, understood.splits
    base, scratch = bases_of(request, understood, folder)
    regimes = own_regimes(request, base, own)
    chosen = chosen_regimes(request, regimes, schema.task)
    require_keepable(request, schema.task, base, chosen)
    measured, replayed = general_text(request)
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
        general=measured,
        replayed=replayed,
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


def general_text(request: config.Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Some pieces of --retain, from all over it: to measure by, and others to replay, where that is asked for.

    None where nothing was named. Raises UsageError where none is left to replay.
    """
    if request.retain is None:
        return (), ()
    pieces = read_corpus([request.retain], piece_bytes=request.columns.piece_bytes, offline=request.offline)
    if not request.remedies.general:
        return _spread(pieces, GENERAL), ()
    measured = _spread(pieces, min(GENERAL, -(-len(pieces) // 2)))
    known = set(measured)  # no text is replayed by which is measured what was kept
    others = [piece for piece in pieces if piece not in known]
    if not others:
        raise UsageError(
            f"{request.retain} holds a single piece of text, by which forgetting is measured; none is left to replay.",
            "name a file with more text, or leave --retain out: then the base's own text is replayed",
        )
    return measured, _spread(others, REPLAYED)


def _spread(pieces: Sequence[str], most: int) -> tuple[str, ...]:
    count = min(most, len(pieces))
    return tuple(pieces[i * len(pieces) // count] for i in range(count))


def require_keepable(request: config.Request, task: TaskName, base: "Base", regimes: Sequence[str]) -> None:
    """Raises UsageError for a --keep that can do nothing for what is to be trained."""
    from warmstart.regimes import MOVE_THE_BASE

    if not request.keep:
        return
    if MOVE_THE_BASE.isdisjoint(regimes):
        raise UsageError(
            f"--keep {','.join(request.keep)} is against forgetting, and nothing can be forgotten by "
            f"{' and '.join(regimes)}: no weight of a base learns there.",
            "leave it out, or choose a regime such as full or lora",
        )
    if request.remedies.general and (task not in (*TEXT_OUT, "causal-lm") or base.kind != "decoder"):
        asked = f"base {base.name!r} is an {base.kind}" if base.kind != "decoder" else f"the task here is {task}"
        raise UsageError(
            f"--keep general replays text that a decoder learns to write beside the task's own texts; {asked}.",
            "use --keep base or --keep mixed",
        )


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
    if request.command == "fit" and not request.races:
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
