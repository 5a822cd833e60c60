"""Serialize: how is a request written as a command line or a commented YAML file, and which YAML files are there?"""

import shlex
from typing import Any

from warmstart.errors import flag
from warmstart.request.request import Request, _plain
from warmstart.settings.groups import SETTINGS, settings_of_command
from warmstart.settings.setting import Declared, declared
from warmstart.settings.winner import ConstraintSettings

FOR_A_CHOICE = {"budget", "compute", *declared(ConstraintSettings)}  # of one among regimes


def command_line(request: Request, out: str) -> str:
    """The command that repeats a request, with what differs from the defaults."""
    words = ["warmstart", request.command, *request.data]
    words += ["--target", request.target] if request.target else []
    default = Request(request.data, request.target)
    for name, each in settings_of_command(request.command).items():
        value = getattr(request, name)
        needless = request.command == "fit" and not request.races and name in FOR_A_CHOICE
        if name in ("data", "target") or needless or value == getattr(default, name):
            continue
        if each.setting.repeat:
            words += [part for column in value for part in (flag(name), column)]
        elif isinstance(value, bool):
            words.append(flag(name if value else f"no_{name}"))
        else:
            timed = each.setting.quantity in ("duration", "budget", "latency") and not isinstance(value, str)
            typed = f"{value / 1e12:.12g}TFLOP" if each.setting.quantity == "flops" else _plain(value) + "s" * timed
            words += [flag(name), typed]
    return shlex.join([*words, "--out", out])


def commented_yaml(request: Request) -> str:
    """A YAML file with every key, its value and a remark: for `warmstart init`."""
    import yaml

    lines = []
    for name, each in SETTINGS.items():
        value = None if name == "budget" and request.compute is not None else getattr(request, name)
        plain = list(value) if isinstance(value, tuple) else value
        flow = yaml.safe_dump({name: plain}, default_flow_style=True, allow_unicode=True, width=10_000)
        lines.append(f"{flow.strip().removeprefix('{').removesuffix('}')}  # {each.remark}")
    return "\n".join(lines) + "\n"


SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES_IN_SCHEMA: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}


def config_schema() -> dict[str, Any]:
    """JSON Schema of the file of --config, for editors: they complete keys and values, and mark what is wrong."""
    return {
        "$schema": SCHEMA_DIALECT,
        "title": "Settings of warmstart",
        "type": "object",
        "properties": {name: _value_schema(each) for name, each in SETTINGS.items()},
        "patternProperties": {
            f"^{name.replace('_', '-')}$": {"$ref": f"#/properties/{name}"} for name in SETTINGS if "_" in name
        },
        "additionalProperties": False,
    }


def _value_schema(each: Declared) -> dict[str, Any]:
    """What may stand after a key: one value, several in a list or between commas, or null for the default."""
    quantity, within = each.setting.quantity, each.setting.within
    one: dict[str, Any] = {"type": TYPES_IN_SCHEMA[each.kind]}
    if each.choices and not each.several:
        one = {"enum": list(each.choices)}
    elif quantity:
        one = {"type": ["number", "string"]}
    elif within and each.kind in (int, float):
        one |= {"minimum": within[0], "maximum": within[1]}
    kinds = [one, {"type": "null"}]
    if each.several:
        kinds += [{"type": "string"}, {"type": "array", "items": one}]
    return {"description": each.doc, "anyOf": kinds}
