"""GGUF file: how does a language model become one file for llama.cpp and tools built on it?

For models of the Llama kind with a byte-level tokenizer. Names of weights are those of the package `gguf`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from warmstart.baselines.baseline import TRAIN_AGAIN
from warmstart.errors import MissingError
from warmstart.inference.model_store import Network
from warmstart.models.pretrained.gguf import install_hint, read_header
from warmstart.models.pretrained.gguf_import import split_as_said
from warmstart.runtime.files import digests, read_json, write_json
from warmstart.runtime.load_pretrained import load_config, load_gguf, load_tokenizer, load_weights

FILE = "model.gguf"
KIND = "llama"
NORMAL, CONTROL = 1, 3  # kinds of tokens
F32, Q8_0 = 0, 7  # kinds of files; with 16 bits a small model's score moved by .15 %


def why_no_gguf(network: Network) -> str:
    """Why a model cannot be written as GGUF; "" if it can."""
    if network.model.language_head is None:
        return "it writes no text"
    config: Any = getattr(network.model.body, "config", None)
    if getattr(config, "model_type", "") != KIND:
        return (
            f"only models of the kind {KIND!r} are written as GGUF, and this is {getattr(config, 'model_type', '?')!r}"
        )
    scaled = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default") != "default"
    if config.attention_bias or config.mlp_bias or scaled:
        return "its attention is of a kind that is not written as GGUF"
    assert network.inputs.tokens is not None
    return (
        "" if _splitting(network.inputs.tokens.tokenizer) else "its tokenizer is of a kind that is not written as GGUF"
    )


def write_gguf(folder: Path, out: Path, *, int8: bool) -> None:
    """Write `model.gguf` from a model's folder as transformers has it. Raises MissingError without the package."""
    try:
        import gguf
    except ImportError as error:
        raise MissingError("a GGUF export needs the package 'gguf'.", install_hint()) from error
    from transformers import AutoModelForCausalLM

    config = load_config(str(folder))
    model, _ = load_weights(AutoModelForCausalLM, str(folder), config)
    tokenizer = load_tokenizer(str(folder))
    writer = gguf.GGUFWriter(out / FILE, KIND)
    writer.add_name(folder.name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(_rope_base(config))
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(Q8_0 if int8 else F32)
    _add_tokenizer(writer, tokenizer, model)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        count = next((count for part, count in heads.items() if part in name), 0)
        values = (_paired(tensor, count) if count else tensor).float().numpy()
        known = names.get_name(name, try_suffixes=(".weight",)) or name
        if int8 and values.ndim > 1 and values.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(known, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(known, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_back(merged: Path, out: Path) -> None:
    """Write the weights of the file in `out`, as transformers reads them, into the model folder `merged`."""
    model, _, tokenizer = load_gguf(out / FILE)
    split_as_said(tokenizer, read_header(out / FILE))
    body = merged / "body"
    shutil.rmtree(body)
    model.save_pretrained(body)
    tokenizer.save_pretrained(body)
    facts = read_json(merged / "model.json", dict[str, Any], TRAIN_AGAIN)
    (merged / "model.json").unlink()
    write_json(merged / "model.json", facts | {"files": digests(merged)})


def _add_tokenizer(writer: Any, tokenizer: Any, model: Any) -> None:
    known = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {each["content"] for each in known["added_tokens"] if each["special"]}
    count = model.config.vocab_size
    by_id = {i: token for token, i in tokenizer.get_vocab().items()}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(count)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitting(tokenizer))
    writer.add_token_list(tokens)
    writer.add_token_types(
        [CONTROL if token in special or i not in by_id else NORMAL for i, token in enumerate(tokens)]
    )
    merges = known["model"]["merges"]
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    ends = model.generation_config.eos_token_id
    ends = ends[0] if isinstance(ends, list) else ends
    for add, i in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id if ends is None else ends),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if i is not None:
            add(i)
    writer.add_add_bos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _splitting(tokenizer: Any) -> str:
    """llama.cpp's name for how a text is split before merges; "" for a way that is not known here."""
    known = json.loads(tokenizer.backend_tokenizer.to_str())
    split = known["pre_tokenizer"] or {}
    parts = split.get("pretokenizers", [split])
    kinds = [part.get("type") for part in parts]
    plain = parts[-1].get("add_prefix_space") is False and parts[-1].get("use_regex", True)
    if known["model"]["type"] != "BPE" or known["normalizer"] is not None or not plain:
        return ""
    if kinds == ["ByteLevel"]:
        return "gpt-2"
    return "smollm" if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits") else ""


def _rope_base(config: Any) -> float:
    parameters = getattr(config, "rope_parameters", None) or {}
    base = parameters.get("rope_theta") or getattr(config, "rope_theta", None)
    return 10_000.0 if base is None else float(base)


def _paired(weight: Tensor, heads: int) -> Tensor:
    """Rows of queries and keys as llama.cpp rotates them: in neighbors, where transformers has halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
