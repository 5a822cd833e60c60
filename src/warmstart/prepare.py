"""Prepare: from a request to a problem, ready to be trained on: rows, base, regimes, and what was found on the way."""

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from warmstart import config
from warmstart.data.candidates import candidates
from warmstart.data.check import Checked
from warmstart.data.check import check as find
from warmstart.data.conversations import read as read_turns
from warmstart.data.corpus import contained, read_corpus
from warmstart.data.finding import Finding
from warmstart.data.lengths import Reach
from warmstart.data.read import Table, table_of
from warmstart.data.read import read as read_files
from warmstart.data.recognise import recognise
from warmstart.data.schema import CORPUS, TEXT_OUT, Columns, Schema, TaskName
from warmstart.data.split import Splits, make_rows, split, usable_rows
from warmstart.errors import MissingError, UsageError, listed
from warmstart.naming import at, parted, regime_of, short_names

if TYPE_CHECKING:
    from torch import nn

    from warmstart.problem import Options, Problem
    from warmstart.regimes import Regime
    from warmstart.weights import Base

Own = Mapping[str, Callable[[int], "nn.Module"]]  # name -> a function of the vocabulary's size that gives a body

COUNTED = 500  # texts whose tokens are counted, to know how many a row has
SPELLED = 1_000  # cells of each text column whose tokens are looked at
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
    """Findings, with the lengths that each base's own tokenizer counts where the base is there."""
    from warmstart.bases import locate, reach

    sources = sources_of(request, schema.task)
    names = short_names(sources) if len(sources) > 1 else ("",)
    readers: list[Reach] = []
    try:
        for source, name in zip(sources, names, strict=True):
            location, folder = locate(source)
            found = (reach(folder, request.max_length) if folder else None) or _reach_by_loading(request, source)
            readers.append(replace(found, base=name or location))
    except MissingError:
        if request.base:
            raise
    told = readers if len(sources) > 1 else [replace(reader, base="") for reader in readers]
    return _with_spelling(find(table, schema, told, drop_bad_rows=request.drop_bad_rows), table, schema, readers)


def _with_spelling(found: Checked, table: Table, schema: Schema, readers: Sequence[Reach]) -> Checked:
    """The same with how the first base's tokenizer cuts the texts; a warning for each that was made for others."""
    from warmstart.mismatch import spelling

    columns = [table.columns[name] for name in schema.text]
    rows = np.unique(np.linspace(0, len(columns[0]) - 1, min(SPELLED, len(columns[0]))).astype(int))
    cells = [column.take(rows).to_pylist() for column in columns]
    texts = [cell for several in cells for cell in several if isinstance(cell, str)]
    cut = [(reader, reader.tokenizer()) for reader in readers if texts and reader.tokenizer]
    spelled = [(reader, made) for reader, tokenizer in cut if (made := spelling(texts, tokenizer))]
    if not spelled:
        return found
    findings = found.findings
    for reader, each in spelled:
        if each.foreign:
            lost = f", and {each.unknown.value:.1%} of them are unknown" if each.unknown.value else ""
            many = f"The tokenizer of {reader.base} makes {each.tokens_per_word.value:.1f} tokens of a word here{lost}"
            message = f"{many}: it was made for other text, and so was the base."
            hint = "try a base of this language or field"
            findings = (*findings, Finding("foreign-text", "warning", message, hint=hint))
    findings = tuple(sorted(findings, key=lambda each: ("error", "warning", "note").index(each.severity)))
    return replace(found, findings=findings, spelling=asdict(spelled[0][1]))


def _reach_by_loading(request: config.Request, source: str) -> Reach:
    from warmstart.data import controls
    from warmstart.weights import find_base

    base = find_base(source, max_length=request.max_length, offline=request.offline)
    inputs, apart = base.inputs, base.kind == "encoder-decoder"
    names = tuple(controls.names(inputs.tokenizer).values())
    return Reach(inputs.max_length, inputs.count, lambda: inputs.tokenizer.backend_tokenizer, names, apart=apart)


def prepare(request: config.Request, table: Table | None, own: Own) -> Prepared:
    """Read, recognise, split, check, and find the base. Raises what is wrong with any of them."""
    with tempfile.TemporaryDirectory() as folder:
        return prepared(request, understand(request, table), own, Path(folder))


