"""Learning rule: how does a module say by which optimizer its weights learn, and how fast?

A module with an attribute `learning_rule` declares it for its own weights; a model in which any does has an optimizer
for each group of its weights. All others learn by the run's own optimizer.

A module with an attribute `own_rate` says at which rate it learns, whatever the regime; by the run's own optimizer.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

GroupOptimizer = Literal["sgd", "adagrad", "adamw"]  # sgd: plain, without momentum


@dataclass(frozen=True)
class LearningRule:
    """The optimizer and the rate."""

    optimizer: GroupOptimizer
    rate: float = 1.0  # times the run's own learning rate


def learning_rules(model: nn.Module) -> dict[str, LearningRule]:
    """Declared rules, by name of the parameters."""
    found: dict[str, LearningRule] = {}
    for path, module in model.named_modules():
        rule = getattr(module, "learning_rule", None)
        if isinstance(rule, LearningRule):
            prefix = f"{path}." if path else ""
            found |= {f"{prefix}{name}": rule for name, _ in module.named_parameters(recurse=False)}
    return found


def own_rates(model: nn.Module, usual: float) -> dict[str, float]:
    """Times a run's learning rate, by names of the weights for which one is declared: `own_rate` where the run's is
    the `usual` one of its regime.
    """
    found: dict[str, float] = {}
    for path, module in model.named_modules():
        rate = getattr(module, "own_rate", None)
        if rate is not None and usual:
            found |= {f"{path}.{name}": rate / usual for name, _ in module.named_parameters()}
    return found
