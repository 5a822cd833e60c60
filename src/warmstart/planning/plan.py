"""Plan: what would each regime take, in weights, arithmetic, memory, time, disk, energy and money, before any training?

On this machine, memory and time are measured in a few real steps. For other devices both are computed from shapes and
published figures.
"""

import time
from collections.abc import Generator
from dataclasses import replace

from warmstart.data.rows.split import Rows
from warmstart.data.schema.kinds import say_readers
from warmstart.errors import join_phrases
from warmstart.models.evaluate import EVALUATION_BATCH
from warmstart.planning import run_plan
from warmstart.planning.computed_cost import as_compared, cut_notes
from warmstart.planning.estimates import (
    measured_with_base,
    peak_bytes,
    rows_scored,
    seconds_of_embedding,
    seconds_of_regime,
    seconds_of_run,
    seconds_of_untrained,
)
from warmstart.planning.forecast import (
    COMPUTED,
    MEASURED,
    PREDICTED,
    PlanResult,
    RegimeForecast,
    TargetMachine,
    power,
    sources,
)
from warmstart.planning.memory_probe import longest_rows
from warmstart.planning.model_size import BESIDE, ModelSize, model_size, step_bytes
from warmstart.planning.problem import Options, Problem
from warmstart.planning.requirements import exclude_by_constraints, exclude_by_time
from warmstart.planning.run_plan import RunPlan
from warmstart.planning.sample_fit import (
    BASELINE_ROWS,
    SCORE_ROWS,
    SampleFit,
    baseline_forecast,
    endpoint_forecast,
    jobs_of,
    sample_fit,
)
from warmstart.planning.throughput import measure_throughput
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import (
    PROMPTED,
    READ_WITH_BASE,
    UNTRAINED_BASES,
    WITHOUT_NETWORK,
    Regime,
    Stage,
    is_baseline,
)
from warmstart.results.constraints import not_run
from warmstart.results.names import ENDPOINT_REGIME, name_at_base, regime_of, split_name
from warmstart.runs.search import trial_share
from warmstart.runtime.device import memory_room, resident_memory
from warmstart.runtime.environment import current_environment
from warmstart.runtime.hardware import BANDWIDTH_REACHED, LAUNCH, SCALING, USABLE, UTILIZATION, Machine
from warmstart.training.event import Event
from warmstart.training.run_data import RunData
from warmstart.training.stages import validation_rows
from warmstart.types import Array

ANSWER_LENGTH_NOTE = "time: answers are assumed to be as long as the references"
NO_ANSWERS_NOTE = "time: generating answers to test rows and measuring forgetting are not included"
FULL_PRECISION_NOTE = 1 / 15  # of a GPU's bf16 arithmetic: H100 67 of 989, A100 19.5 of 312 TFLOP/s
PLANNING_SECONDS = 8.0  # for measuring all regimes: a plan is to answer within 20


def forecast_regimes(problem: Problem, options: Options, where: TargetMachine) -> Generator[Event, None, PlanResult]:
    """What `compare` with these options would take: the jobs that its budget leaves; yields its current activity.

    For another device nothing is cut.
    """
    began = time.perf_counter()
    plan = run_plan.first_plan(problem, options)
    rows, shared = max(plan.sizes), plan.shared()
    if options.constraints.given:
        plan = yield from exclude_by_constraints(plan, shared)
    names = plan.names
    run_data = plan.run_data(rows, options.first_seed, shared)
    found: dict[str, ModelSize] = {}
    for name in plan.networks:
        yield Event(f"building {name} on the meta device")
        found[name] = model_size(
            run_data.fitted(plan.regime(name, rows)), run_data.task, options.training.get("optimizer_state", "fp32")
        )
    samples: dict[str, SampleFit] = {}
    for name in names:
        if name in WITHOUT_NETWORK and name != ENDPOINT_REGIME:
            yield Event(f"fitting {name} to {BASELINE_ROWS:,} rows at most")
            samples[name] = sample_fit(name, run_data)
    plan = replace(plan, fit_seconds={name: fit.counted(plan.options) for name, fit in samples.items()})
    room = round(where.machine.memory_bytes * USABLE) if where.machine else memory_room()
    notes: tuple[str, ...]
    if where.machine is None:
        possible = tuple(n for n in names if is_baseline(n) or room is None or found[n].least_bytes < room)
        some = replace(plan, options=replace(options, regimes=possible))
        measured = yield from measure_throughput(some, shared, allowed=PLANNING_SECONDS)
        if not options.by_compute:  # a comparison fits to all rows what needs no base, and measures, in its budget
            measured = measured.after(time.perf_counter() - began + sum(plan.fit_seconds.values()))
        plan = as_compared(exclude_by_time(measured), shared)
        notes = cut_notes(plan, options)
        words = current_environment(plan.options.precision).device
    else:
        notes = (f"{PREDICTED}: from the device's published figures, at {UTILIZATION:.0%} of its peak FLOPS",)
        words = f"{where.devices} x {where.machine.words}"
    forecasts = []
    reasons = {each.regime: each.reason for each in plan.excluded if each.regime in not_run(plan.excluded)}
    for name in (*names, *(name for name in reasons if name not in names)):
        yield Event(f"predicting {name}")
        if name in reasons:
            why = f"not run: {reasons[name]}"
            forecasts.append(RegimeForecast(name, None, None, None, None, None, None, None, None, why, runs=0, seeds=0))
        elif problem.endpoint is not None and name == ENDPOINT_REGIME:
            forecasts.append(endpoint_forecast(plan, problem.endpoint))
        elif name in WITHOUT_NETWORK:
            forecasts.append(baseline_forecast(plan, name, run_data, samples[name], where, room))
        elif is_baseline(name):
            forecasts.append(_untrained(plan, name, run_data, where, room))
        elif where.machine is None:
            forecasts.append(_here(plan, name, found[name], run_data, where, room))
        else:
            forecasts.append(_elsewhere(plan, name, found[name], run_data, where, where.machine))
    return PlanResult(tuple(forecasts), words, room, _plan_notes(problem, run_data, where, notes))


