"""Search: which learning rate suits a regime? The same number of trials for every regime, on validation rows only.

Where images are read, two more trials try other strengths of augmentation.

Each trial is a complete schedule at a quarter of the length, or less on very many rows. A cheap regime may then
continue, until it has cost as much as the most expensive one, and search its size too: a fair chance from scratch.

With `--search`, trials of architecture and regularization follow, suggested by Optuna and stopped early where they do
worse than the median. They may only replace the default where they still do better at full length, with another seed.
"""

import functools
import shutil
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from warmstart.errors import TrainingError
from warmstart.models.dnn import Size
from warmstart.regimes.regimes import Regime
from warmstart.regimes.search_space import NO_SEARCH, RATE_FACTOR, Sampler, SearchEffort, Suggested
from warmstart.results.bootstrap import standard_error_share
from warmstart.results.record import SettingsSearch, Trial
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

LR_FACTOR = 10**0.5  # between neighboring rates: about 3
TRIAL_SHARE = 0.25  # of the steps, for a trial
TRIAL_ROWS, LEAST_TRIAL = 100_000, 1 / 16  # read in a trial of a rate or size, at most; but this share of the steps
FEW_TRIALS = 2  # of rates: where a budget leaves no more, augmentation is not tried either
MAX_SIZES_TRIED = 8  # at most, beyond the rates
# Of the steps, for a trial of other settings: regularization pays late. At a quarter, lora on 1,000 synopses scored .42
# with the default and at most .36 with any dropout or weight decay.
SETTINGS_SHARE = 0.5
PRUNED_AT = 4  # evaluations of a trial that may be stopped early
CHECKS = 2  # trainings at full length, of the default and of the best other settings
OTHER_SEED = 1_000  # is added for them: what was chosen for luck with one seed is not taken

SEARCH_AGAIN = "delete it: the search is made again"


class SavedSearch(TypedDict, total=False):
    """What a study keeps of a search (see `to_json`), or of one of its trials."""

    lr: float
    size: dict[str, Any] | None
    trials: list[dict[str, Any]]
    flops: float
    seconds: float
    trial: dict[str, Any]
    seen: list[float]  # of a trial that could be stopped early: its scores while it was trained
    pruned: bool
    chosen: dict[str, Any]  # settings beside rate and size
    search: dict[str, Any] | None


def trial_share(config: TrainConfig) -> float:
    """The share of the steps that a trial of a rate or a size takes: less than a quarter if that is very many rows."""
    return min(TRIAL_SHARE, max(LEAST_TRIAL, TRIAL_ROWS / (config.steps * config.batch_size)))


@dataclass(frozen=True)
class Candidate:
    """Settings to try next."""

    regime: Regime
    config: TrainConfig  # of a whole run
    share: float  # of its steps
    suggested: Suggested | None = None  # by Optuna: may be stopped early

    @property
    def evaluations(self) -> int:
        """How often validation rows are scored: for a trial of full length, as often as in a run."""
        return PRUNED_AT if self.suggested else self.regime.defaults.evaluations if self.share == 1.0 else 1

    @property
    def tried(self) -> TrainConfig:
        """The settings of the trial.

        A shorter schedule wants a higher rate, about as the root of the length: a quarter is tried at twice the rate
        that it stands for. Tried at the rate itself, 4,000 synopses chose 6e-4: .620 at the whole length; 3e-4: .647.
        """
        steps = max(1, round(self.config.steps * self.share))
        return replace(self.config, steps=steps, lr=self.config.lr * self.share**-0.5)


