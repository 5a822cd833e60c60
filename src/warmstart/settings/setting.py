"""Setting: how is a setting declared?

A setting is a field of a dataclass. Its type and default are those of the field; everything else is a `Setting` beside
the type. Flags, YAML keys, keyword arguments, their checks and their help follow from it.

>>> @dataclass(frozen=True)
... class Example:
...     seeds: Annotated[int, Setting("Number of seeds.", within=(1, 100))] = 3
>>> declared(Example)["seeds"].help
'Number of seeds. [default: 3]'
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated as Annotated
from typing import Any, Literal, Union, get_args, get_origin

Command = Literal["check", "plan", "compare", "advise", "fit"]
Commands = tuple[Command, ...]

ALL: Commands = ("check", "plan", "compare", "advise", "fit")
TRAINING: Commands = ("plan", "compare", "advise", "fit")
SEVERAL_RUNS: Commands = ("plan", "compare", "advise")  # several regimes, or several seeds
REPORTING: Commands = SEVERAL_RUNS

# How people write a value that is more than a number or a name. `quantities` parses them.
Quantity = Literal["duration", "budget", "share", "size", "latency", "amount", "count", "effort", "flops"]


@dataclass(frozen=True)
class Setting:
    """What a declaration says beside type and default."""

    help: str  # a noun phrase or an imperative, as a sentence
    commands: Commands = ALL  # whose flag it is; a YAML file may set it for others too
    unset: str = ""  # what is done by default, where the default itself does not say it
    within: tuple[float, float] | None = None  # the least and the most
    quantity: Quantity | None = None
    repeat: bool = False  # the flag is typed once for each value; otherwise several are separated by commas


@dataclass(frozen=True)
class Declared:
    """A setting with what its field says: name, type and default."""

    name: str
    section: str  # heading in --help: the first line of the docstring of its dataclass
    annotation: Any  # without None
    optional: bool  # None is a value
    default: Any
    setting: Setting

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """The words that are accepted; empty: any, or numbers."""
        return tuple(word for part in _parts(self.annotation) if get_origin(part) is Literal for word in get_args(part))

    @cached_property
    def several(self) -> bool:
        """Whether it holds a tuple of values."""
        return any(get_origin(part) is tuple for part in _parts(self.annotation))

    @cached_property
    def kind(self) -> type[Any]:
        """Of one value: bool, int, float or str."""
        first = _parts(self.annotation)[0]
        item = get_args(first)[0] if get_origin(first) is tuple else first
        return item if isinstance(item, type) else str

    @property
    def commands(self) -> Commands:
        return self.setting.commands

    @property
    def negated(self) -> bool:
        """Whether there is --no-NAME as well."""
        return self.kind is bool and self.default is True

    @property
    def help(self) -> str:
        """Beside the flag: what it is; how several are typed, the choices and the default in brackets."""
        typed = ("repeatable" if self.setting.repeat else "comma-separated") if self.several else ""
        return self._with_notes(typed, self._default_note)

    @property
    def doc(self) -> str:
        """The same of a keyword argument, which holds several in a list."""
        return self._with_notes(self._default_note)

    @property
    def remark(self) -> str:
        """Beside it in a YAML file, where the default itself is in sight."""
        empty = "null" if self.default is None else "empty" if self.default == () else ""
        only = f"For {self.commands[0]}. " if len(self.commands) == 1 else ""
        return only + self._with_notes(f"{empty}: {self.setting.unset}" if self.setting.unset and empty else "")

    def _with_notes(self, *notes: str) -> str:
        choices = "" if self.several else ", ".join(self.choices)
        said = "; ".join(note for note in (choices, *notes) if note)
        return f"{self.setting.help} [{said}]" if said else self.setting.help

    @property
    def _default_note(self) -> str:
        value = self.setting.unset or self.default
        if value is None or value is False or value is MISSING or value == ():
            return ""
        if self.setting.quantity == "share":
            value = f"{100 * value:g}%"
        return f"default: {'yes' if value is True else str(value).removesuffix('.0')}"


def declared(*groups: type[Any]) -> Mapping[str, Declared]:
    """The settings of these dataclasses by name, in the order of their fields."""
    found = {}
    for group in groups:
        section = (group.__doc__ or "").splitlines()[0].removesuffix(".")
        for field in fields(group):
            annotation, setting = get_args(field.type)
            parts = [part for part in _parts(annotation) if part is not NoneType]
            without = parts[0] if len(parts) == 1 else Union[tuple(parts)]  # noqa: UP007  # of a number known here only
            optional = len(parts) < len(_parts(annotation))
            found[field.name] = Declared(field.name, section, without, optional, field.default, setting)
    return found


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; of anything else, itself."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
