"""Remedies: is what is asked for against forgetting understood, and refused where it cannot be?"""

import pytest

from tests.cli_base import call
from tests.test_wrong_input import refused
from warmstart.errors import UsageError
from warmstart.request.forgetting_options import DEFAULT_L2_SP, DEFAULT_REPLAY, ForgettingOptions, forgetting_options


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ForgettingOptions()),
        (("general",), ForgettingOptions(general=DEFAULT_REPLAY)),
        (("mixed", "general=0.1"), ForgettingOptions(general=0.1, mixed=True)),
        (("base",), ForgettingOptions(base=DEFAULT_L2_SP)),
        (("base=30", "general=100%"), ForgettingOptions(general=1.0, base=30.0)),
    ],
)
def test_words_become_strengths(words: tuple[str, ...], expected: ForgettingOptions) -> None:
    assert forgetting_options(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("genral",), "keep is 'genral'(.|\n)*did you mean 'general'"),
        (("mixed=0.5",), "mixed takes no strength"),
        (("general=0%",), "keep is 'general=0%'"),
        (("general=2",), "as many as the task has"),
        (("general=much",), "'much' is no share"),
        (("base=-1",), "keep is 'base=-1'"),
        (("base=nan",), "keep is 'base=nan'"),
        (("base=x",), "a number of up to 1,000,000"),
        (("base", "base=3"), "one thing twice"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        forgetting_options(words)


def test_the_command_line_refuses_it_before_reading_anything() -> None:
    answer = call("fit", "nothing.csv", "--target", "x", "--regime", "full", "--keep", "general,baes", "--out", "x")
    refused(answer, "keep is 'baes'", "did you mean 'base'?")
