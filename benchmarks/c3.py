"""C3: how long do three seeds of three epochs take on a body that is frozen below its head, or below its top layers?

Ours computes the frozen part once for all seeds, and that is in the time. So it is for Ludwig, which can keep a whole
encoder's output: preprocessed once, trained three times. SetFit computes it for each fit; its default head, a logistic
regression, has no seed, so that one fit counts against our three seeds. Not timed: imports, loading, judging.
"""

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import peers
import texts
from harness import Contest, Gate, Outcome
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.runtime import device
from warmstart.tasks.classification import Classification
from warmstart.training.build_model import start_model
from warmstart.training.config import TrainConfig
from warmstart.training.loop import set_trainable

GATE = Gate("accuracy", higher_is_better=True, tolerance=0.02)
BATCH, EPOCHS, SEEDS = 32, 3, range(3)
UNFROZEN = {"head": 0, "top-1": 1, "top-2": 2}


@dataclass(frozen=True)
class Size:
    rows: int
    held_out: int


FULL, QUICK = Size(200, 200), Size(48, 32)  # scoring more rows would take longer than training


def contests(settings: texts.Given) -> list[Contest]:
    size = QUICK if settings.quick else FULL

    def problem() -> texts.Problem:
        return texts.packages(settings, "description", size.rows, size.held_out)

    ours = {setting: functools.partial(_ours, problem, setting) for setting in UNFROZEN}

    def contest(peer: str, setting: str, theirs: Callable[[], Outcome], options: str, package: str) -> Contest:
        facts = {"rows": size.rows, "seeds": len(SEEDS), "epochs": EPOCHS}
        return Contest("C3", peer, setting, theirs, ours[setting], GATE, options, package, facts=facts)

    found = [
        contest("trainer", setting, functools.partial(_trainer, problem, setting, options), options, "transformers")
        for setting in UNFROZEN
        for options in ("default", "tuned")
    ]
    found.append(contest("setfit", "head", functools.partial(_setfit_logistic, problem), "default", "setfit"))
    found.append(contest("setfit", "head", functools.partial(_setfit_linear, problem), "linear head", "setfit"))
    found.append(contest("ludwig", "head", functools.partial(_ludwig, problem), "encoder cached", "ludwig"))
    return found


Given = Callable[[], texts.Problem]


def _ours(given: Given, setting: str) -> Outcome:
    problem = given()
    regime = _regime(problem, setting)
    problem.start.body(0)  # the weights are in memory before the clock starts
    began = time.perf_counter()
    shared = problem.shared()
    models = [problem.fit(regime, _config(problem, setting, seed, device.precision()), shared) for seed in SEEDS]
    seconds = time.perf_counter() - began
    return Outcome(seconds, statistics.fmean(problem.accuracy(model) for model in models))


def _trainer(given: Given, setting: str, options: peers.Options) -> Outcome:
    problem = given()
    regime = _regime(problem, setting)
    models = [start_model(regime, problem.task, seed) for seed in SEEDS]
    for model in models:
        set_trainable(model, regime.stages[0].method.rates(model))
    began = time.perf_counter()
    examples = peers.tokenized(problem.start, problem.train, problem.task.targets(problem.train))
    collate = peers.padded(problem.start)
    for seed, model in zip(SEEDS, models, strict=True):
        config = _config(problem, setting, seed, peers.precision(options))
        peers.trainer(peers.Labeled(model, problem.task), examples, collate, config, options)
    seconds = time.perf_counter() - began
    return Outcome(seconds, statistics.fmean(problem.accuracy(model) for model in models))


def _setfit_logistic(given: Given) -> Outcome:
    """SetFit's own way with a body that stays: scikit-learn's logistic regression on its embeddings."""
    from setfit import SetFitModel

    problem = given()
    model = SetFitModel.from_pretrained(problem.start.base.location)
    began = time.perf_counter()
    model.fit(list(problem.train.texts), list(problem.train.targets), num_epochs=1, show_progress_bar=False)
    return Outcome(time.perf_counter() - began, _right(problem, model.predict(list(problem.splits.test.texts))))


def _setfit_linear(given: Given) -> Outcome:
    """SetFit's differentiable head: a linear layer like ours, trained by steps, the body frozen but not cached."""
    from setfit import SetFitModel

    problem = given()
    assert isinstance(problem.task, Classification)
    classes = {name: i for i, name in enumerate(problem.task.classes)}
    head = {"out_features": len(classes)}
    models = [
        SetFitModel.from_pretrained(problem.start.base.location, use_differentiable_head=True, head_params=head)
        for _ in SEEDS
    ]
    numbers = [classes[name] for name in problem.train.targets]
    began = time.perf_counter()
    for model in models:
        model.fit(
            list(problem.train.texts),
            numbers,
            num_epochs=EPOCHS,
            batch_size=BATCH,
            head_learning_rate=DEFAULTS["frozen"].lr,
            max_length=problem.start.base.inputs.max_length,
            show_progress_bar=False,
        )
    seconds = time.perf_counter() - began
    held_out = list(problem.splits.test.texts)
    names = list(classes)
    found = [_right(problem, [names[int(i)] for i in model.predict(held_out)]) for model in models]
    return Outcome(seconds, statistics.fmean(found))


def _ludwig(given: Given) -> Outcome:
    """Preprocessed once with the encoder's output kept, then trained for each seed from that."""
    import ludwig_head

    problem = given()
    seconds, predicted = ludwig_head.fit(problem, EPOCHS, BATCH, DEFAULTS["frozen"].lr, SEEDS)
    return Outcome(seconds, statistics.fmean(_right(problem, names) for names in predicted))


def _right(problem: texts.Problem, predicted: list[str]) -> float:
    """The share of held-out rows whose section was named."""
    truth = problem.splits.test.targets
    return statistics.fmean(str(a) == str(b) for a, b in zip(predicted, truth, strict=True))


def _regime(problem: texts.Problem, setting: str) -> Regime:
    return Regime(setting, problem.start, (Stage(Frozen(UNFROZEN[setting])),), DEFAULTS["frozen"])


def _config(problem: texts.Problem, setting: str, seed: int, precision: str) -> TrainConfig:
    lr = DEFAULTS["frozen" if setting == "head" else "top-layers"].lr
    steps = EPOCHS * -(-len(problem.train) // BATCH)
    return TrainConfig(steps=steps, lr=lr, batch_size=BATCH, precision=precision, seed=seed)
