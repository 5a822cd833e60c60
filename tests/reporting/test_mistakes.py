"""Mistakes: are the worst rows of a run the worst, and do its confusions add up?"""

import numpy as np

from tests.report_samples import label_sets, study
from warmstart.reporting import formatting
from warmstart.reporting.mistakes import confused_pairs, confusion_matrix, labels, worst


def test_worst_examples_are_the_largest_errors() -> None:
    run = study(only=["linear"]).runs[0]
    found = worst(run, higher_is_better=False, examples=None)
    assert [example.error for example in found] == sorted(run.scores[:, 0].tolist(), reverse=True)[: len(found)]
    assert found[0].text is None


def test_worst_examples_of_a_classifier_are_its_surest_mistakes() -> None:
    run = study("classification", only=["linear"]).runs[0]
    found = worst(run, higher_is_better=True, examples={})
    wrong = np.asarray(run.predictions["probability"])[run.scores[:, 0] == 0]
    assert found[0].beside == formatting.format_probability(wrong.max())
    assert all(example.target != example.prediction for example in found)


def test_confusions_add_up() -> None:
    run = study("classification", only=["linear"]).runs[0]
    matrix = confusion_matrix(run)
    right = sum(matrix.counts[i][i] for i in range(len(matrix.classes)))
    shown = sum(map(sum, matrix.counts))
    of_shown = [
        t == p
        for t, p in zip(run.predictions["target"], run.predictions["prediction"], strict=True)
        if t in matrix.classes
    ]
    assert (right, shown) == (sum(of_shown), len(of_shown))
    assert confused_pairs(run)[0].count == max(pair.count for pair in confused_pairs(run))


def test_label_sets_are_counted_by_label() -> None:
    several = label_sets()
    assert {(label.name, label.there, label.missed, label.invented) for label in labels(several)} == {
        ("a", 3, 1, 0),
        ("b", 1, 1, 0),
        ("c", 0, 0, 1),
    }
    assert [each.row for each in worst(several, higher_is_better=True, examples=None)] == [3, 1, 2]
