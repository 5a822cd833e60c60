"""Does the documentation work as a site too: do its links lead somewhere, is each page in the menu, is nothing loaded?

`make docs` builds it; these tests need none of the site's libraries.
"""

import itertools
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
HOOKS: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "site_hooks.py"))
PAGES = sorted((ROOT / "docs").glob("*.md"))


def outside() -> dict[str, str | None]:
    found: dict[str, str | None] = HOOKS["outside"](
        [(f"docs/{page.name}", page.read_text(encoding="utf-8")) for page in PAGES]
    )
    return found


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("README.md", "index.md"),
        ("docs/prices.md", "prices.md"),
        ("docs/draw_architecture.py", "repository/docs/draw_architecture.py.md"),
        ("benchmarks/strong.py", "repository/benchmarks/strong.py.md"),
        ("benchmarks/results/C1.json", "repository/benchmarks/results/C1.json"),
        ("benchmarks/results", "repository/benchmarks/results/index.md"),
        ("benchmarks/advice", "repository/benchmarks/advice/README.md"),
    ],
)
def test_where_a_file_is_on_the_site(path: str, where: str) -> None:
    assert HOOKS["place"](path) == where


@pytest.mark.parametrize(
    ("page", "link", "on_the_site"),
    [
        ("README.md", "docs/honest.md", "honest.md"),
        ("README.md", "docs/plan.md#the-history", "plan.md#the-history"),
        ("README.md", "examples", "repository/examples/index.md"),
        ("docs/plan.md", "advise.md", "advise.md"),
        ("docs/plan.md", "../README.md", "index.md"),
        ("docs/plan.md", "../benchmarks/plan_accuracy.py", "repository/benchmarks/plan_accuracy.py.md"),
        ("docs/plan.md", "#the-history", "#the-history"),
        ("docs/plan.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("benchmarks/README.md", "../docs/benchmarks.md", "../../benchmarks.md"),
        ("examples", "small_cnn.py", "small_cnn.py.md"),
    ],
)
def test_links_are_written_anew(page: str, link: str, on_the_site: str) -> None:
    assert HOOKS["relinked"](f"See [this]({link}).", page) == f"See [this]({on_the_site})."


def test_links_in_code_stay() -> None:
    code = "```python\nnames[0](docs/plan.md)\n```\n"
    assert HOOKS["relinked"](f"[a](docs/plan.md)\n\n{code}\n[b](docs/plan.md)", "README.md") == (
        f"[a](plan.md)\n\n{code}\n[b](plan.md)"
    )


def test_everything_that_is_linked_becomes_a_page_or_a_file() -> None:
    found = outside()
    assert {"README.md", "CONTRIBUTING.md", "benchmarks/results", "benchmarks/results/C1.json", "examples"} <= set(
        found
    )
    assert found["benchmarks/results/C1.json"] is None  # copied
    assert str(found["examples/small_cnn.py"]).startswith("# examples/small_cnn.py\n\n```python\n")
    places = [HOOKS["place"](path) for path in found]
    assert len(set(places)) == len(places)


def slug(title: str) -> str:
    """As Git hosts and the site name a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda path: path.name)
def test_links_to_headings_lead_to_one(page: Path) -> None:
    for piece, code in HOOKS["pieces"](page.read_text(encoding="utf-8")):
        for link in [] if code else HOOKS["LINK"].findall(piece):
            name, mark, anchor = link.partition("#")
            if mark and ":" not in name:
                text = ((page.parent / name) if name else page).read_text(encoding="utf-8")
                assert anchor in {slug(line.lstrip("#")) for line in text.splitlines() if line.startswith("#")}, link


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert sorted(re.findall(r": (\S+)$", menu, re.MULTILINE)) == sorted(
        ["index.md", "repository/CHANGELOG.md", "repository/CONTRIBUTING.md", *(page.name for page in PAGES)]
    )


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda path: path.name)
def test_a_list_or_a_table_follows_an_empty_line(page: Path) -> None:
    """Otherwise the site's Markdown takes it for more of the paragraph."""
    for piece, code in HOOKS["pieces"](page.read_text(encoding="utf-8")):
        lines = [] if code else piece.split("\n")
        for before, line in itertools.pairwise(lines):
            if re.match(r"(-|\d+\.) ", line):
                assert not before or re.match(r"(-|\d+\.) |  ", before), line
            if line.startswith("|"):
                assert not before or before.startswith("|"), line


def test_what_belongs_to_an_item_is_indented_by_four() -> None:
    assert HOOKS["deeper"]("- a\n  b\n\n  | c |\n\n  d\n\nnext\n  e") == "- a\n    b\n\n    | c |\n\n    d\n\nnext\n  e"
    assert HOOKS["deeper"]("1. a\n   b\n```\n- c\n  d\n```") == "1. a\n    b\n```\n- c\n  d\n```"


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ('<script src="https://cdn.example/a.js">', ["https://cdn.example/a.js"]),
        ('<link rel="stylesheet" href="//fonts.example/css">', ["//fonts.example/css"]),
        ("<img alt='x' src='http://a.example/b.png'>", ["http://a.example/b.png"]),
        ('@import "https://a.example/c.css";', ["https://a.example/c.css"]),
        ("a { background: url(https://a.example/d.svg) }", ["https://a.example/d.svg"]),
        ('<a href="https://semver.org">', []),
        ('<script src="assets/a.js"><img src="data:image/png;base64,AA//">', []),
        ('<svg xmlns="http://www.w3.org/2000/svg">', []),
    ],
)
def test_what_would_be_loaded_from_another_host_is_found(text: str, addresses: list[str]) -> None:
    assert HOOKS["loaded"](text) == addresses


def test_a_docstring_that_is_not_on_the_page_is_named() -> None:
    table = "| `fit` | Train `one`. |\n| `load` | Load it. |"
    page = "<td><code>fit</code></td><td>Train <code>one</code>.</td><td>load</td><td>Load it.</td><p>Train one.</p>"
    assert HOOKS["undescribed"](table, page) == ["load"]
