"""Arrow files: how do Parquet and Arrow files, and folders that `datasets` saved, become a table?"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from warmstart.data.tables.strings import gathered
from warmstart.errors import InputError, join_phrases

RowsType = TypeVar("RowsType", pa.RecordBatch, pa.Table)

BATCH_ROWS = 50_000  # of a Parquet file, at a time
SAVED_STATE, SAVED_SPLITS = "state.json", "dataset_dict.json"  # of `Dataset.save_to_disk`, `DatasetDict.save_to_disk`


def read_parquet(path: Path) -> pa.Table:
    """The table in a Parquet file. Raises InputError for a damaged one."""

    def load() -> pa.Table:
        with pq.ParquetFile(path, memory_map=False) as file:
            return gathered(file.schema_arrow, map(_sound, file.iter_batches(BATCH_ROWS)))

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
                    return gathered(whole.schema, map(_sound, batches))
            with pa.ipc.open_stream(file) as stream:
                return gathered(stream.schema, map(_sound, stream))

    return _from_arrow(path, "an Arrow", load)


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
