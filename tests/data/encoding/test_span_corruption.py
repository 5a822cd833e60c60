"""Infilling: is what is missing from a text what an encoder-decoder has to write?"""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

import warmstart
from tests.tiny_pairs import END, PAD, save_pair, save_table
from warmstart.data.encoding.inputs import Answers, Tokens
from warmstart.data.encoding.packing import UNLABELED
from warmstart.data.encoding.span_corruption import SpanCorruption, SpanCorruptionRows, draw_spans
from warmstart.errors import InputError, RowError, UsageError
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.regimes import check_base

TEXTS = ["all the walls of the hall are white and cold", "Tor und Tuer", "a", "so it is: " + "the bell tolls, " * 20]
LONGEST, NAMES = 60, 5


def folder_of(base: Path, kind: str, names: int = 0, mask: bool = False) -> str:
    """A base whose tokenizer has so many names for gaps (T5's kinds), or a mask (BART's)."""
    from transformers import AutoTokenizer

    save_pair(base, kind)
    tokenizer = AutoTokenizer.from_pretrained(base)
    if names:  # as T5's own, the first has the highest number
        tokenizer.add_special_tokens({"additional_special_tokens": [f"<extra_id_{n}>" for n in reversed(range(names))]})
    tokenizer.mask_token = "<mask>" if mask else None
    tokenizer.save_pretrained(base)
    return str(base)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    at = tmp_path_factory.mktemp("bases")
    return {
        "named": folder_of(at / "t5", "t5", names=NAMES),
        "masked": folder_of(at / "bart", "bart", mask=True),
        "bare": folder_of(at / "marian", "marian"),
        "bert": folder_of(at / "bert", "bert", mask=True),
    }


def rows_of(folder: str) -> SpanCorruptionRows:
    return SpanCorruption(folder, LONGEST, 0, Answers(PAD)).encode(TEXTS)


def read_and_written(rows: SpanCorruptionRows, i: int) -> tuple[list[int], list[int]]:
    batch = rows.batch(np.array([i]))
    assert batch["decoder_input_ids"][0].tolist() == [PAD, *batch["labels"][0].tolist()[:-1]]
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()


@pytest.mark.parametrize("epoch", [None, 0, 7])
def test_named_gaps_hold_what_is_missing(folders: dict[str, str], epoch: int | None) -> None:
    tokenizer = SpanCorruption(folders["named"], LONGEST, 0, Answers(PAD)).tokenizer
    names = [tokenizer.convert_tokens_to_ids(f"<extra_id_{n}>") for n in range(NAMES)]
    rows = rows_of(folders["named"])
    rows = rows if epoch is None else rows.in_epoch(epoch)
    for i in range(len(TEXTS)):
        read, written = read_and_written(rows, i)
        assert written[-1] == END and read[-1] == END
        gaps = [token for token in written if token in names]
        pieces: list[list[int]] = []
        assert gaps == names[: len(gaps)] and written[0] == names[0] and written[-2] == gaps[-1]
        for token in written[:-2]:
            if token in names:
                pieces.append([])
            else:
                pieces[-1].append(token)
        assert [token for token in read if token in names] == gaps[:-1] and all(pieces)
        whole = [t for token in read for t in (pieces[names.index(token)] if token in names else [token])]
        assert whole == rows.tokens.row(i).tolist()
        own = len(whole) - 1
        assert sum(map(len, pieces)) == max(1, round(0.15 * own))
        assert len(pieces) == min(NAMES - 1, max(1, round(sum(map(len, pieces)) / 3)))


@pytest.mark.parametrize("kind", ["masked", "bare"])
def test_without_names_the_whole_text_is_written(folders: dict[str, str], kind: str) -> None:
    rows = rows_of(folders[kind])
    mask = SpanCorruption(folders[kind], LONGEST, 0, Answers(PAD)).tokenizer.mask_token_id
    assert (mask is None) == (kind == "bare")
    for i in range(len(TEXTS)):
        read, written = read_and_written(rows, i)
        assert written == rows.tokens.row(i).tolist()
        own = len(written) - (2 if kind == "masked" else 1)
        missing = max(1, round(0.3 * own))
        gaps = min(max(1, round(missing / 3)), own - missing + 1)
        assert len(read) == len(written) - missing + (gaps if mask is not None else 0)
        assert read.count(mask) == (gaps if mask is not None else 0)
        kept = iter(written)
        assert all(token in kept for token in read if token != mask)  # in their order


