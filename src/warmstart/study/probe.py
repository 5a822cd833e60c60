"""Probe: do predictions change when one term is swapped for another? For the models of a run or a study."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from warmstart.data.rows.read_columns import NO_COLUMNS, ColumnValues, ReadColumns
from warmstart.data.rows.term_swaps import TermPair, has_both, random_swap, swap_terms
from warmstart.data.rows.usable_rows import join_values
from warmstart.data.schema import conversations
from warmstart.data.schema.schema import TEXT_OUT, Schema
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import Texts
from warmstart.errors import InputError, UsageError, join_phrases, shell_word
from warmstart.inference.model_store import load_model
from warmstart.inference.predict import NewRows, TrainedModel
from warmstart.quantities import WORD_PATTERN
from warmstart.results.comparison import CONSTANT
from warmstart.results.probe_result import (
    WIDE_INTERVAL_CASES,
    Effect,
    ProbedRegime,
    ProbeResult,
    SwapCases,
    drawn_of,
    prediction_change,
)
from warmstart.results.record import Estimate, Run, load_run
from warmstart.runtime.files import write_json
from warmstart.runtime.sampling import spread_places
from warmstart.study.make_comparison import load_comparison
from warmstart.study.study import LONGEST_EXAMPLE, load_examples
from warmstart.training.event import Event
from warmstart.types import Array

MAX_PROBE_ROWS = 500  # texts of a pair, spread over all that have it
WRITTEN_ROWS = 40  # where an answer has to be written for each
RANDOM_WORDS_SEED = 20240607  # of the random words
BETWEEN = "\x1f"  # stands in no word: where the words of one column end, and those of the next begin

Change = Callable[[str], str | None]


@dataclass(frozen=True)
class ProbedRun:
    """A run whose model is tested."""

    run: Run
    folder: Path


def probe_models(
    folder: Path, pairs: Sequence[TermPair], table: Table | None = None, code: str | None = None
) -> Generator[Event, None, ProbeResult]:
    """Swap terms in the stored test rows, or in those of a table, and predict both; yields the current activity.

    Raises UsageError if there is no model, InputError if there are no texts or a pair occurs in none. For a study, the
    result is saved as `probe.json`.
    """
    models, study = _models(folder)
    first = TrainedModel(load_model(models[0].folder, code=code), models[0].folder)
    writes = first.stored.task.writes
    rows = _rows(folder, first, table)
    texts = rows.texts
    found, cases, changed = _cases(
        texts, pairs, WRITTEN_ROWS if writes else MAX_PROBE_ROWS, first.stored.schema.task in TEXT_OUT
    )
    measured: dict[str, list[Mapping[str, Array]]] = {}
    runs: dict[str, list[Run]] = {}
    for model in models:
        yield Event(f"asking {model.run.id}")
        trained = TrainedModel(load_model(model.folder, code=code), model.folder)
        measured.setdefault(model.run.regime, []).append(_measures(trained, changed, rows, cases))
        runs.setdefault(model.run.regime, []).append(model.run)
    task = first.stored.task
    done = ProbeResult(
        task=task.name,
        target=getattr(task, "target", first.stored.schema.target),
        units=task.units,
        texts=len(texts),
        pairs=found,
        regimes=_regimes(runs, measured, cases, len(pairs)),
        caveats=tuple(_caveats(texts, found, table, runs)),
    )
    if study:
        write_json(folder / "probe.json", done.to_json())
    return done


def _models(folder: Path) -> tuple[list[ProbedRun], bool]:
    """The runs to test, and whether they belong to a study: for every regime, the seeds on its most rows."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}.", "name the folder of a finished run or study")
    if (folder / "run.json").exists():
        if not (folder / "model.json").exists():
            raise UsageError(f"the run in {str(folder)!r} left no model: it failed.", "name another one")
        return [ProbedRun(load_run(folder), folder)], False
    if not (folder / "study.json").exists():
        begun = (folder / "request.json").exists()
        raise UsageError(
            f"{str(folder)!r} holds no finished run or study.",
            f"continue with: warmstart resume {shell_word(folder)}" if begun else "name a folder given as --out",
        )
    comparison = load_comparison(folder)
    names = [row.name for row in comparison.table if row.failed is None and row.name != CONSTANT]
    rows = {row.name: row.rows for row in comparison.table}
    kept = [run for run in comparison.runs if run.regime in names and run.rows == rows[run.regime] and not run.failed]
    kept.sort(key=lambda run: (names.index(run.regime), run.seed))
    models = [ProbedRun(run, folder / "runs" / run.id) for run in kept]
    models = [model for model in models if (model.folder / "model.json").exists()]
    if not models:
        raise UsageError(
            f"no run of the study in {str(folder)!r} has a model.", "it may have been deleted: train again"
        )
    return models, True


