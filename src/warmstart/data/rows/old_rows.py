"""Old rows: how are the rows of an earlier study put beside new ones, for training and for what was forgotten?"""

from dataclasses import dataclass, replace

import numpy as np

from warmstart.data.rows.split import Rows, Splits, text_hashes
from warmstart.errors import count_phrase
from warmstart.types import Array


@dataclass(frozen=True)
class OldRows:
    """The rows of an earlier study beside new ones."""

    numbers: Array  # int64 [n]: of those among the training rows, after the numbers of all new rows
    test: Rows  # those that the earlier model was tested on; none is trained on. There may be none


def join_old_rows(new: Splits, old: Splits) -> tuple[Splits, OldRows, tuple[str, ...]]:
    """The new splits with the old training and validation rows among their training rows, and notes about that.

    Validation and test rows stay the new ones. An old row whose text is among the new rows is left out: the new one
    stands for it. Old test rows that would be trained on, or have a class that no other row has, are left out too.
    """
    fresh = np.concatenate([text_hashes(part) for part in (new.train, new.val, new.test)])
    first = 1 + max(int(part.numbers.max()) for part in (new.train, new.val, new.test))
    learn, repeated = _without(Rows.joined([_untimed(old.train), _untimed(old.val)]), fresh)
    train = Rows.joined([_untimed(new.train), replace(learn, numbers=first + np.arange(len(learn)))])
    test, known = _without(_untimed(old.test), text_hashes(train))
    if new.train.targets.dtype == object:
        labels = {label for part in (train, new.val, new.test) for target in part.targets for label in _labels(target)}
        there = [all(label in labels for label in _labels(target)) for target in test.targets]
        known += there.count(False)
        test = test.take(np.flatnonzero(there))
    test = replace(test, numbers=first + len(learn) + np.arange(len(test)))
    notes = [
        f"{count_phrase(len(learn), 'old row was', 'old rows were')} added to {len(new.train):,} new training rows. "
        "Validation and test rows are new ones."
    ]
    if repeated:
        many = count_phrase(repeated, "old row is", "old rows are")
        notes.append(f"{many} among the new rows, by their text: the new ones were used.")
    if known:
        many = count_phrase(known, "old test row", "old test rows")
        notes.append(f"Left out of what was forgotten: {many} with a text or a class that cannot be tested now.")
    return new.trained_on(train), OldRows(train.numbers[len(new.train) :], test), tuple(notes)


def _without(rows: Rows, hashes: Array) -> tuple[Rows, int]:
    """Without rows whose texts have one of these hashes, and how many that were."""
    kept = np.flatnonzero(~np.isin(text_hashes(rows), hashes))
    return rows.take(kept), len(rows) - len(kept)


def _untimed(rows: Rows) -> Rows:
    """Times divide rows, which has been done; a study may have had none."""
    return replace(rows, times=None)


def _labels(target: str | tuple[str, ...]) -> tuple[str, ...]:
    return target if isinstance(target, tuple) else (target,)
