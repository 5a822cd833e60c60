"""Few-shot: which examples stand before a text, how many, and is the base named rather than copied?"""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.decoders import save_decoder
from warmstart.baselines import few_shot
from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import load_baseline
from warmstart.baselines.embedder import Embedder
from warmstart.baselines.few_shot import SHOTS, FewShot, draw_examples, fit_few_shot, prompted_inputs
from warmstart.data.rows.split import Rows
from warmstart.data.schema.conversations import write_prompt
from warmstart.errors import InputError, TrainingError, UsageError
from warmstart.generation import kv_cache
from warmstart.generation.generate import generate
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.regimes import check_base
from warmstart.tasks.language import Language
from warmstart.training.event import OutOfTime

TASK = Language("summarise", "summary", most_tokens=4, instruction="Sum up.")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Reads 160 tokens, of which a text takes 64 at most."""
    return find_base(save_decoder(tmp_path_factory.mktemp("decoder")), max_length=64)


def rows_of(count: int, words: str = "fox") -> Rows:
    texts = tuple(write_prompt("Sum up.", f"{words} {i}", f"a{i}") for i in range(count))
    answers = np.array([f"a{i}" for i in range(count)], dtype=object)
    return Rows(texts, answers, np.arange(1, count + 1), tuple(map(str, range(count))))


def test_examples_are_drawn_by_the_seed_as_many_as_fit(decoder: Base) -> None:
    rows = rows_of(30)
    drawn = draw_examples(decoder, TASK, rows, seed=0)
    assert drawn == draw_examples(decoder, TASK, rows, seed=0) != draw_examples(decoder, TASK, rows, seed=1)
    assert 0 < len(drawn) < max(SHOTS) and set(drawn) <= set(rows.texts)
    roomy = replace(decoder, reads=4_000)
    assert len(draw_examples(roomy, TASK, rows, seed=0)) == max(SHOTS)


def test_a_prompt_holds_the_examples_and_then_the_text(decoder: Base) -> None:
    rows = rows_of(3)
    inputs = prompted_inputs(replace(decoder, reads=1_000), "Sum up.", rows.texts[:2])
    said = inputs.tokenizer.decode(inputs.prompt(rows.texts[2]))
    assert [said.index(part) for part in ("fox 0", "a0", "fox 1", "a1", "fox 2")] == sorted(
        said.index(part) for part in ("fox 0", "a0", "fox 1", "a1", "fox 2")
    )
    assert "a2" not in said
    (row,) = [inputs.encode([rows.texts[2]])]
    assert row.bytes[0] == len("a2"), "nothing of the examples is learned"


def test_too_short_a_context_is_one_message(decoder: Base) -> None:
    with pytest.raises(TrainingError, match=r"no example fits beside a text of 64 tokens into the 70 that base"):
        fit_few_shot(FitData(TASK, rows_of(5), embedder=Embedder(replace(decoder, reads=70))))


def test_it_is_chosen_on_validation_rows_and_saved_without_the_base(decoder: Base, tmp_path: Path) -> None:
    fitted = fit_few_shot(FitData(TASK, rows_of(20), 0, Embedder(decoder), validation=rows_of(4)))
    tried = [trial.settings["examples"] for trial in fitted.trials]
    assert tried == list(SHOTS[: len(tried)]) and fitted.tuning_flops > 0
    answers = fitted.baseline.writer.answers(rows_of(4).texts, TASK)
    fitted.baseline.save(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 20_000
    again = load_baseline(tmp_path)
    assert isinstance(again, FewShot) and again.writer.answers(rows_of(4).texts, TASK) == answers
    assert again.flops(rows_of(8).texts) < 8 * again.flops(rows_of(1).texts), "what all begin with is read once"


def test_after_the_deadline_no_answer_is_begun(decoder: Base) -> None:
    late = FitData(TASK, rows_of(20), 0, Embedder(decoder), validation=rows_of(4), deadline=-math.inf)
    with pytest.raises(OutOfTime):
        fit_few_shot(late)
    fitted = fit_few_shot(replace(late, deadline=time.perf_counter() + 600))
    with pytest.raises(OutOfTime):  # what it answers afterwards counts as well
        replace(fitted.baseline, deadline=-math.inf).writer.answers(rows_of(4).texts, TASK)


def test_a_base_that_has_changed_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    base = find_base(save_decoder(folder), max_length=64)
    FewShot(base, "Sum up.", rows_of(1).texts).save(tmp_path / "saved")
    save_decoder(folder, scale=0.1)
    with pytest.raises(InputError, match=r"which is no longer what it was: model.safetensors changed"):
        load_baseline(tmp_path / "saved")


def test_a_base_that_cannot_be_asked_is_refused(base: Base) -> None:
    with pytest.raises(UsageError, match=r"regime 'few-shot' asks a base in words; '.*' is an encoder"):
        check_base(base, "few-shot")


def test_what_all_prompts_begin_with_is_read_once_and_changes_nothing(
    decoder: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = FewShot(replace(decoder, reads=1_000), "Sum up.", rows_of(2).texts).writer
    texts = [write_prompt("Sum up.", words) for words in ("fox", "the lazy dog and a brown fox", "dog", "x y z w")]
    prompts = writer.prompts(texts)
    read: list[tuple[int, ...]] = []
    plain = kv_cache._read

    def counted(body, tokens, *more):  # type: ignore[no-untyped-def]
        read.append(tuple(tokens.shape))
        plain(body, tokens, *more)

    monkeypatch.setattr(kv_cache, "_read", counted)
    found = {}
    for least in (8, 10_000):
        read.clear()
        monkeypatch.setattr(kv_cache, "MIN_SHARED_TOKENS", least)
        found[least] = (
            generate(writer.model.body, writer.head, prompts, stop=writer.stop, most=6),
            sum(n * t for n, t in read),
        )
    assert found[8][0] == found[10_000][0]
    assert found[8][1] < 0.7 * found[10_000][1]


def test_the_examples_are_read_once_for_all_answers(decoder: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_cache, "MIN_SHARED_TOKENS", 8)
    writer = FewShot(replace(decoder, reads=1_000), "Sum up.", rows_of(2).texts).writer
    texts = [write_prompt("Sum up.", words) for words in ("fox", "the lazy dog", "dog", "x y z w")]
    expected = replace(writer, prefix=None).answers(texts, TASK)
    assert writer.prefix is not None
    shared, read, plain = len(writer.prefix.tokens), [], kv_cache._read

    def counted(body, tokens, *more):  # type: ignore[no-untyped-def]
        read.append(tokens.shape[1])
        plain(body, tokens, *more)

    monkeypatch.setattr(kv_cache, "_read", counted)
    for _ in range(2):
        assert writer.answers(texts, TASK) == expected
    assert read and max(read) < shared, "only what comes after the examples"


def test_only_the_best_two_are_tried_on_all_rows(decoder: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    judge = Language.judge

    def counted(task, written, rows):  # type: ignore[no-untyped-def]
        asked.append(len(rows))
        return judge(task, written, rows)

    monkeypatch.setattr(Language, "judge", counted)
    monkeypatch.setattr(few_shot, "SHOTS", (1, 2, 3))
    monkeypatch.setattr(few_shot, "draw_examples", lambda *given: rows_of(3).texts)  # the oldest go where it is long
    fitted = fit_few_shot(FitData(TASK, rows_of(20), 0, Embedder(decoder), validation=rows_of(60)))
    assert asked == [16, 16, 16, 48, 48]
    assert [trial.settings["examples"] for trial in fitted.trials] == [1, 2, 3]
