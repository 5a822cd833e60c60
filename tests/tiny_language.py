"""Tiny language: a byte-level tokenizer and language models so small that a test trains them in a blink."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from warmstart.data.rows.split import Rows, Splits
from warmstart.models.attention import attend_row_by_row
from warmstart.models.lm_head import LanguageHead
from warmstart.models.model import UNPOOLED, Model

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 1, "intermediate_size": 32},
    "gpt2": {},
    "bert": {"intermediate_size": 32},
    "roberta": {"intermediate_size": 32, "pad_token_id": 1},
    # of these, whether they understand where rows end
    "camembert": {"intermediate_size": 32, "pad_token_id": 1},
    "distilbert": {"hidden_dim": 32},
    "electra": {"intermediate_size": 32, "embedding_size": 16},
    "gemma": {"num_key_value_heads": 1, "intermediate_size": 32, "head_dim": 8},
    "gpt_neox": {"intermediate_size": 32},
    "granite": {"num_key_value_heads": 1, "intermediate_size": 32},
    "mistral": {"num_key_value_heads": 1, "intermediate_size": 32, "head_dim": 8, "sliding_window": None},
    "olmo2": {"num_key_value_heads": 1, "intermediate_size": 32},
    "phi": {"num_key_value_heads": 1, "intermediate_size": 32},
    "phi3": {"num_key_value_heads": 1, "intermediate_size": 32, "sliding_window": None},
    "qwen2": {"num_key_value_heads": 1, "intermediate_size": 32},
    "qwen3": {"num_key_value_heads": 1, "intermediate_size": 32, "head_dim": 8},
    "smollm3": {"num_key_value_heads": 1, "intermediate_size": 32},
    "xlm-roberta": {"intermediate_size": 32, "pad_token_id": 1},
}


def save_byte_tokenizer(folder: Path, template: str | None = CHATML, begins: bool = True) -> Path:
    """A token a byte (a few words have their own), the four of chats, and a mask."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|im_start|>", "<pad>", "<|im_end|>", "<mask>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e"), ("l", "l"), ("Ċ", "Ċ")]
    pieces = [*special, *letters, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"pad_token": "<pad>", "eos_token": "<|im_end|>", "mask_token": "<mask>"}
    if begins:
        names["bos_token"] = "<|im_start|>"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = template
    fast.save_pretrained(folder)
    return folder


def save_language_base(folder: Path, kind: str = "llama", template: str | None = CHATML) -> Path:
    """The tokenizer, and the configuration of a model of that kind: two layers of width 16."""
    save_byte_tokenizer(folder, template)
    config(kind).save_pretrained(folder)
    return folder


def config(kind: str) -> Any:
    from transformers import AutoConfig

    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 160}
    shape |= {"vocab_size": 270, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 2, **SHAPES[kind]}
    found = AutoConfig.for_model(kind, **shape)
    for name in [n for n in vars(found) if "drop" in n or n.endswith("pdrop")]:
        if isinstance(getattr(found, name), float):
            setattr(found, name, 0.0)
    return found


def language_body(kind: str) -> nn.Module:
    """Without dropout; weights so large that every token matters to every other."""
    from transformers import AutoModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        body: nn.Module = AutoModel.from_config(config(kind), attn_implementation="sdpa")
        for parameter in body.parameters():
            nn.init.normal_(parameter, std=0.3)
    attend_row_by_row(body)
    return body


def language_model(kind: str = "llama") -> Model:
    body = language_body(kind)
    return Model(body, LanguageHead(body), UNPOOLED)


def splits_of(texts: list[str], numbers: list[int] | None = None) -> Splits:
    """All but the last two texts to train on, one to choose by, one to be judged on."""
    rows = Rows(
        tuple(texts), np.array(texts, dtype=object), np.array(numbers or range(1, len(texts) + 1)), tuple(texts)
    )
    train, val, test = (rows.take(index) for index in np.split(np.arange(len(texts)), [-2, -1]))
    return Splits(train, val, test, "")


def conversation(*words: str, system: str | None = None) -> str:
    """Turns of user and assistant, one after the other."""
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(words)]
    if system is not None:
        turns.insert(0, {"role": "system", "content": system})
    return json.dumps(turns)
