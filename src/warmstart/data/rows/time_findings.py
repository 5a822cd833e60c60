"""Time findings: what should be known of a split by time: its dates, what is new later on, and what has drifted?"""

from collections import Counter
from datetime import UTC, datetime

import numpy as np

from warmstart.data.rows.findings import Finding
from warmstart.data.rows.split import Splits
from warmstart.data.schema.columns import Column
from warmstart.data.schema.schema import Schema
from warmstart.errors import count_phrase, join_phrases
from warmstart.quantities import format_number
from warmstart.results.domain_shift import LONGEST, classifier_distance
from warmstart.runtime.sampling import spread_places

SHIFT = 0.1  # in standard deviations of a target, or in share of rows whose class would have to change: worth a caveat
CLASS_SHUFFLES = 200  # of rows between two parts, for the shift of classes that chance alone makes
SHIFT_CHANCE = 0.05  # a shift of the target that chance makes more often than this is not reported
DRIFT_TEXTS = 400  # of each part, that a classifier tells apart
DRIFT = 0.2  # proxy A-distance, 0 to 2: a classifier that is right for 55 % of rows; half is chance
UNEVEN = 0.25  # share by which a part may miss its size before it is reported


def time_findings(splits: Splits, schema: Schema, column: Column, wanted: tuple[int, int]) -> tuple[Finding, ...]:
    """What a person should know of a split by time: from when to when, what is new later on, and what has drifted.

    `wanted`: numbers of validation and test rows that would be taken if no two rows were of the same time.
    """
    when = [part.times for part in (splits.train, splits.val, splits.test) if part.times is not None]
    train, val, test = (f"{_said(each.min(), column)} to {_said(each.max(), column)}" for each in when)
    parts = f"Split by {schema.time!r}: training rows {train}, validation rows {val}, test rows {test}."
    said = [*_ties(splits, schema, wanted), *_spanning(splits, schema)]
    if schema.task == "regression":
        said += _moved_number(splits)
    elif schema.task == "classification" and not schema.multi_label:
        said += _moved_classes(splits)
    findings = [Finding("time", "note", parts), *(Finding("time", "warning", each) for each in said)]
    if not any(each.kind == "image" for each in schema.columns):
        findings += _drifted_texts(splits)
    return tuple(findings)


def _ties(splits: Splits, schema: Schema, wanted: tuple[int, int]) -> list[str]:
    """In words, if rows of the same time make a part much larger or smaller than it would be."""
    many = [len(splits.val), len(splits.test)]
    if all(abs(found - asked) <= max(1.0, UNEVEN * asked) for found, asked in zip(many, wanted, strict=True)):
        return []
    each = (part.times for part in (splits.train, splits.val, splits.test))
    times = len(np.unique(np.concatenate([part for part in each if part is not None])))
    has = f"{schema.time!r} has {count_phrase(times, 'time', 'different times')}"
    return [
        f"Rows of the same time stay together, and {has}: "
        f"{many[0]:,} rows are for validation and {many[1]:,} for testing, "
        f"instead of {wanted[0]:,} and {wanted[1]:,}."
    ]


def _spanning(splits: Splits, schema: Schema) -> list[str]:
    """In words, how many test rows are of a group that training or validation rows are of too."""
    if not schema.group:
        return []
    known = {*splits.train.keys, *splits.val.keys}
    spanning = [key for key in splits.test.keys if key in known]
    if not spanning:
        return []
    groups = count_phrase(len(set(spanning)), "group", "groups")
    return [
        f"{len(spanning):,} of {len(splits.test):,} test rows are of {groups} that earlier rows are of too: "
        f"with --time, the time alone divides."
    ]


def _drifted_texts(splits: Splits) -> list[Finding]:
    """How well a linear classifier tells test rows from training rows by what is read of them."""
    train, test = (
        [part.texts[i][:LONGEST] for i in spread_places(DRIFT_TEXTS, len(part))] for part in (splits.train, splits.test)
    )
    found = classifier_distance(train, test)
    if found is None:
        return []
    low, high = found.interval
    right = 0.5 + found.value / 4
    measured = (
        f"a linear classifier tells test rows from training rows in {right:.0%} of cases, where half is chance "
        f"(proxy A-distance {found.value:.2f} of 2, 95 % interval {low:.2f} to {high:.2f})."
    )
    if low <= DRIFT:
        return [Finding("time-drift", "note", f"Little or no drift of what is read: {measured}")]
    hint = "expect other scores on rows that come later still, and compare again when they are there"
    return [Finding("time-drift", "warning", f"What is read has drifted: {measured}", hint=hint)]


def _said(time: float, column: Column) -> str:
    if column.kind != "datetime":
        return format_number(time) if time % 1 else f"{time:.0f}"
    moment = datetime.fromtimestamp(time, UTC)
    return moment.strftime("%Y-%m-%d") if time % 86_400 == 0 else moment.strftime("%Y-%m-%d %H:%M")


def _moved_number(splits: Splits) -> list[str]:
    from scipy.stats import mannwhitneyu

    before, after = (np.asarray(part.targets, dtype=np.float64) for part in (splits.train, splits.test))
    first, then, spread = float(np.median(before)), float(np.median(after)), float(before.std())
    if not spread or abs(then - first) < SHIFT * spread or mannwhitneyu(before, after).pvalue > SHIFT_CHANCE:
        return []
    medians = f"{format_number(first)} in training rows and {format_number(then)} in test rows"
    return [f"The target has moved: its median is {medians}."]


def _moved_classes(splits: Splits) -> list[str]:
    before, after = (Counter(part.targets.tolist()) for part in (splits.train, splits.test))
    said = []
    new = [name for name in after if name not in before]
    if new:
        count = sum(after[name] for name in new)
        said.append(
            f"{count:,} of {len(splits.test):,} test rows are of {count_phrase(len(new), 'class', 'classes')} that no "
            f"training row has: {join_phrases(sorted(map(str, new)), 5, quote=True)}."
        )
    share = {name: after[name] / len(splits.test) - before[name] / len(splits.train) for name in {*before, *after}}
    moved = sum(abs(each) for each in share.values()) / 2
    if moved >= max(SHIFT, _shift_by_chance(before, after)):
        most = max(sorted(share, key=str), key=lambda name: abs(share[name]))
        old, now = (counts[most] / counts.total() for counts in (before, after))
        said.append(
            f"Classes have shifted: their shares differ by {moved:.0%} between training and test rows; "
            f"{most!r} went from {old:.0%} to {now:.0%}."
        )
    return said


def _shift_by_chance(before: Counter[str], after: Counter[str]) -> float:
    """The shift of classes that shuffling the rows between the parts exceeds with probability `SHIFT_CHANCE`.

    With many classes and few rows it is large: 57 classes and 300 test rows (of 1,350) it is about .2.
    """
    names = sorted({*before, *after}, key=str)
    whole = np.array([before[name] + after[name] for name in names])
    drawn = np.random.default_rng(0).multivariate_hypergeometric(
        whole, after.total(), size=CLASS_SHUFFLES, method="marginals"
    )
    shares = drawn / after.total() - (whole - drawn) / before.total()
    return float(np.quantile(np.abs(shares).sum(axis=1) / 2, 1 - SHIFT_CHANCE))
