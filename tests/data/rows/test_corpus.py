"""Is a corpus read whole, cut without a byte lost, and kept on one side of the split document by document?"""

import itertools
import resource
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warmstart.data.rows.check import find_problems
from warmstart.data.rows.corpus import contained, read_corpus
from warmstart.data.rows.split import Rows, Splits, make_rows, split
from warmstart.data.rows.usable_rows import write_texts
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.read import read_table
from warmstart.data.tables.strings import Texts
from warmstart.errors import InputError, UsageError

WORDS = ("lamp", "Stuhl", "étagère", "ランプ", "desk", "🪑")


def document(i: int, lines: int = 40) -> str:
    said = (" ".join(WORDS[(i + j * k) % 6] for k in range(1, 9)) for j in range(lines))
    return "".join(f"{line} {i}.{j}\n" + "\n" * (j % 5 == 0) for j, line in enumerate(said))


def folder_of(path: Path, documents: int) -> Path:
    for i in range(documents):
        file = path / f"part {i % 3}" / f"{i}{'.txt' if i % 2 else '.md'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(document(i), encoding="utf-8")
    return path


def parts(source: Path, **said: object) -> tuple[Rows, Splits, tuple[str, ...]]:
    table = read_table(source)
    schema = infer_schema(table, ColumnChoices(**said))  # type: ignore[arg-type]
    rows, remarks = make_rows(table, schema)
    return rows, split(rows, schema), remarks


# --- pieces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [8, 100, 10_000])
def test_pieces_joined_are_the_text(most: int) -> None:
    texts = [document(0, 5), "", "short", "ä" * 50, "a b " * 30, "x" * 1000, "🪑" * 9, "\n\n" * 20]
    for made in (Texts.of(texts), Texts.of(["left out", *texts]).take(np.arange(1, len(texts) + 1))):
        pieces, owners = made.pieces(most)
        joined = defaultdict(str)
        for owner, piece in zip(owners.tolist(), pieces, strict=True):
            joined[owner] += piece
        assert [joined[i] for i in range(len(texts))] == texts
        assert (pieces.sizes() <= most).all() and (pieces.sizes() > 0).all()
        assert (np.diff(owners) >= 0).all()


def test_pieces_end_at_paragraphs_then_lines_then_spaces() -> None:
    def cut(text: str) -> list[str]:
        return list(Texts.of([text]).pieces(20)[0])

    assert cut("one two\nthree\n\nfour five six") == ["one two\nthree\n\n", "four five six"]
    assert cut("one two three\nfour five six seven") == ["one two three\n", "four five six seven"]
    assert cut("one two three four five six") == ["one two three four ", "five six"]
    assert cut("a\n\nthen a long line of words") == ["a\n\nthen a long line ", "of words"]  # not after so little


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_folder_of_texts_is_recognized_and_what_else_is_in_it_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, 30)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "note.txt").write_text("hidden")
    table = read_table(tmp_path)
    assert table.columns.num_rows == 30 and table.where(1) == "0.md" and table.documents
    schema = infer_schema(table, ColumnChoices())
    assert (schema.task, schema.text, schema.target, schema.piece_bytes) == ("causal-lm", ("text",), "", 768)
    assert make_rows(table, schema)[1] == ("Left out: 1 file that is neither .txt nor .md (photo.png).",)
    found = find_problems(table, schema)
    assert found.rows == 30 and found.target["documents"] == 30
    assert "photo.png" in next(finding.message for finding in found.findings if finding.kind == "corpus")
    assert write_texts(table, schema)[0] == (tmp_path / "part 0" / "0.md").read_text()


def test_the_pieces_of_a_document_stay_on_one_side(tmp_path: Path) -> None:
    rows, splits, remarks = parts(folder_of(tmp_path, 30), piece_bytes=300)
    assert len(rows) > 150 and remarks == ()
    assert sorted(itertools.chain.from_iterable(part.numbers for part in (splits.train, splits.val, splits.test))) == (
        list(range(1, len(rows) + 1))
    )
    sides = [set(part.keys) for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, sides)) == 30 and all(sides)
    assert set(rows.targets) == {""}


