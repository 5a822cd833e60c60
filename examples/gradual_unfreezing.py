"""What does it bring to wake the base layer by layer? The head alone, then the top layers too, then all weights."""

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
    problem = prepare(Request((data,), "price", base=base), None, {}).problem
    draw = Draw(problem.splits, problem.schema, Shared(problem.splits), seed=0)
    regime = Regime("gradual-unfreezing", Pretrained(problem.base), stages, HABITS["full"])
    done = last(run(Chosen(regime, TrainConfig(steps=steps, lr=regime.habits.lr)), draw, Path(out)))
    print(f"{done.method}: {done.metric} {done.test:.4f} of {done.units} after {done.steps} steps")
    return done


if __name__ == "__main__":
    main(*sys.argv[1:])
