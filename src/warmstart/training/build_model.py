"""Build model: which body and head does a regime have for a task?"""

from torch import nn

from warmstart.models.column_head import ColumnHead, ColumnShape
from warmstart.models.dropout import use_fast_dropout
from warmstart.models.model import UNPOOLED, Model, body_width, is_head
from warmstart.regimes.lora import merge_adapters
from warmstart.regimes.regimes import Regime
from warmstart.regimes.starts import Start, random_state
from warmstart.runtime.device import best_device
from warmstart.tasks.task import Task


def start_model(regime: Regime, task: Task, seed: int) -> Model:
    """Body from the regime's start, with the head that its first stage trains."""
    first = next((stage.objective for stage in regime.stages), None) or task
    body = regime.start.body(seed)
    model = Model(body, *head_for(body, regime.start, first, seed)).to(best_device())
    use_fast_dropout(model)
    return model


def head_for(body: nn.Module, start: Start, objective: Task, seed: int) -> tuple[nn.Module, str]:
    """Head for a body of this width, and how it pools: drawn from the seed, the same for every body of that width."""
    if is_head(body):
        return nn.Identity(), start.pooling
    head = objective.head(body_width(body), seed)
    if head is None:
        with random_state(seed):
            return start.language_head(body), UNPOOLED
    head = with_columns(head, start, seed)
    learned = start.head
    if learned is not None:
        head.load_state_dict(dict(learned))
    for module in head.modules():
        if isinstance(module, nn.Dropout) and start.dropout is not None:
            module.p = start.dropout
    return head, start.pooling


def with_columns(head: nn.Module, start: Start, seed: int) -> nn.Module:
    """A head that reads the columns of the start as well, where it has any."""
    if start.columns is None:
        return head
    assert isinstance(head, nn.Sequential)
    return ColumnHead(head, ColumnShape(start.columns.width, start.columns.most), seed)


def switch_objective(model: Model, start: Start, objective: Task, seed: int) -> None:
    """Prepare the model for a stage's objective: the body is kept with its adapters merged, the head is replaced.

    Between two language objectives the output layer is kept as well.
    """
    if (objective.head(1, seed) is None) == (model.pooling == UNPOOLED):
        return
    model.body = merge_adapters(model.body)
    model.head, model.pooling = head_for(model.body, start, objective, seed)
    use_fast_dropout(model.to(best_device()))


def adapter_names(changed: set[str]) -> set[str]:
    """Names of the weights that trained adapters are merged into, as they may be called then."""
    layers = {name.partition(".lora_")[0] for name in changed if ".lora_" in name}
    return {f"{layer}{weight}" for layer in layers for weight in (".weight", ".base_layer.weight")}


def _total(model: Model) -> int:
    """Number of all weights. 4-bit layers are counted by their shape, since they store two weights in a byte."""
    packed = {id(m.weight): m.in_features * m.out_features for m in model.modules() if isinstance(m, nn.Linear)}
    return sum(packed.get(id(p), p.numel()) for p in model.parameters())
