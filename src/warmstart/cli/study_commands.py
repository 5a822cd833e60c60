"""Study commands: which commands show a study, finished or not? Its report and its runs."""

from collections.abc import Callable

from warmstart.cli import option_types
from warmstart.errors import UsageError, shell_word

# Lazily imported below, as in `app`: rich, pyarrow, torch, transformers.


def commands_of_a_study() -> dict[str, Callable[..., None]]:
    """By name, in the order of the help."""
    return {"report": _report, "runs": _runs}


def _report(
    folder: option_types.Folder,
    examples: option_types.ShowExamples = True,
    pairs: option_types.Pairs = None,
    votes: option_types.Votes = None,
) -> None:
    """Write the HTML report again, or a page for blind votes.

    For a study that was stopped, the report covers the finished runs, and says so.
    """
    from warmstart import api
    from warmstart.cli import print_results
    from warmstart.study.progress import print_status

    if pairs is not None:
        if votes is not None or not examples:
            other = "--votes" if votes is not None else "--no-examples"
            raise UsageError(
                f"--pairs writes a page with texts to vote on, so it cannot be combined with {other}.", "choose one"
            )
        print(api.blind(folder, [name.strip() for name in pairs.split(",")]))
        print_status(
            "open it in a browser, vote, download votes.json; "
            f"then: warmstart report {shell_word(folder)} --votes votes.json"
        )
        return
    if votes is not None:
        print_results.print_sentence(api.vote(folder, votes).statement)
    written = api.report(folder, examples=examples)
    if not (folder / "study.json").exists():
        print_status(
            f"the study is not finished: the report covers its finished runs. "
            f"To finish it: warmstart resume {shell_word(folder)}"
        )
    print(written)


def _runs(folder: option_types.Folder, json_: option_types.Json = False) -> None:
    """List the finished runs in a folder."""
    from warmstart import api
    from warmstart.cli import print_results

    print_results.show_runs(api.finished(folder), json_)
