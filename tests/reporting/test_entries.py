"""Entries: is the trial found whose settings a run has?"""

from dataclasses import replace

import numpy as np

from tests.run_factory import make_run, make_scores
from warmstart.reporting.entries import taken_trial
from warmstart.results.record import Trial


def test_the_trial_that_says_most_of_what_a_run_has_is_the_one_it_took() -> None:
    """Several have its learning rate: one names an augmentation that the run has, one another."""
    usual, none, strong = (
        Trial({"lr": 1e-3} | more, 5, 0.5) for more in ({}, {"augment": "none"}, {"augment": "strong"})
    )
    run = replace(make_run("full", make_scores(np.zeros(5))), lr=1e-3, trials=(usual, none, strong))
    assert taken_trial(replace(run, settings={"augment": "none"})) is none
    assert taken_trial(replace(run, settings={"augment": "light"})) is usual
    assert taken_trial(replace(run, lr=3e-3)) is None
