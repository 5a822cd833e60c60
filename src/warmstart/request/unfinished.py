"""Unfinished: what can be reported of a study that was stopped, or is still running?"""

from dataclasses import replace
from pathlib import Path

from warmstart.data.rows.findings import Finding
from warmstart.errors import UsageError, join_phrases, shell_word
from warmstart.request.prepare import options_of, prepare_problem
from warmstart.request.read_data import prepare_data
from warmstart.request.request import load_request
from warmstart.request.serialize import command_line
from warmstart.runtime.files import read_json, write_text


def comparison_folder(folder: str | Path) -> Path:
    """The folder of a comparison or a race, finished or not. Raises UsageError where it is that of a single run."""
    out = Path(folder)
    if load_request(out).command == "fit":
        raise UsageError(
            f"{str(out)!r} is a single run; a report compares several.",
            f"see it with: warmstart runs {shell_word(out)}",
        )
    return out


def finished_comparison(folder: str | Path) -> Path:
    """The same of one that is finished. Raises UsageError where it is not."""
    out = comparison_folder(folder)
    if not (out / "study.json").exists():
        raise UsageError(
            f"the study in {str(out)!r} is not finished.", f"continue with: warmstart resume {shell_word(out)}"
        )
    return out


def report_unfinished(folder: Path, *, examples: bool = True) -> Path:
    """Write `report.html` about the finished runs; it says that others are missing. Trains nothing.

    Nothing else is written: the study is resumed as if there had been no report. Raises UsageError where no run is
    finished, InputError where the data is no longer that of the study.
    """
    from warmstart.advice.advise import advice_for
    from warmstart.planning.run_plan import first_plan
    from warmstart.planning.saved_plan import load_plan
    from warmstart.reporting.render import render
    from warmstart.results.record import load_run
    from warmstart.study.make_comparison import best_lengths, make_comparison
    from warmstart.study.study import load_examples

    request = load_request(folder)
    problem = prepare_problem(request, prepare_data(request), {}, folder, run_code=False).problem
    plan = first_plan(problem, options_of(request, problem))
    paths = [path for name in ("plan.json", "race-plan.json") if (path := folder / name).exists()]
    plan = load_plan(plan, paths[0], cut=paths[0].name == "plan.json") if paths else plan
    scored = len(plan.splits.test)
    runs = [load_run(path.parent) for path in sorted(folder.glob("runs/*/run.json"))]
    runs = [run for run in runs if run.failed or len(run.scores) == scored]  # others were scored before the plan
    if not runs:
        raise UsageError(
            f"no run of the study in {str(folder)!r} is finished.",
            f"continue with: warmstart resume {shell_word(folder)}",
        )
    command = command_line(request, str(folder))
    comparison = replace(make_comparison(plan, best_lengths(plan, runs)), command=command)
    path = folder / "findings.json"
    page = render(
        comparison,
        advice_for(comparison),
        examples=load_examples(folder / "examples.parquet") if examples else None,
        findings=list(read_json(path, tuple[Finding, ...], "delete it")) if path.exists() else [],
        command=command,
        unfinished=_missing(plan.names, {run.regime for run in runs}, folder),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _missing(names: tuple[str, ...], seen: set[str], folder: Path) -> str:
    """Which regimes have no run yet, and what to do."""
    lacking = [f"`{name}`" for name in names if name not in seen]
    said = f"No run of {join_phrases(lacking)} is finished yet." if lacking else "Some runs are still missing."
    return f"{said} To finish it: `warmstart resume {shell_word(folder)}`."