def test_few_documents_are_divided_within_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(document(0, 3000), encoding="utf-8")
    rows, splits, remarks = parts(tmp_path / "book.txt", piece_bytes=200)
    run = -(-len(rows) // 100)
    assert remarks[0].startswith(f"1 document is too few to divide between training and test, so runs of {run}")
    assert len(splits.test) > len(rows) / 10
    places = np.sort(splits.test.numbers)
    assert (np.diff(places) == 1).mean() > 0.8  # neighbors


def test_a_column_of_a_table_and_a_glob_are_corpora(tmp_path: Path) -> None:
    folder_of(tmp_path / "texts", 30)
    texts = [document(i) for i in range(30)]
    pq.write_table(
        pa.table({"id": [f"d{i}" for i in range(30)], "body": texts, "n": range(30)}), tmp_path / "t.parquet"
    )
    rows, splits, _ = parts(tmp_path / "t.parquet", task="masked-lm")
    assert (
        "".join(rows.texts) == "".join(texts) and len({*splits.train.keys, *splits.val.keys, *splits.test.keys}) == 30
    )
    globbed = read_table(str(tmp_path / "texts" / "*" / "*.md"))
    assert globbed.columns.num_rows == 15
    grouped = parts(tmp_path / "t.parquet", task="causal-lm", group="n")[0]
    assert set(grouped.keys) == {f"group {i}" for i in range(30)}


def test_files_are_read_as_they_are_but_for_marks_and_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert read_table(tmp_path / "a.txt").columns["text"].to_pylist() == ["one\ntwo\n"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x7fELF\0\0binary", "a.txt holds a NUL byte"),
        ("café".encode("latin-1"), r"a.txt is not UTF-8: byte 3 \(line 1\) is 0xe9"),
        ("text".encode("utf-16"), "a.txt is written in UTF-16"),
        ("ä".encode()[:1], "a.txt is not UTF-8"),
    ],
)
def test_a_file_that_is_no_text_is_refused_by_name(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "b.txt").write_text("text")
    with pytest.raises(InputError, match=said):
        read_table(tmp_path)


def test_blank_files_are_named_or_dropped(tmp_path: Path) -> None:
    folder_of(tmp_path, 30)
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "empty.txt").write_text("")
    table = read_table(tmp_path)
    schema = infer_schema(table, ColumnChoices())
    with pytest.raises(InputError, match=r"2 rows with nothing to read in 'text' \(blank.txt, empty.txt\)"):
        make_rows(table, schema)
    rows, said = make_rows(table, schema, bad_rows="drop")
    assert len({*rows.keys}) == 30 and "blank.txt" in said[0]


def test_what_cannot_be_a_corpus(tmp_path: Path) -> None:
    table = pa.table({"a": [document(i) for i in range(30)], "b": [document(i + 1) for i in range(30)], "n": range(30)})
    pq.write_table(table, tmp_path / "t.parquet")
    both = read_table(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="2 columns hold texts: 'a', 'b' in"):
        infer_schema(both, ColumnChoices(task="causal-lm"))
    with pytest.raises(UsageError, match="--task causal-lm learns the texts themselves, so --target a"):
        infer_schema(both, ColumnChoices("a", task="causal-lm"))
    with pytest.raises(UsageError, match="--instruction is for summarise, translate, structured"):
        infer_schema(both, ColumnChoices(text=("a",), task="causal-lm", instruction="Go on."))
    with pytest.raises(InputError, match=r"the texts make 1 piece of at most 100,000 bytes, but at least 20"):
        (tmp_path / "s.txt").write_text("short")
        parts(tmp_path / "s.txt", piece_bytes=100_000)
    with pytest.raises(InputError, match=r"s.txt is a text file, but .*t.parquet is not"):
        read_table([tmp_path / "s.txt", tmp_path / "t.parquet"])


def test_a_line_of_18_mb_takes_little_memory_and_time(tmp_path: Path) -> None:
    with (tmp_path / "line.txt").open("w", encoding="utf-8") as file:
        for i in range(20):
            file.write(f"{i} étagère ランプ " * 40_000)
    size = (tmp_path / "line.txt").stat().st_size
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows, _, _ = parts(tmp_path / "line.txt")
    assert int(Texts.of(rows.texts).sizes().sum()) == size > 15_000_000
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


# --- a corpus beside the rows -----------------------------------------------------------------------------------------


def test_read_corpus_gives_pieces_without_blank_documents(tmp_path: Path) -> None:
    folder_of(tmp_path / "texts", 3)
    (tmp_path / "texts" / "blank.txt").write_text("\n \n")
    pieces = read_corpus([tmp_path / "texts"], piece_bytes=500)
    assert sorted("".join(pieces).splitlines()) == sorted("".join(map(document, range(3))).splitlines())
    assert max(pieces.sizes()) <= 500
    pq.write_table(pa.table({"a": [document(1)] * 2, "b": [document(2)] * 2}), tmp_path / "t.parquet")
    assert "".join(read_corpus([tmp_path / "t.parquet"], text=("description", "b"))) == document(2) * 2
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match="there is nothing to read"):
        read_corpus([tmp_path / "empty.txt"])


def test_texts_of_a_corpus_are_known_by_their_beginning() -> None:
    documents = [document(i) for i in range(3)]
    pieces, _ = Texts.of(documents).pieces(200)
    texts = [documents[2], documents[0][:120], "", "something else"]
    assert contained(texts, pieces, 200).tolist() == [True, False, False, False]
    assert contained([f"  {documents[1][:150]} "], Texts.of([documents[1][:150]]), 200).tolist() == [True]
