"""LoRA: the base stays; low-rank updates beside its linear layers learn, and so does the head. Through PEFT."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from warmstart.errors import MissingError, UsageError
from warmstart.methods.method import Rates
from warmstart.models.layers import blocks_path
from warmstart.models.model import UNPOOLED, Model

TRANSPOSED = "Conv1D"  # GPT-2's linear layers: the weight is [in, out]
PLACE = "base_model.model."  # before every name in PEFT's files


@dataclass(frozen=True)
class LoRA:
    """Adapters of `rank` on every linear layer of the repeated blocks, or of the top `layers` of them (Hu et al. 2021).

    The update is scaled by alpha / sqrt(rank) (rank-stabilised, Kalajdzievski 2023), so that the best rate hardly
    depends on the rank. `quantize="nf4"` holds the frozen weights in 4 bits (QLoRA, Dettmers et al. 2023).
    """

    rank: int = 16
    alpha: float = 16.0
    quantize: Literal["nf4"] | None = None
    layers: int | None = None  # None: all

    @property
    def words(self) -> str:
        where = "all linear layers" if self.layers is None else f"the linear layers of the top {self.layers} blocks"
        return f"adapters of rank {self.rank} on {where}" + (", base in 4 bits" if self.quantize else "")

    def prepare(self, body: nn.Module) -> nn.Module:
        from peft import inject_adapter_in_model

        if self.quantize:
            quantize(body, linear_names(body))
        names = linear_names(body, self.layers)
        transposed = any(type(body.get_submodule(name)).__name__ == TRANSPOSED for name in names)
        adapted: nn.Module = inject_adapter_in_model(self.config(names, transposed), body)
        return adapted

    def config(self, targets: list[str], transposed: bool = False) -> Any:
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            use_rslora=True,
            lora_dropout=0.0,
            target_modules=targets,
            fan_in_fan_out=transposed,
        )

    def rates(self, model: Model) -> Rates:
        names = (name for name, _ in model.named_parameters())
        learns = model.pooling != UNPOOLED  # the base's own output layer is no new head: it stays as it is
        return {name: 1.0 for name in names if ".lora_" in name or (learns and name.startswith("head."))}


def linear_names(body: nn.Module, top: int | None = None) -> list[str]:
    """The linear layers of the repeated blocks, or of the `top` ones, by their full names in the body."""
    path = blocks_path(body)
    blocks = body.get_submodule(path)
    places = [place for place, _ in blocks.named_children()]
    if top is not None and not 0 < top <= len(places):
        raise UsageError(f"{top} layers cannot have adapters: the body has {len(places)}.", "ask for 1 or more of them")
    chosen = set(places[-top if top else None :])
    linear = [name for name, module in blocks.named_modules() if _is_linear(module)]
    return [f"{path}.{name}" for name in linear if name.partition(".")[0] in chosen]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == TRANSPOSED


def quantize(body: nn.Module, names: list[str]) -> None:
    """Hold these linear layers in 4 bits (nf4, double quantisation), computing in the precision they had."""
    try:
        import bitsandbytes as bnb
    except ImportError as error:
        raise MissingError("4-bit weights need the package bitsandbytes.", "pip install 'warmstart[qlora]'") from error
    for name in names:
        linear = body.get_submodule(name)
        if not isinstance(linear, nn.Linear):
            raise UsageError(
                f"the layers of {type(body).__name__} cannot be held in 4 bits: they are transposed.",
                "leave out --quantize, or name a base of Llama's kind",
            )
        small = bnb.nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=linear.weight.dtype,
            quant_type="nf4",
        )
        small.weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
        if linear.bias is not None:
            small.bias = nn.Parameter(linear.bias.data)
        body.set_submodule(name, small.to(linear.weight.device))  # .to() is what quantises


def save_adapter(body: nn.Module, base: str, folder: Path, *, language: bool = False) -> None:
    """PEFT's own format, so that `PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder)` loads it.

    `language`: AutoModelForCausalLM instead, where the body is a part under a name of its own.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config: Any = vars(body)["peft_config"]["default"]
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.task_type = "CAUSAL_LM" if language else None
    config.save_pretrained(folder)
    weights = get_peft_model_state_dict(body)
    place = PLACE + _inner(body, config)
    named = {f"{place}{name}": tensor.detach().contiguous() for name, tensor in weights.items()}
    save_file(named, folder / "adapter_model.safetensors")


def _inner(body: nn.Module, config: Any) -> str:
    """Where the body lies in the model that the adapters are for."""
    return f"{body.base_model_prefix}." if config.task_type == "CAUSAL_LM" else ""


def load_adapter(body: nn.Module, folder: Path) -> nn.Module:
    """The adapters in `folder` put into a body that has none."""
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = LoraConfig.from_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body = inject_adapter_in_model(config, body)
    place = PLACE + _inner(body, config)
    named = {
        name.removeprefix(place): tensor for name, tensor in load_file(folder / "adapter_model.safetensors").items()
    }
    found = set_peft_model_state_dict(body, named)
    assert not found.unexpected_keys, found.unexpected_keys
    return body


def merged(body: nn.Module) -> nn.Module:
    """The body with its adapters added into the weights: no adapter left, the same function."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(body.named_modules()):
        if isinstance(module, BaseTunerLayer):
            with torch.no_grad():
                module.merge()
            body.set_submodule(name, module.get_base_layer())
    vars(body).pop("peft_config", None)
    return body
