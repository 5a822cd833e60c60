"""Stages: a regime carried out, from its start through its stages to its best weights."""

import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.data.batch import Order, WordDropout
from warmstart.data.recognise import Schema
from warmstart.data.split import Splits
from warmstart.evaluate import metric
from warmstart.flops import Flops, flops
from warmstart.models.model import Model, body_width
from warmstart.prefix import Examples, Passthrough, Shared, Stream, outputs
from warmstart.record import Point
from warmstart.regimes import Regime
from warmstart.tasks import Task, task_for
from warmstart.train import Step, TrainConfig, begin, train

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", task_for(self.schema, self.splits))

    task: Task = field(init=False)

    def better(self, score: float, other: float) -> bool:
        """Whether a value of the ranking metric beats another one."""
        return score > other if self.task.higher_is_better else score < other


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


Training = Generator[Step, None, Trained]


def training(regime: Regime, config: TrainConfig, draw: Draw, looks: int) -> Training:
    """Train through all stages, yielding every step; looks at validation rows that many times, keeps the best weights.

    Raises TrainingError when it diverges.
    """
    began = time.perf_counter()
    model = start_model(regime, draw.task, config.seed)
    points: list[Point] = []
    done, spent, best_step = 0, 0.0, 0
    for number, stage in enumerate(regime.stages):
        objective = stage.objective or draw.task
        model.body = stage.method.prepare(model.body)
        rates = stage.method.rates(model)
        part = replace(config, steps=max(1, round(config.steps * stage.share)), lr=stage.lr or config.lr)
        state = begin(model, rates, part)
        cost = flops(model, rates)
        seen, examples, watch = _shared_view(model, regime, draw, config, untouched=number == 0)
        state.model = seen
        order = Order(examples.lengths, part.batch_size, part.seed)
        stream = Stream(examples, order, WordDropout(part.word_dropout, part.seed) if part.word_dropout else None)
        sizes = examples.sizes()
        keeper = Keeper(seen, draw.task, looks)
        losses: list[float] = []
        marks = {round(part.steps * (i + 1) / looks) for i in range(looks)}
        for step in train(state, objective, stream, part):
            losses.append(step.loss)
            yield step
            if state.step in marks:
                with evaluation_mode(seen):
                    loss, score = look(seen, draw.task, watch)
                seconds = time.perf_counter() - began
                epoch = state.step / order.per_epoch
                points.append(Point(done + state.step, epoch, statistics.fmean(losses), loss, score, seconds))
                losses.clear()
                keeper.see(score, done + state.step)
                if keeper.tired:
                    break
        keeper.restore()
        best_step = keeper.step
        spent += float(cost.training(sizes).mean()) * len(order.lengths) * state.step / order.per_epoch
        done += state.step
    learned = [p for p in model.parameters() if p.requires_grad]
    model.eval()
    return Trained(
        model=model,
        points=points,
        steps=done,
        best_step=best_step,
        train_flops=spent + len(points) * float(cost.forward(watch.sizes()).sum()),
        cost=cost,
        trainable=sum(p.numel() for p in learned),
        total=_total(model),
        bytes_learned=sum(p.numel() * p.element_size() for p in learned),
    )


def start_model(regime: Regime, task: Task, seed: int) -> Model:
    """Body from the regime's start, head from the seed: the same head for every regime of that width."""
    body = regime.start.body(seed)
    return Model(body, task.head(body_width(body), seed), regime.start.pooling)


def _shared_view(
    model: Model, regime: Regime, draw: Draw, config: TrainConfig, untouched: bool
) -> tuple[Model, Examples, Examples]:
    """What to train on: the model and its rows, or, where the body cannot change, its head on stored features."""
    task, splits, shared = draw.task, draw.splits, draw.shared
    inputs = regime.start.inputs
    examples = shared.examples(inputs, splits.train, task.targets(splits.train))
    watched = splits.val.take(np.arange(min(WATCHED, len(splits.val))))
    watch = shared.examples(inputs, watched, task.targets(watched))
    body_learns = any(p.requires_grad for p in model.body.parameters())
    if body_learns or not untouched or config.word_dropout or regime.start.key is None:
        return model, examples, watch
    features = shared.features(regime.start, model)
    seen = Model(Passthrough(), model.head, model.pooling)
    return seen, replace(examples, encoded=features), replace(watch, encoded=features)


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
            named = self.model.named_parameters()
            self.weights = {name: p.detach().clone() for name, p in named if p.requires_grad}
        else:
            self.waited += 1

    @property
    def tired(self) -> bool:
        return self.looks > 1 and self.waited >= max(2, round(PATIENCE * self.looks))

    def restore(self) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.model.get_parameter(name).copy_(weight)


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
