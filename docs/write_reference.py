"""Write reference: which commands, settings and public names are there? Read from the code, written into docs/.

    python docs/write_reference.py

writes docs/commands.md, docs/settings.md and docs/api.md. A test fails if they differ from the code.
"""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import typer

import warmstart
from warmstart.cli.app import app
from warmstart.errors import flag
from warmstart.request.parse import KEY_SPELLINGS
from warmstart.settings.groups import SETTINGS
from warmstart.settings.setting import Command, Declared

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- written by docs/write_reference.py: do not edit -->\n"
HEADLESS = "Options"  # heading of the settings that stand apart in --help
EVERYWHERE = get_args(Command)
# How an amount is typed, by the kind of quantity.
TYPED = {
    "duration": "time: `90s`, `10m`, `1h30m`",
    "budget": "time: `90s`, `10m`, `1h30m`",
    "share": "share: `1%` or `0.01`",
    "size": "size: `50MB`, `1.5GB`, `200MiB`",
    "latency": "time: `20ms`, `0.5s`",
    "amount": "amount: `500000`, `10M`",
    "count": "whole number",
    "effort": "number, or time: `30`, `10m`",
    "flops": "amount: `20TFLOP`",
}


def pages() -> dict[str, str]:
    """Name and content of each page."""
    return {"commands.md": commands_page(), "settings.md": settings_page(), "api.md": api_page()}


def commands_page() -> str:
    """Every command: what it does, how it is called, and its own options; settings are on a page of their own."""
    known = typer.main.get_group(app).commands
    parts = [
        NOTE,
        "# Commands\n",
        "`warmstart COMMAND --help` shows the same. Results go to stdout, progress and messages to stderr. Exit codes:",
        "0 done, 1 failed, 2 wrong use or input, 130 Ctrl-C, 143 SIGTERM. `warmstart --version` prints the version.\n",
        "| command | what it does |\n|---|---|",
        *(f"| [`{name}`](#{name}) | {_sentences(command.help)[0]} |" for name, command in known.items()),
        *(_command(name, command) for name, command in known.items()),
    ]
    return "\n".join(parts) + "\n"


