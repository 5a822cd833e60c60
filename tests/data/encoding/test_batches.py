"""Order: each row once an epoch, whichever architecture reads it, wherever a run was interrupted."""

import itertools

import numpy as np
import pytest

from tests.tiny import examples_of
from warmstart.data.encoding.batches import Order, WordDropout, by_length
from warmstart.data.encoding.examples import BatchStream
from warmstart.data.features.hashed_words import HashedWords
from warmstart.models.pretrained.base import Base
from warmstart.training.run_data import RunData

LENGTHS = np.random.default_rng(0).integers(1, 200, size=101)


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_each_row_once_an_epoch(epoch: int) -> None:
    order = Order(101, 8, 0, LENGTHS)
    batches = order.epoch(epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(101))
    assert len(batches) == order.per_epoch == 13
    assert sorted(len(batch) for batch in batches) == [5, *[8] * 12]


def test_the_order_follows_seed_and_epoch_alone() -> None:
    first, again = Order(101, 8, 0, LENGTHS), Order(101, 8, 0, LENGTHS.copy())
    again.epoch(5)  # what was asked before changes nothing
    assert [b.tolist() for b in first.epoch(2)] == [b.tolist() for b in again.epoch(2)]
    for other in (first.epoch(3), Order(101, 8, 1, LENGTHS).epoch(2)):
        assert [b.tolist() for b in first.epoch(2)] != [b.tolist() for b in other]


def test_rows_of_similar_length_share_a_batch() -> None:
    spread = np.mean([np.ptp(LENGTHS[batch]) for batch in Order(101, 8, 0, LENGTHS).epoch(0)])
    assert spread < np.ptp(LENGTHS) / 5


def test_batches_are_put_together_by_what_is_computed(regression: RunData, base: Base) -> None:
    examples = examples_of(regression, base)
    sizes, train = examples.sizes(), regression.splits.train
    bytes_ = np.array([len(text.encode()) for text in train.texts])

    def computed(lengths: np.ndarray) -> int:
        return sum(int(sizes[batch].max()) * len(batch) for batch in Order(len(lengths), 8, 0, lengths).epoch(0))

    assert sizes.sum() <= computed(sizes) < computed(bytes_)


def test_rows_that_are_not_padded_come_in_any_order(regression: RunData, base: Base) -> None:
    padded, rows = examples_of(regression, base), len(regression.splits.train)
    words = regression.shared.examples(HashedWords(64), regression.splits.train, padded.targets.numpy())
    assert _all(words.order(8, 3)) == _all(Order(rows, 8, 3))
    assert _all(padded.order(8, 3)) == _all(Order(rows, 8, 3, padded.sizes())) != _all(Order(rows, 8, 3))


def _all(order: Order) -> list[list[int]]:
    return [batch.tolist() for batch in order.epoch(1)]


def test_a_run_that_goes_on_at_a_step_gets_the_batch_of_that_step(regression: RunData, base: Base) -> None:
    examples = examples_of(regression, base)

    def stream() -> BatchStream:
        return BatchStream(examples, examples.order(8, 3), WordDropout(0.3, 3))

    whole = stream()
    straight = [whole.at(step)[0] for step in range(30)]
    resumed = stream()
    for step in (23, 24, 4, 29):
        assert resumed.at(step)[0].inputs["input_ids"].tolist() == straight[step].inputs["input_ids"].tolist()
        assert resumed.at(step)[0].targets.tolist() == straight[step].targets.tolist()


def test_dropped_words_follow_seed_epoch_and_row_alone() -> None:
    dropout = WordDropout(0.5, 0)
    together = dropout.kept(np.array([3, 9, 4]), [20, 30, 25], epoch=1)
    alone = dropout.kept(np.array([9]), [30], epoch=1)
    assert together[1].tolist() == alone[0].tolist()
    for other in (dropout.kept(np.array([9]), [30], 2), dropout.kept(np.array([8]), [30], 1)):
        assert other[0].tolist() != alone[0].tolist()
    assert WordDropout(0.5, 1).kept(np.array([9]), [30], 1)[0].tolist() != alone[0].tolist()


def test_words_are_dropped_with_their_chance_and_one_always_stays() -> None:
    kept = np.concatenate(WordDropout(0.3, 0).kept(np.arange(200), [50] * 200, 0))
    assert kept.mean() == pytest.approx(0.7, abs=0.02)
    assert all(row.sum() == 1 for row in WordDropout(1.0, 0).kept(np.arange(50), [4] * 50, 0))
    assert WordDropout(0.5, 0).kept(np.array([0]), [0], 0)[0].tolist() == []


def test_evaluation_reads_every_row_with_little_padding_the_longest_first() -> None:
    batches = by_length(LENGTHS, 16)
    assert sorted(np.concatenate(batches).tolist()) == list(range(101))
    assert all(LENGTHS[a].min() >= LENGTHS[b].max() for a, b in itertools.pairwise(batches))


def test_evaluation_reads_so_many_tokens_at_once_padding_included() -> None:
    batches = by_length(LENGTHS, 16, 100)
    assert sorted(np.concatenate(batches).tolist()) == list(range(101))
    assert all(len(b) <= 16 and (len(b) == 1 or LENGTHS[b].max() * len(b) <= 100) for b in batches)
    fuller = [(a, b) for b, a in itertools.pairwise(batches) if len(a) < 16]
    assert fuller and all((len(a) + 1) * LENGTHS[b].min() > 100 for a, b in fuller), "the next row would have fitted"
    assert [len(b) for b in by_length(np.array([300, 300, 2]), 16, 100)] == [1, 1, 1]
    assert by_length(np.array([], dtype=np.int64), 16, 100) == []
