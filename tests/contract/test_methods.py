"""The contract of methods: what each one keeps, whatever it trains. A new method is one row in METHODS."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import STEPS, Tower, a_batch, model_of, train_steps
from warmstart.inference.model_store import Network, load_model, save_model, save_network
from warmstart.models.evaluate import outputs
from warmstart.models.layers import Layer, layers
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.regimes.lora import LoRA, merge_adapters
from warmstart.regimes.method import Method, Rates
from warmstart.regimes.regimes import METHODS
from warmstart.regimes.starts import Pretrained
from warmstart.training.loop import start_training
from warmstart.training.run_data import RunData

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
FOUR_BIT_ERROR = 0.2  # what rounding the weights to 4 bits may change


def made(method: Method, base: Base, run_data: RunData) -> tuple[Model, Rates]:
    return model_of(method, Pretrained(base).body(0), run_data.task)


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@every_method
def test_what_has_no_rate_does_not_move(method: Method, base: Base, regression: RunData) -> None:
    model, rates = made(method, base, regression)
    before = parameters_of(model)
    train_steps(model, rates, regression, base)
    for name in before.keys() - rates.keys():
        assert torch.equal(model.get_parameter(name), before[name]), name


@every_method
def test_what_has_a_rate_moves(method: Method, base: Base, regression: RunData) -> None:
    model, rates = made(method, base, regression)
    before = parameters_of(model)
    train_steps(model, rates, regression, base)
    for name in rates:
        assert not torch.equal(model.get_parameter(name), before[name]), name


@every_method
def test_adapters_are_what_preparing_adds(method: Method, base: Base) -> None:
    plain = method.unquantized()
    assert not plain.quantized and (plain == method) != method.quantized
    before = {name for name, _ in Pretrained(base).body(0).named_parameters()}
    after = {name for name, _ in plain.prepare(Pretrained(base).body(0)).named_parameters()}
    assert (after != before) == method.adapters == plain.adapters


@every_method
def test_preparing_keeps_the_function(method: Method, base: Base, regression: RunData) -> None:
    body, batch = Pretrained(base).body(0).eval(), a_batch(regression, base)
    before = body(**batch.inputs).last_hidden_state
    after = method.prepare(body).eval()(**batch.inputs).last_hidden_state
    error = (after - before).abs().mean() / before.abs().mean()
    assert error <= (FOUR_BIT_ERROR if method.quantized else 1e-5)


@every_method
def test_a_prediction_leaves_every_weight_as_it_is(method: Method, base: Base, regression: RunData) -> None:
    model, _ = made(method, base, regression)
    before = parameters_of(model)
    with torch.no_grad():
        model.eval()(a_batch(regression, base).inputs)
    after = parameters_of(model)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert weight.shape == after[name].shape and torch.equal(weight, after[name]), name


@every_method
def test_same_seed_same_losses(method: Method, base: Base, regression: RunData) -> None:
    first, again = (train_steps(*made(method, base, regression), regression, base) for _ in range(2))
    assert first == again
    other = train_steps(*made(method, base, regression), regression, base, replace(STEPS, seed=1))
    assert [step.loss for step in first] != [step.loss for step in other]


@every_method
def test_rates_name_real_parameters_and_the_head_learns_at_full_rate(
    method: Method, base: Base, regression: RunData
) -> None:
    model, rates = made(method, base, regression)
    assert rates.keys() <= dict(model.named_parameters()).keys()
    assert {name: rates.get(name) for name in ("head.1.weight", "head.1.bias")} == dict.fromkeys(
        ("head.1.weight", "head.1.bias"), 1.0
    )
    assert all(0 < rate <= 1 for rate in rates.values())


@every_method
def test_the_optimizer_gets_the_rates(method: Method, base: Base, regression: RunData) -> None:
    model, rates = made(method, base, regression)
    state = start_training(model, rates, STEPS)
    given = {id(p): group["lr"] for group in state.optimizer.param_groups for p in group["params"]}
    assert given == {id(model.get_parameter(name)): STEPS.lr * rate for name, rate in rates.items()}
    assert {id(p) for p in model.parameters() if p.requires_grad} == given.keys()


def frozen_below(model: Model, rates: Rates) -> list[Layer]:
    """The layers below the lowest one that learns."""
    found = layers(model)
    lowest = next(i for i, layer in enumerate(found) if any(name in rates for name in layer.parameters))
    return found[:lowest]


@every_method
def test_frozen_layers_stay_in_evaluation_mode(method: Method, base: Base, regression: RunData) -> None:
    model, rates = made(method, base, regression)
    start_training(model, rates, STEPS)
    for layer in layers(model):
        learns = any(name in rates for name in layer.parameters)
        modules = [part for module in layer.modules for part in module.modules()]
        assert all(module.training == learns for module in modules), layer.name
    batch = a_batch(regression, base)
    still = [module for layer in frozen_below(model, rates) for module in layer.modules]
    seen: list[Tensor] = []

    def keep(module: nn.Module, arguments: object, output: Tensor | tuple[Tensor, ...]) -> None:
        seen.append(output if isinstance(output, Tensor) else output[0])

    hooks = [module.register_forward_hook(keep) for module in still]
    first, second = model(batch.inputs), model(batch.inputs)
    for hook in hooks:
        hook.remove()
    assert not torch.equal(first, second)  # what learns has its dropout
    half = len(seen) // 2
    assert bool(still) == bool(half)
    assert all(torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True))


@every_method
def test_layers_that_cannot_learn_keep_their_statistics(method: Method, base: Base, regression: RunData) -> None:
    model, rates = model_of(method, Tower(len(base.inputs.tokenizer)), regression.task)
    before = copy.deepcopy(dict(model.named_buffers()))
    train_steps(model, rates, regression, base)
    moved = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])}
    learning = [layer for layer in layers(model)[1:-1] if any(name in rates for name in layer.parameters)]
    assert {name.rpartition(".")[0] for name in moved} == {f"{layer.name}.1" for layer in learning}


def stored(method: Method, base: Base, run_data: RunData, folder: Path) -> Model:
    """A model of this method, trained a little and saved."""
    model, rates = made(method, base, run_data)
    train_steps(model, rates, run_data, base, replace(STEPS, lr=1e-2))
    model.eval()
    facts = save_network(folder, model, Pretrained(base), run_data.task)
    save_model(folder, facts | {"regime": "some"}, run_data.task, run_data.schema, {})
    return model


@every_method
def test_saved_and_loaded_gives_identical_outputs(
    method: Method, base: Base, regression: RunData, tmp_path: Path
) -> None:
    model = stored(method, base, regression, tmp_path)
    texts = regression.splits.test.texts
    loaded = load_model(tmp_path)
    expected = Network(model, base.inputs).outputs(texts)
    assert (loaded.predictor.outputs(texts) == expected).all()
    assert loaded.task == regression.task and loaded.schema == regression.schema


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's business with transformers
@every_method
def test_other_tools_load_what_was_saved(method: Method, base: Base, regression: RunData, tmp_path: Path) -> None:
    """Plain `AutoModel`, or `PeftModel` on the plain base."""
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer, BitsAndBytesConfig

    model = stored(method, base, regression, tmp_path)
    if isinstance(method, LoRA):
        four_bit = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
        bare = AutoModel.from_pretrained(base.location, quantization_config=four_bit if method.quantize else None)
        for module in bare.modules():  # on a CPU with bf16, bitsandbytes' own product wants widths that 32 divides
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        theirs = PeftModel.from_pretrained(bare, tmp_path / "adapter").eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    else:
        theirs = AutoModel.from_pretrained(tmp_path / "body").eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "body")
    batch = tokenizer(list(regression.splits.test.texts[:8]), padding=True, return_tensors="pt")
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        ours, found = model.body(**given).last_hidden_state, theirs(**given).last_hidden_state
    torch.testing.assert_close(found, ours, atol=1e-5, rtol=0)
    with torch.no_grad():
        untrained = Pretrained(base).body(0).eval()(**given).last_hidden_state
    changed = (untrained - ours).abs().max() > 1e-3
    assert changed == any(name.startswith("body.") for name in method.rates(model))


@pytest.mark.parametrize("name", ["lora", "qlora"])
def test_adapters_reach_every_linear_layer_of_the_blocks_and_merge_away(
    name: str, base: Base, regression: RunData
) -> None:
    model, rates = made(METHODS[name], base, regression)
    adapted = {key.partition(".lora_")[0] for key in rates if ".lora_" in key}
    assert len(adapted) == 2 * 6  # query, key, value, attention output, two of the feed-forward part
    train_steps(model, rates, regression, base, replace(STEPS, lr=1e-2))
    examples = regression.shared.examples(
        base.inputs, regression.splits.test, regression.task.targets(regression.splits.test)
    )
    before = outputs(model, examples)
    if name == "lora":
        model.body = merge_adapters(model.body)
        assert not any("lora" in key for key, _ in model.named_parameters())
        assert abs(outputs(model, examples) - before).max() < 1e-5
