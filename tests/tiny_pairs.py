"""Tiny pairs: encoder-decoders of two and two layers with random weights, in folders, with a tokenizer of bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from tests.tiny_language import save_byte_tokenizer

KINDS = ("t5", "t5, untied", "bart", "marian", "bert2bert")
BEGIN, PAD, END = 0, 1, 2  # of the tokenizer
VOCABULARY = 270


def config(kind: str) -> Any:
    import transformers as t

    t5 = {"vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    t5 |= {"pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": PAD, "dropout_rate": 0.0}
    bart: dict[str, Any] = {"vocab_size": VOCABULARY, "d_model": 16, "max_position_embeddings": 96, "dropout": 0.0}
    for part in ("encoder", "decoder"):
        bart |= {f"{part}_layers": 2, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 32}
    bart |= {"pad_token_id": PAD, "eos_token_id": END, "bos_token_id": BEGIN}
    bert = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert |= {"intermediate_size": 32, "max_position_embeddings": 96, "pad_token_id": PAD}
    bert |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if kind == "bert":
        return t.BertConfig(**bert)
    if kind == "bert2bert":
        special = {"decoder_start_token_id": BEGIN, "pad_token_id": PAD, "eos_token_id": END}
        parts = t.BertConfig(**bert), t.BertConfig(**bert)
        return t.EncoderDecoderConfig.from_encoder_decoder_configs(*parts, **special)
    if kind == "bart":
        return t.BartConfig(**bart, decoder_start_token_id=END, forced_bos_token_id=BEGIN, forced_eos_token_id=None)
    if kind == "marian":
        return t.MarianConfig(**bart, decoder_start_token_id=PAD, scale_embedding=True, forced_eos_token_id=None)
    more = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if kind == "t5, untied" else {}
    return t.T5Config(**t5, **more)


def pair_model(kind: str, std: float = 0.5) -> Any:
    """As its family's own class has it; every weight that is drawn at all drawn anew, so that all matter."""
    from transformers import AutoModelForSeq2SeqLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = AutoModelForSeq2SeqLM.from_config(config(kind), attn_implementation="sdpa")
        if kind == "t5, untied":
            model.lm_head.weight = nn.Parameter(torch.empty(VOCABULARY, 16))
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and ("embed_positions" not in name or kind == "bart"):
                nn.init.normal_(parameter, std=std)
            elif parameter.ndim == 1:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
        if kind == "marian":
            model.final_logits_bias.normal_()
            model.generation_config.bad_words_ids = [[PAD]]
    return model.eval()


def save_pair_tokenizer(folder: Path, kind: str) -> Path:
    """What it puts around a text is that of the kind: an end, or a beginning and an end."""
    from tokenizers import processors
    from transformers import AutoTokenizer

    save_byte_tokenizer(folder, template=None)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    around = "<|im_start|> $A <|im_end|>" if kind in ("bart", "bert", "bert2bert") else "$A <|im_end|>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[("<|im_start|>", BEGIN), ("<|im_end|>", END)]
    )
    tokenizer.cls_token, tokenizer.sep_token = "<|im_start|>", "<|im_end|>"
    tokenizer.save_pretrained(folder)
    return folder


def save_pair(folder: Path, kind: str, std: float = 0.5) -> Path:
    """A base in a folder; of kind 'bert' an encoder alone."""
    from transformers import BertModel

    if kind == "bert":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            BertModel(config(kind)).save_pretrained(folder)
    else:
        pair_model(kind, std).save_pretrained(folder)
    return save_pair_tokenizer(folder, kind)


def save_table(folder: Path) -> Path:
    """Sentences about animals, and what is to be said of each."""
    generator = np.random.default_rng(0)
    animals, does = (
        generator.choice(["fox", "dog", "cat", "hen"], 60),
        generator.choice(["jumps", "sleeps", "runs"], 60),
    )
    pairs = list(zip(animals, does, strict=True))
    columns = {
        "text": [f"the lazy {animal} {verb} at {i}" for i, (animal, verb) in enumerate(pairs)],
        "summary": [f"{animal} {verb}" for animal, verb in pairs],
        "animal": animals.tolist(),
        "number": list(range(60)),
    }
    path = folder / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path
