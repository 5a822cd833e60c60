"""Jobs: are they data that survives JSON, and do they say what they wait for?"""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from warmstart.runs.job import Job, RowSelection, SearchJob, TrainJob, job_from_json

DATA = RowSelection("5f3c", rows=84, seed=1)
SEARCH = SearchJob("full@tiny", DATA, trials=3, after=("lora@tiny-r84",))
TRAIN = TrainJob("full@tiny", DATA, 2, search=SEARCH.id, shorter="full@tiny-r84-s1")


@pytest.mark.parametrize("job", [SEARCH, TRAIN, TrainJob("constant", DATA)])
def test_a_job_comes_back_from_json(job: Job) -> None:
    assert job_from_json(json.loads(json.dumps(job.to_json()))) == job


def test_a_job_is_named_after_its_folder_and_says_what_it_waits_for() -> None:
    assert (SEARCH.id, SEARCH.needs) == ("full@tiny-r84", ("lora@tiny-r84",))
    assert (TRAIN.id, TRAIN.needs) == ("full@tiny-r84-s1-x2", ("full@tiny-r84", "full@tiny-r84-s1"))
    assert TrainJob("constant", DATA).needs == ()


def test_a_job_says_what_is_done_and_only_a_search_that_is_one_says_so() -> None:
    assert SEARCH.doing == "full@tiny, 84 rows: searching its learning rate"
    assert replace(SEARCH, trials=1).doing == "full@tiny, 84 rows"
    assert TRAIN.doing == "full@tiny, 84 rows, seed 1, 2 times as long"


def test_a_job_cannot_change() -> None:
    with pytest.raises(FrozenInstanceError):
        TRAIN.length = 4  # type: ignore[misc]
