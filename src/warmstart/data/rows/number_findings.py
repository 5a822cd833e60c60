"""Number findings: which numbers of a table mark missing values, which are outliers, and which are read as words?"""

from collections.abc import Sequence

import numpy as np

from warmstart.data.rows.findings import Finding
from warmstart.data.rows.usable_rows import UsableRows
from warmstart.data.schema.amounts import CODE_PATTERN
from warmstart.data.schema.kinds import FIRST_CELLS
from warmstart.data.schema.numbers import outliers, stand_in
from warmstart.data.schema.scales import fitting_scale
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.cells import PLAIN_NUMBER
from warmstart.data.tables.strings import Texts
from warmstart.errors import count_phrase, join_phrases, shell_word, shorten
from warmstart.types import Array

SHOWN = 3  # outliers of a column


def number_findings(found: UsableRows, schema: Schema) -> list[Finding]:
    """Findings about the numbers in the target, and in the input columns."""
    findings = _stand_ins(found.targets, schema)
    if schema.task == "regression":
        findings += _outliers(schema.target, found.targets, _effect_on_score(schema.scale))
    for column in schema.columns:
        if column.kind == "number":
            values = np.asarray(found.columns.values[column.name], dtype=np.float64)
            findings += _outliers(column.name, values, "models treat them as the most extreme of the other values")
        elif column.kind in ("text", "category") and column.written == "text":
            cells = found.columns.values[column.name]
            assert isinstance(cells, Texts)
            findings += _numbers_among_words(column.name, column.kind, cells)
    return findings


def _numbers_among_words(name: str, kind: str, cells: Sequence[str]) -> list[Finding]:
    """A column in which most cells are numbers, but which is read as words because the others are not."""
    if not _mostly_numbers(cells[:FIRST_CELLS]) or not _mostly_numbers(cells):
        return []
    others = [i for i, cell in enumerate(cells) if cell.strip() and not PLAIN_NUMBER.match(cell.strip())]
    if not others:
        return []
    shown = join_phrases(list(dict.fromkeys(shorten(cells[i].strip(), 20) for i in others)), SHOWN)
    message = f"Most cells of {name!r} are numbers, but it is read as {kind}: {len(others):,} are not ({shown})."
    hint = f"write all of them in the same way, or read these as missing with --column {shell_word(f'{name}=number')}"
    return [Finding.of("numbers-as-words", "warning", message, np.array(others) + 1, hint)]


def _mostly_numbers(cells: Sequence[str]) -> bool:
    filled = [cell.strip() for cell in cells if cell.strip()]
    numbers = [cell for cell in filled if PLAIN_NUMBER.match(cell)]
    return 2 * len(numbers) > len(filled) and not any(map(CODE_PATTERN.match, numbers))


def _effect_on_score(scale: str) -> str:
    """What far values of the target do to the score."""
    if scale.startswith("log"):
        return f"the error is that of {scale}, so they count little more than other rows"
    return "the scores of rows like these drown all others"


def _outliers(name: str, values: Array, what: str) -> list[Finding]:
    far = np.flatnonzero(outliers(values))
    if not len(far):
        return []
    low, high = np.percentile(values[np.isfinite(values)], (5, 95))
    shown = join_phrases([f"{value:.10g}" for value in values[far].tolist()], SHOWN)
    have = count_phrase(len(far), "row has a value", "rows have values")
    message = (
        f"{have} of {name!r} far from all others: {shown}, where 90 % are between {low:.4g} and {high:.4g}; {what}."
    )
    hint = "if they are mistakes, correct or empty these cells"
    return [Finding.of("outlier", "warning", message, far + 1, hint)]


def _stand_ins(targets: Array, schema: Schema) -> list[Finding]:
    """Numbers that seem to mark missing values, and their effect on the scale."""
    least = stand_in(targets) if schema.task == "regression" else None
    if least is None:
        return []
    numbers = np.flatnonzero(targets == least) + 1
    others = targets[np.isfinite(targets) & (targets != least)]
    scale = fitting_scale(others)
    without = f": without them {scale} would suit it, not {schema.scale}" if scale != schema.scale else ""
    bound = "positive" if least else f"at least {others.min():g}"
    message = f"{len(numbers):,} rows have {least:g} in column {schema.target!r}, which is otherwise {bound}{without}."
    hint = "if that stands for a missing value, leave these rows out, or empty the cells and pass --bad-rows drop"
    return [Finding.of("stand-in", "warning", message, numbers, hint)]
