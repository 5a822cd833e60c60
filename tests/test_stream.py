"""Tables larger than memory: what a row takes while it is read, recognized and split, and where it lies."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import REGRESSION, tiny_splits
from warmstart.data.encoding.inputs import Tokens
from warmstart.data.features.hashed_words import HashedWords
from warmstart.data.tables import disk_array
from warmstart.data.tables.disk_array import DiskArray
from warmstart.data.tables.read import read_table
from warmstart.data.tables.strings import BLOCK, Texts, contiguous
from warmstart.errors import InputError
from warmstart.models.pretrained.base import Base

ROWS = 200_000
# 839 were measured, of which the text is 60. Strings of a Parquet file are read with their dictionaries, so that their
# length is known before they are written out: 113 bytes of these, for a group of rows at a time.
BYTES_A_ROW = 1000

UNTIL_DRAWN = """
import sys
from warmstart.data.tables.read import read_table
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.rows.split import make_rows, split

def peak():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))

for path in sys.argv[1:]:
    table = read_table(path)
    schema = infer_schema(table, ColumnChoices("price"))
    splits = split(make_rows(table, schema)[0], schema).subset(4000, 0)
    print(table.columns.num_rows, peak())
"""


def write_table(path: Path, rows: int) -> str:
    generator = np.random.default_rng(0)
    words = np.array([f"word{i:x}" for i in range(5000)])
    texts = [" ".join(row) for row in words[generator.integers(0, 5000, (rows, 8))].tolist()]
    pq.write_table(pa.table({"text": texts, "price": generator.lognormal(3, 1, rows)}), path)
    return str(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from Linux' /proc")
def test_a_row_takes_little_memory(tmp_path: Path) -> None:
    few, many = write_table(tmp_path / "few.parquet", 20_000), write_table(tmp_path / "many.parquet", ROWS)
    done = subprocess.run([sys.executable, "-c", UNTIL_DRAWN, few, many], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (small, before), (large, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    print(f"{(after - before) / (large - small):.0f} bytes a row")
    assert after - before < BYTES_A_ROW * (large - small)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=30), st.data())
def test_texts_are_the_strings_they_were_made_of(strings: list[str], data: st.DataObject) -> None:
    texts = Texts.of(iter(strings))
    assert list(texts) == strings == [texts[i] for i in range(len(texts))] and texts[:2] == tuple(strings[:2])
    assert texts.sizes().tolist() == [len(text.encode()) for text in strings]
    index = data.draw(st.lists(st.integers(0, len(strings) - 1), max_size=9)) if strings else []
    some = texts.take(np.array(index, dtype=np.int64))
    assert list(some) == [strings[i] for i in index] and some.sizes().tolist() == [len(t.encode()) for t in some]
    again = some.take(np.arange(len(index))[::-1])
    assert list(again) == [strings[i] for i in reversed(index)] and (not index or again[-1] == strings[index[0]])
    assert list(Texts.joined([some, again, texts])) == [*some, *again, *strings]
    assert list(Texts.joined([some, again])) == [*some, *again]


def test_texts_end_where_they_end() -> None:
    texts = Texts.of(["a", "b", "c"]).take(np.array([2, 0]))
    assert texts[-1] == "a" and "c" in texts and "b" not in texts
    for at in (2, -3):
        with pytest.raises(IndexError):
            texts[at]


def test_missing_cells_stay_missing_across_slices() -> None:
    cells = pa.array([None, "ä", "", None, "bc"], pa.large_string())
    assert contiguous([cells.slice(1, 2), cells.slice(3), cells.slice(0, 0)]).to_pylist() == ["ä", "", None, "bc"]


def test_what_is_large_lies_in_a_file_and_reads_the_same(
    tmp_path: Path, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_table(tmp_path / "table.parquet", 2 * BLOCK + 7)
    texts = read_table(path).columns["text"].to_pylist()
    inputs = (Tokens(base.location, 8), HashedWords(500))
    in_memory = [one.encode(texts[:3000]) for one in inputs]
    monkeypatch.setattr(disk_array, "IN_MEMORY", 1000)
    table = read_table(path)
    assert table.columns["text"].to_pylist() == texts and table.columns["text"].num_chunks == 1
    for one, expected in zip(inputs, in_memory, strict=True):
        found = one.encode(Texts.of(texts[:3000])).batch(np.array([2999, 7]))
        for name, tensor in expected.batch(np.array([2999, 7])).items():
            assert found[name].tolist() == tensor.tolist()
    growing = DiskArray(np.int32)
    for start in (0, 400):
        growing.append(np.arange(start, start + 400))
    mapped = growing.array()
    assert mapped.tolist() == list(range(800)) and not mapped.flags.writeable


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, part: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_array, "_nameless", Full)
    monkeypatch.setattr(disk_array, "IN_MEMORY", 1000)
    with pytest.raises(InputError, match=r"4,000 bytes of the table could not be written to .*: No space left"):
        DiskArray(np.int32).append(np.arange(1000))


def test_the_order_of_a_seed_is_not_kept_for_other_rows() -> None:
    splits = tiny_splits(REGRESSION)
    fewer = splits.subset(20, 0)
    assert splits.subset(10, 0).train.numbers.tolist() == fewer.train.numbers[:10].tolist()
    assert fewer.subset(10, 0).train.numbers.tolist() == fewer.train.numbers[:10].tolist()
