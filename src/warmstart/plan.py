"""Plan: what each regime would take, in weights, arithmetic, memory, time, disk, energy and money, before any training.

On this machine memory and time are measured on a few real steps; for a device that is not here both are computed, from
shapes and the device's published figures.
"""

import time
from collections.abc import Generator
from dataclasses import replace

import numpy as np

from warmstart import budget
from warmstart.baselines import BASELINES as BASELINE_FITS
from warmstart.budget import Plan
from warmstart.cuts import fit
from warmstart.data.split import Rows
from warmstart.dearest import dearest_rows
from warmstart.device import environment, memory_room, peak_memory, reset_peak_memory
from warmstart.errors import listed
from warmstart.footprint import BESIDE, Footprint, footprint, step_bytes
from warmstart.forecasts import COMPUTED, MEASURED, PREDICTED, Forecast, Planned, Where, power, sources
from warmstart.machines import (
    BANDWIDTH_REACHED,
    LAUNCH,
    SCALING,
    USABLE,
    UTILISATION,
    Machine,
)
from warmstart.methods import Full
from warmstart.naming import at, parted
from warmstart.pace import measure
from warmstart.prefix import EVALUATION_BATCH
from warmstart.problem import Options, Problem
from warmstart.record import Array
from warmstart.regimes import WITHOUT_NETWORK, Regime, Stage, is_baseline
from warmstart.stages import Draw, watched
from warmstart.starts import Pretrained
from warmstart.tasks import Language
from warmstart.tune import SHARE

LENGTHS = "time: answers are taken to become as long as the references"
UNWRITTEN = "time: answers written to test rows, and what was forgotten, are not in it"
FULL_PRECISION = 1 / 15  # of a GPU's bf16 arithmetic: H100 67 of 989, A100 19.5 of 312 TFLOP/s
A_SCORE = 60  # bytes in it for each test row
BASELINE_ROWS = 1_000  # that a baseline is fitted on to see how long it takes


def forecast(problem: Problem, options: Options, where: Where) -> Generator[str, None, Planned]:
    """What `compare` with these options would take, before its budget cuts anything; yields what it looks at."""
    plan = budget.first_plan(problem, options)
    rows, shared = max(plan.sizes), plan.shared()
    draw = plan.draw(rows, options.first_seed, shared)
    found: dict[str, Footprint] = {}
    for name in plan.networks:
        yield f"building {name} without its numbers"
        found[name] = footprint(plan.regime(name, rows), draw.task, options.training.get("moments", "fp32"))
    room = round(where.machine.memory_bytes * USABLE) if where.machine else memory_room()
    notes: tuple[str, ...]
    if where.machine is None:
        possible = tuple(n for n in plan.names if is_baseline(n) or room is None or found[n].least_bytes < room)
        measuring = measure(replace(plan, options=replace(options, regimes=possible)), shared)
        plan = replace((yield from _told(measuring, "measuring a few steps of ")), options=options)
        notes = _cut_words(plan)
        words = environment(plan.options.precision).device
    else:
        notes = (f"{PREDICTED}: from the device's published figures, at {UTILISATION:.0%} of its peak arithmetic",)
        words = f"{where.devices} x {where.machine.words}"
    forecasts = []
    for name in plan.names:
        yield f"predicting {name}"
        if name in WITHOUT_NETWORK:
            forecasts.append(_baseline(plan, name, draw, where, room))
        elif is_baseline(name):
            forecasts.append(_untrained(plan, name, draw, where, room))
        elif where.machine is None:
            forecasts.append(_here(plan, name, found[name], draw, where, room))
        else:
            forecasts.append(_elsewhere(plan, name, found[name], draw, where, where.machine))
    bases = f"pretrained weights (--base): {listed([base.name for base in problem.bases])}"
    beyond: tuple[str, ...] = ()
    if isinstance(draw.task, Language):
        beyond = (UNWRITTEN,) if where.machine else (LENGTHS,) if draw.task.writes else ()
    return Planned(tuple(forecasts), words, room, (bases, *notes, *beyond, *sources(where)))


# --- here ------------------------------------------------------------------------------------------------------------


def _here(plan: Plan, name: str, found: Footprint, draw: Draw, where: Where, room: int | None) -> Forecast:
    peak: int | None
    if name not in plan.paces:  # even its weights do not fit
        seconds, one, peak, basis = None, None, round(found.least_bytes), COMPUTED
    else:
        seconds, one = plan.seconds_of_regime(name), plan.seconds_of_run(name, max(plan.sizes))
        peak, basis = plan.peak_bytes(name), MEASURED
    fits = None if room is None or peak is None else peak <= room
    advice = ""
    if fits is False and room is not None:
        a_row = plan.peaks[name].a_row if name in plan.peaks else 0.0
        advice = _advice(plan, name, draw, room, round(peak or 0), a_row)
    return _forecast(plan, name, found, draw, where, peak, seconds, one, fits, advice, basis)


