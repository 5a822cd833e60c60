"""Fit budget: what is cut, equally for all regimes, so that a comparison fits its budget?"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from warmstart.errors import InputError
from warmstart.planning.estimates import seconds_of_run, seconds_of_scoring, total_seconds
from warmstart.planning.memory_probe import PeakMemory
from warmstart.planning.run_plan import MIN_TRAIN_ROWS, RunPlan, shorter_limits, token_limit
from warmstart.results.constraints import Excluded
from warmstart.runtime.files import read_json, reading_ours, write_json

WORTHWHILE = 0.9  # of the time before, at most, or a cut of the rows is not made
ENOUGH_ROWS = 1_000  # for training: before fewer are taken, texts are read less far
SAVED_OPTIONS = ("seeds", "trials", "length", "budget")  # of the options
MIN_SCORED_ROWS = 500  # test rows; an accuracy on them is known to about 4 points


def fit_to_budget(plan: RunPlan) -> RunPlan:
    """Cut trials, then seeds, then rows and what is read of texts, equally for all, until it is predicted to fit."""
    asked = plan
    for smaller in _smaller(plan):
        if total_seconds(plan) <= plan.options.budget:
            break
        if smaller.sizes != plan.sizes and total_seconds(smaller) > WORTHWHILE * total_seconds(plan):
            break  # scoring costs more than training, and cannot be cut: fewer training rows would save nothing
        plan = smaller
    cuts = _said(asked, plan)
    return replace(plan, cuts=cuts, full_estimate=total_seconds(asked) if cuts else None)


def _smaller(plan: RunPlan) -> Iterator[RunPlan]:
    """The plan with less and less: two trials, one seed, no search, then half the rows again and again.

    Of the rows to train on and the rows to score, those are halved that take more of the time. Before few are left to
    train on, less is read of each text, unless it was said how much: its beginning tells the most, and half the tokens
    take half the time.
    """
    while plan.searches and plan.options.trials > 2:
        plan = replace(plan, options=replace(plan.options, trials=plan.options.trials - 1))
        yield plan
    while plan.options.seeds > 1:
        plan = replace(plan, options=replace(plan.options, seeds=plan.options.seeds - 1))
        yield plan
    if plan.searches:
        plan = replace(plan, options=replace(plan.options, trials=1))
        yield plan
    while True:
        runs = [(name, rows) for name in plan.networks for rows in plan.sizes]
        scoring = sum(seconds_of_scoring(plan, *run) for run in runs)
        if (
            2 * scoring > sum(seconds_of_run(plan, *run) for run in runs)
            and len(plan.splits.test) >= 2 * MIN_SCORED_ROWS
        ):
            plan = replace(plan, scored=plan.scored / 2)
        elif max(plan.sizes) < 2 * ENOUGH_ROWS and not plan.options.read_so_far and (fewer := _shortened(plan)):
            plan = fewer
        elif max(plan.sizes) >= 2 * MIN_TRAIN_ROWS:
            plan = _half(plan)
        else:
            return
        yield plan


def _half(plan: RunPlan) -> RunPlan:
    """Half the rows, and half the steps of every regime, whether they follow from epochs or from the least number."""
    sizes = tuple(sorted({min(n, max(MIN_TRAIN_ROWS, n // 2)) for n in plan.sizes}))
    halved = replace(plan, sizes=sizes)
    rows, fewer = max(plan.sizes), max(sizes)
    before, after = (
        sum(p.config(p.regime(name, n), n, 0).steps for name in p.networks) for p, n in ((plan, rows), (halved, fewer))
    )
    length = plan.options.length * min(1.0, 0.5 * before / max(after, 1))
    return replace(halved, options=replace(plan.options, length=length))


def _shortened(plan: RunPlan) -> RunPlan | None:
    """With so many fewer tokens read of each text that it is worth it; None where that would leave too few."""
    for fewer in shorter_limits(_limit(plan)):
        shares = _shares(plan, fewer)
        if shares and fmean(shares.values()) <= WORTHWHILE:
            seconds_per_row, prefix_seconds = (
                {name: seconds * shares.get(name, 1.0) for name, seconds in known.items()}
                for known in (plan.seconds_per_row, plan.prefix_seconds)
            )
            return replace(
                plan,
                problem=plan.problem.reading(fewer),
                seconds_per_row=seconds_per_row,
                prefix_seconds=prefix_seconds,
            )
    return None


def _limit(plan: RunPlan) -> int:
    """Tokens that any base reads of a text at most."""
    return max(base.inputs.max_length for base in plan.problem.bases)


def _shares(plan: RunPlan, fewer: int) -> dict[str, float]:
    """Of the work for a row, for each regime that would read less of it, as far as that was measured."""
    limits = {name: token_limit(plan.regime(name, max(plan.sizes))) for name in plan.networks if name in plan.tokens}
    known = {name: (plan.tokens[name], limit) for name, limit in limits.items() if limit is not None and limit > fewer}
    return {n: found[fewer] / found[limit] for n, (found, limit) in known.items() if fewer in found and limit in found}


def _said(asked: RunPlan, plan: RunPlan) -> tuple[str, ...]:
    """What was cut, the gravest first, in words that are true before the runs and after them."""
    cuts = []
    if plan.sizes != asked.sizes:
        cuts.append(f"{max(plan.sizes):,} training rows instead of {max(asked.sizes):,}, and steps in proportion")
    limit, before = (_limit(p) for p in (plan, asked))
    if limit < before:
        share = fmean(_shares(asked, limit).values())
        cuts.append(f"{limit} tokens read of a text at most instead of {before}: {share:.0%} of the work for each")
    if plan.scored < 1.0:
        cuts.append(f"{len(plan.splits.test):,} test rows scored instead of {len(asked.splits.test):,}")
    if plan.options.seeds < asked.options.seeds:
        cuts.append(f"{plan.options.seeds} seed{'s' * (plan.options.seeds > 1)} instead of {asked.options.seeds}")
    if plan.searches and plan.options.trials < asked.options.trials:
        cuts.append(f"{plan.options.trials} learning rates tried for each regime instead of {asked.options.trials}")
    if asked.searches and not plan.searches:
        cuts.append("each regime at its usual learning rate, none tried")
    if total_seconds(plan) > plan.options.budget:
        cuts.append(f"{'even so' if cuts else 'nothing could be cut:'} foretold to take longer than the budget")
    return tuple(cuts)


def save_plan(plan: RunPlan, path: Path) -> None:
    """Keep the cuts, so that a study that is resumed goes on with the same ones."""
    kept: dict[str, Any] = {name: getattr(plan.options, name) for name in SAVED_OPTIONS}
    if math.isinf(kept["budget"]):  # of one fit; JSON has no word for it
        del kept["budget"]
    facts = {
        "sizes": plan.sizes,
        "seconds_per_row": plan.seconds_per_row,
        "prefix_seconds": plan.prefix_seconds,
        "forward_shares": plan.forward_shares,
        "answers": plan.answers,
        "tokens": {name: list(found.items()) for name, found in plan.tokens.items()},
        "memory_peaks": plan.memory_peaks,
        "max_length": plan.problem.base.max_length,
        "scored": plan.scored,
        "cuts": plan.cuts,
        "full_estimate": plan.full_estimate,
        "excluded": [vars(each) for each in plan.excluded],
        "fingerprint": plan.problem.splits.fingerprint,
    }
    write_json(path, kept | facts)


def load_plan(asked: RunPlan, path: Path) -> RunPlan:
    """The plan that `save` kept. Raises InputError where the rows are no longer those it was made for."""
    remedy = "start a new study with another --out"
    facts = read_json(path, dict[str, Any], remedy)
    with reading_ours(path, remedy):
        return _as_saved(asked, path, facts)


def _as_saved(asked: RunPlan, path: Path, facts: dict[str, Any]) -> RunPlan:
    if facts["fingerprint"] != asked.problem.splits.fingerprint:
        raise InputError(
            f"the data has changed since {path.parent} was begun (fingerprint {facts['fingerprint']}, "
            f"now {asked.problem.splits.fingerprint}).",
            "restore the data, or start a new study with another --out",
        )
    kinds = get_type_hints(type(asked)) | get_type_hints(type(asked.options))

    def value(name: str, default: object = None) -> Any:
        found = default if default is not None and name not in facts else facts[name]
        return TypeAdapter(kinds[name]).validate_python(found)

    options = replace(asked.options, **{name: value(name) for name in SAVED_OPTIONS if name in facts})
    known = {name: value(name) for name in ("seconds_per_row", "prefix_seconds", "scored")}
    known |= {name: value(name, {}) for name in ("forward_shares", "answers")}
    known["memory_peaks"] = {name: PeakMemory(*peak) for name, peak in facts.get("memory_peaks", {}).items()}
    known["tokens"] = {name: dict(found) for name, found in facts["tokens"].items()}
    known |= {"sizes": tuple(facts["sizes"]), "cuts": tuple(facts["cuts"]), "full_estimate": facts.get("full_estimate")}
    known["excluded"] = tuple(Excluded(**each) for each in facts.get("excluded", ()))
    return replace(asked, problem=asked.problem.reading(facts["max_length"]), options=options, **known)
