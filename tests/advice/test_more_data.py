"""Outlook: does it name the crossing that matters, and the right thing to spend on?"""

import pytest

from tests.run_factory import make_comparison, make_curve_runs, make_runs
from warmstart.advice.advise import advice_for
from warmstart.advice.more_data import between_rows, crossover_sentences, more_data, next_purchase
from warmstart.results.comparison import Comparison

SIZES = (100, 400, 1600)
STEEP, FLAT = (2.0, 0.35), (0.5, 0.12)  # factor and slope: they cross at 415 rows


def comparison(min_effect: float = 0.01, noise_floor: float | None = None, **laws: tuple[float, float]) -> Comparison:
    made = make_curve_runs(laws, SIZES)
    return make_comparison(made, min_effect, noise_floor)


def test_where_it_won_is_named() -> None:
    made = comparison(scratch=STEEP, full=FLAT, linear=(0.6, 0.0))
    assert crossover_sentences(made, "scratch").endswith("on, training from scratch (`scratch`) overtakes `full`.")
    assert crossover_sentences(made, "full") == "", "scratch overtook it; that is no news of it"
    advice = advice_for(made)
    assert advice.choice == "scratch" and crossover_sentences(made, "scratch") in advice.reason


def test_where_it_will_be_overtaken_comes_first() -> None:
    made = comparison(scratch=(1.7, 0.26), full=FLAT, linear=(0.3, 0.0))  # cross at 6,259 and 71
    assert crossover_sentences(made, "full").endswith("would overtake `full`; 1,600 rows were measured.")
    advice = advice_for(made)
    assert advice.choice == "full" and "would overtake `full`" in advice.reason


def test_undecided_near_a_crossing_says_so() -> None:
    laws = {"scratch": (1.7, 0.288), "full": FLAT}  # cross at 1,458, too near to 1,600
    made = make_comparison(make_curve_runs(laws, SIZES, test_rows=400))
    said = between_rows(made, "full", "scratch")
    assert said == between_rows(made, "scratch", "full") and said.startswith("From about 1,")
    advice = advice_for(made)
    assert advice.choice is None and said in advice.reason


def test_siblings_that_cross_change_no_way_of_training() -> None:
    assert crossover_sentences(comparison(lora=STEEP, full=FLAT), "lora") == ""


def test_a_falling_curve_asks_for_rows() -> None:
    words = next_purchase(comparison(full=STEEP, linear=(0.9, 0.1)), "full")
    assert words.startswith("To do better, get more rows: 3,200 rows should score about 0.1")
    assert "16,000 rows should" in words


def test_a_level_curve_asks_for_a_larger_base() -> None:
    words = next_purchase(comparison(0.02, full=(0.3, 0.0), linear=(0.9, 0.1)), "full")
    assert words.startswith("More rows would hardly help: 3,200 rows should score about 0.")
    assert words.endswith("try a larger base.")
    assert "pretrained" in next_purchase(comparison(0.02, linear=(0.3, 0.0)), "linear")


def test_at_the_best_reachable_nothing_is_asked_for() -> None:
    made = comparison(0.02, noise_floor=0.3, full=(0.3, 0.0))
    assert next_purchase(made, "full").endswith("; the best reachable score is 0.300.")


def test_what_is_unfinished_asks_for_a_longer_run() -> None:
    runs = make_curve_runs({"full": STEEP}, SIZES, unconverged=["full"])
    assert next_purchase(make_comparison(runs), "full").startswith("To do better, first train longer")


def test_what_cannot_be_told_asks_for_test_rows() -> None:
    runs = make_curve_runs({"full": (0.3, 0.02)}, SIZES, seed_noise=0.1)
    words = next_purchase(make_comparison(runs), "full")
    assert words.startswith("It is unclear whether more rows would help") and "1 % matters" in words


def test_what_it_says_in_all() -> None:
    said = more_data(comparison(constant=(0.9, 0.0), scratch=STEEP, full=FLAT))
    assert len(said) == 4 and not any("constant" in sentence for sentence in said)
    assert said[0].startswith("From about 4") and "its start was worth" in said[1]
    assert all("should score about" in sentence for sentence in said[2:])
    level = more_data(comparison(scratch=(0.9, 0.1), full=(0.5, 0.1)))
    assert level[0] == "No regime overtakes another within 10x your data, as far as these runs can tell."
    assert "its start was worth at least 1,500 rows" in level[1]


def test_one_number_of_rows_says_how_to_get_curves() -> None:
    made = make_comparison(make_runs({"scratch": 0.5, "full": 0.6}))
    assert more_data(made) == ("Each regime was trained on one number of rows. For learning curves, use --rows auto.",)
    assert next_purchase(made, "full") == "" and crossover_sentences(made, "full") == ""


@pytest.mark.parametrize("choice", ["scratch", "full"])
def test_the_next_step_of_an_advice_names_it(choice: str) -> None:
    laws = {"scratch": STEEP, "full": FLAT} if choice == "scratch" else {"scratch": (0.9, 0.1), "full": (0.5, 0.2)}
    advice = advice_for(comparison(**laws))
    assert advice.choice == choice and "To do better, get more rows" in advice.next_step
