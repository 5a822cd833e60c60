"""Discriminative: how fast does each layer learn? Every weight learns, lower layers more slowly."""

from dataclasses import dataclass

from torch import nn

from warmstart.errors import UsageError
from warmstart.models.layers import layers
from warmstart.models.model import Model
from warmstart.regimes.method import Rates


@dataclass(frozen=True)
class Discriminative:
    """Each layer learns `decay` times as fast as the one above it; the head at the full rate.

    The lowest `frozen` layers are not trained; the embeddings count as the first. Howard and Ruder (2018) divide by 2.6
    per layer for a network of four; 0.8 to 0.9 is usual for encoders of six to twelve.
    """

    decay: float = 0.8
    frozen: int = 0

    adapters = False
    quantized = False

    @property
    def words(self) -> str:
        which = f"all but the lowest {self.frozen} layers" if self.frozen else "all weights"
        return f"{which}, each layer {self.decay:g} times as fast as the one above"

    def unquantized(self) -> "Discriminative":
        return self

    def prepare(self, body: nn.Module) -> nn.Module:
        return body

    def rates(self, model: Model) -> Rates:
        found = layers(model)
        if not 0 <= self.frozen <= len(found) - 2:
            raise UsageError(
                f"the lowest {self.frozen} of {len(found) - 1} layers cannot stay frozen: at least one has to learn.",
                "freeze fewer layers, or use the regime `frozen`",
            )
        learning = reversed(found[self.frozen :])
        return {name: self.decay**depth for depth, layer in enumerate(learning) for name in layer.parameters}
