"""Costs: what does it cost to predict one class where another is true?"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.cells import present
from warmstart.data.tables.strings import ArrowColumn
from warmstart.errors import UsageError, did_you_mean, shorten

Costs = Mapping[str, Mapping[str, float]]  # by true class, by predicted class
MISTAKE = 1.0  # what a mistake costs that nothing is said of, where costs are typed
LARGEST_FILE = 10_000_000  # bytes: 1,000 classes take 2 to 6 MB
FORM = 'write "spam>ham=1, ham>spam=5" (true class > predicted class = cost), or name a CSV file'
FILE_FORM = "give a column for each predicted class and a row for each true class, which begins with its name"


def chosen_costs(columns: ColumnChoices, target: ArrowColumn, multi_label: bool) -> Costs | None:
    """What was asked for. Raises UsageError where it cannot be read, or where there are sets of labels."""
    if columns.costs is None:
        return None
    if multi_label:
        raise UsageError("--costs is for one class per row; rows here have sets of labels.", "leave it out")
    if columns.metric is not None:
        raise UsageError("With --costs, regimes are ranked by what mistakes cost.", "leave --metric out")
    return read_costs(columns.costs, sorted({str(cell) for cell in present(target)}))


def read_costs(said: str, classes: Sequence[str]) -> Costs:
    """The cost of each pair of classes: of a file, or as typed, where pairs that are left out cost 1.

    Being right costs nothing unless a file says otherwise. Raises UsageError for anything else.
    """
    if ">" in said:
        found = {true: {name: MISTAKE * (name != true) for name in classes} for true in classes}
        for part in said.split(","):
            pair, _, cost = part.rpartition("=")
            true, _, predicted = (name.strip() for name in pair.partition(">"))
            if not true or not predicted:
                raise UsageError(f"--costs: {part.strip()!r} is no cost of a mistake.", FORM)
            for name in (true, predicted):
                _check_known(name, classes)
            found[true][predicted] = _cost(cost, true, predicted)
    else:
        found = _table(Path(said).expanduser(), classes)
    if not any(cost != found[true][true] for true in found for cost in found[true].values()):
        raise UsageError("--costs: no mistake costs more than being right.", FORM)
    return found


def _table(path: Path, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    if not path.is_file():
        raise UsageError(f"--costs {path}: there is no such file.", FORM)
    if path.stat().st_size > LARGEST_FILE:
        raise UsageError(f"--costs {path} has more than {LARGEST_FILE:,} bytes.", FILE_FORM)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file) if any(line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--costs {path} cannot be read: {shorten(error, 100)}.", FILE_FORM) from error
    predicted, rows = (lines[0][1:] if lines else []), lines[1:]
    true = [line[0] for line in rows]
    for names in (predicted, true):
        for name in names:
            _check_known(name, classes)
    odd = next((line for line in rows if len(line) != len(predicted) + 1), None)
    missing = [name for name in classes if name not in predicted or name not in true]
    if odd is not None or missing or len(set(true)) < len(true) or len(set(predicted)) < len(predicted):
        why = (
            f"row {odd[0]!r} has {len(odd) - 1:,} costs for {len(predicted):,} columns"
            if odd is not None
            else f"class {missing[0]!r} has no {'column' if missing[0] not in predicted else 'row'}"
            if missing
            else "a class is there twice"
        )
        raise UsageError(f"--costs {path} is no square table of all classes: {why}.", FILE_FORM)
    return {
        line[0]: {name: _cost(cell, line[0], name) for name, cell in zip(predicted, line[1:], strict=True)}
        for line in rows
    }


def _check_known(name: str, classes: Sequence[str]) -> None:
    if name not in classes:
        raise UsageError(f"--costs names class {name!r}, which no row has.", did_you_mean(name, classes))


def _cost(said: str, true: str, predicted: str) -> float:
    try:
        found = float(said)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found >= 0):
        what = f"The cost of predicting {predicted!r} where {true!r} is true is {shorten(said.strip(), 40)}"
        raise UsageError(f"--costs: {what}.", "give a number, 0 or above")
    return found


def costs_note(costs: Costs) -> str:
    """What is decided by: of two classes, the probability from which on one is predicted."""
    if len(costs) != 2:
        return "The class with the lowest expected cost is predicted (--costs), which need not be the most likely one."
    one, other = sorted(costs)
    # Predict `one` where its probability p has p x (cost of missing it) > (1 - p) x (cost of a false one).
    missed, false = costs[one][other] - costs[one][one], costs[other][one] - costs[other][other]
    if missed <= 0 or false <= 0:
        always = one if false <= 0 else other
        return f"By --costs, predicting {always!r} never costs more, so that it is always predicted."
    return f"By --costs, {one!r} is predicted from a probability of {false / (missed + false):.3g} on."
