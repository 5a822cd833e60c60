"""Language: is what is read what the base expects, what is learned the assistant's, and every byte counted once?"""

from pathlib import Path

import numpy as np
import pytest

from tests.tiny_language import conversation, save_byte_tokenizer, save_language_base, splits_of
from warmstart.data.encoding.chat_template import OMISSION_MARK, PLAIN
from warmstart.data.encoding.language_inputs import Conversations, Documents, Masked, MaskedRows
from warmstart.data.encoding.packing import UNLABELED
from warmstart.data.encoding.tokenize import bytes_of
from warmstart.data.schema.conversations import write_prompt
from warmstart.errors import InputError, RowError
from warmstart.training.frozen_prefix import SharedData

TEXTS = ["The bell in the hall.", "Tür, größer als 漢字 😀\n\nthe end ", "a"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_language_base(tmp_path_factory.mktemp("language") / "llama"))


def learned(inputs: Conversations, text: str) -> tuple[str, str]:
    """What is read and what is learned of a conversation, as text."""
    rows = inputs.encode([text])
    labels = rows.labels.row(0)
    read = inputs.tokenizer.decode(rows.tokens.row(0).tolist())
    return read, inputs.tokenizer.decode(labels[labels != UNLABELED].tolist())


def test_only_the_assistant_s_words_and_the_end_of_its_turn_are_learned(llama: str) -> None:
    inputs = Conversations(llama, 150)
    read, said = learned(inputs, conversation("Hi", "Well, hello", "And you?", "All is well", system="Be kind"))
    assert read == (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nWell, hello"
        "<|im_end|>\n<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\nAll is well"
    )
    assert said == "Well, hello<|im_end|>All is well<|im_end|>"
    assert inputs.encode([conversation("Hi", "größer", "Oh", "so")]).bytes.tolist() == [len("größer".encode()) + 2]


@pytest.mark.parametrize("answer", ["the bell", "\n\nall", "Ö the", "user\nHi"])
def test_a_prompt_is_what_its_training_row_begins_with(answer: str, llama: str) -> None:
    inputs = Conversations(llama, 100)
    text, asked = conversation("Where is the hall?", answer), conversation("Where is the hall?")
    prompt, row = inputs.prompt(text), inputs.encode([text])
    assert prompt == row.tokens.row(0)[: len(prompt)].tolist() == inputs.prompt(asked)
    assert (row.labels.row(0)[: len(prompt) - 1] == UNLABELED).all()
    assert (row.labels.row(0)[len(prompt) - 1 :] != UNLABELED).all()
    opening = "<|im_start|>user\nWhere is the hall?<|im_end|>\n<|im_start|>assistant\n"
    assert prompt == inputs.tokenizer(opening, add_special_tokens=False)["input_ids"]
    everything = [*row.tokens.row(0).tolist(), int(row.labels.row(0)[-1])]
    assert inputs.tokenizer.decode(everything) == opening + answer + "<|im_end|>"


def test_of_a_long_question_the_middle_goes(llama: str) -> None:
    inputs = Conversations(llama, 100)
    question = "Sum up: " + "".join(f"<{i}>" for i in range(60))
    read, said = learned(inputs, conversation(question, "numbers", system="Be brief"))
    rows = inputs.encode([conversation(question, "numbers", system="Be brief")])
    assert len(rows.tokens.row(0)) <= 100 and said == "numbers<|im_end|>"
    assert "Be brief" in read and "Sum up: <0>" in read and "<59>" in read and "<30>" not in read
    assert read.count(OMISSION_MARK) == 1 and len(read.split(OMISSION_MARK)[0]) > len(read.split(OMISSION_MARK)[1])
    assert rows.lost[0] - len(OMISSION_MARK.encode()) + len(
        inputs.prompt(conversation(question, system="Be brief"))
    ) == len(Conversations(llama, 10_000).prompt(conversation(question, system="Be brief")))


def test_the_instruction_stays_before_what_is_left_of_its_document(llama: str) -> None:
    told = "Sum up the following text in one or two sentences."
    text = write_prompt(told, "begin " + "x" * 400 + " end", "an answer")
    for length in (90, 110, 150):
        read, said = learned(Conversations(llama, length, told), text)
        assert f"{told}\n\n" in read, length
        assert said == "an answer<|im_end|>"
    assert "begin x" in read and "x end<|im_end|>" in read
    read, _ = learned(Conversations(llama, 90), text)
    assert told not in read, "it is cut as any question is, where it is not known"
    with pytest.raises(RowError, match=r"row 1: even without the question .*, the conversation is .* 60\."):
        Conversations(llama, 60, told).encode([text])


