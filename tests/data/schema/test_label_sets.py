"""Are label sets read alike in every notation, and what is no set of labels refused?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.data.rows.usable_rows import find_usable_rows
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.label_sets import parse_list
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.in_memory import table_of
from warmstart.data.tables.read import Table, read_table
from warmstart.errors import InputError

N = 40
SETS = [["billing", "crash"], ["crash"], ["billing"], [], ["a b", "it's"], ["x, y"], ["crash", "billing"], ["7"]] * 5


def sets_of(table: Table, **said: Any) -> list[tuple[str, ...] | None]:
    schema = infer_schema(table, ColumnChoices("y", ("text",), **said))
    assert (schema.task, schema.multi_label) == ("classification", True)
    return find_usable_rows(table, schema).targets.tolist()


def table_with(cells: list[Any]) -> Table:
    return table_of({"text": [f"row {i} of these" for i in range(len(cells))], "y": cells})


NOTATIONS: dict[str, Callable[[list[str]], Any]] = {
    "list": lambda labels: labels,
    "Python": str,
    "JSON": json.dumps,
    "JSON, letters escaped": lambda labels: json.dumps(labels, ensure_ascii=True),
    "numpy": lambda labels: str(np.array(labels, dtype=object)),
    "numpy array": lambda labels: repr(np.array(labels, dtype=object)),
}


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_set_of_labels_is_the_same_in_every_notation(notation: str) -> None:
    write = NOTATIONS[notation]
    assert sets_of(table_with([write(labels) for labels in SETS])) == [tuple(sorted(labels)) for labels in SETS]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=4), min_size=1))
def test_printed_lists_are_read_back(rows: list[list[str]]) -> None:
    for labels in rows:
        assert parse_list(str(labels)) == parse_list(json.dumps(labels)) == labels


VECTORS = [[1, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]] * 10
VECTOR_NOTATIONS: dict[str, Callable[[list[int]], Any]] = {
    "list": lambda vector: vector,
    "fractions": lambda vector: [float(one) for one in vector],
    "true and false": lambda vector: [bool(one) for one in vector],
    "printed": str,
    "printed booleans": lambda vector: str([bool(one) for one in vector]),
    "JSON booleans": lambda vector: json.dumps([bool(one) for one in vector]),
    "numpy": lambda vector: str(np.array(vector)),
    "numpy fractions": lambda vector: str(np.array(vector, dtype=float)),
}


@pytest.mark.parametrize("notation", VECTOR_NOTATIONS)
def test_the_places_of_ones_are_the_labels_of_a_vector(notation: str) -> None:
    """Case 07: they were a set of '0' and '1'."""
    write = VECTOR_NOTATIONS[notation]
    expected = [tuple(str(place) for place, one in enumerate(vector) if one) for vector in VECTORS]
    assert sets_of(table_with([write(vector) for vector in VECTORS])) == expected


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([[0.5, 0.25], [0.1, 0.2]] * 20, "lists of fractions"),
        ([["O", "O", "B"], ["O", "B", "O", "O"]] * 20, "sequences in which items come again"),
        ([[[1, 2]], [[3]]] * 20, "holds lists of list"),
        (["[[1, 2], [3]]", "[[3]]"] * 20, "lists of other things than labels"),
        (
            ['[{"id": 28, "name": "Action"}]', '[{"id": 1, "name": "War"}, {"id": 2}]'] * 20,
            "other things",
        ),
    ],
)
def test_lists_that_are_no_sets_of_labels_are_refused(cells: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        sets_of(table_with(cells))
    assert caught.value.hint


@pytest.mark.parametrize(
    "cells",
    [
        ["[URGENT]", "[LATER]"] * 20,  # a word in brackets
        ["(1,200)", "(3,400)"] * 20,  # how accountants write negative numbers
        ["a", "['b'"] * 20,
        ['{"a": 1}', "{}"] * 20,
    ],
)
def test_brackets_alone_make_no_list(cells: list[str]) -> None:
    schema = infer_schema(table_with(cells), ColumnChoices("y", ("text",)))
    assert not schema.multi_label


def test_a_cell_that_is_no_list_is_a_bad_row() -> None:
    for cells, said in (
        ([*map(str, SETS[:-1]), "crash"], "1 value that is not a list of labels (row 40: 'crash')"),
        ([*VECTORS[:-1], [1, 0]], "1 value that is not a vector of zeros and ones (row 40: '1, 0')"),
        ([*map(str, VECTORS[:-1]), "[1, 0, 2, 0, 0]"], "1 value that is not a vector of zeros and ones (row 40: "),
    ):
        table = table_with(cells)
        schema = infer_schema(table, ColumnChoices("y", ("text",)))
        bad = find_usable_rows(table, schema).bad
        assert [kind.kind for kind in bad] == ["not-a-list"] and said in bad[0].problem


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_files_of_all_kinds_hold_the_same_sets(ending: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"row {i} of these" for i in range(N)], "y": SETS})
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    assert sets_of(read_table(path)) == sets_of(table_of(frame)) == [tuple(sorted(labels)) for labels in SETS]


def test_a_separator_beside_printed_lists_changes_nothing() -> None:
    """Case 06: the advice was `--separator ','`, which made classes such as "['crash'"."""
    cells = table_with([str(labels) for labels in SETS])
    assert sets_of(cells, separator=",") == sets_of(cells)


def test_a_printed_list_of_more_bytes_than_any_has_is_not_parsed() -> None:
    cell = "[" + ", ".join(["'label'"] * 5_000) + "]"
    assert len(parse_list(cell) or []) == 5_000
    assert parse_list("[" + ", ".join(["'label'"] * 20_000) + "]") is None