def prepared(request: config.Request, understood: Understood, own: Own, folder: Path) -> Prepared:
    """`folder` is for what has to be made first."""
    from warmstart.problem import Problem
    from warmstart.regimes import LEARN_LANGUAGE, REGIMES, check_base
    from warmstart.writing import doubts

    table, schema, splits = understood.table, understood.schema, understood.splits
    bases, scratch = bases_of(request, understood, folder)
    if schema.long == "chunks":
        for base in bases:
            _check_room(base, schema)
    regimes = own_regimes(request, bases[0], own)
    chosen = chosen_regimes(request, regimes, schema.task)
    if request.retain and any(base.kind == "encoder-decoder" for base in bases):
        raise UsageError("--retain: an encoder-decoder reads no general text.", "leave it out, or the base")
    for base in bases:
        require_keepable(request, schema.task, base, [regime_of(name) for name in chosen])
    measured, replayed = general_text(request)
    corpus = domain(request, understood) if not LEARN_LANGUAGE.isdisjoint(map(regime_of, chosen)) else None
    found = checked(request, table, schema)
    warnings = (finding.message for finding in found.findings if finding.severity == "warning")
    doubted = (doubt for base in bases for doubt in doubts(base, schema, splits.train))
    read = _read_before(request, understood, corpus) if request.corpus and corpus else ()
    caveats = tuple(
        dict.fromkeys((*understood.dropped, *warnings, *doubted, *read))
    )  # check says of rows left out, too
    problem = Problem(
        splits=splits,
        schema=schema,
        bases=bases,
        own=regimes,
        scratch=scratch,
        general=measured,
        replayed=replayed,
        corpus=corpus,
        spoken=corpus is not None and not request.corpus,
        caveats=caveats,
        noise_floor=request.noise_floor,
    )
    rows = problem.rows_of(chosen)
    for name in rows:
        if regime_of(name) in REGIMES:
            check_base(problem.named.get(parted(name)[1] or "", problem.base), regime_of(name))
    if request.command == "fit" and not request.races and len(rows) > 1:
        raise UsageError(
            f"regime {chosen[0]!r} can start from {len(bases)} bases; fit trains one.",
            f"name one of {listed(rows)}, or a single --base",
        )
    return Prepared(problem, found)


def _check_room(base: "Base", schema: Schema) -> None:
    """Raises UsageError or InputError where a document cannot be read in parts, or next to nothing at a time."""
    from warmstart.data.language import Conversations

    if base.kind == "encoder-decoder":
        raise UsageError(f"--long chunks is for decoders; {base.name!r} is an encoder-decoder.", "leave it out")

    _ = Conversations(base.inputs.folder, base.inputs.max_length, schema.instruction or "").room


def bases_of(request: config.Request, understood: Understood, folder: Path) -> "tuple[tuple[Base, ...], Base | None]":
    """The bases, and what is built from random weights instead of them, with --parameters: made in `folder`.

    No base is looked for where nothing starts from one. Raises UsageError for a base that cannot do the task.
    """
    from warmstart.device import gpu_memory
    from warmstart.making import made
    from warmstart.models.whole import Kind
    from warmstart.regimes import FROM_NOTHING
    from warmstart.weights import find_base, suited

    task, length = understood.schema.task, request.max_length
    needed: dict[TaskName, Kind] = {"causal-lm": "decoder", "masked-lm": "encoder"}
    needed |= dict.fromkeys(TEXT_OUT, "decoder")
    names = {*map(regime_of, request.regimes), *([regime_of(request.regime)] if request.regime else [])}
    texts, parameters = understood.splits.train.texts, request.parameters
    if parameters and names and names <= FROM_NOTHING and not request.base:
        alone = made(folder / "base", needed.get(task, "encoder"), parameters, texts, length, None)
        return (alone,), alone
    bases: dict[str, Base] = {}
    for source in sources_of(request, task, gpu_memory()):
        base = suited(find_base(source, max_length=length, offline=request.offline), task)
        if base.location in bases:
            raise UsageError(
                f"base {base.name!r} is the same as base {bases[base.location].name!r}.", "name each base once"
            )
        bases[base.location] = base
    first, *others = bases.values()
    if not parameters:
        return tuple(bases.values()), None
    kind = first.kind if first.kind == "encoder-decoder" else needed.get(task, first.kind)
    return (first, *others), made(folder / "base", kind, parameters, texts, length, None if others else first)


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


