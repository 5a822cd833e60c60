"""Is the model that a study hands over the one that its verdict names?"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import warmstart
from tests.cli_base import call, write_csv
from tests.run_factory import make_comparison, make_runs
from warmstart.advice.advise import advice_for
from warmstart.results.constraints import Excluded
from warmstart.study.winner import keep_winner

WORDS = ("oak", "elm", "pine", "steel", "glass", "lamp", "chair", "table")


@pytest.mark.parametrize(("told", "winner"), [(0.0, "constant"), (40.0, "linear")])
def test_where_nothing_beats_the_constant_the_constant_is_handed_over(told: float, winner: str, tmp_path: Path) -> None:
    """Case 25: the verdict said the constant, and winner/ held `linear`."""
    dice = np.random.default_rng(3)
    texts = [" ".join(dice.choice(WORDS, 4)) for _ in range(300)]
    rows = [(text, f"{50 + told * text.count('oak') + dice.normal(0, 10):.2f}") for text in texts]
    data = write_csv(tmp_path / "t.csv", ("text", "y"), rows)
    words = ("--target", "y", "--regimes", "constant,linear", "--seeds", "1", "--out", tmp_path / "study", "--quiet")
    answer = call("compare", data, *words)
    assert answer.code == 0, answer.err
    advice = json.loads((tmp_path / "study" / "advice.json").read_text())
    assert (advice["verdict"] == "nothing beats the constant") == (winner == "constant")
    assert warmstart.load(tmp_path / "study").regime == winner
    assert f"The model in winner/ is `{winner}`" in " ".join(answer.out.split())


def test_where_nothing_is_allowed_no_model_is_handed_over(tmp_path: Path) -> None:
    """The first baseline is there while the others train, but it may be too large."""
    made = make_comparison(make_runs({"constant": 0.2, "linear": 0.6}))
    made = replace(made, excluded=(Excluded("linear", "max-size", "it takes 14.4 KB, more than 3 KB"),))
    (tmp_path / "winner").mkdir()
    advice = advice_for(made)
    keep_winner(made, advice, tmp_path)
    assert advice.verdict == "nothing is allowed" and not (tmp_path / "winner").exists()
    assert advice.next_step.endswith("such as --regimes scratch-dnn.")
