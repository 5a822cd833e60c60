"""Memory maps: are Arrow's files slower or larger than raw arrays, for cached tokens and for arrays on disk?

    python benchmarks/memory_maps.py

The token cache is an Arrow file (`data/encoding/token_cache.py`); the other side is what it was before: raw ids, and a
file of sizes. `DiskArray` is a raw array; the other side is an Arrow file. Both sides write the same tokens, then read
random batches of 32 texts from a memory map. Interleaved pairs of processor time; the ratio is Arrow's time over that
of raw files, and the median of the pairs counts.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from warmstart.data.encoding.token_cache import ShardedColumn
from warmstart.data.tables.disk_array import DiskArray
from warmstart.types import Array

PAIRS = 5
TEXTS, MEAN_TOKENS = 100_000, 200
BATCHES, BATCH_ROWS = 2_000, 32
BLOCK = 10_000  # texts that are written at a time

random = np.random.default_rng(0)
SIZES = random.integers(1, 2 * MEAN_TOKENS, TEXTS)
ENDS = np.cumsum(SIZES)
TOKENS = random.integers(0, 50_000, ENDS[-1]).astype(np.uint16)
INDEX = random.integers(0, TEXTS, (BATCHES, BATCH_ROWS))


def block(first: int) -> list[Array]:
    """The tokens of some texts."""
    return [TOKENS[ENDS[i] - SIZES[i] : ENDS[i]] for i in range(first, first + BLOCK)]


def main() -> None:
    for name, sides in {"token cache": (arrow_rows, raw_rows), "one array": (arrow_array, raw_array)}.items():
        pairs = [(measured(sides[0]), measured(sides[1])) for _ in range(PAIRS)]
        for what in ("write", "read"):
            ratio = statistics.median(arrow[what] / raw[what] for arrow, raw in pairs)
            seconds = statistics.median(raw[what] for _, raw in pairs)
            print(f"{name}, {what}: raw files {seconds:.2f} s, Arrow {ratio:.2f} times as long")
        print(f"{name}: {pairs[0][1]['bytes']:,.0f} bytes raw, {pairs[0][0]['bytes']:,.0f} in Arrow's format")


def measured(side: Callable[[Path], tuple[Callable[[int], Array], int]]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        row, size = side(Path(folder))
        written = time.process_time()
        total = sum(int(np.concatenate([row(i) for i in index]).sum()) for index in INDEX.tolist())
        read = time.process_time()
    assert total == sum(int(TOKENS[ENDS[i] - SIZES[i] : ENDS[i]].sum()) for i in INDEX.ravel().tolist())
    return {"write": written - began, "read": read - written, "bytes": float(size)}


def raw_rows(folder: Path) -> tuple[Callable[[int], Array], int]:
    sizes = []
    with (folder / "ids").open("wb") as file:
        for first in range(0, TEXTS, BLOCK):
            parts = block(first)
            sizes.append(np.fromiter(map(len, parts), np.int32, len(parts)))
            file.write(np.concatenate(parts).data)
    np.concatenate(sizes).tofile(folder / "sizes")
    offsets = np.cumsum(np.append(0, np.fromfile(folder / "sizes", np.int32)), dtype=np.int64)
    values = np.asarray(np.memmap(folder / "ids", np.uint16, "r"))
    return ShardedColumn((values,), (offsets,)).row, on_disk(folder)


def arrow_rows(folder: Path) -> tuple[Callable[[int], Array], int]:
    schema = pa.schema([("ids", pa.list_(pa.uint16()))])
    with pa.OSFile(str(folder / "ids.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as file:
        for first in range(0, TEXTS, BLOCK):
            parts = block(first)
            starts, ids = (pa.array(part) for part in (np.cumsum([0, *map(len, parts)]), np.concatenate(parts)))
            file.write_batch(pa.record_batch([pa.ListArray.from_arrays(starts.cast(pa.int32()), ids)], ["ids"]))
    reader = pa.ipc.open_file(pa.memory_map(str(folder / "ids.arrow")))
    columns: list[Any] = [reader.get_batch(i).column(0) for i in range(reader.num_record_batches)]
    values, offsets = ([getattr(column, name).to_numpy() for column in columns] for name in ("values", "offsets"))
    return ShardedColumn(tuple(values), tuple(offsets)).row, on_disk(folder)


def raw_array(folder: Path) -> tuple[Callable[[int], Array], int]:
    array = DiskArray(np.uint16)
    for first in range(0, len(TOKENS), 1 << 20):
        array.append(TOKENS[first : first + (1 << 20)])
    values = array.array()
    return lambda i: values[ENDS[i] - SIZES[i] : ENDS[i]], values.nbytes


def arrow_array(folder: Path) -> tuple[Callable[[int], Array], int]:
    schema = pa.schema([("values", pa.uint16())])
    with pa.OSFile(str(folder / "array.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as file:
        for first in range(0, len(TOKENS), 1 << 20):
            file.write_batch(pa.record_batch([pa.array(TOKENS[first : first + (1 << 20)])], ["values"]))
    table = pa.ipc.open_file(pa.memory_map(str(folder / "array.arrow"))).read_all()
    values = table.column(0).combine_chunks().to_numpy()  # in one piece, as every reader of it takes it: in memory
    return lambda i: values[ENDS[i] - SIZES[i] : ENDS[i]], on_disk(folder)


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
