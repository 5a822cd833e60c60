"""Stages: a regime carried out, from its start through its stages to its best weights."""

import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.data.batch import Order, WordDropout
from warmstart.data.inputs import Encoded, TokenRows
from warmstart.data.recognise import Schema
from warmstart.data.split import Splits
from warmstart.device import best_device
from warmstart.evaluate import metric
from warmstart.flops import Flops, flops
from warmstart.methods import Rates
from warmstart.models.model import Model, body_width
from warmstart.models.vocabulary import only_used_rows
from warmstart.prefix import Examples, Shared, Stream, outputs, reading
from warmstart.record import Point
from warmstart.regimes import Regime
from warmstart.starts import Start, random_state
from warmstart.tasks import Objective, Task, task_for
from warmstart.train import Step, TrainConfig, begin, set_trainable, train

WATCHED = 500  # validation rows looked at while training: a look must stay cheap
PATIENCE = 0.5  # of the looks without a new best, and training stops


@dataclass(frozen=True)
class Draw:
    """One draw of training rows with the rows to choose by and to be judged on: the same for every regime."""

    splits: Splits
    schema: Schema
    shared: Shared
    seed: int
    worth: float = 0.01

    @cached_property
    def task(self) -> Task:
        """Mean and deviation, or classes, as this draw's training rows have them."""
        return task_for(self.schema, self.splits)

    def better(self, score: float, other: float) -> bool:
        """Whether a value of the ranking metric beats another one."""
        return score > other if self.task.higher_is_better else score < other


@dataclass
class Course:
    """How a training went so far, over its stages."""

    looks: int
    points: list[Point] = field(default_factory=list)
    steps: int = 0  # of the stages that are done
    best_step: int = 0
    flops: float = 0.0
    cost: Flops = field(default_factory=Flops)  # of one example, in the last stage
    began: float = field(default_factory=time.perf_counter)

    def add(self, step: int, epoch: float, train_loss: float, val_loss: float, score: float) -> None:
        seconds = time.perf_counter() - self.began
        self.points.append(Point(self.steps + step, epoch, train_loss, val_loss, score, seconds))


@dataclass
class Trained:
    """A model at its best point, and how it got there."""

    model: Model
    points: list[Point]
    steps: int
    best_step: int
    train_flops: float
    cost: Flops  # of one example
    trainable: int
    total: int
    bytes_learned: int
    reads: Encoded  # every row, as the model read it last: in `reading`, scoring costs no more than training did


@dataclass(frozen=True)
class View:
    """What the loop trains and looks at: the model, and its rows or what a frozen prefix made of them."""

    model: Model
    examples: Examples
    watch: Examples  # the validation rows to look at

    def used_tokens(self) -> Tensor:
        """Every token that any row of the study has; empty where rows are no tokens."""
        encoded = self.examples.encoded
        tokens = encoded.tokens.values if isinstance(encoded, TokenRows) else np.empty(0, dtype=np.int32)
        return torch.from_numpy(np.unique(tokens).astype(np.int64))


