"""Material: a small model, tables, a run and a study, made here by code."""

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = ("oak", "elm", "pine", "steel", "glass", "lamp", "chair", "table", "shelf", "red", "blue", "old", "new")


def write_table(path: Path, rows: int = 60) -> None:
    """Titles, and prices that follow from their words."""
    generator = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["title", "price"])
        for _ in range(rows):
            words = generator.choices(WORDS, k=4)
            writer.writerow([" ".join(words), round(10 + sum(map(WORDS.index, words)) + generator.random(), 2)])


def write_base(folder: Path) -> None:
    """A BERT of one layer with a tokenizer of whole words, random weights."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = {piece: i for i, piece in enumerate([*special, *WORDS])}
    backend = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(pieces), max_position_embeddings=64, **sizes)).save_pretrained(folder)


def change(path: Path, **values: object) -> None:
    """Some keys of a JSON object anew."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | values), encoding="utf-8")


def replaced(word: str, times: int) -> dict[str, object]:
    """A tokenizer's normalizer that makes much of little."""
    one = {"type": "Replace", "pattern": {"String": word}, "content": word * 40}
    return {"type": "Sequence", "normalizers": [one] * times}


def rows_of_keys(path: Path, rows: int) -> None:
    """JSON Lines in which each row has a key of its own."""
    lines = (json.dumps({"title": f"a {i}", "price": i, f"k{i}": 1}) for i in range(rows))
    path.write_text("\n".join(lines), encoding="utf-8")


def header(path: Path, columns: int) -> None:
    path.write_text(",".join(f"c{i}" for i in range(columns)) + "\n1\n", encoding="utf-8")


def repeated_cell(path: Path, rows: int, cell: int) -> None:
    """A Parquet file of some KB that holds one long cell in each of many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * cell]))
    price = pa.array([1.5] * (rows - 1) + [2.5])
    pq.write_table(pa.table({"title": text, "price": price}), path)


def run_command(words: Sequence[str]) -> None:
    """A command of warmstart in this process, to make material: it ends with SystemExit."""
    import sys

    from warmstart.cli.app import run_cli

    before, sys.argv = sys.argv, ["warmstart", *words]
    try:
        run_cli()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{words} ended with {end.code}") from end
    finally:
        sys.argv = before
