"""Answering: does the time predicted for answers follow what is read and what is written?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_language import language_model, save_language_base
from warmstart.data.encoding.language_inputs import Conversations
from warmstart.data.rows.split import Rows
from warmstart.data.schema.conversations import write_prompt
from warmstart.generation.answers import Writer
from warmstart.generation.long_documents import summaries, summarize_long
from warmstart.planning import generation_time
from warmstart.planning.generation_time import ANSWER_TOKENS, bytes_unread, seconds_per_answer
from warmstart.tasks.language import Language
from warmstart.types import Array

READING, A_STEP = 0.001, 0.5  # seconds a token of a question, and for one more token of all answers together
TASK = Language("summarise", most_tokens=30, instruction="Sum up.")


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(language_model().eval(), Conversations(str(save_language_base(tmp_path)), 150, "Sum up."))


def rows(count: int, answer: str = "bell", document: str = "the bell in the hall") -> Rows:
    texts = [write_prompt("Sum up.", document, answer)] * count
    return Rows(tuple(texts), np.array([answer] * count, dtype=object), np.arange(1, count + 1), tuple(texts))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(writer: Writer, prompts: list[Array], most: int) -> float:
        return READING * sum(map(len, prompts)) + A_STEP * (most - 1)

    monkeypatch.setattr(generation_time, "_seconds", seconds)


@pytest.mark.usefixtures("counted")
def test_answers_take_what_their_questions_take_and_a_step_for_each_of_their_tokens(writer: Writer) -> None:
    for answer, tokens in (("bell", 4), ("bell rings at noon", 18), ("bell " * 9, TASK.most_tokens)):
        some = rows(8, answer)
        asked = len(writer.inputs.prompt(some.texts[0]))
        assert min(TASK.most_tokens, writer.tokens_of(answer)) == tokens
        assert seconds_per_answer(writer, TASK, some) == pytest.approx(READING * asked + A_STEP * tokens / 8)


@pytest.mark.usefixtures("counted")
def test_more_rows_than_are_written_together_share_as_many_steps(writer: Writer) -> None:
    few, many = (seconds_per_answer(writer, TASK, rows(count)) for count in (64, 128))
    assert few == pytest.approx(many)


def test_the_tokens_that_are_timed_are_written_whatever_they_say(writer: Writer) -> None:
    steps = []
    body = writer.model.body
    body.register_forward_hook(lambda *_: steps.append(1))
    writer.endless([np.array(writer.inputs.prompt(text)) for text in rows(4).texts], 1 + ANSWER_TOKENS)
    assert len(steps) == 1 + 1 + ANSWER_TOKENS  # all of the prompts but their last token, then each token
    assert seconds_per_answer(writer, TASK, rows(4)) > 0


@pytest.mark.usefixtures("counted")
def test_a_document_in_chunks_takes_as_many_answers_as_are_written_for_it(writer: Writer) -> None:
    document = "the bell in the hall rings. " * 12
    inputs = writer.inputs
    assert isinstance(inputs, Conversations)
    written: list[str] = []

    def summarize(texts: list[str]) -> list[str]:
        written.extend(texts)
        return ["bell"] * len(texts)

    summarize_long([document], summarize, inputs.ends, inputs.room)
    assert abs(summaries(len(inputs.ends(document)), inputs.room) - len(written)) <= 1 and len(written) > 3
    once, chunked = (
        seconds_per_answer(writer, replace(TASK, long=long), rows(4, document=document))
        for long in ("head-tail", "chunks")
    )
    assert chunked == pytest.approx(once * summaries(len(inputs.ends(document)), inputs.room))


def test_keys_and_values_beyond_those_that_were_read_are_counted(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study of summaries took a third more memory than was predicted: all its questions were read together."""
    some = rows(8, "bell")
    config = writer.model.body.config
    a_token = (
        2
        * config.num_hidden_layers
        * config.num_key_value_heads
        * 4
        * (config.hidden_size // config.num_attention_heads)
    )
    asked, answer = len(writer.inputs.prompt(some.texts[0])), 4
    assert bytes_unread(writer, TASK, some) == a_token * 8 * answer
    monkeypatch.setattr(generation_time, "READING_BATCH_TOKENS", 3 * asked)
    assert bytes_unread(writer, TASK, some) == a_token * (8 * (asked + answer) - 3 * asked)
    assert bytes_unread(writer, TASK, rows(128, "bell")) == a_token * (64 * (asked + answer) - 3 * asked)


def test_answers_that_end_early_give_back_what_they_held(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer.__class__, "kept_bytes", lambda *_: 1.0)
    short, long = rows(1, "bell"), rows(1, "bell " * 9)
    both = replace(short, texts=short.texts * 2, targets=np.array([*short.targets, *long.targets], dtype=object))
    asked = len(writer.inputs.prompt(short.texts[0]))
    assert bytes_unread(writer, TASK, both) == max(2 * (asked + 4), asked + TASK.most_tokens) - 2 * asked
