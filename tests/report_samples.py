"""Samples: small made-up studies to draw reports of. The numbers are invented, the shapes are those of real ones."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.run_factory import make_comparison, make_curve_runs, make_retention
from warmstart.advice.advise import Advice
from warmstart.data.rows.findings import Finding
from warmstart.results.comparison import Comparison
from warmstart.results.record import Cost, Evaluation, Run, Trial
from warmstart.runtime.environment import Environment
from warmstart.types import Array

TEST_ROWS = 240
STEPS = (1 / 3, 1, 3, 9)
CLASSES = ("admin", "libs", "games", "python", "doc", "science", "sound", "net", "editors", "fonts", "kernel", "mail")

BASE = "all-MiniLM-L6-v2"
SMALL, LARGE, ADAPTED = 2_610_177, 22_713_601, 24_041_090

# name, family, start, method, FLOPs, seconds, weights updated, weights in all, learning rate, error, share correct
REGIMES: tuple[tuple[str, str, str, str, float, float, int, int, float | None, float, float], ...] = (
    ("constant", "baseline", "-", "the median or the majority", 0.0, 0.002, 1, 1, None, 0.61, 0.16),
    ("linear", "baseline", "-", "TF-IDF and ridge", 2.4e8, 1.9, 9_312, 9_312, None, 0.215, 0.60),
    ("scratch-dnn", "scratch", "random weights", "all, one rate", 9.1e12, 41.0, SMALL, SMALL, 3e-3, 0.205, 0.54),
    ("scratch", "scratch", "random weights", "all, one rate", 1.9e14, 95.0, LARGE, LARGE, 5e-4, 0.24, 0.59),
    ("frozen", "fine-tuned", BASE, "head only", 6.2e13, 14.0, 385, LARGE, 1e-2, 0.28, 0.53),
    ("discriminative", "fine-tuned", BASE, "all, lower slower", 1.8e14, 88.0, LARGE, LARGE, 2e-4, 0.166, 0.65),
    ("full", "fine-tuned", BASE, "all, one rate", 1.8e14, 86.0, LARGE, LARGE, 1e-4, 0.170, 0.645),
    ("lora", "fine-tuned", BASE, "adapters of rank 16", 1.3e14, 79.0, 1_327_489, ADAPTED, 1e-3, 0.181, 0.63),
    ("qlora", "fine-tuned", BASE, "adapters on 4 bits", 1.3e14, 140.0, 1_327_489, ADAPTED, 1e-3, 0.9, 0.1),
)

ENVIRONMENT = Environment(
    warmstart="0.1.0", python="3.11.9", torch="2.13.0", transformers="5.23.0", peft="0.21.0", platform="Linux x86_64",
    cpu="AMD EPYC 9V74", cores=2, threads=2, memory_bytes=16_000_000_000, device="cpu", precision="bf16",
    date="2026-03-01T09:30:00+00:00",
)  # fmt: skip


def study(
    task: str = "regression",
    *,
    seeds: Sequence[int] = (0, 1),
    rows: Sequence[int] = (1200,),
    classes: Sequence[str] = CLASSES,
    only: Sequence[str] | None = None,
    **changes: Any,
) -> Comparison:
    """Every regime with every seed and number of rows; `qlora` diverged, `scratch` was still improving."""
    regression = task == "regression"
    names = [regime[0] for regime in REGIMES if only is None or regime[0] in only]
    facts: dict[str, Any] = {
        "runs": tuple(run(name, seed, task, count, classes) for name in names for count in rows for seed in seeds),
        "task": task,
        "metric": "mean absolute error" if regression else "accuracy",
        "higher_is_better": not regression,
        "units": "log10(price)" if regression else "",
        "fingerprint": "9f2c41d07be3a855",
        "rows": {"train": max(rows), "val": 240, "test": TEST_ROWS},
        "target": "price" if regression else "section",
        "min_effect": 0.01,
        "cuts": ("trials: 4 instead of 5 for each regime", "seeds: 2 instead of 3"),
        "caveats": ("3 rows without a target were left out: 17, 204, 901.",),
        "noise_floor": 0.152 if regression else None,
    }
    return Comparison(**(facts | changes))


def run(name: str, seed: int = 0, task: str = "regression", rows: int = 1200, classes: Sequence[str] = CLASSES) -> Run:
    """One made-up run."""
    facts = next(regime for regime in REGIMES if regime[0] == name)
    _, family, start, method, flops, seconds, trainable, total, lr, error, share = facts
    random = np.random.default_rng([seed, len(name), rows])
    regression, trained, failed = task == "regression", family != "baseline", name == "qlora"
    scores, predictions = _numbers(random, error) if regression else _labels(random, share, classes)
    metric = float(scores[:, 0].mean())
    return Run(
        id=f"{name}-r{rows}-s{seed}",
        regime=name,
        family=family,
        start=start,
        method=method,
        seed=seed,
        rows=rows,
        task=task,
        metric="mean absolute error" if regression else "accuracy",
        higher_is_better=not regression,
        units="log10(price)" if regression else "",
        val=None if failed else metric * 0.99,
        test=None if failed else metric,
        train=None if failed else metric * (0.7 if regression else 1.25),
        metrics=_metrics(metric, regression),
        lr=lr,
        settings={"batch_size": 16, "optimizer": "AdamW"},
        trials=_trials(lr, None if failed else metric, 0.1 if regression else -0.1),
        tuning_flops=flops,
        tuning_seconds=seconds,
        points=_points(random, error) if trained and not failed else (),
        steps=300 if trained else 0,
        best_step=220 if trained else 0,
        epochs=4.0 if trained else 0.0,
        converged=name != "scratch",
        failed="diverged at step 12" if failed else None,
        caveats=("2 texts were cut at 128 tokens",) if name == "full" else (),
        cost=Cost(
            flops, seconds * (1 + 0.2 * seed), 1_400_000_000 if trained else None, trainable, total, 4 * trainable
        ),
        latency_ms=2.4,
        disk_bytes=4 * total,
        calibration={"quantile": 0.4, "coverage": 0.893} if regression else {},
        environment=ENVIRONMENT,
        scores=scores,
        predictions=predictions,
        retention=_retention(name, seed, regression) if family == "fine-tuned" and not failed else None,
    )


def _retention(name: str, seed: int, regression: bool) -> dict[str, Any]:
    """`frozen` did not move; `full` was mixed with its base."""
    random = np.random.default_rng([seed, len(name)])
    moved = np.zeros(200) if name == "frozen" else random.gamma(2, 0.01 * len(name), 200)
    mixes = [{"mix": i / 10, "score": 0.3 - 0.013 * i, "forgotten": 0.009 * i} for i in range(11)]
    metric, drift = "mean absolute error" if regression else "accuracy", np.stack([moved, np.ones(200)], axis=1)
    return make_retention(mixes if name == "full" else (), metric, drift=drift)


def advice(**changes: Any) -> Advice:
    """Fine-tune, and sure of it."""
    facts: dict[str, Any] = {
        "choice": "discriminative",
        "verdict": "fine-tune",
        "confidence": 0.964,
        "reason": "Fine-tune: `discriminative` scores 0.166, better than the best from scratch by 0.039.",
        "also_fine": ("full",),
        "caveats": ("Two seeds say little about their spread: the intervals hold the test rows alone.",),
        "next_step": "Use it: `warmstart predict demo new.csv`.",
        "predicted": {"regime": "discriminative", "score": 0.166, "interval": [0.15, 0.18]},
        "compute": {"spent_flops": 3e15, "exhaustive_flops": 3e15},
    }
    return Advice(**(facts | changes))


FINDINGS = (
    Finding("duplicates", "warning", "14 rows are copies of another.", (3, 77, 310), 14, "pass --group"),
    Finding("truncated", "note", "2 texts are longer than the model reads.", (8, 90), 2),
)


def examples(comparison: Comparison, text: str = "title: Desk lamp number {row}\ncategory: lighting") -> dict[int, str]:
    """A text for each test row."""
    return {row: text.replace("{row}", str(row)) for row in comparison.runs[0].predictions["row"]}


def _metrics(metric: float, regression: bool) -> dict[str, float]:
    if regression:
        return {"MAE (price)": 210 * metric, "RMSE (price)": 390 * metric, "R2": 1 - metric}
    return {"macro F1": 0.86 * metric, "log loss": 2.4 - 2 * metric, "AUC": 0.5 + metric / 2}


def _trials(lr: float | None, metric: float | None, worse: float) -> tuple[Trial, ...]:
    """Four rates around the one that was taken; the largest diverged."""
    if lr is None:
        return ()
    scores = {
        step: None if metric is None or step == 9 else metric * (1 + worse * abs(math.log(step))) for step in STEPS
    }
    return tuple(Trial({"lr": lr * step}, 90, score) for step, score in scores.items())


def _numbers(random: np.random.Generator, error: float) -> tuple[Array, dict[str, list[Any]]]:
    truth = np.random.default_rng(7).normal(1.6, 0.6, TEST_ROWS)
    noise = random.normal(0, error * 1.25, TEST_ROWS)
    scores = np.stack([np.abs(noise), np.ones(TEST_ROWS)], axis=1)
    predicted = truth + noise
    columns: dict[str, list[Any]] = {
        "row": list(range(5, 5 + 10 * TEST_ROWS, 10)),
        "target": (10**truth).tolist(),
        "prediction": (10**predicted).tolist(),
        "low": (10 ** (predicted - 0.4)).tolist(),
        "high": (10 ** (predicted + 0.4)).tolist(),
    }
    return scores, columns


def _labels(random: np.random.Generator, share: float, classes: Sequence[str]) -> tuple[Array, dict[str, list[Any]]]:
    frequent = np.random.default_rng(7).zipf(1.4, TEST_ROWS) % len(classes)
    wrong = random.random(TEST_ROWS) > share
    predicted = np.where(wrong, (frequent + random.integers(1, 4, TEST_ROWS)) % len(classes), frequent)
    scores = np.stack([(predicted == frequent).astype(float), np.ones(TEST_ROWS)], axis=1)
    columns: dict[str, list[Any]] = {
        "row": list(range(5, 5 + 10 * TEST_ROWS, 10)),
        "target": [classes[i] for i in frequent],
        "prediction": [classes[i] for i in predicted],
        "probability": random.uniform(0.3, 1.0, TEST_ROWS).tolist(),
    }
    return scores, columns


def _points(random: np.random.Generator, error: float) -> tuple[Evaluation, ...]:
    points = []
    for step in range(0, 301, 20):
        train = error * (0.55 + 2.6 * math.exp(-step / 60)) + random.normal(0, 0.006)
        val = error * (1.0 + 2.1 * math.exp(-step / 50) + 0.0004 * max(0, step - 220)) + random.normal(0, 0.004)
        points.append(Evaluation(step, step / 75, train, val, val, step * 0.3))
    return tuple(points)


def renamed(comparison: Comparison, names: dict[str, str]) -> Comparison:
    """The same with other names for some regimes."""
    runs = tuple(replace(run, regime=names.get(run.regime, run.regime)) for run in comparison.runs)
    return replace(comparison, runs=runs)


def crossing() -> Comparison:
    """Curves of four regimes over three numbers of rows, of which that of `scratch` crosses the others."""
    laws = {"constant": (0.9, 0.0), "scratch": (2.0, 0.35), "full": (0.5, 0.12), "lora": (0.6, 0.14)}
    made = make_curve_runs(laws, (100, 400, 1600), test_rows=500)
    numbers = list(range(500))
    columns = {"row": numbers, "target": numbers, "prediction": numbers}
    return make_comparison([replace(run, predictions=columns) for run in made])


def label_sets() -> Run:
    """A run with three rows of several labels each, some missed and some invented."""
    sets = {"row": [1, 2, 3], "target": [["a", "b"], ["a"], ["a"]], "prediction": [["a"], ["a", "c"], []]}
    sets |= {"probability": [[0.9], [0.8, 0.61], []]}  # of each label, as `Classification.predictions` gives them
    run = study("classification", only=["linear"]).runs[0]
    return replace(run, predictions=sets, scores=np.array([[2.0, 3.0], [2.0, 3.0], [0.0, 1.0]]))
