"""Golden losses: the numerics of every regime, which may move only in a commit that says why.

`python -m tests.golden.test_losses` writes them anew.
"""

import json
from pathlib import Path

import pytest

from tests.tiny import CLASSES, REGRESSION, save_tiny_base, tiny_draw
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.regimes import REGIMES, RegimeContext
from warmstart.training.config import TrainConfig
from warmstart.training.run_data import RunData
from warmstart.training.stages import train_stages

LOSSES = Path(__file__).parent / "losses.json"
STEPS = 16
# Another processor adds up in another order; what a change of the code does is far larger.
TOLERANCE = 2e-4


def losses(name: str, base: Base, run_data: RunData) -> list[float]:
    regime = REGIMES[name](RegimeContext(base, len(run_data.splits.train)))
    lr = {"frozen": 1e-2, "scratch-dnn": 1e-3}.get(name, 1e-3)
    config = TrainConfig(steps=STEPS, lr=lr, batch_size=8, word_dropout=0.1)
    steps = train_stages(regime, config, run_data, evaluations=1)
    return [event.step.loss for _, event in zip(range(STEPS), steps, strict=False) if event.step]


GOLDEN = set(REGIMES) - {"embedded", "few-shot", "prompted", "qlora", "scratch-cnn", "top-layers", "zero-shot"}


@pytest.mark.parametrize("name", sorted(GOLDEN))
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_losses_are_what_they_were(name: str, task: str, base: Base, regression: RunData, classes: RunData) -> None:
    known = json.loads(LOSSES.read_text())[f"{name}, {task}"]
    found = losses(name, base, regression if task == "regression" else classes)
    assert found == pytest.approx(known, abs=TOLERANCE)


def write() -> None:
    import tempfile

    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = find_base(str(save_tiny_base(Path(folder) / "base")), max_length=32)
        found = {
            f"{name}, {schema.task}": [round(loss, 6) for loss in losses(name, base, tiny_draw(schema))]
            for name in sorted(GOLDEN)
            for schema in (REGRESSION, CLASSES)
        }
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(values)}" for name, values in found.items())
    LOSSES.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    write()
