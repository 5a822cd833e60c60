"""Training: which settings say how weights are trained?"""

from dataclasses import dataclass
from typing import Annotated

from warmstart.settings.choices import (
    Augment,
    Init,
    NetworkSize,
    OptimizerName,
    OptimizerStateName,
    PrecisionName,
    ScheduleName,
)
from warmstart.settings.setting import TRAINING, Setting


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Training."""

    trials: Annotated[int, Setting("Learning rates to try for each regime.", TRAINING, within=(1, 9))] = 3
    search: Annotated[
        int | str,
        Setting(
            "Search each regime's architecture and regularization too: a number of trials such as 30, or a time such as"
            " 10m, for each regime.",
            ("plan", "compare", "fit"),
            unset="no search",
            quantity="effort",
        ),
    ] = 0
    lr: Annotated[float | None, Setting("Learning rate.", TRAINING, unset="searched", within=(1e-9, 10))] = None
    epochs: Annotated[
        float | None,
        Setting("Passes over the training rows.", TRAINING, unset="depends on the regime", within=(1e-3, 10_000)),
    ] = None
    length: Annotated[
        float,
        Setting("Multiplier for each regime's default number of steps.", TRAINING, within=(1e-3, 100)),
    ] = 1.0
    batch_size: Annotated[
        int | None,
        Setting("Batch size, in rows.", TRAINING, unset="16, or 32 from 2,000 rows", within=(1, 65_536)),
    ] = None
    dropout: Annotated[
        float | None,
        Setting("Dropout rate of backbone and head.", TRAINING, unset="the model's default", within=(0, 0.95)),
    ] = None
    lora_rank: Annotated[
        int,
        Setting("Rank of LoRA's adapters.", TRAINING, within=(1, 4096)),
    ] = 16
    lora_alpha: Annotated[
        float,
        Setting("Alpha of LoRA's adapters, which are scaled by alpha / sqrt(rank).", TRAINING, within=(1e-3, 1e6)),
    ] = 16.0
    init: Annotated[Init, Setting("Initialization of random weights.", TRAINING)] = "default"
    size: Annotated[
        NetworkSize,
        Setting(
            "Size of scratch-dnn: the default, searched, or the reference network with 289 million weights.",
            TRAINING,
        ),
    ] = "auto"
    precision: Annotated[PrecisionName, Setting("Precision of matrix multiplications.", TRAINING)] = "auto"


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Training.

    What the training loop takes as it is: the fields of `TrainConfig` of the same names.
    """

    micro_batch: Annotated[
        int | None,
        Setting(
            "Rows per forward pass, to save memory. Gradients are accumulated over the batch.",
            TRAINING,
            unset="the whole batch",
            within=(1, 65_536),
        ),
    ] = None
    optimizer: Annotated[OptimizerName, Setting("Optimizer.", TRAINING)] = "adamw"
    optimizer_state: Annotated[
        OptimizerStateName,
        Setting("Precision of the optimizer state of adamw. bf16 takes half the memory.", TRAINING),
    ] = "fp32"
    schedule: Annotated[ScheduleName, Setting("Learning-rate schedule after the warm-up.", TRAINING)] = "linear"
    weight_decay: Annotated[float, Setting("Weight decay.", TRAINING, within=(0, 10))] = 0.01
    word_dropout: Annotated[
        float | None,
        Setting(
            "Share of words to drop at random during training.",
            TRAINING,
            unset="20% for scratch-dnn, else none",
            within=(0, 0.95),
        ),
    ] = None
    augment: Annotated[Augment, Setting("Augmentation of training images.", TRAINING)] = "auto"
    gradient_checkpointing: Annotated[
        bool,
        Setting(
            "Save memory by recomputing activations in the backward pass. Takes a third more time.",
            TRAINING,
        ),
    ] = False
    compile: Annotated[
        bool,
        Setting("Compile the layers with torch.compile: slower to start, then faster on a GPU.", TRAINING),
    ] = False
    shard: Annotated[
        bool,
        Setting("With torchrun: shard weights and optimizer state across processes (FSDP).", ("fit",)),
    ] = False