@dataclass
class Search:
    """The trials of one regime so far."""

    regime: Regime
    config: TrainConfig
    run_data: RunData
    trials: list[Trial] = field(default_factory=list)
    flops: float = 0.0
    seconds: float = 0.0
    pruned: bool = False  # whether the last trial was stopped early
    found: SettingsSearch | None = None  # of the settings beside rate and size

    def better(self, score: float | None, than: float | None) -> bool:
        """Better by more than noise: the default stays, unless validation rows clearly favor another setting.

        In the demo, a rate that was better by 1 % at a quarter of the length was worse by 13 % at full length.
        """
        if score is None or than is None:
            return score is not None
        return self.run_data.better(score, than) and abs(score - than) > standard_error_share(
            len(self.run_data.splits.val)
        ) * abs(than)

    def candidates(self, trials: int, spend: float, effort: SearchEffort) -> Iterator[Candidate]:
        """What to try next; its trial must be added before the next is requested.

        At the end the search has the best regime and settings.
        """
        if trials > 1:
            yield from _rates(self, trials)
            if trials > FEW_TRIALS and self.regime.augmentations:
                yield from _augmentations(self)
            if self.regime.start.size is not None and self.regime.search_size and not effort.trials:
                yield from _sizes(self, self.regime.start.size, spend)
        if effort.trials:
            yield from _settings(self, effort, rate=trials > 1)

    def add(self, trial: Trial, facts: dict[str, Any]) -> None:
        """Count a finished trial."""
        self.trials.append(trial)
        self.flops += facts["flops"]
        self.seconds += facts["seconds"]
        self.pruned = facts.get("pruned", False)

    def chosen(self) -> TunedRegime:
        """The result of the search."""
        more = len(self.found.trials) if self.found else 0
        trials = tuple(self.trials[: len(self.trials) - more])
        return TunedRegime(self.regime, self.config, trials, self.flops, self.seconds, search=self.found)


def search_settings(
    regime: Regime,
    config: TrainConfig,
    run_data: RunData,
    trials: int,
    spend: float,
    effort: SearchEffort = NO_SEARCH,
    folder: Path | None = None,
    progress: JobProgress | None = None,
) -> Generator[Event, None, TunedRegime]:
    """Try `trials` rates around the regime's default (1: no search), then sizes until `spend` FLOPs are used up.

    `effort`: how much to search of the other settings, instead of sizes.

    Finished trials are kept in `folder` and read back when a search resumes; the complete search is saved beside it.
    """
    whole = folder.with_name(f"{folder.name}.json") if folder else None  # a base may have a dot in its name
    known = world().on_main(lambda: read_trial(whole) if whole else None)
    if known is not None:
        return from_json(known, regime, config)
    progress = progress or JobProgress()
    yield progress.began()
    search = Search(regime, config, run_data)
    for asked in search.candidates(trials, spend, effort):
        path = folder / f"{len(search.trials)}.json" if folder else None
        facts = world().on_main(functools.partial(read_trial, path))
        tried, suggested = asked.tried, asked.suggested
        if facts and not suggested and facts["trial"]["settings"] != tried_settings(asked.regime, asked.config):
            facts = None  # of a version that tried something else next
        if facts is None:
            began = time.perf_counter()
            saved = (
                Checkpoints(folder / "checkpoint", checkpoint_purpose(asked.regime, tried, run_data))
                if folder and not suggested  # whether to stop it depends on all of its evaluations
                else None
            )
            val, flops, pruned = None, 0.0, False
            with suppress(TrainingError):  # it diverged
                with closing(
                    train_stages(asked.regime, tried, run_data, asked.evaluations, saved, progress=progress)
                ) as steps:
                    try:
                        while True:
                            event = steps.send(pruned or None)
                            yield event
                            seen = event.evaluation
                            pruned |= bool(suggested and seen and suggested.hopeless(seen.val_score))
                    except StopIteration as stop:
                        trained = stop.value
                val, flops = score_trial(trained, run_data.fitted(asked.regime), run_data)
                tried = replace(tried, steps=trained.steps) if pruned else tried
            trial = Trial(tried_settings(asked.regime, asked.config), tried.steps, val)
            facts = {"trial": vars(trial), "flops": flops, "seconds": time.perf_counter() - began}
            if suggested:
                facts |= {"seen": suggested.seen, "pruned": pruned}
            if path and folder:
                world().on_main(functools.partial(save_trial, path, facts, folder / "checkpoint"))
        elif suggested:
            _require_same(path, facts, tried_settings(asked.regime, asked.config))
            for score in facts["seen"]:
                suggested.hopeless(score)
        search.add(Trial(**facts["trial"]), facts)
    if whole and folder:
        world().on_main(functools.partial(save_trial, whole, to_json(search.chosen()), folder))
    return search.chosen()


