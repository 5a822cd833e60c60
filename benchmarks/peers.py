"""Peers: the same network, rows and recipe, trained by someone else's loop.

Every peer gets the weights that ours gets, in transformers' own model, the same number of optimizer steps and the same
rates. What differs is what is compared: who feeds the rows, in which precision, who drives the steps, and how a network
attends and drops.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from warmstart.data.encoding.batches import Order
from warmstart.data.rows.split import Rows
from warmstart.models.dropout import Dropout
from warmstart.models.model import Model
from warmstart.regimes.full import Full
from warmstart.regimes.starts import Pretrained
from warmstart.runtime import device
from warmstart.training.config import TrainConfig
from warmstart.training.optimizer import param_groups, schedule_factor
from warmstart.types import Array

Options = Literal["default", "tuned"]
Example = dict[str, Any]  # what a tokenizer gives for one text, with its "labels"
Collate = Callable[[list[Example]], dict[str, Tensor]]


class Learned(Protocol):
    """What is asked of a task here."""

    def output_loss(self, outputs: Tensor, targets: Tensor) -> Tensor: ...


class Labeled(nn.Module):
    """A model as Hugging Face's Trainer calls it: with the labels among its inputs, giving the loss."""

    accepts_loss_kwargs = False

    def __init__(self, model: Model, task: Learned):
        super().__init__()
        self.model = as_published(model)
        self.task = task

    def forward(self, labels: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        outputs = self.model(inputs)
        return {"loss": self.task.output_loss(outputs, labels), "logits": outputs}


def as_published(model: Model) -> Model:
    """The same weights, with the attention and the dropout that transformers and torch come with, not ours."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.__class__ = nn.Dropout  # type: ignore[assignment]  # what it was: see `quicken`
        elif isinstance(module, PreTrainedModel):
            module.set_attn_implementation("sdpa")
    return model


def tokenized(start: Pretrained, rows: Rows, targets: Array) -> list[Example]:
    """Each row as the tokenizer gives it, all in one call, cut where ours are cut."""
    inputs = start.base.inputs
    ids = inputs.tokenizer(list(rows.texts), truncation=True, max_length=inputs.max_length)["input_ids"]
    return [{"input_ids": row, "labels": target} for row, target in zip(ids, targets.tolist(), strict=True)]


def padded(start: Pretrained) -> Collate:
    """A batch, padded to its longest row."""
    from transformers import DataCollatorWithPadding

    return DataCollatorWithPadding(start.base.inputs.tokenizer)


def precision(options: Options) -> str:
    """Peers compute in fp32 unless told to; tuned, in bf16 where the machine has the instructions."""
    return device.precision() if options == "tuned" else "fp32"


def trainer(
    model: Labeled,
    examples: Sequence[Any],
    collate: Callable[[list[Any]], dict[str, Tensor]],
    config: TrainConfig,
    options: Options,
    *,
    in_order: bool = False,
    optimizers: tuple[Any, Any] = (None, None),
) -> Any:
    """Hugging Face's Trainer after its training. It saves and logs nothing; both would only cost it time.

    Optimizer and schedule are its own unless given.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments

    by_length = options == "tuned" and "input_ids" in examples[0]
    order = "sequential" if in_order else "group_by_length" if by_length else "random"
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=config.steps,
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.lr,
            warmup_steps=round(config.warmup * config.steps),
            weight_decay=config.weight_decay,
            max_grad_norm=config.clip,
            seed=config.seed,
            bf16=precision(options) == "bf16",
            train_sampling_strategy=order,
            use_cpu=not torch.cuda.is_available(),
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        found = Trainer(model, arguments, train_dataset=examples, data_collator=collate, optimizers=optimizers)
        found.remove_callback(PrinterCallback)
        found.train()
    return found


def accuracy(trained: Any, held_out: Sequence[Any]) -> float:
    """Of a Trainer, on rows that it takes in an order of its own where it groups them by length."""
    found = trained.predict(held_out)
    return float((found.predictions.argmax(-1) == found.label_ids).mean())


def accelerate_loop(model: Labeled, examples: list[Example], collate: Collate, config: TrainConfig) -> None:
    """The loop that Accelerate's documentation shows, with our batches and precision."""
    from torch.utils.data import DataLoader, Dataset

    accelerator = new_accelerator("bf16" if config.precision == "bf16" else "no")
    optimizer = torch.optim.AdamW(groups(model, config), lr=config.lr, fused=True)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule_factor(step, config))
    rows = cast("Dataset[Example]", examples)  # to torch a list is one too
    loader = DataLoader(rows, batch_sampler=batches(examples, config), collate_fn=collate)
    model, optimizer, loader, rates = accelerator.prepare(model, optimizer, loader, rates)
    model.train()
    for batch in loader:
        loss = model(**batch)["loss"]
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()


def new_accelerator(mixed_precision: str) -> Any:
    """Accelerate's own state is one for a process, and the Trainer before may have set another precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=mixed_precision, cpu=not torch.cuda.is_available())


def torch_loop(model: Labeled, examples: list[Example], collate: Collate, config: TrainConfig) -> None:
    """The loop that a careful person writes by hand, with our batches and precision."""
    optimizer = torch.optim.AdamW(groups(model, config), lr=config.lr, fused=True)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule_factor(step, config))
    device = next(model.parameters()).device
    model.train()
    for index in batches(examples, config):
        batch = {name: tensor.to(device) for name, tensor in collate([examples[i] for i in index]).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = model(**batch)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()


def batches(examples: list[Example], config: TrainConfig) -> list[list[int]]:
    """Rows of similar length together, in our own order."""
    lengths = torch.tensor([len(example["input_ids"]) for example in examples]).numpy()
    order = Order(len(lengths), config.batch_size, config.seed, lengths)
    return [index.tolist() for index, _ in zip(_epochs(order), range(config.steps), strict=False)]


def _epochs(order: Order) -> Iterator[Array]:
    epoch = 0
    while True:
        yield from order.epoch(epoch)
        epoch += 1


def groups(model: Labeled, config: TrainConfig) -> list[dict[str, object]]:
    """All weights at one rate, with our weight decay."""
    return param_groups(model.model, Full().rates(model.model), config)
