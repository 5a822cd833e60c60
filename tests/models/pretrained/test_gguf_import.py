"""Converted: does a GGUF file become, once, a folder that transformers loads?"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.models.test_causal_lm import language_parts
from warmstart.errors import InputError, MissingError, UsageError
from warmstart.models.pretrained import gguf_import as module
from warmstart.models.pretrained.base import find_base
from warmstart.models.pretrained.gguf_import import convert
from warmstart.models.pretrained.locate import locate

WIDTH, HIDDEN, HEADS, VOCABULARY = 32, 64, 2, 260


def write_tiny_gguf(path: Path, *, norm: bool = True) -> Path:
    """A Llama of two blocks with the 256 bytes, two merges and two special tokens for a vocabulary."""
    from gguf import GGUFWriter
    from tokenizers.pre_tokenizers import ByteLevel

    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(2)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<|begin|>", "<|end|>", *sorted(ByteLevel.alphabet()), "th", "ĠĠ"])
    writer.add_token_types([3, 3, *[1] * 258])
    writer.add_token_merges(["t h", "Ġ Ġ"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    generator = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, generator.normal(0, 0.2, shape).astype(np.float32))

    add("token_embd.weight", VOCABULARY, WIDTH)
    if norm:
        add("output_norm.weight", WIDTH)
    for block in ("blk.0", "blk.1"):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{part}.weight", WIDTH, WIDTH)
        add(f"{block}.ffn_gate.weight", HIDDEN, WIDTH)
        add(f"{block}.ffn_up.weight", HIDDEN, WIDTH)
        add(f"{block}.ffn_down.weight", WIDTH, HIDDEN)
        add(f"{block}.attn_norm.weight", WIDTH)
        add(f"{block}.ffn_norm.weight", WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warmstart" / "bases"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf")


def test_a_file_becomes_a_folder_that_transformers_loads(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = convert(file)
    assert "Converting tiny.gguf" in capsys.readouterr().err
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32 and model.config.model_type == "llama"
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight  # the file has no other
    assert model(torch.arange(5)[None]).logits.isfinite().all()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == 64
    assert tokenizer.tokenize("the  7") == ["th", "e", "ĠĠ", "7"]  # as SmolLM's: GPT-2 would leave a space to the 7
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_it_is_converted_once(file: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = convert(file)
    made = (first / "model.safetensors").stat().st_mtime_ns
    shutil.copy(file, file.with_name("again")).rename(file)  # the same content, written anew
    assert convert(file) == first and (first / "model.safetensors").stat().st_mtime_ns == made
    assert capsys.readouterr().err.count("Converting tiny.gguf") == 1
    assert sorted(path.name for path in cache.iterdir()) == sorted([first.name, "lock"])
    write_tiny_gguf(file, norm=True)
    with file.open("r+b") as content:  # another model under the same name
        content.seek(-4, 2)
        content.write(b"\0\0\0\0")
    assert convert(file) != first


def test_what_a_killed_process_left_is_made_anew(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    write = module._write
    monkeypatch.setattr(module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(file)
    monkeypatch.setattr(module, "_write", write)
    left = cache / f"{convert(file).name}.tmp"
    shutil.rmtree(convert(file))
    left.mkdir()
    (left / "config.json").write_text("{")
    assert (convert(file) / "model.safetensors").exists() and not left.exists()


def test_a_base_may_be_a_file_a_folder_or_a_package(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = file.parent / "carries_gguf"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(file, package / file.name)
    monkeypatch.syspath_prepend(str(file.parent))
    folder = convert(file)
    for source in (str(file), "carries_gguf", str(package)):
        assert locate(source) == (source, folder)
    base = find_base("carries_gguf", max_length=32)
    assert (base.kind, base.pooling, base.reads) == ("decoder", "last", 64)
    _, output = language_parts(base)
    assert output.tied
    shutil.copy(file, package / "other.gguf")
    with pytest.raises(UsageError, match=r"holds 2 GGUF files"):
        locate("carries_gguf")


def test_what_cannot_be_converted_is_named(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError, match=r"there is no file 'no\.gguf'"):
        locate("no.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(45))
    with pytest.raises(InputError, match=r"bad\.gguf is not a whole GGUF file"):
        locate(str(tmp_path / "bad.gguf"))
    with pytest.raises(UsageError, match=r"lacks weights that its model needs: model\.norm\.weight"):
        convert(write_tiny_gguf(tmp_path / "less.gguf", norm=False))
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    cache.rename(cache.with_name("old"))
    cache.touch()
    with pytest.raises(UsageError, match=r"could not be converted into .*\nhint: make room there"):
        convert(file)
    monkeypatch.setitem(__import__("sys").modules, "gguf.constants", None)
    with pytest.raises(MissingError, match=r"needs the package gguf\.\nhint: pip install 'warmstart\[gguf\]'"):
        convert(file)
