"""Prepare: how does a request become a problem: rows, base, regimes, and findings about the data?"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from warmstart.data.rows.check import CheckResult
from warmstart.data.rows.check import find_problems as find
from warmstart.data.rows.findings import Finding
from warmstart.data.rows.lengths import Reach
from warmstart.data.schema.conversations import read_turns as read_turns
from warmstart.data.schema.schema import CORPUS, Schema
from warmstart.data.tables.read import Table
from warmstart.errors import MissingError, UsageError, join_phrases
from warmstart.request.earlier_study import continued_regimes, find_earlier_study
from warmstart.request.extra_text import _read_before, domain, general_text
from warmstart.request.read_data import OwnRegimes, PreparedData, prepare_data
from warmstart.request.request import Request
from warmstart.request.select import (
    _check_room,
    added_floors,
    bases_of,
    chosen_regimes,
    needs_no_base,
    own_regimes,
    require_keepable,
    sources_of,
)
from warmstart.request.select_endpoint import planned_endpoint
from warmstart.results.names import ENDPOINT_REGIME, regime_of, short_names, split_name
from warmstart.runtime.sampling import spread_places
from warmstart.settings.choices import MAX_LENGTH

if TYPE_CHECKING:
    from warmstart.planning.problem import Options, Problem


COUNTED = 500  # texts whose tokens are counted, to know how many a row has
TOKENIZED_SAMPLE = 1_000  # cells of each text column whose tokens are looked at


@dataclass(frozen=True)
class PreparedProblem:
    """A problem, ready to be trained on, and what was found on the way."""

    problem: "Problem"
    checked: CheckResult


def check_data(request: Request, table: Table, schema: Schema) -> CheckResult:
    """Findings, with the lengths that each base's own tokenizer counts where the base is there."""
    from warmstart.models.pretrained.locate import locate, reach

    if any(column.kind == "image" for column in schema.columns):
        return find(table, schema, bad_rows=request.bad_rows)
    sources = () if needs_no_base(request) else sources_of(request, schema.task)
    names = short_names(sources) if len(sources) > 1 else ("",) * len(sources)
    readers: list[Reach] = []
    try:
        for source, name in zip(sources, names, strict=True):
            location, folder = locate(source)
            found = (reach(folder, request.max_length) if folder else None) or _reach_by_loading(request, source)
            asked = request.max_length if request.max_length != MAX_LENGTH else None
            readers.append(replace(found, base=name or location, asked=asked))
    except MissingError:
        if request.base:
            raise
    named_readers = readers if len(sources) > 1 else [replace(reader, base="") for reader in readers]
    return _with_spelling(find(table, schema, named_readers, bad_rows=request.bad_rows), table, schema, readers)


def _with_spelling(found: CheckResult, table: Table, schema: Schema, readers: Sequence[Reach]) -> CheckResult:
    """The same with how the first base's tokenizer cuts the texts; a warning for each that was made for others."""
    from warmstart.results.domain_shift import spelling

    words = [name for name in schema.text if schema.column(name).kind in ("text", "category")]  # dates may be texts
    columns = [table.columns[name] for name in words]
    rows = spread_places(TOKENIZED_SAMPLE, table.columns.num_rows)
    cells = [column.take(rows).to_pylist() for column in columns]
    texts = [cell for several in cells for cell in several if isinstance(cell, str)]
    cut = [(reader, reader.tokenizer()) for reader in readers if texts and reader.tokenizer]
    spelled = [
        (reader, new_architecture) for reader, tokenizer in cut if (new_architecture := spelling(texts, tokenizer))
    ]
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


def _reach_by_loading(request: Request, source: str) -> Reach:
    from warmstart.data.encoding import special_tokens
    from warmstart.models.pretrained.base import find_base

    base = find_base(source, max_length=request.max_length, offline=request.offline)
    inputs, apart = base.inputs, base.kind == "encoder-decoder"
    names = tuple(special_tokens.special_token_names(inputs.tokenizer).values())
    found = Reach(inputs.max_length, inputs.count, lambda: inputs.tokenizer.backend_tokenizer, names, apart=apart)
    return replace(found, limit=base.reads)


def prepare_study(request: Request, table: Table | None, own: OwnRegimes) -> PreparedProblem:
    """Read, recognize, split, check, and find the base. Raises what is wrong with any of them. Runs nobody's code."""
    with tempfile.TemporaryDirectory() as folder:
        return prepare_problem(request, prepare_data(request, table), own, Path(folder), run_code=False)


