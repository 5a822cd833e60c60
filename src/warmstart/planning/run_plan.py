"""Budget: which runs is a comparison, and how long would they take at the pace of this machine?"""

import time
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from warmstart.data.encoding.inputs import Tokens
from warmstart.data.rows.split import Rows, Splits
from warmstart.errors import join_phrases
from warmstart.models.pretrained.base import Base
from warmstart.planning.memory_probe import PeakMemory
from warmstart.planning.problem import Options, Problem
from warmstart.regimes.regimes import READ_WITH_BASE, REGIMES, Regime, RegimeContext, is_baseline
from warmstart.regimes.starts import Pretrained
from warmstart.results.constraints import Excluded, not_run
from warmstart.results.metrics import RANKED_BY
from warmstart.results.names import regime_of, split_name
from warmstart.runs.final_evaluation import TRAIN_ROWS_SCORED
from warmstart.runs.forgetting import LANGUAGE_TEXTS
from warmstart.runs.interpolation import INTERPOLATION_WEIGHTS
from warmstart.runs.retention import MAX_RETENTION_TEXTS
from warmstart.runs.search import TRIAL_SHARE
from warmstart.runs.weight_mixing import VALIDATION_ANSWERS
from warmstart.runtime.device import precision
from warmstart.tasks.language import MAX_JUDGED_ROWS, Language
from warmstart.tasks.tasks import TASKS
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.general_text import TEXTS as SAID
from warmstart.training.run_data import DomainCorpus, RunData
from warmstart.training.stages import FORWARD_SHARE, MAX_VALIDATION_ROWS, validation_rows

MIN_STEPS = 40  # of a run on a part of the rows, at the usual length
MIN_TRAIN_ROWS = 100  # for training: the budget cuts no further
SIZE_FACTOR, SIZE_COUNTS = 4, (4, 3)  # of --rows auto: a factor, and how many, most first
WEIGHTS_COMPARED = 4  # of the mixes of --reduce-forgetting interpolation, by what they write: halving ten takes as many
MIN_TEXT_TOKENS = 64  # of a text: the budget lets every model read as many


