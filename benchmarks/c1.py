"""C1: how long does fine-tuning MiniLM on 2,000 real texts for one epoch take, beside the usual loops?

Timed is all that the user of the training call waits for: tokenizing, batching, every step. Not timed: imports, reading
the table, loading the weights, judging the held-out rows. Ours also looks at 32 validation rows at its end.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import peers
import texts
from harness import Contest, Gate, Outcome
from warmstart.models.model import Model
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.runtime import device
from warmstart.training.build_model import start_model
from warmstart.training.config import TrainConfig

GATE = Gate("accuracy", higher_is_better=True, tolerance=0.02)  # one deviation of two draws on 1,000 rows
BATCH = 32


@dataclass(frozen=True)
class Size:
    rows: int
    held_out: int


FULL, QUICK = Size(2_000, 1_000), Size(16, 16)


def contests(settings: texts.Given) -> list[Contest]:
    size = QUICK if settings.quick else FULL

    def problem() -> texts.Problem:
        return texts.packages(settings, "description", size.rows, size.held_out)

    config = TrainConfig(
        steps=-(-size.rows // BATCH), lr=DEFAULTS["full"].lr, batch_size=BATCH, precision=device.precision()
    )

    def ours() -> Outcome:
        given = problem()
        regime = Regime("full", given.start, (Stage(Full()),), DEFAULTS["full"])
        given.start.body(0)  # the weights are in memory before the clock starts
        began = time.perf_counter()
        model = given.fit(regime, config)
        seconds = time.perf_counter() - began
        return Outcome(seconds, given.accuracy(model))

    def theirs(train: Callable[[peers.Labeled, list[peers.Example], peers.Collate], object]) -> Outcome:
        given = problem()
        model = peers.Labeled(_model(given), given.task)
        began = time.perf_counter()
        train(
            model,
            peers.tokenized(given.start, given.train, given.task.targets(given.train)),
            peers.padded(given.start),
        )
        seconds = time.perf_counter() - began
        return Outcome(seconds, given.accuracy(model.model))

    def contest(peer: str, options: peers.Options, train: Callable[..., object], package: str) -> Contest:
        facts = {"rows": size.rows, "steps": config.steps}
        return Contest("C1", peer, options, lambda: theirs(train), ours, GATE, package=package, facts=facts)

    default = functools.partial(peers.trainer, config=config, options="default")
    tuned = functools.partial(peers.trainer, config=config, options="tuned")
    accelerate = functools.partial(peers.accelerate_loop, config=config)
    by_hand = functools.partial(peers.torch_loop, config=config)
    return [
        contest("trainer", "default", default, "transformers"),
        contest("trainer", "tuned", tuned, "transformers"),
        contest("accelerate", "tuned", accelerate, "accelerate"),
        contest("torch", "tuned", by_hand, "torch"),
    ]


def _model(problem: texts.Problem) -> Model:
    return start_model(Regime("full", problem.start, (Stage(Full()),), DEFAULTS["full"]), problem.task, 0)
