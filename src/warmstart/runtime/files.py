"""Files: how are files written atomically, without following links, and validated when they are read back?"""

import functools
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_type_hints

from warmstart.errors import InputError, WarmstartError, shorten

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from warmstart.types import Array

Shape = TypeVar("Shape")

TEMPORARY = ".tmp"  # ends the names of files that are not whole yet
MAX_JSON_BYTES = 256 << 20  # of a file of ours: a study of a million test rows has less
COLUMN_TYPES = {  # kind of a column to the names of its types in Arrow
    "integer": r"u?int\d+",
    "number": r"u?int\d+|double|float|halffloat",
    "text": r"(large_)?string|null",
}
TAKE_COPY = "take a copy that is whole, or make it again"


# --- writing ----------------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path`, to be written inside; it takes the place of `path` when the block ends.

    So a reader, or a kill, sees the old file or the new one, never half of one. The name cannot be guessed and the
    file is created exclusively: no link that somebody put into the folder is followed, and a link at `path` itself is
    replaced, not written through. After an error the old file is still there and the new one is gone.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}{TEMPORARY}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # whoever wrote it may have made the file anew, for its owner alone
        sync(temporary)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write atomically, in UTF-8 whatever the locale. What is no Unicode (half a character) becomes a question mark."""
    write_bytes(path, text.encode("utf-8", errors="replace"))


def write_json(path: Path, value: Any) -> None:
    """Write atomically, in UTF-8. Raises ValueError for numbers that JSON does not know."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=_scalar))


def write_parquet(path: Path, table: "pa.Table", compression: Literal["snappy", "zstd"] = "snappy") -> None:
    """Write atomically."""
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression=compression)


def write_tensors(path: Path, tensors: "Mapping[str, Any]") -> None:
    """Tensors of torch as safetensors, atomically."""
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        save_file(dict(tensors), temporary)


def write_arrays(path: Path, arrays: "Mapping[str, Array]") -> None:
    """Arrays of numpy as safetensors, atomically."""
    from safetensors.numpy import save_file

    with replacing(path) as temporary:
        save_file(dict(arrays), temporary)


def sync(path: Path) -> None:
    """Wait until it is on the disk: a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _scalar(value: Any) -> Any:
    if type(value).__module__ == "numpy" and not getattr(value, "shape", ()):  # a scalar; numpy is not imported for it
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


# --- reading ----------------------------------------------------------------------------------------------------------


def read_regular(path: Path, most: int = MAX_JSON_BYTES) -> bytes:
    """The bytes of a file. Raises InputError where it is no regular file (a pipe would be waited for) or too large.

    Raises OSError as `open` does.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f"{path} is no regular file.", TAKE_COPY)
        if facts.st_size > most:
            raise InputError(f"{path} has {facts.st_size:,} bytes; at most {most:,} are read.", TAKE_COPY)
        return file.read()


def read_json(path: Path, shape: type[Shape], remedy: str = TAKE_COPY) -> Shape:
    """A JSON file of ours as a value of this type, each part of it checked.

    `shape`: a dataclass, a TypedDict, or a type such as dict[str, int]. Raises InputError, with what is wrong and what
    to do, for a file that is damaged; FileNotFoundError where there is none.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        found = json.loads(read_regular(path).decode("utf-8-sig"))
        return TypeAdapter(shape).validate_python(found)
    except FileNotFoundError:
        raise
    except ValidationError as error:
        raise damaged(path, validation_message(error), remedy) from error
    except InputError as error:
        raise damaged(path, error.message, remedy) from error
    except OSError as error:
        raise damaged(path, error.strerror or str(error), remedy) from error
    except RecursionError as error:
        raise damaged(path, "it is nested too deeply", remedy) from error
    except ValueError as error:
        raise damaged(path, str(error), remedy) from error


def read_fields(path: Path, kind: type, remedy: str = TAKE_COPY, without: Collection[str] = ()) -> dict[str, Any]:
    """A JSON file of ours that holds the fields of a dataclass, each checked against its type, ready to be given to it.

    `without`: fields that are kept elsewhere; what the file says of them is returned as it is. Raises as `read_json`.
    """
    from pydantic import ValidationError

    found = read_json(path, dict[str, Any], remedy)
    known = {each.name: each for each in fields(kind) if each.name not in without}
    needed = [name for name, each in known.items() if each.default is MISSING and each.default_factory is MISSING]
    for name in needed:
        if name not in found:
            raise damaged(path, f"it lacks {name!r}", remedy)
    for name in found:
        if name not in known and name not in without:
            raise damaged(path, f"its key {shorten(name)} is not known", remedy)
    values: dict[str, Any] = {name: value for name, value in found.items() if name in without}
    for name in known.keys() & found.keys():
        try:
            values[name] = _field_type(kind, name).validate_python(found[name])
        except ValidationError as error:
            raise damaged(path, f"{name}: {validation_message(error)}", remedy) from error
    return values


@functools.cache
def _field_type(kind: type, name: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(get_type_hints(kind)[name])


def read_parquet(path: Path, columns: Mapping[str, str], remedy: str = TAKE_COPY) -> "pa.Table":
    """A Parquet file of ours that has these columns, of these kinds ('integer', 'number', 'text').

    Raises InputError for a file that is damaged; FileNotFoundError where there is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = read_regular(path, most=1 << 40)
        table: pa.Table = pq.read_table(pa.BufferReader(content))
        table.validate(full=True)
    except FileNotFoundError:
        raise
    except InputError as error:
        raise damaged(path, error.message, remedy) from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, str(error).splitlines()[0] if str(error) else "it cannot be read", remedy) from error
    for name, kind in columns.items():
        if name not in table.column_names:
            raise damaged(path, f"it has no column {name!r}", remedy)
        if not re.fullmatch(COLUMN_TYPES[kind], str(table[name].type)):
            raise damaged(path, f"its column {name!r} is of type {table[name].type}", remedy)
    return table


