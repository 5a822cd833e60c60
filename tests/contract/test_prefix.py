"""The contract of the frozen prefix: with it or without it, the same training, and nothing is computed twice."""

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel, PretrainedConfig

from tests.tiny import REGRESSION, tiny_draw
from tests.tiny import carried_out as to_its_end
from warmstart.data.encoding.inputs import Inputs
from warmstart.models.evaluate import outputs
from warmstart.models.layers import blocks_path
from warmstart.models.partial_forward import frozen_depth
from warmstart.models.pretrained.base import Base
from warmstart.regimes.discriminative import Discriminative
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.method import Method
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Scratch
from warmstart.results.record import Run
from warmstart.runs.run import TunedRegime, train_run
from warmstart.training import frozen_prefix
from warmstart.training.build_model import start_model
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event, Step
from warmstart.training.frozen_prefix import PrefixCache, SharedData, use_prefix_cache
from warmstart.training.loop import set_trainable
from warmstart.training.run_data import RunData
from warmstart.training.stages import TrainedStages, train_stages

CONFIG = TrainConfig(steps=16, lr=5e-3, batch_size=8)
LATENCY_CALLS = 10  # single texts through the whole model, to time it
SAVED_CALLS = 2  # a few rows through the saved model and the one that was trained
# Attention does not notice the same shift of all keys: here the gradient is rounding, of which AdamW makes whole steps.
WITHOUT_GRADIENT = ("key.bias", "c_attn.bias")

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "initializer_range": 0.2}
CONFIGS: dict[str, Callable[[int], PretrainedConfig]] = {
    "bert": lambda words: BertConfig(vocab_size=words, intermediate_size=32, max_position_embeddings=64, **SIZES),
    "llama": lambda words: LlamaConfig(
        vocab_size=words, intermediate_size=32, max_position_embeddings=64, attention_dropout=0.1, **SIZES
    ),
    "gpt2": lambda words: GPT2Config(
        vocab_size=words, n_embd=16, n_layer=3, n_head=2, n_positions=64, initializer_range=0.2
    ),
}
MODELS = {"bert": BertModel, "llama": LlamaModel, "gpt2": GPT2Model}
ABOVE: dict[str, Method] = {
    "frozen": Frozen(),
    "top-layers": Frozen(unfrozen=1),
    "lora": LoRA(rank=4, layers=1),
    "discriminative": Discriminative(frozen=3),
}
every_case = pytest.mark.parametrize(
    ("kind", "method"),
    # GPT-2 has no nn.Linear for adapters to stand beside
    [(kind, name) for kind in CONFIGS for name in ABOVE if (kind, name) != ("gpt2", "lora")],
)


@dataclass
class Made:
    """A start whose bodies have the same weights for every seed; counts how often their lowest block computes."""

    build: Callable[[], nn.Module]
    inputs: Inputs
    weights: int = 0  # another number, other weights
    pooling: str = "mean"
    dropout: float | None = None
    base: None = None
    columns: None = None
    head: None = None
    name: str = "made"
    family: str = "fine-tuned"
    calls: list[int] = field(default_factory=list)

    def fitted(self, *rows: object) -> "Made":
        return self

    def body(self, seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(self.weights)
            body = self.build()
        lowest = next(body.get_submodule(blocks_path(body)).children())
        next(lowest.children()).register_forward_hook(lambda *_: self.calls.append(1))
        return body


def made(kind: str, base: Base) -> Made:
    words = len(base.inputs.tokenizer)
    pooling = "mean" if kind == "bert" else "last"

    def build() -> nn.Module:
        body: nn.Module = MODELS[kind](CONFIGS[kind](words))
        if kind == "bert":
            body.pooler = None  # type: ignore[assignment]
        return body

    return Made(build, base.inputs, pooling=pooling)


def fresh() -> RunData:
    return tiny_draw(REGRESSION)


def carried_out(start: Made, method: Method, run_data: RunData, **changes: object) -> tuple[list[Step], TrainedStages]:
    regime = Regime("some", start, (Stage(method),), DEFAULTS["full"])
    steps: Generator[Event, None, TrainedStages] = train_stages(
        regime, replace(CONFIG, **changes), run_data, evaluations=2
    )
    return to_its_end(steps)


def scored(trained: TrainedStages, start: Made, run_data: RunData, whole: bool = False) -> np.ndarray:
    examples = run_data.shared.examples(start.inputs, run_data.splits.test, run_data.task.targets(run_data.splits.test))
    if whole:
        return outputs(trained.model, examples)
    with use_prefix_cache(trained.model, trained.reads):
        return outputs(trained.model, replace(examples, encoded=trained.reads))


def alike(cached: tuple[list[Step], TrainedStages], computed: tuple[list[Step], TrainedStages]) -> None:
    np.testing.assert_allclose([s.loss for s in cached[0]], [s.loss for s in computed[0]], atol=1e-6, rtol=0)
    weights, expected = cached[1].model.state_dict(), computed[1].model.state_dict()
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        if name.endswith(WITHOUT_GRADIENT):
            continue
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0, msg=name)
    assert cached[1].train_flops == computed[1].train_flops


