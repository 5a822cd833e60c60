"""Fit: one regime on all rows, at the best rate of a search, or of the race that recommended it."""

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from warmstart.advice.race_advice import compared_in_race
from warmstart.data.rows.findings import Finding
from warmstart.errors import TrainingError
from warmstart.planning.estimates import plan_summary
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import first_plan
from warmstart.regimes.regimes import is_baseline
from warmstart.results.metrics import RANKED_BY
from warmstart.results.race_outcome import RaceForecast
from warmstart.results.record import Run
from warmstart.runs.search import from_json, read_trial
from warmstart.runtime.files import write_json
from warmstart.study.begin import begin_study
from warmstart.study.jobs import FixedJobs, StudyState, search_job, train_job
from warmstart.study.study import race_study
from warmstart.training.event import Event


@dataclass(frozen=True)
class Advised:
    """What a race recommended before a fit."""

    regime: str
    folder: Path  # of the race
    forecast: RaceForecast | None  # None: everything was compared, nothing had to be predicted
    before: Run | None  # the run of the regime on most rows, where its evaluations can be compared


def advise_fit(
    problem: Problem, options: Options, folder: Path, part: float | None, findings: Sequence[Finding], command: str
) -> Generator[Event, None, Advised]:
    """Race in `folder`; returns the leading regime."""
    found = yield from race_study(problem, options, folder, part, findings, command)
    name = found.advice.predicted["regime"]
    if name is None:
        raise TrainingError("no regime could be trained.", f"see {folder / 'report.html'}")
    yield Event("advised", message=found.advice.reason)
    forecast = found.raced.of(name) if found.raced else None
    seen = [run for run in found.comparison.runs if run.regime == name and forecast is not None]
    before = max(seen, key=lambda run: run.rows, default=None)
    # where answers rank the regimes, evaluations are of likelihoods and the forecast is of what is written
    return Advised(name, folder, forecast, None if problem.schema.task in RANKED_BY else before)


def begin_fit(
    problem: Problem, options: Options, folder: Path, advised: Advised | None = None
) -> Generator[Event, None, tuple[StudyState, FixedJobs]]:
    """The study of one regime with one seed, whose run is `folder` itself.

    `advised`: recommended by a race, whose search for the regime is reused if there was one.
    """
    if advised:
        options = replace(options, regimes=(advised.regime,))
    study = yield from begin_study(first_plan(problem, replace(options, seeds=1, budget=np.inf)), folder)
    study.single = True
    plan = study.plan
    name, rows = plan.names[0], max(plan.sizes)
    job = train_job(plan, name, rows, plan.options.first_seed)
    if is_baseline(name):
        return study, FixedJobs([job])
    yield study.progress.event("planning", message=plan_summary(plan))
    search = search_job(plan, name, rows)
    job = replace(job, search=search.id)
    if advised and advised.before and advised.forecast:
        band = (advised.forecast.interval.high - advised.forecast.interval.low) / 2
        study.expected = advised.before, band
    mine = re.compile(re.escape(name) + r"-r\d+\.json")
    known = sorted((advised.folder / "tuning").glob("*.json")) if advised else []
    facts = [read_trial(path) for path in known if mine.fullmatch(path.name)]
    if facts and facts[-1]:
        regime = plan.regime(name, rows)
        config = plan.config(regime, rows, plan.options.first_seed)
        study.results.searches[search.id] = from_json(facts[-1], regime, config)
        job = replace(job, charged=False)  # it was searched elsewhere
    return study, FixedJobs([search, job])


def finish_fit(study: StudyState, advised: Advised | None = None) -> Run:
    """The run, with its score compared to the race's prediction."""
    (done,) = study.results.runs.values()
    if advised is None or advised.forecast is None or done.test is None:
        return done
    compared = compared_in_race(done.test, advised.forecast, higher=done.higher_is_better)
    done = replace(done, caveats=(*done.caveats, compared))
    write_json(study.folder / "run.json", done.to_json())
    return done
