"""Flags: how do the flags of a command become a request? Each setting that the command takes is a flag."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from warmstart.errors import UsageError, flag, join_phrases
from warmstart.request.parse import KEY_SPELLINGS, key_of, parse_overrides, parse_typed, read_yaml
from warmstart.settings.groups import SETTINGS, settings_of_command
from warmstart.settings.setting import Command

if TYPE_CHECKING:
    from warmstart.request.request import Request


CommandRunner = Callable[..., None]

CONFIG = "config"  # no key of a request: names the file that holds some
LAST = ("offline", "log")  # follow it in --help
FEW_FLAGS = 12  # need no headings
METAVARS = {int: "<int>", float: "<float>"}  # read by us, so that our words tell what is wrong


class SectionedCommand(TyperCommand):
    """A command whose `--help` lists its flags under the headings of their settings, if there are many."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """What every command has comes first, then the sections in the order of the settings."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        parameters = self.get_params(ctx)
        for parameter in parameters:
            words, text = parameter.get_help_record(ctx) or ("", "")
            if parameter.param_type_name == "argument":
                sections["Arguments"].append((words.partition(" ")[0], text))
            else:
                each = SETTINGS.get(str(parameter.name)) if len(parameters) > FEW_FLAGS else None
                sections.setdefault(each.section if each else "Options", []).append((words, text))
        for title, lines in sections.items():
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)


def command_options(command: Command, keys: tuple[str, ...] | None = None) -> Callable[[CommandRunner], CommandRunner]:
    """Makes a command of a function that takes a `request`: its flags stand in the place of that parameter.

    `keys`: of those that `command` takes, only these, and no --config.
    """
    names = _named(command) if keys is None else keys

    def with_flags(function: CommandRunner) -> CommandRunner:
        @functools.wraps(function)
        def run(**given: Any) -> None:
            typed = {name: given.pop(name) for name in names}
            function(request=request_from_flags(typed, command), **given)

        parameters: list[inspect.Parameter] = []
        for own in inspect.signature(function).parameters.values():
            if own.name == "request":
                parameters += [_parameter(name) for name in names]
            else:
                parameters.append(own.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads its flags from it
        run.__annotations__ = {}
        return run

    return with_flags


def _named(command: Command) -> tuple[str, ...]:
    """The flags of a command, --config among them, in the order of --help."""
    taken = settings_of_command(command)
    return (*(name for name in taken if name not in LAST), CONFIG, *(name for name in LAST if name in taken))


def _parameter(name: str) -> inspect.Parameter:
    """What typer makes a flag of: each may be left out, and is None then."""
    if name == CONFIG:
        file = typer.Option(None, "--config", help="YAML file with these settings (see `warmstart init`).")
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=file, annotation=Path | None)
    each = SETTINGS[name]
    if name == "data":
        option = typer.Argument(None, metavar="DATA", help=f"{each.setting.help} KEY=VALUE sets an option.")
    else:
        words = f"{flag(name)}/{flag('no_' + name)}" if each.negated else flag(name)
        number = not each.several and each.setting.quantity is None
        metavar = None if each.kind is bool else METAVARS.get(each.kind, "<str>") if number else "<str>"
        known = _completing(each.choices) if each.choices else None
        others = [flag(other) for other, key in KEY_SPELLINGS.items() if key == name]
        option = typer.Option(None, words, *others, metavar=metavar, help=each.help, autocompletion=known)
    typed: Any = bool | None if each.kind is bool else list[str] | None  # a list: what is typed twice is seen
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=typed)


def _completing(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    """What a shell asks for the values after a flag."""

    def beginning(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return beginning


def request_from_flags(typed: Mapping[str, Any], command: Command) -> "Request":
    """The request of a command: the file of --config, then flags, then key=value."""
    from warmstart.request.request import Request, from_mapping

    names = set(Request.__dataclass_fields__)
    parts = typed["data"] or []
    data = tuple(part for part in parts if not _is_pair(part, names))
    named = {k: v for k, v in typed.items() if k not in ("data", CONFIG) and v not in (None, [], ())}
    flags = {k: parse_typed(k, _once(k, v)) for k, v in named.items()}
    pairs = parse_overrides([part for part in parts if _is_pair(part, names)])
    file = typed.get(CONFIG)
    settings = read_yaml(file) if file else {}
    said = flags | pairs | ({"data": data} if data else {})
    values = {key: value for key, value in (settings | said).items() if value is not None}
    return from_mapping(values | {"command": command}, {key: str(file) for key in settings if key not in said})


def _once(name: str, given: Any) -> Any:
    """What was typed after a flag: joined by commas if it takes several values. Raises UsageError if it takes one."""
    each = SETTINGS[name]
    if each.kind is bool or each.setting.repeat:
        return given
    if each.several:
        return ",".join(given)
    if len(given) > 1:
        typed = join_phrases(given, quote=True)
        raise UsageError(f"{flag(name)} is given {len(given)} times: {typed}.", "give it once")
    return given[0]


def _is_pair(part: str, names: set[str]) -> bool:
    """Whether `part` is meant as key=value, not as a path such as year=2024/*.csv."""
    key, equals, value = part.partition("=")
    key = key_of(key)
    path = Path(part).exists() or any(character in value for character in "/*?.")
    return bool(equals) and (key in names or (key.isidentifier() and not path))
