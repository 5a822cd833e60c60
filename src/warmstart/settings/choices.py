"""Choices: which values do settings with fixed choices take, and which defaults are shared?"""

from typing import Literal

TaskName = Literal[
    "regression", "classification", "causal-lm", "masked-lm", "summarise", "translate", "chat", "structured"
]
Scale = Literal["linear", "log10", "log10(1+x)"]
MetricName = Literal[
    "accuracy",
    "balanced-accuracy",
    "macro-f1",
    "micro-f1",
    "log-loss",
    "exact-match",
    "mae",
    "rmse",
    "r2",
    "rouge-l",
    "rouge-1",
    "rouge-2",
    "faithfulness",
    "chrf",
    "bleu",
    "field-accuracy",
    "validity",
]
Long = Literal["head-tail", "chunks"]
BadRowsRule = Literal["drop", "refuse"]  # all unusable rows are left out; a single one is an error
Augment = Literal["auto", "none", "light", "strong", "mix"]
Init = Literal["default", "xavier", "he", "normal"]
NetworkSize = Literal["auto", "search", "reference"]
RefitRows = Literal["auto", "none", "validation", "all"]
OptimizerName = Literal["adamw", "adam", "sgd"]
OptimizerStateName = Literal["fp32", "bf16"]
ScheduleName = Literal["linear", "cosine", "constant"]
PrecisionName = Literal["auto", "fp32", "bf16"]

DEFAULT_SEEDS = 3
MAX_LENGTH = 256  # tokens; most titles and descriptions fit, and the time of a step grows with it
DEFAULT_BUDGET = 1800.0  # seconds for a comparison