def _baseline(plan: Plan, name: str, draw: Draw, where: Where, room: int | None) -> Forecast:
    """Fitted on some rows; its time grows with the rows."""
    some = draw.splits.train.take(np.arange(min(BASELINE_ROWS, len(draw.splits.train))))
    reset_peak_memory()
    began = time.perf_counter()
    fitted = BASELINE_FITS[name](draw.task, some, draw.seed)
    part = time.perf_counter() - began
    times = len(draw.splits.train) / len(some)
    runs = len(plan.seeds) * len(plan.sizes)
    seconds, peak = part * times, peak_memory()
    texts = [text for rows in (draw.splits.val, draw.splits.test) for text in rows.texts]
    here = where.machine is None
    watts, price = power(where)
    return Forecast(
        regime=name,
        trainable=fitted.baseline.weights,
        total=fitted.baseline.weights,
        flops=runs * ((fitted.flops + fitted.tuning_flops) * times + fitted.baseline.flops(texts)),
        peak_memory_bytes=peak,
        seconds=runs * seconds,
        disk_bytes=runs * (8 * fitted.baseline.weights + A_SCORE * len(draw.splits.test)),
        money=runs * seconds / 3600 * price,
        fits=None if peak is None or room is None or not here else peak <= room,
        advice="" if here else "runs on the processor; its time is this machine's",
        runs=runs,
        seconds_of_run=seconds,
        energy_kwh=runs * seconds * watts / 3.6e6,
        basis=MEASURED,
    )


def _untrained(plan: Plan, name: str, draw: Draw, where: Where, room: int | None) -> Forecast:
    """A base as it is: it only reads the rows, and writes answers, at the pace of what is trained from it."""
    rows = max(plan.sizes)
    regime = plan.regime(name, rows)
    found = footprint(replace(regime, stages=(Stage(Full()),)), draw.task)
    read = [_sizes(draw, regime, part) for part in (draw.splits.val, draw.splits.test)]
    alike = [n for n in plan.networks if n in plan.paces and plan.base_of(n) == plan.base_of(name)]
    one = None
    if alike:
        scoring = plan.rows_scored(rows) * min(map(plan.seconds_of_score, alike))
        one = scoring + min(map(plan.seconds_of_writing, alike))
    runs, here = len(plan.seeds) * len(plan.sizes), where.machine is None
    watts, price = power(where)
    seconds = None if one is None else runs * one
    return Forecast(
        regime=name,
        trainable=0,
        total=found.total,
        flops=runs * sum(float(found.cost.forward(*sizes).sum()) for sizes in read),
        peak_memory_bytes=4 * found.total,
        seconds=seconds,
        disk_bytes=runs * (4 * found.total + BESIDE + A_SCORE * len(plan.splits.test)),
        money=None if seconds is None else seconds / 3600 * price,
        fits=None if room is None else 4 * found.total <= room,
        advice="" if here or one is None else "its time is this machine's",
        runs=runs,
        seconds_of_run=one,
        energy_kwh=None if seconds is None else seconds * watts / 3.6e6,
        basis=COMPUTED,
    )


# --- elsewhere -------------------------------------------------------------------------------------------------------


