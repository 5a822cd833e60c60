"""Store: is a model in its folder whole, and is a folder that is not refused in plain words?"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.decoders import language_draw
from tests.tiny import REGRESSION, tiny_draw
from warmstart.errors import InputError, MissingError, UsageError
from warmstart.inference.model_store import Network, load_model, save_model, save_network
from warmstart.models.dnn import Size
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.regimes import DEFAULTS, LANGUAGE_DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Pretrained, Scratch, Start, dnn, from_file
from warmstart.results.bootstrap import mean_score
from warmstart.runs.run import TunedRegime, train_run
from warmstart.runtime.files import find_portable, write_json
from warmstart.training.build_model import start_model
from warmstart.training.config import TrainConfig

CODE = """
import torch
from torch import nn


class Convolution(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.width = 8
        self.embed = nn.Embedding(vocabulary, 8)
        self.convolve = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, input_ids, attention_mask=None):
        return torch.relu(self.convolve(self.embed(input_ids).transpose(1, 2))).transpose(1, 2)


def build(vocabulary):
    return Convolution(vocabulary)


def other(vocabulary):
    return Convolution(vocabulary + 1)
"""


def saved(start: Start, folder: Path) -> tuple[Model, np.ndarray]:
    """An untrained model in a folder, with its outputs."""
    run_data = tiny_draw(REGRESSION)
    body = start.body(0)
    model = Model(body, run_data.task.head(getattr(body, "width", 16), 0), start.pooling).eval()
    save_model(
        folder,
        save_network(folder, model, start, run_data.task) | {"regime": "some"},
        run_data.task,
        run_data.schema,
        {"quantile": 1.0},
    )
    return model, Network(model, start.inputs).outputs(run_data.splits.test.texts)


def test_a_hashed_network_comes_back_in_its_size(tmp_path: Path) -> None:
    _, expected = saved(dnn(Size(features=300, width=24, depth=3)), tmp_path)
    stored = load_model(tmp_path)
    assert (stored.predictor.outputs(tiny_draw(REGRESSION).splits.test.texts) == expected).all()
    assert (stored.calibration, stored.regime) == ({"quantile": 1.0}, "some")


def test_an_architecture_of_one_s_own_goes_through_run_store_and_load(base: Base, tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    path.write_text(CODE)
    run_data = tiny_draw(REGRESSION)
    build = from_file(f"{path}:build", len(base.inputs.tokenizer))
    regime = Regime("scratch-build", Scratch(build, base.inputs, base.pooling), (Stage(Full()),), DEFAULTS["scratch"])
    steps = train_run(TunedRegime(regime, TrainConfig(steps=20, lr=1e-2, batch_size=8)), run_data, tmp_path / "run")
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            done = stop.value
            break
    assert (done.family, done.start) == ("scratch", "random weights") and done.test is not None
    stored = load_model(tmp_path / "run", code=f"{path}:build")
    outputs = stored.predictor.outputs(run_data.splits.test.texts)
    again = stored.task.predictions(outputs, stored.calibration)["prediction"]
    np.testing.assert_allclose(again, done.predictions["prediction"], rtol=1e-5)
    by_function = load_model(tmp_path / "run", build=build).predictor.outputs(run_data.splits.test.texts)
    assert (by_function == outputs).all()
    with pytest.raises(UsageError, match=r"an architecture of its own .*\nhint: name the code .*--model file.py:"):
        load_model(tmp_path / "run")
    with pytest.raises(UsageError, match=r"do not fit the given code: size mismatch for embed.weight"):
        load_model(tmp_path / "run", code=f"{path}:other")


def test_adapters_are_small_and_name_their_base(base: Base, tmp_path: Path) -> None:
    run_data = tiny_draw(REGRESSION)
    body = LoRA(rank=2).prepare(Pretrained(base).body(0))
    model = Model(body, run_data.task.head(16, 0))
    facts = save_network(tmp_path, model, Pretrained(base), run_data.task) | {"regime": "lora"}
    save_model(tmp_path, facts, run_data.task, run_data.schema, {})
    assert not (tmp_path / "body").exists()
    named = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert not Path(named).is_absolute() and find_portable(named, tmp_path) == Path(base.location)
    facts["body"]["base"] = "no_such_base"
    save_model(tmp_path, facts, run_data.task, run_data.schema, {})
    with pytest.raises(MissingError, match=r"holds adapters for the base 'no_such_base', which is not here"):
        load_model(tmp_path)


def test_adapters_for_a_base_in_a_folder_are_loaded_from_any_other(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(base.location).parent)
    run_data, start = tiny_draw(REGRESSION), Pretrained(find_base(Path(base.location).name))
    model = Model(LoRA(rank=2).prepare(start.body(0)), run_data.task.head(16, 0))
    facts = save_network(tmp_path / "run", model, start, run_data.task) | {"regime": "lora"}
    save_model(tmp_path / "run", facts, run_data.task, run_data.schema, {})
    monkeypatch.chdir(tmp_path)
    assert load_model(tmp_path / "run").regime == "lora"


def test_an_output_layer_that_the_base_has_not_learns_and_is_kept_beside_the_adapters(
    base: Base, tmp_path: Path
) -> None:
    plain = language_draw()
    run_data = replace(plain, schema=replace(plain.schema, task="masked-lm"))
    regime = Regime("lora", Pretrained(base), (Stage(LoRA(rank=2)),), LANGUAGE_DEFAULTS["lora"])
    steps = train_run(TunedRegime(regime, TrainConfig(steps=3, lr=1e-2, batch_size=8)), run_data, tmp_path / "run")
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            done = stop.value
            break
    stored, test = load_model(tmp_path / "run"), run_data.splits.test
    found = stored.task.score(stored.predictor.outputs(test.texts), stored.task.targets(test), stored.calibration)
    assert mean_score(found) == pytest.approx(done.test, rel=1e-5)
    learned = load_file(tmp_path / "run" / "head.safetensors")
    drawn = start_model(regime, run_data.task, 0).head.state_dict()
    assert learned.keys() == drawn.keys() and not any(torch.equal(learned[name], drawn[name]) for name in drawn)
    (tmp_path / "run" / "head.safetensors").unlink()
    with pytest.raises(InputError, match=r"head\.safetensors is not there: the model is not whole"):
        load_model(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "model.json").read_text())
    del facts["files"]  # as earlier versions wrote it
    write_json(tmp_path / "run" / "model.json", facts)
    with pytest.raises(InputError, match=r"lacks the output layer .*: earlier versions left it out"):
        load_model(tmp_path / "run")


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no trained model"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match=r"another version \(format 99\)"):
        load_model(tmp_path)


def test_nothing_in_a_model_s_folder_is_pickled(base: Base, tmp_path: Path) -> None:
    saved(Pretrained(base), tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}