def _command(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    settings = [each for each in command.params if _is_setting(each)]
    own = [each for each in command.params if each not in settings and each not in arguments and each.name != "help"]
    usage = ["warmstart", name, *(_argument_usage(each) for each in arguments)]
    usage += [f"{each.opts[0]} {each.name.upper()}" for each in own if each.required] + ["[OPTIONS]"]
    first, rest = _sentences(command.help)
    parts = [f"\n## {name}\n", first, *([f"\n{rest}"] if rest else []), f"\n```text\n{' '.join(usage)}\n```"]
    rows = [f"| `{_shown(each)}` | {_cell(each.help)} |" for each in arguments]
    context = typer.Context(command)
    rows += [_own(each, context) for each in own]
    if rows:
        parts += ["\n| argument or option | meaning |\n|---|---|", *rows]
    if settings:
        parts.append("\nSettings:\n" + _by_section(each.name for each in settings))
    return "\n".join(parts)


def _is_setting(each: Any) -> bool:
    """Whether an option is one of the settings, with the words of the setting."""
    return each.param_type_name == "option" and each.name in SETTINGS and each.help == SETTINGS[each.name].help


def _by_section(names: Iterable[str]) -> str:
    """Flags under links to the sections of settings.md, for a command."""
    found: dict[str, list[str]] = {}
    for name in names:
        others = [other for other, key in KEY_SPELLINGS.items() if key == name]
        written = ", ".join(f"`{flag(each)}`" for each in (name, *others))
        found.setdefault(SETTINGS[name].section, []).append(written)
    return "\n".join(
        ["", *(f"- [{section}](settings.md#{_anchor(section)}): {', '.join(each)}" for section, each in found.items())]
    )


def _argument_usage(each: Any) -> str:
    shown = _shown(each) + ("..." if each.nargs == -1 else "")
    return shown if each.required else f"[{shown}]"


def _shown(each: Any) -> str:
    return str(each.metavar or each.name.upper())


def _own(each: Any, context: Any) -> str:
    """An option as `--help` has it: its words, then the text with default or \"required\"."""
    words, text = each.get_help_record(context)
    return f"| `{words}` | {_cell(text)} |"


def settings_page() -> str:
    """Every setting: as a flag, a YAML key and a keyword argument."""
    parts = [
        NOTE,
        "# Settings\n",
        "Every setting is a flag (`--batch-size 64`), a key of the file of `--config` (`batch_size: 64`), a pair after",
        "the data (`batch_size=64`) and a keyword argument in Python (`batch_size=64`). `warmstart init` writes a YAML",
        "file with all of them. A flag takes precedence over the file. The last column lists its commands.",
    ]
    sections: dict[str, list[Declared]] = {}
    for each in SETTINGS.values():
        sections.setdefault(each.section, []).append(each)
    for section, several in sections.items():
        parts += [f"\n## {section}\n", "| flag | value | meaning | default | commands |\n|---|---|---|---|---|"]
        parts += [_setting(each) for each in several]
    return "\n".join(parts) + "\n"


def _setting(each: Declared) -> str:
    words = "`DATA`" if each.name == "data" else f"`{flag(each.name)}`"
    words += f", `{flag('no_' + each.name)}`" if each.negated else ""
    commands = "all" if each.commands == EVERYWHERE else ", ".join(each.commands)
    return f"| {words} | {_value(each)} | {_cell(each.setting.help)} | {_usual(each)} | {commands} |"


def _value(each: Declared) -> str:
    """What can be typed: words, a quantity or a number with its bounds; how several are typed."""
    words = ", ".join(f"`{word}`" for word in each.choices)
    if each.setting.quantity:
        said = TYPED[each.setting.quantity] + (f", or {words}" if words else "")
    elif words:
        said = words
    elif each.kind is bool:
        return "–"
    else:
        said = {int: "whole number", float: "number", str: "text"}[each.kind]
        if each.setting.within:
            low, high = each.setting.within
            said += f", {_number(low)} to {_number(high)}"
    if each.several:
        said += "; repeatable" if each.setting.repeat else "; several with commas"
    return said


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e7 else f"{value:g}"


def _usual(each: Declared) -> str:
    """The default, in words where it is not in the declaration."""
    found = re.search(r"default: (.*)\]$", each.doc)
    if found:
        return _cell(found[1])
    if each.name == "data":
        return "required" if not each.setting.unset else _cell(each.setting.unset)
    return "no" if each.kind is bool else "none"


def api_page() -> str:
    """The public names, with the first sentence of each."""
    named = {name: getattr(warmstart, name) for name in warmstart.__all__}
    functions = {name: each for name, each in named.items() if not inspect.isclass(each)}
    errors = {name: each for name, each in named.items() if inspect.isclass(each) and issubclass(each, Exception)}
    classes = {name: each for name, each in named.items() if name not in functions and name not in errors}
    parts = [
        NOTE,
        "# Python API\n",
        "`import warmstart` takes no time: torch is imported when something is trained. `compare`, `advise`, `fit`,",
        "`plan` and `check` take every [setting](settings.md) of their command as a keyword argument. The site that",
        "`make docs` builds has the full docstrings here; in Python, `help(warmstart.compare)` shows one.",
    ]
    for title, several in (("Functions", functions), ("Classes", classes), ("Errors", errors)):
        parts += [f"\n## {title}\n", "| name | what it is |\n|---|---|"]
        parts += [
            f"| `{name}` | {_cell(_sentences(inspect.cleandoc(each.__doc__ or ''))[0])} |"
            for name, each in several.items()
        ]
        parts += [f"\n<!-- site: {_place(name, each)} -->" for name, each in several.items()]
    return "\n".join(parts) + "\n"


def _place(name: str, each: Any) -> str:
    """Where an object is defined: the site's generator reads its docstring there."""
    return f"{each.__module__}.{name}"


def _sentences(text: str | None) -> tuple[str, str]:
    """The first line or paragraph of a text, and the rest."""
    first, _, rest = (text or "").strip().partition("\n\n")
    return " ".join(first.split()), " ".join(rest.split())


def _cell(text: str | None) -> str:
    """A text that may stand in a table."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def _anchor(title: str) -> str:
    """As Git hosts and the site name a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def main() -> None:
    """Write every page."""
    for name, content in pages().items():
        (DOCS / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
