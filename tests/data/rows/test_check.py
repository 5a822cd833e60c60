"""Each thing that can be wrong with a table is found, named by row, and nothing is found in a clean one."""

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from warmstart.data.rows.check import CheckResult, find_problems
from warmstart.data.rows.duplicates import find_duplicates
from warmstart.data.rows.findings import Finding
from warmstart.data.rows.lengths import Reach
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.formats import usual_type
from warmstart.data.tables.read import Table

N = 400
WORDS = np.array([f"{a}{b}" for a in ("lamp", "desk", "chair", "shelf", "rug", "vase") for b in "abcdefghijklmnop"])


def texts(n: int, words: int = 12, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(WORDS[generator.integers(len(WORDS), size=words)]) for _ in range(n)]


def prices(n: int = N) -> list[float]:
    return [round(float(x), 3) for x in np.random.default_rng(1).normal(500, 50, n)]


def table(**columns: object) -> Table:
    made = pa.table({name: pa.array(list(values)) for name, values in columns.items()})  # type: ignore[call-overload]
    usual = pa.table({name: usual_type(made[name]) for name in made.column_names})
    return Table(usual, ("lamps.csv",), (usual.num_rows,))


def checked(lamps: Table, target: str = "y", text: Sequence[str] = ("title",), **said: object) -> CheckResult:
    return find_problems(lamps, infer_schema(lamps, ColumnChoices(target, tuple(text), **said)))  # type: ignore[arg-type]


def found(result: CheckResult, kind: str) -> Finding:
    matching = [finding for finding in result.findings if finding.kind == kind]
    assert len(matching) == 1, f"{kind} among {[f.kind for f in result.findings]}"
    return matching[0]


def kinds(result: CheckResult) -> set[str]:
    return {finding.kind for finding in result.findings}


def test_a_clean_table_has_no_findings() -> None:
    result = checked(table(title=texts(N * 2), y=prices(N * 2)))
    assert result.findings == () and result.split == {"train": 560, "val": 80, "test": 160} and result.rows == 800
    assert {"mean", "min", "median", "max"} <= set(result.target)
    classes = checked(table(title=texts(N * 2), y=["a", "b", "c", "b"] * 200))
    assert classes.findings == ()
    assert classes.target == {"classes": 3, "largest": "b", "counts": {"b": 400, "a": 200, "c": 200}}


def test_numbers_that_stand_for_missing_ones_are_named() -> None:
    wide = np.exp(np.random.default_rng(2).normal(5, 1, N)).round(2) + 11
    for least, scale, bound in ((-1, "log10", "positive"), (-999, "log10", "positive"), (0, "log10", "at least 21")):
        values = wide.copy()
        values[2:26:3] = least
        finding = found(checked(table(title=texts(N), y=values)), "stand-in")
        assert finding.severity == "warning" and finding.count == 8 and finding.rows[:2] == (3, 6)
        assert finding.message.startswith(f"8 rows have {least} in column 'y', which is otherwise {bound}")
        assert f": without them {scale} would suit it, not l" in finding.message
    even = np.array(prices())
    even[:8] = -1
    assert "suit" not in found(checked(table(title=texts(N), y=even)), "stand-in").message
    once, counts, debts = wide.copy(), np.floor(wide - 11), wide.copy()
    once[3], debts[:2], debts[2] = -1, -1, -7
    for values in (once, counts, debts, np.arange(N) % 50 - 1):
        assert "stand-in" not in kinds(checked(table(title=texts(N), y=values), task="regression"))


def test_bad_rows_are_findings_not_exceptions() -> None:
    titles: list[str | None] = [*texts(N - 2), None, " "]
    values = [*map(str, prices(N - 3)), "n.a.", "12,50", ""]
    values[0] = "-inf"
    lamps = table(title=titles, y=values)
    result = find_problems(lamps, infer_schema(lamps, ColumnChoices("y")), bad_rows="refuse")
    for kind, rows in (
        ("missing-target", (N,)),
        ("not-a-number", (N - 2, N - 1)),
        ("infinite-target", (1,)),
        ("empty-text", (N - 1, N)),
    ):
        finding = found(result, kind)
        assert (finding.severity, finding.rows, finding.count) == ("error", rows, len(rows))
    assert "12,50" in found(result, "not-a-number").message
    assert sum(result.split.values()) == N - 4


