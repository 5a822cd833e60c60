"""Requirements: what does the finished model of a regime need, and does that meet the constraints?"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from warmstart.inference.model_store import Network
from warmstart.models.pretrained.base import Base, weight_file_bytes
from warmstart.models.pretrained.licenses import licenses_of
from warmstart.planning.estimates import seconds_of_run, seconds_of_search
from warmstart.planning.model_size import BESIDE, ModelSize, model_size
from warmstart.planning.run_plan import RunPlan
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import READ_WITH_BASE, WITHOUT_NETWORK, Regime, Stage
from warmstart.regimes.starts import random_state
from warmstart.results.constraints import Constraints, Excluded, Needs, broken, not_run, require_a_choice
from warmstart.results.names import ENSEMBLE, PREVIOUS, regime_of
from warmstart.results.record import Run
from warmstart.runs.final_evaluation import measure_latency
from warmstart.tasks.task import Task
from warmstart.tasks.tasks import task_for
from warmstart.training.build_model import start_model, switch_objective
from warmstart.training.event import Event
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData

SAMPLE_TEXTS = 1_000  # texts of which one of median length is taken


def exclude_by_constraints(plan: RunPlan, shared: SharedData) -> Generator[Event, None, RunPlan]:
    """The plan without regimes that violate its constraints, as far as is known before any step.

    Yields its current activity. Raises UsageError if no choice is left.
    """
    run_data = plan.run_data(max(plan.sizes), plan.options.first_seed, shared)
    found: list[Excluded] = []
    for name in plan.asked:
        yield Event(f"checking {name} against the constraints")
        found += broken(plan.options.constraints, predicted_requirements(plan, name, run_data))
    require_a_choice(plan.asked, found)
    return replace(plan, excluded=tuple(found))


def exclude_by_time(plan: RunPlan) -> RunPlan:
    """The plan without regimes that would take too long on all requested rows, at the measured throughput."""
    most, rows = plan.options.constraints.max_training_time, max(plan.sizes)
    if most is None:
        return plan
    found = list(plan.excluded)
    for name in plan.networks:
        seconds = seconds_of_search(plan, name, rows) + seconds_of_run(plan, name, rows)
        found += broken(Constraints(max_training_time=most), Needs(name, pretrained=False, train=seconds))
    require_a_choice(plan.asked, found)
    return replace(plan, excluded=tuple(found))


def constraints_after_training(plan: RunPlan, runs: Sequence[Run]) -> tuple[Excluded, ...]:
    """The final exclusions: regimes that were not trained, and trained models that are too large or too slow."""
    out = not_run(plan.excluded)
    found = [each for each in plan.excluded if each.regime in out]
    asked = plan.options.constraints
    allowed = Constraints(max_size=asked.max_size, max_latency=asked.max_latency)
    task = task_for(plan.problem.schema, plan.splits)
    finished = [run for run in runs if run.failed is None]
    most = {run.regime: max(each.rows for each in finished if each.regime == run.regime) for run in finished}
    usable = [run for run in finished if run.rows == most[run.regime]]
    needs: dict[str, Needs] = {}
    for name in plan.names:
        own = [run for run in usable if run.regime == name]
        if own:
            needs[name] = _measured(plan, name, own, task)
    combined = [run for run in usable if run.regime == ENSEMBLE]
    if combined:
        needs[ENSEMBLE] = _combined(combined, usable, needs)
    return tuple(found + [each for need in needs.values() for each in broken(allowed, need)])


def predicted_requirements(plan: RunPlan, name: str, run_data: RunData) -> Needs:
    """Before training: size from shapes, latency of the untrained model. Only what the constraints need.

    Requirements of a baseline are known once it is fitted, which is cheap.
    """
    allowed = plan.options.constraints
    regime = _regime(plan, name)
    if regime is None:
        return Needs(name, pretrained=False)
    regime = run_data.fitted(regime)
    base = regime.start.base
    return Needs(
        name,
        base is not None,
        licenses_of(base.name, base.location) if base and allowed.licenses else (),
        shipped_bytes(regime, run_data.task) if allowed.max_size is not None else None,
        _seconds_of_a_row(regime, run_data) if allowed.max_latency is not None else None,
    )


def shipped_bytes(regime: Regime, task: Task) -> int:
    """Bytes needed for prediction, from shapes: weights in fp32, the tokenizer, and for adapters the base."""
    found = _footprint(regime, task)
    saved = 0 if regime_of(regime.name) in READ_WITH_BASE else found.saved_bytes
    return saved + BESIDE + _base_bytes(regime, found)


def _measured(plan: RunPlan, name: str, runs: Sequence[Run], task: Task) -> Needs:
    regime = _regime(plan, name)
    size = max(run.disk_bytes for run in runs)
    if regime is not None and (_adapted_base(regime) is not None or regime_of(name) in READ_WITH_BASE):
        size += _base_bytes(regime, _footprint(regime, task))
    waits = [run.latency_ms for run in runs if run.latency_ms is not None]
    return Needs(name, pretrained=False, size=size, latency=median(waits) / 1000 if waits else None)


def _combined(ensembles: Sequence[Run], runs: Sequence[Run], needs: Mapping[str, Needs]) -> Needs:
    """What all members of an ensemble need together, for the seed that needs most."""
    regimes = {run.id: run.regime for run in runs}
    sizes = [sum(needs[regimes[id]].size or 0 for id in each.settings["weights"]) for each in ensembles]
    waits = [run.latency_ms for run in ensembles if run.latency_ms is not None]
    return Needs(ENSEMBLE, pretrained=False, size=max(sizes), latency=median(waits) / 1000 if waits else None)


def _regime(plan: RunPlan, name: str) -> Regime | None:
    """The regime; None for a baseline without a network."""
    return None if name in (*WITHOUT_NETWORK, PREVIOUS) else plan.regime(name, max(plan.sizes))


def _footprint(regime: Regime, task: Task) -> ModelSize:
    """Model size of a regime. A base that is not trained (`zero-shot`) is saved like a trained one."""
    return model_size(regime if regime.stages else replace(regime, stages=(Stage(Full()),)), task)


def _adapted_base(regime: Regime) -> Base | None:
    """The base needed to use a model that saves only its adapters; None if it saves everything."""
    return regime.start.base if regime.stages and regime.stages[-1].method.adapters else None


def _base_bytes(regime: Regime, found: ModelSize) -> int:
    """Size of the base's weights, if they must be shipped with the model: its local files, else fp32."""
    base = regime.start.base if regime_of(regime.name) in READ_WITH_BASE else _adapted_base(regime)
    if base is None:
        return 0
    return weight_file_bytes(base.location) or 4 * (found.total - (found.trainable if found.adapter else 0))


def _seconds_of_a_row(regime: Regime, run_data: RunData) -> float:
    """Latency for one row of median length, with the final architecture before training."""
    regime = run_data.fitted(regime)
    model = start_model(regime, run_data.task, run_data.seed)
    switch_objective(model, regime.start, run_data.task, run_data.seed)
    if regime.stages:
        with random_state(run_data.seed):
            model.body = regime.stages[-1].method.prepare(model.body)
    train = run_data.splits.train
    some = sorted(range(0, len(train), max(1, len(train) // SAMPLE_TEXTS)), key=lambda i: len(train.texts[i]))
    row = train.take(np.array([some[len(some) // 2]]))
    return measure_latency(Network(model, run_data.task.reads(regime.start.inputs)), row) / 1000
