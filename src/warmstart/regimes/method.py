"""Method: which weights are trained, and how fast? A protocol of two functions."""

from typing import Protocol

from torch import nn

from warmstart.models.model import Model

Rates = dict[str, float]


class Method(Protocol):
    """`prepare` changes the structure of the body (adapters, quantized weights) but not what it computes.

    `rates` is called after `prepare`: the learning-rate multiplier of each parameter of the model, by name; a parameter
    that is absent is frozen. The training loop knows nothing else about a method.
    """

    @property
    def words(self) -> str: ...
    @property
    def adapters(self) -> bool:
        """Whether the base's weights stay unchanged, so that the trained weights are saved separately."""
        ...

    @property
    def quantized(self) -> bool:
        """Whether frozen weights of linear layers are stored in 4 bits."""
        ...

    def unquantized(self) -> "Method":
        """The same method with weights in full precision."""
        ...

    def prepare(self, body: nn.Module) -> nn.Module: ...
    def rates(self, model: Model) -> Rates: ...
