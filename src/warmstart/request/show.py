"""Show: how is a request written as a command line or a commented YAML file?"""

import shlex
from dataclasses import fields

from warmstart.errors import flag
from warmstart.request.options import OPTIONS, options_of_command
from warmstart.request.request import Request, _plain

NEVER_TYPED = ("command", "noise_floor")


FOR_A_CHOICE = {
    "budget",
    "max_size",
    "max_latency",
    "licence",
    "max_training_time",
    "pretrained",
}  # of one among regimes


def command_line(request: Request, out: str) -> str:
    """The command that repeats a request, with what differs from the defaults."""
    words = ["warmstart", request.command, *request.data]
    words += ["--target", request.target] if request.target else []
    default = Request(request.data, request.target)
    taken = set(options_of_command(request.command)) - {"data", "target"}
    if request.command == "fit" and not request.races:
        taken -= FOR_A_CHOICE
    for entry in fields(Request):
        value = getattr(request, entry.name)
        if entry.name not in taken or value == getattr(default, entry.name):
            continue
        if OPTIONS[entry.name].kind == list[str]:
            words += [part for column in value for part in (flag(entry.name), column)]
        elif isinstance(value, bool):
            words.append(flag(entry.name if value else f"no_{entry.name}"))
        else:
            unit = "" if isinstance(value, str) else OPTIONS[entry.name].unit  # a share has none
            words += [flag(entry.name), _plain(value) + unit]
    return shlex.join([*words, "--out", out])


def commented_yaml(request: Request) -> str:
    """A YAML file with every key, its value and a remark: for `warmstart init`."""
    import yaml

    lines = []
    for entry in fields(Request):
        if entry.name in NEVER_TYPED:
            continue
        value = getattr(request, entry.name)
        plain = list(value) if isinstance(value, tuple) else value
        flow = yaml.safe_dump({entry.name: plain}, default_flow_style=True, allow_unicode=True, width=10_000)
        text = flow.strip().removeprefix("{").removesuffix("}")
        remark = OPTIONS[entry.name].words
        lines.append(f"{text}  # {remark}" if remark else text)
    return "\n".join(lines) + "\n"
