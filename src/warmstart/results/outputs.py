"""Outputs: which outputs of a finished run are kept, so that runs can be combined?"""

from collections.abc import Mapping
from pathlib import Path

from warmstart.results.record import RUN_AGAIN
from warmstart.runtime.files import read_tensors, write_arrays
from warmstart.types import Array

OUTPUTS_FILE = "outputs.safetensors"
MAX_OUTPUT_BYTES = 2**28  # of a run; with more it is not kept, and no ensemble is made


def save_outputs(folder: Path, outputs: Mapping[str, Array]) -> None:
    """Write a task's outputs, float32 [n, k] for each part of the rows that was scored, unless they are too large."""
    if outputs and sum(array.nbytes for array in outputs.values()) <= MAX_OUTPUT_BYTES:
        write_arrays(folder / OUTPUTS_FILE, outputs)


def load_outputs(folder: Path) -> dict[str, Array]:
    """Outputs written by `save_outputs`. Raises InputError if the file is damaged or missing."""
    return {name: tensor.numpy() for name, tensor in read_tensors(folder / OUTPUTS_FILE, RUN_AGAIN).items()}


def has_outputs(folder: Path) -> bool:
    """Whether a run kept its outputs: runs of earlier versions and runs that generate text have none."""
    return (folder / OUTPUTS_FILE).is_file()
