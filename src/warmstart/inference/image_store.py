"""Image store: how is an image network saved, and built again from its folder?

model.json          the network: its family, the size of its images, its own settings
body.safetensors    the weights
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from warmstart.baselines.baseline import TRAIN_AGAIN
from warmstart.data.encoding.pixels import Pixels
from warmstart.models.image_network import ImageNetwork, ImageNetworkConfig
from warmstart.runtime.files import damaged, read_tensors, reading_ours, write_tensors

IMAGE_NETWORK = "image network"  # of a body, in model.json


def save_image_network(folder: Path, body: nn.Module) -> dict[str, Any] | None:
    """Write the weights; give what `model.json` says of the body. None for a body that reads no images."""
    network: ImageNetworkConfig | None = getattr(body, "image_config", None)
    if network is None:
        return None
    write_tensors(folder / "body.safetensors", {name: each.contiguous() for name, each in body.state_dict().items()})
    return {"kind": IMAGE_NETWORK, "network": network.to_json()}


def load_image_network(
    folder: Path, known: Mapping[str, Any], inputs: Mapping[str, Any]
) -> tuple[ImageNetwork, Pixels]:
    """The network and what it reads. Raises InputError where the weights are not those of the network in model.json."""
    weights = read_tensors(folder / "body.safetensors", TRAIN_AGAIN)
    with reading_ours(folder / "model.json", TRAIN_AGAIN):
        config = ImageNetworkConfig.from_json(known)
        with torch.device("meta"):  # without memory: model.json may announce what no file holds
            planned = config.build().state_dict()
    if {n: t.shape for n, t in planned.items()} != {n: t.shape for n, t in weights.items()}:
        raise damaged(folder / "body.safetensors", "its weights are not those of model.json's network", TRAIN_AGAIN)
    body = config.build()
    body.load_state_dict(weights)
    return body, Pixels.from_json(inputs)
