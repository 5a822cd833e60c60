"""Domain shift: how far are these texts from those that a base was trained on? From texts, tokens and features alone.

A base's training data are usually unknown. So its tokenizer is used (it was trained on those data), and with a
reference text the task's texts are compared with it: by their words, by how well a linear classifier tells them apart
(proxy A-distance, Ben-David et al. 2007), and by their bits per byte under the base.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from warmstart.quantities import WORD_PATTERN
from warmstart.results.bootstrap import resample, wilson
from warmstart.results.record import Estimate, Interval
from warmstart.runtime.sampling import spread_places
from warmstart.types import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer


UNKNOWN = ("[UNK]", "<unk>")
SPELLED, LONGEST = 2_000, 4_000  # texts whose tokens are looked at, and characters of each
DIVERGENCE_DRAWS = 200  # of texts, for the interval of a divergence
SHUFFLES = 20  # of texts between the two sides, for what chance makes of it
FOLDS = 5
MIN_TEXTS = 20  # texts on each side, to tell them apart by
FOREIGN_TOKENS = 1.7  # a word: English synopses 1.3, French 1.8, German 2.5 by an English tokenizer
FOREIGN_UNKNOWN = 0.01  # of the pieces
APART = 1.5  # of the 2 that an A-distance comes to at most


@dataclass(frozen=True)
class Spelling:
    """How a tokenizer splits texts."""

    texts: int
    tokens_per_word: Estimate
    one_piece: Estimate  # share of the words that are one piece: in the tokenizer's own vocabulary
    unknown: Estimate  # share of the pieces that stand for what it cannot spell

    @property
    def foreign(self) -> bool:
        """Whether the tokenizer was made for other text, beyond chance."""
        return self.tokens_per_word.interval.low > FOREIGN_TOKENS or self.unknown.interval.low > FOREIGN_UNKNOWN


@dataclass(frozen=True)
class DomainShift:
    """Domain shift of the task's texts for a base; measures that need a reference text are None without one."""

    base: str
    spelling: Spelling
    reference: str | None = None  # where the reference text is from
    reference_texts: int = 0
    reference_spelling: Spelling | None = None
    divergence: Estimate | None = None  # Jensen-Shannon, bits, of the words; chance taken off
    apart_by_words: Estimate | None = None  # proxy A-distance, 0 to 2
    apart_by_features: Estimate | None = None  # of the base
    bits_per_byte: Estimate | None = None  # of these texts under the base
    reference_bits_per_byte: Estimate | None = None
    tokens_read: int = 0  # by the base, for the last three
    seconds: float = 0.0

    @property
    def far(self) -> bool:
        """Whether any measure shows a shift beyond chance."""
        known = [each for each in (self.apart_by_words, self.apart_by_features) if each]
        return self.spelling.foreign or (bool(known) and all(each.interval.low > APART for each in known))

    def to_json(self) -> dict[str, Any]:
        """For `comparison.json`."""
        return asdict(self) | {"far": self.far, "predicts": fragmentation_statement(self)}

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> "DomainShift":
        """The inverse of `to_json`."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python({name: known[name] for name in cls.__dataclass_fields__})


# --- the tokenizer ----------------------------------------------------------------------------------------------------


def spelling(texts: Sequence[str], tokenizer: "Tokenizer") -> Spelling | None:
    """Tokenization of some of the texts, evenly spread; None if none contains a word. Removes the tokenizer's
    truncation.
    """
    some = [texts[i][:LONGEST] for i in spread_places(SPELLED, len(texts))]
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unknown = {number for name in UNKNOWN if (number := tokenizer.token_to_id(name)) is not None}
    encoded = zip(some, tokenizer.encode_batch(some, add_special_tokens=False), strict=True)
    counts = np.array([_counts(text, encoding, unknown) for text, encoding in encoded])
    tokens, words, whole, pieces, lost = counts.T.astype(np.float64)
    if not words.sum():
        return None
    return Spelling(
        texts=len(some),
        tokens_per_word=_ratio(tokens, words),
        one_piece=_ratio(whole, words),
        unknown=_ratio(lost, pieces),
    )


def _counts(text: str, encoding: Any, unknown: set[int]) -> tuple[int, int, int, int, int]:
    """Tokens in words, words, words that are one known token, tokens, unknown tokens."""
    spans = [match.span() for match in WORD_PATTERN.finditer(text)]
    in_word, known = [0] * len(spans), [True] * len(spans)
    place = 0
    for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        while place < len(spans) and spans[place][1] <= start:
            place += 1
        if place < len(spans) and end > spans[place][0]:
            in_word[place] += 1
            known[place] &= number not in unknown
    whole = sum(count == 1 and spelled for count, spelled in zip(in_word, known, strict=True))
    return sum(in_word), len(spans), whole, len(encoding.ids), sum(number in unknown for number in encoding.ids)


def _ratio(value: Array, weight: Array) -> Estimate:
    return resample([np.stack([value, weight], axis=1)]).estimate


# --- two kinds of text ------------------------------------------------------------------------------------------------


def word_divergence(texts: Sequence[str], others: Sequence[str]) -> Estimate | None:
    """Jensen-Shannon divergence of lower-case words, in bits: 0 identical, 1 disjoint. None for too few texts.

    Two samples of the same text differ, too: the divergence between shuffled texts is subtracted.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    if min(len(texts), len(others)) < MIN_TEXTS:
        return None
    try:
        counts = CountVectorizer(token_pattern=WORD_PATTERN.pattern).fit_transform([*texts, *others]).astype(np.float64)
    except ValueError:  # not one word
        return None
    random = np.random.default_rng(0)
    ours = np.arange(counts.shape[0]) < len(texts)
    measured = _bits(counts, [ours.astype(np.float64)], [(~ours).astype(np.float64)])[0]
    shuffled = [random.permutation(ours).astype(np.float64) for _ in range(SHUFFLES)]
    chance = float(np.mean(_bits(counts, shuffled, [1 - each for each in shuffled])))
    drawn = _bits(
        counts,
        [
            np.bincount(random.choice(np.flatnonzero(ours), ours.sum()), minlength=len(ours))
            for _ in range(DIVERGENCE_DRAWS)
        ],
        [
            np.bincount(random.choice(np.flatnonzero(~ours), (~ours).sum()), minlength=len(ours))
            for _ in range(DIVERGENCE_DRAWS)
        ],
    )
    value = max(0.0, float(measured) - chance)
    low, high = np.quantile(drawn - drawn.mean(), [0.025, 0.975]) + value
    return Estimate(value, Interval(max(0.0, float(low)), min(1.0, float(high))))