@pytest.mark.parametrize("kind", ["named", "masked", "bare"])
def test_sizes_are_those_of_the_batch_whatever_is_drawn(folders: dict[str, str], kind: str) -> None:
    rows = rows_of(folders[kind])
    for drawn in (rows, rows.in_epoch(0), rows.in_epoch(1)):
        batch = drawn.batch(np.arange(len(TEXTS)))
        written = (batch["labels"] != UNLABELED).sum(1)
        read = batch["attention_mask"].sum(1)
        assert drawn.loss_weights().tolist() == written.tolist()
        assert drawn.sizes().tolist() == (read + written).tolist()
    count = Tokens(folders[kind], LONGEST).count(TEXTS)
    assert rows.lost.tolist() == [max(0, tokens - LONGEST) for tokens in count] and rows.lost[3] > 0


@pytest.mark.parametrize("kind", ["named", "masked"])
def test_bytes_are_those_that_are_learned(folders: dict[str, str], kind: str) -> None:
    rows, tokenizer = rows_of(folders[kind]), Tokens(folders[kind], LONGEST).tokenizer
    bytes_ = rows.batch(np.arange(len(TEXTS)))["bytes"].tolist()
    written = [read_and_written(rows, i)[1] for i in range(len(TEXTS))]
    assert bytes_ == [len(tokenizer.decode(row, skip_special_tokens=True).encode()) for row in written]
    assert kind == "named" or bytes_[:3] == [len(text.encode()) for text in TEXTS[:3]]


def test_the_same_draw_is_the_same_and_epochs_differ(folders: dict[str, str]) -> None:
    first, again = rows_of(folders["named"]), rows_of(folders["named"])
    assert read_and_written(first, 0) == read_and_written(again, 0)
    assert read_and_written(first.in_epoch(3), 3) == read_and_written(again.in_epoch(3), 3)
    assert len({tuple(read_and_written(first.in_epoch(epoch), 3)[0]) for epoch in range(20)}) > 15


def test_every_choice_of_gaps_is_as_likely() -> None:
    random = np.random.default_rng(0)
    found = Counter(tuple(draw_spans(random, 6, 3, 2).tolist()) for _ in range(2400))
    assert len(found) == 2 * 6  # two ways to part three tokens in two, and two of four places
    assert all(sum(gap >= 0 for gap in gaps) == 3 and set(gaps) == {-1, 0, 1} for gaps in found)
    assert chisquare(list(found.values())).pvalue > 0.001


def test_a_text_with_nothing_to_learn_is_named(folders: dict[str, str]) -> None:
    with pytest.raises(RowError, match="has no token to learn") as error:
        SpanCorruption(folders["named"], LONGEST, 0, Answers(PAD)).encode(["a", ""])
    assert error.value.at == 1


# --- as users meet it -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_table(tmp_path_factory.mktemp("table"))


@pytest.mark.parametrize(("kind", "regime"), [("named", "hybrid"), ("masked", "self-pretrained"), ("bert", "hybrid")])
def test_a_model_learns_the_language_first(
    kind: str, regime: str, folders: dict[str, str], table: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"base": folders[kind], "task": "summarise", "text": "text", "max_length": 40, "lr": 1e-2}
    if kind == "named":
        (tmp_path / "domain.txt").write_text("\n\n".join(f"the hen and the fox sleep at {i}" for i in range(80)))
        asked["corpus"] = tmp_path / "domain.txt"
    warmstart.fit(table, "summary", regime, tmp_path / "run", length=0.1, log=False, **asked)
    points = json.loads((tmp_path / "run" / "run.json").read_text())["points"]
    losses = [point["val_loss"] for point in points[: len(points) // 2]]  # the first half of the steps is for language
    assert min(losses) < losses[0]
    assert warmstart.load(tmp_path / "run").predict([{"text": "the lazy fox runs"}])[0].keys() == {"prediction"}


def test_names_that_the_model_does_not_know_are_an_error(table: Path, tmp_path: Path) -> None:
    base = folder_of(tmp_path / "base", "t5", names=NAMES + 1)
    with pytest.raises(InputError, match=r"^the tokenizer of base .* gives token 270, but its model knows only 270"):
        warmstart.fit(table, "summary", "hybrid", tmp_path / "run", base=base, task="summarise", text="text", log=False)


class _ReadsOneWritesAnother(Base):
    """Marian's kinds: their tokenizer has no fast form."""

    @property
    def inputs(self) -> Any:
        return SimpleNamespace(tokenizer=SimpleNamespace(is_fast=False))


def test_a_base_that_writes_another_language_than_it_reads_is_refused(folders: dict[str, str]) -> None:
    base = find_base(folders["bare"], max_length=40)
    check_base(base, "hybrid")
    with pytest.raises(UsageError, match="reads one and writes another"):
        check_base(_ReadsOneWritesAnother(**vars(base)), "hybrid")
