"""Augment rows: how are training rows changed anew in each epoch? Words dropped, images augmented and mixed."""

from dataclasses import replace

from warmstart.data.encoding.batches import Order, WordDropout
from warmstart.data.encoding.examples import BatchStream, Examples
from warmstart.data.encoding.image_augmentation import Augmentation
from warmstart.data.encoding.image_mixing import NO_CLASSES, Mixing
from warmstart.errors import UsageError
from warmstart.runtime.distributed import Distributed
from warmstart.tasks.task import Task
from warmstart.training.config import TrainConfig


def changed_rows(
    examples: Examples, objective: Task, order: Order, config: TrainConfig, world: Distributed
) -> BatchStream:
    """The training rows in their order, changed as the settings say.

    Raises UsageError where images should be mixed and the objective has no classes.
    """
    mixing = Mixing(config.seed) if config.mixes_rows else None
    if mixing is not None:
        soft = objective.soft_targets(examples.targets)
        if soft is None:
            raise UsageError(*NO_CLASSES)
        examples = replace(examples, targets=soft)
    return BatchStream(
        examples,
        order,
        dropout=WordDropout(config.word_dropout, config.seed) if config.word_dropout else None,
        augmentation=Augmentation.named(config.augment, config.seed, examples.encoded.flips),
        mixing=mixing,
        world=world,
    )