@every_case
def test_training_on_a_stored_prefix_is_training_on_the_whole(
    kind: str, method: str, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, run_data = made(kind, base), fresh()
    cached = carried_out(start, ABOVE[method], run_data)
    assert isinstance(cached[1].reads, PrefixCache)
    once = len(start.calls)
    np.testing.assert_allclose(
        scored(cached[1], start, run_data), scored(cached[1], start, run_data, whole=True), atol=1e-5, rtol=0
    )
    assert once <= 2 + 2  # two rows tried whole and cut, then 120 rows in two batches
    monkeypatch.setattr(frozen_prefix, "STORED_BYTES", 0)  # nothing fits
    computed = carried_out(start, ABOVE[method], fresh())
    assert not isinstance(computed[1].reads, PrefixCache)
    alike(cached, computed)


@pytest.mark.parametrize("kind", CONFIGS)
def test_another_seed_rate_or_regime_computes_nothing_below(kind: str, base: Base) -> None:
    start, run_data = made(kind, base), fresh()
    _, first = carried_out(start, Frozen(unfrozen=1), run_data)
    start.calls.clear()
    same = [
        carried_out(start, Frozen(unfrozen=1), run_data, seed=1),
        carried_out(start, Frozen(unfrozen=1), run_data, lr=1e-3),
    ]
    same.append(carried_out(start, Discriminative(frozen=3), run_data))
    if kind != "gpt2":
        same.append(carried_out(start, LoRA(layers=1), run_data))
    assert all(trained.reads is first.reads for _, trained in same) and not start.calls
    _, deeper = carried_out(start, Frozen(unfrozen=2), run_data)
    assert deeper.reads is not first.reads and start.calls


def test_other_weights_below_are_computed_anew(base: Base) -> None:
    start, run_data = made("bert", base), fresh()
    _, first = carried_out(start, Frozen(unfrozen=1), run_data)
    other = replace(start, weights=1)
    _, second = carried_out(other, Frozen(unfrozen=1), run_data)
    assert second.reads is not first.reads
    np.testing.assert_allclose(
        scored(second, other, run_data), scored(second, other, run_data, whole=True), atol=1e-5, rtol=0
    )


def test_a_later_stage_reads_what_the_stages_before_made_of_the_body(base: Base) -> None:
    start, run_data = made("bert", base), fresh()
    stages = (Stage(Full(), share=0.5), Stage(Frozen(unfrozen=1), share=0.5))
    steps = train_stages(Regime("some", start, stages, DEFAULTS["full"]), CONFIG, run_data, evaluations=1)
    with pytest.raises(StopIteration) as stop:
        while True:
            next(steps)
    assert isinstance(stop.value.value.reads, PrefixCache)
    found = scored(stop.value.value, start, run_data)
    np.testing.assert_allclose(found, scored(stop.value.value, start, run_data, whole=True), atol=1e-5, rtol=0)


def test_a_run_scores_its_rows_on_the_prefix_and_times_the_whole_model(base: Base, tmp_path: Path) -> None:
    counted, run_data = made("bert", base), fresh()
    start = Scratch(lambda: counted.body(0), base.inputs)
    regime = Regime("some", start, (Stage(Frozen(unfrozen=1)),), DEFAULTS["full"])
    for name in ("first", "again"):
        counted.calls.clear()
        steps: Generator[Event, None, Run] = train_run(TunedRegime(regime, CONFIG), run_data, tmp_path / name)
        with pytest.raises(StopIteration):
            while True:
                next(steps)
    assert len(counted.calls) == LATENCY_CALLS + SAVED_CALLS


class Mixing(nn.Module):
    """A body whose output is the mean over all its blocks: it cannot go on from the last of them."""

    width = 16

    def __init__(self, words: int):
        super().__init__()
        self.embed = nn.Embedding(words, 16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(3))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        seen = [self.embed(input_ids)]
        for block in self.blocks:
            seen.append(block(seen[-1]))
        return torch.stack(seen).mean(0)


class Paired(Mixing):
    """A body whose blocks are not called with hidden states alone, and give more than them."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x, total = self.embed(input_ids), torch.zeros(())
        for block in self.blocks:
            x, total = block((x, total))
        return x + total


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.tanh(self.linear(pair[0])), pair[1] + pair[0].mean()


def paired(words: int) -> nn.Module:
    body = Paired(words)
    body.blocks = nn.ModuleList(Pair() for _ in range(3))
    return body


@pytest.mark.parametrize("build", [Mixing, paired], ids=["wrong", "raises"])
def test_a_body_that_cannot_be_cut_is_computed_whole(build: Callable[[int], nn.Module], base: Base) -> None:
    start, run_data = Made(lambda: build(len(base.inputs.tokenizer)), base.inputs), fresh()
    steps, trained = carried_out(start, Frozen(unfrozen=1), run_data)
    assert not isinstance(trained.reads, PrefixCache) and len(steps) == CONFIG.steps
    assert list(run_data.shared._stored.values()) == [None]  # remembered
    _, probe = carried_out(start, Frozen(), run_data)
    assert isinstance(probe.reads, PrefixCache)  # whole, it may well be stored


def test_blocks_that_give_tuples_are_passed_over_with_tuples(base: Base) -> None:
    class Old(Paired):
        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            x = self.embed(input_ids)
            for block in self.blocks:
                x, _ = block((x, x))
            return x

    def build() -> nn.Module:
        body = Old(len(base.inputs.tokenizer))
        body.blocks = nn.ModuleList(Pair() for _ in range(3))
        return body

    start, run_data = Made(build, base.inputs), fresh()
    _, trained = carried_out(start, Frozen(unfrozen=1), run_data)
    assert isinstance(trained.reads, PrefixCache)
    np.testing.assert_allclose(
        scored(trained, start, run_data), scored(trained, start, run_data, whole=True), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("method", "depth"), [(Full(), 0), (Frozen(unfrozen=3), 0), (Frozen(unfrozen=2), 1), (Frozen(), None)]
)
def test_the_cut_is_below_the_lowest_layer_that_learns(method: Method, depth: int | None, base: Base) -> None:
    start, run_data = made("llama", base), fresh()
    model = start_model(Regime("some", start, (Stage(method),), DEFAULTS["full"]), run_data.task, 0)
    set_trainable(model, method.rates(model))
    assert frozen_depth(model) == depth
    assert isinstance(run_data.shared.below(model, start.inputs), PrefixCache) == (depth != 0)


def test_what_was_not_used_for_longest_makes_room(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    start, run_data = made("bert", base), fresh()
    shared: SharedData = run_data.shared
    _, first = carried_out(start, Frozen(unfrozen=1), run_data)
    assert isinstance(first.reads, PrefixCache)
    monkeypatch.setattr(frozen_prefix, "STORED_BYTES", first.reads.values.nbytes + 120 * 16 * 4)
    _, probe = carried_out(start, Frozen(), run_data)
    carried_out(start, Frozen(unfrozen=1), run_data)  # used again: the probe's is the older one
    _, other = carried_out(replace(start, weights=1), Frozen(), run_data)
    kept = [stored for stored in shared._stored.values() if stored is not None]
    assert kept[0] is first.reads and kept[1] is other.reads and probe.reads not in kept


def test_a_model_is_whole_again_after_an_interruption_and_no_file_is_left(base: Base, tmp_path: Path) -> None:
    start, run_data = made("bert", base), fresh()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path))
        _, trained = carried_out(start, Frozen(unfrozen=1), run_data)
        assert not os.listdir(tmp_path)
    before = scored(trained, start, run_data, whole=True)
    with pytest.raises(KeyboardInterrupt), use_prefix_cache(trained.model, trained.reads):
        raise KeyboardInterrupt
    assert (scored(trained, start, run_data, whole=True) == before).all()
    assert not any("forward" in vars(module) for module in trained.model.modules())
