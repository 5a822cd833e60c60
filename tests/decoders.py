"""Decoders: random Llamas and GPT-2s of two layers, and a tokenizer of bytes and some merges."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from warmstart.data.rows.split import Rows, Splits
from warmstart.data.schema.schema import Schema
from warmstart.models.causal_lm import output_of
from warmstart.models.lm_head import LanguageHead
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData
from warmstart.types import Array

CONTEXT = 48
TEXT = 'the quick brown fox jumps over the lazy dog. größer, naïve, 東京, {"name": "value", "number": 12} ' * 3


def own_head(model: Any) -> LanguageHead:
    """The language-model head of a transformers model."""
    return LanguageHead.of(model.base_model, output_of(copy.deepcopy(model)))


def tiny_decoder(kind: str, vocabulary: int = 97, context: int = CONTEXT) -> Any:
    """A causal language model of random weights, wide enough that its answers differ."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(3)
        if kind == "gpt2":
            sizes = GPT2Config(vocab_size=vocabulary, n_positions=context, n_embd=32, n_layer=2, n_head=2)
            model: nn.Module = GPT2LMHeadModel(sizes)
        else:
            model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=vocabulary,
                    max_position_embeddings=context,
                    hidden_size=32,
                    intermediate_size=48,
                    num_hidden_layers=2,
                    num_attention_heads=4,
                    num_key_value_heads=2,
                )
            )
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(std=0.3)
    return model.eval()


def save_decoder(folder: Path, kind: str = "llama", scale: float = 0.2) -> str:
    """Such a model with its tokenizer, as `--base` takes it; with small weights its answers are not all one letter."""
    tokenizer = byte_tokenizer()
    model = tiny_decoder(kind, vocabulary=len(tokenizer), context=160)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(scale)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def byte_tokenizer() -> Any:
    """Byte-level BPE of 256 bytes and a few merges, as transformers' fast tokenizers are; ends texts with <|end|>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>")


def prompts(lengths: list[int], vocabulary: int = 97) -> list[Array]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, vocabulary, length).astype(np.int32) for length in lengths]


def language_draw(n: int = 40) -> RunData:
    """Short documents, to be learned from left to right."""
    generator = np.random.default_rng(0)
    texts = tuple(f"the lazy {a} jumps at {i}" for i, a in enumerate(generator.choice(["fox", "dog", "cat"], n)))
    rows = Rows(texts, np.array(texts, dtype=object), np.arange(1, n + 1), texts)
    parts = (rows.take(index) for index in np.split(np.arange(n), [n - 16, n - 8]))
    splits = Splits(*parts, "")
    return RunData(
        splits, Schema("causal-lm", "", ("text",), False, None, {}, "linear", False, None), SharedData(splits), 0
    )
