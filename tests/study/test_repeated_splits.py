"""Repeated splits: is each seed trained and tested on a split of its own, and is that said?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import warmstart
from tests.tiny import COLORS, MATERIALS, ROOMS
from warmstart.data.rows.split import text_hashes
from warmstart.errors import UsageError
from warmstart.planning.estimates import total_seconds
from warmstart.planning.run_plan import first_plan
from warmstart.request.prepare import options_of, prepare_problem
from warmstart.request.read_data import prepare_data
from warmstart.request.request import Request
from warmstart.results.refit_record import load_refit
from warmstart.runtime.files import read_json
from warmstart.study.study import read_study

SPLITS = 3


@pytest.fixture
def table(tmp_path: Path) -> Path:
    titles = [f"{c} {m} {t}" for m in MATERIALS for t in ROOMS for c in COLORS][:60]
    noise = np.random.default_rng(0).normal(size=len(titles))
    pd.DataFrame({"title": titles, "price": [10 * len(t) + 5 * n for t, n in zip(titles, noise, strict=True)]}).to_csv(
        tmp_path / "few.csv", index=False
    )
    return tmp_path / "few.csv"


def test_each_seed_has_a_split_of_its_own_and_the_answer_says_so(table: Path, tmp_path: Path) -> None:
    study = warmstart.compare(
        table, "price", tmp_path / "study", splits=SPLITS, regimes=["linear", "scratch-dnn", "ensemble"],
        trials=1, length=0.1, refit="validation", log=False,
    )  # fmt: skip
    prepared = prepare_data(Request((str(table),), "price", splits=SPLITS))
    splits = (prepared.splits, *prepared.more_splits)
    assert len({each.fingerprint for each in splits}) == SPLITS
    for each in splits:
        hashes = [set(text_hashes(part).tolist()) for part in (each.train, each.val, each.test)]
        assert sum(map(len, hashes)) == 60 and not set.intersection(*hashes)
    runs = [run for run in study.comparison.runs if run.regime in ("linear", "scratch-dnn", "ensemble")]
    assert sorted(run.seed for run in runs) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for run in runs:
        assert run.predictions["row"] == splits[run.seed].test.numbers.tolist()
    refit = load_refit(tmp_path / "study" / "refit")
    if refit is not None:
        assert refit.rows == len(splits[0].train) + len(splits[0].val)
    assert study.comparison.splits == SPLITS
    assert read_json(tmp_path / "study" / "comparison.json", dict)["splits"] == SPLITS
    assert "tested on 3 splits of the rows" in study.advice.reason
    assert "of each of 3 splits" in repr(study.comparison)
    assert "runs on 3 splits (fingerprint" in (tmp_path / "study" / "report.html").read_text()
    assert read_study(tmp_path / "study").comparison.splits == SPLITS


def test_the_budget_counts_every_split(table: Path, tmp_path: Path) -> None:
    def seconds(splits: int) -> float:
        request = Request((str(table),), "price", regimes=("scratch-dnn",), seeds=3, splits=splits)
        problem = prepare_problem(request, prepare_data(request), {}, tmp_path).problem
        plan = first_plan(problem, options_of(request, problem))
        assert len(plan.seeds) == (splits if splits > 1 else 3)
        return total_seconds(replace(plan, seconds_per_row={"scratch-dnn": 0.001}))

    assert seconds(6) > 1.5 * seconds(1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"splits": 2}, "too few"),
        ({"splits": 5, "seeds": 4}, "seeds is 4"),
        ({"splits": 5, "time": "when"}, "time does not go with splits"),
        ({"splits": 5, "previous": "old"}, "previous does not go with splits"),
        ({"splits": 5, "command": "advise"}, "for compare, not for advise"),
    ],
)
def test_what_does_not_go_with_splits_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Request(("few.csv",), "price", **changes)  # type: ignore[arg-type]


def test_splits_are_for_classes_and_numbers(table: Path) -> None:
    with pytest.raises(UsageError, match="the task is causal-lm"):
        prepare_data(Request((str(table),), task="causal-lm", splits=5))