def _require_same(path: Path | None, facts: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raises InputError if a trial on disk has other settings than those suggested now."""
    if path and facts["trial"]["settings"] != settings:
        raise damaged(path, "another version of Optuna suggested its settings", SEARCH_AGAIN)


def score_trial(trained: TrainedStages, regime: Regime, run_data: RunData) -> tuple[float | None, float]:
    """Score on all validation rows, None if it is not finite; and the FLOPs of training and scoring."""
    inputs = run_data.task.reads(regime.start.inputs)
    examples = run_data.shared.examples(inputs, run_data.splits.val, run_data.task.targets(run_data.splits.val))
    with use_prefix_cache(trained.model, trained.reads):
        _, score = evaluate(trained.model, run_data.task, replace(examples, encoded=trained.reads))
    spent = trained.train_flops + float(trained.cost.forward(examples.sizes(), examples.loss_weights).sum())
    return score if isfinite(score) else None, spent


def _rates(search: Search, trials: int) -> Iterator[Candidate]:
    """Rates a factor of 3 apart, the default first; if the lowest or highest wins, one more beyond it."""
    center = search.config.lr
    scores: dict[int, float | None] = {}
    for i in sorted(range(trials), key=lambda i: abs(i - (trials - 1) // 2)):
        power = i - (trials - 1) // 2
        yield _at_rate(search, center * LR_FACTOR**power)
        scores[power] = search.trials[-1].val
    best = _best(search, scores)
    edge = {min(scores): best - 1, max(scores): best + 1}.get(best)
    if edge is not None:
        yield _at_rate(search, center * LR_FACTOR**edge)
        scores[edge] = search.trials[-1].val
    search.config = replace(search.config, lr=center * LR_FACTOR ** _best(search, scores))


def _at_rate(search: Search, lr: float) -> Candidate:
    return Candidate(search.regime, replace(search.config, lr=lr), trial_share(search.config))


def _best(search: Search, scores: dict[int, float | None]) -> int:
    best = next(iter(scores))
    for power, score in scores.items():
        if search.better(score, scores[best]):
            best = power
    return best


def _augmentations(search: Search) -> Iterator[Candidate]:
    """Other strengths of augmentation at the best rate; the usual one stays unless another is clearly better."""
    lr, best = search.config.lr, (search.regime, search.config)
    score = next(t.val for t in search.trials if t.settings["lr"] == lr)
    for strength in search.regime.augmentations:
        if strength == search.config.augment:
            continue
        tried = set_values(search.regime, search.config, {"augment": strength})
        yield Candidate(*tried, trial_share(search.config))
        found = search.trials[-1].val
        if search.better(found, score):
            best, score = tried, found
    search.regime, search.config = best


def _sizes(search: Search, size: Size, spend: float) -> Iterator[Candidate]:
    """Change one of width, depth and dropout at a time; keep what helps."""
    tried, lr = {size}, search.config.lr
    score = next(t.val for t in search.trials if t.settings["lr"] == lr)
    attempts = 0
    improved = True
    while improved and attempts < MAX_SIZES_TRIED:
        improved = False
        for candidate in _neighbors(size):
            if candidate in tried or attempts >= MAX_SIZES_TRIED or search.flops >= spend:
                continue
            tried.add(candidate)
            attempts += 1
            yield Candidate(of_size(search.regime, candidate), search.config, trial_share(search.config))
            found = search.trials[-1].val
            if search.better(found, score):
                size, score, improved = candidate, found, True
                break
    search.regime = of_size(search.regime, size)


def _settings(search: Search, effort: SearchEffort, *, rate: bool) -> Iterator[Candidate]:
    """Settings that Optuna suggests, around the best rate if that was searched; the best of them against the default.

    The default stays unless others do better by more than the smallest difference that matters, at full length.
    """
    regime, config, first = search.regime, search.config, len(search.trials)
    flops, seconds, run_data = search.flops, search.seconds, search.run_data
    space = (*regime.space, RATE_FACTOR) if rate else regime.space
    sampler = Sampler(space, config.seed, effort.trials, higher_is_better=run_data.task.higher_is_better)
    best: Candidate | None = None
    score: float | None = None
    pruned = 0
    while effort.goes_on(len(search.trials) - first, search.seconds - seconds):
        suggested = sampler.ask()
        asked = Candidate(*set_values(regime, config, suggested.settings), SETTINGS_SHARE, suggested)
        yield asked
        val = search.trials[-1].val
        sampler.tell(suggested, val, pruned=search.pruned)
        pruned += search.pruned
        if val is not None and not search.pruned and (score is None or run_data.better(val, score)):
            best, score = asked, val
    checked: list[float | None] = []
    for each in (Candidate(regime, config, 1.0), best) if best else ():
        yield replace(each, config=replace(each.config, seed=config.seed + OTHER_SEED), share=1.0, suggested=None)
        checked.append(search.trials[-1].val)
    before, after = checked or (None, None)
    gain = 0.0
    if best and after is not None and (before is None or _matters(run_data, after, before)):
        search.regime, search.config = best.regime, best.config
        gain = abs(after - before) if before is not None else 0.0
    kept = {name: value for name, value in search.regime.chosen.items() if name in {each.name for each in regime.space}}
    tried = tuple(search.trials[first:])
    spent = search.flops - flops, search.seconds - seconds
    search.found = SettingsSearch(tried, pruned, kept, before, after, gain, *spent)


def _matters(run_data: RunData, score: float, than: float) -> bool:
    return run_data.better(score, than) and abs(score - than) >= run_data.min_effect * abs(than)


def set_values(regime: Regime, config: TrainConfig, settings: Mapping[str, Any]) -> tuple[Regime, TrainConfig]:
    """The same regime and configuration with these values of its search space."""
    known = {each.name for each in fields(TrainConfig)}
    own = {name: value for name, value in settings.items() if name in known}
    factor = settings.get(RATE_FACTOR.name, 1.0)
    chosen = {name: value for name, value in settings.items() if name != RATE_FACTOR.name}
    return regime.with_settings(chosen), replace(config, **own, lr=config.lr * factor)


def of_size(regime: Regime, size: Size) -> Regime:
    """The same regime with a deep network of another size."""
    return replace(regime, start=regime.start.resized(size))


def _neighbors(size: Size) -> Iterator[Size]:
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
    facts = {"lr": chosen.config.lr, "size": size, "trials": trials, "flops": chosen.flops, "seconds": chosen.seconds}
    search = asdict(chosen.search) if chosen.search else None
    made = {"chosen": dict(chosen.regime.chosen)} if chosen.regime.chosen or search else {}
    return facts | made | ({"search": search} if search else {})


def from_json(facts: dict[str, Any], regime: Regime, config: TrainConfig) -> TunedRegime:
    """The search that `to_json` described, for the same regime and settings."""
    regime, config = set_values(regime, config, facts.get("chosen", {}))
    if facts["size"]:
        regime = of_size(regime, Size(**facts["size"]))
    trials = tuple(Trial(**trial) for trial in facts["trials"])
    found = facts.get("search")
    search = SettingsSearch(**found | {"trials": tuple(Trial(**each) for each in found["trials"])}) if found else None
    return TunedRegime(regime, replace(config, lr=facts["lr"]), trials, facts["flops"], facts["seconds"], search=search)


def transfer(found: TunedRegime, regime: Regime, config: TrainConfig, *, charged: bool) -> TunedRegime:
    """A regime, for example on other rows, with the rate and size of this search; `charged` with its cost."""
    tuned = from_json(to_json(found), regime, config)
    return tuned if charged else replace(tuned, trials=(), flops=0.0, seconds=0.0, search=None)
