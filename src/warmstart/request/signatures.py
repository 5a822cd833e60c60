"""Signatures: which keyword arguments do the public functions take, for editors, notebooks and `help()`?

Type checkers read files: so `keywords.py` states the settings of each command once more, as `TypedDict`s. It is written
from the declaration of the settings, by `python -m warmstart.request.signatures`; a test compares it with what would be
written now. Notebooks and `help()` ask the function itself: `with_settings` gives it a signature with every setting.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from warmstart.errors import UsageError, did_you_mean
from warmstart.request.request import DEFAULT_RACE_SHARE
from warmstart.settings import choices
from warmstart.settings.groups import SETTINGS, settings_of_command
from warmstart.settings.setting import Command, Commands, Declared

Function = TypeVar("Function", bound=Callable[..., Any])

POSITIONAL = ("data", "target", "regime")  # parameters of the functions themselves
WIDTH = 120
INDENT = " " * 4
NAMES = {value: name for name, value in vars(choices).items() if get_origin(value) is Literal}  # of the choices
HEAD = '''"""Keywords: which settings do the public functions take? For type checkers and editors.

Written by `python -m warmstart.request.signatures` from the declaration of the settings. Do not edit.
"""

from collections.abc import Sequence
from typing import TypedDict

from warmstart.settings.choices import (
{aliases})
'''


def keywords_of(command: Command) -> dict[str, Declared]:
    """The settings that are keyword arguments of the command's function."""
    return {name: each for name, each in settings_of_command(command).items() if name not in POSITIONAL}


def check_keywords(command: Command, given: Iterable[str]) -> None:
    """Raises UsageError for the first keyword argument that is no setting.

    As in a file of settings, one of another command is let pass: so that the same settings may be given to several.
    """
    for name in given:
        if name not in SETTINGS:
            raise UsageError(f"{command} has no setting {name!r}.", did_you_mean(name, keywords_of(command)))


def accepted(each: Declared) -> str:
    """The type of a keyword argument, as source: what can be typed on the command line can be given as text."""
    item = NAMES.get(each.annotation, each.kind.__name__)
    if each.setting.quantity and item != "str":
        item = f"{item} | str"
    item = f"{item} | Sequence[{item}]" if each.several else item
    return f"{item} | None" if each.optional else item


def with_settings(command: Command) -> Callable[[Function], Function]:
    """Gives a function that takes `**settings` a signature and a docstring with every one of them."""

    def add(function: Function) -> Function:
        own = [
            each
            for each in inspect.signature(function).parameters.values()
            if each.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        known = keywords_of(command)
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=_default(each, command), annotation=accepted(each)
            )
            for name, each in known.items()
        ]
        signature = inspect.signature(function)
        function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        described = "\n".join(f"{name} : {accepted(each)}\n{INDENT}{each.doc}" for name, each in known.items())
        text = inspect.cleandoc(function.__doc__ or "")
        function.__doc__ = f"{text}\n\nSettings\n--------\n{described}\n"
        return function

    return add


def _default(each: Declared, command: Command) -> Any:
    return DEFAULT_RACE_SHARE if each.name == "budget" and command == "advise" else each.default


def keyword_source() -> str:
    """The text of `keywords.py`: a class for the settings that the same commands take, and one for each command."""
    shared: dict[Commands, list[Declared]] = {}
    for name, each in SETTINGS.items():
        if name not in POSITIONAL:
            shared.setdefault(each.commands, []).append(each)
    used = {NAMES[each.annotation] for several in shared.values() for each in several if each.annotation in NAMES}
    parts = [HEAD.format(aliases=_one_a_line(sorted(used)))]
    for commands, several in shared.items():
        fields = "".join(f"{INDENT}{each.name}: {accepted(each)}\n{_docstring(each.doc)}" for each in several)
        parts.append(f"class {_shared_name(commands)}(TypedDict, total=False):\n{fields}")
    for command in get_args(Command):
        bases = _one_a_line(_shared_name(commands) for commands in shared if command in commands)
        parts.append(f'class {command.capitalize()}Settings(\n{bases}):\n{INDENT}"""Settings of `{command}`."""\n')
    return "\n\n".join(parts)


def _shared_name(commands: Commands) -> str:
    return f"_{''.join(command.capitalize() for command in commands)}"


def _one_a_line(names: Iterable[str]) -> str:
    return "".join(f"{INDENT}{name},\n" for name in names)


def _docstring(text: str) -> str:
    whole = f'{INDENT}"""{text}"""\n'
    if len(whole) <= WIDTH:
        return whole
    lines = textwrap.wrap(text, WIDTH - len(INDENT) - 3)
    return f'{INDENT}"""' + f"\n{INDENT}".join(lines) + f'\n{INDENT}"""\n'


if __name__ == "__main__":
    Path(__file__).with_name("keywords.py").write_text(keyword_source(), encoding="utf-8")
