"""Base reference: how does a saved model name the base that it needs, and is that still what it was?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmstart.errors import InputError, MissingError, join_phrases
from warmstart.models.pretrained.base import Base, find_base
from warmstart.runtime.load_pretrained import fingerprint


def reference_to(base: Base) -> dict[str, Any]:
    """As JSON: where the base is found, how much of a text it reads, and the SHA-256 of its files.

    Of one from the hub also the commit.
    """
    said = {"base": base.lasting_name, "max_length": base.max_length, "files": fingerprint(base.location)}
    revision = hub_revision(base.location)
    return said | ({"revision": revision} if revision else {})


def hub_revision(location: str) -> str | None:
    """The commit of a hub id whose files are in the cache of the library; None for a folder."""
    if Path(location).exists():
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(location, "config.json")
    return Path(found).parent.name if isinstance(found, str) else None


def referenced_base(said: Mapping[str, Any], needs: str) -> Base:
    """The base that `reference_to` named. `needs`: what needs it, with its verb, for messages.

    Raises MissingError where it is not here, InputError where it is no longer what it was.
    """
    name = str(said["base"])
    try:
        base = find_base(name, max_length=int(said["max_length"]))
    except MissingError as error:
        raise MissingError(f"{needs} the base {name!r}, which is not here.", error.hint) from error
    require_unchanged(base, said.get("files") or {}, name, needs)
    return base


def require_unchanged(base: Base, known: Mapping[str, str], name: str, needs: str) -> None:
    """Raises InputError where files of the base are not those that are `known` by their SHA-256."""
    now = fingerprint(base.location) if known else {}
    changed = sorted(file for file in {**known, **now} if known.get(file) != now.get(file))
    if changed:
        raise InputError(
            f"{needs} the base {name!r}, which is no longer what it was: {join_phrases(changed, 4)} changed.",
            "bring the base back as it was, or train again",
        )
