"""Rehearsal: is general text replayed where that can be, apart from what forgetting is measured on, and paid for?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.decoders import language_draw, save_decoder
from tests.language import language_model
from tests.tiny import carried_out
from tests.training.test_general_text import spelling
from warmstart.data.encoding.batches import Batch
from warmstart.errors import UsageError
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Pretrained
from warmstart.request.extra_text import MAX_GENERAL_TEXTS, general_text
from warmstart.request.request import Request
from warmstart.tasks.language import Language
from warmstart.training import general_text as general
from warmstart.training.config import TrainConfig
from warmstart.training.general_text import replay_text, sampled_text
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages

CONFIG = TrainConfig(steps=6, lr=1e-3, batch_size=4, replay=0.5)
TEXTS = tuple(f"an old song of {n} bottles" for n in ("one", "two", "three", "four", "five"))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return find_base(save_decoder(tmp_path_factory.mktemp("decoder"), scale=1.0), max_length=64)


@pytest.fixture(scope="module")
def run_data() -> RunData:
    return replace(language_draw(), replayed=TEXTS)


def full(base: Base) -> Regime:
    return Regime("full", Pretrained(base), (Stage(Full()),), DEFAULTS["full"])


# --- apart ------------------------------------------------------------------------------------------------------------


def test_what_the_base_says_for_replay_is_not_what_it_is_measured_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(base: object, first: int, texts: int, tokens: int, seed: int) -> list[list[int]]:
        return [[7, 8], [9, 9], [10, seed % 100]]  # two texts that every seed gives, and one of its own

    monkeypatch.setattr(general, "sample_from_base", said)
    base = language_model()
    measured = sampled_text(base, spelling(), tmp_path)
    replayed = replay_text(base, spelling(), tmp_path, rows=65)
    assert len(measured) == 3 and len(replayed) == 3 and not set(measured) & set(replayed)
    assert len(replay_text(base, spelling(), tmp_path, rows=10**6)) == general.MOST_SAMPLED


@pytest.mark.parametrize("pieces", [2, 5, 100, 500])
def test_the_file_s_text_for_replay_is_not_what_is_measured_by(pieces: int, tmp_path: Path) -> None:
    file = tmp_path / "general.csv"
    lines = [f"line {i} of some story" for i in range(pieces)]
    file.write_text("text\n" + "\n".join([*lines, lines[0], lines[-1]]) + "\n")  # two of them twice
    measured, replayed = general_text(Request(("x",), general_text=str(file), reduce_forgetting=("replay",)))
    assert measured and replayed and not set(measured) & set(replayed)
    assert {*measured, *replayed} == set(lines)
    alone, none = general_text(Request(("x",), general_text=str(file), reduce_forgetting=("interpolation",)))
    assert none == () and (pieces < 2 * MAX_GENERAL_TEXTS or alone == measured), (
        "the same measure with replay and without"
    )


def test_a_single_piece_leaves_none_to_replay(tmp_path: Path) -> None:
    file = tmp_path / "general.txt"
    file.write_text("a single line\n")
    with pytest.raises(UsageError, match=r"general\.txt holds a single piece of text"):
        general_text(Request(("x",), general_text=str(file), reduce_forgetting=("replay",)))


# --- in a training ----------------------------------------------------------------------------------------------------


def test_replayed_rows_are_learned_beside_the_task_s(
    decoder: Base, run_data: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Batch] = []
    loss = Language.loss

    def listening(task: Language, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return loss(task, model, batch)

    monkeypatch.setattr(Language, "loss", listening)
    carried_out(train_stages(full(decoder), CONFIG, run_data, evaluations=1))
    spelled = [decoder.inputs.tokenizer.decode(row) for batch in seen for row in batch.inputs["input_ids"].tolist()]
    assert [sum(text.count(word) for text in spelled) for word in ("bottles", "lazy")] == [6 * 2, 6 * 4]
    assert len(seen) == 12 and {round(batch.share * 3) for batch in seen} == {2, 1}


def test_what_replay_took_is_counted(decoder: Base, run_data: RunData) -> None:
    flops = [
        carried_out(train_stages(full(decoder), replace(CONFIG, replay=share), run_data, evaluations=1))[1].train_flops
        for share in (0.0, 0.5, 1.0)
    ]
    alone, half, all_of_them = flops
    assert 0.2 < (half - alone) / alone < 0.8, "half as many rows, of about the length of the task's"
    assert all_of_them - alone == pytest.approx(2 * (half - alone), rel=0.1)


def test_a_step_without_a_loss_names_the_general_texts(
    decoder: Base, run_data: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, steps = Language.loss, iter(range(100))

    def broken(task: Language, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return loss(task, model, batch) * (float("nan") if next(steps) == 3 else 1.0)  # the general piece of step 1

    monkeypatch.setattr(Language, "loss", broken)
    _, trained = carried_out(train_stages(full(decoder), CONFIG, run_data, evaluations=1))
    (caveat,) = trained.caveats
    assert "1 of 6 steps had no finite loss" in caveat and ", and general texts " in caveat
    assert all(torch.isfinite(p).all() for p in trained.model.parameters())


def test_a_step_that_does_not_fit_is_done_in_smaller_pieces_general_rows_too(
    decoder: Base, run_data: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = Language.loss

    def cramped(task: Language, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        if len(batch) > 1:
            raise MemoryError
        return loss(task, model, batch)

    expected, _ = carried_out(train_stages(full(decoder), CONFIG, run_data, evaluations=1))
    monkeypatch.setattr(Language, "loss", cramped)
    found, trained = carried_out(train_stages(full(decoder), CONFIG, run_data, evaluations=1))
    np.testing.assert_allclose([s.loss for s in found], [s.loss for s in expected], rtol=1e-4)
    assert any("1 rows at a time" in caveat for caveat in trained.caveats)


@pytest.mark.parametrize("kind", ["encoder", "random weights"])
def test_other_starts_replay_nothing(
    kind: str, base: Base, regression: RunData, run_data: RunData, decoder: Base, texts: Sequence[str] = TEXTS
) -> None:
    if kind == "encoder":
        with pytest.raises(UsageError, match="is not trained to generate text here"):
            next(train_stages(full(base), CONFIG, replace(regression, replayed=tuple(texts)), evaluations=1))
        return
    from warmstart.regimes.starts import Architecture, Scratch

    scratch = replace(full(decoder), start=Scratch(Architecture(decoder), decoder.inputs))
    with_replay, without = (
        carried_out(train_stages(scratch, replace(CONFIG, replay=share), run_data, evaluations=1))[0]
        for share in (0.5, 0.0)
    )
    assert [s.loss for s in with_replay] == [s.loss for s in without]
