"""Licenses: what is the license of a base? From the files next to its weights, without downloads or torch."""

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from warmstart.errors import WarmstartError
from warmstart.models.pretrained.gguf import read_header

CARD = "README.md"
MAX_CARD_CHARACTERS = 100_000  # characters of a model card that are looked through
SHORT = 60  # characters of a license's name; more is its text
LICENSE_ALIASES = {  # other names, as packages and cards have them
    "apache": "apache-2.0",
    "apache-2": "apache-2.0",
    "apache2.0": "apache-2.0",
    "apache-license-2.0": "apache-2.0",
    "apache-license-version-2.0": "apache-2.0",
    "apache-software-license": "apache-2.0",
    "mit-license": "mit",
    "the-mit-license": "mit",
    "bsd-license": "bsd",
}


def normalize_license(name: str) -> str:
    """A normalized license name for comparisons: 'apache-2.0' for 'Apache License, Version 2.0'."""
    spelled = re.sub(r"[\s,_()]+", "-", name.strip().strip("'\"").lower()).strip("-")
    return LICENSE_ALIASES.get(spelled, spelled)


def licenses_of(name: str, location: str) -> tuple[str, ...]:
    """Licenses of the base `name` found at `location`; all of them apply. Empty: unknown.

    The model card is searched first, since a package may have another license than the weights in it. Then the
    configuration, the header of the GGUF file, and the package.
    """
    ways: tuple[Callable[[str, str], Iterator[str]], ...] = (_cards, _configured, _in_gguf, _packaged)
    for way in ways:
        found = tuple(dict.fromkeys(normalize_license(said) for said in way(name, location) if said.strip()))
        if found:
            return found
    return ()


def _folders(name: str, location: str) -> list[Path]:
    """Folders that may hold files about the weights."""
    named = Path(name)
    beside = named.parent if named.suffix == ".gguf" else named
    return [folder for folder in dict.fromkeys((Path(location), beside)) if folder.is_dir()]


def _cards(name: str, location: str) -> Iterator[str]:
    cards = [folder / CARD for folder in _folders(name, location) if (folder / CARD).is_file()]
    if not Path(location).exists():
        cards += _cached_card(location)
    for card in cards[:1]:
        yield from on_card(card.read_text(encoding="utf-8", errors="replace")[:MAX_CARD_CHARACTERS])


def _cached_card(hub_id: str) -> list[Path]:
    """The model card in the hub's cache, from an earlier download."""
    from huggingface_hub import try_to_load_from_cache

    with suppress(ValueError):  # what is no hub id has no card
        found = try_to_load_from_cache(hub_id, CARD)
        return [Path(found)] if isinstance(found, str) else []
    return []


def on_card(text: str) -> tuple[str, ...]:
    """What stands after `license:` between the lines of dashes with which a model card begins.

    >>> on_card("---\\nlanguage: en\\nlicense: apache-2.0\\n---\\n# A model")
    ('apache-2.0',)
    """
    front = re.match(r"---[ \t]*\r?\n(.*?)\n---", text, re.DOTALL)
    found = front and re.search(r"^license:[ \t]*([^\r\n]*)((?:\r?\n[ \t]*-[ \t]+[^\r\n]+)*)", front[1], re.MULTILINE)
    if not front or not found:
        return ()
    value = found[1].partition(" #")[0].strip()
    names = value.strip("[]").split(",") if value.startswith("[") else [value]
    names += re.findall(r"-[ \t]+([^\r\n]+)", found[2])
    own = re.search(r"^license_name:[ \t]*(\S+)", front[1], re.MULTILINE)
    said = tuple(name.strip().strip("'\"") for name in names if name.strip())
    return (own[1],) if said == ("other",) and own else said


def _configured(name: str, location: str) -> Iterator[str]:
    with suppress(OSError, ValueError, AttributeError):
        said = json.loads((Path(location) / "config.json").read_text(encoding="utf-8")).get("license")
        if isinstance(said, str):
            yield said


def _in_gguf(name: str, location: str) -> Iterator[str]:
    """License in the GGUF file that the base was converted from."""
    files = [Path(name)] if name.endswith(".gguf") else _below(name)
    with suppress(OSError, WarmstartError):
        if len(files) == 1:
            said = read_header(files[0]).facts.get("general.license")
            if isinstance(said, str):
                yield said


def _below(name: str) -> list[Path]:
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else [Path(name)]
    return [file for root in roots if root.is_dir() for file in root.rglob("*.gguf")]


def _packaged(name: str, location: str) -> Iterator[str]:
    if not name.isidentifier():
        return
    with suppress(importlib.metadata.PackageNotFoundError):
        facts = importlib.metadata.metadata(name)
        said = [facts[key] for key in ("License-Expression", "License") if key in facts]
        if said and len(said[0]) <= SHORT and "\n" not in said[0]:
            yield said[0]
        else:
            classes = facts.get_all("Classifier") or []
            yield from (each.rpartition(" :: ")[2] for each in classes if each.startswith("License ::"))
