"""Search: which learning rate suits a regime? The same number of trials for every regime, on validation rows only.

Each trial is a complete schedule at a quarter of the length. A cheap regime may then continue, until it has cost as
much as the most expensive one, and search its size too: training from scratch gets a fair chance.
"""

import functools
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from warmstart.errors import TrainingError
from warmstart.models.dnn import Size
from warmstart.regimes.regimes import Regime
from warmstart.results.bootstrap import standard_error_share
from warmstart.results.record import Trial
from warmstart.runs.run import TunedRegime, checkpoint_purpose, tried_settings
from warmstart.runtime.distributed import world
from warmstart.runtime.files import damaged, read_json, reading_ours, write_json
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event, JobProgress
from warmstart.training.frozen_prefix import use_prefix_cache
from warmstart.training.run_data import RunData
from warmstart.training.stages import TrainedStages, train_stages
from warmstart.training.validation import evaluate

LR_FACTOR = 10**0.5  # between neighbouring rates: about 3
TRIAL_SHARE = 0.25  # of the steps, for a trial
# A shorter schedule wants a higher rate, about as the root of the length: at a quarter it is tried at twice the rate
# that it stands for. Tried at the rate itself, 4,000 synopses chose 6e-4: .620 at the whole length; 3e-4 gave .647.
TRIAL_LR_FACTOR = TRIAL_SHARE**-0.5
MAX_SIZES_TRIED = 8  # at most, beyond the rates

SEARCH_AGAIN = "delete it: the search is made again"


class SavedSearch(TypedDict, total=False):
    """What a study keeps of a search (see `to_json`), or of one of its trials."""

    lr: float
    size: dict[str, Any] | None
    trials: list[dict[str, Any]]
    flops: float
    seconds: float
    trial: dict[str, Any]


@dataclass
class Search:
    """The trials of one regime so far."""

    regime: Regime
    config: TrainConfig
    run_data: RunData
    trials: list[Trial] = field(default_factory=list)
    flops: float = 0.0
    seconds: float = 0.0

    def better(self, score: float | None, than: float | None) -> bool:
        """Better by more than noise: the default stays, unless validation rows clearly favor another setting.

        In the demo, a rate that was better by 1 % at a quarter of the length was worse by 13 % at full length.
        """
        if score is None or than is None:
            return score is not None
        return self.run_data.better(score, than) and abs(score - than) > standard_error_share(
            len(self.run_data.splits.val)
        ) * abs(than)

    def candidates(self, trials: int, spend: float) -> Iterator[tuple[Regime, float]]:
        """The next regime and rate to try; its trial must be added before the next is requested.

        At the end the search has the best regime and rate.
        """
        if trials > 1:
            yield from _rates(self, trials)
            if self.regime.start.size is not None and self.regime.search_size:
                yield from _sizes(self, self.regime.start.size, spend)

    def chosen(self) -> TunedRegime:
        """The result of the search."""
        return TunedRegime(self.regime, self.config, tuple(self.trials), self.flops, self.seconds)


def search_settings(
    regime: Regime,
    config: TrainConfig,
    run_data: RunData,
    trials: int,
    spend: float,
    folder: Path | None = None,
    progress: JobProgress | None = None,
) -> Generator[Event, None, TunedRegime]:
    """Try `trials` rates around the regime's default (1: no search), then sizes until `spend` FLOPs are used up.

    Finished trials are kept in `folder` and read back when a search resumes; the complete search is saved beside it.
    """
    whole = folder.with_name(f"{folder.name}.json") if folder else None  # a base may have a dot in its name
    known = world().on_main(lambda: read_trial(whole) if whole else None)
    if known is not None:
        return from_json(known, regime, config)
    progress = progress or JobProgress()
    yield progress.began()
    search = Search(regime, config, run_data)
    short = replace(config, steps=max(1, round(config.steps * TRIAL_SHARE)))
    for asked, lr in search.candidates(trials, spend):
        path = folder / f"{len(search.trials)}.json" if folder else None
        facts = world().on_main(functools.partial(read_trial, path))
        if facts is None:
            began = time.perf_counter()
            tried = replace(short, lr=lr * TRIAL_LR_FACTOR)
            checkpoints = (
                Checkpoints(folder / "checkpoint", checkpoint_purpose(asked, tried, run_data)) if folder else None
            )
            val, flops = None, 0.0
            with suppress(TrainingError):  # it diverged
                trained = yield from train_stages(asked, tried, run_data, 1, checkpoints, progress=progress)
                val, flops = score_trial(trained, run_data.fitted(asked), run_data)
            trial = Trial(tried_settings(asked, replace(tried, lr=lr)), tried.steps, val)
            facts = {"trial": vars(trial), "flops": flops, "seconds": time.perf_counter() - began}
            if path and folder:
                world().on_main(functools.partial(save_trial, path, facts, folder / "checkpoint"))
        search.trials.append(Trial(**facts["trial"]))
        search.flops += facts["flops"]
        search.seconds += facts["seconds"]
    if whole and folder:
        world().on_main(functools.partial(save_trial, whole, to_json(search.chosen()), folder))
    return search.chosen()


