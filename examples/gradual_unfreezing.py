"""What does it bring to wake the base layer by layer? The head alone, then the top layers too, then all weights."""

import sys
from pathlib import Path

from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Pretrained
from warmstart.request.launch import run_to_end
from warmstart.request.prepare import prepare_study
from warmstart.request.request import Request
from warmstart.results.record import Run
from warmstart.runs.run import TunedRegime, train_run
from warmstart.training.config import TrainConfig
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.run_data import RunData

PROBE = Stage(Frozen(), share=0.2, lr=1e-2)


def main(
    data: str = "demo/catalogue.csv",
    out: str = "unfrozen",
    *,
    base: tuple[str, ...] = (),
    steps: int = 300,
    top: int = 4,
) -> Run:
    waking = tuple(Stage(Frozen(unfrozen=k), share=0.4 / top) for k in range(1, top + 1))
    stages = (PROBE, *waking, Stage(Full(), share=0.4))
    problem = prepare_study(Request((data,), "price", base=base), None, {}).problem
    run_data = RunData(problem.splits, problem.schema, SharedData(problem.splits), seed=0)
    regime = Regime("gradual-unfreezing", Pretrained(problem.base), stages, DEFAULTS["full"])
    done = run_to_end(
        train_run(TunedRegime(regime, TrainConfig(steps=steps, lr=regime.defaults.lr)), run_data, Path(out))
    )
    print(f"{done.method}: {done.metric} {done.test:.4f} of {done.units} after {done.steps} steps")
    return done


if __name__ == "__main__":
    main(*sys.argv[1:])