def _elsewhere(plan: Plan, name: str, found: Footprint, draw: Draw, where: Where, machine: Machine) -> Forecast:
    rows = max(plan.sizes)
    regime = plan.regime(name, rows)
    config = plan.config(regime, rows, draw.seed)
    precision = "fp32" if plan.options.precision == "fp32" else "bf16"
    examples = draw.shared.examples(
        draw.task.reads(regime.start.inputs), draw.splits.train, draw.task.targets(draw.splits.train)
    )
    dearest = dearest_rows(draw, regime, config)
    devices = min(where.devices, config.batch_size)
    mine = max(1, -(-len(dearest) // devices))
    mine = min(mine, config.micro_batch or mine)
    again = config.gradient_checkpointing
    peak = round(step_bytes(found, draw.task, examples.take(dearest[-mine:]), precision, again))
    room = machine.memory_bytes * USABLE
    per_row = (peak - found.held_bytes) / mine
    fits = peak <= room
    advice = "" if fits else _advice(plan, name, draw, room, peak, per_row)
    if devices < where.devices:
        idle = f"a step has {config.batch_size} rows: more devices than that have nothing to do"
        advice = f"{advice}; {idle}" if advice else idle
    share = 1.0 if precision == "bf16" else FULL_PRECISION
    gain = devices * (SCALING if devices > 1 else 1.0)
    rate = machine.flops * UTILISATION * share
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
        search = (plan.options.trials + 0.5) * run_of(max(1, round(config.steps * SHARE)), len(plan.splits.val))
    seconds = len(plan.sizes) * (search + len(plan.seeds) * one)
    return _forecast(plan, name, found, draw, where, peak, seconds, one, fits, advice, PREDICTED)


# --- both ------------------------------------------------------------------------------------------------------------


def _forecast(
    plan: Plan,
    name: str,
    found: Footprint,
    draw: Draw,
    where: Where,
    peak: int | None,
    seconds: float | None,
    one: float | None,
    fits: bool | None,
    advice: str,
    basis: str,
) -> Forecast:
    runs = len(plan.seeds) * len(plan.sizes)
    watts, price = power(where)
    return Forecast(
        regime=name,
        trainable=found.trainable,
        total=found.total,
        flops=_flops(plan, name, found, draw),
        peak_memory_bytes=peak,
        seconds=seconds,
        disk_bytes=runs * (found.saved_bytes + BESIDE + A_SCORE * len(plan.splits.test)),
        money=None if seconds is None else seconds / 3600 * price,
        fits=fits,
        advice=advice,
        runs=runs,
        seconds_of_run=one,
        energy_kwh=None if seconds is None else seconds * watts / 3.6e6,
        basis=basis,
    )


def _scored(plan: Plan, name: str, rows: int) -> int:
    """Rows that one run evaluates: in its looks and at its end."""
    regime, splits = plan.regime(name, rows), plan.splits
    looks = regime.habits.looks
    looked_at = looks * watched(len(splits.val), plan.config(regime, rows, 0), looks)
    return looked_at + plan.rows_scored(rows)


def _flops(plan: Plan, name: str, found: Footprint, draw: Draw) -> float:
    """Of searches and runs, as a run's cost counts them: as if alone, no cache."""
    total = 0.0
    for rows in plan.sizes:
        regime = plan.regime(name, rows)
        config = plan.config(regime, rows, draw.seed)
        train, val, test = (_sizes(draw, regime, getattr(draw.splits, part)) for part in ("train", "val", "test"))
        trained = config.steps / -(-len(train[0]) // config.batch_size) * float(found.cost.training(*train).sum())
        looks = regime.habits.looks
        forward = float(found.cost.forward(*val).sum())
        watch = watched(len(val[0]), config, looks)
        run = trained + looks * watch / len(val[0]) * forward + forward + float(found.cost.forward(*test).sum())
        search = (plan.options.trials + 0.5) * (SHARE * trained + 2 * forward) if plan.searches else 0.0
        total += search + len(plan.seeds) * run
    return total


def _sizes(draw: Draw, regime: Regime, rows: Rows) -> tuple[Array, Array]:
    """Of each row its tokens, and how many of them are to be predicted, int64 [n]."""
    examples = draw.shared.examples(draw.task.reads(regime.start.inputs), rows, draw.task.targets(rows))
    return examples.sizes(), examples.loss_weights


def _advice(plan: Plan, name: str, draw: Draw, room: float, peak: int, a_row: float) -> str:
    """The first thing that would make it fit, of those that change least."""
    rows = max(plan.sizes)
    config = plan.config(plan.regime(name, rows), rows, draw.seed)
    batch = config.micro_batch or config.batch_size
    fewer = int(batch - (peak - room) / a_row) if a_row > 0 else 0
    if fewer >= 1:
        return f"does not fit; would with --micro-batch {fewer}, at the same result"
    if not config.gradient_checkpointing and _of_one_row(plan, name, draw) <= room:
        return "does not fit; would with --micro-batch 1 --gradient-checkpointing, at the same result"
    base = parted(name)[1]
    if isinstance(plan.regime(name, rows).start, Pretrained):
        for other in ("lora", "qlora"):
            lighter = at(other, base) if base else other
            if lighter != name and footprint(plan.regime(lighter, rows), draw.task).least_bytes < 0.8 * room:
                return f"does not fit; {lighter} would leave room"
    return "does not fit: it takes a smaller base, a smaller --max-length, or more memory"


def _of_one_row(plan: Plan, name: str, draw: Draw) -> float:
    """Bytes of a step on the longest row alone, with as little kept of it as can be."""
    regime = plan.regime(name, max(plan.sizes))
    config = plan.config(regime, max(plan.sizes), draw.seed)
    examples = draw.shared.examples(
        draw.task.reads(regime.start.inputs), draw.splits.train, draw.task.targets(draw.splits.train)
    )
    found = footprint(regime, draw.task, config.moments)
    longest = examples.take(dearest_rows(draw, regime, config)[-1:])
    return step_bytes(found, draw.task, longest, config.precision, gradient_checkpointing=True)


def _told(measuring: Generator[str, None, Plan], doing: str) -> Generator[str, None, Plan]:
    while True:
        try:
            name = next(measuring)
        except StopIteration as stop:
            plan: Plan = stop.value
            return plan
        yield doing + name


def _cut_words(plan: Plan) -> tuple[str, ...]:
    """What `compare` would leave out within its budget."""
    known = replace(plan, options=replace(plan.options, regimes=tuple(plan.paces)))
    cuts = fit(known).cuts if plan.paces else ()
    if not cuts:
        return ()
    minutes = plan.options.budget / 60
    return (f"to fit --budget {minutes:.0f}m, compare would cut: {'; '.join(cuts)}",)