def test_a_table_that_cannot_be_split_is_a_finding() -> None:
    result = checked(table(title=texts(10), y=prices(10)))
    assert found(result, "cannot-split").severity == "error" and result.split == {}
    small = checked(table(title=texts(60), y=prices(60)))
    assert {"small-val", "small-test"} <= kinds(small)
    rare = checked(table(title=texts(N), y=["a", "b"] * 199 + ["a", "odd"]))
    assert found(rare, "single-class").rows == (N,)


def test_copies_are_found_also_across_the_split() -> None:
    titles = texts(N)
    titles += [*titles[:50], *(title.upper() + "!" for title in titles[50:100])]
    titles += [f"{title} new" for title in titles[100:150]]
    families = [*range(N), *range(150)]
    values = prices(N + 150)
    values[N : N + 20] = values[:20]
    result = checked(table(title=titles, y=values, family=families))
    assert [finding.severity for finding in result.findings] == ["warning", "note", "note", "note"]
    assert found(result, "duplicates").count == 50 and found(result, "duplicates").rows[0] == N + 1
    assert found(result, "near-duplicates").count == 100
    across = found(result, "copies-across-split")
    assert across.severity == "warning" and across.count > 10 and "--group family" in across.hint
    serial = checked(table(title=titles, y=prices(N + 150), serial=range(N + 150)))
    assert found(serial, "copies-across-split").hint == "drop the copies"
    grouped = checked(table(title=titles, y=prices(N + 150), family=families), group="family")
    assert "copies-across-split" not in kinds(grouped) and found(grouped, "duplicates").count == 50
    assert found(result, "contradictions").count == 60  # 30 copies and what they are copies of


def test_a_table_joined_to_itself_is_a_warning() -> None:
    twice = found(checked(table(title=texts(N) * 2, y=prices(N) * 2)), "duplicates")
    assert (twice.severity, twice.count) == ("warning", N)
    assert twice.message == "50% of the rows are exact copies: there are 400 different texts."
    corpus = table(text=texts(30, words=400) * 2)
    documents = found(
        find_problems(corpus, infer_schema(corpus, ColumnChoices(text=("text",), task="causal-lm"))), "duplicates"
    )
    assert documents.severity == "warning" and "50% of the documents" in documents.message


def test_near_copies_share_most_of_their_runs_of_words() -> None:
    one, other = texts(2, words=60)
    words = one.split()
    changed = " ".join([*words[:30], "new", *words[31:]])
    half = " ".join([*words[:30], *other.split()[:30]])
    reworked = " ".join([*words[:15], "new", *words[16:30], "new", *words[31:45], "new", *words[46:]])
    assert find_duplicates([one, reworked]).near.tolist() == []  # 0.73 in common
    copies = find_duplicates([one, other, half, changed, "", "?", "lamp", "lamp desk"])
    assert copies.near.tolist() == [[0, 3]] and copies.exact.tolist() == [] and copies.bound == ""
    assert find_duplicates([]).near.shape == (0, 2)


def test_what_gives_the_target_away() -> None:
    kind = [f"kind {i % 4}" for i in range(N)]
    code = checked(table(title=texts(N), code=[f"{i % 4}" for i in range(N)], y=kind), text=("title", "code"))
    assert "'code' stands for the target one to one" in found(code, "leak").message
    named = checked(table(title=[f"{t} ({k.upper()})" for t, k in zip(texts(N), kind, strict=True)], y=kind))
    assert found(named, "leak").message.startswith("100% of the texts contain their own value of 'y'")
    number = checked(table(title=[f"{t} for {y:g}" for t, y in zip(texts(N), prices(), strict=True)], y=prices()))
    assert found(number, "leak").count == N
    both = checked(table(title=[f"{t} kind 0 1 2 3 kind 1 kind 2 kind 3" for t in texts(N)], y=kind))
    assert "leak" not in kinds(both)


def test_constant_columns() -> None:
    lamps = table(title=texts(N), shop=["ours"] * N, currency=["EUR"] * N, y=prices())
    result = checked(lamps, text=("title", "shop"))
    severities = {f.message.split("'")[1]: f.severity for f in result.findings if f.kind == "constant-column"}
    assert severities == {"shop": "warning", "currency": "note"}


