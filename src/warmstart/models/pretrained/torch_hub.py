"""PyTorch Hub: how does `torchhub:owner/repo:entry` become a file of weights?

An entry of PyTorch Hub is code in somebody's repository on GitHub. It is run once, after `--trust-code owner/repo`, to
give a model; its weights are kept in the cache of this package, and belong to a network of ours (see `state_dict`). So
neither a study that goes on nor a saved model runs that code again.
"""

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, hub, nn

from warmstart.errors import InputError, MissingError, UsageError
from warmstart.models.pretrained.state_dict import network_of
from warmstart.runtime.files import cache_folder, write_tensors
from warmstart.runtime.load_pretrained import reading_foreign

PREFIX = "torchhub:"
_SPEC = re.compile(r"torchhub:([A-Za-z0-9][\w.-]*)/([\w.-]+):([A-Za-z_]\w*)")


@dataclass(frozen=True)
class HubEntry:
    """A function of a repository that gives a model."""

    owner: str
    repository: str
    entry: str

    @classmethod
    def of(cls, source: str) -> "HubEntry":
        """From `torchhub:owner/repo:entry`. Raises UsageError for anything else."""
        match = _SPEC.fullmatch(source)
        if match is None:
            raise UsageError(f"base {source!r} names no entry of PyTorch Hub.", "write it as torchhub:owner/repo:entry")
        return cls(*match.groups())

    @property
    def code(self) -> str:
        """What `--trust-code` has to name."""
        return f"{self.owner}/{self.repository}"

    @property
    def kept(self) -> Path:
        """Where its weights are once they were read."""
        name = f"{self.owner}--{self.repository}--{self.entry}.safetensors"
        return cache_folder() / "torchhub" / name


def is_hub_entry(source: str) -> bool:
    """Whether `--base` names something of PyTorch Hub."""
    return source.startswith(PREFIX)


def require_trust(source: str, trusted: Collection[str]) -> None:
    """Raises UsageError for a repository whose code the user did not allow to run."""
    entry = HubEntry.of(source)
    if entry.code not in trusted:
        raise UsageError(
            f"base {source!r} runs the code of the GitHub repository {entry.code} on this machine.",
            f"if you trust that code, add --trust-code {entry.code}",
        )


def fetch_entry(source: str, *, offline: bool) -> Path:
    """The file with the weights of an entry, whose code is run if it was not before.

    The caller has checked that it is trusted. Raises MissingError where it cannot be had, InputError for a network that
    is not known.
    """
    entry = HubEntry.of(source)
    if entry.kept.exists():
        return entry.kept
    here = sorted(Path(hub.get_dir()).glob(f"{entry.owner}_{entry.repository}_*"))
    if not here and offline:
        raise MissingError(f"base {source!r} is not on this machine.", "leave out --offline, once")
    with reading_foreign(f"base {source!r}", "could not be loaded", "check the names of the repository and its entry"):
        model = _called(entry, here[-1] if here else None)
    weights = _weights(model, source)
    network_of(weights, f"base {source!r}")
    entry.kept.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(entry.kept, weights)
    return entry.kept


def kept_entry(source: str) -> Path:
    """The file with the weights of an entry, without running any code. Raises MissingError where there is none."""
    entry = HubEntry.of(source)
    if not entry.kept.exists():
        raise MissingError(
            f"the weights of base {source!r} are not on this machine ({entry.kept}).",
            "copy that file here, or run the study again",
        )
    return entry.kept


def _called(entry: HubEntry, folder: Path | None) -> Any:
    """What the entry returns: with pretrained weights, where it takes the usual argument for them.

    Raises InputError for an entry without that argument whose weights are random: they differ from call to call.
    """
    where = {"repo_or_dir": str(folder), "source": "local"} if folder else {"repo_or_dir": entry.code}
    load: Any = functools.partial(hub.load, model=entry.entry, trust_repo=True, verbose=False, **where)
    try:
        return load(pretrained=True)
    except TypeError:  # it takes no such argument
        first, second = load(), load()
    if not _same_weights(first, second):
        raise InputError(
            f"base '{PREFIX}{entry.code}:{entry.entry}' has random weights, and takes no argument `pretrained`.",
            "name an entry that gives a pretrained model",
        )
    return first


def _same_weights(first: Any, second: Any) -> bool:
    if not isinstance(first, nn.Module):
        return True  # refused by `_weights`
    return all(torch.equal(weight, second.state_dict()[name]) for name, weight in first.state_dict().items())


def _weights(model: Any, source: str) -> dict[str, Tensor]:
    if not isinstance(model, nn.Module):
        raise UsageError(f"base {source!r} gives {type(model).__name__}, not a model.", "name another entry")
    return {name: weight.detach().cpu().contiguous().clone() for name, weight in model.state_dict().items()}
