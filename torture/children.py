"""Children: what is called in a child? Importing this imports everything that a command needs."""

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch

from tests.cli_base import products
from tests.tiny import save_tiny_base
from torture.workshop import TWO_STAGES
from warmstart.cli import app
from warmstart.models.dnn import Size
from warmstart.regimes import regimes
from warmstart.regimes.discriminative import Discriminative
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import DEFAULTS, Regime, RegimeContext, Stage
from warmstart.regimes.starts import Pretrained, dnn
from warmstart.runtime import supervisor
from warmstart.runtime.environment import current_environment
from warmstart.training import checkpoint

for name in (  # what the commands import when they first need it
    "peft",
    "pydantic.dataclasses",
    "pyarrow.csv",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "transformers.models.bert.modeling_bert",
    "warmstart.api",
    "warmstart.inference.predict",
    "warmstart.cli.print_results",
    "warmstart.study.study",
):
    importlib.import_module(name)


def materials(folder: Path) -> None:
    """A tiny base and a table of 120 products."""
    save_tiny_base(folder / "base")
    products(folder / "products.csv")


def command(*words: str) -> None:
    """The command line, with a regime of two stages that it can name and a network on hashed words that is small."""
    _begin(words)
    app.run_cli()


def waited_for(*words: str) -> None:
    """The same by way of a process that waits for the one that trains."""
    _begin(words)
    supervisor.run_supervised(app.run_cli)


def _begin(words: Sequence[str]) -> None:
    regimes.REGIMES[TWO_STAGES] = two_stages
    regimes.DEFAULTS[TWO_STAGES] = regimes.DEFAULTS["full"]
    regimes.REGIMES["scratch-dnn"] = network
    sys.argv = ["warmstart", *words]


def two_stages(material: RegimeContext) -> Regime:
    stages = (Stage(Frozen(), share=0.4), Stage(Discriminative(), share=0.6))
    return Regime(TWO_STAGES, Pretrained(material.base), stages, DEFAULTS["full"])


def network(material: RegimeContext) -> Regime:
    """At its usual size a checkpoint would have 20 MB, and be saved after every step."""
    return Regime("scratch-dnn", dnn(Size(features=256, width=16)), (Stage(Full()),), DEFAULTS["scratch-dnn"])


def print_newest(folder: Path) -> None:
    """The name of the checkpoint that would be gone on from."""
    found = checkpoint.newest_checkpoint(folder)
    print(found.name if found else None)


def print_not_finite(folder: Path) -> None:
    """The files under `folder` that hold a weight which is no number."""
    for path in sorted(folder.rglob("*.safetensors")):
        tensors = safetensors.torch.load_file(path).values()
        if not all(torch.isfinite(tensor).all() for tensor in tensors if tensor.is_floating_point()):
            print(path)


def print_difference(run: Path, other: Path) -> None:
    """The largest difference between any two weights of two runs.

    Left out are the biases of attention keys: they cancel in the softmax, their gradient is nothing but rounding, and
    Adam makes whole steps of it (4e-5 here; 6e-8 at most in any other weight).
    """
    largest = 0.0
    for path in sorted(run.rglob("*.safetensors")):
        mine = safetensors.torch.load_file(path)
        theirs = safetensors.torch.load_file(other / path.relative_to(run))
        assert mine.keys() == theirs.keys()
        felt = [name for name in mine if not name.endswith("key.bias")]
        largest = max(largest, *((mine[name] - theirs[name]).abs().max().item() for name in felt))
    print(largest)


def print_environment() -> None:
    print(json.dumps(asdict(current_environment("fp32"))))
