"""Weight mixing: how far should a fine-tuned model go back toward its base?

As far as validation rows allow: of the weights between the base's and the fine-tuned ones (WiSE-FT, Wortsman et al.
2022), the mix that forgot least at an equal score. For adapters the mix is their scale.

For tasks that generate text, the likelihood of the answers narrows the mixes down, and generated answers decide:
SmolLM2, fine-tuned to translate, found the references equally likely at a mix of 0.6, and its translations were 5 chrF
worse.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from warmstart.data.encoding.examples import Examples
from warmstart.generation.answers import Writer
from warmstart.models.evaluate import outputs
from warmstart.models.model import Model
from warmstart.regimes.starts import Start
from warmstart.results.bootstrap import mean_score
from warmstart.runs.forgetting_measures import InterpolationPoint, Retention, drift, features, kl_divergence, rise
from warmstart.runs.interpolation import interpolate, interpolation_frontier, least_forgetting, search_interpolation
from warmstart.runs.measure_forgetting import (
    general_examples,
    has_language_head,
    load_base_model,
    rows_as_read,
    sample_rows_evenly,
)
from warmstart.runtime.distributed import world
from warmstart.runtime.sampling import spread_places
from warmstart.tasks.task import GenerativeTask
from warmstart.training.frozen_prefix import use_prefix_cache
from warmstart.training.run_data import RunData
from warmstart.training.stages import MAX_VALIDATION_ROWS, TrainedStages
from warmstart.training.validation import evaluate

VALIDATION_ANSWERS = 64  # validation rows to write an answer for, at each of the few mixes in question
LIKELIHOOD = "bits per byte"  # what stands for a metric of written answers, as while training


@dataclass(frozen=True)
class InterpolatedRun:
    """The validation score of each mix, and the mix that was chosen."""

    frontier: tuple[InterpolationPoint, ...]
    taken: InterpolationPoint
    scored_by: str  # a metric
    forgotten_by: str  # a measure of `Retention`
    tuned_val: float  # the score on validation rows before, as a look gives it
    flops: float
    likely: InterpolationPoint | None = (
        None  # what would have been taken by likelihood, where the answers decided otherwise
    )

    def described(self, found: Retention) -> Retention:
        """What was forgotten, with the frontier."""
        by = {"score": self.scored_by, "forgotten": self.forgotten_by}
        return replace(found, frontier=self.frontier, matched=self.taken, frontier_by=by)

    @property
    def caveats(self) -> tuple[str, ...]:
        if self.likely:
            return (
                f"mixed: by the likelihood of the answers {self.likely.mix:g} of the tuned weights would do, but the "
                f"answers to validation rows that it writes are worse; {self.taken.mix:g} was kept",
            )
        if self.taken.mix > 0:
            return ()
        return ("mixed: on validation rows the base's own weights do as well as the tuned ones, and were kept",)


def interpolate_run(trained: TrainedStages, start: Start, run_data: RunData) -> InterpolatedRun | None:
    """Give a trained model the weights between its base's and its own that forgot least at an equally good score.

    As good: at most `draw.worth` of the score is lost. None if nothing is interpolated: with random weights, if no
    weight of the base was trained, or if a score is not finite.
    """
    if start.base is None or not trained.body_learned or not trained.steps:
        return None
    model, val = trained.model, sample_rows_evenly(run_data.splits.val, start, run_data, MAX_VALIDATION_ROWS)
    generative = run_data.task.generative if run_data.task.ranks_by_writing else None
    written = generative is not None
    sign = -1 if written else 1

    def score() -> float:
        with use_prefix_cache(model, trained.reads):
            return sign * evaluate(model, run_data.task, replace(val, encoded=trained.reads))[1]

    measure = _language(model, start, run_data) if has_language_head(model) else _features(model, start, run_data)
    swept = interpolation_frontier(model, measure.base, score, measure.forgotten)
    points = tuple(point for point in swept if math.isfinite(point.score + point.forgotten))
    if swept[-1] not in points:
        return None
    higher = run_data.task.higher_is_better and not written
    taken = likely = least_forgetting(points, higher_is_better=higher, min_effect=run_data.min_effect)
    if generative is not None:
        larger = sorted((point for point in points if point.mix >= taken.mix), key=lambda point: point.mix)
        taken = search_interpolation(
            model,
            measure.base,
            larger,
            lambda: _written(model, start, run_data, generative),
            higher_is_better=run_data.task.higher_is_better,
            min_effect=run_data.min_effect,
        )
    interpolate(model, measure.base, taken.mix)
    looked = float(trained.cost.forward(val.sizes(), val.loss_weights).sum()) + sum(
        float(trained.cost.forward(rows.sizes(), rows.loss_weights).sum()) for rows in measure.rows
    )
    by = LIKELIHOOD if written else run_data.task.metric
    before = sign * points[-1].score
    return InterpolatedRun(
        points, taken, by, measure.name, before, looked * len(swept), None if likely == taken else likely
    )


def _written(model: Model, start: Start, run_data: RunData, task: GenerativeTask) -> float:
    """The task's metric of generated answers on validation rows."""
    val = run_data.splits.val
    rows = val.take(spread_places(VALIDATION_ANSWERS, len(val)))
    model.eval()
    scores = task.judge(Writer(model, task.prompts(start.inputs)).answers(rows.texts, task), rows).scores
    assert scores is not None
    return mean_score(scores)


@dataclass(frozen=True)
class _Measure:
    """One way to measure forgetting without test rows."""

    name: str  # of a field of `Retention`
    base: dict[str, Tensor]  # the base's weights by the model's names
    forgotten: Callable[[], float]
    rows: tuple[Examples, ...]  # that it reads


def _language(model: Model, start: Start, run_data: RunData) -> _Measure:
    base = load_base_model(model, start, run_data)
    general = general_examples(base, start, run_data)
    if general is None:
        asked = sample_rows_evenly(run_data.splits.val, start, run_data)
        return _Measure("kl", base.state_dict(), lambda: mean_score(kl_divergence(base, model, asked)), (asked, asked))
    before = outputs(base, general, world())
    return _Measure(
        "nats", base.state_dict(), lambda: mean_score(rise(before, outputs(model, general, world()))), (general,)
    )


def _features(model: Model, start: Start, run_data: RunData) -> _Measure:
    asked = rows_as_read(run_data.splits.val, start, run_data)
    body = start.body(run_data.seed).to(next(model.parameters()).device)
    before = features(body, start.pooling, asked, world())

    def moved() -> float:
        found = drift(before, features(model.body, start.pooling, asked, world())).drift
        return math.nan if found is None else found

    return _Measure("drift", {f"body.{name}": tensor for name, tensor in body.state_dict().items()}, moved, (asked,))