def prepare_problem(
    request: Request, understood: PreparedData, own: OwnRegimes, folder: Path, *, run_code: bool = True
) -> PreparedProblem:
    """`folder` is for what has to be made first. `run_code` False: nothing can be trained, only looked at."""
    from warmstart.generation.answers import doubts
    from warmstart.inference.earlier_model import EarlierModel
    from warmstart.planning.problem import Problem
    from warmstart.regimes.regimes import LEARN_LANGUAGE, REGIMES, check_base

    table, schema, splits = understood.table, understood.schema, understood.splits
    _require_images(request, schema)
    if request.augment == "mix":
        _require_mixable(schema)
    bases, scratch = bases_of(request, understood, folder)
    if schema.long == "chunks":
        for base in bases:
            _check_room(base, schema)
    regimes = own_regimes(request, bases[0], own, run_code)
    earlier = EarlierModel(find_earlier_study(request.previous).model) if request.previous else None
    if earlier is not None:
        regimes = (*regimes, *continued_regimes(earlier, understood.old is not None, request.shrink))
    chosen = chosen_regimes(request, regimes, schema, bases)
    if request.general_text and any(base.kind == "encoder-decoder" for base in bases):
        raise UsageError("--general-text: an encoder-decoder reads no general text.", "leave it out, or the base")
    for base in bases:
        require_keepable(request, schema.task, base, [regime_of(name) for name in chosen])
    measured, replayed = general_text(request)
    corpus = domain(request, understood) if not LEARN_LANGUAGE.isdisjoint(map(regime_of, chosen)) else None
    found = check_data(request, table, schema)
    warnings = (finding.message for finding in found.findings if finding.severity == "warning")
    doubted = (doubt for base in bases for doubt in doubts(base, schema, splits.train))
    read = _read_before(request, understood, corpus) if request.corpus and corpus else ()
    endpoint = planned_endpoint(request, schema, splits) if ENDPOINT_REGIME in chosen else None
    sent = (endpoint.note,) if endpoint is not None else ()
    caveats = dict.fromkeys((*understood.dropped, *warnings, *doubted, *read, *sent))  # once each
    problem = Problem(
        splits=splits,
        schema=schema,
        bases=bases,
        own=regimes,
        scratch=scratch,
        general=measured,
        replayed=replayed,
        corpus=corpus,
        earlier=earlier,
        old=understood.old,
        more_splits=understood.more_splits,
        spoken=corpus is not None and not request.corpus,
        caveats=tuple(caveats),
        noise_floor=request.noise_floor,
        floors=added_floors(request, schema),
        endpoint=endpoint,
        unnamed=tuple(name for name in chosen if name not in (*request.regimes, request.regime)),
    )
    rows = problem.rows_of(chosen)
    for name in rows:
        if regime_of(name) in REGIMES:
            check_base(problem.named.get(split_name(name)[1] or "", problem.base), regime_of(name))
    if request.command == "fit" and not request.races and len(rows) > 1:
        raise UsageError(
            f"regime {chosen[0]!r} can start from {len(bases)} bases; fit trains one.",
            f"name one of {join_phrases(rows)}, or a single --base",
        )
    return PreparedProblem(problem, found)


def _require_images(request: Request, schema: Schema) -> None:
    """Raises UsageError for augmentation, or a base of PyTorch Hub, where no images are read."""
    asked = [] if request.augment in ("auto", "none") else [f"--augment {request.augment}"]
    asked += [f"--base {name}" for name in request.base if name.startswith("torchhub:")]
    asked += [f"--trust-code {name}" for name in request.trust_code]
    if asked and not any(column.kind == "image" for column in schema.columns):
        raise UsageError(f"{asked[0]} is for images, and none are read here.", "leave it out")


def _require_mixable(schema: Schema) -> None:
    """Raises UsageError for rows that cannot be mixed."""
    from warmstart.data.encoding.image_mixing import NO_CLASSES

    if schema.task == "regression":
        raise UsageError(*NO_CLASSES)
    if len(schema.columns) > 1:
        beside = join_phrases([column.name for column in schema.columns if column.kind != "image"], 3, quote=True)
        raise UsageError(
            f"--augment mix is for images alone: a mixed row has no value of {beside}.",
            "use --augment light or strong, or name the image column alone with --text",
        )


def options_of(request: Request, problem: "Problem") -> "Options":
    """How the problem is gone about. Numbers of tokens become numbers of rows, each read once."""
    options = request.options(chosen_regimes(request, problem.own, problem.schema, problem.bases))
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
