"""Does a head that is trained first protect the base? A linear probe, then all weights: two stages of known methods.

A random head sends large, useless gradients through the base. Here it learns alone for 30 % of the steps.
"""

import sys
from pathlib import Path

from warmstart.api import last, prepare
from warmstart.config import Request
from warmstart.methods import Frozen, Full
from warmstart.prefix import Shared
from warmstart.record import Run
from warmstart.regimes import HABITS, Regime, Stage
from warmstart.runs import Chosen, run
from warmstart.stages import Draw
from warmstart.starts import Pretrained
from warmstart.train import TrainConfig

STAGES = (Stage(Frozen(), share=0.3, lr=1e-2), Stage(Full(), share=0.7))


def main(data: str = "demo/catalogue.csv", out: str = "probed", *, base: tuple[str, ...] = (), steps: int = 300) -> Run:
    problem = prepare(Request((data,), "price", base=base), None, {}).problem
    draw = Draw(problem.splits, problem.schema, Shared(problem.splits), seed=0)
    regime = Regime("probe-then-full", Pretrained(problem.base), STAGES, HABITS["full"])
    config = TrainConfig(steps=steps, lr=regime.habits.lr)
    done = last(run(Chosen(regime, config), draw, Path(out)))
    print(f"{done.method}: {done.metric} {done.test:.4f} of {done.units} after {done.steps} steps")
    return done


if __name__ == "__main__":
    main(*sys.argv[1:])
