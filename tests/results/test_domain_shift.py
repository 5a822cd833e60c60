"""Mismatch: a tokenizer that was made for other text shows it, and so do words and features; chance does not."""

import functools
import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM

from tests.cli_base import QUICK, call, products, write_csv
from tests.tiny_language import config, save_language_base
from warmstart.data.rows.split import Rows
from warmstart.models.pretrained.base import Base, find_base
from warmstart.results.domain_shift import (
    DomainShift,
    as_long,
    classifier_distance,
    fragmentation_statement,
    spelling,
    word_divergence,
)
from warmstart.results.record import Estimate, Interval
from warmstart.runs.measure_domain_shift import measure_domain_shift
from warmstart.training.general_text import sampled_text
from warmstart.types import Array

ENGLISH = "the lamp of wood is a small light for desk and chair with two red rings"
GERMAN = "die lampe aus holz ist ein kleines licht am tisch und stuhl mit zwei roten ringen"


def _texts(words: str, count: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(words.split(), 8)) for _ in range(count)]


def _tokenizer() -> Tokenizer:
    """English words whole, and every letter a to z but q: German words fall to pieces."""
    letters = "abcdefghijklmnoprstuvwxyz"
    pieces = ["[UNK]", *ENGLISH.split(), *letters, *(f"##{letter}" for letter in letters)]
    made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def test_a_tokenizer_made_for_other_text_shows_it() -> None:
    english, german = (spelling(_texts(words, 200), _tokenizer()) for words in (ENGLISH, GERMAN))
    assert english is not None and german is not None
    assert english.tokens_per_word.value == 1.0 and english.one_piece.value == 1.0 and not english.foreign
    assert german.tokens_per_word.interval.low > 2.5 and german.one_piece.interval.high < 0.3 and german.foreign
    strange = spelling(["a lamp qqq", "the qqq, chair"] * 50, _tokenizer())
    assert strange is not None and strange.foreign and strange.unknown.value == pytest.approx(3 / 7)  # a comma too
    assert strange.one_piece.value == pytest.approx(4 / 6)
    assert spelling(["...", "!"], _tokenizer()) is None


def test_words_diverge_beyond_chance() -> None:
    one, same, other = _texts(ENGLISH, 100), _texts(ENGLISH, 100, 1), _texts(GERMAN, 100, 2)
    alike, far = word_divergence(one, same), word_divergence(one, other)
    assert alike is not None and far is not None
    assert alike.value < 0.01 and alike.interval.low == 0.0
    assert far.interval.low > 0.8 and far.value <= 1
    many = " ".join(f"word{i}" for i in range(300))  # few of each: any two samples differ
    by_chance = word_divergence(_texts(many, 60), _texts(many, 60, 1))
    assert by_chance is not None and by_chance.value < 0.05 and by_chance.interval.low == 0.0
    assert word_divergence(one[:19], other) is None and word_divergence(["..."] * 30, ["!"] * 30) is None


def test_texts_and_features_that_can_be_told_apart() -> None:
    one, same, other = _texts(ENGLISH, 60), _texts(ENGLISH, 60, 1), _texts(GERMAN, 60, 2)
    alike, far = classifier_distance(one, same), classifier_distance(one, other)
    assert alike is not None and far is not None
    assert alike.interval.low < 0.3 and alike.interval.high < 1.5
    assert far.value == 2.0 and far.interval.low > 1.7
    random = np.random.default_rng(0)
    features: list[Array] = [random.normal(shift, 1, (60, 4)) for shift in (0, 0, 3)]
    alike, far = classifier_distance(features[0], features[1]), classifier_distance(features[0], features[2])
    assert alike is not None and far is not None and alike.value < 0.6 and far.interval.low > 1.5
    assert classifier_distance(one[:19], other) is None


def test_a_reference_is_cut_to_the_same_length() -> None:
    pieces = as_long(["a b c d"] * 5, ["1 2 3 4 5 6 7 8 9", "x y"])
    assert pieces == ["1 2 3 4", "5 6 7 8", "x y"]


def _of(tokens: float, distance: float) -> DomainShift:
    def figure(value: float) -> Estimate:
        return Estimate(value, Interval(value, value))

    spelled = spelling(_texts(ENGLISH, 30), _tokenizer())
    assert spelled is not None
    spelled = type(spelled)(30, figure(tokens), figure(0.5), figure(0.0))
    return DomainShift(
        "bert", spelled, "--general-text", 20, apart_by_words=figure(distance), apart_by_features=figure(distance)
    )


def test_what_it_predicts_is_said_of_each_kind_of_regime() -> None:
    for found, far in ((_of(2.5, 0.5), True), (_of(1.2, 1.9), True), (_of(1.2, 0.5), False)):
        assert found.far == far
        said = " ".join(fragmentation_statement(found))
        assert all(name in said for name in ("`frozen`", "`lora`", "`hybrid`", "`scratch`"))
        assert ("likely to suffer" in said) == far
    written = json.loads(json.dumps(found.to_json()))
    assert DomainShift.from_json(written) == found


def test_a_decoder_is_its_own_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = save_language_base(tmp_path / "decoder")
    with torch.random.fork_rng():
        AutoModelForCausalLM.from_config(config("llama")).save_pretrained(folder)
    base = find_base(str(folder), max_length=64)
    texts = _texts(ENGLISH, 24)
    rows = Rows(texts, np.zeros(24), np.arange(24) + 1, texts)
    plain = SimpleNamespace(task="regression")
    monkeypatch.setattr(
        "warmstart.runs.measure_domain_shift.sampled_text", functools.partial(sampled_text, texts=24, tokens=12)
    )
    found = measure_domain_shift(base, rows, plain, ())  # type: ignore[arg-type]  # the task is all that is asked
    assert found is not None and found.reference is not None and "itself says" in found.reference
    assert found.bits_per_byte is not None and found.reference_bits_per_byte is not None
    assert found.bits_per_byte.interval.low > 0 and found.tokens_read > 0 and found.apart_by_features is None
    given = measure_domain_shift(base, rows, plain, texts)  # type: ignore[arg-type]
    assert given is not None and given.reference == "--general-text"
    assert given.bits_per_byte == given.reference_bits_per_byte  # the same texts


def test_in_check_and_in_a_study(base: Base, tmp_path: Path) -> None:
    data = products(tmp_path / "products.csv", 120)
    general = tmp_path / "general.txt"
    general.write_text("\n\n".join(_texts(ENGLISH, 40)))
    words = ("--target", "price", "--text", "title", "--base", base.location)
    answer = call("check", data, *words)
    assert "base's tokenizer: " in answer.out and "tokens per word" in answer.out
    assert json.loads(call("check", data, *words, "--json").out)["spelling"]["texts"] > 0
    out = tmp_path / "study"
    with patch("warmstart.runs.measure_domain_shift.TEXTS_PER_KIND", 60):
        assert call("compare", data, *words, *QUICK, "--general-text", general, "--quiet", "--out", out).code == 0
    found = json.loads((out / "comparison.json").read_text())["mismatch"]
    assert found["reference"] == "--general-text" and found["apart_by_features"]["value"] > 0
    page = (out / "report.html").read_text()
    assert "The base and your texts" in page and "Measured on the texts alone" in page


def test_a_foreign_table_is_told(base: Base, tmp_path: Path) -> None:
    rows = [[text, str(i % 7)] for i, text in enumerate(_texts("zzyzx qwrtz xvxvx kjkjq", 120))]
    answer = call(
        "check", write_csv(tmp_path / "odd.csv", ["text", "y"], rows), "--target", "y", "--base", base.location
    )
    assert "it was made for other text" in answer.out