def _bits(counts: Any, first: Sequence[Array], second: Sequence[Array]) -> Array:
    """Divergence of the words for each pair of text weights."""
    found = []
    for one, other in zip(first, second, strict=True):
        p, q = (np.asarray(counts.T @ weights).ravel() for weights in (one, other))
        p, q = p / max(p.sum(), 1e-12), q / max(q.sum(), 1e-12)
        mean = (p + q) / 2
        found.append((_nats(p, mean) + _nats(q, mean)) / 2 / math.log(2))
    return np.array(found)


def _nats(p: Array, q: Array) -> float:
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())


def classifier_distance(texts: Any, others: Any) -> Estimate | None:
    """Proxy A-distance 2 (1 - 2 error) of a linear classifier, cross-validated on balanced classes; 0 same, 2 apart.

    On TF-IDF of texts, or on features, float [n, d]. The interval is Wilson's for the error. None for too few texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = min(len(texts), len(others))
    if count < MIN_TEXTS:
        return None
    random = np.random.default_rng(0)
    ours, theirs = (sorted(random.choice(len(each), count, replace=False).tolist()) for each in (texts, others))
    first = TfidfVectorizer(token_pattern=WORD_PATTERN.pattern) if isinstance(texts[0], str) else StandardScaler()
    model = make_pipeline(first, LogisticRegression(max_iter=1000))
    rows = [*(texts[i] for i in ours), *(others[i] for i in theirs)]
    target = np.repeat([0, 1], count)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    try:
        guessed = cross_val_predict(model, rows, target, cv=folds)
    except ValueError:  # not one word
        return None
    error = float((guessed != target).mean())
    low, high = wilson(error, len(target))
    return Estimate(_distance(error), Interval(_distance(high), _distance(low)))


def _distance(error: float) -> float:
    return 2 * (1 - 2 * min(max(error, 0.0), 0.5))


def as_long(texts: Sequence[str], others: Sequence[str]) -> list[str]:
    """The other texts, cut into pieces of about as many words as these have, so that lengths do not tell."""
    words = max(1, round(float(np.median([len(text.split()) for text in texts]))))
    pieces = []
    for other in others:
        split = other.split()
        pieces += [" ".join(split[i : i + words]) for i in range(0, max(1, len(split) - words // 2), words)]
    return [piece for piece in pieces if piece]


# --- what it predicts -------------------------------------------------------------------------------------------------


def fragmentation_statement(found: DomainShift) -> list[str]:
    """What the tokenization suggests for each kind of regime, in sentences. A prediction, not a measured score."""
    spelled = found.spelling.tokens_per_word
    what = f"The tokenizer of {found.base} needs {spelled.value:.2f} tokens per word"
    if found.spelling.foreign:
        what += f", and {found.spelling.one_piece.value:.0%} of words are single tokens: it was made for other text."
    else:
        what += f", and {found.spelling.one_piece.value:.0%} of words are single tokens."
    if found.far:
        return [
            what,
            "`frozen` and `top-layers` are likely to suffer most, because they use the base's features unchanged.",
            "`full`, `discriminative` and `lora` can adapt, but are likely to need more rows than on familiar texts.",
            "`hybrid` is more likely to pay off, because it learns the language of these texts first.",
            "`scratch`, `scratch-dnn` and `self-pretrained` are not affected, and may catch up with fewer rows.",
        ]
    return [
        what,
        "There is no sign that these texts are unfamiliar to the base: `frozen` and `lora` may need only few rows.",
        "`hybrid` probably adds little, and `scratch` is likely to need many more rows to catch up.",
    ]
