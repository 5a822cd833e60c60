"""ResNet: which network loads the published weights of ResNet-18, 34 and 50, without torchvision?

He et al. (2015), with the stride of a bottleneck at its 3 x 3 convolution. The blocks lie in one list; `own_names`
translates the usual names of weights, in which they lie in four stages.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from warmstart.models.memory_format import channels_last

RESNET_SIDE = 224  # pixels of each side in its own training
STAGE = re.compile(r"layer([1-4])\.(\d+)\.(.+)")
STAGE_WIDTHS = (64, 128, 256, 512)
EXPANSION = 4  # of a bottleneck: channels that it gives for each that it computes with
_HEAD = ("fc.weight", "fc.bias")  # of the classes that it was trained on
_COUNTER = "num_batches_tracked"  # of batch norm; weights of before 2018 lack it, and nothing reads it here


@dataclass(frozen=True)
class ResNetShape:
    """The number of blocks in each stage, and their kind."""

    blocks: tuple[int, ...]
    bottleneck: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"blocks": list(self.blocks), "bottleneck": self.bottleneck}


SHAPES = {
    "ResNet-18": ResNetShape((2, 2, 2, 2)),
    "ResNet-34": ResNetShape((3, 4, 6, 3)),
    "ResNet-50": ResNetShape((3, 4, 6, 3), bottleneck=True),
}


class ResNetBlock(nn.Module):
    """Two 3 x 3 convolutions; or three (1 x 1, 3 x 3, 1 x 1) of a bottleneck. Added to the input, then ReLU."""

    def __init__(self, inputs: int, width: int, stride: int, *, bottleneck: bool):
        super().__init__()
        outputs = width * EXPANSION if bottleneck else width
        self.bottleneck = bottleneck
        self.conv1 = nn.Conv2d(inputs, width, 1 if bottleneck else 3, 1 if bottleneck else stride, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride if bottleneck else 1, 1, bias=False)
        if not bottleneck:
            self.conv1.padding = (1, 1)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        if bottleneck:
            self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            inner = self.bn3(self.conv3(functional.relu(inner)))
        return functional.relu(self.downsample(x) + inner)


class ResNet(nn.Module):
    """Images [n, 3, side, side] of any side to features [n, width], the mean over the last feature map."""

    def __init__(self, shape: ResNetShape):
        super().__init__()
        self.conv1 = nn.Conv2d(3, STAGE_WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGE_WIDTHS[0])
        self.blocks = nn.ModuleList()
        before = STAGE_WIDTHS[0]
        for stage, (width, count) in enumerate(zip(STAGE_WIDTHS, shape.blocks, strict=True)):
            for place in range(count):
                stride = 2 if stage and not place else 1
                self.blocks.append(ResNetBlock(before, width, stride, bottleneck=shape.bottleneck))
                before = width * EXPANSION if shape.bottleneck else width
        self.width = before
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(channels_last(pixel_values)))), 3, 2, 1)
        for block in self.blocks:
            x = block(channels_last(x))
        return x.mean((2, 3))


def shape_of(names: Mapping[str, Any]) -> ResNetShape | None:
    """The shape of a ResNet with weights of these usual names; None where they are not those of one."""
    found = [match for match in map(STAGE.fullmatch, names) if match]
    counts = [len({match[2] for match in found if match[1] == str(stage)}) for stage in (1, 2, 3, 4)]
    shape = ResNetShape(tuple(counts), any(match[3] == "conv3.weight" for match in found))
    return shape if shape in SHAPES.values() else None


def own_names(weights: Mapping[str, Tensor], shape: ResNetShape) -> dict[str, Tensor]:
    """The body's weights by the names that `ResNet` has, without the head."""
    first = [sum(shape.blocks[:stage]) for stage in range(len(shape.blocks))]
    found = {}
    for name, weight in weights.items():
        if (match := STAGE.fullmatch(name)) is not None:
            name = f"blocks.{first[int(match[1]) - 1] + int(match[2])}.{match[3]}"
        if name not in _HEAD:
            found[name] = weight
    return found


def load_resnet_weights(body: ResNet, weights: Mapping[str, Tensor], shape: ResNetShape) -> None:
    """Load weights of the usual names. Raises RuntimeError if others are missing, unknown or of another shape."""
    named = own_names(weights, shape)
    counters = {name: value for name, value in body.state_dict().items() if name.endswith(_COUNTER)}
    body.load_state_dict(counters | named, strict=True)
