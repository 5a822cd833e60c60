"""CNN: which small residual network learns from images, from random weights?"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from warmstart.models.memory_format import channels_last

SMALLEST_SIDE = 8  # pixels of a feature map, below which it is not halved again
MOST_CHANNELS = 512


@dataclass(frozen=True)
class CnnSize:
    """How large the network is."""

    side: int  # pixels of each side of an image
    width: int = 32  # channels of the first stage; twice as many in each that follows
    blocks: int = 1  # residual blocks in a stage

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each stage. The first one sees the image as it is, each other one half as many pixels each way."""
        found, side = [self.width], self.side
        while side > SMALLEST_SIDE:
            found.append(min(2 * found[-1], MOST_CHANNELS))
            side = -(-side // 2)
        return tuple(found)


def cnn_size(rows: int, side: int) -> CnnSize:
    """A size that fits the data: wider and deeper as rows grow."""
    if rows < 2_000:
        return CnnSize(side, 24, 1)
    return CnnSize(side, 32, 1) if rows < 20_000 else CnnSize(side, 48, 1)


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU, convolution, batch norm, add, ReLU (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(self.shortcut(x) + inner)


class SmallCnn(nn.Module):
    """Images [n, 3, side, side] to features [n, width], the mean over the last feature map."""

    def __init__(self, size: CnnSize):
        super().__init__()
        channels = size.channels
        self.width = channels[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels[0], 3, 1, 1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()
        )
        self.blocks = nn.ModuleList()
        before = channels[0]
        for stage, width in enumerate(channels):
            for place in range(size.blocks):
                self.blocks.append(ConvBlock(before, width, 2 if stage and not place else 1))
                before = width
        he_initialize(self)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x: Tensor = self.stem(channels_last(pixel_values))
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))


def he_initialize(module: nn.Module) -> None:
    """Normal convolution weights with the variance that keeps gradients (He et al. 2015)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
