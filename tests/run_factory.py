"""Run factory: runs with known truths, without training anything."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from warmstart.results.comparison import Comparison
from warmstart.results.record import Cost, Run
from warmstart.runtime.environment import Environment
from warmstart.types import Array

FAMILIES = dict.fromkeys(("constant", "linear", "boosted", "embedded"), "baseline") | {
    "ensemble": "ensemble",
    "scratch": "scratch",
    "scratch-dnn": "scratch",
}
ENVIRONMENT = Environment(
    "0", "3.11", "2", "5", "0", "linux", "cpu", 2, 1, 8_000_000_000, "cpu", "fp32", "2024-01-01T00:00:00Z"
)


def make_run(
    regime: str,
    scores: Array,
    seed: int = 0,
    rows: int = 1000,
    flops: float = 1e12,
    converged: bool = True,
    failed: str | None = None,
    higher_is_better: bool = True,
    caveats: tuple[str, ...] = (),
    tuning_flops: float = 0.0,
    retention: dict[str, Any] | None = None,
) -> Run:
    """A run whose test rows scored `scores` [n, 2]."""
    test = float(scores[:, 0].sum() / scores[:, 1].sum()) if len(scores) else None
    return Run(
        id=f"{regime}-r{rows}-s{seed}",
        regime=regime,
        family=FAMILIES.get(regime, "fine-tuned"),
        start="random weights",
        method="all weights, one rate",
        seed=seed,
        rows=rows,
        task="classification" if higher_is_better else "regression",
        metric="accuracy" if higher_is_better else "mean absolute error",
        higher_is_better=higher_is_better,
        units="" if higher_is_better else "log10(price)",
        val=test,
        test=test,
        train=test,
        metrics={},
        lr=1e-4,
        settings={},
        trials=(),
        tuning_flops=tuning_flops,
        tuning_seconds=0.0,
        points=(),
        steps=100,
        best_step=100,
        epochs=1.0,
        converged=converged,
        failed=failed,
        caveats=caveats,
        cost=Cost(flops, 10.0 + seed, None, 1000, 2000, 8000),
        latency_ms=2.0,
        disk_bytes=8000,
        calibration={},
        environment=ENVIRONMENT,
        scores=scores,
        predictions={},
        retention=retention,
    )


def make_retention(
    frontier: Sequence[dict[str, float]] = (), frontier_metric: str = "", **by_text: Array
) -> dict[str, Any]:
    """What a run forgot, from values and weights of texts, [n, 2], by measure."""
    names = ("nats", "kl", "progress_lost", "drift")
    values = {name: pairs[:, 0].sum() / pairs[:, 1].sum() for name, pairs in by_text.items()}
    columns = {name: {"value": list(pairs[:, 0]), "weight": list(pairs[:, 1])} for name, pairs in by_text.items()}
    shape = {"drift_cka": 0.2 if "drift" in by_text else None}
    by = {"score": frontier_metric, "forgotten": next(iter(by_text))} if frontier else None
    swept = {"frontier": list(frontier), "matched": frontier[0] if frontier else None, "frontier_by": by}
    return dict.fromkeys(names) | values | shape | {"by_text": columns} | swept


def make_scores(value: Array) -> Array:
    """[n, 2] with weight one."""
    return np.stack([value, np.ones(len(value))], axis=1)


def make_runs(
    truths: dict[str, float],
    rows: int = 1000,
    seeds: int = 3,
    test_rows: int = 2000,
    flops: dict[str, float] | None = None,
    random_seed: int = 0,
    noise: float = 0.3,
    seed_noise: float = 0.0,
    lasting_noise: float = 0.0,
    higher_is_better: bool = True,
    unconverged: Sequence[str] = (),
    failed: Sequence[str] = (),
) -> list[Run]:
    """Runs of regimes whose expected score is known.

    A test row is as hard for every regime and seed (sd 0.4), and each run is off by `noise` on it on its own; a seed
    shifts a regime by `seed_noise`, and with `lasting_noise` a regime finds a row easier or harder with every seed.
    Measured scores are shifted onto the truth where `noise` is 0.
    """
    random = np.random.default_rng(random_seed)
    hardness = random.normal(0, 0.4, test_rows)
    runs = []
    for name, truth in truths.items():
        lasting = random.normal(0, lasting_noise, test_rows) if lasting_noise else 0.0
        for seed in range(seeds):
            own = lasting + random.normal(0, noise, test_rows) + random.normal(0, seed_noise)
            runs.append(
                make_run(
                    name,
                    make_scores(truth + hardness + own),
                    seed=seed,
                    rows=rows,
                    flops=(flops or {}).get(name, 1e12),
                    converged=name not in unconverged,
                    failed="diverged at step 12" if name in failed else None,
                    higher_is_better=higher_is_better,
                )
            )
    return runs


def make_curve_scores(
    errors: Sequence[float], random: np.random.Generator, hardness: Array, seeds: int = 3, seed_noise: float = 0.0
) -> list[list[Array]]:
    """For each expected error (one at each size) the scores [n, 2] of each seed.

    `hardness` [n] is what a test row's error is multiplied by for every regime, 1 in the mean. The regime itself finds
    a row easier or harder at every size and with every seed (sd 0.5); a run is off by 0.05 on each row, and by
    `seed_noise` on all of them.
    """
    own = hardness * random.gamma(4.0, 0.25, len(hardness))
    return [
        [
            make_scores(error * own * random.normal(1, 0.05, len(own)) * (1 + random.normal(0, seed_noise)))
            for _ in range(seeds)
        ]
        for error in errors
    ]


def make_curve_runs(
    laws: dict[str, tuple[float, float]],
    sizes: Sequence[int] = (100, 400, 1600),
    random_seed: int = 0,
    test_rows: int = 1000,
    seed_noise: float = 0.0,
    unconverged: Sequence[str] = (),
) -> list[Run]:
    """Runs at several sizes of regimes whose expected error is c x rows**-slope, by (c, slope); lower is better."""
    random = np.random.default_rng(random_seed)
    hardness = random.gamma(2.0, 0.5, test_rows)
    runs = []
    for name, (factor, slope) in laws.items():
        each = make_curve_scores([factor * rows**-slope for rows in sizes], random, hardness, seed_noise=seed_noise)
        for rows, scores in zip(sizes, each, strict=True):
            for seed, own in enumerate(scores):
                ran = name not in unconverged
                runs.append(make_run(name, own, seed, rows, higher_is_better=False, converged=ran))
    return runs


def make_comparison(runs: Sequence[Run], min_effect: float = 0.01, noise_floor: float | None = None) -> Comparison:
    """The comparison of these runs."""
    first = runs[0]
    return Comparison(
        runs=tuple(runs),
        task=first.task,
        metric=first.metric,
        higher_is_better=first.higher_is_better,
        units=first.units,
        fingerprint="abc",
        rows={"train": max(run.rows for run in runs), "val": 100, "test": len(first.scores)},
        target="price",
        min_effect=min_effect,
        cuts=(),
        caveats=(),
        noise_floor=noise_floor,
    )
