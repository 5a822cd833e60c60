"""Do the public functions do what the command line does, and is a folder claimed, kept and given back rightly?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from torch import nn

import warmstart
from tests.cli_base import products
from tests.tiny import REGRESSION, Tower, tiny_rows
from warmstart import api
from warmstart.errors import InputError, MissingError, UsageError
from warmstart.models.pretrained.base import Base
from warmstart.request.request import Request, load_request, save_request
from warmstart.study.study import Study

QUICK = {"regimes": ("constant", "linear", "frozen"), "seeds": 1, "trials": 1, "length": 0.01, "text": "title"}
RESULTS = ("comparison.json", "advice.json", "report.html")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return products(tmp_path_factory.mktemp("data") / "products.csv")


@pytest.fixture(scope="module")
def study(data: Path, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("studies") / "study"
    done = warmstart.compare(data, "price", out, base=base.location, **QUICK)
    assert [row.name for row in done.comparison.table] and done.folder == out
    return out


def test_everything_public_is_there() -> None:
    assert {"read", "check", "compare", "fit", "load", "report"} <= set(warmstart.__all__)
    assert all(callable(getattr(warmstart, name)) for name in warmstart.__all__)
    assert set(warmstart.__all__) <= set(dir(warmstart)) and (Path(warmstart.__file__).parent / "py.typed").exists()
    with pytest.raises(AttributeError, match="nothing"):
        _ = warmstart.nothing


def test_check_says_what_was_recognized(data: Path, base: Base) -> None:
    found = warmstart.check(data, "price", base=base.location, text=["title"])
    assert (found.schema.task, found.schema.text, found.rows) == ("regression", ("title",), 120)
    assert warmstart.check(warmstart.read(data), "price", base=base.location, text=["title"]) == found
    columns = {"title": [f"a {i % 7} b" for i in range(60)], "room": ["hall", "office"] * 30}
    assert warmstart.check(warmstart.table_of(columns), "room", base=base.location).schema.task == "classification"


class Frame:
    """As pandas and polars give their columns."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._table = pa.table(columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def test_columns_in_memory_are_data_too(data: Path, base: Base) -> None:
    read = warmstart.read(data).columns
    columns = {name: read[name].to_pylist() for name in read.column_names}
    asked: dict[str, Any] = {"base": base.location, "text": ["title"]}
    expected = warmstart.check(data, "price", **asked)
    for given in (columns, Frame(columns), read, Frame(columns | {"__index_level_0__": columns["price"]})):
        assert warmstart.check(given, "price", **asked) == expected
    wrong: tuple[tuple[Any, str], ...] = (
        ({"title": ["a", 1], "price": [1, 2]}, "column 'title' of the given rows cannot be read"),
        ({"title": ["a"], "price": [1, 2]}, "the given rows cannot be read"),
        ({"title": "a", "price": [1]}, "column 'title' is one text where a list was expected"),
        ([{"title": "a", "price": 1}, "x"], "data is a list, which is neither files nor columns"),
        (3, "data is a int, which is neither files nor columns"),
    )
    for given, says in wrong:
        with pytest.raises(warmstart.WarmstartError, match=says):
            warmstart.check(given, "price", **asked)


def test_a_study_of_columns_in_memory_goes_on_after_a_stop(data: Path, base: Base, tmp_path: Path) -> None:
    columns = Frame(dict(warmstart.read(data).columns.to_pydict()))
    asked: dict[str, Any] = {"base": base.location, "text": ["title"], "regimes": ("constant", "linear"), "log": False}
    whole = warmstart.compare(columns, "price", tmp_path / "whole", **asked)
    request, table = api._asked("compare", columns, "price", asked)
    steps = api.compare_steps(api.start(request, tmp_path / "stopped", table))
    next(step for step in steps if (tmp_path / "stopped" / "runs").exists())
    steps.close()
    assert not (tmp_path / "stopped" / "comparison.json").exists()
    done = warmstart.resume(tmp_path / "stopped")
    assert isinstance(done, Study)
    assert [row.score for row in done.comparison.table] == [row.score for row in whole.comparison.table]
    assert warmstart.resume(tmp_path / "stopped") == done