def test_a_part_of_a_document_fits_after_the_instruction(llama: str) -> None:
    inputs = Conversations(llama, 150, "Sum up.")
    assert len(inputs.prompt(write_prompt("Sum up.", "x" * inputs.room))) == inputs.template.room(0)
    assert inputs.ends("all größer").tolist() == [1, 3, 4, 5, 6, 7, 7, 8, 8, 9, 10]
    with pytest.raises(InputError, match=r"--max-length 100 leaves \d+ tokens for a part of a document"):
        _ = Conversations(llama, 100, "Sum up in one sentence, please.").room


def test_old_exchanges_go_before_the_last_question_is_cut(llama: str) -> None:
    inputs = Conversations(llama, 120)
    read, said = learned(inputs, conversation("o" * 60, "old", "new", "well", system="Be kind"))
    assert "o" * 9 not in read and "new" in read and "Be kind" in read and said == "well<|im_end|>"


def test_an_answer_longer_than_everything_loses_its_end(llama: str) -> None:
    rows = Conversations(llama, 80).encode([conversation("q", "x" * 100)])
    assert len(rows.tokens.row(0)) == 80 and rows.bytes[0] == rows.loss_weights()[0] == 100 + 1 - rows.lost[0]


def test_a_base_without_a_template_is_given_a_plain_one(tmp_path: Path) -> None:
    inputs = Conversations(str(save_byte_tokenizer(tmp_path / "base", None)), 80)
    read, said = learned(inputs, conversation("Hi", "the bell"))
    assert read == "<|im_start|>User: Hi\nAssistant: the bell" and said == " the bell<|im_end|>"
    inputs.save(tmp_path / "saved")
    assert Conversations(str(tmp_path / "saved"), 80).tokenizer.chat_template == PLAIN


def test_a_thought_that_a_template_opens_itself_is_learned(tmp_path: Path) -> None:
    thinking = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if loop.last and m['role'] == 'assistant' %}"
        "<think></think>{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    inputs = Conversations(str(save_byte_tokenizer(tmp_path, thinking)), 150)
    _, said = learned(inputs, conversation("a", "think", "b", "think"))
    assert said == "think<|im_end|><think></think>think<|im_end|>"