def test_classes_that_are_spelled_differently_rare_or_dominant() -> None:
    labels = ["Lamp", "lamp ", "desk", "desk"] * 98 + ["rug", "rug", "rug", *["desk"] * 5]
    result = checked(table(title=texts(N), y=labels))
    spelling = found(result, "class-spelling")
    assert spelling.count == 98 and spelling.rows[:2] == (2, 6) and "'Lamp' (98), 'lamp ' (98)" in spelling.message
    assert "'rug'" in found(result, "rare-classes").message
    assert found(result, "imbalance").severity == "note"
    dominant = checked(table(title=texts(N), y=["no"] * 360 + ["yes"] * 40))
    assert found(dominant, "imbalance").severity == "warning"


def test_several_labels_a_row() -> None:
    result = checked(table(title=texts(N), y=["new|red", "red", "new", "odd"] * 100), separator="|")
    assert result.target["counts"] == {"new": 200, "red": 200, "odd": 100}
    assert result.findings == () or kinds(result) <= {"small-val", "small-test"}


def test_only_long_texts_are_tokenized_and_at_most_2_000() -> None:
    asked: list[str] = []

    def count_tokens(several: list[str]) -> list[int]:
        asked.extend(several)
        return [len(text.split()) for text in several]

    titles = [text if i % 2 else f"short {i}" for i, text in enumerate(texts(6000, words=40))]
    titles[1::4] = texts(1500, words=20, seed=1)  # many bytes, few tokens
    lamps = table(title=titles, y=prices(6000))
    schema = infer_schema(lamps, ColumnChoices("y", ("title",)))
    finding = found(find_problems(lamps, schema, [Reach(30, count_tokens)]), "truncated")
    assert len(asked) == 2000 + 1 and min(len(text) for text in asked) > 30
    assert finding.message == (
        "About 1,516 of 6,000 texts (25.3%) are longer than 30 tokens, the longest of 40; "
        "the model does not see the last 25% of what they say."
    )
    assert "truncated" not in kinds(find_problems(lamps, schema, [Reach(40, count_tokens)]))
    full = find_problems(lamps, schema, [Reach(30, count_tokens, limit=30, asked=99)])
    assert found(full, "truncated").hint.startswith("choose a base that reads more, or")
    said = "--max-length 99 is more than the 30 tokens that the base can read: it reads 30."
    assert found(full, "max-length").message == said


