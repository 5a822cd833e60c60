"""Config: which settings does one training run have?"""

from dataclasses import dataclass
from typing import Literal

OptimizerName = Literal["adamw", "adam", "sgd"]


OptimizerStateName = Literal["fp32", "bf16"]


ScheduleName = Literal["linear", "cosine", "constant"]


OPTIMIZERS: tuple[OptimizerName, ...] = ("adamw", "adam", "sgd")


SCHEDULES: tuple[ScheduleName, ...] = ("linear", "cosine", "constant")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that the loop reads."""

    steps: int
    lr: float
    batch_size: int = 32
    micro_batch: int | None = None  # rows at a time; their gradients add up to the batch's. None: all at once
    optimizer: OptimizerName = "adamw"
    optimizer_state: OptimizerStateName = "fp32"  # of adamw
    schedule: ScheduleName = "linear"
    warmup: float = 0.1  # of the steps
    weight_decay: float = 0.01
    l2_sp: float = 0.0  # like weight decay, but towards the base's weights; of weights that a base has
    replay: float = 0.0  # general rows beside each of the task's: see `keeping.Replay`
    clip: float = 1.0
    precision: str = "fp32"
    word_dropout: float = 0.0
    gradient_checkpointing: bool = False  # what the repeated blocks compute is computed again for its gradients
    compile: bool = False  # the repeated blocks, by torch
    shard: bool = False  # cut weights and optimizer over the processes, where there are several
    seed: int = 0
