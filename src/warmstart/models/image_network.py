"""Image network: which networks read images, how are they built from a folder's configuration, at what cost?"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from warmstart.models.cnn import CnnSize, SmallCnn
from warmstart.models.efficientnet import EfficientNetLite
from warmstart.models.resnet import ResNet, ResNetShape

Family = Literal["small cnn", "efficientnet-lite0", "resnet", "transformers"]


@dataclass(frozen=True)
class ImageNetworkConfig:
    """Everything needed to build a network for images, as JSON."""

    family: Family
    side: int  # pixels of each side of what it reads
    settings: Mapping[str, Any] = field(
        default_factory=dict, hash=False
    )  # a CNN's size, or transformers' configuration

    def build(self) -> "ImageNetwork":
        """With random weights from torch's generator."""
        return ImageNetwork(self)

    def to_json(self) -> dict[str, Any]:
        return {"family": self.family, "side": self.side, "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "ImageNetworkConfig":
        return cls(known["family"], int(known["side"]), known["settings"])

    @property
    def attends(self) -> bool:
        """Whether it is a transformer, such as ViT, and not a network of convolutions."""
        return not {"num_attention_heads", "num_heads"}.isdisjoint(self.settings)

    @property
    def multiplications(self) -> int:
        """Multiply-adds for one image, from shapes alone."""
        return _multiplications(json.dumps(self.to_json(), sort_keys=True))


class ImageNetwork(nn.Module):
    """Images [n, 3, side, side] to features [n, width], or hidden states [n, patches, width].

    Feature maps are averaged over their places.
    """

    def __init__(self, config: ImageNetworkConfig):
        super().__init__()
        self.image_config = config
        self.network = _built(config)
        self.width = _width(self.network)

    def forward(self, pixel_values: Tensor) -> Tensor:
        found: Any = self.network(pixel_values=pixel_values)
        hidden: Tensor = found if isinstance(found, Tensor) else found.last_hidden_state
        return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden


def _built(config: ImageNetworkConfig) -> nn.Module:
    if config.family == "small cnn":
        return SmallCnn(CnnSize(config.side, **config.settings))
    if config.family == "efficientnet-lite0":
        return EfficientNetLite()
    if config.family == "resnet":
        return ResNet(ResNetShape(tuple(config.settings["blocks"]), bool(config.settings["bottleneck"])))
    return from_transformers(config.settings)


def from_transformers(settings: Mapping[str, Any]) -> nn.Module:
    """The architecture of a configuration known to transformers, without a pooler; no code from the folder is run."""
    from transformers import AutoConfig, AutoModel

    rest = {name: value for name, value in settings.items() if name not in ("model_type", "auto_map")}
    config = AutoConfig.for_model(settings["model_type"], **rest)
    body: nn.Module = AutoModel.from_config(config, trust_remote_code=False).float()
    return without_image_pooler(body)


def without_image_pooler(body: nn.Module) -> nn.Module:
    """Remove a ViT's pooler, a layer with weights on its class token. ResNet's is a mean without weights and stays."""
    pooler = getattr(body, "pooler", None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        body.pooler = None  # type: ignore[assignment]
    return body


def _width(network: nn.Module) -> int:
    width = getattr(network, "width", None)
    if isinstance(width, int):
        return width
    config: Any = network.config
    sizes = getattr(config, "hidden_sizes", None)
    return int(sizes[-1] if sizes else config.hidden_size)


@functools.lru_cache(maxsize=64)
def _multiplications(config: str) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        network = ImageNetworkConfig.from_json(json.loads(config)).build().eval()
        picture = torch.zeros(1, 3, network.image_config.side, network.image_config.side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(picture)
    return int(counter.get_total_flops()) // 2