def _plan_notes(problem: Problem, run_data: RunData, where: TargetMachine, of_time: tuple[str, ...]) -> tuple[str, ...]:
    """What stands below a plan: bases, what is sent, how columns are read, floors, time, sources."""
    bases = f"pretrained weights (--base): {join_phrases([base.name for base in problem.bases])}"
    beyond: tuple[str, ...] = ()
    if run_data.task.learns_language:
        beyond = (NO_ANSWERS_NOTE,) if where.machine else (ANSWER_LENGTH_NOTE,) if run_data.task.writes else ()
    readers = say_readers(problem.schema.columns)
    said = (readers,) if readers and run_data.task.generative is None else ()
    floors = (problem.floors_note,) if problem.floors else ()
    sent = (problem.endpoint.note,) if problem.endpoint else ()
    return (bases, *sent, *said, *floors, *of_time, *beyond, *sources(where))


# --- here ------------------------------------------------------------------------------------------------------------


def _here(
    plan: RunPlan, name: str, found: ModelSize, run_data: RunData, where: TargetMachine, room: int | None
) -> RegimeForecast:
    peak: int | None
    if name not in plan.seconds_per_row:  # even its weights do not fit
        seconds, one, peak, basis = None, None, round(found.least_bytes), COMPUTED
    else:
        seconds, one = seconds_of_regime(plan, name), seconds_of_run(plan, name, max(plan.sizes_of(name)))
        peak, basis = peak_bytes(plan, name), MEASURED
        if peak is None:
            peak = _computed_peak(plan, name, found, run_data)
    fits = None if room is None or peak is None else peak <= room
    advice = ""
    if fits is False and room is not None:
        a_row = plan.memory_peaks[name].a_row if name in plan.memory_peaks else 0.0
        advice = _advice(plan, name, run_data, room, round(peak or 0), a_row)
    return _forecast(plan, name, found, run_data, where, peak, seconds, one, fits, advice, basis)


def _computed_peak(plan: RunPlan, name: str, found: ModelSize, run_data: RunData) -> int:
    """Peak memory of the process from the shapes of one step, where there was no time to measure it."""
    regime = run_data.fitted(plan.regime(name, max(plan.sizes)))
    config = plan.config(regime, max(plan.sizes), run_data.seed)
    costliest = longest_rows(run_data, regime, config)[-(config.micro_batch or config.batch_size) :]
    reads, train = run_data.task.reads(regime.start.inputs), run_data.splits.train
    examples = run_data.shared.examples(reads, train, run_data.task.targets(train)).take(costliest)
    precision = "fp32" if plan.options.precision == "fp32" else config.precision
    step = step_bytes(found, run_data.task, examples, precision, config.gradient_checkpointing)
    return round(step) + (resident_memory() or 0)