def test_rows_in_memory_are_not_kept_where_no_texts_are(data: Path, base: Base, tmp_path: Path) -> None:
    columns = dict(warmstart.read(data).columns.to_pydict())
    asked: dict[str, Any] = {"base": base.location, "text": ["title"], "regimes": ("constant",), "examples": False}
    request, table = api._asked("compare", columns, "price", asked)
    api.start(request, tmp_path / "begun", table)
    assert not (tmp_path / "begun" / "table.parquet").exists()
    with pytest.raises(UsageError, match="made of rows in memory, which were not kept"):
        warmstart.resume(tmp_path / "begun")


def test_how_far_it_is_is_said_unless_quiet(
    data: Path, base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {"base": base.location, "text": ["title"], "regimes": ("constant", "linear"), "log": False}
    done = warmstart.compare(data, "price", tmp_path / "said", **asked)
    first, titles, *_, last = repr(done).splitlines()
    assert first == done.advice.reason and titles.startswith("regime")
    assert last == f"Report: {tmp_path / 'said' / 'report.html'}"
    out, err = capsys.readouterr()
    assert out == "" and "linear, 84 rows, seed 0" in err
    warmstart.compare(data, "price", tmp_path / "quiet", quiet=True, **asked)
    assert capsys.readouterr() == ("", "")


def test_a_study_leaves_its_results_and_can_be_read_back(study: Path) -> None:
    assert all((study / name).exists() for name in (*RESULTS, "winner", "request.json"))
    assert {run.regime for run in api.finished(study)} == {"constant", "linear", "frozen"}
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    again = api.finished_study(study)
    assert again is not None
    assert again.comparison.to_json() == json.loads((study / "comparison.json").read_text())
    assert json.loads(json.dumps(again.advice.to_json())) == json.loads((study / "advice.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before


def test_what_was_not_written_after_the_last_run_is_written_by_resuming(study: Path) -> None:
    before = (study / "comparison.json").read_bytes()
    for name in RESULTS:
        (study / name).unlink()
        assert api.finished_study(study) is not None
        assert (study / name).exists()
    assert (study / "comparison.json").read_bytes() == before


def test_a_report_without_examples_holds_no_text(study: Path) -> None:
    texts = tiny_rows(REGRESSION).texts
    page = warmstart.report(study).read_text(encoding="utf-8")
    assert any(text in page for text in texts)
    page = warmstart.report(study, examples=False).read_text(encoding="utf-8")
    assert not any(text in page for text in texts)
    assert "warmstart compare" in page


def test_a_study_asked_for_no_examples_keeps_no_text(data: Path, base: Base, tmp_path: Path) -> None:
    quick = QUICK | {"regimes": ("constant", "linear")}
    warmstart.compare(data, "price", tmp_path / "s", base=base.location, examples=False, **quick)
    title = tiny_rows(REGRESSION).texts[0]
    assert not (tmp_path / "s" / "examples.parquet").exists()
    kept = [path for path in (tmp_path / "s").iterdir() if path.is_file()]
    assert kept and all(title.encode() not in path.read_bytes() for path in kept)


def test_a_study_that_was_stopped_goes_on_and_comes_to_the_same(
    study: Path, data: Path, base: Base, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    request = replace(load_request(study), data=(str(data),))
    steps = api.compare_steps(api.start(request, out))
    next(now for now in steps if now.message.startswith("linear"))
    steps.close()
    assert [run.regime for run in api.finished(out)] == ["constant", "linear"]
    assert api.finished_study(out) is None
    with pytest.raises(UsageError, match="not finished"):
        warmstart.blind(out, ["linear", "constant"])
    assert "This study is not finished" in warmstart.report(out).read_text(encoding="utf-8")
    with pytest.raises(InputError, match="no trained model yet"):
        warmstart.load(out)
    with pytest.raises(UsageError, match="already exists"):
        api.start(request, out)
    done = api.run_to_end(api.compare_steps(api.restart(load_request(out), out)))
    scores = {row.name: row.score for row in done.comparison.table}
    expected = api.finished_study(study)
    assert expected is not None and scores == {row.name: row.score for row in expected.comparison.table}


def test_a_study_whose_data_has_changed_does_not_go_on(study: Path, data: Path, tmp_path: Path) -> None:
    out, copy = tmp_path / "s", tmp_path / "copy.csv"
    copy.write_text(data.read_text())
    request = replace(load_request(study), data=(str(copy),))
    steps = api.compare_steps(api.start(request, out))
    next(now for now in steps if now.message.startswith("constant"))
    steps.close()
    copy.write_text(data.read_text().replace("oak", "elm"))
    with pytest.raises(InputError, match="the data has changed"):
        api.run_to_end(api.compare_steps(api.restart(load_request(out), out)))
    assert len(api.finished(out)) == 1  # nothing is lost
    copy.write_text(data.read_text())
    assert api.run_to_end(api.compare_steps(api.restart(load_request(out), out))).folder == out


def test_a_folder_is_claimed_last_and_given_back_where_nothing_can_begin(
    data: Path, base: Base, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    with pytest.raises(UsageError, match="no column"):
        warmstart.compare(data, "prices", out)
    assert not out.exists()
    with pytest.raises(MissingError):
        warmstart.compare(data, "price", out, base="no_such_base")
    assert not out.exists()
    request = Request((str(data),), "price", base=(base.location,))
    api.start(request, out)  # and was killed before anything was measured
    begun = api.start(replace(request, seeds=1), out)
    assert load_request(out).seeds == 1 and begun.fresh
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        api.start(request, out)
    with pytest.raises(UsageError, match="not known"):
        api.run_to_end(api.compare_steps(replace(begun, request=replace(request, regimes=("ful",)))))
    assert (out / "notes.txt").exists() and (out / "request.json").exists()  # not ours alone: nothing is removed


def test_what_was_begun_before_keeps_its_request_when_it_cannot_go_on(data: Path, tmp_path: Path) -> None:
    request = Request((str(data),), "price", base=("no_such_base",))
    api.start(request, tmp_path / "s")
    with pytest.raises(MissingError):
        api.run_to_end(api.compare_steps(api.restart(request, tmp_path / "s")))
    assert load_request(tmp_path / "s") == request


def test_going_on_without_the_data_says_what_it_was_made_of(tmp_path: Path) -> None:
    data = products(tmp_path / "products.csv")
    request = Request((str(data),), "price", base=("no_such_base",))
    api.start(request, tmp_path / "s")
    data.unlink()
    with pytest.raises(InputError, match="there is no file") as raised:
        api.restart(request, tmp_path / "s")
    assert f"was made of {str(data)!r}: put the data back" in raised.value.hint


def test_a_network_of_ones_own_is_one_more_regime(data: Path, base: Base, tmp_path: Path) -> None:
    def tower(vocabulary: int) -> nn.Module:
        return Tower(vocabulary)

    few = {"trials": 1, "length": 0.01, "text": "title", "base": base.location}
    run = warmstart.fit(data, "price", "scratch-tower", tmp_path / "run", own={"tower": tower}, **few)
    assert (run.regime, run.family) == ("scratch-tower", "scratch")
    assert api.finished_run(tmp_path / "run") == run
    with pytest.raises(UsageError, match="a report compares several"):
        warmstart.report(tmp_path / "run")
    with pytest.raises(UsageError, match="architecture of its own"):
        warmstart.load(tmp_path / "run")
    with pytest.raises(UsageError, match="name it again"):
        save_request(replace(load_request(tmp_path / "run"), model="net.py:tower"), tmp_path / "run")
        api.resumable(tmp_path / "run", None)
    other = warmstart.fit(data, "price", "linear", tmp_path / "other", own={"tower": tower}, **few)
    assert other.regime == "linear"  # the regime that was named


def test_resume_refuses_to_leave_out_a_network_of_ones_own(data: Path, base: Base, tmp_path: Path) -> None:
    out = tmp_path / "study"
    few = QUICK | {"regimes": ("constant",), "base": base.location}
    warmstart.compare(data, "price", out, own={"tower": Tower}, **few)
    (out / "study.json").unlink()  # as if it had been stopped
    with pytest.raises(UsageError, match="'scratch-tower' is not known"):
        api.run_to_end(api.compare_steps(api.restart(api.resumable(out, None), out)))
