"""Model size: what do a regime's weights, arithmetic and largest step add up to, from shapes alone?

The model is built on torch's meta device, so that one that would never fit can be examined too. A step then runs on
fake tensors, which have shapes but no content, to see what is alive at its peak.
"""

import weakref
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.packing import UNLABELED
from warmstart.models.gradient_checkpointing import gradient_checkpointing
from warmstart.models.learning_rule import GroupOptimizer, learning_rules
from warmstart.models.lm_head import LOGIT_BYTES, LanguageHead
from warmstart.models.model import UNPOOLED, Model, body_width, is_head
from warmstart.regimes.lora import linear_names
from warmstart.regimes.method import Rates
from warmstart.regimes.regimes import Regime
from warmstart.tasks.task import Objective, Task
from warmstart.training.build_model import with_columns
from warmstart.training.config import OptimizerStateName
from warmstart.training.flops import Flops, flops
from warmstart.training.loop import set_trainable

FOUR_BITS = 0.516  # bytes a weight in nf4 with its doubly quantized scales
BYTES_PER_OPTIMIZER_STATE: dict[OptimizerStateName, int] = {
    "fp32": 8,
    "bf16": 4,
}  # bytes a trained weight: the two that Adam keeps
STATE_BYTES: dict[GroupOptimizer, int] = {"sgd": 0, "adagrad": 4, "adamw": 8}  # of a weight that declares its own
BYTES_PER_BEST_WEIGHT = 4  # bytes a trained weight: the best so far
BESIDE = 1_000_000  # bytes in a run's folder beside weights and scores: the tokenizer's files, mostly


@dataclass(frozen=True)
class ModelSize:
    """A model without values: on the meta device."""

    model: Model  # on the meta device
    rates: Rates
    cost: Flops  # of one example
    trainable: int
    total: int
    frozen_bytes: float  # of weights that do not learn
    layers: int  # modules that compute something
    adapter: bool  # only adapters and head are saved
    state_bytes: float  # that optimizers keep of weights
    sparse: int  # trainable weights whose gradients are sparse

    @property
    def held_bytes(self) -> float:
        """Bytes alive between two steps: weights, optimizer state, and the best weights so far."""
        return self.frozen_bytes + self.trainable * (4 + BYTES_PER_BEST_WEIGHT) + self.state_bytes

    @property
    def least_bytes(self) -> float:
        """Those and gradients: the minimum for any step."""
        return self.held_bytes + 4 * (self.trainable - self.sparse)

    @property
    def saved_bytes(self) -> int:
        """Size of the weights in a run's folder."""
        return 4 * (self.trainable if self.adapter else self.total)


def model_size(regime: Regime, task: Task, optimizer_state: OptimizerStateName = "fp32") -> ModelSize:
    """Size of a regime's model in its last stage."""
    start, stage = regime.start, regime.stages[-1]
    method, four_bits = stage.method.unquantized(), stage.method.quantized
    with torch.device("meta"):
        body = start.build()
        packed = sum(body.get_parameter(f"{name}.weight").numel() for name in linear_names(body)) if four_bits else 0
        body = method.prepare(body)
    head = nn.Identity() if is_head(body) else task.head(body_width(body), 0)
    model = (
        Model(body, with_columns(head, start, 0), start.pooling) if head else Model(body, LanguageHead(body), UNPOOLED)
    )
    rates = method.rates(model)
    set_trainable(model, rates)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    trainable, total = sum(size for name, size in sizes.items() if name in rates), sum(sizes.values())
    layers = sum(1 for module in model.modules() if not list(module.children()) and list(module.parameters()))
    adapter = method.adapters and start.base is not None
    frozen = 4 * (total - trainable - packed) + FOUR_BITS * packed
    rules, usual = learning_rules(model), BYTES_PER_OPTIMIZER_STATE[optimizer_state]
    kept = {name: STATE_BYTES[rules[name].optimizer] if name in rules else usual for name in sizes if name in rates}
    return ModelSize(
        model=model,
        rates=rates,
        cost=flops(model, rates),
        trainable=trainable,
        total=total,
        frozen_bytes=frozen,
        layers=layers,
        adapter=adapter,
        state_bytes=float(sum(each * sizes[name] for name, each in kept.items())),
        sparse=sum(
            m.weight.numel() for m in model.modules() if isinstance(m, nn.EmbeddingBag | nn.Embedding) and m.sparse
        ),
    )


def step_bytes(
    found: ModelSize, objective: Objective, batch: Batch, precision: str, checkpointing: bool = False
) -> float:
    """Bytes alive at the peak of a step on a batch of this shape: `held_bytes`, and activations or gradients.

    Without fragmentation and scratch memory of kernels: right for a GPU's allocator, too little for a process.
    """
    labeled = int((batch.inputs["labels"] != UNLABELED).sum()) if "labels" in batch.inputs else 0
    alive = _Alive()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    again = gradient_checkpointing(found.model, random=False) if checkpointing else nullcontext()
    with fake, alive, again:
        for module in found.model.modules():
            _without_numbers(module)
        set_trainable(found.model, found.rates)
        inputs = {name: _like(tensor) for name, tensor in batch.inputs.items() if name != "attention_mask"}
        faked = Batch(inputs, _like(batch.targets))
        weights = alive.now
        alive.peak = weights
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            if "labels" in inputs:
                loss = _language_loss(found.model, inputs, labeled)
            else:
                loss = objective.loss(found.model, faked)
        loss.backward()  # type: ignore[no-untyped-call]
    return found.held_bytes + alive.peak - weights - 4 * found.sparse  # whose gradients were whole here


def _language_loss(model: Model, inputs: dict[str, Tensor], labeled: int) -> Tensor:
    """A stand-in for the memory of the language-model head: labeled hidden states, a part of their logits, and the
    gradient of its weight.

    The head itself selects tokens by their labels, which fake tensors do not have.
    """
    head = cast(LanguageHead, model.head)
    chosen = model.features(inputs).flatten(0, 1)[:labeled]
    if head.transform is not None:
        chosen = head.transform(chosen)
    some = chosen[: max(1, LOGIT_BYTES // (4 * len(head.weight)))]
    return functional.linear(some, head.weight.to(some.dtype)).float().logsumexp(1).sum() + chosen.float().sum()


def _without_numbers(module: nn.Module) -> None:
    if isinstance(module, nn.EmbeddingBag):
        module.sparse = False  # fake tensors have no sparse gradients
    for name, parameter in list(module._parameters.items()):
        if parameter is not None:
            fake = torch.empty(parameter.shape, dtype=parameter.dtype)
            module._parameters[name] = nn.Parameter(fake, requires_grad=parameter.requires_grad)
    for name, buffer in list(module._buffers.items()):
        if buffer is not None:
            module._buffers[name] = _like(buffer)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype)


class _Alive(TorchDispatchMode):
    """Counts the bytes of all storages created inside and not yet released."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(given):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return given

    def _see(self, storage: torch.UntypedStorage) -> None:
        number, size = storage._cdata, storage.nbytes()
        if number not in self._seen:
            self._seen.add(number)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._let_go, number, size)

    def _let_go(self, number: int, size: int) -> None:
        self._seen.discard(number)
        self.now -= size
