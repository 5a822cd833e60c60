"""Is a conversation that is too long cut where it hurts least, without rendering it hundreds of times?"""

from collections.abc import Sequence
from unittest.mock import patch

import pytest

from tests.decoders import save_decoder
from warmstart.data.encoding.chat_template import Template, TurnDict
from warmstart.data.encoding.language_inputs import Conversations
from warmstart.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_decoder(tmp_path_factory.mktemp("decoder"))


def exchanges(count: int, system: bool = False) -> list[TurnDict]:
    turns = [{"role": "system", "content": "Be brief."}] if system else []
    for i in range(count):
        turns.append({"role": "user", "content": f"number {i} " + "lamp " * (i % 7)})
        turns.append({"role": "assistant", "content": f"answer {i} " + "oak " * (i % 5)})
    return turns


def one_by_one(template: Template, turns: Sequence[TurnDict], room: int) -> Sequence[TurnDict]:
    """What is left where the oldest exchange goes, again and again, until the rest fits."""
    while template.size(turns) > room:
        asked = [k for k, turn in enumerate(turns) if turn["role"] == "user"]
        if len(asked) < 2:
            break
        turns = [*turns[: asked[0]], *turns[asked[1] :]]
    return turns


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("max_length", [32, 64, 200])
def test_the_fewest_of_the_oldest_turns_go(folder: str, max_length: int, system: bool) -> None:
    template = Conversations(folder, max_length, "").template
    for count in (1, 2, 3, 8, 17):
        *asked, answer = exchanges(count, system)
        left = one_by_one(template, asked, template.room(0))
        try:
            expected = template.prompt(left).tokens.tolist()
        except InputError:  # the system turn leaves no room
            with pytest.raises(InputError, match="even without the question"):
                template.prompt([*asked, answer])
            continue
        assert template.prompt([*asked, answer]).tokens.tolist() == expected


def test_six_hundred_turns_are_rendered_a_few_times(folder: str) -> None:
    """They took 16 s: each turn that went was a rendering and a tokenization of all that were left."""
    template = Conversations(folder, 128, "").template
    with patch.object(Template, "_templated", autospec=True, side_effect=Template._templated) as rendered:
        template.spoken(exchanges(300))
    assert rendered.call_count < 60
