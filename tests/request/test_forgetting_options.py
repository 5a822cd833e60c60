"""Forgetting options: is what is asked for against forgetting understood, and refused where it cannot be?"""

import pytest

from tests.cli_base import call
from tests.test_wrong_input import refused
from warmstart.errors import UsageError
from warmstart.request.forgetting_options import DEFAULT_L2_SP, DEFAULT_REPLAY, ForgettingOptions, forgetting_options


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ForgettingOptions()),
        (("replay",), ForgettingOptions(replay=DEFAULT_REPLAY)),
        (("interpolation", "replay=0.1"), ForgettingOptions(replay=0.1, interpolate=True)),
        (("l2-sp",), ForgettingOptions(l2_sp=DEFAULT_L2_SP)),
        (("l2-sp=30", "replay=100%"), ForgettingOptions(replay=1.0, l2_sp=30.0)),
    ],
)
def test_words_become_strengths(words: tuple[str, ...], expected: ForgettingOptions) -> None:
    assert forgetting_options(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("repaly",), "reduce_forgetting is 'repaly'(.|\n)*did you mean 'replay'"),
        (("interpolation=0.5",), "it takes no strength"),
        (("replay=0%",), "reduce_forgetting is 'replay=0%'"),
        (("replay=2",), "as many general rows as the task has"),
        (("replay=much",), "'much' is no share"),
        (("l2-sp=-1",), "reduce_forgetting is 'l2-sp=-1'"),
        (("l2-sp=nan",), "reduce_forgetting is 'l2-sp=nan'"),
        (("l2-sp=x",), "a number up to 1,000,000"),
        (("l2-sp", "l2-sp=3"), "one method twice"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        forgetting_options(words)


def test_the_command_line_refuses_it_before_reading_anything() -> None:
    answer = call(
        "fit", "nothing.csv", "--target", "x", "--regime", "full", "--reduce-forgetting", "replay,l2-ps", "--out", "x"
    )
    refused(answer, "reduce_forgetting is 'l2-ps'", "did you mean 'l2-sp'?")