@pytest.mark.parametrize(
    "template, words, message",
    [
        ("{{ raise_exception('no system turn') }}", ("a", "b"), r"row 2: .*does not take these turns.*no system turn"),
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", ("a", "b"), r"row 2: .*turn 'b' as it is"),
        ("{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}", ("a", "b"), r"row 2: .*as it"),
    ],
)
def test_a_template_that_does_not_fit_names_the_row(
    template: str, words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    inputs = Conversations(str(save_byte_tokenizer(tmp_path, "{{ messages[0]['content'] }}")), 50)
    inputs.tokenizer.chat_template = "{% if messages[0]['content'] == 'fine' %}fine{% for m in messages[1:] %}" + (
        "{{ m['content'] }}{% endfor %}{% else %}" + template + "{% endif %}"
    )
    with pytest.raises(RowError, match=message) as raised:
        inputs.encode([conversation("fine", "b"), conversation(*words)])
    assert raised.value.at == 1


def test_nothing_to_learn_and_no_room_name_the_row(llama: str) -> None:
    with pytest.raises(RowError, match=r"row 1: even without the question .* 60\."):
        Conversations(llama, 60).encode([conversation("q", "a", system="s" * 80)])
    with pytest.raises(RowError, match=r"row 1: .* no conversation"):
        Conversations(llama, 60).encode(["[{"])
    with pytest.raises(InputError, match="no conversation"):
        Conversations(llama, 60).prompt("{")


def test_in_a_study_the_row_is_the_table_s(llama: str) -> None:
    good = conversation("a", "b")
    with pytest.raises(InputError, match=r"row 4: .* no conversation"):
        SharedData(splits_of([good, good, "[{", good], [9, 7, 4, 1])).encoded(Conversations(llama, 60))


@pytest.mark.parametrize("begins", [True, False])
def test_a_document_is_read_from_its_beginning_to_its_end_and_every_byte_counts(begins: bool, tmp_path: Path) -> None:
    inputs = Documents(str(save_byte_tokenizer(tmp_path, begins=begins)), 100)
    rows = inputs.encode(TEXTS)
    assert rows.bytes.tolist() == [len(text.encode()) for text in TEXTS]
    first = inputs.tokenizer.convert_tokens_to_ids("<|im_start|>" if begins else "<|im_end|>")
    for i, text in enumerate(TEXTS):
        assert rows.tokens.row(i)[0] == first
        assert inputs.tokenizer.decode(rows.labels.row(i).tolist()) == text + "<|im_end|>"
    assert rows.lost.tolist() == [0, 0, 0]
    assert rows.loss_weights().tolist() == rows.sizes().tolist() == [len(rows.tokens.row(i)) for i in range(3)]


def test_without_a_token_that_begins_a_text_its_first_one_is_not_said(llama: str) -> None:
    inputs = Documents(llama, 6)
    inputs.tokenizer.bos_token = inputs.tokenizer.eos_token = None
    rows = inputs.encode(["llx", "abcdefghi"])
    assert rows.sizes().tolist() == [1, 6] and rows.bytes.tolist() == [1, 6] and rows.lost.tolist() == [0, 2]
    with pytest.raises(RowError, match="row 1: 'a' has no token to learn"):
        inputs.encode(["a"])


def test_a_document_that_is_cut_counts_what_is_left(llama: str) -> None:
    rows = Documents(llama, 6).encode(["all the äpfel", "abcdef", "abcde"])
    assert rows.sizes().tolist() == [6, 6, 6]
    assert rows.bytes.tolist() == [len("all the ä".encode()), 6, 5]
    assert rows.lost.tolist() == [4, 0, 0]


def test_bytes_are_counted_once_whatever_the_tokens() -> None:
    assert bytes_of("a äb ", [(0, 1), (2, 3), (2, 3), (3, 4)]).tolist() == [1, 3, 0, 1]
    special = np.array([True, False, True])
    assert bytes_of("abc", [(0, 0), (0, 3), (0, 0)], special).tolist() == [0, 3, 0]


def masked_rows(base: str, seed: int = 0) -> MaskedRows:
    return Masked(base, 160, seed).encode(["the wall " * 15, "größer " * 9, "x"])


def test_what_is_hidden_is_drawn_anew_in_each_epoch_and_the_same_for_evaluation(llama: str) -> None:
    def labels(rows: MaskedRows, index: list[int]) -> list[list[int]]:
        batch = rows.batch(np.array(index))
        own = [(batch["rows"] == i) & (batch["labels"] != UNLABELED) for i in range(len(index))]
        return [batch["labels"][here].tolist() for here in own]

    rows = masked_rows(llama)
    everything = [0, 1, 2]
    batch = rows.batch(np.array(everything))
    assert (batch["labels"] != UNLABELED).sum() == rows.loss_weights().sum()
    assert rows.loss_weights().tolist() == [max(1, round(0.15 * n)) for n in rows.sizes()]
    epochs = [labels(rows.in_epoch(epoch), everything) for epoch in (0, 1)]
    assert epochs[0] != epochs[1] and labels(rows, everything) not in epochs
    assert labels(rows.in_epoch(1), [0]) == labels(rows.in_epoch(1), everything)[:1]
    assert labels(rows, everything) == labels(masked_rows(llama, seed=5), everything)
    assert epochs[0] != labels(masked_rows(llama, seed=5).in_epoch(0), everything)


def test_most_of_what_is_hidden_is_shown_as_the_mask(llama: str) -> None:
    rows = masked_rows(llama)
    shown, truth = [], []
    for epoch in range(300):
        batch = rows.in_epoch(epoch).batch(np.array([0]))
        chosen = batch["labels"] != UNLABELED
        shown += batch["input_ids"][chosen].tolist()
        truth += batch["labels"][chosen].tolist()
        assert (batch["input_ids"][~chosen].numpy() == rows.tokens.row(0)[~chosen[0].numpy()]).all()
    assert np.mean(np.array(shown) == rows.mask) == pytest.approx(0.8, abs=0.02)
    assert np.mean(np.array(shown) == np.array(truth)) == pytest.approx(0.1, abs=0.02)


def test_the_bytes_of_masked_rows_are_those_of_their_labels(llama: str) -> None:
    rows = masked_rows(llama)
    batch = rows.batch(np.array([0]))
    tokens = batch["labels"][batch["labels"] != UNLABELED].tolist()
    tokenizer = Masked(llama, 160, 0).tokenizer
    assert batch["bytes"].item() == sum(len(tokenizer.decode([token])) for token in tokens)


def test_what_cannot_be_masked_is_said(base: object, llama: str, tmp_path: Path) -> None:
    with pytest.raises(RowError, match="row 2: '' has no token to learn"):
        Masked(llama, 20, 0).encode(["a", ""])
    folder = save_byte_tokenizer(tmp_path)
    inputs = Masked(str(folder), 20, 0)
    inputs.tokenizer.mask_token = None
    with pytest.raises(InputError, match="has no mask token"):
        inputs.encode(["a"])


def test_inputs_that_read_differently_have_other_keys() -> None:
    inputs = (Documents("x", 8), Documents("x", 9), Masked("x", 8, 0), Masked("x", 8, 1), Conversations("x", 8))
    assert len({one.key for one in inputs}) == len(inputs)
