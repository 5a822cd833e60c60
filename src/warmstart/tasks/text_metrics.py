"""Text metrics: how good is a generated text, compared with its reference and its source?

Every measure gives a value and a weight for each text, [n, 2], as the paired statistics need them: the metric is the
sum of values divided by the sum of weights.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import regex

from warmstart.data.schema.json_schema import JsonSchema, SchemaMismatch, schema_validator
from warmstart.errors import InputError, shorten
from warmstart.results.metrics import RANKED_BY
from warmstart.tasks.faithfulness import faithfulness
from warmstart.types import Array

ROUGES = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # no spaces between words
_WORD = regex.compile(
    rf"[{_UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]*", regex.V1
)


@dataclass(frozen=True)
class JudgedText:
    """What generated texts are worth."""

    scores: dict[str, Array]  # by metric, [n, 2]; the one that ranks comes first
    corpus: dict[str, float] = field(default_factory=dict)  # of all texts at once
    signatures: dict[str, str] = field(default_factory=dict)  # how sacrebleu came to a figure: without, it says little
    unsupported: tuple[tuple[str, ...], ...] = ()  # of each summary, what does not stand in its source


def judge_text(
    task: str,
    texts: Sequence[str],
    references: Sequence[str],
    *,
    sources: Sequence[str] = (),
    schema: JsonSchema | None = None,
) -> JudgedText:
    """What a text-out task is measured by; `sources` for summaries, `schema` for structured output."""
    if task == "structured":
        return JudgedText(structured(texts, references, schema or {}))
    overlap = rouge(texts, references) if task == "summarise" else chrf_and_bleu(texts, references)
    scores = {RANKED_BY[task]: overlap[RANKED_BY[task]], **overlap}
    scores |= {"exact match": exact_match(texts, references), "length ratio": length_ratio(texts, references)}
    if task == "translate":
        return JudgedText(scores, *corpus(texts, references))
    scores["faithfulness"], unsupported = faithfulness(texts, sources)
    return JudgedText(scores, unsupported=tuple(unsupported))


def rouge(texts: Sequence[str], references: Sequence[str]) -> dict[str, Array]:
    """F1 of shared words (1), pairs of words (2) and of the longest common subsequence (L), 0 to 1 (Lin 2004).

    By the package rouge-score, without stemming, with words of any script: its own keep a to z and digits only.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGES.values()), tokenizer=_Words())
    found = [scorer.score(reference, text) for text, reference in zip(texts, references, strict=True)]
    return {name: _equal_weights([one[key].fmeasure for one in found]) for name, key in ROUGES.items()}


def chrf_and_bleu(texts: Sequence[str], references: Sequence[str]) -> dict[str, Array]:
    """Of each text, 0 to 100: chrF (Popović 2015) and smoothed BLEU. A mean of them is not the corpus' figure."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    chrf, bleu = CHRF(), BLEU(effective_order=True, tokenize=_bleu_words(references))
    pairs = list(zip(texts, references, strict=True))
    return {
        "chrF": _equal_weights([chrf.sentence_score(text, [reference]).score for text, reference in pairs]),
        "sentence BLEU": _equal_weights([bleu.sentence_score(text, [reference]).score for text, reference in pairs]),
    }


def corpus(texts: Sequence[str], references: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """BLEU and chrF of all texts at once, 0 to 100, and sacrebleu's signature of each."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    metrics = {"BLEU": BLEU(tokenize=_bleu_words(references)), "corpus chrF": CHRF()}
    figures = {name: m.corpus_score(list(texts), [list(references)]).score for name, m in metrics.items()}
    return figures, {name: str(m.get_signature()) for name, m in metrics.items()}


def exact_match(texts: Sequence[str], references: Sequence[str]) -> Array:
    """[1, 1] where a text is its reference, spaces around it apart."""
    return _equal_weights([float(a.strip() == b.strip()) for a, b in zip(texts, references, strict=True)])


def length_ratio(texts: Sequence[str], references: Sequence[str]) -> Array:
    """[words, words of the reference]."""
    return np.array([[len(words(a)), len(words(b))] for a, b in zip(texts, references, strict=True)], float)


def structured(texts: Sequence[str], references: Sequence[str], schema: JsonSchema) -> dict[str, Array]:
    """'field accuracy', 'validity', then the accuracy of each field by its dotted name.

    Fields are those of the reference and those that the text adds; what is inside objects counts on its own. A list is
    scored by F1 of its items, in any order. A text that is no JSON of the schema has all of them wrong.
    """
    read = schema_validator(schema)
    n = len(texts)
    valid, overall = np.ones((n, 2)), np.zeros((n, 2))
    each: dict[str, Array] = {}
    for i, (text, reference) in enumerate(zip(texts, references, strict=True)):
        true = fields(_reference(reference, i))
        try:
            said = fields(read(text))
        except SchemaMismatch:
            said = {}
            valid[i, 0] = 0
        for name in {**true, **said}:
            right = _agreement(said[name], true[name]) if name in said and name in true else 0.0
            each.setdefault(name, np.zeros((n, 2)))[i] = right, 1
            overall[i] += right, 1
    return {
        "field accuracy": overall,
        "validity": valid,
        **{f"accuracy of {name}": each[name] for name in sorted(each)},
    }


def fields(value: Any, name: str = "") -> dict[str, Any]:
    """The values of an object that are no objects, by dotted name; any other value under the name 'value'.

    >>> fields({"a": 1, "b": {"c": [2], "d": {}}})
    {'a': 1, 'b.c': [2], 'b.d': {}}
    """
    if not isinstance(value, dict) or (name and not value):
        return {name or "value": value}
    found: dict[str, Any] = {}
    for key, part in value.items():
        found |= fields(part, f"{name}.{key}" if name else str(key))
    return found


def words(text: str) -> list[str]:
    """Words of any script in small letters; single characters where a script has no spaces between words.

    >>> words("Größer: naïve x86_64, 東京"), words("don't")
    (['größer', 'naïve', 'x86', '64', '東', '京'], ['don', 't'])
    """
    found: list[str] = _WORD.findall(unicodedata.normalize("NFC", text).lower())
    return found


class _Words:
    """What rouge-score asks for words."""

    tokenize = staticmethod(words)


def _bleu_words(references: Sequence[str]) -> str:
    """sacrebleu's default, or characters where most references have no spaces between words."""
    letters = regex.findall(r"\p{L}", "".join(references[:1000]))
    unspaced = regex.findall(f"[{_UNSPACED}]", "".join(references[:1000]))
    return "char" if 2 * len(unspaced) > len(letters) else "13a"


def _reference(reference: str, i: int) -> Any:
    try:
        return json.loads(reference)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"reference {i + 1}, {shorten(reference)}, is no JSON: {error}.", "correct that row's target"
        ) from None


def _agreement(said: Any, true: Any) -> float:
    """1 for the same value, 0 for another; for two lists F1 of their items."""
    if not (isinstance(said, list) and isinstance(true, list)):
        return float(_canonical(said) == _canonical(true))
    if not said and not true:
        return 1.0
    ours, theirs = (Counter(map(_canonical, items)) for items in (said, true))
    return 2 * (ours & theirs).total() / (len(said) + len(true))


def _canonical(value: Any) -> str:
    """As JSON, with 1.0 as 1: JSON has one kind of number."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(part) for key, part in value.items()}
    return [_whole(part) for part in value] if isinstance(value, list) else value


def _equal_weights(values: Sequence[float]) -> Array:
    return np.stack([np.array(values, float), np.ones(len(values))], axis=1)