def sources_of(request: config.Request, task: TaskName, gpu_bytes: int | None = None) -> tuple[str, ...]:
    """The bases that were named, with --base or in the names of regimes, or what is usual for the task.

    Of several, `fit` needs the one that its regime names. `gpu_bytes`: the memory of the GPU that is to train it.
    """
    from warmstart.bases import usual

    named = tuple(dict.fromkeys(request.base))
    of_regimes = [parted(name)[1] for name in (*request.regimes, *([request.regime] if request.regime else []))]
    if not named:
        named = tuple(dict.fromkeys(filter(None, of_regimes)))
    elif request.command == "fit" and of_regimes and of_regimes[0]:
        each = zip(short_names(named), named, strict=True)
        named = tuple(source for short, source in each if of_regimes[0] in (short, source)) or named
    return named or (usual(task, gpu_bytes),)


def domain(request: config.Request, understood: Understood) -> Splits | None:
    """What `hybrid` learns the language from: the corpus that was named; None: the task's own training texts.

    Those of a task whose rows are conversations are what is said in them; the keys of these pieces are the numbers of
    the rows, of which a draw takes its own.
    """
    schema = understood.schema
    if request.corpus:
        piece_bytes = request.columns.piece_bytes
        pieces = read_corpus(request.corpus, text=request.text, piece_bytes=piece_bytes, offline=request.offline)
        table = table_of({"text": list(pieces)})
        plain = _plain(table, request)
        return split(make_rows(table, plain, drop_bad_rows=True)[0], plain)
    if schema.task not in TEXT_OUT:
        return None
    parts = understood.splits.train, understood.splits.val
    said = ("\n\n".join(turn.content for turn in read_turns(text)) for part in parts for text in part.texts)
    table = table_of({"text": list(said)})
    plain = _plain(table, request)
    found = candidates(table, plain)
    index = np.flatnonzero(found.usable[found.owners])
    owners = found.owners[index]
    keys = np.concatenate([part.numbers for part in parts])[owners].astype(str).tolist()
    spoken = replace(usable_rows(table, plain, found), keys=keys)
    learned = owners < len(parts[0])
    train, val = (spoken.take(np.flatnonzero(part)) for part in (learned, ~learned))
    return Splits(train, val, spoken.take(np.empty(0, dtype=np.int64)), "")


def _read_before(request: config.Request, understood: Understood, corpus: Splits) -> tuple[str, ...]:
    """A caveat where the corpus holds test rows."""
    test, schema = understood.splits.test, understood.schema
    columns: list[Sequence[object]] = [test.texts]
    if schema.task not in CORPUS:
        columns = [understood.table.columns[name].take(test.numbers - 1).to_pylist() for name in schema.text]
    held = np.zeros(len(test), dtype=bool)
    for cells in columns:
        pieces = chain.from_iterable(part.texts for part in (corpus.train, corpus.val, corpus.test))
        texts = [cell if isinstance(cell, str) else "" for cell in cells]
        held |= contained(texts, pieces, request.columns.piece_bytes)
    if not held.any():
        return ()
    return (
        f"The corpus holds the text of {held.sum():,} of {len(test):,} test rows: what learned its language had read "
        "them before it was judged by them.",
    )


def _plain(table: Table, request: config.Request) -> Schema:
    return recognise(table, Columns(text=("text",), task="causal-lm", piece_bytes=request.columns.piece_bytes))


def chosen_regimes(request: config.Request, own: "Sequence[Regime]", task: TaskName) -> tuple[str, ...]:
    """The names to compare, or the one to fit. Raises UsageError for one that is not known, or not for this task."""
    from warmstart.regimes import default_for, suits

    mine = tuple(regime.name for regime in own)
    if request.command == "fit" and not request.races:
        names = (request.regime,) if request.regime else mine[:1]
        if not names:
            raise UsageError(
                "no regime was named.", "say how to train, e.g. --regime full; `warmstart regimes` lists them"
            )
    else:
        names = tuple(dict.fromkeys((*(request.regimes or default_for(task)), *mine)))
    found = tuple(name if name in mine else _known(name) for name in names)
    for name in found:
        if name not in mine and not suits(regime_of(name), task):
            raise UsageError(
                f"regime {name!r} is not for the task {task}.", f"choose among others: {', '.join(default_for(task))}"
            )
    return found


def _known(name: str) -> str:
    """The same at a base, with the regime's own name. Raises UsageError for a regime that is not known."""
    from warmstart.regimes import known_regime

    regime, base = parted(name)
    return at(known_regime(regime), base) if base else known_regime(regime)


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
