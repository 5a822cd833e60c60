"""Copies: which texts say the same, or nearly the same, as another?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.data.read import Table
from warmstart.data.recognise import Schema, as_text
from warmstart.record import Array

SAME = 0.8  # share of three-word runs in common, from which on two texts are near copies
FUNCTIONS, BANDS = 32, 8  # 8 bands of 4: texts with 0.8 in common meet in a band with probability 0.985
WORDS_READ = 2_000_000  # of all texts together, but at least 64 of each
TEXTS_READ = 100_000  # compared by their word runs; beyond, only equal words are found
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Copies:
    """Pairs of positions, the first one first: int64 [n, 2]. A text is paired with one earlier copy, not with all."""

    exact: Array
    near: Array  # among texts that are not exact copies
    bound: str  # what was left out to stay fast, for the message; "" where nothing was


def find_copies(texts: Sequence[str]) -> Copies:
    """Exact copies by equality, near copies by equal words and by MinHash of three-word runs (Broder 1997)."""
    exact = _equal(texts)
    again = set(exact[:, 1].tolist())
    once = np.array([i for i in range(len(texts)) if i not in again], dtype=np.int64)
    words = [WORD.findall(texts[i].lower()) for i in once]
    near = _equal([" ".join(w) if w else f"\0{i}" for i, w in enumerate(words)])
    again = set(near[:, 1].tolist())
    left = [i for i in range(len(words)) if i not in again and words[i]][:TEXTS_READ]
    most = max(64, WORDS_READ // max(1, len(left)))
    alike = np.array(left, dtype=np.int64)[_alike([words[i][:most] for i in left])]
    bound = f" (judged by their first {most:,} words)" if any(len(words[i]) > most for i in left) else ""
    if len(once) > TEXTS_READ:
        bound += f" (beyond the first {TEXTS_READ:,} texts, only those of equal words)"
    return Copies(exact, once[np.concatenate([near, alike])], bound)


def shared_by_copies(table: Table, schema: Schema, pairs: Array) -> str | None:
    """The column that three of four pairs of copies agree in, and other pairs of rows do not; it may serve as group."""
    best: tuple[float, str] | None = None
    for name in table.columns.column_names:
        if name in (schema.target, schema.group, *([] if schema.labelled else schema.text)):
            continue
        cells = as_text(table.columns[name])
        agree = float(np.mean([cells[a] is not None and cells[a] == cells[b] for a, b in pairs.tolist()]))
        by_chance = float(np.mean([a == b for a, b in zip(cells, cells[len(cells) // 2 :], strict=False)]))
        if agree >= 0.75 and by_chance < 0.05 and (best is None or agree > best[0]):
            best = (agree, name)
    return best[1] if best else None


def _equal(texts: Sequence[str]) -> Array:
    first: dict[str, int] = {}
    pairs = [(first.setdefault(text, i), i) for i, text in enumerate(texts)]
    return _pairs([pair for pair in pairs if pair[0] != pair[1]])


def _pairs(pairs: Sequence[tuple[int, int]]) -> Array:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _alike(words: Sequence[Sequence[str]]) -> Array:
    """Pairs of texts with at least `SAME` of their three-word runs in common; each text with one earlier text."""
    if len(words) < 2:
        return _pairs([])
    runs, starts = _runs(words)
    signatures = _signatures(runs, starts)
    found: dict[int, int] = {}
    for band in np.split(signatures, BANDS, axis=1):
        _, first, which = np.unique(_mix(band), return_index=True, return_inverse=True)
        earlier = first[which]
        candidates = np.flatnonzero(earlier != np.arange(len(words)))
        likely = (signatures[candidates] == signatures[earlier[candidates]]).mean(axis=1) >= SAME - 0.2
        for i in candidates[likely].tolist():
            if i not in found and _shared(runs, starts, i, int(earlier[i])) >= SAME:
                found[i] = int(earlier[i])
    return _pairs([(j, i) for i, j in sorted(found.items())])


def _runs(words: Sequence[Sequence[str]]) -> tuple[Array, Array]:
    """(a hash of each three-word run of all texts, uint64; where each text's runs start). Shorter texts have one."""
    vocabulary: dict[str, int] = {}
    padded = [[*text, "", ""][: max(3, len(text))] for text in words]
    numbers = np.array([vocabulary.setdefault(w, len(vocabulary)) for text in padded for w in text], dtype=np.uint64)
    lengths = np.array([len(text) for text in padded])
    hashes = _mix(np.stack([numbers[:-2], numbers[1:-1], numbers[2:]], axis=1))
    ends = np.cumsum(lengths)
    inside = np.ones(len(numbers), dtype=bool)  # a run must not reach into the next text
    inside[ends - 1] = inside[ends - 2] = False
    counts = lengths - 2
    return hashes[inside[:-2]], np.concatenate([[0], np.cumsum(counts)])


def _mix(rows: Array) -> Array:
    """One 64-bit hash for each row of integers, after SplitMix64's finaliser (Steele et al. 2014)."""
    mixed = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.T.astype(np.uint64):
        mixed = (mixed ^ column) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


def _signatures(runs: Array, starts: Array) -> Array:
    """The smallest hash of each text under each function: [texts, FUNCTIONS]; the share of equal ones is Jaccard's."""
    factors = np.random.default_rng(0).integers(1, 2**63, size=FUNCTIONS, dtype=np.uint64) | np.uint64(1)
    return np.stack([np.minimum.reduceat(runs * factor, starts[:-1]) for factor in factors], axis=1)


def _shared(runs: Array, starts: Array, a: int, b: int) -> float:
    one, other = (set(runs[starts[i] : starts[i + 1]].tolist()) for i in (a, b))
    return len(one & other) / len(one | other)
