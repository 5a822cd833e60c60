"""Read: how do files, a glob, a folder or a hub name become one table?"""

import bisect
import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from warmstart.data.tables.arrow_files import saved_files
from warmstart.data.tables.compressed import COMPRESSED
from warmstart.data.tables.formats import TEXT_ENDINGS, check_cells, instead, usual_type, with_numbers
from warmstart.data.tables.image_files import IMAGE, LABEL, images_table, is_idx, is_image, read_idx
from warmstart.data.tables.read_file import KNOWN, is_compressed_table, is_table, read_file
from warmstart.data.tables.strings import ArrowColumn
from warmstart.data.tables.text_files import find_texts, is_plain, read_texts
from warmstart.errors import InputError, MissingError, did_you_mean, join_phrases, shorten
from warmstart.runtime.load_pretrained import go_offline

MEMORY = "the given rows"  # the "file" of a table that was not read from one
HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+)(?:/([\w.-]+))?)?")


@dataclass(frozen=True)
class Table:
    """Columns as they were in the file(s). Row numbers are 1-based and count data rows, across the files in order.

    Strings are `large_string` and dictionaries are decoded, whatever the format was.
    """

    columns: pa.Table
    files: tuple[str, ...]
    ends: tuple[int, ...]  # row number of the last row of each file
    documents: bool = False  # each row is a text file, whole
    skipped: tuple[str, ...] = ()  # files in the folder that are no text files
    notes: tuple[str, ...] = ()  # what a person should know of how the files were read, one sentence each
    written: Mapping[str, ArrowColumn] = field(default_factory=dict)  # by column: numbers of CSV files, as texts
    before: int = 0  # rows of the file before the first one here, where the table is a part of it
    folder: str = ""  # that paths of images are relative to; "": the folder of the row's file
    target: str = ""  # the column to predict, where the form of the files says it: the folders of images
    # What was decoded of images, by column and size: once for a table. Columns may be added, rows not changed.
    decoded: dict[tuple[str, int, int], object] = field(default_factory=dict, repr=False, compare=False)

    def as_written(self, name: str) -> ArrowColumn:
        """The cells of a column as they were in the file: 1.10, where `columns` has the number 1.1."""
        return self.written.get(name, self.columns[name])

    def renamed(self, names: Mapping[str, str]) -> "Table":
        """The table with other names for some columns, by their present names."""
        columns = self.columns.rename_columns([names.get(name, name) for name in self.columns.column_names])
        written = {names.get(name, name): column for name, column in self.written.items()}
        return replace(self, columns=columns, written=written, target=names.get(self.target, self.target))

    def folder_of(self, row: int) -> Path:
        """The folder that a path in this row (from 1) is relative to."""
        if self.folder or self.files[0] == MEMORY:
            return Path(self.folder)
        return Path(self.files[min(bisect.bisect_left(self.ends, row), len(self.files) - 1)]).parent

    def where(self, row: int) -> str:
        """'row 17' or, of several files, 'row 17 of prices-2.csv' (counted within that file); of documents, 'a.txt'."""
        if self.documents:
            return Path(self.files[row - 1]).name
        if self.folder:
            return f"row {row} ({self.columns[IMAGE][row - 1].as_py()})"
        if len(self.files) < 2:
            return f"row {row + self.before}"
        file = bisect.bisect_left(self.ends, row)
        before = self.ends[file - 1] if file else 0
        return f"row {row - before} of {Path(self.files[file]).name}"

    def rows(self, numbers: Sequence[int], limit: int = 8) -> str:
        """'row 17', 'rows 17, 204 and 9001 more': row numbers as they stand in a message."""
        if len(self.files) > 1 or self.documents:
            return join_phrases([self.where(n) for n in numbers[:limit]] + list(numbers[limit:]), limit)
        placed = [number + self.before for number in numbers]
        return f"row{'s' if len(numbers) > 1 else ''} {join_phrases(placed, limit)}"


