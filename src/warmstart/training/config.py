"""Config: which settings does one training run have?"""

from dataclasses import dataclass
from typing import get_args

from warmstart.data.encoding.image_augmentation import MIXING_STRENGTHS, STRENGTHS
from warmstart.settings.choices import OptimizerName as OptimizerName
from warmstart.settings.choices import OptimizerStateName as OptimizerStateName
from warmstart.settings.choices import ScheduleName as ScheduleName
from warmstart.settings.training import LoopSettings

OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopSettings):
    """All settings of the training loop."""

    steps: int
    lr: float
    batch_size: int = 32
    warmup: float = 0.1  # of the steps
    l2_sp: float = 0.0  # like weight decay, but toward the base's weights; of weights that a base has
    replay: float = 0.0  # general rows beside each of the task's: see `keeping.Replay`
    clip: float = 1.0  # largest norm of a step's gradients
    precision: str = "fp32"
    seed: int = 0

    @property
    def changes_rows(self) -> bool:
        """Whether rows are augmented anew in each epoch, so that nothing computed from them can be cached."""
        return bool(self.word_dropout) or self.augment in STRENGTHS

    @property
    def mixes_rows(self) -> bool:
        """Whether images and their classes are mixed with others."""
        return self.augment in MIXING_STRENGTHS
