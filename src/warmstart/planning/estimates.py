"""Estimates: how long will the searches and runs of a plan take, at the throughput that was measured?"""

import time
from dataclasses import replace

from warmstart.baselines.few_shot import CHOSEN_ON, FIRST_CHOSEN_ON, SHOTS
from warmstart.baselines.prompted import PROMPT_CHOSEN_ON, PROMPT_EXAMPLES, QUANTILE_BINS
from warmstart.generation.answers import AT_ONCE_ON_CPU
from warmstart.planning.run_plan import RunPlan, token_limit
from warmstart.quantities import format_effort
from warmstart.regimes.regimes import READ_WITH_BASE, REGIMES, UNTRAINED_BASES, Regime, is_baseline
from warmstart.results.metrics import RANKED_BY
from warmstart.results.names import regime_of
from warmstart.runs.final_evaluation import ANSWERS_BESIDE, TRAIN_ROWS_SCORED
from warmstart.runs.forgetting_measures import MAX_RETENTION_TEXTS
from warmstart.runs.interpolation import INTERPOLATION_WEIGHTS
from warmstart.runs.measure_forgetting import LANGUAGE_TEXTS
from warmstart.runs.search import trial_share
from warmstart.runs.weight_mixing import VALIDATION_ANSWERS
from warmstart.tasks.language import MAX_JUDGED_ROWS
from warmstart.tasks.tasks import task_for
from warmstart.training.general_text import TEXTS as SAID
from warmstart.training.stages import FORWARD_SHARE, MAX_VALIDATION_ROWS, validation_rows

LABEL_TOKENS = 1.5  # of a class or a bin that are read to score it, about
EMBEDDED_FIT = 2.5  # times what a fit of `linear` takes: there are more features, and their weight is chosen too
WEIGHTS_COMPARED = 4  # of the mixes of --reduce-forgetting interpolation, by what they write: halving ten takes as many


def measuring(name: str) -> str:
    """Description of measuring a regime's throughput. Crashes of the process are counted under it.

    >>> measuring("full")
    'measuring a few steps of full'
    """
    return f"measuring a few steps of {name}"


def seconds_of_step(plan: RunPlan, name: str, rows: int) -> float:
    """One optimizer step of a regime with so many rows."""
    return plan.seconds_per_row[name] * plan.config(plan.regime(name, rows), rows, 0).batch_size


def seconds_of_run(plan: RunPlan, name: str, rows: int, longer: int = 1) -> float:
    """One training with its evaluations, `longer` times as long as usual."""
    config = plan.config(plan.regime(name, rows), rows, 0)
    trained = longer * plan.seconds_per_row[name] * config.steps * config.batch_size
    return trained + seconds_of_scoring(plan, name, rows) + seconds_of_writing(plan, name)


def seconds_of_scoring(plan: RunPlan, name: str, rows: int) -> float:
    """The evaluations on validation rows during training; at the end the scores, and forgetting."""
    regime, splits = plan.regime(name, rows), plan.splits
    evaluations = regime.defaults.evaluations
    looked_at = evaluations * validation_rows(len(splits.val), plan.config(regime, rows, 0), evaluations)
    return seconds_of_score(plan, name) * (looked_at + rows_scored(plan, rows) + _held_to_base(plan, regime))


def seconds_of_score(plan: RunPlan, name: str) -> float:
    """Scoring one row."""
    return plan.seconds_per_row[name] * plan.forward_shares.get(name, FORWARD_SHARE)


def seconds_of_reading(plan: RunPlan, name: str) -> float:
    """One row through all layers: also through those that a regime keeps frozen, and reads with only once."""
    return seconds_of_score(plan, name) + plan.prefix_seconds.get(name, 0.0)


def seconds_of_reading_more(plan: RunPlan, name: str, rows: int) -> float:
    """Rows read once by a run on more rows than the plan has for its regime, as for a promising one on all rows."""
    return _seconds_of_prefix(plan, name) * max(rows - max(plan.sizes_of(name)), 0)


def _seconds_of_prefix(plan: RunPlan, name: str) -> float:
    """Reading one row through frozen layers; nothing where `embedded` has read every row with the same base before.

    A regime on a part of the rows reads these by itself (`StudyState.shared_by`).
    """
    if regime_of(name) == "frozen" and max(plan.sizes_of(name)) == max(plan.sizes):
        bases = [plan.base_of(each) for each in plan.names if regime_of(each) == "embedded"]
        if plan.base_of(name) in bases:
            return 0.0
    return plan.prefix_seconds.get(name, 0.0)


