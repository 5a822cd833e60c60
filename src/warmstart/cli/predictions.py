"""Predictions: what does `predict` print or write for each row, and with which of its columns?"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.data.schema.schema import CORPUS, TEXT_OUT
from warmstart.errors import UsageError, did_you_mean, join_phrases
from warmstart.inference.prediction_files import print_csv, write_predictions
from warmstart.study.progress import count_rows, print_status

if TYPE_CHECKING:
    from warmstart.data.tables.read import Table
    from warmstart.inference.predict import NewRows, TrainedModel

BECAUSE = "because"  # the column of what moved a prediction
ROW = "row"  # the column of row numbers, where no other column says which row it is


@dataclass(frozen=True)
class Beside:
    """What is wanted beside each prediction."""

    id: str | None = None  # the column that identifies a row, in place of its number
    columns: bool = False  # all columns of the input
    probabilities: bool = False  # of every class
    influences: int = 0  # words and columns that moved the prediction most

    def of_input(self, names: Sequence[str], predicted: Sequence[str]) -> list[str]:
        """The columns of the input that stand before what is `predicted`. Raises UsageError where names collide."""
        if self.id is not None and self.id not in names:
            raise UsageError(f"--id {self.id}: the rows have no column of that name.", did_you_mean(self.id, names))
        kept = list(names) if self.columns else [self.id] if self.id else []
        if self.id:
            kept = [self.id, *(name for name in kept if name != self.id)]
        twice = [name for name in kept if name in predicted]
        if twice:
            raise UsageError(
                f"both the rows and the predictions have a column {twice[0]!r}.",
                f"rename it, or keep only one column with --id (of {join_phrases(names, 5)})",
            )
        return kept


@dataclass(frozen=True)
class KeptColumns:
    """Some columns of tables, which are read again for them where they are parts of a file."""

    tables: "Iterable[Table]"
    names: list[str]

    def __iter__(self) -> "Iterator[Table]":
        for table in self.tables if self.names else ():
            yield replace(table, columns=table.columns.select(self.names))


@dataclass(frozen=True)
class RowsToPredict:
    """The rows to predict: one table, or the parts of a file that is larger than memory."""

    tables: "Iterable[Table]"  # may be gone through several times
    names: Sequence[str]  # of their columns
    count: int | None  # rows; None: not known before they are read


def show_predictions(
    trained: "TrainedModel", asked: RowsToPredict, path: Path | None, quiet: bool, beside: Beside
) -> None:
    """Write one row for each row that is asked for: which row it is and what was predicted."""
    classes = trained.classes if beside.probabilities else ()
    if beside.probabilities and not classes:
        raise UsageError(
            f"--probabilities is for classes, and this model predicts {trained.stored.task.name}.", "leave it out"
        )
    own = (*trained.columns_written, *([BECAUSE] if beside.influences else ()), "reason")
    kept = beside.of_input(asked.names, (*own, *map(trained.probability_name, classes)))
    spelled = path is None or path.suffix == ".csv"
    found = _predicted(trained, asked, beside, spelled=spelled, numbered=not kept, quiet=quiet)
    if not quiet and asked.count and not (path is None and sys.stdout.isatty()):  # there, the rows say how far it is
        found = count_rows(found, asked.count)
    written, columns = trained.stored.schema.task in TEXT_OUT, KeptColumns(asked.tables, kept)
    if path is None:
        print_csv(found, sys.stdout, columns, written=written)
        return
    write_predictions(found, path, columns, written=written)
    if not quiet:
        print_status(f"{f'{asked.count:,} ' if asked.count else ''}predictions in {path}")


def _predicted(
    trained: "TrainedModel", asked: RowsToPredict, beside: Beside, *, spelled: bool, numbered: bool, quiet: bool
) -> Iterator[dict[str, Any]]:
    for table in asked.tables:
        new = trained.rows_of(table)
        for said in new.warnings:  # also if quiet: what follows from these cells is not what they say
            print_status(f"warning: {said}")
        if not quiet and not table.before:
            what = ": bits per byte of each text (lower is likelier)" if trained.stored.task.name in CORPUS else ""
            print_status(f"predicting with `{trained.regime}` ({trained.folder}){what}")
        for reason in () if quiet else dict.fromkeys(new.reasons.values()):
            rows = [i + 1 for i, each in sorted(new.reasons.items()) if each == reason]
            print_status(f"{table.rows(rows)}: {reason}, so there is no prediction.")
        none = {"reason": None} if new.reasons or asked.count is None else {}  # a later part may have reasons
        predicted = trained.stream(new, every_class=beside.probabilities, spelled=spelled)
        if beside.influences:
            predicted = _explained(trained, new, predicted, beside.influences, spelled)
        for number, row in enumerate(predicted, table.before + 1):
            yield ({ROW: number} if numbered else {}) | none | row


def _explained(
    trained: "TrainedModel", new: "NewRows", rows: Iterator[dict[str, Any]], most: int, spelled: bool
) -> Iterator[dict[str, Any]]:
    """The same rows, each with what moved its prediction: `spelled` as a text, else as objects."""
    from warmstart.inference.explain import explain

    for row, found in zip(rows, explain(trained, new, most), strict=True):
        said: Any = "; ".join(map(str, found)) if spelled else [asdict(each) for each in found]
        yield row | {BECAUSE: said if row["prediction"] is not None else None}
