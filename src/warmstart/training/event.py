"""Event: how is progress reported? One type of event, from the training loop to the progress bar."""

import math
import time
from dataclasses import dataclass, field

import numpy as np

from warmstart.quantities import format_number
from warmstart.results.record import Evaluation, Run

MIN_SHARE_OF_AN_UNTIMED_PLAN = 0.05  # done, before the time left is estimated from the clock alone
PLANNING = "planning"  # what is done before there is a plan
MIN_SHARE_FOR_ALARM = 0.25  # of the steps: evaluations before that say little


@dataclass(frozen=True)
class Step:
    """What one optimizer step did."""

    index: int  # from 0
    loss: float
    lr: float  # of a weight with rate 1
    grad_norm: float  # before clipping

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


@dataclass(frozen=True)
class Event:
    """Reported before anything that takes a while, and after every optimizer step."""

    doing: str  # for people
    done: float = 0.0  # share of the whole, 0 to 1
    seconds_left: float | None = None  # None: not known
    message: str = ""  # something worth a line of its own
    step: Step | None = None  # the optimizer step that was just taken
    job: str = ""  # id of the run that is trained; empty: none
    evaluation: Evaluation | None = None  # on validation rows just before it, of the task itself
    finished: Run | None = None  # the run that is finished
    planned: bool | None = None  # whether it is known what `done` is a share of; None: it is not planned yet

    @property
    def has_share(self) -> bool:
        """Whether it is known how much of the whole is done."""
        return bool(self.planned) or self.done > 0

    @property
    def phrase(self) -> str:
        """What is done, for people. Of what is measured to make a plan, it says so.

        >>> Event("measuring a few steps of full").phrase, Progress().event("linear, 80 rows").phrase
        ('planning: measuring a few steps of full', 'linear, 80 rows')
        """
        known = self.planned is not None or self.done or self.message
        return self.doing if known or self.doing == PLANNING else f"{PLANNING}: {self.doing}"


@dataclass
class Progress:
    """How much of a study is done."""

    planned: float = 0.0  # seconds; 0: not known
    finished: float = 0.0  # seconds of the plan
    began: float = field(default_factory=time.perf_counter)
    timed: bool = True  # whether the plan is in seconds of this machine
    workers: int = 1  # that share the seconds of the plan

    def event(
        self,
        doing: str,
        ahead: float = 0.0,
        message: str = "",
        step: Step | None = None,
        evaluation: Evaluation | None = None,
        job: str = "",
        finished: Run | None = None,
    ) -> Event:
        """`ahead`: seconds of the plan that the present job has done."""
        share = min((self.finished + ahead) / self.planned, 1.0) if self.planned else 0.0
        elapsed = time.perf_counter() - self.began
        # early on the plan knows better, later what really happened
        by_plan, by_clock = self.planned * (1 - share) / self.workers, elapsed * (1 - share) / max(share, 1e-9)
        left = (1 - share) * by_plan + share * by_clock if self.planned else None
        if not self.timed:
            left = by_clock if share >= MIN_SHARE_OF_AN_UNTIMED_PLAN else None
        return Event(doing, share, left, message, step, job, evaluation, finished, planned=bool(self.planned))


@dataclass(frozen=True)
class Expected:
    """Scores of a run on fewer rows. A run on more rows is expected to be no worse at the same part of training."""

    before: Run
    steps: int  # of the run that is compared with it
    band: float  # that it may be worse by, in the metric's unit

    def alarm(self, seen: Evaluation) -> str | None:
        """What looks wrong about an evaluation; None if nothing does, or if it is too early to tell."""
        share = seen.step / self.steps
        points = self.before.points
        shares = [point.step / self.before.settings["steps"] for point in points]
        if not points or share < max(MIN_SHARE_FOR_ALARM, shares[0]):  # it may have learned the language first
            return None
        then = float(np.interp(share, shares, [point.val_score for point in points]))
        worse = (then - seen.val_score) * (1 if self.before.higher_is_better else -1)
        if worse <= self.band:
            return None
        score = format_number(seen.val_score)
        sentence = f"at {share:.0%} of its steps this run scores {score} on validation rows, the one on"
        return f"{sentence} {self.before.rows:,} rows scored {format_number(then)} there: it has left the forecast band"


class OutOfTime(BaseException):
    """A job was still running at its deadline. As after Ctrl-C, training saves a checkpoint."""


def check_deadline(deadline: float) -> None:
    """Raises OutOfTime if `time.perf_counter()` is beyond this."""
    if time.perf_counter() > deadline:
        raise OutOfTime


@dataclass
class JobProgress:
    """How far one job is. Makes the events of the study that the job belongs to."""

    doing: str = "training"
    job: str = ""  # id of the run; empty: it is a search
    seconds: float = 0.0  # that all of it is expected to take
    seconds_per_step: float = 0.0
    study: Progress = field(default_factory=Progress)
    expected: Expected | None = None  # the first evaluation that is worse is reported
    steps: int = 0  # taken
    deadline: float = math.inf  # by time.perf_counter()

    def began(self) -> Event:
        """Event before the first step."""
        return self.study.event(self.doing)

    def stepped(self, step: Step, seen: Evaluation | None, *, own: bool = True) -> Event:
        """Event after a step. `seen`: the evaluation just before it, if there was one; `own`: of the task itself.

        Raises OutOfTime after the deadline.
        """
        check_deadline(self.deadline)
        self.steps += 1
        alarm = self.expected.alarm(seen) if self.expected and seen else None
        if alarm:
            self.expected = None  # once is enough
        ahead = min(self.steps * self.seconds_per_step, self.seconds)
        return self.study.event(self.doing, ahead, alarm or "", step, seen if own else None, self.job)
