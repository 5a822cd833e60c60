"""Wide and deep store: how is a wide and deep network saved with its terms and columns, and loaded again?"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import TypeAdapter
from torch import nn

from warmstart.baselines.baseline import TRAIN_AGAIN
from warmstart.data.encoding.inputs import Inputs
from warmstart.data.features.term_inputs import TermInputs, load_term_inputs
from warmstart.models.wide_and_deep import WideAndDeep, WideNetwork
from warmstart.runtime.files import damaged, read_tensors, reading_ours, write_tensors

WIDE_AND_DEEP, TERMS = "wide and deep", "terms"
BODY = "body.safetensors"


def save_wide_and_deep(folder: Path, body: nn.Module, inputs: Inputs) -> dict[str, Any]:
    """Save weights and terms; returns the facts about the body that loading needs."""
    write_tensors(folder / BODY, {name: tensor.contiguous() for name, tensor in body.state_dict().items()})
    inputs.save(folder / TERMS)
    return {"kind": WIDE_AND_DEEP, "network": asdict(cast(WideAndDeep, body).network)}


def load_wide_and_deep(folder: Path, said: Mapping[str, Any]) -> tuple[WideAndDeep, TermInputs]:
    """What `save_wide_and_deep` wrote. Raises InputError where it is damaged."""
    inputs = load_term_inputs(folder / TERMS, TRAIN_AGAIN)
    weights = read_tensors(folder / BODY, TRAIN_AGAIN)
    with reading_ours(folder / "model.json", TRAIN_AGAIN):
        network = TypeAdapter(WideNetwork).validate_python(said["network"])
    if network.size.depth > len(weights):  # before anything is built
        raise damaged(folder / "model.json", f"it announces {network.size.depth:,} layers", TRAIN_AGAIN)
    with torch.device("meta"):  # without memory: model.json may announce what no file holds
        planned = network().state_dict()
    if {n: t.shape for n, t in planned.items()} != {n: t.shape for n, t in weights.items()}:
        raise damaged(folder / BODY, "its weights are not of the size in model.json", TRAIN_AGAIN)
    if (network.shape.terms, network.shape.columns) != (inputs.term_count, inputs.column_count):
        raise damaged(folder / "model.json", "its terms are not those that the network reads", TRAIN_AGAIN)
    body = network()
    body.load_state_dict(weights)
    return body, inputs
