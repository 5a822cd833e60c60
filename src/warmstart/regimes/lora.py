"""LoRA: how are low-rank adapters and the head trained while the base stays fixed? With PEFT."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from warmstart.errors import UsageError, join_phrases
from warmstart.models.encoder_decoder import is_joined
from warmstart.models.layers import repeated_blocks
from warmstart.models.model import UNPOOLED, Model
from warmstart.regimes.method import Rates
from warmstart.regimes.quantization import load_bitsandbytes, quantize
from warmstart.runtime.files import damaged, write_tensors
from warmstart.runtime.load_pretrained import load_adapter_config, tensor_shapes

TRANSPOSED = "Conv1D"  # GPT-2's linear layers: the weight is [in, out]
T5_TRANSFORMER = "transformer"  # what the bodies of its kind are called, in vain
IMAGE_BODY = "network."  # where a network for images holds the model of its family
ADAPTER_PATH = "base_model.model."  # before every name in PEFT's files


@dataclass(frozen=True)
class LoRA:
    """Adapters of `rank` on every linear layer of the repeated blocks, or of the top `layers` of them (Hu et al. 2021).

    In networks for images, on every convolution across channels too: a filter to `rank` channels, then one pixel wide.

    The update is scaled by alpha / sqrt(rank) (rank-stabilized, Kalajdzievski 2023), so that the best rate hardly
    depends on the rank. `quantize="nf4"` holds the frozen weights in 4 bits (QLoRA, Dettmers et al. 2023).
    """

    rank: int = 16
    alpha: float = 16.0
    quantize: Literal["nf4"] | None = None
    layers: int | None = None  # None: all

    adapters = True

    @property
    def words(self) -> str:
        where = "all linear layers" if self.layers is None else f"the linear layers of the top {self.layers} blocks"
        size = f"rank {self.rank}" + ("" if self.alpha == LoRA.alpha else f", alpha {self.alpha:g},")
        return f"adapters of {size} on {where}" + (", base in 4 bits" if self.quantize else "")

    @property
    def quantized(self) -> bool:
        return self.quantize is not None

    def unquantized(self) -> "LoRA":
        return replace(self, quantize=None)

    def prepare(self, body: nn.Module) -> nn.Module:
        if self.quantize:
            quantize(body, linear_names(body))
        names = adapted_names(body, self.layers)
        transposed = any(type(body.get_submodule(name)).__name__ == TRANSPOSED for name in names)
        try:
            adapted: nn.Module = _peft().inject_adapter_in_model(self.config(names, transposed), body)
        except ValueError as error:  # Mamba's, say
            kind = type(body).__name__
            raise UsageError(
                f"{kind} takes no adapters: {error}".rstrip(".") + ".", "use full, or another base"
            ) from error
        return adapted

    def config(self, targets: list[str], transposed: bool = False) -> Any:
        return _peft().LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            use_rslora=True,
            lora_dropout=0.0,
            target_modules=targets,
            fan_in_fan_out=transposed,
        )

    def rates(self, model: Model) -> Rates:
        names = (name for name, _ in model.named_parameters())
        # An output layer that the base has itself is no new head: it stays as it is.
        learns = model.pooling != UNPOOLED or getattr(model.head, "fresh", False)
        return {name: 1.0 for name in names if ".lora_" in name or (learns and name.startswith("head."))}


def _peft() -> Any:
    """PEFT, which takes seconds to import, after bitsandbytes: see `load_bitsandbytes`."""
    load_bitsandbytes()
    import peft

    return peft


def linear_names(body: nn.Module, top: int | None = None) -> list[str]:
    """The linear layers of the repeated blocks, or of the `top` ones, by their full names in the body."""
    return [name for name, module in _inside_blocks(body, top) if _is_linear(module)]


def adapted_names(body: nn.Module, top: int | None = None) -> list[str]:
    """The layers that adapters are put on: the linear ones, and convolutions across channels.

    Not convolutions within groups of channels (depthwise ones): they have few weights, and PEFT cannot merge them.
    """
    return [name for name, module in _inside_blocks(body, top) if _is_linear(module) or _crosses_channels(module)]


def _inside_blocks(body: nn.Module, top: int | None) -> list[tuple[str, nn.Module]]:
    """The modules of the repeated blocks, or of the `top` ones, by their full names in the body."""
    found = repeated_blocks(body)
    if top is not None and not 0 < top <= len(found):
        raise UsageError(f"{top} layers cannot have adapters: the body has {len(found)}.", "ask for 1 or more of them")
    return [(f"{place}.{name}", m) for place, b in found[-top if top else None :] for name, m in b.named_modules()]


def _crosses_channels(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == 1


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == TRANSPOSED


def save_adapter(body: nn.Module, base: str, folder: Path, *, language: bool = False) -> None:
    """Save in PEFT's own format: `PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder)` loads it.

    `language`: for AutoModelForCausalLM or AutoModelForSeq2SeqLM instead, in which the body has another path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config: Any = vars(body)["peft_config"]["default"]
    config.base_model_name_or_path = base
    config.inference_mode = True
    pair = getattr(vars(body).get("config"), "is_encoder_decoder", False)
    config.task_type = ("SEQ_2_SEQ_LM" if pair else "CAUSAL_LM") if language else None
    images = hasattr(body, "image_config")
    targets = config.target_modules
    if pair or images:  # by full names: PEFT matches the ends of names, and those of two parts may be the same
        config.target_modules = {_outer(body, config, name) for name in _adapted(body)}
    config.save_pretrained(folder)
    config.target_modules = targets
    # "auto" would ask a hub for a base of that name, to compare vocabularies; no embedding has adapters here.
    weights = _peft().get_peft_model_state_dict(body, save_embedding_layers=False)
    named = {
        f"{ADAPTER_PATH}{_outer(body, config, name)}": tensor.detach().contiguous() for name, tensor in weights.items()
    }
    write_tensors(folder / "adapter_model.safetensors", named)


