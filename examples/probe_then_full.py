"""Does a head that is trained first protect the base? A linear probe, then all weights: two stages of known methods.

A random head sends large, useless gradients through the base. Here it learns alone for 30 % of the steps.
"""

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

STAGES = (Stage(Frozen(), share=0.3, lr=1e-2), Stage(Full(), share=0.7))


def main(data: str = "demo/catalogue.csv", out: str = "probed", *, base: tuple[str, ...] = (), steps: int = 300) -> Run:
    problem = prepare_study(Request((data,), "price", base=base), None, {}).problem
    run_data = RunData(problem.splits, problem.schema, SharedData(problem.splits), seed=0)
    regime = Regime("probe-then-full", Pretrained(problem.base), STAGES, DEFAULTS["full"])
    config = TrainConfig(steps=steps, lr=regime.defaults.lr)
    done = run_to_end(train_run(TunedRegime(regime, config), run_data, Path(out)))
    print(f"{done.method}: {done.metric} {done.test:.4f} of {done.units} after {done.steps} steps")
    return done


if __name__ == "__main__":
    main(*sys.argv[1:])
