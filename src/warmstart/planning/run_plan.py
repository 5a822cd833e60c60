"""Run plan: which runs is a comparison made of, with which settings and which rows?"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from warmstart.data.rows.split import Rows, Splits
from warmstart.errors import UsageError, join_phrases
from warmstart.models.pretrained.base import Base
from warmstart.planning.memory_probe import PeakMemory
from warmstart.planning.problem import Options, Problem
from warmstart.regimes.defaults import AUGMENTATIONS
from warmstart.regimes.regimes import FOR_COLUMNS, READ_WITH_BASE, REGIMES, Regime, RegimeContext, is_baseline
from warmstart.regimes.search_space import SearchEffort
from warmstart.results.constraints import Excluded, not_run
from warmstart.results.names import CONTINUED, ENSEMBLE, regime_of, split_name
from warmstart.runs.search import CHECKS, FEW_TRIALS, SETTINGS_SHARE, trial_share
from warmstart.runtime.device import precision
from warmstart.runtime.sampling import spread_places
from warmstart.tasks.language import Language
from warmstart.tasks.tasks import TASKS
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import DomainCorpus, RunData

MIN_STEPS = 40  # of a run on a part of the rows, at the usual length
MIN_TRAIN_ROWS = 100  # for training: no regime is run on fewer to keep to the budget
SIZE_FACTOR, SIZE_COUNTS = 4, (4, 3)  # of --rows auto: a factor, and how many, most first
PLANNED_SHARE = 0.9  # of a budget of time: estimates were too low by up to a quarter, and the report takes time too
LEAST_PART = SIZE_FACTOR**3  # of all rows, one in so many: the smallest part that a regime is run on
MIN_TEXT_TOKENS = 64  # of a text: the budget lets every model read as many


@dataclass(frozen=True)
class RunPlan:
    """What will be run: the options after the budget's cuts, and the resulting numbers of rows."""

    problem: Problem
    options: Options
    sizes: tuple[int, ...]
    seconds_per_row: dict[str, float]  # regime -> seconds to train on a row
    prefix_seconds: dict[str, float] = field(
        default_factory=dict
    )  # regime -> seconds a row to run it through frozen layers
    # regime -> share of a training row's time that scoring a row takes: more where training alone is in bf16
    forward_shares: dict[str, float] = field(default_factory=dict)
    answers: dict[str, float] = field(default_factory=dict)  # regime -> seconds to write one
    # regime that is fitted without a network -> seconds that its first fit, on all rows, took
    fit_seconds: dict[str, float] = field(default_factory=dict)
    # regime -> tokens read of a text at most -> tokens to compute for one, with padding
    tokens: dict[str, dict[int, float]] = field(default_factory=dict)
    memory_peaks: dict[str, PeakMemory] = field(default_factory=dict)  # regime -> memory of its most expensive step
    scored: float = 1.0  # share of the test and validation rows
    total_rows: int | None = None  # training rows that every run is a part of, and takes that part of their steps
    # network -> numbers of training rows, where the budget does not allow all of `sizes`
    regime_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    cuts: tuple[str, ...] = ()
    full_estimate: float | None = None  # seconds that all of it was estimated to take; None: nothing was cut
    excluded: tuple[Excluded, ...] = ()  # by the constraints, as far as was known before training
    spent: float = 0.0  # seconds of the budget that planning took

    @property
    def for_jobs(self) -> float:
        """Seconds of the budget that jobs are planned for. Compute is known exactly: all of that."""
        return self.options.budget * (1.0 if self.options.by_compute else PLANNED_SHARE)

    def after(self, seconds: float) -> "RunPlan":
        """The plan with so many seconds subtracted from its budget; at least a tenth of the budget remains."""
        budget = self.options.budget
        options = replace(self.options, budget=budget - min(seconds, 0.9 * budget))
        return replace(self, options=options, spent=self.spent + seconds)

    @property
    def asked(self) -> tuple[str, ...]:
        """All regimes to train or fit, by name: with several bases, one for each that it may start from.

        An ensemble is made of these.
        """
        return self.problem.rows_of([name for name in self.options.regimes if name != ENSEMBLE])

    @property
    def names(self) -> tuple[str, ...]:
        """The regimes that no constraint excludes."""
        out = not_run(self.excluded)
        return tuple(name for name in self.asked if name not in out)

    @property
    def combines(self) -> bool:
        """Whether an ensemble is made at the end."""
        return ENSEMBLE in self.options.regimes

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if not is_baseline(name))

    def sizes_of(self, name: str) -> tuple[int, ...]:
        """The numbers of training rows that a regime is run on, smallest first."""
        return self.regime_sizes.get(name, self.sizes)

    def searched_at(self, name: str) -> tuple[int, ...]:
        """The numbers of training rows at which the learning rate of a network is searched.

        If the budget limits the rows: once, on the most of its rows. On less than a quarter of all rows a trial has too
        few steps to tell rates apart, so the default rate is used.
        """
        if not self.searches:
            return ()
        if not self.regime_sizes:
            return self.sizes
        most = max(self.sizes_of(name))
        return (most,) if SIZE_FACTOR * most >= max(self.sizes) else ()

    @cached_property
    def splits(self) -> Splits:
        """The problem's splits, or with fewer rows to score."""
        return self.splits_of(self.options.first_seed)

    def splits_of(self, seed: int) -> Splits:
        """The same for a seed: of repeated splits, each has its own."""
        splits = self.whole_splits(seed)
        if self.scored == 1.0:
            return splits
        return replace(splits, val=_share(splits.val, self.scored), test=_share(splits.test, self.scored))

    def whole_splits(self, seed: int) -> Splits:
        """The problem's splits for a seed, with all rows to score."""
        several = (self.problem.splits, *self.problem.more_splits)
        return several[seed - self.options.first_seed] if len(several) > 1 else several[0]

    @cached_property
    def corpus(self) -> DomainCorpus | None:
        splits = self.problem.corpus
        return DomainCorpus(splits, SharedData(splits)) if splits else None

    @property
    def seeds(self) -> range:
        return range(self.options.first_seed, self.options.first_seed + self.options.seeds)

    @property
    def searches_rates(self) -> bool:
        """Whether learning rates are searched at all."""
        return self.options.lr is None and self.options.trials > 1

    @property
    def effort(self) -> SearchEffort:
        """How much to search of the other settings of each regime."""
        return SearchEffort.of(self.options.search)

    def trial_count(self, regime: Regime, config: TrainConfig) -> float:
        """How many trials a search takes: the rates, about half of one more at an edge, augmentations of images, and
        those of other settings.

        What is longer than a trial of a rate counts as several; trials by time are not counted.
        """
        rates, effort = self.options.trials + 0.5 if self.searches_rates else 0.0, self.effort
        if self.searches_rates and self.options.trials > FEW_TRIALS and regime.augmentations:
            rates += len(regime.augmentations) - 1
        whole = CHECKS + (SETTINGS_SHARE * effort.trials if effort.seconds is None else 0)
        return rates + whole / trial_share(config) if effort.trials else rates

    @property
    def searches(self) -> bool:
        """Whether anything is searched."""
        return self.searches_rates or bool(self.effort.trials)

    def regime(self, name: str, rows: int) -> Regime:
        own = {regime.name: regime for regime in self.problem.own}
        if name in own:
            return own[name]
        base, scratch = self.base_of(name), self.problem.scratch
        material = RegimeContext(
            base=base,
            rows=rows,
            init=self.options.init,
            dropout=self.options.dropout,
            language=self.language,
            scratch=scratch,
            numbers=self.problem.schema.task == "regression",
            size=self.options.size,
            lora_rank=self.options.lora_rank,
            lora_alpha=self.options.lora_alpha,
        )
        made = REGIMES[regime_of(name)](material)
        chosen = self.options.training.get("augment", "auto") == "auto" and made.defaults.augment != "none"
        return replace(made, name=name, augmentations=AUGMENTATIONS if chosen else ())

    def base_of(self, name: str) -> Base:
        """The base that the table row of this name starts from; the first base if the row names none."""
        base = None if name in {regime.name for regime in self.problem.own} else split_name(name)[1]
        return self.problem.named[base] if base else self.problem.base

    def frozen_base(self, name: str) -> Base | None:
        """The base whose features a regime without the training loop uses, unchanged."""
        base, regime = self.base_of(name), regime_of(name)
        trees_of_images = regime in FOR_COLUMNS and base.kind == "image" and base.location  # "": there is no base
        return base if regime in READ_WITH_BASE or trees_of_images else None

    def config(self, regime: Regime, rows: int, seed: int) -> TrainConfig:
        options, defaults = self.options, regime.defaults
        rows = self._learned_rows(regime.name, rows)
        whole = self.total_rows or rows
        batch = options.batch_size or defaults.batch(whole)
        if options.epochs is None:
            steps = defaults.steps(whole, batch, options.length)
        else:
            steps = max(1, round(options.epochs * options.length * whole / batch))
        if rows < whole:
            steps = min(steps, max(round(MIN_STEPS * min(options.length, 1.0)), round(steps * rows / whole)))
        used = precision(options.precision)
        augment = options.training.get("augment", "auto")
        more = options.training | (options.forgetting if regime.start.base is not None else {})
        if augment == "auto":
            augment = defaults.augment if steps * batch >= defaults.augment_from * rows else "none"
        more |= {"augment": augment}
        if more.get("word_dropout") is None:
            more |= {"word_dropout": defaults.word_dropout}
        more = {"warmup": defaults.warmup, "clip": defaults.clip} | more
        return TrainConfig(
            steps=steps,
            lr=options.lr or defaults.lr,
            batch_size=batch,
            precision=used,
            seed=seed,
            **more,
        )

    def shared(self, rows: int | None = None) -> SharedData:
        """All rows in use with so many training rows (default: the plan's maximum), whatever the seed."""
        if self.problem.more_splits:  # what one does not train on, another may
            return SharedData(self.problem.splits)
        splits, most = self.splits, rows or max(self.sizes)
        drawn = [splits.subset(most, seed).train.numbers for seed in self.seeds]
        used = np.isin(splits.train.numbers, np.concatenate(drawn))
        return SharedData(replace(splits, train=splits.train.take(np.flatnonzero(used))))

    @property
    def language(self) -> bool:
        """Whether the task is language modeling."""
        return TASKS[self.problem.schema.task] is Language

    @property
    def fewer_rows(self) -> tuple[str, ...]:
        """A note if more training rows were requested than exist."""
        there, asked = len(self.splits.train), self.options.rows
        if asked == "auto" or max(asked, default=0) <= there:
            return ()
        tokens = self.options.tokens
        many = join_phrases([f"{n:,}" for n in tokens or asked])
        if tokens:
            return (
                f"{many} training tokens were asked for, but the {there:,} pieces of text hold fewer: all were used.",
            )
        return (f"{many} training rows were asked for, but there are {there:,}: all of them were used.",)

    def run_data(self, rows: int, seed: int, shared: SharedData) -> RunData:
        drawn = self.splits_of(seed).subset(rows, seed)
        problem, options = self.problem, self.options
        run_data = RunData(
            drawn, problem.schema, shared, seed, options.min_effect, self._domain(drawn), problem.general
        )
        old_test = problem.old.test if problem.old is not None and len(problem.old.test) else None
        run_data = replace(run_data, replayed=problem.replayed, interpolate=options.interpolate, old_test=old_test)
        return replace(run_data, endpoint=problem.endpoint)

    def learned_by(self, name: str, run_data: RunData) -> RunData:
        """The same for a regime: `continued` trains on the new rows alone. Raises UsageError if there are none."""
        old, splits = self.problem.old, run_data.splits
        if old is None or name != CONTINUED:
            return run_data
        new = splits.train.take(np.flatnonzero(~np.isin(splits.train.numbers, old.numbers)))
        if not len(new):
            raise UsageError(f"none of {len(splits.train):,} training rows drawn is a new one.", "use more --rows")
        return replace(run_data, splits=replace(splits, train=new), sample=splits)

    def _learned_rows(self, name: str, rows: int) -> int:
        """About how many of so many training rows a regime learns from."""
        old, there = self.problem.old, len(self.problem.splits.train)
        if old is None or name != CONTINUED:
            return rows
        return max(1, round(rows * (there - len(old.numbers)) / there))

    def _domain(self, drawn: Splits) -> DomainCorpus | None:
        """Texts for learning the domain's language: no more than the texts of the rows themselves."""
        corpus = self.corpus
        if corpus is None or not self.problem.spoken:
            return corpus
        train = corpus.splits.train
        own = np.isin(np.array(train.keys, dtype=np.int64), drawn.train.numbers)
        return replace(corpus, splits=replace(corpus.splits, train=train.take(np.flatnonzero(own))))


