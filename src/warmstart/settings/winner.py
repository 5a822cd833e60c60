"""Winner: which settings limit the time to spend, and which decide what model may win?"""

from dataclasses import dataclass
from typing import Annotated

from warmstart.settings.choices import DEFAULT_BUDGET, RefitRows
from warmstart.settings.setting import SEVERAL_RUNS, TRAINING, Setting


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """Budget."""

    budget: Annotated[
        float | str,
        Setting(
            "Time to spend, such as 10m or 2h. With advise, or fit --regime auto, also a share of a full comparison,"
            " such as 10%.",
            (*SEVERAL_RUNS, "fit"),
            unset="30m; 10% with advise and auto",
            within=(1, 1e9),
            quantity="budget",
        ),
    ] = DEFAULT_BUDGET
    compute: Annotated[
        float | None,
        Setting(
            "Floating-point operations to spend instead of a time, such as 20TFLOP: the same study on any machine.",
            (*SEVERAL_RUNS, "fit"),
            unset="a time limits the study",
            within=(1e9, 1e24),
            quantity="flops",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class EffectSettings:
    """Choosing the winner."""

    min_effect: Annotated[
        float,
        Setting(
            "Smallest relative difference in score that matters, and the most that interpolation may lose.",
            TRAINING,
            within=(0, 1),
            quantity="share",
        ),
    ] = 0.01


@dataclass(frozen=True, kw_only=True)
class RefitSettings:
    """Choosing the winner."""

    refit: Annotated[
        RefitRows,
        Setting(
            "Retrain the winner with validation rows too, if there is time (auto) or always (validation), with all"
            " rows, or not at all.",
            SEVERAL_RUNS,
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class ConstraintSettings:
    """Choosing the winner."""

    max_size: Annotated[
        int | None,
        Setting(
            "Maximum size of the chosen model, including everything it needs, such as 50MB.",
            TRAINING,
            unset="any",
            within=(1, 1e15),
            quantity="size",
        ),
    ] = None
    max_latency: Annotated[
        float | None,
        Setting(
            "Maximum latency of the chosen model for one row, such as 20ms.",
            TRAINING,
            unset="any",
            within=(1e-6, 3600),
            quantity="latency",
        ),
    ] = None
    licence: Annotated[
        tuple[str, ...],
        Setting(
            "Licenses to allow for pretrained weights, such as apache-2.0,mit.",
            TRAINING,
            unset="any",
        ),
    ] = ()
    max_training_time: Annotated[
        float | None,
        Setting(
            "Maximum time to search for a learning rate and train once, such as 2h.",
            TRAINING,
            unset="any",
            within=(1, 1e9),
            quantity="duration",
        ),
    ] = None
    pretrained: Annotated[bool, Setting("Allow regimes that start from pretrained weights.", TRAINING)] = True