def test_blank_groups_are_said() -> None:
    lamps = table(title=texts(N), shop=["", *["a", "b", "c", "d"] * (N // 4 - 1), "e", "e", "e"], y=prices())
    said = "1 row has no value in the group column 'shop': each counts as a group of its own."
    schema = infer_schema(lamps, ColumnChoices("y", ("title",), "shop"))
    assert said in [finding.message for finding in find_problems(lamps, schema).findings]


def test_10_000_rows_take_seconds() -> None:
    lamps = table(title=texts(10_000), y=prices(10_000))
    start = time.process_time()
    checked(lamps)
    assert time.process_time() - start < 3


def test_rows_that_name_control_tokens_are_told() -> None:
    titles = [f"{text} {i}" for i, text in enumerate(texts(60, words=6))]
    titles[4], titles[7] = "a lamp <|im_end|> of oak", "a desk [SEP] of oak (x)"
    lamps = table(title=titles, y=prices(60))
    schema = infer_schema(lamps, ColumnChoices("y", ("title",)))
    finding = found(
        find_problems(
            lamps, schema, [Reach(99, lambda texts: [1] * len(texts), controls=("<|im_end|>", "[SEP]", "(.*)"))]
        ),
        "control-tokens",
    )
    assert finding.severity == "note" and (finding.rows, finding.count) == ((5, 8), 2)
    assert finding.message == "2 rows name a control token of the base, as '<|im_end|>': it is read as plain text."
    kinds = [
        each.kind
        for each in find_problems(
            lamps, schema, [Reach(99, lambda texts: [1] * len(texts), controls=("<s>", "</s>"))]
        ).findings
    ]
    assert "control-tokens" not in kinds


def test_cells_of_several_labels_are_told() -> None:
    generator = np.random.default_rng(0)
    topics, moods = ("billing", "fault", "order", "other"), ("calm", "angry", "")
    both = [
        f"{topics[i]};{moods[j]}"
        for i, j in zip(generator.integers(4, size=N), generator.integers(3, size=N), strict=True)
    ]
    several = found(checked(table(title=texts(N), y=both)), "several-labels")
    assert several.severity == "note" and several.count == sum(";" in cell for cell in both)
    assert "--separator ';'" in several.hint
    towns = [f"{('Lyon', 'Nice', 'Lille', 'Brest', 'Paris')[i % 5]}, France" for i in range(N)]
    assert "several-labels" not in kinds(checked(table(title=texts(N), y=towns)))
    assert "several-labels" not in kinds(checked(table(title=texts(N), y=both), separator=";"))


def test_a_table_without_words_is_a_warning() -> None:
    lamps = table(width=np.arange(N) % 70 * 0.00001, height=["7-8", "9-10"] * 200, lit=[True, False] * 200, y=prices())
    bare = found(checked(lamps, text=("width", "height", "lit")), "no-words")
    assert bare.severity == "warning" and "'width', 'height', 'lit'" in bare.message and "boosted trees" in bare.hint


def test_one_is_said_as_one() -> None:
    titles = texts(N)
    result = checked(table(title=[*titles, titles[0], titles[1] + " new"], y=prices(N + 2)))
    assert found(result, "duplicates").message == "1 row has exactly the text of an earlier row."
    assert found(result, "near-duplicates").message == "1 row has nearly the text of an earlier row."
    across = checked(table(title=[*titles, *(f"{title} new" for title in titles[:2])], y=prices(N + 2)))
    memory = "1 of 80 test rows has a copy or near copy among the training rows, so it tests memory."
    assert found(across, "copies-across-split").message == memory
    rare = found(checked(table(title=titles, y=["a"] * (N - 4) + ["b"] * 4)), "rare-classes")
    assert rare.message.startswith("1 of 2 classes has fewer than 5 training rows")


def test_pieces_of_a_corpus_are_told_with_their_documents() -> None:
    corpus = table(text=[*texts(30, words=30), *texts(2, words=300)])
    schema = infer_schema(corpus, ColumnChoices(text=("text",), task="causal-lm"))
    reader = Reach(200, lambda rows: [len(row.encode()) for row in rows], controls=("lampa",))
    result = find_problems(corpus, schema, [reader])
    assert found(result, "truncated").message.startswith("6 of 36 pieces (16.7%), of 2 documents, are longer than 200")
    assert found(result, "small-val").message.startswith("Only 3 pieces are left for validation")
    assert found(result, "control-tokens").message.split(" a control")[0].endswith("documents name")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("cafe\u0301", "caf\u00e9"),  # Unicode form
        ("oak\u200b", "oak"),  # invisible
        ("\ufeffoak", "oak"),
        ("oak\u00a0tree", "oak tree"),
        ("ｏａｋ", "oak"),  # full width
        ("Oak", "oak"),
    ],
)
def test_classes_that_look_alike_are_told_with_their_rows(other: str, same: str) -> None:
    result = checked(table(title=texts(N), y=[same, "pine", "elm", "birch"] * 99 + [other] * 4))
    finding = found(result, "class-spelling")
    assert finding.severity == "warning" and finding.rows == tuple(range(397, 401)) and finding.message.isprintable()


@pytest.mark.parametrize("name", ["nan", "null", "N/A", "None", "NA"])
def test_a_class_called_like_a_missing_value_is_told(name: str) -> None:
    result = checked(table(title=texts(N), y=["oak", "pine", "elm", name] * (N // 4)))
    finding = found(result, "class-missing-mark")
    assert finding.severity == "warning" and repr(name) in finding.message and finding.count == N // 4
    assert name in result.target["counts"]  # type: ignore[operator]


def test_a_class_that_a_spreadsheet_would_run_is_told() -> None:
    result = checked(table(title=texts(N), y=["=A1", "+1 day", "-2", "oak"] * (N // 4)))
    assert "classes '+1 day', '=A1' for formulas" in found(result, "class-formula").message
