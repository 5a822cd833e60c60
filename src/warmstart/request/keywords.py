"""Keywords: which settings do the public functions take? For type checkers and editors.

Written by `python -m warmstart.request.signatures` from the declaration of the settings. Do not edit.
"""

from collections.abc import Sequence
from typing import TypedDict

from warmstart.settings.choices import (
    Augment,
    BadRowsRule,
    Init,
    Long,
    MetricName,
    NetworkSize,
    OptimizerName,
    OptimizerStateName,
    PrecisionName,
    RefitRows,
    Scale,
    ScheduleName,
    TaskName,
)


class _CheckPlanCompareAdviseFit(TypedDict, total=False):
    text: str | Sequence[str]
    """Input columns. [default: all usable columns]"""
    group: str | None
    """Column with groups. All rows of a group stay on the same side of the split."""
    time: str | None
    """Column of times. The latest rows are for testing, those before them for validation."""
    task: TaskName | None
    """Task. [regression, classification, causal-lm, masked-lm, summarise, translate, chat, structured; default:
    inferred from the data]
    """
    separator: str | None
    """Character that separates several labels in one target cell."""
    scale: Scale | None
    """Scale of a numeric target. [linear, log10, log10(1+x); default: log for skewed positive numbers]"""
    metric: MetricName | None
    """Metric to rank, choose and stop by. [accuracy, balanced-accuracy, macro-f1, micro-f1, log-loss, exact-match, mae,
    rmse, r2, rouge-l, rouge-1, rouge-2, faithfulness, chrf, bleu, field-accuracy, validity; default: the task's own]
    """
    class_weights: str | None
    """Weight of each class or label in the loss: balanced, or a YAML or JSON file of class: weight. [default: all
    alike]
    """
    costs: str | None
    """Costs of mistakes: "spam>ham=1,ham>spam=5" (true class > predicted class), or a CSV file with a row for each true
    and a column for each predicted class. [default: every mistake costs the same]
    """
    instruction: str | None
    """Instruction placed before each text to summarize, translate or describe. [default: a sentence for the task]"""
    fields: str | Sequence[str]
    """Columns of the JSON object to generate, instead of a target."""
    schema: str | None
    """File with the JSON Schema of the generated object. [default: inferred from the data]"""
    long: Long | None
    """How to handle long texts: keep head and tail, or (summarise only) summarize in chunks. [head-tail, chunks;
    default: head-tail]
    """
    image: str | None
    """Column with images: paths or bytes. [default: recognized if it is the only input]"""
    image_size: int | None
    """Pixels per side that images are resized to. Networks without a base never enlarge them. [default: the base's own
    size; without a base, that of the images, at most 64]
    """
    table: str | None
    """Table of an SQLite database. [default: the only one]"""
    column: str | Sequence[str]
    """NAME=KIND, the kind of a column: text, number, category, boolean, datetime or image. [default: inferred from its
    cells]
    """
    max_length: int
    """Maximum number of tokens per text. [default: 256]"""
    bad_rows: BadRowsRule | None
    """Unusable rows: drop and list them, or stop with an error. [drop, refuse; default: drop up to 5% of all rows]"""
    base: str | Sequence[str]
    """Pretrained models to compare: folders, Python packages or Hugging Face ids. [default: the default one for the
    task]
    """
    offline: bool
    """Do not download anything."""


class _PlanCompareAdvise(TypedDict, total=False):
    regimes: str | Sequence[str]
    """Regimes to compare (see `warmstart regimes`). [default: the default ones for the task]"""
    seeds: int
    """Number of seeds. Each draws its own training rows. [default: 3]"""
    refit: RefitRows
    """Retrain the winner with validation rows too, if there is time (auto) or always (validation), with all rows, or
    not at all. [auto, none, validation, all; default: auto]
    """
    examples: bool
    """Show texts of test rows in the report. [default: yes]"""


