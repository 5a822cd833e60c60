"""Full: how is every weight trained at one learning rate?"""

from dataclasses import dataclass

from torch import nn

from warmstart.models.model import Model
from warmstart.regimes.method import Rates


@dataclass(frozen=True)
class Full:
    """Every weight learns at the same rate."""

    words = "all weights, one rate"
    adapters = False
    quantized = False

    def unquantized(self) -> "Full":
        return self

    def prepare(self, body: nn.Module) -> nn.Module:
        return body

    def rates(self, model: Model) -> Rates:
        return dict.fromkeys((name for name, _ in model.named_parameters()), 1.0)
