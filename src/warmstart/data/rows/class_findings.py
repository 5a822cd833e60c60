"""Class findings: what should a person know about the classes of a table before training?"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from warmstart.data.rows.findings import Finding
from warmstart.data.rows.split import Splits
from warmstart.data.schema.schema import Schema
from warmstart.data.tables.cells import likely_separator
from warmstart.data.tables.formats import NA_MARKS, is_formula
from warmstart.errors import join_phrases
from warmstart.types import Array

RARE_CLASS = 5  # training rows


def label_counts(targets: Sequence[object]) -> Counter[str]:
    """How many rows have each label."""
    several = (target if isinstance(target, tuple) else (target,) for target in targets if target is not None)
    return Counter(str(label) for labels in several for label in labels)


def _plainly(label: str) -> str:
    """A label without invisible differences: one case, one Unicode form, plain spaces, no invisible characters."""
    text = unicodedata.normalize("NFKC", label).casefold()
    return " ".join("".join(letter for letter in text if unicodedata.category(letter) != "Cf").split())


def _shown_label(label: str, same: Sequence[str]) -> str:
    """Escaped, as in 'caf\xe9', if two labels look the same; otherwise unchanged."""
    alike = [other for other in same if unicodedata.normalize("NFKC", other) == unicodedata.normalize("NFKC", label)]
    return ascii(label) if len(alike) > 1 else repr(label)


def _rows_of_labels(targets: Array, labels: Sequence[str]) -> Array:
    """Numbers of the rows that have one of these labels, from 1: int64 [n]."""
    several = (target if isinstance(target, tuple) else (target,) for target in targets.tolist())
    return np.array([i for i, names in enumerate(several, 1) if not set(names).isdisjoint(labels)], dtype=np.int64)


def class_findings(targets: Array, splits: Splits, schema: Schema) -> list[Finding]:
    """Findings about the classes of all rows, `targets`, and of the training rows."""
    findings = []
    counts = label_counts(targets.tolist())
    spellings: dict[str, list[str]] = {}
    for label in sorted(counts):
        spellings.setdefault(_plainly(label), []).append(label)
    for same in (labels for labels in spellings.values() if len(labels) > 1):
        rarer = sorted(same, key=lambda label: -counts[label])[1:]
        said = join_phrases([f"{_shown_label(label, same)} ({counts[label]:,})" for label in same])
        message = f"The classes {said} differ only in case, blank space, invisible characters or Unicode form."
        findings.append(
            Finding.of("class-spelling", "warning", message, _rows_of_labels(targets, rarer), "write them alike")
        )
    marks = [label for label in sorted(counts) if label.strip().lower() in NA_MARKS]
    if marks:
        named = f"class {marks[0]!r} is" if len(marks) == 1 else f"classes {join_phrases(marks, quote=True)} are"
        message = f"The {named} what many programs write for a missing value."
        hint = "if they stand for missing values, empty these cells; else nothing has to be done"
        findings.append(Finding.of("class-missing-mark", "warning", message, _rows_of_labels(targets, marks), hint))
    formulas = [label for label in sorted(counts) if is_formula(label)]
    if formulas:
        named = f"class{'es' * (len(formulas) > 1)} {join_phrases(formulas, quote=True)}"
        message = f"Spreadsheets take the {named} for formulas."
        hint = "predictions in CSV have them as they are: open such a file as text, or rename them"
        findings.append(Finding.of("class-formula", "note", message, _rows_of_labels(targets, formulas), hint))
    trained = label_counts(splits.train.targets.tolist())
    parted = likely_separator(counts) if not schema.multi_label else None
    if parted:
        several = sum(count for label, count in counts.items() if parted in label)
        message = f"{several:,} of {counts.total():,} cells of {schema.target!r} look like several labels each."
        hint = f"if they are, pass --separator {parted!r}: each is predicted by itself then"
        findings.append(Finding("several-labels", "note", message, count=several, hint=hint))
    rare = sorted((trained[label], label) for label in counts if trained[label] < RARE_CLASS)
    if rare:
        said = join_phrases([f"{label!r} ({count})" for count, label in rare])
        have = "has" if len(rare) == 1 else "have"
        message = f"{len(rare)} of {len(counts)} classes {have} fewer than {RARE_CLASS} training rows: {said}."
        findings.append(Finding("rare-classes", "warning", message, count=len(rare), hint="merge them or add rows"))
    largest, most = counts.most_common(1)[0]
    if not schema.multi_label and most > 0.8 * counts.total():
        message = f"{most / counts.total():.0%} of the rows are {largest!r}: accuracy says little, see macro F1."
        findings.append(Finding("imbalance", "warning", message, count=most))
    elif most > 10 * min(counts.values()):
        message = f"The largest class, {largest!r}, has {most:,} rows, the smallest {min(counts.values()):,}."
        findings.append(Finding("imbalance", "note", message, count=most, hint="look at macro F1 beside accuracy"))
    return findings
