"""Study: what do compare, advise and report run, and what do they write to the study's folder?"""

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from warmstart.advice.advise import Advice, advice_for
from warmstart.advice.race_advice import race_advice
from warmstart.data.encoding.chat_template import HEAD_SHARE, OMISSION_MARK
from warmstart.data.rows.findings import Finding
from warmstart.data.schema.conversations import document, read_turns
from warmstart.data.schema.schema import TEXT_OUT
from warmstart.errors import TrainingError
from warmstart.planning.problem import Options, Problem
from warmstart.quantities import format_duration
from warmstart.regimes.regimes import NO_BASE_NEEDED, WITHOUT_TRAINING
from warmstart.reporting import plots
from warmstart.reporting.entries import entries_of, of_most_rows
from warmstart.reporting.render import render
from warmstart.reporting.votes import preferences
from warmstart.results.comparison import Comparison
from warmstart.results.display import Display, Tabular
from warmstart.results.domain_shift import DomainShift
from warmstart.results.influences import EXPLAINED_FILE, ExplainedRun
from warmstart.results.names import regime_of
from warmstart.results.probe_result import ProbeResult
from warmstart.results.race_outcome import RaceOutcome, load_race, race_display
from warmstart.results.refit_record import REFIT, load_refit
from warmstart.runs.measure_domain_shift import measure_domain_shift
from warmstart.runtime.distributed import world
from warmstart.runtime.files import read_json, read_parquet, reading_ours, write_json, write_parquet, write_text
from warmstart.study import run_race
from warmstart.study.compare import run_comparison
from warmstart.study.explain_mistakes import explain_mistakes
from warmstart.study.jobs import BUDGET_TOLERANCE, IN_THIS_PROCESS, Executor
from warmstart.study.make_comparison import load_comparison, save_comparison
from warmstart.study.winner import keep_winner
from warmstart.training.event import Event

EXPLAINING_SHARE = 0.02  # of the budget, for what moved the worst predictions
LONGEST_EXAMPLE = 600  # characters of a text that the report may show
LONGEST_SOURCE = 8_000  # of one that is answered: a person judges answers by it


@dataclass(frozen=True, repr=False)
class Study(Tabular):
    """A comparison with the resulting advice, and the folder of both."""

    comparison: Comparison
    advice: Advice
    folder: Path
    raced: RaceOutcome | None = None  # None: everything was compared

    def to_table(self) -> pa.Table:
        """The table of the comparison: one line for each measured regime, best first."""
        return self.comparison.to_table()

    def plot(self) -> Any:
        """Score against compute, as in the report: a figure of plotly, which a notebook shows."""
        from plotly.graph_objects import Figure

        entries = of_most_rows(entries_of(self.comparison))
        return Figure(plots.score_against_compute(entries, self.comparison)).update_yaxes(title=self.comparison.metric)

    def _display(self) -> Display:
        """The verdict, then the table; after a race, the estimates for all rows."""
        measured = self.comparison._display()
        shown = race_display(self.raced) if self.raced else measured
        next_step = f"Next: {self.advice.next_step}"
        notes = (f"{measured.headline}.", *shown.notes, next_step, f"Report: {self.folder / 'report.html'}")
        verdict, reason = self.advice.verdict, self.advice.reason
        headline = reason if verdict.lower() in reason.lower() else f"{verdict}: {reason}"  # most reasons begin with it
        return replace(shown, headline=headline, notes=notes)


def run_study(
    problem: Problem,
    options: Options,
    folder: Path,
    findings: Sequence[Finding] = (),
    command: str = "",
    executor: Executor = IN_THIS_PROCESS,
) -> Generator[Event, None, Study]:
    """Run a comparison and write comparison.json, advice.json, report.html and winner/ into `folder`."""
    began = time.perf_counter()
    if options.examples:
        save_examples(problem, folder / "examples.parquet")
    comparison = yield from run_comparison(problem, options, folder, executor)
    yield from _measured_mismatch(problem, options, folder)
    yield from _explained(problem, options, comparison, advice_for(comparison), folder, began)
    yield Event("writing the report", 1.0, 0.0)
    study = write_study(comparison, folder, findings, command)
    yield from _over_budget(options, began)
    return study


def race_study(
    problem: Problem,
    options: Options,
    folder: Path,
    part: float | None,
    findings: Sequence[Finding] = (),
    command: str = "",
) -> Generator[Event, None, Study]:
    """The same answer for `part` of the compute (None: the options' budget), by a race over more and more rows.

    If the full comparison is quick, it is run instead.
    """
    began = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    if options.examples:
        save_examples(problem, folder / "examples.parquet")
    begun = yield from run_race.begin_race(problem, options, folder)
    if run_race.worth_racing(begun.plan):
        comparison, raced = yield from run_race.run_race(begun, part)
    else:
        yield begun.progress.event("planning", message="comparing everything is quick here: no race is needed")
        comparison, raced = (yield from run_comparison(problem, options, folder)), None
    yield from _measured_mismatch(problem, options, folder)
    advice = race_advice(comparison, raced) if raced else advice_for(comparison)
    yield from _explained(problem, options, comparison, advice, folder, began)
    yield Event("writing the report", 1.0, 0.0)
    study = write_study(comparison, folder, findings, command, raced=raced)
    yield from _over_budget(options, began)
    return study