class _PlanCompareAdviseFit(TypedDict, total=False):
    trust_code: str | Sequence[str]
    """GitHub repository, as owner/repo, whose code may run on this machine for a base of PyTorch Hub. [default: none]
    """
    prompted_endpoint: str | None
    """Address of an OpenAI-compatible API for regime prompted-endpoint. Rows leave this machine: they are sent to it.
    Its key is read from WARMSTART_ENDPOINT_KEY.
    """
    prompted_model: str | None
    """Name of the model to ask at the endpoint."""
    prompted_tokens: int | str
    """Maximum number of tokens to send to and receive from the endpoint, such as 5M. [default: 1000000]"""
    prompted_price: float | None
    """Price of a million tokens at the endpoint, in US dollars."""
    model: str | None
    """Your own architecture, as file.py:function. The file is executed."""
    parameters: int | str | None
    """Number of weights of a model trained from scratch, such as 10M. [default: as many as the base]"""
    corpus: str | Sequence[str]
    """Text files or tables for the language-modeling stage of hybrid. [default: the training texts]"""
    general_text: str | None
    """Text file or table on which to measure forgetting. [default: text written by the base]"""
    reduce_forgetting: str | Sequence[str]
    """Ways to reduce forgetting: replay, l2-sp, interpolation; with a strength: replay=5%, l2-sp=100. [default: none]
    """
    rows: int | str | Sequence[int | str]
    """Number of training rows, such as 1000 or 250,1000,4000. auto: three or four sizes. [default: all]"""
    tokens: int | str | Sequence[int | str]
    """Number of training tokens, such as 10M or 10M,50M. [default: all]"""
    seed: int
    """First seed. [default: 0]"""
    trials: int
    """Learning rates to try for each regime. [default: 3]"""
    lr: float | None
    """Learning rate. [default: searched]"""
    epochs: float | None
    """Passes over the training rows. [default: depends on the regime]"""
    length: float
    """Multiplier for each regime's default number of steps. [default: 1]"""
    batch_size: int | None
    """Batch size, in rows. [default: 16, or 32 from 2,000 rows]"""
    dropout: float | None
    """Dropout rate of backbone and head. [default: the model's default]"""
    lora_rank: int
    """Rank of LoRA's adapters. [default: 16]"""
    lora_alpha: float
    """Alpha of LoRA's adapters, which are scaled by alpha / sqrt(rank). [default: 16]"""
    init: Init
    """Initialization of random weights. [default, xavier, he, normal; default: default]"""
    size: NetworkSize
    """Size of scratch-dnn: the default, searched, or the reference network with 289 million weights. [auto, search,
    reference; default: auto]
    """
    precision: PrecisionName
    """Precision of matrix multiplications. [auto, fp32, bf16; default: auto]"""
    micro_batch: int | None
    """Rows per forward pass, to save memory. Gradients are accumulated over the batch. [default: the whole batch]"""
    optimizer: OptimizerName
    """Optimizer. [adamw, adam, sgd; default: adamw]"""
    optimizer_state: OptimizerStateName
    """Precision of the optimizer state of adamw. bf16 takes half the memory. [fp32, bf16; default: fp32]"""
    schedule: ScheduleName
    """Learning-rate schedule after the warm-up. [linear, cosine, constant; default: linear]"""
    weight_decay: float
    """Weight decay. [default: 0.01]"""
    word_dropout: float | None
    """Share of words to drop at random during training. [default: 20% for scratch-dnn, else none]"""
    augment: Augment
    """Augmentation of training images. [auto, none, light, strong, mix; default: auto]"""
    gradient_checkpointing: bool
    """Save memory by recomputing activations in the backward pass. Takes a third more time."""
    compile: bool
    """Compile the layers with torch.compile: slower to start, then faster on a GPU."""
    budget: float | str
    """Time to spend, such as 10m or 2h. With advise, or fit --regime auto, also a share of a full comparison, such as
    10%. [default: 30m; 10% with advise and auto]
    """
    compute: float | str | None
    """Floating-point operations to spend instead of a time, such as 20TFLOP: the same study on any machine. [default: a
    time limits the study]
    """
    min_effect: float | str
    """Smallest relative difference in score that matters, and the most that interpolation may lose. [default: 1%]"""
    max_size: int | str | None
    """Maximum size of the chosen model, including everything it needs, such as 50MB. [default: any]"""
    max_latency: float | str | None
    """Maximum latency of the chosen model for one row, such as 20ms. [default: any]"""
    licence: str | Sequence[str]
    """Licenses to allow for pretrained weights, such as apache-2.0,mit. [default: any]"""
    max_training_time: float | str | None
    """Maximum time to search for a learning rate and train once, such as 2h. [default: any]"""
    pretrained: bool
    """Allow regimes that start from pretrained weights. [default: yes]"""
    track: str | Sequence[str]
    """Also write metrics for a tracker: mlflow:FOLDER, tensorboard:FOLDER or wandb:FOLDER (offline). [default: none]
    """
    log: bool
    """Log the cost of each run, for `plan`. No texts are logged. [default: yes]"""


