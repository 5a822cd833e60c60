"""Render: how does a study become one HTML page?

The page is one file: style, script, plotly and figures are inside it, and its Content-Security-Policy lets it load
nothing and run only the scripts it came with. User text is escaped by Jinja in the markup, by `_as_json` in the
figures, and by `escape_plotly` where plotly itself would read it as HTML.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from warmstart.advice.advise import Advice
from warmstart.advice.budget_cuts import lead_of, on_a_part, winner_sentence
from warmstart.advice.more_data import more_data
from warmstart.advice.phrases import compared_instead, cut_to_fit, original_scale_error, original_scale_sentence
from warmstart.data.rows.findings import Finding
from warmstart.data.schema.schema import CORPUS
from warmstart.quantities import capitalize_first
from warmstart.reporting import forgetting, mistakes, plots
from warmstart.reporting.answer_samples import AnswerSample, continuations, samples
from warmstart.reporting.calibration_plots import calibration_plots, calibration_rows
from warmstart.reporting.entries import (
    Entry,
    best_of,
    difference,
    entries_of,
    of_most_rows,
    only_heads_sentence,
    searches,
)
from warmstart.reporting.formatting import format_settings, verdict_sentence
from warmstart.reporting.html_assets import _library, asset, policy, templates
from warmstart.reporting.learning_curve_plot import learning_curves
from warmstart.reporting.plot_style import Figure
from warmstart.results.comparison import Comparison
from warmstart.results.comparison_rows import Difference
from warmstart.results.constraints import BUDGET
from warmstart.results.domain_shift import DomainShift
from warmstart.results.influences import ExplainedRun, Influence
from warmstart.results.learning_curves import MAX_EXTRAPOLATION
from warmstart.results.names import ENSEMBLE
from warmstart.results.probe_result import CHANGE_MEASURES, ProbeResult
from warmstart.results.race_outcome import RaceOutcome
from warmstart.results.record import Run

if TYPE_CHECKING:
    from warmstart.reporting.blind_comparison import Preference  # which makes its page with what is here


NUMBERS_AND_CLASSES = ("regression", "classification")


@dataclass(frozen=True)
class Errors:
    """Where one regime errs, ready to be shown."""

    entry: Entry
    run: Run
    worst: tuple[mistakes.Mistake, ...]
    pairs: tuple[mistakes.ConfusedPair, ...]
    matrix: mistakes.Matrix | None
    labels: tuple[mistakes.Label, ...]
    moved: Mapping[int, Sequence[Influence]]  # what moved the predictions of some rows, by row number


@dataclass(frozen=True)
class Spent:
    """What the whole study took, the searches included."""

    flops: float
    seconds: float
    runs: int
    trials: int


def render(
    comparison: Comparison,
    advice: Advice,
    *,
    examples: Mapping[int, str] | None,
    findings: Sequence[Finding] = (),
    command: str,
    raced: RaceOutcome | None = None,
    preferences: Sequence["Preference"] = (),
    probed: ProbeResult | None = None,
    explained: ExplainedRun | None = None,
    unfinished: str = "",
) -> str:
    """One self-contained HTML page.

    `examples` are the inputs of the test rows by row number; None keeps every text out of the page (class names stay).
    `command` is what to type to repeat the study. `raced`: where not everything was trained on all rows.
    `preferences`: what people thought of answers that they judged blind. `probed`: where terms were swapped.
    `explained`: what moved the worst predictions of a run.
    `unfinished`: what is missing in a study that is not finished.
    """
    entries = entries_of(comparison)
    main = _as_raced(entries, raced) if raced else of_most_rows(entries)
    barred = {each.regime for each in comparison.excluded}
    part = best_of(each for each in entries if each not in main and each.name == advice.predicted["regime"])
    named = advice.predicted["regime"] if raced else advice.choice
    chosen = best_of(entry for entry in main if entry.name == named)
    leader = part or chosen or best_of([entry for entry in main if entry.name not in barred]) or best_of(main)
    judged = _judged([part, *main] if part else main, comparison)
    on_parts = [] if raced else [each for each in entries if each.row in comparison.partial and each not in main]
    shown = examples is not None
    known = {finding.message for finding in findings}
    page = (
        templates()
        .get_template("page.html.j2")
        .render(
            comparison=comparison,
            advice=advice,
            command=command,
            findings=findings,
            raced=raced,
            preferences=preferences,
            probed=probed,
            unfinished=unfinished,
            show_texts=shown,
            entries=entries,
            main=main,
            leader=leader,
            **_answer(comparison, advice, raced),
            **_left_out(comparison, raced),
            **_compared(entries, main, comparison, advice, raced),
            **_beyond_the_score(main, comparison),
            **_all_runs(comparison),
            samples=_samples(main, comparison, examples),
            has_errors=comparison.task in NUMBERS_AND_CLASSES,
            errors=[_errors(entry, comparison, examples, explained) for entry in judged],
            doubts=_doubts(comparison, advice),
            caveats=[caveat for caveat in comparison.caveats if not shown or caveat not in known],
            **_figures_and_scripts(_figures(main, comparison, on_parts)),
        )
    )
    return page.encode("utf-8", "replace").decode()


# What the templates of the page show, by the name that they know it under


def _answer(comparison: Comparison, advice: Advice, raced: RaceOutcome | None) -> dict[str, Any]:
    """The answer at the top: which regime, how sure, why, and in which units."""
    heading = verdict_sentence(advice.verdict, advice.confidence)
    lead = None if raced or advice.verdict != "undecided" else lead_of(comparison)
    return {
        "heading": heading,
        "lead": lead,
        "sure": lead.share if lead else advice.confidence if raced or advice.verdict != "undecided" else None,
        "reason": capitalize_first(advice.reason.removeprefix(f"{heading.removesuffix('.')}: ")),
        "instead": "" if raced else compared_instead(comparison),
        "trained_on": winner_sentence(comparison, advice.winner),
        "unit": f" of {comparison.units}" if comparison.units else "",
        "own": original_scale_sentence(comparison),
        "own_error": partial(original_scale_error, comparison),
    }


def _left_out(comparison: Comparison, raced: RaceOutcome | None) -> dict[str, Any]:
    """Regimes that were not run, may not be chosen, or saw only a part of the rows."""
    return {
        "barred": {each.regime for each in comparison.excluded},
        "not_run": [each for each in comparison.excluded if each.constraint == BUDGET],
        "not_allowed": [each for each in comparison.excluded if each.constraint != BUDGET],
        "on_a_part": [] if raced else [on_a_part(comparison, row) for row in comparison.partial],
        "cut": cut_to_fit(comparison),
    }


def _compared(
    entries: Sequence[Entry], main: Sequence[Entry], comparison: Comparison, advice: Advice, raced: RaceOutcome | None
) -> dict[str, Any]:
    """The regimes that the page names, and the best from scratch against the best that was fine-tuned."""
    return {
        "best": best_of(main),
        "choice": next((entry for entry in entries if entry.name == advice.choice), None),
        "constant": next((entry for entry in main if entry.name == "constant"), None),
        "scratch": best_of(main, "scratch"),
        "tuned": best_of(main, "fine-tuned"),
        "only_heads": only_heads_sentence(main, comparison),
        "head_to_head": None if raced else _head_to_head(main, comparison),
    }


def _beyond_the_score(main: Sequence[Entry], comparison: Comparison) -> dict[str, Any]:
    """What was measured besides the score: forgetting, overfitting, calibration, distance of the texts."""
    lost, old = forgetting.forgetting_rows(main), comparison.old_scores
    return {
        "lost": lost,
        "measures": forgetting.forgetting_measures(lost),
        "old_scores": [(each, old[each.name]) for each in main if each.name in old],
        "gaps": [(entry, comparison.gaps[entry.name]) for entry in main if entry.name in comparison.gaps],
        "remembered": comparison.remembered,
        "calibrated": calibration_rows(main, comparison),
        "mismatch": DomainShift.from_json(comparison.mismatch) if comparison.mismatch else None,
        "probe_measures": CHANGE_MEASURES,
    }


def _all_runs(comparison: Comparison) -> dict[str, Any]:
    """All runs of the study: their sizes, metrics, searches, cost, failures and machines."""
    return {
        "sizes": _sizes(comparison),
        "outlook": more_data(comparison),
        "farthest": MAX_EXTRAPOLATION,
        "metrics": _metric_names(comparison),
        "mean_metric": _mean_metric,
        "searches": searches(comparison.runs),
        "spent": _spent(comparison.runs),
        "unusable": _unusable(comparison.runs),
        "environments": _environments(comparison.runs),
    }


def _figures_and_scripts(figures: dict[str, Figure]) -> dict[str, Any]:
    """Everything inside the page that is not markup, and the policy that allows exactly these scripts."""
    library, script = _library(), asset("page.js")
    return {
        "figures": figures,
        "figures_json": _as_json(figures),
        "rates_searched": any(name.startswith("search-") for name in figures),
        "trained": any(name.startswith("curves-") for name in figures),
        "style": Markup(asset("style.css")),
        "library": Markup(library),
        "script": Markup(script),
        "policy": policy(library, script),
    }


def _figures(main: Sequence[Entry], comparison: Comparison, partial: Sequence[Entry]) -> dict[str, Figure]:
    """Every plot of the page by the name that the template knows it under."""
    figures = {"compute": plots.score_against_compute(main, comparison, partial)}
    learned = learning_curves([*main, *partial], comparison)
    if learned:
        figures["rows"] = learned
    losses, trials = plots.loss_span(main), plots.trial_span(main)
    for entry in main:
        run = entry.shown
        if run and run.points:
            figures[f"curves-{entry.key}"] = plots.curves(entry, losses)
        if run and any("lr" in trial.settings for trial in run.trials):
            figures[f"search-{entry.key}"] = plots.rate_search(entry, trials, comparison.higher_is_better)
    if lost := forgetting.forgetting_rows(main):
        figures["forgetting"] = plots.score_against_forgetting(lost, comparison.metric)
        if any(each.scored_by not in ("", comparison.metric) for each in lost):
            figures["frontier"] = plots.frontiers(lost)
    figures |= calibration_plots(calibration_rows(main, comparison))
    if comparison.task == "regression":
        values, judged = plots.value_span(main, comparison.units), _judged(main, comparison)
        figures |= {f"fit-{entry.key}": plots.predicted_against_true(entry, values) for entry in judged}
    return figures


def _samples(
    main: Sequence[Entry], comparison: Comparison, examples: Mapping[int, str] | None
) -> tuple[AnswerSample, ...]:
    if comparison.task in CORPUS:
        return continuations(main, examples)
    return () if comparison.task in NUMBERS_AND_CLASSES else samples(main, examples)


def _as_raced(entries: Sequence[Entry], raced: RaceOutcome) -> tuple[Entry, ...]:
    """Each at the most rows that it was seen at, the likeliest to be best first."""
    rank = {each.regime: place for place, each in enumerate(raced.outlooks)}
    if raced.choice is not None:
        rank[raced.choice] = -1
    return tuple(sorted(entries, key=lambda entry: (entry.failed, rank.get(entry.name, len(rank)))))


def _judged(main: Sequence[Entry], comparison: Comparison) -> list[Entry]:
    """Those whose mistakes tell something. Written texts differ from the reference without being mistakes."""
    if comparison.task not in NUMBERS_AND_CLASSES:
        return []
    return [entry for entry in main if not entry.failed and entry.name != "constant"]


def _errors(
    entry: Entry, comparison: Comparison, examples: Mapping[int, str] | None, explained: ExplainedRun | None
) -> Errors:
    run = entry.shown
    assert run is not None, "an entry that did not fail has a run"
    worst = mistakes.worst(run, higher_is_better=comparison.higher_is_better, examples=examples)
    several = mistakes.has_label_sets(run)
    classes = comparison.task == "classification" and not several
    return Errors(
        entry,
        run,
        worst,
        mistakes.confused_pairs(run) if classes else (),
        mistakes.confusion_matrix(run) if classes else None,
        mistakes.labels(run) if several else (),
        explained.rows if explained and explained.run == run.id else {},
    )


def _head_to_head(main: Sequence[Entry], comparison: Comparison) -> Difference | None:
    """The best fine-tuned regime minus the best from scratch."""
    scratch, tuned = best_of(main, "scratch"), best_of(main, "fine-tuned")
    if only_heads_sentence(main, comparison):
        return None
    return difference(comparison, tuned.row, scratch.row) if scratch and tuned else None


def _doubts(comparison: Comparison, advice: Advice) -> list[str]:
    """The caveats of the advice that the page does not give in their own place anyway."""
    elsewhere = (*comparison.cuts, *comparison.caveats, *(c for row in comparison.table for c in row.caveats))
    return [caveat for caveat in advice.caveats if not caveat.endswith(elsewhere)]


def _sizes(comparison: Comparison) -> list[int]:
    """The numbers of training rows that were tried, where there are several."""
    sizes = sorted({run.rows for run in comparison.runs})
    return sizes if len(sizes) > 1 else []


def _spent(all_runs: Sequence[Run]) -> Spent:
    """Of all runs: the cost of an ensemble is that of its members."""
    runs = [run for run in all_runs if run.family != ENSEMBLE]
    made = searches(runs)
    return Spent(
        flops=sum(run.cost.flops for run in runs) + sum(run.tuning_flops for run in made),
        seconds=sum(run.cost.seconds for run in runs) + sum(run.tuning_seconds for run in made),
        runs=len(all_runs),
        trials=sum(len(run.trials) + (len(run.search.trials) if run.search else 0) for run in made),
    )


def _metric_names(comparison: Comparison) -> list[str]:
    """Those beside the one that ranks, by whichever name it is among them."""
    ranks = {comparison.metric, f"MAE ({comparison.units})"}
    return list(dict.fromkeys(name for run in comparison.runs for name in run.metrics if name not in ranks))


def _mean_metric(entry: Entry, name: str) -> tuple[float | None, float | None]:
    """Mean and standard deviation over the seeds; no deviation from one seed."""
    values = [run.metrics[name] for run in entry.usable if name in run.metrics]
    return (
        statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
    )


def _unusable(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Runs and trials that failed or stopped too early, in words, under the caveat they belong to."""
    lost = [(run, [t for t in run.trials if t.val is None]) for run in searches(runs)]
    return {
        "Runs that failed": [f"{_named(run)}: {run.failed}" for run in runs if run.failed],
        "Still improving when they were stopped (not converged)": [
            f"{_named(run)}: {run.steps:,} steps, {run.epochs:.1f} epochs"
            for run in runs
            if not run.converged and not run.failed
        ],
        "Trials that failed or diverged": [
            f"{_named(run)}: {len(failed)} of {len(run.trials)} trials"
            f" ({'; '.join(format_settings(trial.settings) for trial in failed)})"
            for run, failed in lost
            if failed
        ],
    }


def _named(run: Run) -> str:
    return f"{run.regime}, {run.rows:,} rows, seed {run.seed}"


def _environments(runs: Iterable[Run]) -> list[dict[str, object]]:
    """Each environment that runs were made in; dates aside, one environment is listed once."""
    distinct: dict[str, dict[str, object]] = {}
    for run in runs:
        facts = asdict(run.environment)
        distinct.setdefault(repr({**facts, "date": ""}), facts)
    return list(distinct.values())


def _as_json(value: object) -> Markup:
    """JSON that can stand in a script element: nothing in it can end the element or start a comment."""
    written = json.dumps(value, ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(written)