def _untrained(plan: RunPlan, name: str, run_data: RunData, where: TargetMachine, room: int | None) -> RegimeForecast:
    """Cost of an untrained base: it reads the rows and generates answers at the throughput of regimes trained from it.

    A linear model on its features adds little to the reading.
    """
    rows = max(plan.sizes)
    regime = run_data.fitted(plan.regime(name, rows))
    found = model_size(replace(regime, stages=(Stage(Full()),)), run_data.task)
    fits = regime_of(name) in READ_WITH_BASE
    parts = (run_data.splits.val, run_data.splits.test, *([run_data.splits.train] if fits else []))
    read = [_sizes(run_data, regime, part) for part in parts]
    if regime_of(name) in PROMPTED:  # its labels, and its share of the examples, are about as long as the text
        read = [(2 * tokens, answers) for tokens, answers in read[:2]]
    alike = measured_with_base(plan, name)
    one = None
    if alike and regime_of(name) in UNTRAINED_BASES:
        one = seconds_of_untrained(plan, name)
    elif alike:
        one = seconds_of_embedding(plan, name)
    runs, here = len(plan.seeds) * len(plan.sizes), where.machine is None
    watts, price = power(where)
    times = 1 if fits else runs  # what a base makes of the rows is kept for all seeds
    seconds = None if one is None else times * one
    return RegimeForecast(
        regime=name,
        trainable=0 if regime_of(name) in UNTRAINED_BASES else None,  # of a linear model: known once it is fitted
        total=found.total,
        flops=runs * sum(float(found.cost.forward(*sizes).sum()) for sizes in read),
        peak_memory_bytes=4 * found.total,
        seconds=seconds,
        disk_bytes=runs * ((0 if fits else 4 * found.total) + BESIDE + SCORE_ROWS * len(plan.splits.test)),
        money=None if seconds is None else seconds / 3600 * price,
        fits=None if room is None else 4 * found.total <= room,
        advice="" if here or one is None else "its time is that of this machine",
        runs=runs,
        seconds_of_run=one,
        energy_kwh=None if seconds is None else seconds * watts / 3.6e6,
        basis=COMPUTED,
        **jobs_of(plan, name),
    )


# --- elsewhere -------------------------------------------------------------------------------------------------------