@dataclass(frozen=True)
class ProbedRows:
    """Texts to swap terms in; of a table with several columns, the words of each row and its other values."""

    texts: list[str]
    columns: ColumnValues = NO_COLUMNS  # of the same rows; none: the texts are all there is
    words: tuple[str, ...] = ()  # the columns that are in the texts, between `BETWEEN`
    schema: Schema | None = None

    @classmethod
    def of(cls, new: NewRows, schema: Schema) -> "ProbedRows":
        """Rows from which something can be predicted."""
        there = np.array([i for i, text in enumerate(new.texts) if text and i not in new.reasons], dtype=np.int64)
        words = tuple(column.name for column in schema.columns if column.kind in ("text", "category"))
        if len(schema.columns) < 2 or not words or not new.columns:
            return cls([new.texts[i] for i in there])
        columns = new.columns.take(there)
        cells = zip(*(map(str, columns[name]) for name in words), strict=True)
        return cls([BETWEEN.join(each) for each in cells], columns, words, schema)

    def read(self, texts: Sequence[str], places: Array) -> tuple[Sequence[str], ColumnValues]:
        """The rows at these positions [n], each with its text replaced by the given one, as a model reads them."""
        if self.schema is None:
            return texts, NO_COLUMNS
        cells = zip(*(text.split(BETWEEN) for text in texts), strict=True)
        some = self.columns.take(places)
        swapped = {name: Texts.of(each) for name, each in zip(self.words, cells, strict=True)}
        columns = ColumnValues({name: swapped.get(name, some[name]) for name in some})
        return join_values(ReadColumns(columns, ()), self.schema), columns


def _rows(folder: Path, trained: TrainedModel, table: Table | None) -> ProbedRows:
    """Rows to swap terms in: those of the table, else the test texts that the study stored."""
    schema = trained.stored.schema
    if table is not None:
        return ProbedRows.of(trained.rows_of(table), schema)
    if len(schema.columns) > 1 and any(column.kind != "text" for column in schema.columns):
        raise InputError(
            f"the models in {str(folder)!r} read {len(schema.columns)} columns; of the test rows only texts were kept.",
            "name rows with --data FILE",
        )
    return ProbedRows(_texts(folder, trained))


def _texts(folder: Path, trained: TrainedModel) -> list[str]:
    """The test texts that the study stored."""
    studies = (folder, folder.parent, folder.parent.parent)  # of a study, its winner or one of its runs
    kept = next((found for each in studies if (found := load_examples(each / "examples.parquet"))), None)
    if not kept:
        raise InputError(f"{str(folder)!r} has kept no texts to swap in.", "name rows with --data FILE")
    schema = trained.stored.schema
    if schema.task in TEXT_OUT:  # what is answered was kept, without the instruction that is the same for all
        return [conversations.write_prompt(schema.instruction or "", text) for text in kept.values()]
    return list(kept.values())


@dataclass(frozen=True)
class ChangedRows:
    """Outputs for each case: original, swapped, and with random words changed; with the direction of the swap."""

    before: list[str]
    after: list[str]
    random: list[str | None]
    towards_right: Array  # bool


def _cases(
    texts: Sequence[str], pairs: Sequence[TermPair], most: int, spoken: bool
) -> tuple[tuple[Effect, ...], SwapCases, ChangedRows]:
    """Raises InputError if a pair occurs in no text, or only together with its counterpart."""
    read = [_said(text) for text in texts] if spoken else list(texts)
    pool = np.array([word for text in read for word in WORD_PATTERN.findall(text)])
    found: list[Effect] = []
    of_text: list[int] = []
    of_pair: list[int] = []
    before, after, directions = [], [], []
    shuffled: list[str | None] = []
    for number, pair in enumerate(pairs):
        there = [i for i, text in enumerate(read) if swap_terms(text, pair)]
        both = sum(has_both(text, pair) for text in read)
        chosen = [there[i] for i in spread_places(most, len(there))]
        found.append(Effect(pair.left, pair.right, len(chosen), both))
        for i in chosen:
            swap = swap_terms(read[i], pair)
            assert swap is not None, "it stands there"
            random = np.random.default_rng([RANDOM_WORDS_SEED, number, i])
            times, now = swap.times, pair  # bound for the functions below
            drawn = random_swap(read[i], now, times, pool, random)
            of_text.append(i)
            of_pair.append(number)
            before.append(texts[i])
            after.append(_with(texts[i], swap.text) if spoken else swap.text)
            shuffled.append(_with(texts[i], drawn) if spoken and drawn is not None else drawn)
            directions.append(swap.towards_right)
    lost = [f"{one.left},{one.right}" for one in found if not one.rows]
    if lost:
        many = f"{len(lost)} pairs stand" if len(lost) > 1 else "the pair stands"
        raise InputError(
            f"{many} in none of {len(texts):,} texts as whole words: {join_phrases(lost)}.",
            "leave out what does not occur (a header line too), or name more rows with --data FILE",
        )
    return (
        tuple(found),
        SwapCases(np.array(of_text), np.array(of_pair)),
        ChangedRows(before, after, shuffled, np.array(directions)),
    )


