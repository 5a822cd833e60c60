"""Scratch DNN: how does `scratch-dnn` start, and how does each of its paths learn?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from warmstart.data.features.term_inputs import TermInputs
from warmstart.data.rows.split import Rows
from warmstart.data.schema.columns import Column
from warmstart.errors import UsageError
from warmstart.models.dnn import Size
from warmstart.models.learning_rule import learning_rules
from warmstart.models.model import Model
from warmstart.models.wide_and_deep import PathRates, WideNetwork, WideShape
from warmstart.regimes.method import Rates
from warmstart.regimes.starts import random_state
from warmstart.tasks.task import Task

# Times the rate of the layers, 2e-3. By validation rows that no published number comes from: 3 and .005 for classes,
# .3 and .006 for numbers.
CLASS_RATES = PathRates(wide=1500.0, deep=2.5, columns=60.0)
NUMBER_RATES = PathRates(wide=150.0, deep=3.0, columns=120.0)
CLASS_SIZE, NUMBER_SIZE = Size(0, 256, 0, 0.5), Size(0, 128, 1, 0.5)


@dataclass(frozen=True)
class WideAndDeepStart:
    """Random weights for the terms and columns of the training rows, which `fitted` finds."""

    size: Size
    inputs: TermInputs = TermInputs()  # noqa: RUF009  # it never changes
    shape: WideShape | None = None  # None: not fitted to rows yet
    rates: PathRates = CLASS_RATES
    dropout: float | None = None

    family = "scratch"
    name = "random weights"
    base = None
    head = None
    hugging_face = False
    columns = None  # the body reads them
    pooling = "mean"

    @property
    def build(self) -> WideNetwork:
        assert self.shape is not None, "a network is built for the rows that it is fitted to"
        return WideNetwork(self.size, self.shape, self.rates)

    def fitted(self, task: Task, rows: Rows, columns: Sequence[Column]) -> "WideAndDeepStart":
        """The start fitted to these training rows; itself if it was fitted before."""
        if self.shape is not None:
            return self
        inputs, margins = TermInputs.fit(rows, columns), task.margins
        constant, scale = task.constant(task.targets(rows)), 1.0
        if margins is not None:
            constant, scale = margins.constant(task.targets(rows), len(constant)), margins.scale
        shape = WideShape(inputs.term_count, inputs.column_count, len(constant), tuple(map(float, constant)), scale)
        return replace(self, inputs=inputs, shape=shape, rates=NUMBER_RATES if margins is None else CLASS_RATES)

    def resized(self, size: Size) -> "WideAndDeepStart":
        return replace(self, size=size)

    def shortened(self, max_length: int) -> "WideAndDeepStart":
        return self

    def body(self, seed: int) -> nn.Module:
        with random_state(seed):
            return self.build()

    def language_head(self, body: nn.Module) -> nn.Module:
        raise UsageError(
            f"{self.name} cannot be trained as a language model: it reads terms, not tokens.",
            "use a regime with the base's own architecture, such as scratch",
        )


@dataclass(frozen=True)
class PathByPath:
    """Every weight is trained, each path by its own optimizer and at its own rate."""

    words = "all weights: terms by SGD and Adagrad, layers by AdamW"
    adapters = False
    quantized = False

    def unquantized(self) -> "PathByPath":
        return self

    def prepare(self, body: nn.Module) -> nn.Module:
        return body

    def rates(self, model: Model) -> Rates:
        rules = learning_rules(model)
        return {name: rules[name].rate if name in rules else 1.0 for name, _ in model.named_parameters()}
