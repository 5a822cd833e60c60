"""Frozen: how is only the head trained, or the head and the top layers, while the rest stays fixed?"""

from dataclasses import dataclass

from torch import nn

from warmstart.errors import UsageError
from warmstart.models.layers import layers
from warmstart.models.model import Model
from warmstart.regimes.method import Rates


@dataclass(frozen=True)
class Frozen:
    """The head and the top `unfrozen` layers of the body are trained; 0 is a linear probe."""

    unfrozen: int = 0

    adapters = False
    quantized = False

    @property
    def words(self) -> str:
        layer = "layer" if self.unfrozen == 1 else f"{self.unfrozen} layers"
        return "head only" if self.unfrozen == 0 else f"head and the top {layer}"

    def unquantized(self) -> "Frozen":
        return self

    def prepare(self, body: nn.Module) -> nn.Module:
        return body

    def rates(self, model: Model) -> Rates:
        if self.unfrozen == 0:
            return {name: 1.0 for name, _ in model.named_parameters() if name.startswith("head.")}
        found = layers(model)
        if self.unfrozen > len(found) - 2:
            raise UsageError(
                f"{self.unfrozen} layers cannot be unfrozen: the body has {len(found) - 2} beside its embeddings.",
                "ask for fewer layers, or use the regime `full`",
            )
        return {name: 1.0 for layer in found[-self.unfrozen - 1 :] for name in layer.parameters}
