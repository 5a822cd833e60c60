"""Votes: is a page of answers made only where there are any, and do votes on it stay with the study?"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.run_factory import make_comparison, make_run, make_scores
from warmstart.errors import InputError, UsageError
from warmstart.reporting.votes import BOOK, PAGE, enter_votes, preferences, write_blind_page
from warmstart.results.comparison import Comparison

ROWS = 30
TEXTS = {row: f"source {row}" for row in range(1, ROWS + 1)}


def written(name: str, answers: list[str], failed: str | None = None) -> Any:
    columns = {"row": list(TEXTS), "target": [f"reference {row}" for row in TEXTS], "prediction": answers}
    run = make_run(name, make_scores(np.ones(ROWS)), failed=failed)
    return replace(run, task="summarise", metric="ROUGE-L", units="", predictions=columns)


@pytest.fixture
def comparison() -> Comparison:
    full = [f"full {row}" for row in TEXTS]
    lora = [*full[:10], *(f"lora {row}" for row in list(TEXTS)[10:])]
    lost = written("scratch", [], "diverged at step 12")
    return make_comparison([written("full", full), written("lora", lora), replace(lost, predictions={}, test=None)])


def voted(folder: Path, wins: str) -> Path:
    """A person who sees through it and always prefers answers that begin like this."""
    page = (folder / PAGE).read_text(encoding="utf-8")
    sides = re.findall(r'aria-label="(Left|Right)"><h2>\1</h2><div class="text" dir="auto">([^<]*)', page)
    left = [text for side, text in sides if side == "Left"]
    choices = {str(i): "left" if text.startswith(wins) else "right" for i, text in enumerate(left, 1)}
    file = folder / "votes.json"
    name = re.findall(r'data-page="([0-9a-f]+)"', page)[0]
    file.write_text(json.dumps({"page": name, "votes": choices}))
    return file


def test_votes_are_put_back_and_stay_with_the_study(comparison: Comparison, tmp_path: Path) -> None:
    write_blind_page(comparison, TEXTS, ("full", "lora"), tmp_path)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert page.count("<article") == 20 and "full 5" not in page, "where both wrote the same there is nothing to choose"
    assert preferences(tmp_path) == ()
    found = enter_votes(tmp_path, voted(tmp_path, "lora"))
    assert (found.a, found.b, found.pairs, found.identical) == ("full", "lora", 20, 10)
    assert (found.tally.a, found.tally.b) == (0, 20) and found.statement.endswith("`lora` is preferred.")
    write_blind_page(comparison, TEXTS, ("full", "lora"), tmp_path)
    write_blind_page(comparison, TEXTS, ("full", "reference"), tmp_path)
    assert preferences(tmp_path) == (found,), "making pages again loses no votes"
    assert enter_votes(tmp_path, voted(tmp_path, "reference")).tally.b == 30
    assert [each.b for each in preferences(tmp_path)] == ["reference", "lora"]
    assert found.to_json()["share_a"] == 0.0 and found.to_json()["interval"][1] < 0.2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("full", "loar"), "'loar' wrote no answers in this study"),
        (("full",), "--pairs is 'full'; it takes two different names"),
        (("full", "full"), "it takes two different names"),
        (("full", "scratch"), "'scratch' failed in this study"),
    ],
)
def test_names_that_wrote_nothing_are_refused(
    names: tuple[str, ...], message: str, comparison: Comparison, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        write_blind_page(comparison, TEXTS, names, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_study_without_texts_or_answers_has_no_page(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keeps no texts"):
        write_blind_page(comparison, None, ("full", "lora"), tmp_path)
    with pytest.raises(UsageError, match="the task of this study is causal-lm: its regimes wrote no answers"):
        write_blind_page(replace(comparison, task="causal-lm"), TEXTS, ("full", "lora"), tmp_path)


def test_votes_for_something_else_are_refused(comparison: Comparison, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_blind_page(comparison, TEXTS, ("full", "lora"), other)
    file = voted(other, "lora")
    with pytest.raises(InputError, match=r"no page of the study .* was made to vote on"):
        enter_votes(tmp_path, file)
    write_blind_page(comparison, TEXTS, ("lora", "full"), tmp_path)
    with pytest.raises(InputError, match="no votes on a page of this study"):
        enter_votes(tmp_path, file)
    for content, message in (("{", "cannot be read"), ("[]", "its page is None"), ('{"page": ["x"]}', "its page is")):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            enter_votes(tmp_path, file)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        enter_votes(tmp_path, tmp_path / "none.json")
    (tmp_path / BOOK).write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        preferences(tmp_path)
