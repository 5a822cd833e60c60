"""Saved plan: how is a plan kept in a study's folder, so that a study that is resumed goes on with the same cuts?"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from warmstart.errors import InputError
from warmstart.planning.fit_budget import fit_to_larger_budget
from warmstart.planning.memory_probe import PeakMemory
from warmstart.planning.run_plan import RunPlan
from warmstart.results.constraints import Excluded
from warmstart.runtime.files import read_json, reading_ours, write_json

SAVED_OPTIONS = ("seeds", "trials", "search", "length", "budget")  # of the options


def save_plan(plan: RunPlan, path: Path, asked_budget: float | None = None) -> None:
    """Keep the cuts, so that a study that is resumed goes on with the same ones.

    `asked_budget`: seconds, before those that planning took were subtracted. None: it is not to be raised.
    """
    kept: dict[str, Any] = {name: getattr(plan.options, name) for name in SAVED_OPTIONS}
    if asked_budget is not None:
        kept["asked_budget"] = asked_budget
    if math.isinf(kept["budget"]):  # of one fit; JSON has no word for it
        kept.pop("asked_budget", None)
        del kept["budget"]
    facts = {
        "sizes": plan.sizes,
        "regime_sizes": plan.regime_sizes,
        "total_rows": plan.total_rows,
        "seconds_per_row": plan.seconds_per_row,
        "prefix_seconds": plan.prefix_seconds,
        "forward_shares": plan.forward_shares,
        "answers": plan.answers,
        "fit_seconds": plan.fit_seconds,
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


def load_plan(asked: RunPlan, path: Path, *, cut: bool = True) -> RunPlan:
    """The plan that `save_plan` kept; with a larger budget, as much more as that allows.

    `cut` False: the budget limits no rows. Raises InputError where the rows are no longer those it was made for.
    """
    remedy = "start a new study with another --out"
    facts = read_json(path, dict[str, Any], remedy)
    with reading_ours(path, remedy):
        saved = _as_saved(asked, path, facts)
        before = float(facts.get("asked_budget", asked.options.budget))
        if asked.options.budget <= before or math.isinf(asked.options.budget):
            return saved
        budget = asked.options.budget - (before - saved.options.budget)  # planning has taken its time already
        wanted = replace(asked, options=replace(asked.options, budget=budget))
        if cut:
            return fit_to_larger_budget(wanted, saved)
        return replace(saved, options=replace(saved.options, budget=budget))


def require_same_rows(asked: RunPlan, path: Path) -> None:
    """Save the fingerprint of the rows in `path` before anything is fitted. Raises InputError if it differs."""
    if path.exists():
        _check_rows(asked, path, read_json(path, dict[str, str], "start a new study with another --out"))
    else:
        write_json(path, {"fingerprint": asked.problem.splits.fingerprint})


def _check_rows(asked: RunPlan, path: Path, facts: dict[str, Any]) -> None:
    if facts.get("fingerprint") != asked.problem.splits.fingerprint:
        raise InputError(
            f"the data has changed since {path.parent} was started (fingerprint {facts.get('fingerprint')}, "
            f"now {asked.problem.splits.fingerprint}).",
            "restore the data, or start a new study with another --out",
        )


def _as_saved(asked: RunPlan, path: Path, facts: dict[str, Any]) -> RunPlan:
    _check_rows(asked, path, facts)
    kinds = get_type_hints(type(asked)) | get_type_hints(type(asked.options))

    def value(name: str, default: object = None) -> Any:
        found = default if default is not None and name not in facts else facts[name]
        return TypeAdapter(kinds[name]).validate_python(found)

    options = replace(asked.options, **{name: value(name) for name in SAVED_OPTIONS if name in facts})
    known = {name: value(name) for name in ("seconds_per_row", "prefix_seconds", "scored")}
    known |= {name: value(name, {}) for name in ("forward_shares", "answers", "fit_seconds")}
    known["memory_peaks"] = {name: PeakMemory(*peak) for name, peak in facts.get("memory_peaks", {}).items()}
    known["tokens"] = {name: dict(found) for name, found in facts["tokens"].items()}
    known |= {"sizes": tuple(facts["sizes"]), "cuts": tuple(facts["cuts"]), "full_estimate": facts.get("full_estimate")}
    known["regime_sizes"] = {name: tuple(sizes) for name, sizes in facts.get("regime_sizes", {}).items()}
    known["total_rows"] = facts.get("total_rows", asked.total_rows)
    known["excluded"] = tuple(Excluded(**each) for each in facts.get("excluded", ()))
    return replace(asked, problem=asked.problem.reading(facts["max_length"]), options=options, **known)
