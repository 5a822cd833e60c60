"""Class weights: how much does each class count in the loss?"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from warmstart.data.schema.columns import LabelNotation
from warmstart.data.schema.label_sets import read_label_sets
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.cells import present
from warmstart.data.tables.strings import ArrowColumn
from warmstart.errors import UsageError, did_you_mean, shorten
from warmstart.types import Array

BALANCED = "balanced"
LARGEST_LABEL_WEIGHT = 50.0  # of a row: a label of few rows would else be all that is learned
HINT = "write one line for each class, such as `spam: 2`, or use --class-weights balanced"


def chosen_class_weights(
    columns: ColumnChoices, target: ArrowColumn, notation: LabelNotation | None
) -> dict[str, float] | None:
    """What was asked for, of classes or of labels. Raises UsageError where it cannot be read."""
    if columns.class_weights is None:
        return None
    if notation is None:
        names = {str(cell) for cell in present(target)}
    else:
        names = {
            name for labels in read_label_sets(target, notation, columns.separator).labels for name in labels or ()
        }
    return read_class_weights(columns.class_weights, sorted(names))


def read_class_weights(said: str, classes: Sequence[str]) -> dict[str, float]:
    """The weights in a file, by class; "balanced" has none yet. Raises UsageError for anything else.

    `classes`: those of the table. One that the file leaves out counts 1.
    """
    if said == BALANCED:
        return {}
    path = Path(said).expanduser()
    if not path.is_file():
        raise UsageError(f"--class-weights {said}: there is no such file.", "use balanced, or name a YAML or JSON file")
    found = _mapping(path)
    weights: dict[str, float] = {}
    for name, weight in found.items():
        number = math.nan if isinstance(weight, bool) or not isinstance(weight, int | float) else float(weight)
        if not (math.isfinite(number) and number > 0):
            raise UsageError(
                f"{path}: the weight of class {str(name)!r} is {shorten(weight, 40)}.", "give a number above 0"
            )
        if str(name) not in classes:
            raise UsageError(f"{path} weighs class {str(name)!r}, which no row has.", did_you_mean(str(name), classes))
        weights[str(name)] = number
    return weights


def _mapping(path: Path) -> Mapping[object, object]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8-sig")
        aliased = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text))
        found = None if aliased else yaml.load(text, Loader=yaml.BaseLoader)  # names stay as they are written: no, on
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"--class-weights {path} cannot be read: {shorten(error, 100)}.", HINT) from error
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path} gives no weight to any class.", HINT)
    return {name: _number(weight) for name, weight in found.items()}


def _number(written: object) -> object:
    try:
        return float(str(written))
    except ValueError:
        return written


def label_weights(
    known: Mapping[str, float] | None, classes: Sequence[str], counts: Array, rows: int
) -> tuple[float, ...]:
    """What a row that has the label counts in the loss of that label, beside one that has not; none where all alike.

    `known`: by label; empty: balanced, the rows that have a label count as much as those that do not, at most
    `LARGEST_LABEL_WEIGHT` each. `counts` [labels]: training rows that have it, of `rows`.
    """
    if known is None:
        return ()
    if known:
        return tuple(known.get(name, 1.0) for name in classes)
    return tuple(np.clip((rows - counts) / np.maximum(counts, 1), None, LARGEST_LABEL_WEIGHT).tolist())


def weights_of(known: Mapping[str, float] | None, classes: Sequence[str], counts: Array) -> tuple[float, ...]:
    """The weight of each class, so that the mean over the training rows is 1; none where all count alike.

    `known`: by class; empty: balanced, each class counts as much as any other. `counts` [classes]: training rows.
    """
    if known is None:
        return ()
    weights = np.array([known.get(name, 1.0) for name in classes]) if known else 1 / np.maximum(counts, 1)
    mean = float((weights * counts).sum() / max(float(counts.sum()), 1.0))
    return tuple((weights / (mean or 1.0)).tolist())
