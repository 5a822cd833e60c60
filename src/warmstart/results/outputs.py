"""Outputs: what a finished run gave for the rows it was scored on, kept so that runs can be combined."""

from collections.abc import Mapping
from pathlib import Path

from warmstart.results.record import RUN_AGAIN
from warmstart.runtime.files import read_tensors, write_arrays
from warmstart.types import Array

OUTPUTS_FILE = "outputs.safetensors"
MAX_OUTPUT_BYTES = 2**28  # of a run; with more it is not kept, and no ensemble is made


def save_outputs(folder: Path, outputs: Mapping[str, Array]) -> None:
    """Write outputs of a task, float32 [n, k] for each of "val", "test" and "train", unless they are too many."""
    if outputs and sum(array.nbytes for array in outputs.values()) <= MAX_OUTPUT_BYTES:
        write_arrays(folder / OUTPUTS_FILE, outputs)


def load_outputs(folder: Path) -> dict[str, Array]:
    """What `save_outputs` wrote. Raises InputError where the file is damaged or missing."""
    return {name: tensor.numpy() for name, tensor in read_tensors(folder / OUTPUTS_FILE, RUN_AGAIN).items()}


def has_outputs(folder: Path) -> bool:
    """Whether a run kept them: one of an earlier version did not, nor one that writes texts."""
    return (folder / OUTPUTS_FILE).is_file()