def shared_view(model: Model, start: Start, draw: Draw, stored: bool) -> View:
    """The rows that `model` learns from and is watched on; activations of layers that cannot change may be `stored`."""
    task, splits, shared = draw.task, draw.splits, draw.shared
    examples = shared.examples(start.inputs, splits.train, task.targets(splits.train))
    count = min(WATCHED, len(splits.val))
    watched = splits.val.take(np.arange(count) * len(splits.val) // count)  # spread out: files are often sorted
    watch = shared.examples(start.inputs, watched, task.targets(watched))
    if not stored:
        return View(model, examples, watch)
    encoded = shared.below(model, start.inputs)
    return View(model, replace(examples, encoded=encoded), replace(watch, encoded=encoded))


Training = Generator[Step, None, Trained]


def training(regime: Regime, config: TrainConfig, draw: Draw, looks: int) -> Training:
    """Train through all stages, yielding every step; looks at validation rows that many times, keeps the best weights.

    Raises TrainingError when it diverges.
    """
    model = start_model(regime, draw.task, config.seed)
    course = Course(looks)
    for stage in regime.stages:
        with random_state(config.seed):  # adapters are drawn anew
            model.body = stage.method.prepare(model.body)
        part = replace(config, steps=max(1, round(config.steps * stage.share)), lr=stage.lr or config.lr)
        rates = stage.method.rates(model)
        set_trainable(model, rates)
        course.cost = flops(model, rates)
        learned = [p for p in model.parameters() if p.requires_grad]
        view = shared_view(model, regime.start, draw, stored=not config.word_dropout)
        with only_used_rows(model.body, view.used_tokens()), reading(model, view.examples.encoded):
            yield from _stage(view, rates, stage.objective or draw.task, part, draw.task, course)
    model.eval()
    return Trained(
        model=model,
        points=course.points,
        steps=course.steps,
        best_step=course.best_step,
        train_flops=course.flops,
        cost=course.cost,
        trainable=sum(p.numel() for p in learned),
        total=_total(model),
        bytes_learned=sum(p.numel() * p.element_size() for p in learned),
        reads=view.examples.encoded,
    )


def _stage(
    view: View, rates: Rates, objective: Objective, config: TrainConfig, task: Task, course: Course
) -> Generator[Step, None, None]:
    """One stage on the loop: look at validation rows now and then, stop when it no longer helps, keep the best."""
    state = begin(view.model, rates, config)
    order = Order(view.examples.lengths, config.batch_size, config.seed)
    dropped = WordDropout(config.word_dropout, config.seed) if config.word_dropout else None
    keeper = Keeper(view.model, task, course.looks)
    marks = {round(config.steps * (i + 1) / course.looks) for i in range(course.looks)}
    losses: list[float] = []
    for step in train(state, objective, Stream(view.examples, order, dropped), config):
        losses.append(step.loss)
        yield step
        if state.step in marks:
            with evaluation_mode(view.model):
                loss, score = look(view.model, task, view.watch)
            course.add(state.step, state.step / order.per_epoch, statistics.fmean(losses), loss, score)
            losses.clear()
            keeper.see(score, course.steps + state.step)
            if keeper.tired:
                break
    keeper.restore()
    looked = sum(point.step > course.steps for point in course.points)
    course.best_step = keeper.step
    course.steps += state.step
    epochs = state.step / order.per_epoch
    course.flops += epochs * float(course.cost.training(view.examples.sizes()).sum())
    course.flops += looked * float(course.cost.forward(view.watch.sizes()).sum())


def start_model(regime: Regime, task: Task, seed: int) -> Model:
    """Body from the regime's start, head from the seed: the same head for every regime of that width."""
    body = regime.start.body(seed)
    return Model(body, task.head(body_width(body), seed), regime.start.pooling).to(best_device())


class Keeper:
    """Keeps the best weights seen, and says when to stop looking for better ones."""

    def __init__(self, model: Model, task: Task, looks: int):
        self.model, self.higher, self.looks = model, task.higher_is_better, looks
        self.score: float | None = None
        self.step = 0
        self.waited = 0
        self.weights: dict[str, Tensor] = {}

    def see(self, score: float, step: int) -> None:
        if self.score is None or (score > self.score if self.higher else score < self.score):
            self.score, self.step, self.waited = score, step, 0
            learned = {name for name, p in self.model.named_parameters() if p.requires_grad}
            learned |= {name for name, _ in self.model.named_buffers()}  # running statistics move with the weights
            state = self.model.state_dict()
            self.weights = {name: tensor.clone() for name, tensor in state.items() if name in learned}
        else:
            self.waited += 1

    @property
    def tired(self) -> bool:
        return self.looks > 1 and self.waited >= max(2, round(PATIENCE * self.looks))

    def restore(self) -> None:
        self.model.load_state_dict(self.weights, strict=False)


@contextmanager
def evaluation_mode(model: Model) -> Generator[None, None, None]:
    """Evaluation mode inside; afterwards each module as it was, frozen layers included."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def look(model: Model, task: Task, examples: Examples) -> tuple[float, float]:
    """Loss and ranking metric on these rows."""
    found = outputs(model, examples)
    targets = examples.targets.numpy()
    loss = task.output_loss(torch.from_numpy(found), examples.targets).item()
    return loss, metric(task.score(found, targets, task.calibrate(found, targets)))


def _total(model: Model) -> int:
    """All weights; 4-bit layers by their shape, since they store two weights in a byte."""
    packed = {id(m.weight): m.in_features * m.out_features for m in model.modules() if isinstance(m, nn.Linear)}
    return sum(packed.get(id(p), p.numel()) for p in model.parameters())
