"""Duplicates: which texts are exact or near duplicates, and which of them lie across the split?"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.data.schema.schema import Schema
from warmstart.data.tables.cells import each_text
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import Texts
from warmstart.quantities import WORD_PATTERN
from warmstart.types import Array

NEAR_COPY_SHARE = 0.8  # share of three-word runs in common, from which on two texts are near copies
FUNCTIONS, BANDS = 32, 8  # 8 bands of 4: texts with 0.8 in common meet in a band with probability 0.985
WORDS_READ = 2_000_000  # of all texts together, but at least 64 of each
TEXTS_READ = 100_000  # compared by their word runs; beyond, only equal words are found


@dataclass(frozen=True)
class Duplicates:
    """Pairs of positions, the earlier one first: int64 [n, 2]. A text is paired with one earlier copy, not with all."""

    exact: Array
    near: Array  # among texts that are not exact copies
    bound: str  # what was left out to stay fast, for the message; "" where nothing was


def find_duplicates(texts: Sequence[str]) -> Duplicates:
    """Exact copies by equality, near copies by equal words and by MinHash of three-word runs (Broder 1997).

    Equality is that of 64-bit hashes: two of 5 million texts share one with a probability below one in a million.
    """
    exact = equal_pairs(np.fromiter(map(hash, texts), np.int64, len(texts)))
    once = np.delete(np.arange(len(texts)), exact[:, 1])
    most = max(64, WORDS_READ // max(1, min(len(once), TEXTS_READ)))
    words = _read_words(Texts.of(texts).take(once), most)
    near = equal_pairs(words.hashes)
    left = np.delete(np.arange(len(once)), near[:, 1])
    left = left[left < TEXTS_READ]
    left = left[words.counts[left] > 0]
    bound = f" (judged by their first {most:,} words)" if (words.counts[left] > most).any() else ""
    if len(once) > TEXTS_READ:
        bound += f" (beyond the first {TEXTS_READ:,} texts, only those of equal words)"
    alike = left[_alike([words.numbers[i] for i in left])]
    return Duplicates(exact, once[np.concatenate([near, alike])], bound)


def join_duplicates(texts: Sequence[str]) -> Array:
    """int64 [n]: a common number for texts that are copies or near copies, directly or through others."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    copies = find_duplicates(texts)
    pairs = np.concatenate([copies.exact, copies.near])
    joined = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(texts), len(texts)))
    found: Array = connected_components(joined, directed=False)[1].astype(np.int64)
    return found


@dataclass(frozen=True)
class _Words:
    """The lower-case words of texts."""

    hashes: Array  # int64 [n]: of all words of a text; of texts without a word, all different
    counts: Array  # int64 [n]
    numbers: list[Array]  # of the first TEXTS_READ texts: their first words, at least 3, the same number the same word


def _read_words(texts: Texts, most: int) -> _Words:
    hashes, counts = (np.empty(len(texts), np.int64) for _ in range(2))
    numbers: list[Array] = []
    vocabulary: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    for i, text in enumerate(texts):
        words = WORD_PATTERN.findall(text.lower())
        hashes[i], counts[i] = hash(" ".join(words) if words else f"\0{i}"), len(words)
        if i < TEXTS_READ:
            padded = words[:most] if len(words) > 2 else [*words, "", "", ""][:3]
            numbers.append(np.fromiter(map(vocabulary.__getitem__, padded), np.uint32, len(padded)))
    return _Words(hashes, counts, numbers)


def shared_across_split(table: Table, schema: Schema, pairs: Array) -> str | None:
    """The column in which three of four pairs of copies agree, and other pairs do not; a candidate for `group`."""
    best: tuple[float, str] | None = None
    for name in table.columns.column_names:
        if name in (schema.target, schema.group, *schema.fields, *([] if schema.labelled else schema.text)):
            continue
        cells = np.fromiter(map(hash, each_text(table.columns[name])), np.int64, table.columns.num_rows)
        one, other = cells[pairs[:, 0]], cells[pairs[:, 1]]
        agree = float(np.mean((one == other) & (one != hash(None))))
        half = len(cells) // 2
        by_chance = float(np.mean(cells[: len(cells) - half] == cells[half:]))
        if agree >= 0.75 and by_chance < 0.05 and (best is None or agree > best[0]):
            best = (agree, name)
    return best[1] if best else None


def equal_pairs(hashes: Array) -> Array:
    """Pairs of positions of equal values, each with the first one."""
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(len(hashes)))
    return np.stack([first[which[again]], again], axis=1)


def _alike(words: Sequence[Array]) -> Array:
    """Pairs of texts that share at least `NEAR_COPY_SHARE` of their three-word runs, each with one earlier text."""
    if len(words) < 2:
        return np.empty((0, 2), np.int64)
    runs, starts = _runs(words)
    signatures = _signatures(runs, starts)
    found: dict[int, int] = {}
    for band in np.split(signatures, BANDS, axis=1):
        _, first, which = np.unique(_mix(band), return_index=True, return_inverse=True)
        earlier = first[which]
        candidates = np.flatnonzero(earlier != np.arange(len(words)))
        likely = (signatures[candidates] == signatures[earlier[candidates]]).mean(axis=1) >= NEAR_COPY_SHARE - 0.2
        for i in candidates[likely].tolist():
            if i not in found and _shared(runs, starts, i, int(earlier[i])) >= NEAR_COPY_SHARE:
                found[i] = int(earlier[i])
    return np.array([(j, i) for i, j in sorted(found.items())], dtype=np.int64).reshape(-1, 2)


def _runs(words: Sequence[Array]) -> tuple[Array, Array]:
    """(hashes of the three-word runs of all texts, uint64; start of each text's runs). Every text has three words."""
    numbers = np.concatenate(words).astype(np.uint64)
    lengths = np.array([len(text) for text in words])
    hashes = _mix(np.stack([numbers[:-2], numbers[1:-1], numbers[2:]], axis=1))
    ends = np.cumsum(lengths)
    inside = np.ones(len(numbers), dtype=bool)  # a run must not reach into the next text
    inside[ends - 1] = inside[ends - 2] = False
    counts = lengths - 2
    return hashes[inside[:-2]], np.concatenate([[0], np.cumsum(counts)])


def _mix(rows: Array) -> Array:
    """One 64-bit hash for each row of integers, after SplitMix64's finalizer (Steele et al. 2014)."""
    mixed = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.T.astype(np.uint64):
        mixed = (mixed ^ column) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


def _signatures(runs: Array, starts: Array) -> Array:
    """Smallest hash of each text for each function: [texts, FUNCTIONS]; the share of equal ones estimates Jaccard's
    index.
    """
    factors = np.random.default_rng(0).integers(1, 2**63, size=FUNCTIONS, dtype=np.uint64) | np.uint64(1)
    return np.stack([np.minimum.reduceat(runs * factor, starts[:-1]) for factor in factors], axis=1)


def _shared(runs: Array, starts: Array, a: int, b: int) -> float:
    one, other = (set(runs[starts[i] : starts[i + 1]].tolist()) for i in (a, b))
    return len(one & other) / len(one | other)