def _said(text: str) -> str:
    """The user's last turn of a conversation, in which terms are swapped."""
    return next(turn.content for turn in reversed(conversations.read_turns(text)) if turn.role == "user")


def _with(text: str, said: str) -> str:
    """A conversation with its last user turn replaced."""
    turns = list(conversations.read_turns(text))
    place = max(i for i, turn in enumerate(turns) if turn.role == "user")
    turns[place] = replace(turns[place], content=said)
    return conversations.write_turns(turns)


# --- what a model makes of them ---------------------------------------------------------------------------------------


def _measures(trained: TrainedModel, cases: ChangedRows, rows: ProbedRows, swaps: SwapCases) -> dict[str, Array]:
    """Arrays [cases] by measure. Every row is predicted once, so that unchanged rows do not differ by rounding."""
    own = [int(row) if rows.schema else 0 for row in swaps.texts]  # of texts alone the same text is the same row
    said = [list(zip(own, part, strict=True)) for part in (cases.before, cases.after, cases.random)]
    different = list(dict.fromkeys(each for part in said for each in part if each[1] is not None))
    place = {each: i for i, each in enumerate(different)}
    before, after, random = (np.array([place.get(each, -1) for each in part]) for part in said)
    texts, columns = rows.read(
        [text for _, text in different if text is not None], np.array([row for row, _ in different])
    )
    step = _step(trained, texts, columns)
    found = step(before, after)
    first = "changed" if "changed" in found else "moved"
    yardstick = np.where(random >= 0, step(before, random)[first], np.nan)
    for name in [name for name in found if name.startswith("shift")]:
        found[name] = np.where(cases.towards_right, found[name], -found[name])
    return found | {"random": yardstick}


def _step(
    trained: TrainedModel, texts: Sequence[str], columns: ColumnValues
) -> Callable[[Array, Array], dict[str, Array]]:
    """Difference between a model's answers to these rows at positions [n] and [n]."""
    task, calibration = trained.stored.task, trained.stored.calibration
    if task.writes:
        answers = np.array([json.dumps(row["prediction"]) for row in trained.stream(texts)], dtype=object)
        return lambda a, b: {"changed": (answers[a] != answers[b]).astype(np.float64)}
    found = None if task.learns_language else task.changes(trained.outputs(texts, columns), calibration)
    if found is None:
        raise UsageError(f"models of {task.name} give no predictions that could change.", "probe a model that predicts")
    return found


# --- what all of them come to -----------------------------------------------------------------------------------------


def _regimes(
    runs: Mapping[str, Sequence[Run]],
    measured: Mapping[str, Sequence[Mapping[str, Array]]],
    cases: SwapCases,
    pairs: int,
) -> tuple[ProbedRegime, ...]:
    """In the order of the table; every regime that starts from a base, compared with the best one from scratch."""
    scratch = next((name for name, each in runs.items() if each[0].family == "scratch"), None)
    return tuple(
        ProbedRegime(
            name=name,
            family=each[0].family,
            seeds=tuple(run.seed for run in each),
            together=prediction_change(cases, None, measured[name]),
            pairs=tuple(prediction_change(cases, pair, measured[name]) for pair in range(pairs)),
            beyond_scratch=_beyond(name, scratch, runs, measured, cases) if each[0].family == "fine-tuned" else None,
        )
        for name, each in runs.items()
    )


def _beyond(
    name: str,
    scratch: str | None,
    runs: Mapping[str, Sequence[Run]],
    measured: Mapping[str, Sequence[Mapping[str, Array]]],
    cases: SwapCases,
) -> Estimate | None:
    """The difference, paired by text and seed."""
    if scratch is None or [run.seed for run in runs[name]] != [run.seed for run in runs[scratch]]:
        return None
    first = "changed" if "changed" in measured[name][0] else "moved"
    own, other = (drawn_of(cases, None, first, measured[each]) for each in (name, scratch))
    return (own - other).estimate


def _caveats(
    texts: Sequence[str], found: Sequence[Effect], table: Table | None, runs: Mapping[str, Sequence[Run]]
) -> Generator[str, None, None]:
    few = [f"{one.left},{one.right} ({one.rows})" for one in found if one.rows < WIDE_INTERVAL_CASES]
    if few:
        yield f"too few texts for a conclusion: {join_phrases(few)}"
    both = [f"{one.left},{one.right} ({one.both:,})" for one in found if one.both]
    if both:
        yield f"texts with both terms of a pair were left out: {join_phrases(both)}"
    cut = sum(len(text) == LONGEST_EXAMPLE for text in texts) if table is None else 0
    if cut:
        yield f"{cut:,} of {len(texts):,} texts were kept to {LONGEST_EXAMPLE} characters; --data names whole ones"
    if table is not None:
        yield "rows given with --data may be rows that the models were trained on"
    if max(map(len, runs.values())) < 3:
        yield "fewer than three seeds: intervals include the texts only"