def seconds_of_writing(plan: RunPlan, name: str) -> float:
    """Generating the answers to test rows at the end; if weights are interpolated, also to validation rows for a few
    mixes.
    """
    count = rows_answered(plan)
    if plan.options.interpolate and _ranked_by_writing(plan):
        count += WEIGHTS_COMPARED * min(VALIDATION_ANSWERS, len(plan.splits.val))
    return plan.answers.get(name, 0.0) * count


def seconds_of_search(plan: RunPlan, name: str, rows: int) -> float:
    """Every learning rate, and half of one more; before the first, every row through frozen layers."""
    splits, sizes = plan.splits, plan.sizes_of(name)
    reading = 0.0
    if rows == min(sizes):
        drawn = min(len(splits.train), len(plan.seeds) * max(sizes))
        reading = _seconds_of_prefix(plan, name) * (drawn + len(splits.val) + len(splits.test))
    if not plan.searches or (plan.regime_sizes and rows not in plan.searched_at(name)):
        return reading
    regime = plan.regime(name, rows)
    config = plan.config(regime, rows, 0)
    trained = trial_share(config) * config.steps * config.batch_size
    once = plan.seconds_per_row[name] * trained + seconds_of_score(plan, name) * len(splits.val)
    return reading + plan.trial_count(regime, config) * once + (plan.effort.seconds or 0.0)


def seconds_of_regime(plan: RunPlan, name: str) -> float:
    """Its searches and its runs."""
    return sum(
        seconds_of_search(plan, name, rows) + len(plan.seeds) * seconds_of_run(plan, name, rows)
        for rows in plan.sizes_of(name)
    )


def seconds_on_all_rows(plan: RunPlan) -> dict[str, float]:
    """For each regime that the budget may leave out, its search and one run on all rows: also where it did."""
    whole = max(plan.sizes)
    options = replace(plan.options, seeds=1)
    alone = replace(plan, options=options, sizes=(whole,), regime_sizes={}, excluded=())
    found = {}
    for name in alone.asked:
        if name in plan.seconds_per_row:
            found[name] = seconds_of_regime(alone, name)
        elif regime_of(name) in READ_WITH_BASE:
            found[name] = seconds_of_baseline(alone, name, whole, options.first_seed)
    return {name: seconds for name, seconds in found.items() if regime_of(name) in REGIMES or is_baseline(name)}


def total_seconds(plan: RunPlan) -> float:
    """All searches and runs that are still to be made."""
    return sum(seconds_of_regime(plan, name) for name in plan.networks) + seconds_without_training(plan)


def seconds_without_training(plan: RunPlan) -> float:
    """All runs without the training loop that are still to be made."""
    runs = [(rows, seed) for rows in plan.sizes for seed in plan.seeds]
    names = [name for name in plan.names if is_baseline(name)]
    return sum(seconds_of_baseline(plan, name, *run) for name in names for run in runs)


def seconds_of_baseline(plan: RunPlan, name: str, rows: int, seed: int) -> float:
    """One run of what is fitted without the training loop.

    What needs no base was fitted to all rows before anything is planned; other fits take as long, in proportion to
    their rows. What `embedded` reads is kept for its later runs.
    """
    first, share = (rows, seed) == (max(plan.sizes), plan.options.first_seed), rows / max(plan.sizes)
    if regime_of(name) in UNTRAINED_BASES:
        return seconds_of_untrained(plan, name)
    if regime_of(name) in READ_WITH_BASE:
        reading = seconds_of_embedding(plan, name) if first else 0.0
        return reading + EMBEDDED_FIT * plan.fit_seconds.get("linear", 0.0) * share
    return 0.0 if first else plan.fit_seconds.get(name, 0.0) * share


def seconds_of_untrained(plan: RunPlan, name: str) -> float:
    """One run of an untrained base, at the speed of regimes trained from it; 0 if none was measured."""
    alike = measured_with_base(plan, name)
    if not alike:
        return 0.0
    rows = max(plan.sizes)
    score = min(seconds_of_reading(plan, each) for each in alike)
    if regime_of(name) == "zero-shot":
        return rows_scored(plan, rows) * score + min(seconds_of_writing(plan, each) for each in alike)
    if regime_of(name) == "prompted":
        classes = task_for(plan.problem.schema, plan.splits).to_json().get("classes", ())
        nodes = LABEL_TOKENS * (len(classes) or QUANTILE_BINS)
        text = next(filter(None, (tokens_per_text(plan, each) for each in alike)), nodes)
        shown = max(PROMPT_EXAMPLES) / AT_ONCE_ON_CPU  # examples are read once for so many rows
        asked = rows_scored(plan, rows) + len(PROMPT_EXAMPLES) * PROMPT_CHOSEN_ON
        return asked * score * (1 + shown + nodes / text)
    answer = min(plan.answers.get(each, 0.0) for each in alike)
    written = rows_answered(plan) + 2 * ANSWERS_BESIDE + len(SHOTS) * FIRST_CHOSEN_ON + 2 * CHOSEN_ON
    return written * (answer + score * max(SHOTS) / AT_ONCE_ON_CPU)  # examples are read once for so many answers


