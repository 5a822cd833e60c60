"""Split: which rows are for training, for validation and for testing?"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b, sha256
from pathlib import Path

import numpy as np

from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.rows.times import cut_by_time
from warmstart.data.rows.usable_rows import UsableRows, find_usable_rows
from warmstart.data.schema.cell_values import read_cells, spell
from warmstart.data.schema.kinds import infer_column
from warmstart.data.schema.schema import CORPUS, BadRowsRule, Schema
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import BLOCK, Texts
from warmstart.errors import InputError, UsageError, count_phrase, join_phrases, shorten
from warmstart.types import Array

VAL_SHARE, VAL_ROWS = 0.1, 1000
TEST_SHARE, TEST_ROWS = 0.2, 3000
MIN_SPLIT_ROWS = 20
RUNS = 100  # of neighboring pieces, into which a corpus of few documents is divided
TARGET_STRATA = 10  # strata of a regression's target


@dataclass(frozen=True)
class Rows:
    """Examples as columns of equal length."""

    texts: Sequence[str]  # of a text-out task: conversations, with their answers; of a corpus: pieces of documents
    # regression: float64 [n] in the target's units; classification: object [n], str or tuple[str, ...];
    # text-out: object [n], the answer; corpus: object [n], ""
    targets: Array
    numbers: Array  # int64 [n]: row numbers in the table, from 1; of a corpus: of the pieces
    keys: Sequence[str]  # what the split hashes: the group, else text and target
    # the typed values of what is read, by column; empty where the task has no columns, as a corpus and conversations
    columns: ColumnValues = field(default_factory=ColumnValues)
    times: Array | None = None  # float64 [n]: when each is from; None: rows are not split by that

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: Array) -> "Rows":
        """The rows at these positions, in this order."""
        texts, keys = Texts.of(self.texts), Texts.of(self.keys)
        columns = self.columns.take(index)
        times = None if self.times is None else self.times[index]
        return Rows(texts.take(index), self.targets[index], self.numbers[index], keys.take(index), columns, times)

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """One part after the other."""
        return cls(
            Texts.joined([Texts.of(part.texts) for part in parts]),
            np.concatenate([part.targets for part in parts]),
            np.concatenate([part.numbers for part in parts]),
            Texts.joined([Texts.of(part.keys) for part in parts]),
            ColumnValues.joined([part.columns for part in parts]),
            None
            if parts[0].times is None
            else np.concatenate([part.times for part in parts if part.times is not None]),
        )


@dataclass(frozen=True)
class Splits:
    """Rows for training, for validation, and for testing. Rows, not tensors."""

    train: Rows
    val: Rows
    test: Rows
    fingerprint: str  # SHA-256 (first 16 hex digits) of content and split
    _orders: dict[int, Array] = field(default_factory=dict, init=False, repr=False, compare=False)  # by seed

    def subset(self, rows: int, seed: int) -> "Splits":
        """The first `rows` training rows in the seed's own hash order; validation and test rows are unchanged.

        Nested: with the same seed, fewer rows are a prefix of more rows. All rows if `rows` exceeds their number.
        """
        if rows < 1:
            raise UsageError(f"{rows} training rows were asked for", "ask for at least 1")
        if seed not in self._orders:
            parts = zip(self.train.keys, _each(self.train.numbers), strict=True)
            hashes = _hashes((f"{seed}\0{key}\0{number}" for key, number in parts), len(self.train))
            self._orders[seed] = np.argsort(hashes, kind="stable")
        return replace(self, train=self.train.take(self._orders[seed][:rows]))

    def trained_on(self, train: Rows) -> "Splits":
        """The same validation and test rows with other training rows."""
        return Splits(train, self.val, self.test, _fingerprint(train, self.val, self.test))

    def without_held_out(self, hashes: Array) -> tuple["Splits", int]:
        """Without the validation and test rows whose texts have one of these `text_hashes`, and how many that were.

        Raises InputError where no validation or test rows are left.
        """
        val, test = (part.take(np.flatnonzero(~np.isin(text_hashes(part), hashes))) for part in (self.val, self.test))
        dropped = len(self.val) + len(self.test) - len(val) - len(test)
        if not dropped:
            return self, 0
        if not len(val) or not len(test):
            raise InputError(
                "the earlier model learned from all validation or test rows of the new table",
                "add rows it has not seen",
            )
        return Splits(self.train, val, test, _fingerprint(self.train, val, test)), dropped


def text_hashes(rows: Rows) -> Array:
    """Of the text of each row, for telling copies apart: uint64 [n]."""
    return _hashes(rows.texts, len(rows))


# --- table to rows -------------------------------------------------------------------------------------------------


def make_rows(table: Table, schema: Schema, *, bad_rows: BadRowsRule | None = None) -> tuple[Rows, tuple[str, ...]]:
    """Rows that can be learned from, and a caveat for each kind of row that was left out.

    Bad rows (missing or invalid target, empty text, a class with one row) are left out if they are at most 5 % of all,
    or according to `bad_rows`. Raises InputError otherwise, and if fewer than 20 rows or a single class remain.
    """
    found = find_usable_rows(table, schema)
    if found.bad and not found.leaves_out(bad_rows):
        problems = ". ".join(kind.problem for kind in found.bad)
        raise InputError(f"{problems}. In all, {found.share} cannot be used", _hint(found))
    rows = usable_rows(table, schema, found)
    return rows, (*(f"Left out: {kind.problem}." for kind in found.bad), *remarks(table, schema, found))


def remarks(table: Table, schema: Schema, found: UsableRows) -> tuple[str, ...]:
    """Notes on how the rows were read: cells that could not be, and how a corpus is divided."""
    count, names = len(table.skipped), join_phrases([Path(name).name for name in table.skipped])
    what = "files that are" if count > 1 else "file that is"
    said = [f"Left out: {count:,} {what} neither .txt nor .md ({names})."] if count else []
    said += [f"{_capitalized(unread.problem(table))}." for unread in found.columns.unread]
    blank = sum(not group for group in _groups(table, schema.group)) if schema.group else 0
    if blank:
        have = count_phrase(blank, "row has", "rows have")
        said.append(f"{have} no value in the group column {schema.group!r}: each counts as a group of its own.")
    run = _run(found) if schema.task in CORPUS else None
    if run:
        documents = len(np.unique(found.owners))
        said.append(
            f"{documents} document{'s are' if documents > 1 else ' is'} too few to divide between training and test, "
            f"so runs of {run:,} neighboring pieces are divided: the test pieces are of documents also trained on."
        )
    return tuple(said)


def _capitalized(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def usable_rows(table: Table, schema: Schema, found: UsableRows) -> Rows:
    """The rows that are not bad; for a corpus, their pieces. Raises InputError if too few, or one class, remain."""
    index = np.flatnonzero(found.usable[found.owners])
    targets, keys = found.targets, _keys(table, schema, found.texts, found.targets)
    if schema.task in CORPUS:
        _check_pieces(len(index), schema)
        targets, keys = targets[found.owners], _piece_keys(keys, found)
    else:
        _check_enough(schema, targets[index], len(found.texts))
    numbers = np.arange(1, len(found.pieces) + 1)
    times = None if found.times is None else found.times[found.owners]
    return Rows(found.pieces, targets, numbers, keys, found.columns.values, times).take(index)


def _hint(found: UsableRows) -> str:
    merge = "merge them with other classes" if any(kind.kind == "single-class" for kind in found.bad) else ""
    clean = "clean them" if any(kind.kind != "single-class" for kind in found.bad) else ""
    said = " and ".join(part for part in (clean, merge) if part)
    if found.usable.sum() < MIN_SPLIT_ROWS:
        return f"{said}; too few rows would be left without them"
    return f"{said}, or pass --bad-rows drop to leave them out (they will be listed in the report)"


def _check_enough(schema: Schema, targets: Array, total: int) -> None:
    if len(targets) < MIN_SPLIT_ROWS:
        raise InputError(
            f"{len(targets)} of {total:,} rows can be used, but at least {MIN_SPLIT_ROWS} are needed",
            "add rows; a few hundred are a sensible beginning",
        )
    if all(target == targets[0] for target in targets):
        if schema.task == "chat":
            raise InputError(
                f"the answers of {schema.answers} are {shorten(targets[0])} in every usable row, "
                "so there is nothing to learn",
                "add conversations with other answers",
            )
        raise InputError(
            f"{schema.answers} is {shorten(targets[0])} in every usable row, so there is nothing to learn",
            "choose another target",
        )


def _keys(table: Table, schema: Schema, texts: Texts, targets: Array) -> Texts:
    """The group, if there is one; otherwise a digest of text and target, so that exact copies stay together."""
    groups = _groups(table, schema.group) if schema.group else itertools.repeat("", len(texts))
    if schema.task in CORPUS:  # a document may be larger than what memory should hold as a string
        digests = (_digest(content) for content in texts.buffers())
    else:
        pairs = zip(texts, _each(targets), strict=True)
        digests = (_bytes_digest(f"{text}\0{target}") for text, target in pairs)
    return Texts.of(f"group {group}" if group else digest.hex() for group, digest in zip(groups, digests, strict=True))


def _groups(table: Table, name: str) -> Iterator[str]:
    """Group of each row, spelled the same in all file formats; "" if missing."""
    column = infer_column(name, table.columns[name])
    return spell(read_cells(table.columns[name], column)[0], column)


def _check_pieces(pieces: int, schema: Schema) -> None:
    if pieces < MIN_SPLIT_ROWS:
        raise InputError(
            f"the texts make {count_phrase(pieces, 'piece', 'pieces')} of at most {schema.piece_bytes:,} bytes, "
            f"but at least {MIN_SPLIT_ROWS} are needed",
            "add texts, or cut them finer with a smaller --max-length",
        )


def _piece_keys(keys: Texts, found: UsableRows) -> Texts:
    """The document of each piece; if there are too few documents, with the number of its run of neighbors."""
    run = _run(found)
    if run is None:
        return keys.take(found.owners)
    places = np.arange(len(found.owners)) - np.searchsorted(found.owners, found.owners)
    parts = zip(keys.take(found.owners), _each(places // run), strict=True)
    return Texts.of(f"{key} run {number}" for key, number in parts)


def _run(found: UsableRows) -> int | None:
    """How many neighboring pieces stay in one part of the split; None for entire documents."""
    return -(-len(found.owners) // RUNS) if len(np.unique(found.owners)) < MIN_SPLIT_ROWS else None


# --- rows to splits ------------------------------------------------------------------------------------------------


def split(rows: Rows, schema: Schema, number: int = 0) -> Splits:
    """Test (20 %, at most 3,000 rows), validation (10 %, at most 1,000) and training rows, by a hash of the keys.

    Rows with times are divided by them: the latest are for testing, those before them for validation. Otherwise rows
    with equal keys stay in one part. Stratified by class (a key counts for its rarest) or by the target's quantile.
    Independent of the order of the rows. `number`: which one of repeated splits. Raises InputError for fewer than 3
    different keys.
    """
    if rows.times is not None:
        return _parted(rows, cut_by_time(rows.times, *held_out_counts(len(rows))))
    # A key is its 64-bit hash from here on: two of 5 million share one with a probability below one in a million.
    drawn = rows.keys if number == 0 else (f"{number}\0{key}" for key in rows.keys)
    keys, key_of_row = np.unique(_hashes(drawn, len(rows)), return_inverse=True)
    if len(keys) < 3:
        column = f"column {schema.group!r}, the group," if schema.group else "the table"
        values = count_phrase(len(keys), "value", "different values")
        raise InputError(
            f"{column} has only {values}, so its rows cannot be divided into three parts",
            "choose a finer group, or leave out --group" if schema.group else "remove the copies and add rows",
        )
    sizes = np.bincount(key_of_row, minlength=len(keys))
    strata = _class_strata(rows, key_of_row, len(keys)) if schema.task == "classification" else None
    keep_half = strata is not None  # of a class, for training; quantiles need no such care
    if schema.task == "regression":
        strata = _quantile_strata(rows.targets, key_of_row, sizes)
    elif strata is None:
        strata = np.zeros(len(keys), dtype=np.int64)
    order = np.lexsort((keys, strata))
    test = _draw(order, strata, sizes, min(TEST_SHARE, TEST_ROWS / len(rows)), keep_half, leave=2)
    rest = order[~np.isin(order, test)]
    left = len(rows) - int(sizes[test].sum())
    val_rows = min(VAL_SHARE * len(rows), VAL_ROWS)
    val = _draw(rest, strata, sizes, val_rows / left, keep_half, leave=1)
    part = np.zeros(len(keys), dtype=np.int64)
    part[val], part[test] = 1, 2
    return _parted(rows, part[key_of_row])


def held_out_counts(rows: int) -> tuple[int, int]:
    """How many of so many rows are for validation, and how many for testing."""
    return round(min(VAL_SHARE * rows, VAL_ROWS)), round(min(TEST_SHARE * rows, TEST_ROWS))


def _parted(rows: Rows, part: Array) -> Splits:
    """`part`: 0 for training, 1 for validation, 2 for test, int64 [n]."""
    train, val, test = (rows.take(np.flatnonzero(part == i)) for i in range(3))
    return Splits(train, val, test, _fingerprint(train, val, test))


def _draw(order: Array, strata: Array, sizes: Array, share: float, keep_half: bool, leave: int) -> Array:
    """The first keys of each stratum that make up this share of its rows; remainders are carried to the next stratum.

    Keys larger than the remainder are skipped, so that the share is never exceeded; `leave` keys stay for the other
    parts.
    """
    drawn: list[int] = []
    budget = 0.0
    starts = np.flatnonzero(np.diff(strata[order], prepend=-1))
    for stratum in np.split(order, starts[1:]):
        total = int(sizes[stratum].sum())
        budget += share * total
        room = total / 2 if keep_half else float(total)
        for key in stratum:
            if min(budget + 1e-9, room) < 1:
                break  # no key is that small
            size = int(sizes[key])
            # The margin is for rounding: 0.2 * 5 may come out below 1.
            if size <= min(budget + 1e-9, room) and len(drawn) + leave < len(order):
                drawn.append(int(key))
                budget -= size
                room -= size
    if not drawn:  # a few large groups: the smallest is the least too much
        drawn.append(int(order[np.argmin(sizes[order])]))
    return np.array(drawn, dtype=np.int64)


def _class_strata(rows: Rows, key_of_row: Array, keys: int) -> Array:
    """The rarest class among the rows of each key: int64 [keys]."""
    number_of: dict[str | tuple[str, ...], int] = {}
    kind_of_row = np.fromiter((number_of.setdefault(t, len(number_of)) for t in rows.targets), np.int64, len(rows))
    counts: Counter[str] = Counter()
    for target, times in zip(number_of, np.bincount(kind_of_row).tolist(), strict=True):
        for label in _labels(target):
            counts[label] += times
    common_first = sorted(counts, key=lambda label: (-counts[label], label))
    rank = {label: i + 1 for i, label in enumerate(common_first)}
    rarest = np.array([max((rank[label] for label in _labels(target)), default=0) for target in number_of])
    strata = np.zeros(keys, dtype=np.int64)
    np.maximum.at(strata, key_of_row, rarest[kind_of_row])
    return strata


def _labels(target: str | tuple[str, ...]) -> tuple[str, ...]:
    return target if isinstance(target, tuple) else (target,)


def _quantile_strata(targets: Array, key_of_row: Array, sizes: Array) -> Array:
    """The decile of the mean target of each key: int64 [keys]; fewer quantiles if there are few keys."""
    # By rank, since the mean of huge targets would overflow and a sum would depend on the order of the rows.
    ranks = np.searchsorted(np.sort(targets), targets)
    means = np.bincount(key_of_row, weights=ranks, minlength=len(sizes)) / sizes
    parts = max(1, min(TARGET_STRATA, len(sizes) // TARGET_STRATA))
    return np.searchsorted(np.quantile(means, np.arange(1, parts) / parts), means)


def _each(values: Array) -> Iterator[object]:
    """The values as Python's own, some thousands at a time."""
    for start in range(0, len(values), BLOCK):
        yield from values[start : start + BLOCK].tolist()


def _hashes(texts: Iterable[str], count: int) -> Array:
    """64-bit hashes of so many texts, the same on every machine: uint64 [n]."""
    return np.fromiter((int.from_bytes(_bytes_digest(text), "little") for text in texts), np.uint64, count)


def _bytes_digest(text: str) -> bytes:
    return _digest(text.encode("utf-8", "surrogatepass"))


def _digest(content: bytes | memoryview) -> bytes:
    return blake2b(content, digest_size=8).digest()


def _fingerprint(*parts: Rows) -> str:
    """Digest of the rows' contents and of their parts, independent of their order."""
    content = sha256()
    for name, part in zip(("train", "val", "test"), parts, strict=True):
        lines = zip(part.keys, part.texts, _each(part.targets), strict=True)
        hashes = _hashes((f"{key}\0{text}\0{target}" for key, text, target in lines), len(part))
        content.update(f"{name} {len(hashes)}\n".encode())
        content.update(np.sort(hashes.astype("<u8").view(">u8")).tobytes())  # as their bytes sort
    return content.hexdigest()[:16]