def score_trial(trained: TrainedStages, regime: Regime, run_data: RunData) -> tuple[float | None, float]:
    """Score on all validation rows, None if it is not finite; and the FLOPs of training and scoring."""
    inputs = run_data.task.reads(regime.start.inputs)
    examples = run_data.shared.examples(inputs, run_data.splits.val, run_data.task.targets(run_data.splits.val))
    with use_prefix_cache(trained.model, trained.reads):
        _, score = evaluate(trained.model, run_data.task, replace(examples, encoded=trained.reads))
    spent = trained.train_flops + float(trained.cost.forward(examples.sizes(), examples.loss_weights).sum())
    return score if isfinite(score) else None, spent


def _rates(search: Search, trials: int) -> Iterator[tuple[Regime, float]]:
    """Rates a factor of 3 apart, the default first; if the lowest or highest wins, one more beyond it."""
    centre = search.config.lr
    scores: dict[int, float | None] = {}
    for i in sorted(range(trials), key=lambda i: abs(i - (trials - 1) // 2)):
        power = i - (trials - 1) // 2
        yield search.regime, centre * LR_FACTOR**power
        scores[power] = search.trials[-1].val
    best = _best(search, scores)
    edge = {min(scores): best - 1, max(scores): best + 1}.get(best)
    if edge is not None:
        yield search.regime, centre * LR_FACTOR**edge
        scores[edge] = search.trials[-1].val
    search.config = replace(search.config, lr=centre * LR_FACTOR ** _best(search, scores))


def _best(search: Search, scores: dict[int, float | None]) -> int:
    best = next(iter(scores))
    for power, score in scores.items():
        if search.better(score, scores[best]):
            best = power
    return best


def _sizes(search: Search, size: Size, spend: float) -> Iterator[tuple[Regime, float]]:
    """Change one of width, depth and dropout at a time; keep what helps."""
    tried, lr = {size}, search.config.lr
    score = next(t.val for t in search.trials if t.settings["lr"] == lr)
    attempts = 0
    improved = True
    while improved and attempts < MAX_SIZES_TRIED:
        improved = False
        for candidate in _neighbours(size):
            if candidate in tried or attempts >= MAX_SIZES_TRIED or search.flops >= spend:
                continue
            tried.add(candidate)
            attempts += 1
            yield of_size(search.regime, candidate), lr
            found = search.trials[-1].val
            if search.better(found, score):
                size, score, improved = candidate, found, True
                break
    search.regime = of_size(search.regime, size)


def of_size(regime: Regime, size: Size) -> Regime:
    """The same regime with a deep network of another size."""
    return replace(regime, start=regime.start.resized(size))


def _neighbours(size: Size) -> Iterator[Size]:
    yield replace(size, width=size.width * 2)
    yield replace(size, depth=size.depth + 2)
    yield replace(size, dropout=min(size.dropout + 0.2, 0.6))
    if size.depth > 1:
        yield replace(size, depth=size.depth - 1)
    yield replace(size, width=size.width // 2)
    yield replace(size, dropout=max(size.dropout - 0.1, 0.0))


def read_trial(path: Path | None) -> dict[str, Any] | None:
    """A saved trial; None if there is none."""
    if path is None or not path.exists():
        return None
    kept = read_json(path, SavedSearch, SEARCH_AGAIN)
    for name in ("trial", "flops", "seconds") if "trial" in kept else ("lr", "size", "trials", "flops", "seconds"):
        if name not in kept:
            raise damaged(path, f"it lacks {name!r}", SEARCH_AGAIN)
    with reading_ours(path, SEARCH_AGAIN):
        for trial in (kept["trial"],) if "trial" in kept else kept["trials"]:
            Trial(**trial)
    return {**kept}


def save_trial(path: Path, facts: dict[str, Any], finished: Path) -> None:
    """Write a trial, then delete the folder `finished` that it was made from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, facts)
    shutil.rmtree(finished, ignore_errors=True)


def to_json(chosen: TunedRegime) -> dict[str, Any]:
    """What a study keeps of a search, so that it need not be repeated."""
    found = chosen.regime.start.size
    size = None if found is None else vars(found)
    trials = [vars(trial) for trial in chosen.trials]
    return {"lr": chosen.config.lr, "size": size, "trials": trials, "flops": chosen.flops, "seconds": chosen.seconds}


def from_json(facts: dict[str, Any], regime: Regime, config: TrainConfig) -> TunedRegime:
    """The search that `to_json` described, for the same regime and settings."""
    if facts["size"]:
        regime = of_size(regime, Size(**facts["size"]))
    trials = tuple(Trial(**trial) for trial in facts["trials"])
    return TunedRegime(regime, replace(config, lr=facts["lr"]), trials, facts["flops"], facts["seconds"])


def transfer(found: TunedRegime, regime: Regime, config: TrainConfig, *, charged: bool) -> TunedRegime:
    """A regime, for example on other rows, with the rate and size of this search; `charged` with its cost."""
    tuned = from_json(to_json(found), regime, config)
    return tuned if charged else replace(tuned, trials=(), flops=0.0, seconds=0.0)
