"""Is a CSV or TSV file read as it was written, and is a quote that swallows rows found?"""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.data.tables.read import read_table
from warmstart.errors import InputError

WORDS = ["red", "blue", "old", "new", "lamp", "chair", "table", "rug", "shelf", "kettle", "mug", "plate"]
CELLS = st.text(st.sampled_from('ab,;\t"\n x|='), max_size=12)


def sentence(i: int) -> str:
    return " ".join(WORDS[(i * k + k) % len(WORDS)] for k in range(1, 6))


def labeled(path: Path, delimiter: str, lone: dict[int, str] | None = None, rows: int = 100) -> Path:
    """Sentences and a label each; `lone`: in these rows a quote begins ("(") or ends (")") the sentence."""
    lines = [f"sentence{delimiter}label"]
    for i in range(1, rows + 1):
        mark = (lone or {}).get(i)
        text = f'"{sentence(i)}' if mark == "(" else f'{sentence(i)}"' if mark == ")" else sentence(i)
        lines.append(f"{text}{delimiter}{i % 2}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("lone", [{8: "(", 13: ")"}, {8: "(", 13: ")", 43: "(", 48: ")"}, {1: "(", 2: ")"}])
def test_a_lone_quote_swallows_no_rows(tmp_path: Path, name: str, lone: dict[int, str]) -> None:
    """Case 08: 85 rows were read of a TSV file that has 100."""
    path = labeled(tmp_path / name, "," if name == "a.csv" else "\t", lone)
    first = next(iter(lone))
    with pytest.raises(InputError, match=rf"quote in row {first} \(line {first + 1}\).*look like rows") as caught:
        read_table(path)
    assert "close the quote" in caught.value.hint


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_quote_that_is_never_closed_is_an_error(tmp_path: Path, name: str) -> None:
    path = labeled(tmp_path / name, "," if name == "a.csv" else "\t", {8: "("})
    with pytest.raises(InputError, match=r"the quoting of row 8 \(line 9\) is broken"):
        read_table(path)


@pytest.mark.parametrize(
    "cell",
    [
        "Dear John,\nthanks, and bye",  # as many commas in each line as a row has, but no label after them
        "first\n\nsecond, third\n",
        "a, b\nc, d\ne, f",
        'she said "no",\nhe said "yes"',
    ],
)
def test_a_cell_of_several_lines_is_one_cell(tmp_path: Path, cell: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("text", "label"))
    writer.writerows([(cell if i % 10 == 3 else sentence(i), "pos" if i % 2 else "neg") for i in range(60)])
    (tmp_path / "a.csv").write_text(text.getvalue(), newline="")
    found = read_table(tmp_path / "a.csv").columns
    assert found.num_rows == 60 and found["text"][3].as_py() == cell


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "sep=\t", "sep=|", "\ufeffsep=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_first_line_of_excel_is_obeyed(tmp_path: Path, first: str, end: str) -> None:
    """Case 35: the columns were 'sep=' and 'column 2'."""
    delimiter = first.strip('"')[-1]
    rows = ["text;label", "one, two;1", '"three;\nfour";2', "five;3"]
    text = end.join([first, *rows]).replace(";\n", "\0").replace(";", delimiter).replace("\0", f"{delimiter}\n")
    (tmp_path / "a.csv").write_text(text + end, encoding="utf-8", newline="")
    found = read_table(tmp_path / "a.csv").columns
    assert found.to_pydict() == {"text": ["one, two", f"three{delimiter}\nfour", "five"], "label": [1, 2, 3]}
    (tmp_path / "b.csv").write_text(f'sep=;{end}a;b{end}"1;2{end}', newline="")
    with pytest.raises(InputError, match=r"row 1 \(line 3\)"):
        read_table(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("sep=;\n")
    with pytest.raises(InputError, match="nothing after its first line"):
        read_table(tmp_path / "c.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_lines_may_end_as_on_any_machine(tmp_path: Path, end: str, name: str) -> None:
    rows = ["text,label", "one,1", '"tw""o",2', "three,3"]
    text = end.join(rows) + end
    (tmp_path / name).write_text(text.replace(",", "\t") if name == "a.tsv" else text, newline="")
    assert read_table(tmp_path / name).columns.to_pydict() == {"text": ["one", 'tw"o', "three"], "label": [1, 2, 3]}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, st.sampled_from(["pos", "neg"])), min_size=1, max_size=8))
def test_what_python_writes_is_read_back_or_refused_but_never_shorter(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    """The same cells from CSV and TSV; where lines of a cell could be rows, an error rather than fewer rows."""
    folder = tmp_path_factory.mktemp("written")
    expected = [("first", "second", "label"), *rows]
    found = []
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(expected)
        try:
            table = read_table(folder / name).columns
        except InputError as error:
            assert "look like rows" in error.message
            continue
        cells = [["" if cell is None else str(cell) for cell in table[name].to_pylist()] for name in table.column_names]
        found.append(list(zip(*cells, strict=True)))
    assert all(each == rows for each in found)


@pytest.mark.parametrize("above", ["Report of May\n\n", "# made by a program\n"])
def test_a_title_above_the_table_is_told_from_cells_that_are_not_quoted(above: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(above + "text,label\n" + "a lamp,x\n" * 30)
    with pytest.raises(InputError, match="the header has 1 columns") as raised:
        read_table(path)
    assert "remove the title" in raised.value.hint
