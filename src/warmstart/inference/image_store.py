"""Image store: how is an image network saved, and built again from its folder?

model.json          the network: its family, the size of its images, its own settings
body.safetensors    the weights
adapter/            instead, for adapters: PEFT's own format; the base is named, not copied
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from warmstart.baselines.baseline import TRAIN_AGAIN
from warmstart.data.encoding.pixels import Pixels
from warmstart.errors import MissingError
from warmstart.models.image_network import ImageNetwork, ImageNetworkConfig
from warmstart.models.pretrained.base import Base
from warmstart.models.pretrained.base_reference import require_unchanged
from warmstart.models.pretrained.image_base import image_base_from_json, image_base_to_json, read_image_body
from warmstart.regimes.lora import load_adapter, merge_adapters, save_adapter
from warmstart.runtime.files import damaged, read_tensors, reading_ours, write_tensors
from warmstart.runtime.load_pretrained import fingerprint

IMAGE_NETWORK = "image network"  # of a body, in model.json


def save_image_network(folder: Path, body: nn.Module, base: Base | None = None) -> dict[str, Any] | None:
    """Save the weights; returns the body's facts for `model.json`, None for a body that reads no images.

    `base`: what the body's adapters are for, where it has any: they are written alone.
    """
    network: ImageNetworkConfig | None = getattr(body, "image_config", None)
    if network is None:
        return None
    if base is not None and hasattr(body, "peft_config"):
        save_adapter(body, base.lasting_name, folder / "adapter")
        said = {"base": base.lasting_name, **image_base_to_json(base), "files": fingerprint(base.location)}
        return {"kind": IMAGE_NETWORK, "adapters_for": said}
    if hasattr(body, "peft_config"):
        body = merge_adapters(body)  # no base that anybody has holds its random weights
    write_tensors(folder / "body.safetensors", {name: each.contiguous() for name, each in body.state_dict().items()})
    return {"kind": IMAGE_NETWORK, "network": network.to_json()}


def load_image_network(folder: Path, said: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[ImageNetwork, Pixels]:
    """The network that `model.json` describes, and its inputs.

    Raises InputError where the weights are not those of that network, MissingError where adapters lack their base.
    """
    if "adapters_for" in said:
        return _with_adapters(folder, said["adapters_for"]), Pixels.from_json(inputs)
    known = said["network"]
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


def _with_adapters(folder: Path, said: Mapping[str, Any]) -> ImageNetwork:
    """The base with the adapters in `folder`."""
    with reading_ours(folder / "model.json", TRAIN_AGAIN):
        name, files = str(said["base"]), dict(said["files"])
    try:
        base = image_base_from_json(name, said)
    except MissingError as error:
        raise MissingError(f"{folder} holds adapters for the base {name!r}, which is not here.", error.hint) from error
    require_unchanged(base, files, name, f"the adapters in {folder} were trained on")
    return cast(ImageNetwork, load_adapter(read_image_body(base), folder / "adapter"))
