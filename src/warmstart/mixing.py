"""Mixing: how much of its base does a trained model take back?

As much as validation rows bear: of the weights between the base's and the tuned ones (WiSE-FT, Wortsman et al. 2022),
those that forgot least at as good a score. For adapters that is a part of their scale.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from warmstart.course import look
from warmstart.engine import world
from warmstart.evaluate import metric
from warmstart.forgetting import measured_on, spread, untuned
from warmstart.keeping import Mixed, interpolate, matched, sweep
from warmstart.models.model import UNPOOLED, Model
from warmstart.prefix import Examples, outputs, reading
from warmstart.retention import TEXTS, Retention, divergence, drift, features, rise
from warmstart.stages import WATCHED, Draw, Trained
from warmstart.starts import Pretrained, Start
from warmstart.tasks.language import Language

LIKELIHOOD = "bits per byte"  # what stands for a metric of written answers, as while training


@dataclass(frozen=True)
class Mixture:
    """What came of each mix on validation rows, and the one that the model was left with."""

    frontier: tuple[Mixed, ...]
    taken: Mixed
    scored_by: str  # a metric
    forgotten_by: str  # a measure of `Retention`
    tuned_val: float  # the score on validation rows before, as a look gives it
    flops: float

    def told(self, found: Retention) -> Retention:
        """What was forgotten, with the frontier beside it."""
        by = {"score": self.scored_by, "forgotten": self.forgotten_by}
        return replace(found, frontier=self.frontier, matched=self.taken, frontier_by=by)

    @property
    def caveats(self) -> tuple[str, ...]:
        if self.taken.mix > 0:
            return ()
        return ("mixed: on validation rows the base's own weights do as well as the tuned ones, and were kept",)


def mixture(trained: Trained, start: Start, draw: Draw) -> Mixture | None:
    """Leave a trained model with the weights between its base's and its own that forgot least at as good a score.

    As good: `draw.worth` of the score may be lost. None where nothing is mixed: from random weights, where no weight
    of the base learned, or where what is learned gives no numbers.
    """
    if not isinstance(start, Pretrained) or not trained.body_learned or not trained.steps:
        return None
    model, val = trained.model, spread(draw.splits.val, start, draw, WATCHED)
    written = isinstance(draw.task, Language) and draw.task.ranks_by_writing
    sign = -1 if written else 1

    def score() -> float:
        with reading(model, trained.reads):
            return sign * look(model, draw.task, replace(val, encoded=trained.reads))[1]

    measure = _language(model, start, draw) if model.pooling == UNPOOLED else _features(model, start, draw)
    swept = sweep(model, measure.base, score, measure.forgotten)
    points = tuple(point for point in swept if math.isfinite(point.score + point.forgotten))
    if swept[-1] not in points:
        return None
    higher = draw.task.higher_is_better and not written
    taken = matched(points, higher_is_better=higher, worth=draw.worth)
    interpolate(model, measure.base, taken.mix)
    looked = float(trained.cost.forward(val.sizes(), val.loss_weights).sum()) + sum(
        float(trained.cost.forward(rows.sizes(), rows.loss_weights).sum()) for rows in measure.rows
    )
    by = LIKELIHOOD if written else draw.task.metric
    return Mixture(points, taken, by, measure.name, sign * points[-1].score, looked * len(swept))


@dataclass(frozen=True)
class _Measure:
    """One way to say what was forgotten, without a look at test rows."""

    name: str  # of a field of `Retention`
    base: dict[str, Tensor]  # the base's weights by the model's names
    forgotten: Callable[[], float]
    rows: tuple[Examples, ...]  # that it reads


def _language(model: Model, start: Pretrained, draw: Draw) -> _Measure:
    base = untuned(model, start, draw)
    general = measured_on(base, start, draw)
    if general is None:
        asked = spread(draw.splits.val, start, draw)
        return _Measure("kl", base.state_dict(), lambda: metric(divergence(base, model, asked)), (asked, asked))
    before = outputs(base, general, world())
    return _Measure(
        "nats", base.state_dict(), lambda: metric(rise(before, outputs(model, general, world()))), (general,)
    )


def _features(model: Model, start: Pretrained, draw: Draw) -> _Measure:
    asked = spread(draw.splits.val, start, draw, TEXTS)
    body = start.body(draw.seed).to(next(model.parameters()).device)
    before = features(body, start.pooling, asked, world())

    def moved() -> float:
        found = drift(before, features(model.body, start.pooling, asked, world())).drift
        return math.nan if found is None else found

    return _Measure("drift", {f"body.{name}": tensor for name, tensor in body.state_dict().items()}, moved, (asked,))
