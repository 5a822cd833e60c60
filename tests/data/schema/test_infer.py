"""The task, the scale and the input columns follow from the values; what cannot be learned is refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from warmstart.data.rows.split import make_rows
from warmstart.data.schema.amounts import number_format, read_amount
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.label_sets import read_label_sets
from warmstart.data.schema.schema import ColumnChoices, Schema
from warmstart.data.tables.cells import as_numbers, as_text
from warmstart.data.tables.formats import usual_type
from warmstart.data.tables.read import Table, read_table
from warmstart.errors import InputError, UsageError

DICE = np.random.default_rng(0)
N = 200
TITLES = [f"lamp number {i} of {i % 7}" for i in range(N)]
PRICES = np.exp(DICE.normal(3, 1, N)).round(2)


def table(**columns: object) -> Table:
    made = pa.table({name: pa.array(list(values)) for name, values in columns.items()})  # type: ignore[call-overload]
    usual = pa.table({name: usual_type(made[name]) for name in made.column_names})
    return Table(usual, ("lamps.csv",), (usual.num_rows,))


def of_target(values: object, **said: object) -> Schema:
    return infer_schema(table(title=TITLES, y=values), ColumnChoices("y", ("title",), **said))  # type: ignore[arg-type]


def test_task_follows_from_the_targets_values() -> None:
    numbers = [*map(str, range(N - 5)), "n.a.", "?", "12,50", "", "NA"]
    regression = [PRICES, range(N), numbers, [i % 21 + 2 for i in range(N)], [0.5, 1.5] * 10 + list(PRICES[20:])]
    assert [of_target(values).task for values in regression] == ["regression"] * 5
    one_missing = [None, *(float(i % 5) for i in range(N - 1))]
    codes = [f"{i % 30:03d}" for i in range(N)]
    classes = [[i % 20 for i in range(N)], [True, False] * 100, ["a", "b"] * 100, codes, [0.0, 1.0] * 100, one_missing]
    classes.append([0.5, 1.5] * 100)
    assert [of_target(values).task for values in classes] == ["classification"] * 7
    assert [of_target(values).scale for values in classes] == ["linear"] * 7
    ids = of_target([i % 40 for i in range(N)])  # consecutive, with five rows each
    assert ids.task == "classification" and "if they are quantities: --task regression" in ids.notes[0]
    uneven = [*(i % 40 for i in range(N)), *[7] * N]  # as ages are, whose oldest are few
    assert infer_schema(table(title=TITLES * 2, y=uneven), ColumnChoices("y", ("title",))).task == "regression"


def test_few_rows_to_a_value_are_a_quantity() -> None:
    short = table(title=TITLES[:30], y=[i % 10 for i in range(30)])
    assert infer_schema(short, ColumnChoices("y", ("title",))).task == "regression"


def test_the_user_has_the_last_word() -> None:
    assert of_target([i % 5 for i in range(N)], task="regression").task == "regression"
    assert of_target(range(N), task="classification").task == "classification"
    with pytest.raises(UsageError, match="--task regression needs numbers, but column 'y' holds none"):
        of_target(["a", "b"] * 100, task="regression")
    assert of_target(PRICES, scale="linear").scale == "linear"
    with pytest.raises(UsageError, match=r"needs positive values, but the smallest of 'y' is -3"):
        of_target([-3, *range(1, N)], scale="log10")
    with pytest.raises(UsageError, match="is for regression"):
        of_target(["a", "b"] * 100, scale="log10")


def test_skewed_positive_targets_are_learned_as_logarithms() -> None:
    assert of_target(PRICES).scale == "log10"
    sizes = np.floor(np.exp(DICE.normal(5, 2, N)))
    sizes[:3] = 0
    assert of_target(sizes).scale == "log10(1+x)"
    outlier = DICE.uniform(1, 100, N)
    outlier[0] = 1e9
    for values in (
        DICE.normal(100, 5, N),
        DICE.uniform(0, 1, N),
        PRICES - 5,
        outlier,
        np.full(N, 1e99) * DICE.uniform(1, 2, N),
        PRICES / 1e4 * (PRICES > 9),
    ):
        assert of_target(values).scale == "linear"


def test_lists_and_separators_are_multi_label() -> None:
    lists = of_target([["a", "b"], ["a"], [], ["c"]] * 50)
    cells = of_target(["a, b", "a", "c,", "b"] * 50, separator=",")
    assert (lists.task, lists.multi_label, lists.separator) == ("classification", True, None)
    assert (cells.task, cells.multi_label, cells.separator) == ("classification", True, ",")
    column = table(y=["b, a,b", "", " "]).columns["y"]
    assert read_label_sets(column, "separated", ",").labels == [("a", "b"), None, None]
    cell_lists = table(y=[["b", "a"], [], None]).columns["y"]
    assert read_label_sets(cell_lists, "list", None).labels == [("a", "b"), (), None]
    with pytest.raises(UsageError, match="holds several labels a row, which is not regression"):
        of_target([["a"], ["b"]] * 100, task="regression")
    for values in (PRICES, ["a;b", "a"] * 100):
        with pytest.raises(UsageError, match="no cell of column 'y' contains the separator ','"):
            of_target(values, separator=",")
    with pytest.raises(UsageError, match="the separator is empty"):
        of_target(["a"] * 100 + ["b"] * 100, separator="")


def test_targets_without_anything_to_learn_are_refused() -> None:
    for values in ([None] * N, ["", "NA"] * 100, [float("nan")] * N):
        with pytest.raises(InputError, match="has no value in any row"):
            of_target(values)
    with pytest.raises(InputError, match="is 'a' in every row"):
        of_target(["a"] * N)
    for values in (PRICES * 1e303, np.where(np.arange(N) == 6, -1e303, PRICES)):
        with pytest.raises(InputError, match=r"'y' has .* beyond 1e\+100 or -1e\+100, .*e\+30. in row .*\n.*divide"):
            of_target(values)
    for start in (2**61, 2**63, 2**70):
        ids = [start + i for i in range(N)]
        for column in (ids, [*map(str, ids)])[start > 2**62 :]:
            with pytest.raises(InputError, match=rf"200 different whole numbers, such as {start}, which are so large"):
                of_target(column)
        assert (
            of_target([str(start + i % 6) for i in range(N)])
            .notes[0]
            .startswith(
                "'y' holds whole numbers too large to be told apart, 6 different ones, so the task is classification"
            )
        )
    with pytest.raises(InputError, match=r"200 different values in 200 rows .*neither numbers nor classes"):
        of_target([f"no. {i}" for i in range(N)])
    with pytest.raises(InputError, match="expected numbers or classes"):
        of_target([{"k": i} for i in range(N)])


AMOUNTS: dict[str, tuple[list[str], list[float]]] = {  # the first cells, and what they say
    "dollars": (["$1,299.00", "$5.50", "$45.00"], [1299.0, 5.5, 45.0]),
    "few dollars": (["$45.00", "$50.00"], [45.0, 50.0]),
    "percent": (["33%", "7%"], [33.0, 7.0]),
    "euros": (["1.234,56 €", "5,50 €"], [1234.56, 5.5]),
    "decimal commas": (["0,5", "1", "12,25"], [0.5, 1.0, 12.25]),
    "two of them": (["3,5", "4,0"], [3.5, 4.0]),
    "thousands": (["24,269", "980"], [24269.0, 980.0]),
    "spaces": (["1 234 567,5", "3"], [1234567.5, 3.0]),
    "millions": (["1.200.000", "1.200"], [1200000.0, 1200.0]),
    "in brackets": (["(1,250)", "3,400"], [-1250.0, 3400.0]),
    "dollars in brackets": (["($5.50)", "$7.25"], [-5.5, 7.25]),
    "a minus behind": (["1,052.50-", "1,012.50"], [-1052.5, 1012.5]),
    "lakhs": (["1,23,456", "99,127"], [123456.0, 99127.0]),
    "thousands and millions": (["$1.2M", "$300K", "$980"], [1.2e6, 3e5, 980.0]),
    "German millions": (["1,2 Mio. €", "300 €"], [1.2e6, 300.0]),
}


@pytest.mark.parametrize(
    "cells, numbers",
    [
        (["5.2K", "4.7M", "980"], [5200.0, 4.7e6, 980.0]),
        (["61 km/h", "5 km/h"], [61.0, 5.0]),
        (["5.2K", "4.7K"], [5.2, 4.7]),  # a unit like any other
        (["\u221227.5", "\u20133"], [-27.5, -3.0]),  # a minus sign, and a dash
        (["\uff11\uff12", "\u0663\u066b\u0665"], [12.0, 3.5]),  # digits of other scripts
    ],
)
def test_numbers_in_other_notations(cells: list[str], numbers: list[float]) -> None:
    """They were classes, where they recur, or K was left out beside numbers without it."""
    form = number_format(dict.fromkeys(cells, 1))
    assert form is not None and [read_amount(cell, form) for cell in cells] == numbers


@pytest.mark.parametrize("cells", [["(1)", "(2)"], ["2-", "3-"], ["3 M", "4 L"], ["$5", "5 €"], ["5 %", "0.04"]])
def test_names_made_of_digits_are_no_numbers(cells: list[str]) -> None:
    assert number_format(dict.fromkeys(cells, 1)) is None


@pytest.mark.parametrize("cell", ["{}-3{}", "<{}{}.5", "{} 1/{}", "00:{}:1{}", "${0}.{1}", "2023-0{1}-1{0}"])
def test_quantities_and_dates_that_recur_are_no_classes(cell: str) -> None:
    """However often each occurs; few of them may be classes, such as brackets of ages."""
    values = [cell.format(i % 8, i % 9) if "$" not in cell or i % 2 else f"{i % 80} €" for i in range(N)]
    with pytest.raises(InputError, match=r"neither numbers nor classes|holds dates") as raised:
        of_target(values)
    assert "--task classification" in raised.value.hint
    assert infer_schema(table(title=TITLES, y=values), ColumnChoices("y", ("title",), task="classification"))


@pytest.mark.parametrize("cells", [["18-25", "26-40", "<18"], ["10.0.0.1", "10.0.0.2"], ["007", "042"]])
def test_few_of_them_and_names_made_of_digits_are_classes(cells: list[str]) -> None:
    assert of_target([cells[i % len(cells)] for i in range(N)]).task == "classification"


def test_many_names_made_of_digits_are_classes() -> None:
    assert of_target([f"10.0.{i % 25}.1" for i in range(N)]).task == "classification"


def test_large_numbers_are_no_warning() -> None:
    """Warnings are errors here."""
    assert of_target([f"{1 + i % 90}.5e98" for i in range(N)]).task == "regression"


@pytest.mark.parametrize("name", AMOUNTS)
def test_amounts_are_numbers_however_often_they_recur(name: str) -> None:
    cells, numbers = AMOUNTS[name]
    rows = table(title=TITLES, y=[cells[i % len(cells)] for i in range(N)])
    schema = infer_schema(rows, ColumnChoices("y", ("title",)))
    assert schema.task == "regression" and schema.notes[0].startswith("'y' holds amounts")
    assert make_rows(rows, schema)[0].targets[: len(cells)].tolist() == numbers
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    assert infer_schema(rows, ColumnChoices("y", ("title",), task="classification")).target_column is None


def test_a_point_that_may_part_thousands_is_asked_about(tmp_path: Path) -> None:
    cells = [("1.200", "980", "2.450")[i % 3] for i in range(N)]
    path = tmp_path / "preise.csv"
    path.write_text("".join(f"{title};{y}\n" for title, y in zip(["title", *TITLES], ["y", *cells], strict=True)))
    for rows in (table(title=TITLES, y=cells), read_table(path)):
        with pytest.raises(InputError, match=r"'1\.200' beside whole numbers below 1,000") as raised:
            infer_schema(rows, ColumnChoices("y", ("title",)))
        assert "--column y=number:," in raised.value.hint
        for mark, first in ((",", 1200.0), (".", 1.2)):
            schema = infer_schema(rows, ColumnChoices("y", ("title",), kinds={"y": f"number:{mark}"}))
            assert make_rows(rows, schema)[0].targets[:2].tolist() == [first, 980.0]
    decimals = [("1.200", "980.500", "2.450")[i % 3] for i in range(N)]  # three digits each, as a program writes them
    assert of_target(decimals).task == "regression"


def test_what_is_written_in_two_ways_is_no_amount() -> None:
    cents = [f"{i % 90},{i % 7}{i % 10}" for i in range(N)]
    values = ["$ 5", "$ 6", "EUR 7", "9 €", *(f"$ {i}" for i in range(N - 4))]
    with pytest.raises(InputError, match=r"for example '\$ 5' in row 1, 'EUR 7' in row 3, '9 €' in row 4\)"):
        of_target(values)
    for mixed in (["1.5", *cents[1:]], ["a5", *cents[1:]]):
        with pytest.raises(InputError, match="neither numbers nor classes"):
            of_target(mixed)


def test_percentages_beside_plain_numbers_are_refused() -> None:
    cells = [f"{10 + i % 60}.5 %" for i in range(N)]
    assert of_target([*cells[:-1], "0"]).target_column.unit == "%"
    for odd, plain in ((0, "0.36"), (N - 1, "1")):
        values = [plain if i == odd else cell for i, cell in enumerate(cells)]
        with pytest.raises(InputError, match=rf"holds '1\d.5 %' beside '{plain}', which may be .*\n.*in one way"):
            of_target(values)
    rates = table(y=PRICES, title=TITLES, rate=[*cells[:-1], "0.36"])
    assert infer_schema(rates, ColumnChoices("y")).column("rate").kind != "number"


def test_columns_that_are_not_there_or_the_target_itself() -> None:
    lamps = table(title=TITLES, price=PRICES, copy=PRICES, shop=["a", "b"] * 100)
    for columns in (
        ColumnChoices("prise"),
        ColumnChoices("price", ("titel",)),
        ColumnChoices("price", ("title",), "shpo"),
    ):
        with pytest.raises(UsageError, match="did you mean"):
            infer_schema(lamps, columns)
    for names, headless in (
        (("P00000", "Acme mug", "like new, he sold it", "6.33"), True),
        (("id", "title", "text", "2024"), False),
        (("the price", "2022", "2023", "2024"), False),
    ):
        cells = pa.table(
            {name: list(values) for name, values in zip(names, (TITLES, TITLES, TITLES, PRICES), strict=True)}
        )
        for file in ("lamps.csv", "lamps.parquet"):
            with pytest.raises(UsageError, match="there is no column 'price'") as raised:
                infer_schema(Table(cells, (file,), (N,)), ColumnChoices("price"))
            said = raised.value.hint.endswith("; the file seems to have no header line: add one")
            assert said == (headless and file == "lamps.csv")
    with pytest.raises(UsageError, match="the text column 'copy' is the target 'price' itself"):
        infer_schema(lamps, ColumnChoices("price", ("title", "copy")))
    with pytest.raises(UsageError, match="both --target and --text"):
        infer_schema(lamps, ColumnChoices("price", ("price",)))
    with pytest.raises(UsageError, match="both --target and --group"):
        infer_schema(lamps, ColumnChoices("price", ("title",), "price"))


def test_given_text_columns_keep_their_order() -> None:
    lamps = table(shop=["a", "b"] * 100, title=TITLES, price=PRICES)
    schema = infer_schema(lamps, ColumnChoices("price", ("title", "shop", "title")))
    assert schema.text == ("title", "shop") and not schema.labelled and schema.ignored == {}


def test_without_text_every_column_that_may_help_is_used() -> None:
    lamps = table(
        row=range(N),
        sku=[f"X-{i * 7919 % 1000:04d}" for i in range(N)],
        customer_id=[i * 7919 % 1009 for i in range(N)],
        nothing=[None] * N,
        blank=[""] * N,
        currency=["EUR"] * N,
        cents=PRICES * 100,
        photo=[b"\x89PNG"] * N,
        shop=["a", "b"] * 100,
        title=TITLES,
        weight=DICE.normal(5, 1, N),
        tags=[["new", "red"], []] * 100,
        price=PRICES,
    )
    schema = infer_schema(lamps, ColumnChoices("price", group="shop"))
    assert schema.text == ("title", "weight", "tags") and schema.labelled and schema.group == "shop"
    reasons = {name: why.split(",")[0].split(" (")[0] for name, why in schema.ignored.items()}
    assert reasons == {
        "row": "names the row",
        "sku": "names the row",
        "customer_id": "names the row",
        "nothing": "is empty in every row",
        "blank": "is empty in every row",
        "currency": "is the same in every row",
        "cents": "rises or falls exactly with the target",
        "photo": "holds images",
    }
    said = " ".join(schema.notes)
    assert all(f"{name!r} is left out" in said for name in schema.ignored)
    assert "Column kinds: text 'title', 'tags'; number 'weight'." in said


def test_a_column_that_stands_for_the_class_is_left_out() -> None:
    lamps = table(title=TITLES, code=[i % 4 + 10 for i in range(N)], kind=[f"kind {i % 4}" for i in range(N)])
    schema = infer_schema(lamps, ColumnChoices("kind"))
    assert schema.text == ("title",) and not schema.labelled
    assert schema.ignored == {"code": "stands for the target one to one"}


def test_a_number_of_its_own_in_every_row_gives_nothing_away() -> None:
    for values, text in ((DICE.permutation(N) + 0.5, ("title", "x")), (np.arange(N) + 0.5, ("title",))):
        assert (
            infer_schema(table(title=TITLES, x=values, price=np.arange(N) * 2.0), ColumnChoices("price")).text == text
        )


def test_no_column_left_is_refused() -> None:
    with pytest.raises(InputError, match="no column is left to learn from: 'row' names the row"):
        infer_schema(table(row=range(N), price=PRICES), ColumnChoices("price"))
    assert infer_schema(table(x=DICE.normal(0, 1, N), price=PRICES), ColumnChoices("price")).labelled


def test_cells_are_written_as_a_person_would() -> None:
    floats = table(x=[12.0, 0.1 + 0.2, None, float("nan"), -1234567.89, 1e300]).columns["x"]
    assert as_text(floats) == ["12", "0.3", None, None, "-1234567.89", "1e+300"]
    assert as_text(table(x=[True, False, None]).columns["x"]) == ["true", "false", None]
    assert as_text(table(x=[["a", "b"], []]).columns["x"]) == ["a, b", ""]


def test_text_is_read_as_numbers_strictly() -> None:
    numbers, bad = as_numbers(table(x=[" 1 ", "1e3", "inf", "", "N/A", "12,50", "1_0", "١", None]).columns["x"])
    np.testing.assert_equal(numbers, [1, 1000, np.inf] + [np.nan] * 6)
    assert bad.tolist() == [False] * 5 + [True] * 3 + [False]
