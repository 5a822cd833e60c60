"""Prompted: are answers scored as the model itself would, chosen on validation rows, saved without the base?"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.decoders import save_decoder
from warmstart.baselines.baseline import FitData
from warmstart.baselines.baselines import load_baseline
from warmstart.baselines.embedder import Embedder
from warmstart.baselines.few_shot import language_model_of
from warmstart.baselines.prompted import (
    PROMPT_EXAMPLES,
    LabelPrompt,
    Prompted,
    example_order,
    fit_prompted,
    label_tree,
    number_bins,
    read_number,
    written_number,
)
from warmstart.data.rows.split import Rows
from warmstart.errors import MissingError, TrainingError, UsageError
from warmstart.generation.kv_cache import ReadPrefix
from warmstart.generation.label_scores import LabelTree, label_scores
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.regimes import check_base
from warmstart.tasks.classification import Classification
from warmstart.tasks.regression import Regression
from warmstart.tasks.task import Task
from warmstart.training.event import OutOfTime

KINDS = Classification("kind", ("dog", "fox", "fox cub"))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Base:
    base = find_base(save_decoder(tmp_path_factory.mktemp("decoder"), scale=0.6), max_length=16)
    return replace(base, reads=160)


def rows_of(targets: list[object], words: str = "{}") -> Rows:
    column = np.array(targets, dtype=object if isinstance(targets[0], str) else np.float64)
    texts = tuple(words.format(target) for target in targets)
    return Rows(texts, column, np.arange(1, len(targets) + 1), tuple(map(str, range(len(targets)))))


def test_labels_share_what_they_begin_with() -> None:
    tree = LabelTree.of([[1, 2, 3], [1, 2, 4], [5], [1, 2]])
    assert tree.tokens.tolist() == [1, 2, 3, 4, 5] and tree.parents.tolist() == [-1, 0, 1, 1, -1]
    assert tree.paths == ((0, 1, 2), (0, 1, 3), (4,), (0, 1))
    assert tree.inner.tolist() == [0, 1] and tree.sees.tolist() == [[True, False], [True, True]]
    assert LabelTree.of([[3], [4]]).inner.tolist() == []


def test_after_the_deadline_nothing_is_asked(decoder: Base) -> None:
    rows = rows_of(["dog", "fox", "fox cub"] * 4)
    late = FitData(KINDS, rows, 0, Embedder(decoder), validation=rows, deadline=-math.inf)
    with pytest.raises(OutOfTime):
        fit_prompted(late)
    assert fit_prompted(replace(late, deadline=math.inf)).trials


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_scores_are_those_of_each_label_alone(kind: str, remembered: bool, tmp_path: Path) -> None:
    base = find_base(save_decoder(tmp_path / kind, kind), max_length=64)
    model = language_model_of(base)
    rng = np.random.default_rng(0)
    begin = rng.integers(5, 90, 70)
    prompts = [np.concatenate([begin, rng.integers(5, 90, size)]) for size in (3, 9, 1, 9)]
    labels = [[7, 8, 9], [7, 8, 11], [12], [7]]
    assert model.language_head is not None
    prefix = ReadPrefix.of(model.body, begin) if remembered else None
    assert (prefix is not None) == remembered
    found = label_scores(model.body, model.language_head, prompts, LabelTree.of(labels), prefix)
    again = label_scores(model.body, model.language_head, prompts[:1], LabelTree.of(labels), prefix)
    assert again[0] == pytest.approx(found[0], abs=1e-4), "what was read before stays as it is"
    for prompt, row in zip(prompts, found, strict=True):
        for label, score in zip(labels, row, strict=True):
            ids = torch.tensor([*prompt.tolist(), *label])[None]
            with torch.no_grad():
                hidden = model.body(input_ids=ids).last_hidden_state[0]
                logs = model.language_head.logits(hidden).log_softmax(-1)
            expected = np.sum([float(logs[len(prompt) - 1 + i, token]) for i, token in enumerate(label)])
            assert score == pytest.approx(expected, abs=1e-4)


def test_an_answer_that_is_likely_after_anything_gains_nothing_by_it(decoder: Base) -> None:
    plain = Prompted(decoder, LabelPrompt("Which?", KINDS.classes))
    asked = replace(plain, usual=plain.scores(["fox", "dog"]).mean(axis=0))
    assert np.abs(asked.outputs(["fox", "dog"]).mean(axis=0)).max() < 1e-5 < np.abs(asked.outputs(["fox"])).max()
    mean = replace(plain, by_token=True)
    assert plain.outputs(["fox"]) == pytest.approx(asked.scores(["fox"]))
    assert mean.outputs(["fox"]) == pytest.approx(asked.scores(["fox"]) / asked.tree.lengths, rel=1e-5)
    assert asked.outputs([]).shape == (0, 3)


def test_what_was_scored_is_known_until_it_is_used_alone(decoder: Base) -> None:
    asked = Prompted(decoder, LabelPrompt("Which?", KINDS.classes), known={})
    first = asked.scores(["fox", "dog", "fox"])
    assert asked.known is not None and set(asked.known) == {"fox", "dog"} and (first[0] == first[2]).all()
    asked.known["fox"] = first[1]
    assert (asked.scores(["fox"])[0] == first[1]).all(), "it was not read again"
    assert asked.alone().scores(["fox"])[0] == pytest.approx(first[0], abs=1e-4)


def test_examples_are_drawn_by_the_seed_one_of_each_answer_first() -> None:
    places = np.array([0] * 20 + [1] * 3 + [2])
    first, second = example_order(places, 0), example_order(places, 1)
    assert first == example_order(places, 0) != second
    assert sorted(places[first[:3]]) == sorted(places[second[:3]]) == [0, 1, 2] and sorted(first) == list(range(24))


def test_bins_of_a_number_are_named_by_their_medians() -> None:
    task = Regression("price", "log10", 2.0, 1.0)
    rows = rows_of([float(10**i) for i in range(1, 5) for _ in range(10)])
    values, labels, places = number_bins(task, rows)
    assert labels == ("10", "100", "1000", "10000") and values.tolist() == pytest.approx([-1, 0, 1, 2])
    assert places.tolist() == sorted(places.tolist()) and len(set(places.tolist())) == 4
    assert number_bins(task, rows_of([5.0] * 9))[1] == ("5",), "one value is one bin"
    assert [written_number(value) for value in (0.0, 1234567.0, -0.000123456)] == ["0", "1230000", "-0.000123"]


def test_a_number_is_read_as_median_or_mean() -> None:
    scores = np.log(np.array([[0.2, 0.2, 0.6], [0.6, 0.2, 0.2]]))
    values = np.array([0.0, 1.0, 10.0])
    assert read_number(scores, values, 1.0, "median")[:, 0].tolist() == [10.0, 0.0]
    assert read_number(scores, values, 1.0, "mean")[:, 0].tolist() == pytest.approx([6.2, 2.2])
    assert read_number(scores, values, 50.0, "mean")[:, 0].tolist() == pytest.approx([10.0, 0.0], abs=1e-4)


@pytest.mark.parametrize("kind", ["class", "number"])
def test_it_is_chosen_on_validation_rows_and_saved_without_the_base(kind: str, decoder: Base, tmp_path: Path) -> None:
    task: Task = KINDS if kind == "class" else Regression("size", "linear", 2.0, 1.0)
    targets: list[object] = (
        [KINDS.classes[i % 3] for i in range(12)] if kind == "class" else [i % 4 + 0.5 for i in range(12)]
    )
    rows = rows_of(targets)
    fitted = fit_prompted(FitData(task, rows, 0, Embedder(decoder), validation=rows))
    tried = [trial.settings["examples"] for trial in fitted.trials]
    assert tried[0] == 0 and len(set(tried)) == len(tried) and max(tried) <= max(PROMPT_EXAMPLES)
    outputs = fitted.baseline.outputs(rows.texts)
    assert outputs.shape == (12, 3 if kind == "class" else 1) and outputs.dtype == np.float32
    fitted.baseline.save(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 20_000
    assert load_baseline(tmp_path).outputs(rows.texts) == pytest.approx(outputs)
    assert fitted.baseline.weights == 0 and fitted.tuning_flops > 0
    assert fitted.baseline.flops(rows.texts[:8]) < 8 * fitted.baseline.flops(rows.texts[:1])


def test_one_class_and_an_empty_text_are_answered(decoder: Base) -> None:
    task = Classification("kind", ("fox",))
    fitted = fit_prompted(FitData(task, rows_of(["fox"] * 5), 0, Embedder(decoder)))
    assert fitted.baseline.outputs(["fox", "x" * 500]).shape == (2, 1)


def test_a_base_that_reads_too_little_is_one_message(decoder: Base) -> None:
    short = replace(decoder, reads=24)
    classes = tuple(f"a long name of class number {i}" for i in range(30))
    task = Classification("kind", classes)
    with pytest.raises(TrainingError, match="no prompt fits into what base"):
        fit_prompted(FitData(task, rows_of([*classes]), 0, Embedder(short)))


def test_a_base_that_is_gone_or_cannot_be_asked(base: Base, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    Prompted(find_base(save_decoder(folder)), LabelPrompt("Which?", ("a", "b"))).save(tmp_path / "saved")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(MissingError, match=r"prompts the base .* which is not here"):
        load_baseline(tmp_path / "saved")
    with pytest.raises(UsageError, match=r"regime 'prompted' asks a base in words; '.*' is an encoder"):
        check_base(base, "prompted")


def test_labels_are_what_the_template_has_after_a_question(decoder: Base) -> None:
    tree = label_tree(decoder, ["fox", "dog"])
    tokenizer = decoder.inputs.tokenizer
    assert [tokenizer.decode([int(tree.tokens[node]) for node in path]).strip() for path in tree.paths] == [
        "fox",
        "dog",
    ]
