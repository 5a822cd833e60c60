"""Tune: the same number of learning-rate trials for every regime, on validation rows only.

Each trial is a whole schedule at a quarter of the length. A regime that is cheap may then go on, for as long as it has
spent less than the dearest one, and choose its size too: training from scratch gets its fair chance.
"""

import functools
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from warmstart.models.dnn import Size
from warmstart.regimes.regimes import Regime
from warmstart.regimes.starts import HashedNetwork, Scratch
from warmstart.results.bootstrap import standard_error_share
from warmstart.results.record import Trial
from warmstart.runs.run import TunedRegime, try_settings
from warmstart.runtime.distributed import world
from warmstart.runtime.files import damaged, read_json, reading_ours, write_json
from warmstart.training.config import TrainConfig
from warmstart.training.loop import Step
from warmstart.training.run_data import RunData

LR_FACTOR = 10**0.5  # between neighbouring rates: about 3
TRIAL_SHARE = 0.25  # of the steps, for a trial
# A shorter schedule wants a higher rate, about as the root of the length: at a quarter it is tried at twice the rate
# that it stands for. Tried at the rate itself, 4,000 synopses chose 6e-4: .620 at the whole length; 3e-4 gave .647.
TRIAL_LR_FACTOR = TRIAL_SHARE**-0.5
MAX_SIZES_TRIED = 8  # at most, beyond the rates


class SavedSearch(TypedDict, total=False):
    """What a study keeps of a search (see `to_json`), or of one trial of it."""

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
    folder: Path | None = None  # for what is finished: a search that is stopped goes on from there
    trials: list[Trial] = field(default_factory=list)
    flops: float = 0.0
    seconds: float = 0.0

    def attempt(self, regime: Regime, lr: float) -> Generator[Step, None, float | None]:
        """One trial; its score on validation, None where it diverged."""
        path = self.folder / f"{len(self.trials)}.json" if self.folder else None
        facts = world().on_main(lambda: read_trial(path) if path else None)
        if facts is None:
            began = time.perf_counter()
            steps = max(1, round(self.config.steps * TRIAL_SHARE))
            config = replace(self.config, lr=lr * TRIAL_LR_FACTOR, steps=steps)
            checkpoints = self.folder / "checkpoint" if self.folder else None
            trial, flops = yield from try_settings(regime, config, self.run_data, checkpoints)
            settings = trial.settings | {"lr": lr}
            facts = {"trial": vars(trial) | {"settings": settings}, "flops": flops}
            facts["seconds"] = time.perf_counter() - began
            if path and checkpoints:
                world().on_main(functools.partial(save_trial, path, facts, checkpoints))
        self.trials.append(Trial(**facts["trial"]))
        self.flops += facts["flops"]
        self.seconds += facts["seconds"]
        return self.trials[-1].val

    def better(self, score: float | None, than: float | None) -> bool:
        """Better by more than noise: what is usual stays, unless the validation rows can tell that it should not.

        In the demo a rate that was better by 1 % at a quarter of the length was worse by 13 % at the whole.
        """
        if score is None or than is None:
            return score is not None
        return self.run_data.better(score, than) and abs(score - than) > standard_error_share(
            len(self.run_data.splits.val)
        ) * abs(than)


def search_settings(
    regime: Regime, config: TrainConfig, run_data: RunData, trials: int, spend: float, folder: Path | None = None
) -> Generator[Step, None, TunedRegime]:
    """Try `trials` rates around the regime's own (1: none, take it), then sizes until `spend` FLOPs are used up.

    What is finished is kept in `folder`, and read from there by a search that goes on.
    """
    search = Search(regime, config, run_data, folder)
    lr = config.lr
    if trials > 1:
        lr = yield from _rates(search, trials)
        if isinstance(regime.start, Scratch) and isinstance(regime.start.build, HashedNetwork):
            regime, lr = yield from _sizes(search, regime.start.build.size, lr, spend)
    return TunedRegime(regime, replace(config, lr=lr), tuple(search.trials), search.flops, search.seconds)


