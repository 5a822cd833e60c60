"""ONNX networks: how does a network compute its outputs from what the reader reads of a row?

Each module has the names of its inputs in `reads`, and makes of them in `inputs` what the model takes as a batch.
"""

from typing import Any

import torch
from torch import Tensor, nn

from warmstart.data.encoding.pixels import Pixels, resized


class TokenGraph(nn.Module):
    """A model's outputs from token ids and their mask."""

    reads = ("input_ids", "attention_mask")

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def inputs(self, *given: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.reads, given, strict=True))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found: Tensor = self.model(self.inputs(input_ids, attention_mask))
        return found


class ImageGraph(nn.Module):
    """A model's outputs from images as they are decoded, uint8 [n, side, side, 3]: resized and standardized first."""

    reads = ("images",)

    def __init__(self, model: nn.Module, pixels: Pixels, side: int):
        super().__init__()
        self.model, self.size, self.side = model, pixels.size, side
        self.register_buffer("mean", torch.tensor(pixels.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(pixels.std).view(1, 3, 1, 1))

    def inputs(self, images: Tensor) -> dict[str, Tensor]:
        values = images.permute(0, 3, 1, 2).float()
        if self.size != self.side:
            values = resized(values, self.size)
        if self.size < self.side:  # once, when the images were read
            values = values.round().clamp(0, 255)
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return {"pixel_values": (values / 255.0 - mean) / std}

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.model(self.inputs(images))
        return found


class HashedGraph(nn.Module):
    """`dnn.HashedNet` on the whole row of weights: the same sums, without an EmbeddingBag."""

    reads = ("features",)

    def __init__(self, body: Any, head: nn.Module):
        super().__init__()
        self.first, self.blocks, self.head = body.first, body.blocks, head

    def forward(self, features: Tensor) -> Tensor:
        x: Tensor = self.first.rest(features @ self.first.bag.weight + self.first.bias)
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.head(x)
        return found