@dataclass(frozen=True)
class RunPlan:
    """What will be run: the options after the budget's cuts, and the rows that they come to."""

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
    # regime -> tokens read of a text at most -> tokens to compute for one, with padding
    tokens: dict[str, dict[int, float]] = field(default_factory=dict)
    memory_peaks: dict[str, PeakMemory] = field(default_factory=dict)  # regime -> memory of its dearest step
    scored: float = 1.0  # share of the test and validation rows
    total_rows: int | None = None  # training rows that every run is a part of, and takes that part of their steps
    cuts: tuple[str, ...] = ()
    full_estimate: float | None = None  # seconds that all of it was foretold to take; None: nothing was cut
    excluded: tuple[Excluded, ...] = ()  # by the constraints, as far as was known before training

    @property
    def asked(self) -> tuple[str, ...]:
        """All regimes, by their own names: with several bases, one for each base that it may start from."""
        return self.problem.rows_of(self.options.regimes)

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are trained."""
        out = not_run(self.excluded)
        return tuple(name for name in self.asked if name not in out)

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if not is_baseline(name))

    @cached_property
    def splits(self) -> Splits:
        """Those of the problem, or with fewer rows to score."""
        splits = self.problem.splits
        if self.scored == 1.0:
            return splits
        return replace(splits, val=_share(splits.val, self.scored), test=_share(splits.test, self.scored))

    @cached_property
    def corpus(self) -> DomainCorpus | None:
        splits = self.problem.corpus
        return DomainCorpus(splits, SharedData(splits)) if splits else None

    @property
    def seeds(self) -> range:
        return range(self.options.first_seed, self.options.first_seed + self.options.seeds)

    @property
    def searches(self) -> bool:
        """Whether learning rates are tried at all."""
        return self.options.lr is None and self.options.trials > 1

    def regime(self, name: str, rows: int) -> Regime:
        own = {regime.name: regime for regime in self.problem.own}
        if name in own:
            return own[name]
        base, scratch = self.base_of(name), self.problem.scratch
        material = RegimeContext(base, rows, self.options.init, self.options.dropout, self._language, scratch)
        return replace(REGIMES[regime_of(name)](material), name=name)

    def base_of(self, name: str) -> Base:
        """What the row of this name starts from, or would."""
        base = None if name in {regime.name for regime in self.problem.own} else split_name(name)[1]
        return self.problem.named[base] if base else self.problem.base

    def frozen_base(self, name: str) -> Base | None:
        """The base that a regime reads texts with, unchanged, where it learns without the training loop."""
        return self.base_of(name) if regime_of(name) in READ_WITH_BASE else None

    def config(self, regime: Regime, rows: int, seed: int) -> TrainConfig:
        options, defaults = self.options, regime.defaults
        whole = self.total_rows or rows
        batch = options.batch_size or defaults.batch(whole)
        if options.epochs is None:
            steps = defaults.steps(whole, batch, options.length)
        else:
            steps = max(1, round(options.epochs * options.length * whole / batch))
        if rows < whole:
            steps = min(steps, max(round(MIN_STEPS * min(options.length, 1.0)), round(steps * rows / whole)))
        used = precision(options.precision)
        more = options.training | (options.forgetting if isinstance(regime.start, Pretrained) else {})
        return TrainConfig(
            steps=steps, lr=options.lr or defaults.lr, batch_size=batch, precision=used, seed=seed, **more
        )

    def shared(self) -> SharedData:
        """All rows that any draw uses."""
        splits = self.splits
        drawn = [splits.subset(max(self.sizes), seed).train.numbers for seed in self.seeds]
        used = np.isin(splits.train.numbers, np.concatenate(drawn))
        return SharedData(replace(splits, train=splits.train.take(np.flatnonzero(used))))

    @property
    def fewer_rows(self) -> tuple[str, ...]:
        """Where more training rows were asked for than there are, in words."""
        there, asked = len(self.splits.train), self.options.rows
        if asked == "auto" or max(asked, default=0) <= there:
            return ()
        tokens = self.options.tokens
        many = join_phrases([f"{n:,}" for n in tokens or asked])
        if tokens:
            return (
                f"{many} training tokens were asked for, but the {there:,} pieces of text hold fewer: all were used.",
            )
        return (f"{many} training rows were asked for, but there are {there:,}: that is the most that was used.",)

    def run_data(self, rows: int, seed: int, shared: SharedData) -> RunData:
        drawn = self.splits.subset(rows, seed)
        problem, options = self.problem, self.options
        run_data = RunData(
            drawn, problem.schema, shared, seed, options.min_effect, self._domain(drawn), problem.general
        )
        return replace(run_data, replayed=problem.replayed, interpolate=options.interpolate)

    def _domain(self, drawn: Splits) -> DomainCorpus | None:
        """What a draw learns the language from: of what the rows say, no more than its own."""
        corpus = self.corpus
        if corpus is None or not self.problem.spoken:
            return corpus
        train = corpus.splits.train
        own = np.isin(np.array(train.keys, dtype=np.int64), drawn.train.numbers)
        return replace(corpus, splits=replace(corpus.splits, train=train.take(np.flatnonzero(own))))

    # --- seconds ------------------------------------------------------------------------------------------------------

    def seconds_of_step(self, name: str, rows: int) -> float:
        return self.seconds_per_row[name] * self.config(self.regime(name, rows), rows, 0).batch_size

    def seconds_of_run(self, name: str, rows: int, longer: int = 1) -> float:
        """One training, so many times as long as usual, with its evaluations."""
        config = self.config(self.regime(name, rows), rows, 0)
        trained = longer * self.seconds_per_row[name] * config.steps * config.batch_size
        return trained + self.seconds_of_scoring(name, rows) + self.seconds_of_writing(name)

    def seconds_of_scoring(self, name: str, rows: int) -> float:
        """The looks at validation rows while it trains; at its end the scores, and what it forgot."""
        regime, splits = self.regime(name, rows), self.splits
        evaluations = regime.defaults.evaluations
        looked_at = evaluations * validation_rows(len(splits.val), self.config(regime, rows, 0), evaluations)
        return self.seconds_of_score(name) * (looked_at + self.rows_scored(rows) + self._held_to_base(regime))

    def rows_scored(self, rows: int) -> int:
        """At the end of a run that trained on so many."""
        return len(self.splits.val) + self.tested + min(rows, TRAIN_ROWS_SCORED)

    @property
    def tested(self) -> int:
        """Test rows that regimes are ranked by."""
        return self.answered if self._ranked_by_writing else len(self.splits.test)

    def _held_to_base(self, regime: Regime) -> int:
        """Rows read to see what was forgotten, about: a general text is taken for as long as one of the task's."""
        start, splits = regime.start, self.splits
        if not isinstance(start, Pretrained) or start.base.joined:
            return 0
        if not self._language:
            count = beside = min(MAX_RETENTION_TEXTS, len(splits.test))
        else:
            beside = (len(self.problem.general) or SAID) if start.base.kind == "decoder" else 0
            count = 2 * (min(LANGUAGE_TEXTS, len(splits.test)) + beside)  # by the base too
        if self.options.interpolate:
            count += len(INTERPOLATION_WEIGHTS) * (min(MAX_VALIDATION_ROWS, len(splits.val)) + beside)
        return count

    def seconds_of_writing(self, name: str) -> float:
        """The answers to test rows at its end; where weights are mixed, to validation rows for a few of the mixes."""
        count = self.answered
        if self.options.interpolate and self._ranked_by_writing:
            count += WEIGHTS_COMPARED * min(VALIDATION_ANSWERS, len(self.splits.val))
        return self.answers.get(name, 0.0) * count

    @property
    def answered(self) -> int:
        """Test rows that answers are written for, by a task that writes."""
        return min(MAX_JUDGED_ROWS, len(self.splits.test))

    @property
    def _language(self) -> bool:
        return TASKS[self.problem.schema.task] is Language

    @property
    def _ranked_by_writing(self) -> bool:
        return self.problem.schema.task in RANKED_BY

    def seconds_of_score(self, name: str) -> float:
        """One row, scored."""
        return self.seconds_per_row[name] * self.forward_shares.get(name, FORWARD_SHARE)

    def seconds_of_search(self, name: str, rows: int) -> float:
        """Every learning rate, and half a chance of one more; before the first, every row through frozen layers."""
        splits = self.splits
        reading = 0.0
        if rows == min(self.sizes):
            drawn = min(len(splits.train), len(self.seeds) * max(self.sizes))
            reading = self.prefix_seconds.get(name, 0.0) * (drawn + len(splits.val) + len(splits.test))
        if not self.searches:
            return reading
        config = self.config(self.regime(name, rows), rows, 0)
        trained = TRIAL_SHARE * config.steps * config.batch_size
        once = self.seconds_per_row[name] * trained + self.seconds_of_score(name) * len(splits.val)
        return reading + (self.options.trials + 0.5) * once

    def seconds_of_regime(self, name: str) -> float:
        """Its searches and its runs."""
        return sum(
            self.seconds_of_search(name, rows) + len(self.seeds) * self.seconds_of_run(name, rows)
            for rows in self.sizes
        )

    def peak_bytes(self, name: str) -> int | None:
        """Of the process; None: not measured."""
        return self.memory_peaks[name].bytes if name in self.memory_peaks else None

    def predicted(self, name: str, rows: int, seed: int, longer: int = 1) -> dict[str, float] | None:
        """What a run will be held against; None where nothing was measured."""
        if name not in self.seconds_per_row:
            return None
        seconds = self.seconds_of_run(name, rows, longer)
        if not self.searches and longer == 1 and seed == self.seeds[0]:  # else the search has read all rows before
            seconds += self.seconds_of_search(name, rows)
        known: dict[str, float] = {"seconds": seconds}
        peak = self.peak_bytes(name)
        return known if peak is None else known | {"peak_memory_bytes": peak}

    def tokens_of(self, name: str) -> float | None:
        """To compute for a text, with padding; None for what reads no tokens, or was not measured."""
        limit = token_limit(self.regime(name, max(self.sizes)))
        return None if limit is None else self.tokens.get(name, {}).get(limit)

    def seconds(self) -> float:
        """Everything."""
        return sum(self.seconds_of_regime(name) for name in self.networks)

    def words(self) -> str:
        """How many runs, until when, at what cost."""
        runs = len(self.networks) * len(self.seeds) * len(self.sizes)
        seconds = self.seconds()
        ends = time.strftime("%H:%M", time.localtime(time.time() + seconds))
        examples = sum(
            len(self.seeds) * config.steps * config.batch_size
            for rows in self.sizes
            for name in self.networks
            for config in [self.config(self.regime(name, rows), rows, 0)]
        )
        kinds = len(self.networks)
        found = f"{runs} run{'s' * (runs > 1)} of {kinds} regime{'s' * (kinds > 1)} "
        found += f"({examples:,} training examples): about "
        found += f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        return found + f", until about {ends}" + (f"; to fit the budget: {'; '.join(self.cuts)}" if self.cuts else "")


def first_plan(problem: Problem, options: Options) -> RunPlan:
    """What was asked for, before anything is measured or cut."""
    available = len(problem.splits.train)
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


def token_limit(regime: Regime) -> int | None:
    """Tokens that the regime reads of a text at most; None where it reads something else."""
    inputs = regime.start.inputs
    return inputs.max_length if isinstance(inputs, Tokens) else None


def shorter_limits(limit: int) -> list[int]:
    """Half of this limit, a quarter ..."""
    return [limit >> n for n in range(1, limit.bit_length()) if limit >> n >= MIN_TEXT_TOKENS]


def _share(rows: Rows, share: float) -> Rows:
    """This share of the rows, spread over all of them."""
    count = max(1, round(share * len(rows)))
    return rows.take(np.arange(count) * len(rows) // count)
