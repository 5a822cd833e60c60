"""Hugging Face: how is a model saved so that Hugging Face libraries load it without warmstart?

A language model is one of transformers' own classes already. A model with pooling and head becomes a folder of
sentence-transformers, whose modules compute just that: Transformer, Pooling, Dense. It does not become an
`AutoModelForSequenceClassification`: in BERT kinds that one pools by the first token, through a further layer.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from warmstart.baselines.baseline import TRAIN_AGAIN
from warmstart.errors import MissingError
from warmstart.inference.image_store import save_image_network
from warmstart.inference.model_store import COLUMN_FOLDER, Network, StoredModel, save_language_model
from warmstart.regimes.lora import merge_adapters
from warmstart.regimes.quantization import load_bitsandbytes
from warmstart.runtime.files import digests, read_json, write_json
from warmstart.types import Array


def write_merged(folder: Path, network: Network, out: Path) -> None:
    """A model folder as this package writes it, with adapters merged into the weights: `warmstart predict` reads it."""
    model = network.model
    adapted = hasattr(model.body, "peft_config")
    head = model.language_head
    facts = read_json(folder / "model.json", dict[str, Any], TRAIN_AGAIN)
    if head is not None:
        save_language_model(out, model, head, None, network.inputs)
        body: dict[str, Any] = {"kind": "transformers"}
    else:
        body = _write_body(merge_adapters(model.body) if adapted else model.body, network, out)
        shutil.copyfile(folder / "head.safetensors", out / "head.safetensors")
        if (folder / COLUMN_FOLDER).exists():
            shutil.copytree(folder / COLUMN_FOLDER, out / COLUMN_FOLDER)
    write_json(out / "model.json", facts | {"body": body, "files": digests(out)})


def _write_body(body: Any, network: Network, out: Path) -> dict[str, Any]:
    """Write a body without adapters; give what model.json says of it."""
    out.mkdir(parents=True, exist_ok=True)
    if (pictured := save_image_network(out, body)) is not None:
        return pictured
    body.save_pretrained(out / "body")
    network.inputs.save(out / "body")
    return {"kind": "transformers"}


def keep_body(out: Path) -> None:
    """Leave what transformers loads, and nothing else."""
    (out / "model.json").unlink()
    for path in (out / "body").iterdir():
        path.replace(out / path.name)
    (out / "body").rmdir()
    (out / "head.safetensors").unlink(missing_ok=True)


def write_sentence_transformer(stored: StoredModel, network: Network, out: Path, texts: Sequence[str]) -> Array:
    """Write the folder; give what it says of these texts, as the task's outputs [n, k].

    Its `encode` gives logits in the order of `id2label`, or the number on the scale that it was trained on.
    Raises MissingError without sentence-transformers.
    """
    load_bitsandbytes()  # which sentence-transformers imports: as this package does, without code of the Hub
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
    except ImportError as error:
        raise MissingError(
            "an export for Hugging Face needs the package 'sentence-transformers', version 6 or newer.",
            "pip install 'sentence-transformers>=6', or use --to onnx",
        ) from error
    tokens = network.inputs.tokens
    assert tokens is not None
    task = stored.task.to_json()
    body: Any = network.model.body
    body = merge_adapters(body) if hasattr(body, "peft_config") else body
    if "classes" in task:
        body.config.id2label = dict(enumerate(task["classes"]))
        body.config.label2id = {name: i for i, name in enumerate(task["classes"])}
    plain = out / "plain"
    body.save_pretrained(plain)
    tokens.save(plain)
    reads = Transformer(str(plain), max_seq_length=tokens.max_length)
    mode = {"last": "lasttoken"}.get(network.model.pooling, network.model.pooling)
    linear: Any = network.model.head[1]  # type: ignore[index]  # after the dropout
    dense = Dense(linear.in_features, linear.out_features, activation_function=nn.Identity())
    mean, deviation = task.get("mean", 0.0), task.get("deviation", 1.0)
    with torch.no_grad():
        dense.linear.weight.copy_(linear.weight * deviation)
        dense.linear.bias.copy_(linear.bias * deviation + mean)
    SentenceTransformer(modules=[reads, Pooling(linear.in_features, pooling_mode=mode), dense], device="cpu").save(
        str(out), create_model_card=False
    )
    shutil.rmtree(plain)
    loaded = SentenceTransformer(str(out), device="cpu", local_files_only=True)
    found = loaded.encode(list(texts), show_progress_bar=False, convert_to_numpy=True)
    return np.asarray((found - mean) / deviation, dtype=np.float32)