def _measured_mismatch(problem: Problem, options: Options, folder: Path) -> Generator[Event, None, None]:
    """Write `mismatch.json`, once; not if nothing starts from a base."""
    path = folder / "mismatch.json"
    if problem.base.kind == "image":
        return
    if path.exists() or set(map(regime_of, options.regimes)) <= NO_BASE_NEEDED | {*WITHOUT_TRAINING, "scratch-dnn"}:
        return
    yield Event("comparing the texts with what the base has read", 1.0)
    found = measure_domain_shift(problem.base, problem.splits.train, problem.schema, problem.general)
    if found:
        write_json(path, found.to_json())


def _explained(
    problem: Problem, options: Options, comparison: Comparison, advice: Advice, folder: Path, began: float
) -> Generator[Event, None, None]:
    """Write `explained.json`, unless the report is not to show rows, or the budget is spent."""
    if not options.examples:
        return
    yield Event("explaining the worst predictions", 1.0)
    seconds = math.inf
    if not options.by_compute:
        seconds = min(EXPLAINING_SHARE * options.budget, began + _most_seconds(options) - time.perf_counter())
    failed = world().on_main(lambda: explain_mistakes(problem, comparison, advice, folder, seconds))
    if failed:
        yield Event("explaining the worst predictions", 1.0, message=failed)


def _most_seconds(options: Options) -> float:
    """The budget, and the most by which it may be exceeded."""
    return (1 + BUDGET_TOLERANCE) * options.budget


def _over_budget(options: Options, began: float) -> Generator[Event, None, None]:
    """Warn if a study took longer."""
    took = time.perf_counter() - began
    if not options.by_compute and took > _most_seconds(options):
        known = f"took {format_duration(took)}, more than its budget of {format_duration(options.budget)}"
        yield Event("writing the report", 1.0, 0.0, message=f"the study {known}: the machine was slower than measured")


def read_study(folder: Path) -> Study:
    """A finished study. Raises TrainingError if it is not finished."""
    comparison, raced = _with_rest(load_comparison(folder), folder), load_race(folder)
    return Study(comparison, race_advice(comparison, raced) if raced else advice_for(comparison), folder, raced)


def _with_rest(comparison: Comparison, folder: Path) -> Comparison:
    """The comparison with what was measured besides the runs: the refit of the winner, and the domain shift."""
    comparison = replace(comparison, refit=load_refit(folder / REFIT))
    path = folder / "mismatch.json"
    if not path.exists():
        return comparison
    remedy = f"delete it, and continue with: warmstart report {folder}"
    found = read_json(path, dict[str, Any], remedy)
    with reading_ours(path, remedy):
        DomainShift.from_json(found)
    return replace(comparison, mismatch=found)


def write_study(
    comparison: Comparison,
    folder: Path,
    findings: Sequence[Finding],
    command: str,
    *,
    examples: bool = True,
    raced: RaceOutcome | None = None,
) -> Study:
    """Draw the advice and write everything for people; then raise TrainingError if all runs failed."""
    comparison = replace(comparison, command=command)
    save_comparison(comparison, folder)
    comparison = _with_rest(comparison, folder)
    advice = race_advice(comparison, raced) if raced else advice_for(comparison)
    voted = preferences(folder)
    blind = {"blind": [each.to_json() for each in voted]} if voted else {}
    write_json(folder / "comparison.json", comparison.to_json() | blind)
    write_json(folder / "advice.json", advice.to_json() | ({"race": raced.to_json()} if raced else {}))
    texts = load_examples(folder / "examples.parquet") if examples else None
    page = render(
        comparison,
        advice,
        examples=texts,
        findings=findings,
        command=command,
        raced=raced,
        preferences=voted,
        probed=ProbeResult.load(folder / "probe.json"),
        explained=ExplainedRun.load(folder / EXPLAINED_FILE) if examples else None,
    )
    write_text(folder / "report.html", page)
    keep_winner(comparison, advice, folder)
    if raced is None and all(run.failed for run in comparison.runs):
        why = "; ".join(dict.fromkeys(f"{run.regime}: {run.failed}" for run in comparison.runs))
        raise TrainingError(f"no regime could be trained: {why}", f"see {folder / 'report.html'}; try another --lr")
    return Study(comparison, advice, folder, raced)


def save_examples(problem: Problem, path: Path) -> None:
    """The texts of the test rows, or small images, for later reports; written once."""
    if path.exists():
        return
    test, schema = problem.splits.test, problem.schema
    if schema.task in TEXT_OUT:  # answers are judged by them
        texts = [_source(text, schema.instruction or "") for text in test.texts]
    elif (images := test.columns.images) is not None:
        texts = list(images.thumbnails())
    else:
        texts = [text[:LONGEST_EXAMPLE] for text in test.texts]
    write_parquet(path, pa.table({"row": test.numbers, "text": texts}))


def _source(text: str, instruction: str) -> str:
    """The input to answer, without the instruction shared by all: a text, or all turns before the answer."""
    turns = read_turns(text)[:-1]
    found = document(text, instruction)
    if len(turns) > 1:
        found = "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)
    over = len(found) - LONGEST_SOURCE
    head = round(HEAD_SHARE * LONGEST_SOURCE)
    return found if over <= 0 else found[:head] + OMISSION_MARK + found[head + over :]


def load_examples(path: Path) -> dict[int, str] | None:
    """Row number to text; None if the study stored no texts."""
    if not path.exists():
        return None
    columns = {"row": "integer", "text": "text"}
    found = read_parquet(path, columns, "delete it: the report then has no texts").to_pylist()
    return {entry["row"]: entry["text"] for entry in found}
