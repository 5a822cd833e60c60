"""Arrow files: how do Parquet and Arrow files, and folders that `datasets` saved, become a table?"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import pyarrow.parquet as pq

from warmstart.data.tables.formats import check_width
from warmstart.data.tables.strings import gathered
from warmstart.errors import InputError, join_phrases

RowsType = TypeVar("RowsType", pa.RecordBatch, pa.Table)

BATCH_ROWS = 50_000  # of a Parquet file, at a time
UNPACKED_BYTES = 1 << 27  # of a Parquet file, whatever its size
UNPACKED_SHARE = 1_000  # times the file's bytes that it may unpack to
ARROW_BYTES = 1 << 30  # of strings in one array, above which 32 bits are too few to count them
SAVED_STATE, SAVED_SPLITS = "state.json", "dataset_dict.json"  # of `Dataset.save_to_disk`, `DatasetDict.save_to_disk`


def read_parquet_table(path: Path) -> pa.Table:
    """The table in a Parquet file. Raises InputError for a damaged one, and for a small one that holds too much."""

    def load() -> pa.Table:
        with pq.ParquetFile(path, memory_map=False) as file:
            check_width(path, len(file.schema_arrow))
            return gathered(file.schema_arrow, parquet_batches(path, file))

    return _from_arrow(path, "a Parquet", load)


def read_arrow(path: Path) -> pa.Table:
    """The table in an Arrow file, a stream, or Feather's first version. Raises InputError for a damaged one."""

    def load() -> pa.Table:
        with path.open("rb") as file:
            magic = file.read(6)
            file.seek(0)
            if magic.startswith(b"FEA1"):
                return _sound(feather.read_table(path, memory_map=False))
            if magic.startswith(b"ARROW1"):
                with pa.ipc.open_file(file) as whole:
                    batches = (whole.get_batch(i) for i in range(whole.num_record_batches))
                    return gathered(whole.schema, _bounded(path, whole.schema, batches))
            with pa.ipc.open_stream(file) as stream:
                return gathered(stream.schema, _bounded(path, stream.schema, stream))

    return _from_arrow(path, "an Arrow", load)


def parquet_batches(path: Path, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, some at a time; raises InputError before more is unpacked than such a file may hold.

    A cell that stands in each of a million rows is in the file once. So the strings are read with their dictionaries,
    whose lengths are known before they are written out.
    """
    facts, schema = file.metadata, file.schema_arrow
    groups = [facts.row_group(i) for i in range(facts.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    _check_unpacked(path, sum(chunk.total_uncompressed_size for chunk in chunks))
    _check_unpacked(path, 8 * sum(chunk.num_values for chunk in chunks))
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    with pq.ParquetFile(path, memory_map=False, read_dictionary=texts) as coded:
        yield from _bounded(path, schema, coded.iter_batches(BATCH_ROWS))


def _bounded(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, each checked; raises InputError before their dictionaries, written out, are more than is allowed.

    Dictionaries of columns that the schema has as strings are written out here, all others later.
    """
    unpacked = 0
    for batch in batches:
        columns = []
        for field, column in zip(schema, _sound(batch).columns, strict=True):
            if isinstance(column, pa.DictionaryArray):
                unpacked += _text_bytes(column)
                _check_unpacked(path, unpacked)
                if not pa.types.is_dictionary(field.type):
                    column = column.cast(pa.large_string()) if unpacked > ARROW_BYTES else column.cast(field.type)
            columns.append(column)
        yield pa.RecordBatch.from_arrays(columns, names=schema.names)


def _check_unpacked(path: Path, unpacked: int) -> None:
    size = path.stat().st_size
    allowed = max(UNPACKED_BYTES, UNPACKED_SHARE * size)
    if unpacked > allowed:
        raise InputError(
            f"{path} has {size:,} bytes and would unpack to more than {allowed:,}",
            "keep the columns and rows that are needed, or write them as CSV or JSON Lines",
        )


def _text_bytes(column: Any) -> int:
    """Bytes of the strings of a dictionary column, written out; 0 where it holds none."""
    values, kind = column.dictionary, column.dictionary.type
    if pa.types.is_string_view(kind):
        values = values.cast(pa.large_string())
    elif not any(is_one(kind) for is_one in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)):
        return 0
    return pc.sum(pc.binary_length(values).take(column.indices)).as_py() or 0


def _sound(rows: RowsType) -> RowsType:
    rows.validate(full=True)  # a damaged file may hold offsets that point outside it
    return rows


def _from_arrow(path: Path, name: str, load: Callable[[], pa.Table]) -> pa.Table:
    try:
        return load()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        reason = str(error).split(". ")[0].splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not {name} file that can be read: {reason}", "write it again") from error


def saved_files(folder: Path) -> Sequence[Path] | None:
    """The files of a folder that `Dataset.save_to_disk` wrote, in its order; None for any other folder.

    Raises InputError for a folder of several splits, for rows that were chosen but not written, and for a damaged
    list of files: one that names anything outside the folder is damaged.
    """
    if (folder / SAVED_SPLITS).is_file():
        splits = _saved(folder / SAVED_SPLITS).get("splits")
        names = [name for name in splits if _is_plain_name(name)] if isinstance(splits, list) else []
        if len(names) == 1:
            return saved_files(folder / names[0])
        raise InputError(
            f"the folder {str(folder)!r} holds a dataset of several splits: {join_phrases(names, quote=True)}",
            f"name one of them, for example {folder / names[0]}" if names else "save it again",
        )
    if not (folder / SAVED_STATE).is_file() or not (folder / "dataset_info.json").is_file():
        return None
    state = _saved(folder / SAVED_STATE)
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise InputError(
            f"{folder} holds a dataset of which only some rows were chosen",
            "write the chosen rows: dataset.flatten_indices().save_to_disk(...)",
        )
    listed = state.get("_data_files")
    names = [each.get("filename") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    if not names or not all(map(_is_plain_name, names)):
        raise InputError(f"{folder / SAVED_STATE} is damaged: it lists no files of its folder", "save it again")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} lacks {join_phrases(missing, quote=True)}, which it lists", "save it again")
    return [folder / name for name in names]


def _saved(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}", "save the dataset again") from error
    return found if isinstance(found, dict) else {}


def _is_plain_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name
