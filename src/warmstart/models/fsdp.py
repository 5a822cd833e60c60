"""FSDP: how do several processes share the memory of one model during training?

With FSDP2, each process keeps a shard of every weight, its gradient and its optimizer state. A repeated block is
gathered when it is computed, and released afterwards. Weights stay in fp32, whatever the precision of the computation.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from warmstart.errors import UsageError
from warmstart.models.layers import repeated_blocks
from warmstart.models.model import Model
from warmstart.runtime.distributed import Distributed


@contextmanager
def fully_sharded(model: Model, world: Distributed) -> Iterator[Model]:
    """Context with a copy of the model that is sharded over the processes, while the model itself is empty. Afterwards
    the model has the copy's weights.

    After an error it stays empty.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    parameters = dict(model.named_parameters())
    if not all(parameter.is_floating_point() for parameter in parameters.values()):
        raise UsageError("weights held in 4 bits cannot be cut over processes.", "leave --shard out for qlora")
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (world.size,))
    parts = copy.deepcopy(model)
    # Let go also after a forward pass without a backward one: or the next would use weights from before an update.
    for block in _blocks(parts.body):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(parts, mesh=mesh, reshard_after_forward=True)
    for parameter in parameters.values():
        parameter.data = parameter.data.new_empty(0)
    yield parts
    for name, parameter in parts.named_parameters():
        parameters[name].data = world.full_tensor(parameter.detach())
    for name, buffer in parts.named_buffers():
        model.get_buffer(name).copy_(buffer)


def _blocks(body: nn.Module) -> list[nn.Module]:
    try:
        return [block for _, block in repeated_blocks(body)]
    except UsageError:  # a body without repeated blocks is put together as one
        return []
