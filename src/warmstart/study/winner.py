"""Winner: which run's model is the result of a study?"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from warmstart.advice.advise import Advice
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.record import Run


def keep_winner(comparison: Comparison, advice: Advice, folder: Path) -> None:
    """Write `winner/`: the chosen regime's model, with the best seed by validation score. If undecided, the best-scored
    regime; if nothing beats the constant, the constant.

    If a regime was run on several numbers of rows, one of the runs on the most.
    """
    _keep_best([run for run in comparison.runs if run.regime == advice.winner], folder)


def keep_first_winner(runs: Sequence[Run], folder: Path) -> None:
    """Write `winner/` from the baselines, so that a model exists while the other regimes train; not the constant."""
    _keep_best([run for run in runs if run.regime != CONSTANT], folder)


def _keep_best(runs: Sequence[Run], folder: Path) -> None:
    """The run with the best validation score of those on the most rows.

    Files are hard links if possible, to avoid a second copy of the weights.
    """
    size = max((run.rows for run in runs), default=0)
    finished = [run for run in runs if run.rows == size and run.val is not None and not run.failed]
    if not finished:
        return
    best = max(finished, key=lambda run: (run.val or 0.0) * (1 if run.higher_is_better else -1))
    staging = folder / "checkpoint"
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(folder / "runs" / best.id, staging, copy_function=_link)
    shutil.rmtree(folder / "winner", ignore_errors=True)
    staging.replace(folder / "winner")


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
