"""Continuing: is what people are shown of a language model what it says, of the texts that they see?"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.run_factory import make_comparison, make_run, make_scores
from tests.tiny_language import language_model, save_language_base
from warmstart.continuing import READ, SAID, shown
from warmstart.data.language import Documents, Masked
from warmstart.report.entries import entries_of
from warmstart.report.samples import continuations

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
    found = shown(model, inputs, TEXTS)
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
    found = shown(model, inputs, TEXTS)["written"]
    assert found[1] is None
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
