"""Memory format: in which order do the values of a feature map lie in memory?"""

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """The same feature map [n, c, h, w] with its channels last in memory; itself where it lies so.

    A step of a network of convolutions in bf16 on a CPU then takes 0.6 to 0.9 times as long. It is done at each block,
    since a block that starts from stored feature maps gets them in the usual order. Weights stay as they are: a
    restored optimizer state would lie otherwise than they do.
    """
    return x.contiguous(memory_format=torch.channels_last)
