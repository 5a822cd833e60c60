"""Task: which protocol does every kind of problem follow?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.inputs import Inputs, PromptInputs
from warmstart.data.rows.split import Rows
from warmstart.data.schema.schema import Long
from warmstart.types import Array


class Loss(Protocol):
    """All that the loop asks of what is learned."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor: ...


class Objective(Loss, Protocol):
    """Something to learn: a head on a body, and a loss."""

    def reads(self, inputs: Inputs) -> Inputs:
        """How an architecture with these inputs reads the rows of this objective."""
        ...

    def head(self, width: int, seed: int) -> nn.Module | None:
        """What answers on top of a body of this width; None: the output layer of the base itself."""
        ...

    def targets(self, rows: Rows) -> Array: ...


class Margins(Loss, Protocol):
    """A loss of margins, which are logits divided by `scale`."""

    @property
    def scale(self) -> float: ...
    def constant(self, targets: Array, classes: int) -> Array:
        """The margins that are best where nothing is known of a row, [k]."""
        ...


class Task(Objective, Protocol):
    """An objective that people ask for: it can be scored, example by example, and predicts in their units.

    `outputs` below are what the head gives for n examples, float array [n, k]; `targets` are those of `targets(rows)`.
    """

    def soft_targets(self, targets: Tensor) -> Tensor | None:
        """The same as shares of each class, float32 [n, k], which can be averaged; None where there are no classes."""
        ...

    def exact_targets(self, rows: Rows) -> Array:
        """The same targets, as exactly as they are known: what is scored against."""
        ...

    @property
    def name(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...
    @property
    def units(self) -> str: ...
    @property
    def writes(self) -> bool:
        """Whether its answers are texts that a model writes, token by token."""
        ...

    @property
    def learns_language(self) -> bool:
        """Whether tokens are predicted: outputs are nats, tokens and bytes of each text, not answers."""
        ...

    @property
    def ranks_by_writing(self) -> bool:
        """Whether the metric is one of written answers, not of outputs."""
        ...

    @property
    def generative(self) -> "GenerativeTask | None":
        """This task if it `writes`."""
        ...

    def output_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of these outputs, a scalar: what `loss` minimizes."""
        ...

    def row_weights(self, targets: Array) -> Array | None:
        """What each row counts in a loss, float64 [n], of label sets in that of each [n, labels]; None: all alike."""
        ...

    @property
    def margins(self) -> Margins | None:
        """How classes are learned by margins; None where there are no classes."""
        ...

    def constant(self, targets: Array) -> Array:
        """The best constant output, [k]: what a model must beat."""
        ...

    def calibrate(self, outputs: Array, targets: Array) -> dict[str, float]:
        """What validation rows teach about using the outputs: an interval's half-width, a threshold."""
        ...

    def score(self, outputs: Array, targets: Array, calibration: Mapping[str, float]) -> Array:
        """Value and weight of each example, [n, 2]: the metric is the sum of values over the sum of weights."""
        ...

    def metrics(self, outputs: Array, targets: Array, calibration: Mapping[str, float]) -> dict[str, float]:
        """Every other metric, by the name that people know it by."""
        ...

    def predictions(self, outputs: Array, calibration: Mapping[str, float]) -> dict[str, list[Any]]:
        """Columns for people, in the target's units: always 'prediction', and how sure."""
        ...

    def probabilities(self, outputs: Array, calibration: Mapping[str, float]) -> Array | None:
        """Of every class, float64 [n, classes]; None where no classes are predicted."""
        ...

    def average(
        self, outputs: Sequence[Array], calibrations: Sequence[Mapping[str, float]], weights: Sequence[float]
    ) -> Array:
        """The outputs whose predictions are the weighted mean of those of several models, [n, k].

        `outputs` and `calibrations`: of each model; `weights` sum to 1. Not for tasks that predict text.
        """
        ...

    def changes(
        self, outputs: Array, calibration: Mapping[str, float]
    ) -> Callable[[Array, Array], dict[str, Array]] | None:
        """What predictions from these outputs differ by between positions a [n] and b [n], each float64 [n].

        'changed': 1 where the prediction is another; 'moved': how far, and 'shift' with its sign; 'moved_units' and
        'shift_units': the same in the target's units. None for outputs that are no predictions.
        """
        ...

    def truths(self, targets: Array) -> list[Any]:
        """The targets as people wrote them."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Enough for `task_from_json` to rebuild this task beside a saved model."""
        ...


@dataclass(frozen=True)
class Judgment:
    """What written answers are worth."""

    scores: Array | None  # [n, 2] of the metric that ranks; None where it is not one of written answers
    metrics: dict[str, float]
    columns: dict[str, list[Any]]  # "target", "prediction" ..., a value for each answer


class GenerativeTask(Task, Protocol):
    """A task whose answers are texts that a model writes."""

    @property
    def most_tokens(self) -> int:
        """Of an answer."""
        ...

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """What an answer has to fit; None: anything."""
        ...

    @property
    def instruction(self) -> str:
        """What prompts begin with."""
        ...

    @property
    def long(self) -> Long:
        """What becomes of a text that is longer than is read."""
        ...

    def prompts(self, inputs: Inputs) -> PromptInputs:
        """How an architecture with these inputs reads the prompts."""
        ...

    def judge(self, written: Sequence[str], rows: Rows) -> Judgment:
        """What a model wrote in place of the last answers of these rows, example by example."""
        ...
