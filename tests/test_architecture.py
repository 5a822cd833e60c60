"""Is the picture of the architecture, and its list of files, that of the code?"""

import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
DRAW: dict[str, Any] = runpy.run_path(str(DOCS / "draw_architecture.py"))
AGAIN = "run `python docs/draw_architecture.py`"


def test_the_committed_picture_shows_the_imports_of_today() -> None:
    arrows, boxes = DRAW["drawn"](DRAW["PICTURE"].read_text(encoding="utf-8"))
    assert arrows == DRAW["arrows"](), AGAIN
    assert boxes == [(package.name, package.files) for package in DRAW["packages"]()], AGAIN


def test_every_arrow_points_down() -> None:
    order = DRAW["layers"]()
    assert all(order.index(start) < order.index(end) for start, end in DRAW["arrows"]())


def test_the_committed_list_has_the_files_of_today() -> None:
    page = DRAW["PAGE"].read_text(encoding="utf-8")
    assert page == DRAW["placed"](page, DRAW["file_list"]()), AGAIN


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import warmstart.data.rows.split", {"data"}),
        ("from warmstart import api, errors", {"api", "errors"}),
        ("def f():\n    from warmstart.models.layers import Layers", {"models"}),
        ("from warmstartled.data import x\nimport numpy.data", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(line: str, found: set[str], tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(line)
    assert DRAW["imported"](tmp_path / "module.py", {"data", "api", "errors", "models"}) == found


def test_an_arrow_that_a_longer_way_implies_is_not_essential() -> None:
    assert DRAW["essential"]({("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}) == {("a", "b"), ("b", "c"), ("a", "d")}


@pytest.mark.parametrize(
    ("docstring", "line"),
    [
        ("Loop: how is it done?", "How is it done?"),
        ("How is it done?", "How is it done?"),
        ("Read a file: how is it done?", "How is it done?"),
        ("A very long beginning of it: this and that.", "A very long beginning of it: this and that."),
    ],
)
def test_the_name_in_front_of_the_first_line_is_left_out(docstring: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(f'"""{docstring}\n\nMore.\n"""\n')
    assert DRAW["first_line"](tmp_path / "loop.py") == line