def first_plan(problem: Problem, options: Options) -> RunPlan:
    """The requested plan, before anything is measured or cut."""
    available = problem.available
    asked = nested_sizes(available) if options.rows == "auto" else options.rows or (available,)
    sizes = sorted({min(n, available) for n in asked})
    return RunPlan(problem, options, tuple(sizes), {})


def nested_sizes(available: int) -> tuple[int, ...]:
    """Numbers of training rows for learning curves: four or three, a factor of 4 apart, up to all there are.

    None is below `MIN_TRAIN_ROWS`; of 400 to 1,600 rows they lie closer, of fewer there are two, or only all.

    >>> nested_sizes(24_000), nested_sizes(1_200), nested_sizes(300), nested_sizes(150)
    ((375, 1500, 6000, 24000), (100, 346, 1200), (100, 300), (150,))
    """
    for count in SIZE_COUNTS:
        if available // SIZE_FACTOR ** (count - 1) >= MIN_TRAIN_ROWS:
            return tuple(available // SIZE_FACTOR**n for n in reversed(range(count)))
    if available >= 4 * MIN_TRAIN_ROWS:
        return MIN_TRAIN_ROWS, round((MIN_TRAIN_ROWS * available) ** 0.5), available
    return (MIN_TRAIN_ROWS, available) if available >= 2 * MIN_TRAIN_ROWS else (available,)


def budget_sizes(available: int) -> tuple[int, ...]:
    """Numbers of training rows for what is too expensive for all rows: a factor of 4 apart, from 1/64 of them on.

    Fewer say next to nothing about all rows, and took the time in which another regime could have been run on more.

    >>> budget_sizes(2_100), budget_sizes(190_000), budget_sizes(300), budget_sizes(150)
    ((131, 525, 2100), (2968, 11875, 47500, 190000), (100, 300), (150,))
    """
    found = [available]
    while found[-1] // SIZE_FACTOR >= max(MIN_TRAIN_ROWS, available // LEAST_PART):
        found.append(available // SIZE_FACTOR ** len(found))
    return tuple(reversed(found)) if len(found) >= min(SIZE_COUNTS) else nested_sizes(available)


def token_limit(regime: Regime) -> int | None:
    """The most tokens that the regime reads of a text; None if it reads something else."""
    tokens = regime.start.inputs.tokens
    return None if tokens is None else tokens.max_length


def shorter_limits(limit: int) -> list[int]:
    """Half of this limit, a quarter, and so on."""
    return [limit >> n for n in range(1, limit.bit_length()) if limit >> n >= MIN_TEXT_TOKENS]


def _share(rows: Rows, share: float) -> Rows:
    """This share of the rows, evenly spread."""
    return rows.take(spread_places(max(1, round(share * len(rows))), len(rows)))
