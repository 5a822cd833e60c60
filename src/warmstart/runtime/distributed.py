"""Distributed: how do several processes train one model with the same result as one?

A single process is the normal case: every method below then returns at once, and nothing is imported. Several are
started by torchrun and joined by Accelerate (gloo between CPUs, NCCL between GPUs). They hold the same weights, since
all take the same steps: each computes its part of a step's batch, and the gradients are averaged. On CPUs that is one
all-reduce of all gradients after the backward pass: nothing wraps the model, a process without a row is no special
case, and a step that does not fit into one process's memory is repeated by all in smaller pieces (DDP would wait
forever). On GPUs it is DDP, which sends the first gradients while the last are still being computed.

Only the main process decides by clocks and files, and only it writes and prints.
"""

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from warmstart.errors import WarmstartError

if TYPE_CHECKING:  # the command line asks which process this is before anything slow is imported
    import torch
    from torch import Tensor, nn

    from warmstart.types import Array, Value


@dataclass(frozen=True)
class Distributed:
    """This process among all that train together."""

    rank: int = 0
    size: int = 1
    talk: "torch.distributed.ProcessGroup | None" = field(default=None, repr=False)  # on CPUs, whatever trains

    @property
    def main(self) -> bool:
        return self.rank == 0

    def mine(self, index: "Array") -> "Array":
        """This process's part of the rows of a batch: the parts of all, in their order, are the batch."""
        if self.size == 1:
            return index
        import numpy as np

        part: Array = np.array_split(index, self.size)[self.rank]
        return part

    # --- agreeing -----------------------------------------------------------------------------------------------------

    def gather(self, action: "Callable[[], Value]") -> "list[Value]":
        """What every process gets from `action`. What one of them raises for people, or the system, all raise."""
        if self.size == 1:
            return [action()]
        from torch import distributed

        mine: tuple[Value | None, Exception | None]
        try:
            mine = (action(), None)
        except (WarmstartError, OSError) as error:
            mine = (None, error)
        found = [mine] * self.size
        distributed.all_gather_object(found, mine, group=self.talk)
        for _, raised in found:
            if raised is not None:
                raise raised
        return [cast("Value", value) for value, _ in found]

    def on_main(self, action: "Callable[[], Value]") -> "Value":
        """Done by the main process alone; what it gets, or raises, for all."""
        if self.size == 1:
            return action()
        return cast("Value", self.gather(lambda: action() if self.main else None)[0])

    def all_reduce_max(self, *values: int) -> tuple[int, ...]:
        """Of each value the largest that any process has."""
        if self.size == 1:
            return values
        import torch

        found = torch.tensor(values)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX, group=self.talk)
        return tuple(found.tolist())

    def mean(self, value: float | None) -> float | None:
        """Over all processes; None where any of them has none."""
        if self.size == 1:
            return value
        import torch

        found = torch.tensor([value or 0.0, value is None], dtype=torch.float64)
        torch.distributed.all_reduce(found, group=self.talk)
        total, missing = found.tolist()
        return None if missing else total / self.size

    # --- tensors ------------------------------------------------------------------------------------------------------

    def all_reduce_sum(self, values: "Array") -> None:
        """Add the arrays of all processes, in place."""
        if self.size > 1:
            import torch

            torch.distributed.all_reduce(torch.from_numpy(values), group=self.talk)

    def wrap_ddp(self, model: "nn.Module") -> "nn.Module":
        """What is called to train `model`: on GPUs DDP around it. Its buffers are left alone: see `as_main`."""
        if self.size == 1 or next(model.parameters()).device.type == "cpu" or self.is_sharded(model):
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)

    def average_gradients(self, parameters: "Iterable[nn.Parameter]") -> None:
        """Average the gradients of all processes, in place. Those of shards have been averaged while computed."""
        if self.size == 1:
            return
        import torch

        gradients = [p.grad for p in parameters if p.grad is not None and not _is_cut(p)]
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        means = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def broadcast(self, tensors: "Iterable[Tensor]") -> None:
        """Give every process the main one's values, in place: running statistics are those of the rows it has seen."""
        if self.size > 1:
            import torch

            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    # --- tensors cut over the processes -------------------------------------------------------------------------------

    def is_sharded(self, model: "nn.Module") -> bool:
        """Whether each process holds only a part of the model's weights."""
        return self.size > 1 and any(_is_cut(parameter) for parameter in model.parameters())

    def local_part(self, tensor: "Tensor") -> "Tensor | None":
        """What this process has to save: its part of a tensor that is cut; of any other all, or nothing."""
        if self.size > 1 and _is_cut(tensor):
            part: Tensor = tensor.to_local()  # type: ignore[attr-defined]
            return part
        return tensor if self.main else None

    def full_tensor(self, tensor: "Tensor") -> "Tensor":
        """A tensor put together from its parts; every process has to ask."""
        if self.size > 1 and _is_cut(tensor):
            whole: Tensor = tensor.full_tensor()  # type: ignore[attr-defined]
            return whole
        return tensor

    def shard_like(self, tensor: "Tensor", other: "Tensor") -> "Tensor":
        """A whole tensor, cut as the other one of its shape is."""
        if self.size == 1 or not _is_cut(other) or tensor.shape != other.shape:
            return tensor
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(other, DTensor)
        tensor = tensor.to(other.device)
        return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


ALONE = Distributed()


def started() -> tuple[int, int]:
    """Number of this process and how many torchrun has started; (0, 1) without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@functools.cache
def world() -> Distributed:
    """The world that this process is in; the first call waits until all others have called."""
    if started()[1] == 1:
        return ALONE
    from accelerate import PartialState
    from torch import distributed

    from warmstart.runtime.device import best_device

    cpu = best_device().type == "cpu"
    state = PartialState(cpu=cpu, backend="gloo" if cpu else "nccl")
    assert state.num_processes == started()[1]
    talk = distributed.new_group(backend="gloo")
    return Distributed(state.process_index, state.num_processes, talk)


def _is_cut(tensor: "Tensor") -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)
