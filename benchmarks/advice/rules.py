"""Rules: which regime would people take without measuring anything?"""

from collections.abc import Callable, Sequence
from statistics import fmean

from logged import Logged

FEW, ABUNDANT = 300, 10_000  # rows


def always(name: str) -> Callable[[Logged], str]:
    """The same regime everywhere; `linear` where a problem has none of that name."""
    return lambda problem: name if name in problem.truth else "linear"


def trees_or_linear(problem: Logged) -> str:
    """Trees where there are columns, a linear model where there are none."""
    return "boosted" if "boosted" in problem.truth else "linear"


def rule_of_thumb(problem: Logged) -> str:
    """Little data: fine-tune; abundant data: train from scratch."""
    return always("full" if problem.whole < ABUNDANT else "scratch-dnn")(problem)


def rule_by_rows(problem: Logged) -> str:
    """Few rows: only the head learns; more: fine-tune; abundant: train from scratch."""
    return always("frozen")(problem) if problem.whole < FEW else rule_of_thumb(problem)


RULES: dict[str, Callable[[Logged], str]] = {
    "always full": always("full"),
    "always lora": always("lora"),
    "always embedded": always("embedded"),
    "always linear": always("linear"),
    "trees, or linear": trees_or_linear,
    "rule of thumb": rule_of_thumb,
    "rule by rows": rule_by_rows,
}


def best_elsewhere(others: Sequence[Logged]) -> Callable[[Logged], str]:
    """The regime of the least mean regret on other problems that read the same."""

    def rule(problem: Logged) -> str:
        like = [each for each in others if each.problem.reads == problem.problem.reads] or list(others)
        names = [name for name in problem.truth if any(name in each.truth for each in like)]
        means = {name: fmean(each.regret(name) for each in like if name in each.truth) for name in names}
        return min(means, key=means.__getitem__)

    return rule