def read_table(source: str | Path | Sequence[str | Path], *, offline: bool = False, table: str | None = None) -> Table:
    """One table from a file, several files, a glob, a folder of files, or `org/name[:config/split]` on the hub.

    Text files (.txt, .md) become one row each; of a folder that holds no table, those in the folders in it as well.
    All files must have the same columns; whole numbers and fractions in one column become fractions, numbers and
    text become text. `table`: which one, of a database. Raises InputError naming file and row where a file cannot be
    read, MissingError for the hub. `offline`: from now on nothing is downloaded; of a data set on the hub, the
    library's cache is read.
    """
    if offline:
        go_offline()
    sources = [source] if isinstance(source, str | Path) else list(source)
    if len(sources) == 1 and (hub := _hub_name(sources[0])):
        return _from_hub(*hub)
    skipped: list[Path] = []
    files = [file for one in sources for file in _files(one, skipped)]
    if not files:
        raise InputError("no file was given", "name a file, a folder, a glob or org/name on the hub")
    if any(map(is_image, files)):
        return _pictures(files, skipped, sources)
    if any(map(is_idx, files)):
        return _idx_files(files)
    if any(map(is_plain, files)):
        return _documents(files, skipped)
    contents = [read_file(file, table) for file in files]
    ends = tuple(int(end) for end in np.cumsum([content.columns.num_rows for content in contents]))
    names = [str(file) for file in files]
    notes = [f"{file.name}: {note}" for file, content in zip(files, contents, strict=True) for note in content.notes]
    if skipped:
        said = join_phrases([file.name for file in skipped], 5)
        notes.append(f"Compressed files beside tables of the folder are not read: {said}.")
    if not all(content.untyped for content in contents):
        typed = [with_numbers(content.columns) if content.untyped else content.columns for content in contents]
        return Table(_joined(typed, names), tuple(names), ends, notes=tuple(notes))
    # A column of several CSV files is one of numbers only if it is in each of them.
    texts = _joined([content.columns for content in contents], names)
    columns = with_numbers(texts)
    written = {name: texts[name] for name in columns.column_names if not columns[name].type.equals(texts[name].type)}
    return Table(columns, tuple(names), ends, notes=tuple(notes), written=written)


# --- which files ------------------------------------------------------------------------------------------------------


def _files(source: str | Path, skipped: list[Path]) -> Sequence[Path]:
    """The files that are meant; those of a folder of texts that are none are appended to `skipped`."""
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return _files_in(path, skipped)
        if path.exists():
            return [path]
    except OSError as error:  # no permission, or a name that is too long for the system
        raise InputError(f"{shorten(str(source))} cannot be read: {error.strerror}", "check the path") from error
    if glob.has_magic(str(path)):
        pattern = _pattern(path)
        found = sorted(Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file())
        if not found:
            raise InputError(f"no file matches {str(source)!r}", "check the pattern, and quote it for the shell")
        return found
    raise InputError(f"there is no file {str(source)!r}", _hint_for_missing(path))