def _adapted(body: nn.Module) -> list[str]:
    """The names of the layers that have adapters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [name for name, module in body.named_modules() if isinstance(module, BaseTunerLayer)]


def _outer(body: Any, config: Any, name: str) -> str:
    """The name of a part of the body in the model that the adapters are saved for."""
    if hasattr(body, "image_config"):
        return name.removeprefix(IMAGE_BODY)
    if config.task_type is None:
        return name
    if is_joined(body):
        part, _, rest = name.partition(".")
        return f"decoder.{body.decoder.base_model_prefix}.{rest}" if part == "decoder" else name
    apart = (
        config.task_type == "SEQ_2_SEQ_LM" and body.base_model_prefix == T5_TRANSFORMER
    )  # its parts stand in the whole itself
    return name if apart else f"{body.base_model_prefix}.{name}"


def load_adapter(body: nn.Module, folder: Path) -> nn.Module:
    """Put the adapters in `folder` into a body that has none."""
    from safetensors.torch import load_file

    peft = _peft()
    config = load_adapter_config(folder)
    inner = {_outer(body, config, name): name for name, _ in body.named_modules()}
    config.target_modules = {inner.get(name, name) for name in config.target_modules}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body = peft.inject_adapter_in_model(config, body)
    inner = {_outer(body, config, name): name for name, _ in body.named_modules()}
    path = folder / "adapter_model.safetensors"
    tensor_shapes(path)  # of a file that is none, a sentence
    named = {_renamed(name.removeprefix(ADAPTER_PATH), inner): tensor for name, tensor in load_file(path).items()}
    expected = peft.get_peft_model_state_dict(body, save_embedding_layers=False)
    differing = [name for name in {**expected, **named} if not _same_shape(expected.get(name), named.get(name))]
    if differing:
        raise damaged(path, f"its adapters are not those of the base: {join_phrases(sorted(differing), 3)}")
    peft.set_peft_model_state_dict(body, named)
    return body


def _same_shape(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is not None and other is not None and one.shape == other.shape


def _renamed(name: str, inner: dict[str, str]) -> str:
    """A weight's name by that of the module that it belongs to."""
    module, _, weight = name.rpartition(".")
    return f"{inner.get(module, module)}.{weight}"


def merge_adapters(body: nn.Module) -> nn.Module:
    """The body with its adapters merged into the weights: the same function without adapters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(body.named_modules()):
        if isinstance(module, BaseTunerLayer):
            with torch.no_grad():
                module.merge()
            body.set_submodule(name, module.get_base_layer())
    vars(body).pop("peft_config", None)
    return body
