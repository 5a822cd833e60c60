"""Verify saved: does a model give the same outputs after saving and loading as when it was scored?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from warmstart.data.rows.split import Rows
from warmstart.errors import TrainingError
from warmstart.inference.model_store import load_model
from warmstart.regimes.starts import Start
from warmstart.types import Array

SAME_SHARE = 0.02  # of the largest output: a GPU and a CPU, or bf16 and fp32, differ by less


def check_saved(folder: Path, expected: Array, rows: Rows, start: Start | None = None) -> None:
    """Raises TrainingError if the saved model gives other outputs than the trained one.

    What is scored is then what is delivered. `expected`: the outputs for these few rows, [n, k]; `start`: what a
    network started from.
    """
    build = None if start is None else start.build
    with torch.random.fork_rng():
        found = load_model(folder, build=build).predictor.outputs(rows.texts, rows.columns)
    finite = np.isfinite(expected)  # where nothing finite was learned, the record says so
    scale = float(np.abs(expected[finite]).max(initial=0.0))
    if found.shape != expected.shape or not np.allclose(
        found[finite], expected[finite], rtol=0.0, atol=1e-4 + SAME_SHARE * scale
    ):
        raise _saved_otherwise(folder)


def check_answers(folder: Path, expected: Sequence[str], rows: Rows) -> None:
    """The same for a model that writes: its answers to these few rows are to be those `expected`."""
    stored = load_model(folder)
    assert stored.writer is not None and stored.task.generative is not None
    if stored.writer.answers(rows.texts, stored.task.generative) != list(expected):
        raise _saved_otherwise(folder)


def _saved_otherwise(folder: Path) -> TrainingError:
    return TrainingError(
        f"the model saved in {folder} does not give what was scored when it is loaded again.",
        "this should not happen: please report it, with the command",
    )
