"""Number findings: which numbers of a table mark missing values, and which are outliers?"""

import numpy as np

from warmstart.data.rows.examples import UsableRows
from warmstart.data.rows.findings import Finding
from warmstart.data.schema.numbers import outliers, stand_in
from warmstart.data.schema.scales import fitting_scale
from warmstart.data.schema.schema import Schema
from warmstart.errors import count_phrase, join_phrases
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
    return findings


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
