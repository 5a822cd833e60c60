"""Select: which regimes does a request come to: floors that nobody named, prompts only where a base can be asked?"""

from dataclasses import replace

import pytest

from warmstart.data.schema.schema import ColumnChoices, Schema, TaskName, chosen_metric
from warmstart.errors import UsageError
from warmstart.models.pretrained.base import Base
from warmstart.regimes.regimes import REGIMES, RegimeContext
from warmstart.request.request import Request
from warmstart.request.select import added_floors, chosen_regimes

ENCODER, DECODER = Base("e", "e"), Base("d", "d", kind="decoder")


def schema(task: TaskName, multi_label: bool = False) -> Schema:
    return Schema(task, "y", ("x",), False, None, {}, "linear", multi_label, None)


def asked(*regimes: str, **more: object) -> Request:
    return replace(Request(("x.csv",), "y", regimes=regimes, command="compare"), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "named", "found"),
    [
        ("classification", ("linear",), ("constant", "linear")),
        ("regression", ("constant", "full"), ("constant", "full")),
        ("summarise", ("lora",), ("extractive", "zero-shot", "lora")),
        ("summarise", ("zero-shot@d", "lora"), ("extractive", "zero-shot@d", "lora")),
        ("chat", ("lora",), ("zero-shot", "lora")),
        ("causal-lm", ("lora",), ("zero-shot", "lora")),
    ],
)
def test_every_comparison_has_a_floor(task: TaskName, named: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert chosen_regimes(asked(*named), (), schema(task), (DECODER,)) == found


def test_floors_are_added_to_what_was_named_and_nowhere_else() -> None:
    assert added_floors(asked(), schema("regression")) == ()
    fit = replace(asked(), command="fit", regime="linear")
    assert chosen_regimes(fit, (), schema("regression"), (ENCODER,)) == ("linear",)
    alone = asked("scratch", parameters=1_000_000)
    assert added_floors(alone, schema("causal-lm")) == (), "what needs no base asks none"


def test_a_decoder_that_was_named_is_prompted_by_default() -> None:
    def usual(task: TaskName, base: Base, *named: str, multi_label: bool = False) -> bool:
        return "prompted" in chosen_regimes(asked(base=named), (), schema(task, multi_label), (base,))

    assert usual("classification", DECODER, "d") and usual("regression", DECODER, "d")
    assert not usual("classification", ENCODER, "e") and not usual("classification", DECODER)
    assert not usual("classification", DECODER, "d", multi_label=True)
    assert "few-shot" in chosen_regimes(asked(), (), schema("summarise"), (DECODER,))
    assert "few-shot" not in chosen_regimes(
        asked(), (), schema("summarise"), (Base("t5", "t5", kind="encoder-decoder"),)
    )


def test_what_cannot_be_prompted_is_refused() -> None:
    with pytest.raises(UsageError, match="'prompted' names one class; rows here have sets of labels"):
        chosen_regimes(asked("prompted"), (), schema("classification", multi_label=True), (DECODER,))
    for task, regime in (("summarise", "prompted"), ("chat", "few-shot"), ("regression", "extractive")):
        with pytest.raises(UsageError, match=f"regime '{regime}' is not for the task {task}"):
            chosen_regimes(asked(regime), (), schema(task), (DECODER,))  # type: ignore[arg-type]


def test_a_metric_belongs_to_its_task() -> None:
    assert chosen_metric(ColumnChoices(metric="macro-f1"), "classification") == "macro F1"
    assert chosen_metric(ColumnChoices(metric="accuracy"), "classification") == "", "the task's own"
    assert chosen_metric(ColumnChoices(metric="rmse"), "regression") == "root mean squared error"
    with pytest.raises(UsageError, match=r"--metric rmse does not rank classification"):
        chosen_metric(ColumnChoices(metric="rmse"), "classification")
    with pytest.raises(UsageError, match=r"--metric accuracy does not rank sets of labels"):
        chosen_metric(ColumnChoices(metric="accuracy"), "classification", multi_label=True)
    with pytest.raises(UsageError, match=r"--metric bleu does not rank chat"):
        chosen_metric(ColumnChoices(metric="bleu"), "chat")


def test_rank_and_alpha_reach_the_adapters() -> None:
    regime = REGIMES["lora"](RegimeContext(ENCODER, 100, lora_rank=4, lora_alpha=8.0))
    assert regime.words == "adapters of rank 4, alpha 8, on all linear layers"
    assert REGIMES["lora"](RegimeContext(ENCODER, 100)).words == "adapters of rank 16 on all linear layers"
