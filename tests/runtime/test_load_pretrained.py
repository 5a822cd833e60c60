"""Load: whatever stands in a stranger's folder, its code is not run, and one sentence says what is wrong."""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import save_tiny_base
from warmstart.errors import InputError, WarmstartError
from warmstart.models.pretrained.base import body_of, find_base
from warmstart.models.pretrained.base_reference import hub_revision
from warmstart.runtime.load_pretrained import fingerprint

EVIL = """
import pathlib
pathlib.Path({marker!r}).write_text("run")
from transformers import BertConfig, BertModel
class EvilConfig(BertConfig):
    model_type = "evil"
class EvilModel(BertModel):
    config_class = EvilConfig
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("original") / "bert")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "bert"))


def change(path: Path, **values: Any) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | values))


def load(folder: Path) -> None:
    """All that a run needs of a base."""
    base = find_base(str(folder))
    body_of(base)(**{name: torch.ones(1, 3, dtype=torch.long) for name in ("input_ids", "attention_mask")})
    base.inputs.count(["oak lamp"])


def test_a_folder_that_is_as_it_should_be_is_loaded(folder: Path) -> None:
    load(folder)


def test_code_of_a_folder_is_not_run_and_a_pipe_of_y_is_no_consent(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "EXECUTED"
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    names = {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel", "AutoTokenizer": ["evil.T", None]}
    change(folder / "config.json", model_type="evil", auto_map=names)
    change(folder / "tokenizer_config.json", auto_map=names, tokenizer_class="Evil")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))
    with pytest.raises(WarmstartError, match="code of its own, which is never run"):
        load(folder)
    assert not marker.exists() and sys.stdin.readline() == "y\n"


def test_no_other_module_loads_from_a_folder() -> None:
    import warmstart

    root = Path(warmstart.__file__).parent
    loading = [path.name for path in root.rglob("*.py") if re.search(r"\.from_pretrained\(", path.read_text("utf-8"))]
    cards = ["model_card.py"]  # says how other programs load an export
    assert sorted(loading) in (["load_pretrained.py", *cards], ["load_pretrained.py", "lora.py", *cards])
    for path in root.rglob("*.py"):
        for call in re.findall(r"from_config\([^\n]*", path.read_text("utf-8")):
            assert "trust_remote_code=False" in call, (path, call)


WRONG: dict[str, Callable[[Path], object]] = {
    "a width of a thousand million": lambda f: change(f / "config.json", hidden_size=10**9),
    "positions that are no number": lambda f: change(f / "config.json", max_position_embeddings="abc"),
    "an activation that is none": lambda f: change(f / "config.json", hidden_act="x"),
    "no heads": lambda f: change(f / "config.json", num_attention_heads=0),
    "a small vocabulary": lambda f: change(f / "config.json", vocab_size=10),
    "padding far away": lambda f: change(f / "config.json", pad_token_id=10**9),
    "dropout that is no number": lambda f: change(f / "config.json", hidden_dropout_prob="x"),
    "a list as kind": lambda f: change(f / "config.json", model_type=["bert"]),
    "a list as quantization": lambda f: change(f / "config.json", quantization_config=[1]),
    "a type that is a module": lambda f: change(f / "config.json", dtype="os"),
    "a thousand million labels": lambda f: change(f / "config.json", num_labels=10**9),
    "a million layers": lambda f: change(f / "config.json", num_hidden_layers=10**6),
    "code for attention": lambda f: change(f / "config.json", attn_implementation="evil/kernels"),
    "config.json is a list": lambda f: (f / "config.json").write_text("[]"),
    "config.json is deep": lambda f: (f / "config.json").write_text("[" * 100_000),
    "tokenizer.json is cut off": lambda f: (f / "tokenizer.json").write_text("{"),
    "1_Pooling is cut off": lambda f: (f / "1_Pooling" / "config.json").write_text("{"),
    "tokenizer_config.json is a list": lambda f: (f / "tokenizer_config.json").write_text("[]"),
    "a pipe": lambda f: (
        ((f / "config.json").rename(f / "c"), os.mkfifo(f / "generation_config.json"))
        and (f / "c").rename(f / "config.json")
    ),
    "adapters beside the model": lambda f: change(f / "adapter_config.json", peft_type="LORA", r=2),
    "weights that are none": lambda f: (f / "model.safetensors").write_bytes(b"x" * 50),
    "weights with a giant header": lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 50),
    "a checkpoint of torch.distributed": lambda f: (f / ".metadata").write_bytes(b"\x80"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_in_a_folder_is_one_sentence(folder: Path, kind: str) -> None:
    WRONG[kind](folder)
    with pytest.raises(WarmstartError) as error:
        load(folder)
    assert error.value.hint and len(error.value.message) < 1_000


def test_outputs_that_a_config_asks_for_do_not_change_what_a_body_gives(folder: Path) -> None:
    change(folder / "config.json", output_hidden_states=True, output_attentions=True, return_dict=False)
    load(folder)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "pytorch_model.bin", "missing.safetensors"])
def test_weights_are_read_from_inside_the_folder_alone(folder: Path, name: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    parts = dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": parts}))
    with pytest.raises(InputError, match=r"index\.json names"):
        load(folder)


def test_a_fingerprint_changes_with_any_file_that_counts(folder: Path) -> None:
    before = fingerprint(str(folder))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= before.keys()
    (folder / "README.md").write_text("x")
    assert fingerprint(str(folder)) == before
    tensors = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    save_file(tensors | {name: tensors[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    assert [k for k, v in fingerprint(str(folder)).items() if v != before[k]] == ["model.safetensors"]


def test_a_base_of_the_hub_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    commit = "a" * 40
    repository = tmp_path / "models--org--name"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert hub_revision("org/name") == commit
    assert hub_revision("org/other") is None and hub_revision(str(tmp_path)) is None