def seconds_of_embedding(plan: RunPlan, name: str) -> float:
    """Reading every row once with an untrained base; 0 if no regime that starts from it was measured."""
    count, scored = min(len(plan.splits.train), len(plan.seeds) * max(plan.sizes)), plan.splits
    paces = [seconds_of_reading(plan, each) for each in measured_with_base(plan, name)]
    return (count + len(scored.val) + len(scored.test)) * min(paces, default=0.0)


def measured_with_base(plan: RunPlan, name: str) -> list[str]:
    """The measured regimes that start from the same base, whose speed is used for the untrained base.

    Also those that the budget has no room for.
    """
    base, rows = plan.base_of(name), max(plan.sizes)
    found = [each for each in plan.asked if each in plan.seconds_per_row and plan.base_of(each) == base]
    return [each for each in found if plan.regime(each, rows).start.base is not None]


def rows_scored(plan: RunPlan, rows: int) -> int:
    """Rows scored at the end of a run that trained on so many rows."""
    old = len(plan.problem.old.test) if plan.problem.old else 0
    return len(plan.splits.val) + rows_ranked(plan) + min(rows, TRAIN_ROWS_SCORED) + old


def rows_ranked(plan: RunPlan) -> int:
    """Test rows that regimes are ranked by."""
    return rows_answered(plan) if _ranked_by_writing(plan) else len(plan.splits.test)


def rows_answered(plan: RunPlan) -> int:
    """Test rows that answers are generated for, if the task generates text."""
    return min(MAX_JUDGED_ROWS, len(plan.splits.test))


def _ranked_by_writing(plan: RunPlan) -> bool:
    return plan.problem.schema.task in RANKED_BY


def _held_to_base(plan: RunPlan, regime: Regime) -> int:
    """Approximate number of rows read to measure forgetting, assuming general texts are as long as the task's."""
    base, splits = regime.start.base, plan.splits
    if base is None or base.joined or base.kind == "image":
        return 0
    if not plan.language:
        count = beside = min(MAX_RETENTION_TEXTS, len(splits.test))
    else:
        beside = (len(plan.problem.general) or SAID) if base.kind == "decoder" else 0
        count = 2 * (min(LANGUAGE_TEXTS, len(splits.test)) + beside)  # by the base too
    if plan.options.interpolate:
        count += len(INTERPOLATION_WEIGHTS) * (min(MAX_VALIDATION_ROWS, len(splits.val)) + beside)
    return count


def peak_bytes(plan: RunPlan, name: str) -> int | None:
    """Peak memory of the process; None: not measured."""
    return plan.memory_peaks[name].bytes if name in plan.memory_peaks else None


def predicted_cost(plan: RunPlan, name: str, rows: int, seed: int, longer: int = 1) -> dict[str, float] | None:
    """The estimate that a run's cost is compared with; None if no time was measured."""
    if name not in plan.seconds_per_row or plan.options.by_compute:
        return None
    seconds = seconds_of_run(plan, name, rows, longer)
    if not plan.searched_at(name) and longer == 1 and seed == plan.seeds[0]:  # else the search has read all rows before
        seconds += seconds_of_search(plan, name, rows)
    known: dict[str, float] = {"seconds": seconds}
    peak = peak_bytes(plan, name)
    return known if peak is None else known | {"peak_memory_bytes": peak}


def tokens_per_text(plan: RunPlan, name: str) -> float | None:
    """Tokens computed per text, with padding; None for models that read no tokens, or if not measured."""
    limit = token_limit(plan.regime(name, max(plan.sizes)))
    return None if limit is None else plan.tokens.get(name, {}).get(limit)


def plan_summary(plan: RunPlan) -> str:
    """How many runs, and about how long they will take."""
    runs = len(plan.seeds) * sum(len(plan.sizes_of(name)) for name in plan.networks)
    seconds = total_seconds(plan)
    ends = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    kinds = len(plan.networks)
    found = f"{runs} run{'s' * (runs > 1)} of {kinds} regime{'s' * (kinds > 1)}: about "
    if plan.options.by_compute:
        found += format_effort(seconds, by_compute=True)
    else:
        found += f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        found += f", until about {ends}"
    return found + (f"; to fit the budget: {'; '.join(plan.cuts)}" if plan.cuts else "")
