"""Constraints: is what breaks one excluded with the reason, and nothing else?"""

import pytest

from warmstart.errors import UsageError
from warmstart.results.constraints import ANY, Constraints, Excluded, Needs, broken, not_run, require_a_choice

FULL = Needs("full", True, licenses=("apache-2.0",), size=91_000_000, latency=0.012, train=3600.0)
LINEAR = Needs("linear", False)


@pytest.mark.parametrize(
    ("allowed", "constraint", "reason"),
    [
        (Constraints(max_size=50_000_000), "max-size", "it takes 91 MB, more than 50 MB"),
        (Constraints(max_latency=0.01), "max-latency", "a row takes 12 ms, more than 10 ms"),
        (Constraints(licenses=("mit", "bsd")), "licence", "its base is under apache-2.0, not mit or bsd"),
        (
            Constraints(max_training_time=1800),
            "max-training-time",
            "its search and one run would take about 1 h, more than 30 min",
        ),
        (Constraints(pretrained=False), "no-pretrained", "it starts from pretrained weights"),
    ],
)
def test_what_breaks_a_constraint_is_excluded_with_the_reason(
    allowed: Constraints, constraint: str, reason: str
) -> None:
    assert broken(allowed, FULL) == (Excluded("full", constraint, reason),)
    assert broken(allowed, LINEAR) == (), "what is not known excludes nothing"
    assert allowed.given and not ANY.given


@pytest.mark.parametrize(
    "allowed",
    [
        Constraints(max_size=91_000_000),
        Constraints(max_latency=0.012),
        Constraints(licenses=("mit", "apache-2.0")),
        Constraints(max_training_time=3600.0),
        ANY,
    ],
)
def test_what_keeps_to_it_is_not(allowed: Constraints) -> None:
    assert broken(allowed, FULL) == ()


def test_an_unknown_license_is_excluded_and_so_is_one_of_several() -> None:
    allowed = Constraints(licenses=("mit",))
    assert broken(allowed, Needs("lora", True))[0].reason == "nothing says under which license its base is"
    assert "under gpl-3.0," in broken(allowed, Needs("lora", True, licenses=("mit", "gpl-3.0")))[0].reason


def test_what_breaks_two_is_excluded_twice() -> None:
    found = broken(Constraints(max_size=1, pretrained=False), FULL)
    assert [each.constraint for each in found] == ["no-pretrained", "max-size"]
    assert [each.trained for each in found] == [False, True]
    assert not_run(found) == {"full"} and not_run(found[1:]) == set()


def test_nothing_left_is_an_error_that_names_every_reason() -> None:
    found = broken(Constraints(pretrained=False), FULL)
    require_a_choice(["constant", "linear", "full"], found)
    require_a_choice(["constant"], ())  # there was nothing to choose from before
    with pytest.raises(
        UsageError, match=r"nothing to choose from. `full`: it starts .* \(--no-pretrained\).\nhint: allow"
    ):
        require_a_choice(["constant", "full"], found)