class _Compare(TypedDict, total=False):
    previous: str | None
    """Folder of an earlier study or run. Its model is compared as it is, and trained further; the others learn from its
    rows and the new ones.
    """
    previous_data: str | Sequence[str]
    """Files with the rows of the earlier study, if they were moved. none: train on the new rows alone. [default: those
    it was made with]
    """
    rename: str | Sequence[str]
    """OLD=NEW, a column of the earlier model and what it is called in the new table."""
    shrink: float | None
    """Share of the earlier model's weights to keep before it is trained further, with a little noise added (shrink and
    perturb), such as 0.4. [default: all]
    """
    on: str | None
    """Run jobs on workers of Ray: ray (on this machine) or ray://HOST:PORT (on a cluster). [default: in this process]
    """
    workers: int | None
    """Number of workers. [default: as many as there are processors for]"""
    worker_threads: int
    """Threads of each worker. The last digits of results depend on it. [default: 1]"""


class _PlanCompare(TypedDict, total=False):
    splits: int
    """Number of times to split the rows, each time with another seed, for tables of few rows. Intervals then cover the
    draw of the split. [default: 1]
    """


class _PlanCompareFit(TypedDict, total=False):
    search: int | str
    """Search each regime's architecture and regularization too: a number of trials such as 30, or a time such as 10m,
    for each regime. [default: no search]
    """


class _Fit(TypedDict, total=False):
    shard: bool
    """With torchrun: shard weights and optimizer state across processes (FSDP)."""


class _Plan(TypedDict, total=False):
    device: str | None
    """Device: cpu, h100, a100, l4, rtx4090 and others. [default: this machine]"""
    devices: int
    """Number of devices. [default: 1]"""
    price_per_hour: float | None
    """Price of one device in US dollars. [default: from a table]"""


class CheckSettings(
    _CheckPlanCompareAdviseFit,
):
    """Settings of `check`."""


class PlanSettings(
    _CheckPlanCompareAdviseFit,
    _PlanCompareAdvise,
    _PlanCompareAdviseFit,
    _PlanCompare,
    _PlanCompareFit,
    _Plan,
):
    """Settings of `plan`."""


class CompareSettings(
    _CheckPlanCompareAdviseFit,
    _PlanCompareAdvise,
    _PlanCompareAdviseFit,
    _Compare,
    _PlanCompare,
    _PlanCompareFit,
):
    """Settings of `compare`."""


class AdviseSettings(
    _CheckPlanCompareAdviseFit,
    _PlanCompareAdvise,
    _PlanCompareAdviseFit,
):
    """Settings of `advise`."""


class FitSettings(
    _CheckPlanCompareAdviseFit,
    _PlanCompareAdviseFit,
    _PlanCompareFit,
    _Fit,
):
    """Settings of `fit`."""