@contextmanager
def reading_ours(path: Path, remedy: str = TAKE_COPY) -> Iterator[None]:
    """Inside, what was read from `path` is put together; where its parts do not fit, it is damaged.

    For what no declared type says, such as a name that must be known.
    """
    try:
        yield
    except WarmstartError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, AssertionError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0] if str(error) else ""
        raise damaged(path, what or type(error).__name__, remedy) from error


def damaged(path: Path, what: str, remedy: str = TAKE_COPY) -> InputError:
    """What to say of a file of ours that cannot be read."""
    return InputError(f"{path} is damaged: {what.rstrip('.')}.", remedy)


def validation_message(error: Any) -> str:
    """The first thing that pydantic found wrong, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    said = first["msg"][:1].lower() + first["msg"][1:]
    return f"{place + ' ' if place else 'it '}is {shorten(first['input'])}: {said}"


# --- names and fingerprints -------------------------------------------------------------------------------------------


def plain_name(name: object) -> bool:
    """Whether it names something directly in a folder: no path, and no way out of the folder."""
    return (
        isinstance(name, str)
        and 0 < len(name) < 256
        and name not in (".", "..")
        and name.isprintable()
        and not any(mark in name for mark in "/\\")
    )


def require_plain_name(path: Path, name: object) -> str:
    """The name, read from the file `path`, of something in its folder. Raises InputError where it leads elsewhere."""
    if not plain_name(name):
        raise damaged(path, f"it names {shorten(name)}, which is not a name of something in its folder")
    return str(name)


def check_links(folder: Path) -> None:
    """Raises InputError where something in a folder of ours is a link that leads out of it: we would write there."""
    inside = folder.resolve()
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where, name)
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise InputError(
                    f"{path} is a link to something outside of {str(folder)!r}: what is written there would be lost.",
                    "remove the link, or put a copy in its place",
                )


def portable_path(path: Path, folder: Path) -> str:
    """How to name `path` in a file in `folder`, without the names of the folders that both are in.

    So it says nothing of whose machine this is, and still holds after both were moved together: see `find_portable`.
    What lies elsewhere in somebody's home begins with ~.
    """
    path, folder, home = path.resolve(), folder.resolve(), Path.home().resolve()
    common = Path(os.path.commonpath([path, folder]))
    if path.is_relative_to(home) and not common.is_relative_to(home):
        return f"~/{path.relative_to(home).as_posix()}"
    return path.relative_to(common).as_posix() if common != Path(common.anchor) else str(path)


def find_portable(name: str, folder: Path) -> Path | None:
    """What `portable_path` named in a file in `folder`: looked for from there upwards, then from where we are."""
    path = Path(name).expanduser()
    places = [path] if path.is_absolute() else [place / path for place in (*folder.resolve().parents, Path.cwd())]
    return next((place for place in places if place.exists()), None)


def read_tensors(path: Path, remedy: str = TAKE_COPY) -> "dict[str, Tensor]":
    """The tensors of a safetensors file of ours. Raises InputError for a file that is damaged or not there."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there.", remedy) from error
    except (SafetensorError, OSError) as error:
        raise damaged(path, str(error).splitlines()[0] if str(error) else "it cannot be read", remedy) from error


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in a folder, by its path in it; of none that is not whole yet."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != TEMPORARY)
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


def cache_folder() -> Path:
    """Where things lie that can be made again: `$XDG_CACHE_HOME/warmstart`, else `~/.cache/warmstart`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "warmstart"
