"""Starts: is a base found where people say it is, and named in the error where it is not?"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from warmstart.errors import MissingError, UsageError
from warmstart.models.pretrained import base as weights
from warmstart.models.pretrained.base import Base, find_base, language_output
from warmstart.regimes.starts import Architecture, Pretrained, Scratch, from_file


@pytest.mark.parametrize(
    "flag, expected",
    [("mean_tokens", "mean"), ("cls_token", "cls"), ("lasttoken", "last"), ("max_tokens", "mean")],
)
def test_the_base_s_own_pooling_is_read(flag: str, expected: str, base: Base, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base.location, folder)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{flag}": True}))
    assert find_base(str(folder)).pooling == expected


def test_a_base_is_a_folder_or_a_package_that_carries_one(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carries_weights"
    shutil.copytree(base.location, package / "inner" / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = find_base("carries_weights", max_length=16)
    assert (found.name, found.location) == ("carries_weights", str(package / "inner" / "model"))
    assert (found.reads, found.inputs.max_length) == (64, 16)
    assert find_base(base.location).inputs.max_length == 64  # no longer than the base reads


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"base 'no_such' is neither a folder .*\nhint: name a folder"):
        find_base("no_such")
    with pytest.raises(MissingError, match=r"has no config\.json"):
        find_base(str(tmp_path))


def test_a_base_without_weights_is_named(base: Base, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(base.location, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(MissingError, match=r"the weights of base .* could not be loaded"):
        Pretrained(find_base(str(folder))).body(0)


def test_dropout_can_be_set_for_both_ways(base: Base) -> None:
    bodies = (Pretrained(base, 0.37).body(0), Architecture(base, 0.0)(), Pretrained(base).body(0))
    for body, expected in zip(bodies, (0.37, 0.0, 0.1), strict=True):
        assert {m.p for m in body.modules() if isinstance(m, torch.nn.Dropout)} == {expected}


@pytest.mark.parametrize("kind", ["deberta-v2", "gemma2", "bloom"])
def test_a_family_without_torch_s_own_attention_is_a_base_too(kind: str, base: Base, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    shutil.copytree(base.location, tmp_path, dirs_exist_ok=True)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    more = {"head_dim": 8, "num_key_value_heads": 1} if kind == "gemma2" else {}
    AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=120, **sizes, **more)).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(said | {"_attn_implementation": "flash_attention_2"}))
    found = find_base(str(tmp_path))
    for body in (Pretrained(found).body(0), Scratch(Architecture(found), found.inputs).body(0)):
        assert body(input_ids=torch.arange(8)[None]).last_hidden_state.shape == (1, 8, 16)
    if kind != "deberta-v2":
        assert language_output(found).tied


@pytest.mark.parametrize("kind", ["bert", "mpnet", "longformer"])
def test_a_base_reads_as_many_tokens_as_it_can_number(kind: str, base: Base, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    shutil.copytree(base.location, tmp_path, dirs_exist_ok=True)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = AutoConfig.for_model(kind, vocab_size=120, max_position_embeddings=40, pad_token_id=1, **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    found = find_base(str(tmp_path), max_length=1000)
    batch = found.inputs.encode(["oak " * 60]).batch(np.array([0]))
    assert Pretrained(found).body(0)(**batch).last_hidden_state.shape[1] == 40 - 2 * (kind != "bert")


def test_scratch_is_the_base_s_own_architecture(base: Base) -> None:
    pretrained, scratch = Pretrained(base).body(0), Architecture(base)()
    shapes = [{name: p.shape for name, p in body.named_parameters()} for body in (pretrained, scratch)]
    assert shapes[0] == shapes[1]
    assert not any("pooler" in name for name in shapes[0])  # nothing reads it


@pytest.mark.parametrize(
    "spec, message",
    [("network.py", "does not name a file and a function"), ("{}:nothing", "has no function 'nothing'")],
)
def test_code_that_is_not_there_is_named(spec: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    path.write_text("def build(vocabulary): ...")
    with pytest.raises(UsageError, match=message):
        from_file(spec.format(path), 10)


def test_a_large_base_is_read_again_instead_of_kept(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Pretrained(base).body(0)
    monkeypatch.setattr(weights, "KEPT_BYTES", 0)
    monkeypatch.setattr(weights, "_loaded", None)
    first, second = Pretrained(base).body(0), Pretrained(base).body(0)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, kept.state_dict()[name]) and torch.equal(tensor, second.state_dict()[name])
        assert tensor.data_ptr() != second.state_dict()[name].data_ptr()