def _pattern(path: Path) -> str:
    """The path as a glob in which the folders that are there are meant as they are called, brackets and all."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    return str(Path(glob.escape(str(folder)), path.relative_to(folder)))


def _files_in(folder: Path, skipped: list[Path]) -> Sequence[Path]:
    try:
        if (saved := saved_files(folder)) is not None:
            return saved
        files = sorted(file for file in folder.iterdir() if file.is_file())
        tables, packed = list(filter(is_table, files)), list(filter(is_compressed_table, files))
        if tables:
            skipped += packed
        if tables or packed:
            return tables or packed
        if idx := list(filter(is_idx, files)):
            return idx
        texts, others = find_texts(folder)
        images = list(filter(is_image, others))
        if len(images) > len(texts):  # a license or notes beside them
            skipped += [*texts, *(file for file in others if not is_image(file))]
            return images
    except OSError as error:
        raise InputError(f"the folder {str(folder)!r} cannot be read: {error.strerror}") from error
    if not texts:
        raise InputError(
            f"the folder {str(folder)!r} holds no file that can be read as a table",
            instead(others) or f"expected files ending in {join_phrases([*KNOWN, *TEXT_ENDINGS], 15)}",
        )
    skipped += others
    return texts


def _hint_for_missing(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the folder {str(path.parent)!r} does not exist either"
    try:
        return did_you_mean(path.name, sorted(name for name in os.listdir(path.parent) if not name.startswith(".")))
    except OSError:
        return "check the path"


def _documents(files: Sequence[Path], skipped: Sequence[Path]) -> Table:
    table = next((file for file in files if not is_plain(file)), None)
    if table is not None:
        text = next(file for file in files if is_plain(file))
        raise InputError(f"{text} is a text file, but {table} is not", "name text files or tables, not both")
    names, ends = tuple(map(str, files)), tuple(range(1, len(files) + 1))
    return Table(read_texts(files), names, ends, True, tuple(map(str, skipped)))


# --- images ---------------------------------------------------------------------------------------------------------


def _pictures(files: Sequence[Path], skipped: Sequence[Path], sources: Sequence[str | Path]) -> Table:
    other = next((file for file in files if not is_image(file)), None)
    if other is not None:
        raise InputError(f"{other} is no image, but other files are", "name images or tables, not both")
    first = Path(sources[0]).expanduser()
    folder = first if len(sources) == 1 and first.is_dir() else Path(os.path.commonpath([f.parent for f in files]))
    columns, notes = images_table(folder, files)
    if skipped:
        notes = (*notes, f"Not read, as they are no images: {join_phrases([file.name for file in skipped], 5)}.")
    target = LABEL if LABEL in columns.column_names else ""
    return Table(columns, (str(folder),), (columns.num_rows,), notes=notes, folder=str(folder), target=target)


def _idx_files(files: Sequence[Path]) -> Table:
    other = next((file for file in files if not is_idx(file)), None)
    if other is not None:
        raise InputError(f"{other} holds no images, but other files do", "name the files with images alone")
    found = [read_idx(file) for file in files]
    names = [str(file) for file in files]
    columns = _joined([table for table, _ in found], names)
    ends = tuple(int(end) for end in np.cumsum([table.num_rows for table, _ in found]))
    target = LABEL if LABEL in columns.column_names else ""
    return Table(columns, tuple(names), ends, notes=tuple(note for _, notes in found for note in notes), target=target)


# --- several files ----------------------------------------------------------------------------------------------------


def _joined(tables: list[pa.Table], names: Sequence[str]) -> pa.Table:
    first = tables[0]
    for table, name in zip(tables, names, strict=True):
        if set(table.column_names) != set(first.column_names):
            odd = sorted(set(table.column_names) ^ set(first.column_names))
            raise InputError(
                f"{name} and {names[0]} have different columns: {join_phrases(odd, quote=True)} is only in one of them",
                "give every file the same columns, or name the files that belong together",
            )
    types = {c: common_type(c, [table[c].type for table in tables], names) for c in first.column_names}
    schema = pa.schema(list(types.items()))
    return pa.concat_tables([table.select(schema.names).cast(schema) for table in tables])


def common_type(column: str, types: list[pa.DataType], names: Sequence[str]) -> pa.DataType:
    """The type of a column that has these in several files. Raises InputError where there is none."""
    common: pa.DataType = pa.null()
    for kind, name in zip(types, names, strict=True):
        both = {common, kind}
        if common == kind or pa.types.is_null(kind):
            continue
        if pa.types.is_null(common):
            common = kind
        elif pa.types.is_list(common) and pa.types.is_list(kind):
            common = pa.list_(common_type(column, [common.value_type, kind.value_type], names))
        elif both == {pa.int64(), pa.float64()}:
            common = pa.float64()
        elif both <= {pa.int64(), pa.float64(), pa.bool_(), pa.large_string()} and pa.large_string() in both:
            common = pa.large_string()
        else:
            raise InputError(
                f"{name}: column {column!r} is of type {kind}, but of type {common} in {names[0]}",
                "give the column the same type in every file",
            )
    return common


# --- the hub ----------------------------------------------------------------------------------------------------------


def _hub_name(source: str | Path) -> tuple[str, str | None, str] | None:
    """(`org/name`, config, split) if that is what was meant: no such file or folder, and no file's ending."""
    match = None if isinstance(source, Path) else HUB_NAME.fullmatch(source)
    endings = (*KNOWN, *COMPRESSED, *TEXT_ENDINGS)
    if match is None or Path(source).suffix.lower() in endings or Path(match[1]).parent.is_dir():
        return None
    return match[1], match[2], match[3] or "train"


def _from_hub(name: str, config: str | None, split: str) -> Table:
    try:
        import datasets
    except ImportError as error:
        raise MissingError(
            f"{name!r} is no file here, and reading it from the hub needs the package 'datasets'",
            "pip install datasets, or name a file",
        ) from error
    try:
        dataset = datasets.load_dataset(name, config, split=split)
        table = dataset.with_format("arrow")[:]
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:  # not there, not reached, no such split
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingError(
            f"{name!r} is no file here, and could not be read from the hub (split {split!r}): {reason}",
            "check the name (org/name:config/split) and the network, or name a file",
        ) from error
    label = f"{name}:{config or 'default'}/{split}"
    columns = pa.table({c: usual_type(table[c]) for c in table.column_names})
    if columns.num_rows == 0:
        raise InputError(f"{label} has no rows", "choose another split")
    check_cells(Path(label), columns)
    return Table(columns, (label,), (columns.num_rows,))
