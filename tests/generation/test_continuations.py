"""Continuing: is what people are shown of a language model what it says, of the texts that they see?"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.run_factory import make_comparison, make_run, make_scores
from tests.tiny_language import language_model, save_language_base
from warmstart.data.encoding.language_inputs import Documents, Masked
from warmstart.generation.continuations import READ, SAID, sample_continuations
from warmstart.reporting.answer_samples import continuations
from warmstart.reporting.entries import entries_of

TEXTS = [
    "The bell in the hall, größer than the wall and " + "all the rest of it. " * 5,
    "x",
    "the <mask> end of the bell",
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_language_base(tmp_path_factory.mktemp("continuing") / "llama"))


def test_a_text_is_gone_on_with_by_the_likeliest_tokens(llama: str) -> None:
    model, inputs = language_model("llama").eval(), Documents(llama, 120)
    found = sample_continuations(model, inputs, TEXTS)
    assert found["read"][1] is None and found["written"][1] is None
    beginning = TEXTS[0][: found["read"][0]]
    ids = [0, *inputs._backend().encode(beginning, add_special_tokens=False).ids]
    assert len(ids) == 1 + READ
    for _ in range(SAID):
        with torch.no_grad():
            hidden = model.body(torch.tensor([ids])).last_hidden_state[:, -1]
            ids.append(int(model.head.logits(hidden).argmax()))
        if ids[-1] == 2:
            break
    assert beginning + found["written"][0] == inputs.tokenizer.decode(ids, skip_special_tokens=True)


def test_words_left_out_are_whole_and_filled_in_by_what_stands_around(llama: str) -> None:
    model, inputs = language_model("bert").eval(), Masked(llama, 120, 0)
    given: list[list[int]] = []
    model.body.register_forward_pre_hook(
        lambda body, args, named: given.append(named["input_ids"][0].tolist()), with_kwargs=True
    )
    found = sample_continuations(model, inputs, TEXTS)["written"]
    assert found[1] is None
    masks = [ids.count(inputs.tokenizer.mask_token_id) for ids in given]
    assert masks == [len(json.loads(found[0])), len(json.loads(found[2]))]
    for text, said in ((TEXTS[0], found[0]), (TEXTS[2], found[2])):
        places = json.loads(said)
        assert 1 <= len(places) <= 5
        assert {text[start:end].strip() for start, end, _ in places} == {"the"}, "the one word that is a token here"
        assert all(isinstance(word, str) for *_, word in places)


def test_the_report_sets_them_beside_how_the_text_goes_on() -> None:
    columns = {"row": [4, 7, 9], "read": [8, None, 5], "written": [" runs", None, " sleeps in the hall"]}
    filled = {"row": [4, 7], "written": [json.dumps([[3, 7, "cat"], [8, 13, "lamp"]]), None]}
    texts = {4: "The fox jumps over it", 7: "x", 9: "A dog barks"}

    def samples(
        columns: dict[str, list[object]], examples: dict[int, str] | None = texts
    ) -> list[tuple[str | None, ...]]:
        run = replace(make_run("full", make_scores(np.ones(3))), predictions=columns)
        found = continuations(entries_of(make_comparison([run])), examples)
        return [(each.text, each.reference, each.written[0][1]) for each in found]

    assert samples(columns) == [
        ("The fox …", "…jumps over it", "… runs"),
        ("A dog…", "… barks", "… sleeps in the hall"),
    ]
    assert samples(filled) == [("The [1] [2] over it", "[1] fox  [2] jumps", "[1] cat  [2] lamp")]
    assert samples(columns, None) == [] and samples({"row": [4]}) == []


def test_what_another_tokenizer_made_of_a_text_stands_apart() -> None:
    """It goes on from elsewhere, or left out other words, and would seem to have read what the others did."""
    said = {"full@a": [8, " runs"], "lora@a": [8, " sleeps"], "full@b": [4, "fox"]}
    filled = {"full@a": [[8, 13, "a"]], "lora@a": [[8, 13, "b"]], "full@b": [[0, 3, "c"], [14, 18, "d"]]}
    columns = {name: {"row": [4], "read": [read], "written": [text]} for name, (read, text) in said.items()}
    gaps = {name: {"row": [4], "written": [json.dumps(places)]} for name, places in filled.items()}

    def samples(columns: dict[str, dict[str, list[Any]]]) -> list[tuple[str | None, str, dict[str, str]]]:
        runs = [replace(make_run(name, make_scores(np.ones(3))), predictions=own) for name, own in columns.items()]
        found = continuations(entries_of(make_comparison(runs)), {4: "The fox jumps over it"})
        return [(each.text, each.reference, {entry.name: text for entry, text in each.written}) for each in found]

    assert samples(columns) == [
        ("The fox …", "…jumps over it", {"full@a": "… runs", "lora@a": "… sleeps"}),
        ("The …", "…fox jumps over it", {"full@b": "…fox"}),
    ]
    assert samples(gaps) == [
        ("The fox [1] over it", "[1] jumps", {"full@a": "[1] a", "lora@a": "[1] b"}),
        ("[1] fox jumps [2] it", "[1] The  [2] over", {"full@b": "[1] c  [2] d"}),
    ]
