"""Winner: which run's model is the result of a study?"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from warmstart.advice.advise import Advice
from warmstart.results.comparison import CONSTANT, Comparison
from warmstart.results.record import RECORD_FILES, Run
from warmstart.results.refit_record import REFIT, load_refit


def keep_winner(comparison: Comparison, advice: Advice, folder: Path) -> None:
    """Write `winner/`: the model of `best_run`, or its refit on more rows, with the record of the run.

    Without one there is no winner: what `keep_first_winner` left may be a model that the constraints do not allow.
    """
    run, refit = best_run(comparison, advice), load_refit(folder / REFIT)
    if run is None:
        shutil.rmtree(folder / "winner", ignore_errors=True)
        return
    model = folder / REFIT if refit and refit.run == run.id and not refit.rejected else None
    _hand_over(folder / "runs" / run.id, model, folder)


def best_run(comparison: Comparison, advice: Advice) -> Run | None:
    """The chosen regime's run, with the best seed by validation score. If undecided, the best-scored regime's; if
    nothing beats the constant, the constant's.

    If a regime was run on several numbers of rows, one of the runs on the most.
    """
    return _best([run for run in comparison.runs if run.regime == advice.winner])


def keep_first_winner(runs: Sequence[Run], folder: Path) -> None:
    """Write `winner/` from the baselines, so that a model exists while the other regimes train; not the constant."""
    best = _best([run for run in runs if run.regime != CONSTANT])
    if best:
        _hand_over(folder / "runs" / best.id, None, folder)


def _best(runs: Sequence[Run]) -> Run | None:
    """The run with the best validation score of those on the most rows."""
    size = max((run.rows for run in runs), default=0)
    finished = [run for run in runs if run.rows == size and run.val is not None and not run.failed]
    return max(finished, key=lambda run: (run.val or 0.0) * (1 if run.higher_is_better else -1), default=None)


def _hand_over(run: Path, model: Path | None, folder: Path) -> None:
    """Files are hard links if possible, to avoid a second copy of the weights. `model`: instead of the run's own."""
    staging = folder / "checkpoint"
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(model or run, staging, copy_function=_link)
    if model:
        for name in RECORD_FILES:
            if (run / name).exists():
                _link(str(run / name), str(staging / name))
    shutil.rmtree(folder / "winner", ignore_errors=True)
    staging.replace(folder / "winner")


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
