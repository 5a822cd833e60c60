"""Judging: the libraries' own figures, text by text, and fields of JSON."""

import json

import numpy as np
import pytest

from warmstart.errors import InputError
from warmstart.results.metrics import RANKED_BY
from warmstart.tasks.text_metrics import (
    chrf_and_bleu,
    corpus,
    exact_match,
    judge_text,
    length_ratio,
    rouge,
    structured,
    words,
)

TEXTS = ["the cat sat on the mat", "A quick, brown fox!", "", "wholly other words"]
REFERENCES = ["the cat lay on a mat", "a quick brown fox", "something", "nothing in common"]
SCHEMA = {
    "type": "object",
    "properties": {"section": {"type": "string"}, "tags": {"type": "array"}, "size": {"type": "object"}},
    "required": ["section"],
}


def test_rouge_is_that_of_rouge_score() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    own = RougeScorer(["rouge1", "rouge2", "rougeL"])
    found = rouge(TEXTS, REFERENCES)
    for name, key in {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}.items():
        theirs = [own.score(reference, text)[key].fmeasure for text, reference in zip(TEXTS, REFERENCES, strict=True)]
        assert found[name].tolist() == [[value, 1] for value in theirs]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Größer als Äpfel", ["größer", "als", "äpfel"]),
        ("Größer als Äpfel".encode().decode().replace("ö", "o\u0308"), ["größer", "als", "äpfel"]),
        ("東京へ行く x86_64", ["東", "京", "へ", "行", "く", "x86", "64"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("собака, кот", ["собака", "кот"]),
    ],
)
def test_words_of_other_languages_are_kept(text: str, found: list[str]) -> None:
    assert words(text) == found
    assert rouge([text], [text])["ROUGE-L"].tolist() == [[1, 1]]


def test_chrf_and_bleu_are_those_of_sacrebleu() -> None:
    import sacrebleu

    found = chrf_and_bleu(TEXTS, REFERENCES)
    for i, (text, reference) in enumerate(zip(TEXTS, REFERENCES, strict=True)):
        assert found["chrF"][i].tolist() == [sacrebleu.sentence_chrf(text, [reference]).score, 1]
        assert found["sentence BLEU"][i].tolist() == [sacrebleu.sentence_bleu(text, [reference]).score, 1]
    assert chrf_and_bleu(["a fox"], ["a fox"])["sentence BLEU"][0, 0] == pytest.approx(100)  # though without 4-grams
    figures, signatures = corpus(TEXTS, REFERENCES)
    assert figures["BLEU"] == sacrebleu.corpus_bleu(TEXTS, [REFERENCES]).score
    assert figures["corpus chrF"] == sacrebleu.corpus_chrf(TEXTS, [REFERENCES]).score
    assert "tok:13a" in signatures["BLEU"]
    assert "version:" in signatures["corpus chrF"]


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    assert "tok:char" in corpus(["東京へ行く"], ["東京へ行った"])[1]["BLEU"]
    assert chrf_and_bleu(["東京へ行く"], ["東京へ行った"])["sentence BLEU"][0, 0] > 30


def test_matches_and_lengths() -> None:
    assert exact_match(["a b ", "a"], ["a b", "b"]).tolist() == [[1, 1], [0, 1]]
    assert length_ratio(["one two", ""], ["one, two, three", "x"]).tolist() == [[2, 3], [0, 1]]


def test_fields_are_counted_one_by_one() -> None:
    true = {"section": "net", "tags": ["a", "b"], "size": {"kb": 10, "exact": True}}
    said = [
        true,
        {"section": "net", "tags": ["b", "a", "c"], "size": {"kb": 10.0, "exact": 1}},
        {"section": "admin", "extra": None},
        "no json {",
        {"tags": ["a", "b"]},  # lacks what the schema requires
    ]
    texts = [text if isinstance(text, str) else json.dumps(text) for text in said]
    found = structured(texts, [json.dumps(true)] * 5, SCHEMA)
    assert found["validity"][:, 0].tolist() == [1, 1, 1, 0, 0]
    assert found["field accuracy"].tolist() == [[4, 4], [2 + 0.8, 4], [0, 5], [0, 4], [0, 4]]
    assert found["accuracy of tags"][:, 0].tolist() == [1, 0.8, 0, 0, 0]
    assert found["accuracy of size.kb"].tolist() == [[1, 1], [1, 1], [0, 1], [0, 1], [0, 1]]
    assert found["accuracy of extra"].tolist() == [[0, 0], [0, 0], [0, 1], [0, 0], [0, 0]]


def test_a_reference_that_is_no_json_is_named() -> None:
    with pytest.raises(InputError, match="reference 2, 'net', is no JSON"):
        structured(["{}", "{}"], ["{}", "net"], {})


@pytest.mark.parametrize("task", sorted(RANKED_BY))
def test_every_text_out_task_is_ranked_by_its_first_measure(task: str) -> None:
    texts = ['{"a": 1}', '{"a": 2}']
    found = judge_text(task, texts, texts, sources=["1", "3"], schema={})
    assert next(iter(found.scores)) == RANKED_BY[task]
    assert all(scores.shape == (2, 2) and np.isfinite(scores).all() for scores in found.scores.values())
    assert found.unsupported == (((), ("2",)) if task == "summarise" else ())
    assert bool(found.signatures) == (task == "translate")
