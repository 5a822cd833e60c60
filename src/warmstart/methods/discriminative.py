"""Discriminative: every weight learns, each layer slower than the one above it."""

from dataclasses import dataclass

from torch import nn

from warmstart.methods.method import Rates
from warmstart.models.layers import layers
from warmstart.models.model import Model


@dataclass(frozen=True)
class Discriminative:
    """Each layer learns `decay` times as fast as the one above it; the head at the full rate.

    Howard and Ruder (2018) divide by 2.6 a layer for a network of four;
    0.8 to 0.9 is usual for encoders of six to twelve.
    """

    decay: float = 0.8

    @property
    def words(self) -> str:
        return f"all weights, each layer {self.decay:g} times as fast as the one above"

    def prepare(self, body: nn.Module) -> nn.Module:
        return body

    def rates(self, model: Model) -> Rates:
        return {
            name: self.decay**depth for depth, layer in enumerate(reversed(layers(model))) for name in layer.parameters
        }