def _elsewhere(
    plan: RunPlan, name: str, found: ModelSize, run_data: RunData, where: TargetMachine, machine: Machine
) -> RegimeForecast:
    rows = max(plan.sizes)
    regime = run_data.fitted(plan.regime(name, rows))
    config = plan.config(regime, rows, run_data.seed)
    precision = "fp32" if plan.options.precision == "fp32" else "bf16"
    train = run_data.splits.train
    examples = run_data.shared.examples(run_data.task.reads(regime.start.inputs), train, run_data.task.targets(train))
    costliest = longest_rows(run_data, regime, config)
    devices = min(where.devices, config.batch_size)
    mine = max(1, -(-len(costliest) // devices))
    mine = min(mine, config.micro_batch or mine)
    again = config.gradient_checkpointing
    peak = round(step_bytes(found, run_data.task, examples.take(costliest[-mine:]), precision, again))
    room = machine.memory_bytes * USABLE
    per_row = (peak - found.held_bytes) / mine
    fits = peak <= room
    advice = "" if fits else _advice(plan, name, run_data, room, peak, per_row)
    if devices < where.devices:
        idle = f"a step has {config.batch_size} rows: more devices than that would be idle"
        advice = f"{advice}; {idle}" if advice else idle
    share = 1.0 if precision == "bf16" else FULL_PRECISION_NOTE
    gain = devices * (SCALING if devices > 1 else 1.0)
    rate = machine.flops * UTILIZATION * share
    traffic = (8 * found.total + 28 * found.trainable) / (machine.bandwidth * BANDWIDTH_REACHED)
    per_example = float(found.cost.training(examples.sizes(), examples.loss_weights).mean())
    if again:
        per_example += float(found.cost.forward(examples.sizes(), examples.loss_weights).mean())
    batch = config.batch_size * per_example
    step = max(batch / (rate * gain), traffic, 3 * LAUNCH * found.layers)

    def run_of(steps: int, scored: int) -> float:
        forward = float(found.cost.forward(examples.sizes(), examples.loss_weights).mean())
        return steps * step + max(scored * forward / rate, scored / EVALUATION_BATCH * LAUNCH * found.layers)

    one = run_of(config.steps, _scored(plan, name, rows))
    search = 0.0
    if plan.searches:
        search = plan.trial_count(plan.regime(name, rows), config) * run_of(
            max(1, round(config.steps * trial_share(config))), len(plan.splits.val)
        )
        search += plan.effort.seconds or 0.0
    seconds = len(plan.sizes) * (search + len(plan.seeds) * one)
    return _forecast(plan, name, found, run_data, where, peak, seconds, one, fits, advice, PREDICTED)


# --- both ------------------------------------------------------------------------------------------------------------


def _forecast(
    plan: RunPlan,
    name: str,
    found: ModelSize,
    run_data: RunData,
    where: TargetMachine,
    peak: int | None,
    seconds: float | None,
    one: float | None,
    fits: bool | None,
    advice: str,
    basis: str,
) -> RegimeForecast:
    runs = len(plan.seeds) * len(plan.sizes_of(name))
    watts, price = power(where)
    return RegimeForecast(
        regime=name,
        trainable=found.trainable,
        total=found.total,
        flops=_flops(plan, name, found, run_data),
        peak_memory_bytes=peak,
        seconds=seconds,
        disk_bytes=runs * (found.saved_bytes + BESIDE + SCORE_ROWS * len(plan.splits.test)),
        money=None if seconds is None else seconds / 3600 * price,
        fits=fits,
        advice=advice,
        runs=runs,
        seconds_of_run=one,
        energy_kwh=None if seconds is None else seconds * watts / 3.6e6,
        basis=basis,
        **jobs_of(plan, name),
    )


def _scored(plan: RunPlan, name: str, rows: int) -> int:
    """Rows that one run scores: during training and at its end."""
    regime, splits = plan.regime(name, rows), plan.splits
    evaluations = regime.defaults.evaluations
    looked_at = evaluations * validation_rows(len(splits.val), plan.config(regime, rows, 0), evaluations)
    return looked_at + rows_scored(plan, rows)


def _flops(plan: RunPlan, name: str, found: ModelSize, run_data: RunData) -> float:
    """FLOPs of searches and runs as a run's cost counts them: each alone, without caches."""
    total = 0.0
    for rows in plan.sizes_of(name):
        regime = run_data.fitted(plan.regime(name, rows))
        config = plan.config(regime, rows, run_data.seed)
        train, val, test = (
            _sizes(run_data, regime, getattr(run_data.splits, part)) for part in ("train", "val", "test")
        )
        trained = config.steps / -(-len(train[0]) // config.batch_size) * float(found.cost.training(*train).sum())
        evaluations = regime.defaults.evaluations
        forward = float(found.cost.forward(*val).sum())
        watch = validation_rows(len(val[0]), config, evaluations)
        run = trained + evaluations * watch / len(val[0]) * forward + forward + float(found.cost.forward(*test).sum())
        tried = plan.trial_count(regime, config) if rows in plan.searched_at(name) else 0.0
        search = tried * (trial_share(config) * trained + 2 * forward)
        total += search + len(plan.seeds) * run
    return total


def _sizes(run_data: RunData, regime: Regime, rows: Rows) -> tuple[Array, Array]:
    """Tokens of each row, and how many of them are predicted, int64 [n]."""
    examples = run_data.shared.examples(run_data.task.reads(regime.start.inputs), rows, run_data.task.targets(rows))
    return examples.sizes(), examples.loss_weights


def _advice(plan: RunPlan, name: str, run_data: RunData, room: float, peak: int, a_row: float) -> str:
    """The first change that would make it fit, least intrusive first."""
    rows = max(plan.sizes)
    config = plan.config(plan.regime(name, rows), rows, run_data.seed)
    batch = config.micro_batch or config.batch_size
    fewer = int(batch - (peak - room) / a_row) if a_row > 0 else 0
    if fewer >= 1:
        return f"does not fit; use --micro-batch {fewer}, with the same result"
    if not config.gradient_checkpointing and _of_one_row(plan, name, run_data) <= room:
        return "does not fit; use --micro-batch 1 --gradient-checkpointing, with the same result"
    base = split_name(name)[1]
    base_there = plan.regime(name, rows).start.base
    if base_there is not None and base_there.kind != "image":
        for other in ("lora", "qlora"):
            lighter = name_at_base(other, base) if base else other
            if lighter != name and model_size(plan.regime(lighter, rows), run_data.task).least_bytes < 0.8 * room:
                return f"does not fit; try {lighter}"
    return "does not fit; use a smaller base, a smaller --max-length, or more memory"


def _of_one_row(plan: RunPlan, name: str, run_data: RunData) -> float:
    """Bytes of a step on the longest row alone, at minimum memory."""
    regime = run_data.fitted(plan.regime(name, max(plan.sizes)))
    config = plan.config(regime, max(plan.sizes), run_data.seed)
    train = run_data.splits.train
    examples = run_data.shared.examples(run_data.task.reads(regime.start.inputs), train, run_data.task.targets(train))
    found = model_size(regime, run_data.task, config.optimizer_state)
    longest = examples.take(longest_rows(run_data, regime, config)[-1:])
    return step_bytes(found, run_data.task, longest, config.precision, checkpointing=True)
