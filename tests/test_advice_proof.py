"""The proof of advise: a race replayed on a log answers as one that trains would, and teaches nothing to itself."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import learn
import logged
import measure
import problems
import replay
import rules
import sources
import tables
from warmstart.study.curve_model import NextRun

ITEMS = 300
COSTS = {"constant": 0.001, "linear": 0.01, "embedded": 0.01, "frozen": 0.05, "scratch-dnn": 0.05}
CODED = problems.Problem(
    lambda data: sources.pd.DataFrame(), "classification", 200, "made up", "nobody's", max_length=8
)
GIVEN = {"one": CODED, "other": replace(CODED, source="packages")}


def write(name: str, errors: dict[str, float], folder: Path, generator: int = 0) -> None:
    """A log of straight curves that end at these errors."""
    random = np.random.default_rng(generator)
    hardness = random.random(ITEMS)
    rows = []
    for ask in measure.asks(CODED.regimes, CODED.whole):
        share = ask.rows / CODED.whole
        error = errors[ask.arm] * share ** (0.0 if ask.arm == "constant" else -0.2)
        lost = 0.8 * hardness + 0.2 * random.random(ITEMS) < error
        cost = COSTS.get(ask.arm, 1.0)
        rows.append(
            {
                "problem": name,
                "regime": ask.arm,
                "rows": ask.rows,
                "seed": ask.seed,
                "whole": CODED.whole,
                "higher_is_better": True,
                "planned": cost * share,
                "planned_search": cost * 0.2,
                "planned_whole_search": cost * 0.9,
                "flops": 1e9 * cost * share,
                "search_flops": 2e8 * cost if ask.rows == CODED.whole // 4 and ask.seed == 0 else 0.0,
                "losses": lost.astype(np.float32),
            }
        )
    measure.write_log(rows, folder / f"{name}.parquet")


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (logged, replay):
        monkeypatch.setattr(module, "PROBLEMS", GIVEN)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    poor = dict.fromkeys(CODED.regimes, 0.55) | {"constant": 0.9}
    write("one", poor | {"full": 0.3}, folder)
    write("other", poor | {"linear": 0.35}, folder, 1)
    return folder


@pytest.fixture
def whole(log: Path) -> list[logged.Logged]:
    return logged.whole_ones(log, "seconds")


def test_a_log_is_read_back_and_one_with_a_run_missing_waits(log: Path, tmp_path: Path) -> None:
    rows = measure.read_log(log / "one.parquet")
    measure.write_log(rows, tmp_path / "one.parquet")
    measure.write_log(rows[:-1], tmp_path / "other.parquet")
    assert [each.name for each in logged.whole_ones(tmp_path, "seconds")] == ["one"]
    assert measure.read_log(tmp_path / "nothing.parquet") == []


def test_flops_are_a_cost_of_their_own(log: Path, whole: list[logged.Logged]) -> None:
    for seconds, flops in zip(whole, logged.whole_ones(log, "flops"), strict=True):
        for name in seconds.truth:
            assert flops.cost(name, 200, {name}) == pytest.approx(1e9 * seconds.cost(name, 200, {name}))
            assert flops.searches[name][1] == pytest.approx(4 * flops.searches[name][0]), "on all rows"
        assert seconds.cost("full", 100, set()) == np.inf, "a rung that the grid leaves out"


def test_the_race_finds_the_best_within_its_budget_and_bands_hold(whole: list[logged.Logged]) -> None:
    for problem, best in zip(whole, ("full", "linear"), strict=True):
        found = replay.raced(problem, 0.3, 0, None)
        assert problem.best == found.choice == best and found.right and found.regret == 0
        assert 0 < found.spent <= 0.3 and np.mean(found.held) > 0.5


def test_a_poor_choice_is_wrong_and_costs_what_it_falls_short(whole: list[logged.Logged]) -> None:
    found = replay.answered(whole[0], 0, "lora", 0.1)
    assert not found.right and found.regret == pytest.approx((0.55 - 0.3) / 0.7, abs=0.05)


def test_halving_keeps_to_its_budget_and_goes_by_the_last_value(whole: list[logged.Logged]) -> None:
    for part in (0.02, 0.1, 1.0):
        assert replay.halved(whole[0], part, 0).spent <= part
    assert replay.halved(whole[0], 1.0, 0).choice == "full"


def test_slopes_are_learned(whole: list[logged.Logged]) -> None:
    some = ("constant", "full", "lora")
    few = [replace(p, losses={ask: lost for ask, lost in p.losses.items() if ask.arm in some}) for p in whole]
    prior = learn.learned(few, passes=30)
    assert prior.slope_of("full").mean == pytest.approx(-0.2, abs=0.05)
    assert "constant" not in prior.slopes


def test_rules_take_what_a_problem_has(whole: list[logged.Logged]) -> None:
    few = replace(whole[0], losses={ask: lost for ask, lost in whole[0].losses.items() if ask.arm != "full"})
    assert rules.always("full")(whole[0]) == "full" and rules.always("full")(few) == "linear"
    assert rules.best_elsewhere(whole[1:])(whole[0]) == "linear"
    assert whole[0].short_of("lora", "full") > 0 > whole[0].short_of("full", "lora")


def test_results_become_tables_and_curves(
    log: Path, whole: list[logged.Logged], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(replay, "PARTS", (0.1,))
    taught: list[list[str]] = []

    def learned(others: list[logged.Logged]) -> replay.Prior:
        taught.append([other.name for other in others])
        return replay.Prior()

    monkeypatch.setattr(replay, "learned", learned)
    monkeypatch.setattr(replay, "BOOTSTRAPS", 20)
    monkeypatch.setattr(replay, "UNTUNED", 1.0)
    # a second problem on which constants were chosen
    monkeypatch.setitem(GIVEN, "third", GIVEN["other"])
    more = {unit: [*logged.whole_ones(log, unit)] for unit in logged.UNITS}
    monkeypatch.setitem(GIVEN, "quick", GIVEN["other"])
    for found in more.values():
        quick = replace(found[1], name="quick", costs=dict.fromkeys(found[1].costs, 0.0))
        quick = replace(quick, searches=dict.fromkeys(quick.searches, (0.0, 0.0)))
        found += [replace(found[1], name="third"), quick]
    found = json.loads(json.dumps(replay.results(more)))
    assert taught == [["other", "third"]], "nothing is learned from the problems that figures are reported on"
    pages = [tmp_path / name for name in ("README.md", "advise.md", "evidence.md")]
    for page in pages:
        page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    monkeypatch.setattr(tables, "HERE", tmp_path)
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    monkeypatch.setattr(tables.draw, "PICTURE", tmp_path / "evidence.svg")
    (tmp_path / "advice.json").write_text(json.dumps(found))
    tables.write(tmp_path / "advice.json")
    said = {page.name: page.read_text() for page in pages}
    for text in said.values():
        assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "| race | 10 % of the time |" in said["advise.md"] and "| race | 10 % of the FLOPs |" in said["advise.md"]
    assert said["advise.md"].count(" from sources that") == 1 and said["README.md"].count(" from sources that") == 2
    assert "in under two minutes there: quick." in said["advise.md"]
    assert "| one: made up | nobody's | 200 | `full` (50) | `full` |" in said["evidence.md"]
    assert "| fine-tuned | 1 (1) |" in said["evidence.md"] and "| linear | 3 (3) |" in said["evidence.md"]
    drawn = ElementTree.parse(tmp_path / "evidence.svg").getroot()
    assert len(drawn.findall(".//{*}path")) >= 3 * 7


@pytest.mark.parametrize("text", ["The quick brown fox", "fox"])
def test_a_coded_text_has_the_same_words_in_other_letters(text: str) -> None:
    coded = sources.code_words(text)
    assert len(coded.split()) == len(text.split()) and coded != text
    assert sources.code_words("a fox").split()[1] == sources.code_words("the FOX").split()[1]


def test_every_run_of_a_grid_is_asked_for_once() -> None:
    asks = list(measure.asks(CODED.regimes, 800))
    assert len(set(asks)) == len(asks) == 5 * 5 * 3 + 3 * 4 * 2
    assert asks[0] == NextRun("constant", 50, 0) and not any(ask.arm == "full" and ask.rows == 400 for ask in asks)


def test_problems_are_known_by_one_name_and_their_halves_by_the_source() -> None:
    assert not set(problems.REPORTED) & set(problems.CHOSEN)
    assert all(each.chosen_on for each in problems.CHOSEN.values())
    assert not any(each.chosen_on for each in problems.REPORTED.values())
    made = sources.order(sources.Data(Path(), Path()), rows=50)
    first = [
        min(set(row.split()) & {answer.split()[0] for answer in made["target"]}, key=row.split().index)
        for row in made["text"]
    ]
    assert [f"{word} first" for word in first] == made["target"].tolist()