def _rates(search: Search, trials: int) -> Generator[Step, None, float]:
    """The best of rates a factor 3 apart; where an edge wins, one more on that side."""
    centre = search.config.lr
    powers = sorted(range(trials), key=lambda i: abs(i - (trials - 1) // 2))
    scores: dict[int, float | None] = {}
    for power in (i - (trials - 1) // 2 for i in powers):
        scores[power] = yield from search.attempt(search.regime, centre * LR_FACTOR**power)
    best = _best(search, scores)
    edge = {min(scores): best - 1, max(scores): best + 1}.get(best)
    if edge is not None:
        scores[edge] = yield from search.attempt(search.regime, centre * LR_FACTOR**edge)
    return centre * LR_FACTOR ** _best(search, scores)


def _best(search: Search, scores: dict[int, float | None]) -> int:
    best = next(iter(scores))
    for power, score in scores.items():
        if search.better(score, scores[best]):
            best = power
    return best


def _sizes(search: Search, size: Size, lr: float, spend: float) -> Generator[Step, None, tuple[Regime, float]]:
    """Change one of width, depth and dropout at a time; keep what helps."""
    tried = {size}
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
            found = yield from search.attempt(of_size(search.regime, candidate), lr)
            if search.better(found, score):
                size, score, improved = candidate, found, True
                break
    return of_size(search.regime, size), lr


def of_size(regime: Regime, size: Size) -> Regime:
    """The same regime with a deep network of another size."""
    assert isinstance(regime.start, Scratch)
    return replace(regime, start=replace(regime.start, build=HashedNetwork(size)))


def _neighbours(size: Size) -> Iterator[Size]:
    yield replace(size, width=size.width * 2)
    yield replace(size, depth=size.depth + 2)
    yield replace(size, dropout=min(size.dropout + 0.2, 0.6))
    if size.depth > 1:
        yield replace(size, depth=size.depth - 1)
    yield replace(size, width=size.width // 2)
    yield replace(size, dropout=max(size.dropout - 0.1, 0.0))


def read_trial(path: Path) -> dict[str, Any] | None:
    """What was kept; None if nothing."""
    if not path.exists():
        return None
    remedy = "delete it: the search is made again"
    kept = read_json(path, SavedSearch, remedy)
    for name in ("trial", "flops", "seconds") if "trial" in kept else ("lr", "size", "trials", "flops", "seconds"):
        if name not in kept:
            raise damaged(path, f"it lacks {name!r}", remedy)
    with reading_ours(path, remedy):
        for trial in (kept["trial"],) if "trial" in kept else kept["trials"]:
            Trial(**trial)
    return {**kept}


def save_trial(path: Path, facts: dict[str, Any], finished: Path) -> None:
    """Write facts down; then what they were made from in the folder `finished` can go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, facts)
    shutil.rmtree(finished, ignore_errors=True)


def to_json(chosen: TunedRegime) -> dict[str, Any]:
    """What a study keeps of a search, so that it need not be repeated."""
    build = getattr(chosen.regime.start, "build", None)
    size = vars(build.size) if isinstance(build, HashedNetwork) else None
    trials = [vars(trial) for trial in chosen.trials]
    return {"lr": chosen.config.lr, "size": size, "trials": trials, "flops": chosen.flops, "seconds": chosen.seconds}


def from_json(facts: dict[str, Any], regime: Regime, config: TrainConfig) -> TunedRegime:
    """The search that `to_json` described, for the same regime and settings."""
    if facts["size"]:
        regime = of_size(regime, Size(**facts["size"]))
    trials = tuple(Trial(**trial) for trial in facts["trials"])
    return TunedRegime(regime, replace(config, lr=facts["lr"]), trials, facts["flops"], facts["seconds"])
