"""Parse: how do YAML, keyword arguments and typed text become checked values?"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from warmstart.errors import UsageError, flag
from warmstart.quantities import (
    parse_amount,
    parse_count,
    parse_duration,
    parse_effort,
    parse_flops,
    parse_latency,
    parse_number,
    parse_share,
    parse_size,
)
from warmstart.request.request import check_keys
from warmstart.settings.groups import SETTINGS
from warmstart.settings.setting import Declared, Quantity

KEY_SPELLINGS = {"license": "licence"}  # American, to the key
TASK_SPELLINGS = {"summarize": "summarise"}
DEEPEST = 2  # a mapping, and lists in it


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file; null means the default. Raises UsageError where it holds anything else.

    Aliases are refused: a few hundred bytes of them can grow into gigabytes. So is deep nesting: it takes minutes.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror}.", "check --config") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{str(path)!r} is not UTF-8 text.", "save it as UTF-8") from error
    example = "`warmstart init DATA --target COL` writes an example"
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise UsageError(f"{path} uses a YAML alias ({event.anchor!r}).", "write the value out")
            if depth > DEEPEST:
                raise UsageError(f"{path} is nested too deeply.", "write one `key: value` a line")
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}.", example) from error
    except (ValueError, OverflowError) as error:  # a date that is none, which YAML takes for one: 2024-13-45
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} holds a value that cannot be read: {error}.", "put it in quotes") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no keys.", f"write one `key: value` a line; {example}")
    named = {"on" if key is True else str(key): value for key, value in found.items()}  # YAML takes `on` for true
    values = {key_of(key): value for key, value in named.items() if value is not None}
    check_keys(values, dict.fromkeys(values, str(path)))
    return {key: parse_value(key, value) for key, value in values.items()}


def key_of(written: str) -> str:
    """The key for how it is written: with dashes, or in American spelling."""
    key = written.replace("-", "_")
    return KEY_SPELLINGS.get(key, key)


def parse_value(key: str, value: Any) -> Any:
    """A value as a request holds it, from what people write: '10m', '1%', '250,1000', 'a,b'.

    One of a key that is not known is left as it is. Raises UsageError for one that cannot be read.
    """
    each = SETTINGS.get(key)
    if key == "task" and isinstance(value, str):
        value = TASK_SPELLINGS.get(value, value)
    if each is None or value is None or (isinstance(value, str) and value in each.choices):
        return value
    if key == "task" and value == "auto":
        return None
    read = _reader(each)
    if not each.several:
        return read(value)
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    parts = parts if isinstance(parts, list | tuple) else [parts]
    if isinstance(value, str) and not parts:
        raise UsageError(f"{flag(key)} is empty.", "give it a value, or leave it out")
    return tuple(map(read, parts))


def _reader(each: Declared) -> Callable[[Any], Any]:
    """What reads one value of a setting."""
    key, quantity = each.name, each.setting.quantity
    if quantity is None:
        return str if each.several else lambda value: value
    readers: dict[Quantity, Callable[[Any], Any]] = {
        "duration": _seconds,
        "budget": lambda value: _share_as_typed(value) if str(value).strip().endswith("%") else _seconds(value),
        "share": lambda value: parse_share(str(value)),
        "size": lambda value: parse_size(key, value),
        "latency": lambda value: parse_latency(key, value),
        "amount": lambda value: parse_amount(key, value),
        "count": parse_count,
        "effort": parse_effort,
        "flops": lambda value: parse_flops(key, value),
    }
    return readers[quantity]


def _seconds(value: Any) -> float:
    """From Python a number is one of seconds."""
    return parse_duration(value if isinstance(value, str) else f"{value}s")


def _share_as_typed(value: Any) -> str:
    """A share of a time that is not known yet: kept as it was typed."""
    parse_share(str(value))
    return str(value).strip()


def parse_typed(key: str, value: Any) -> Any:
    """The same for what is typed after a flag."""
    each = SETTINGS[key]
    if each.kind in (int, float) and not each.several and not each.setting.quantity:
        return parse_number(key, value, each.kind)
    return parse_value(key, value)


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` from the command line; `null` for the default."""
    found: dict[str, Any] = {}
    for pair in pairs:
        written, _, value = pair.partition("=")
        key = key_of(written)
        if key in found:
            raise UsageError(f"{key} is given more than once.", f"write {key}= once")
        found[key] = None if value == "null" else parse_value(key, value)
    return found
