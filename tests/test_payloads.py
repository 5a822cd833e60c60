"""Payloads: does any of 200 texts that are markup become more than text, in the report, blind votes or served page?"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from hostile.browser import Markup, counting_server, find_browser, open_page, without_policy
from hostile.payloads import payloads, write_pages
from tests.tiny import save_tiny_base

PAGES = {"a study's report": 3, "report": 3, "blind votes": 1, "served page": 0}  # with how many scripts of our own
OURS = {"img", "iframe", "object", "embed", "base", "video", "audio", "math", "template", "marquee"}  # none of these


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, list[str]]]:
    with counting_server() as found:
        yield found


@pytest.fixture(scope="module")
def pages(server: tuple[int, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return write_pages(folder, server[0], save_tiny_base(folder / "base"))


def test_there_are_200_of_them() -> None:
    assert len(set(payloads(1))) == 200


@pytest.mark.parametrize("name", PAGES)
def test_no_payload_becomes_an_element_an_attribute_or_a_script(name: str, pages: Mapping[str, Path]) -> None:
    found = Markup(pages[name].read_text(encoding="utf-8"))
    assert found.wrong == [] and found.scripts == PAGES[name]
    assert {tag for tag, *_ in found.elements}.isdisjoint(OURS)


def test_a_page_that_escapes_nothing_is_seen() -> None:
    page = "<html><body>" + "".join(payloads(1))
    found = Markup(page)
    assert len(found.wrong) > 100 and found.scripts > 30


@pytest.mark.timeout(600)  # on a busy machine a browser takes its time
@pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed: what a browser does is not looked at")
@pytest.mark.parametrize("name", PAGES)
def test_a_browser_runs_no_code_and_asks_for_nothing(
    name: str, pages: Mapping[str, Path], server: tuple[int, list[str]]
) -> None:
    """By escaping alone: `make hostile` opens the pages with their policy, too."""
    browser = find_browser()
    assert browser is not None
    assert open_page(browser, without_policy(pages[name]), server[1]) == []


@pytest.mark.timeout(600)
@pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed: what a browser does is not looked at")
def test_a_browser_is_seen_to_run_code_and_to_ask(server: tuple[int, list[str]], tmp_path: Path) -> None:
    """The same look at a page that escapes nothing."""
    browser, path = find_browser(), tmp_path / "open.html"
    assert browser is not None
    chosen = [text for text in payloads(server[0]) if text.startswith(("<img", "<svg onload", "<script>"))]
    quiet = "".join(chosen).replace("alert(1)", "0")  # a dialog would wait for a person
    path.write_text(f"<html><body>{quiet}", encoding="utf-8")
    wrong = "; ".join(open_page(browser, path, server[1]))
    assert "code ran" in wrong and "requests" in wrong and "pieces of markup" in wrong
