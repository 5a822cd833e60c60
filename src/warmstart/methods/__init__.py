"""Methods: which weights learn, and how fast."""

from warmstart.methods.discriminative import Discriminative
from warmstart.methods.frozen import Frozen
from warmstart.methods.full import Full
from warmstart.methods.lora import LoRA
from warmstart.methods.method import Method, Rates

__all__ = ["METHODS", "Discriminative", "Frozen", "Full", "LoRA", "Method", "Rates"]

METHODS: dict[str, Method] = {
    "full": Full(),
    "frozen": Frozen(),
    "top-layers": Frozen(unfrozen=2),
    "discriminative": Discriminative(),
    "lora": LoRA(),
    "qlora": LoRA(quantize="nf4"),
}
