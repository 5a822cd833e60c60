"""Lines: does a row say the same in a shared line as alone, whatever kind of model reads it?"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny_language import SHAPES, language_model, save_language_base
from warmstart.data.encoding.packing import PACKED, UNLABELED, PackedLine, PackingLayout
from warmstart.models.model import Model

LENGTHS = (12, 5, 7, 3, 9, 12, 2)
ENCODERS = {"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"}
CAUSAL = {kind: kind not in ENCODERS for kind in sorted(PACKED)}
PADDED = {"llama": True, "gpt2": True, "bert": False, "roberta": False}


def lines_of(lengths: tuple[int, ...] = LENGTHS) -> list[PackedLine]:
    generator = np.random.default_rng(0)
    return [PackedLine(generator.integers(5, 260, n), generator.integers(5, 260, n), float(n)) for n in lengths]


def layout(folder: Path, kind: str, max_length: int = 40) -> PackingLayout:
    save_language_base(folder, kind)
    return PackingLayout(str(folder), CAUSAL[kind], pad=SHAPES[kind].get("pad_token_id", 0), max_length=max_length)


def nats(model: Model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(batch)
    return found


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_row_says_in_a_shared_line_what_it_says_alone(kind: str, tmp_path: Path) -> None:
    read, rows, model = layout(tmp_path, kind), lines_of(), language_model(kind)
    batch = read.batch(rows)
    assert batch["input_ids"].shape == (1, sum(LENGTHS)) and "position_ids" in batch
    alone = torch.cat([nats(model, read.batch([row])) for row in rows])
    torch.testing.assert_close(nats(model, batch), alone, atol=1e-5, rtol=1e-5)
    assert alone[:, 1].tolist() == alone[:, 2].tolist() == list(LENGTHS)


@pytest.mark.parametrize("kind", PADDED)
def test_a_row_says_beside_padding_what_it_says_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackingLayout, "packs", False)
    read, rows, model = layout(tmp_path, kind), lines_of((12, 11, 10)), language_model(kind)
    batch = read.batch(rows)
    assert len(batch["input_ids"]) == 3 and ("attention_mask" in batch) != CAUSAL[kind]
    alone = torch.cat([nats(model, read.batch([row])) for row in rows])
    torch.testing.assert_close(nats(model, batch), alone, atol=1e-5, rtol=1e-5)


def test_rows_of_one_length_need_no_mask(tmp_path: Path) -> None:
    batch = layout(tmp_path, "bert").batch(lines_of((12, 12)))
    assert batch.keys() == {"input_ids", "labels", "rows", "bytes"}


def test_every_token_is_in_one_line(tmp_path: Path) -> None:
    batch = layout(tmp_path, "llama").batch(lines_of())
    labeled = batch["labels"] != UNLABELED
    assert labeled.sum() == sum(LENGTHS)
    assert torch.bincount(batch["rows"][labeled]).tolist() == list(LENGTHS)
    begins = batch["attention_mask"]
    assert begins.shape == (1, 1, max(LENGTHS), len(LENGTHS) + 1) and begins.dtype == torch.int32
    assert begins[0, 0, -1].diff().tolist() == list(LENGTHS)


@pytest.mark.parametrize("kind, window, packs", [("llama", None, True), ("xlnet", None, False), ("mistral", 30, False)])
def test_what_cannot_share_a_line_is_padded(kind: str, window: int | None, packs: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "hidden_size": 16, "sliding_window": window}))
    read = PackingLayout(str(tmp_path), True, pad=0, max_length=40)
    assert read.packs == packs
    assert (len(read.batch(lines_of())["input_ids"]) < len(LENGTHS)) == packs


def test_a_tokenizer_alone_says_nothing_about_its_model(tmp_path: Path) -> None:
    assert not PackingLayout(str(tmp_path), True, pad=0, max_length=40).packs
