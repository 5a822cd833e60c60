"""Continued: how does training go on from an earlier model of the user's, head included?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from warmstart.data.encoding.inputs import Inputs
from warmstart.data.features.column_inputs import FeaturesBeside
from warmstart.data.rows.split import Rows
from warmstart.data.schema.columns import Column
from warmstart.errors import UsageError
from warmstart.models.dnn import Size
from warmstart.models.model import Model, is_head
from warmstart.models.output_change import OutputChange, change_outputs
from warmstart.tasks.between_tasks import output_change
from warmstart.tasks.task import Task

PERTURBED = 0.1  # noise, as a share of the size of a matrix's weights


@dataclass(frozen=True, eq=False)
class Continued:
    """The weights of an earlier network, which learned another task with the same target.

    `fitted` changes its last layer to the task of the new rows: before its first step it predicts what it always did.
    """

    load: Callable[[], Model]  # a new copy of the earlier network, adapters merged
    task: Task  # that it was trained for
    inputs: Inputs
    pooling: str
    columns: FeaturesBeside | None
    hugging_face: bool
    size: Size | None = None
    dropout: float | None = None
    shrink: float | None = None  # share of its weights that is kept; None: all, without noise
    change: OutputChange | None = None  # to the task of the new rows; None: not fitted to them yet

    family = "continued"
    base = None

    @property
    def name(self) -> str:
        return "the earlier model" + ("" if self.shrink is None else f", weights times {self.shrink:g} and noise")

    def resized(self, size: Size) -> "Continued":
        return self

    def fitted(self, task: Task, rows: Rows, columns: Sequence[Column]) -> "Continued":
        """The start with outputs for this task; itself where it has been fitted."""
        return self if self.change is not None else replace(self, change=output_change(self.task, task))

    def shortened(self, max_length: int) -> "Continued":
        """Itself: it reads as many tokens as it did when it was trained."""
        return self

    def build(self) -> nn.Module:
        """The body with its weights, also where others are built without any."""
        with torch.device("cpu"):
            return self.body(0)

    def body(self, seed: int) -> nn.Module:
        return self._model(seed).body

    @property
    def head(self) -> Mapping[str, Tensor] | None:
        """The weights of its head; None where the body is its own head."""
        model = self._model(0)
        return None if is_head(model.body) else model.head.state_dict()

    def language_head(self, body: nn.Module) -> nn.Module:
        raise UsageError("an earlier model that writes cannot be continued yet.", "name it with --base instead")

    def _model(self, seed: int) -> Model:
        assert self.change is not None, "its outputs are changed to those of the rows that it is fitted to"
        model = change_outputs(self.load(), self.change)
        if self.shrink is not None:
            shrink_and_perturb(model, self.shrink, seed)
        return model


@torch.no_grad()
def shrink_and_perturb(model: nn.Module, share: float, seed: int) -> None:
    """Multiply every weight matrix by `share`, and add normal noise of a tenth of its size (Ash and Adams 2020).

    The network forgets a part of what it was sure of and learns new rows as if it began anew. Vectors (biases, norms)
    stay as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            size = float(parameter.square().mean().sqrt())
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.mul_(share).add_(noise, alpha=PERTURBED * size)
