"""Frozen prefix: what do the runs of one process share? Encoded rows, and activations of layers that never change.

Everything below the lowest trained layer is the same for a text in every epoch, seed, trial and regime. It is computed
once for each content (weights, depth, encoding of the rows) and kept in a memory-mapped file. In fp32, whatever the
run's precision: one computation then serves the steps, the evaluations and the final scores, which are those of the
whole model.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from warmstart.data.encoding.examples import Examples
from warmstart.data.encoding.inputs import Encoded, Inputs
from warmstart.data.encoding.token_cache import is_large, write_cache
from warmstart.data.rows.duplicates import join_duplicates
from warmstart.data.rows.read_columns import ColumnValues
from warmstart.data.rows.split import Rows, Splits
from warmstart.data.schema.columns import Column
from warmstart.data.tables.strings import Texts
from warmstart.errors import RowError
from warmstart.models.evaluate import _batches
from warmstart.models.model import UNPOOLED, Model
from warmstart.models.partial_forward import BELOW, forward_above, forward_below, frozen_depth, prefix_fingerprint
from warmstart.regimes.starts import Start
from warmstart.tasks.task import Task
from warmstart.training.event import check_deadline
from warmstart.types import Array

STORED_BYTES = 4 * 2**30  # of activations, all together; and at most half of the disk that is free
FITTED_STARTS = 6  # that are kept for the training rows that they were fitted to
CHECK_ROWS = 4  # of the shorter half, on which a cut body must give what the whole one gives
TOLERANCE = 1e-5  # of the largest feature, or of 1


@dataclass(frozen=True, eq=False)
class PrefixCache(Encoded):
    """Rows with cached outputs of a frozen prefix. Reads like `Encoded`, for a model inside `reading`."""

    encoded: Encoded
    depth: int | None  # blocks below the cut; None: the whole body and its pooling
    tuple_length: int  # of what a block gives; 0: a tensor
    values: Array  # float32 [vectors, width]
    starts: Array  # int64 [n]: where a row's vectors begin
    lengths: Array | None  # int64 [n]: how many it has, one a token; None: one each, whatever its length

    def __len__(self) -> int:
        return len(self.encoded)

    def sizes(self) -> Array:
        """Sizes of the original rows: what the cache saves must not make a regime look cheaper."""
        return self.encoded.sizes()

    @property
    def pads(self) -> bool:
        return self.encoded.pads

    def words(self, index: Array) -> list[int]:
        return self.encoded.words(index)

    def batch(self, index: Array, kept: Sequence[Array] | None = None) -> dict[str, Tensor]:
        assert kept is None, "words cannot be dropped after the body has read them"
        beside = {} if self.depth is None else self.encoded.batch(index)
        return beside | {BELOW: torch.from_numpy(self._below(index))}

    def _below(self, index: Array) -> Array:
        """Activations [n, width], or [n, longest, width] padded with zeros."""
        starts = self.starts[index]
        if self.lengths is None:
            vectors: Array = self.values[starts]
            return vectors
        lengths = self.lengths[index]
        found = np.zeros((len(index), int(lengths.max()), self.values.shape[1]), dtype=np.float32)
        for row, start, length in zip(found, starts, lengths, strict=True):
            row[:length] = self.values[start : start + length]
        return found


@contextmanager
def use_prefix_cache(model: Model, encoded: Encoded) -> Iterator[None]:
    """Context in which the model reads batches of `encoded`, starting from cached activations where there are any."""
    stored = encoded.of_body
    if isinstance(stored, PrefixCache):
        with forward_above(model.body, stored.depth, stored.tuple_length):
            yield
    else:
        yield


@dataclass
class SharedData:
    """All rows of a study, encoded once per architecture and shared by all regimes and seeds."""

    splits: Splits
    reading_seconds: float = 0.0  # that running rows through frozen layers took
    deadline: float = math.inf  # by time.perf_counter(): what is still reading then is stopped
    _encoded: dict[str, Encoded] = field(default_factory=dict)
    _of_rows: dict[bool, str] = field(default_factory=dict)  # keys of the last inputs fitted to training rows: those
    # that a body reads whole, and those with columns beside it
    _stored: dict[str, PrefixCache | None] = field(default_factory=dict)  # the one used last comes last
    _of_bases: dict[str, Array] = field(default_factory=dict)
    _fitted: list[tuple[Start, Array, Start]] = field(default_factory=list)  # the one used last comes last

    def __post_init__(self) -> None:
        parts = (self.splits.train, self.splits.val, self.splits.test)
        self.texts = Texts.joined([Texts.of(part.texts) for part in parts])
        self.columns = ColumnValues.joined([part.columns for part in parts])
        numbers = np.concatenate([part.numbers for part in parts])
        self._by_number = np.argsort(numbers)
        self._numbers = numbers[self._by_number]

    def __len__(self) -> int:
        return len(self.texts)

    def fitted(self, start: Start, task: Task, train: Rows, columns: Sequence[Column]) -> Start:
        """The start, fitted to these training rows. The last one is cached."""
        for known, numbers, found in self._fitted:
            if known == start and np.array_equal(numbers, train.numbers):
                return found
        found = start.fitted(task, train, columns)
        if found is not start:
            self._fitted[:] = [*self._fitted[1 - FITTED_STARTS :], (start, train.numbers, found)]
        return found

    @property
    def stores(self) -> bool:
        """Whether there are activations that never change."""
        return any(kept is not None for kept in self._stored.values())

    def keeping(self, inputs: Inputs) -> Iterator[float]:
        """Write the token cache that `encoded` reads from, for large corpora; yields the share that is done."""
        tokenization = inputs.tokenization
        if tokenization is not None and is_large(self.texts):
            with self._named():
                yield from write_cache(self.texts, tokenization)

    def encoded(self, inputs: Inputs) -> Encoded:
        if inputs.key not in self._encoded:
            with self._named():
                alone = inputs.of_body is inputs
                if inputs.of_rows:  # another draw of rows has others
                    self._encoded.pop(self._of_rows.get(alone, ""), None)
                    self._of_rows[alone] = inputs.key
                if alone:
                    self._encoded[inputs.key] = inputs.encode_rows(self.texts, self.columns)
                else:
                    self._encoded[inputs.key] = inputs.join(self.encoded(inputs.of_body), self.columns)
        return self._encoded[inputs.key]

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Context in which the error for an unusable row names its row number in the table."""
        try:
            yield
        except RowError as error:
            number = self._numbers[np.flatnonzero(self._by_number == error.at)[0]]
            raise error.in_table(int(number)) from error

    def examples(self, inputs: Inputs, rows: Rows, targets: Array) -> Examples:
        """These rows (of the study's splits) with their targets [n] or [n, classes]."""
        places = np.searchsorted(self._numbers, rows.numbers)
        assert (self._numbers[places] == rows.numbers).all(), "rows that are not of this study"
        return Examples(self.encoded(inputs), self._by_number[places], torch.from_numpy(targets), rows.numbers)

    def alike(self, rows: Rows) -> Array:
        """Group numbers, int64 [n]: rows with the same or nearly the same text share a number."""
        found: Array = self._alike[self._by_number[np.searchsorted(self._numbers, rows.numbers)]]
        return found

    @cached_property
    def _alike(self) -> Array:
        return join_duplicates(self.texts)

    def of_base(self, key: str, compute: Callable[[], Array]) -> Array:
        """Results of an untuned base for some rows; computed once per `key`, which identifies both."""
        if key not in self._of_bases:
            self._of_bases[key] = compute()
        return self._of_bases[key]

    def features(self, model: Model, inputs: Inputs) -> "PrefixCache | None":
        """Pooled features of every row if the whole model is frozen; None if there is no room for them."""
        found = self.below(model, inputs)
        return found if isinstance(found, PrefixCache) and found.depth is None else None

    def below(self, model: Model, inputs: Inputs) -> Encoded:
        """Every row for this model, with cached outputs of its frozen prefix; computed once per content.

        Plain rows if the embeddings or the first block are trained, if the body cannot be split, if a batch packs rows
        into lines, or if there is no room. Leaves the model in evaluation mode.
        """
        encoded = self.encoded(inputs)
        depth = 0 if model.pooling == UNPOOLED else frozen_depth(model)
        if depth == 0:
            return encoded
        key = f"{inputs.of_body.key}:{prefix_fingerprint(model, depth)}"
        found = self._stored.pop(key) if key in self._stored else self._store(model, depth, encoded.of_body)
        self._stored[key] = found
        return encoded if found is None else encoded.on_body(found)

    def _store(self, model: Model, depth: int | None, encoded: Encoded) -> PrefixCache | None:
        """Cached activations; None if the body cannot be split, or if there is no room."""
        sizes = encoded.sizes()
        spread = np.linspace(0, (len(sizes) - 1) // 2, min(CHECK_ROWS, len(sizes))).astype(np.int64)
        some = np.argsort(sizes, kind="stable")[spread]
        try:
            trial = activations(model, depth, encoded, some)
            if not gives_the_same(model, trial, some):
                return None
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError):  # from a body of any kind
            return None
        vectors = len(sizes) if trial.lengths is None else int(sizes.sum())
        if not self._make_room(vectors * trial.values[0].nbytes):
            return None
        began = time.perf_counter()
        try:
            return activations(model, depth, encoded, np.arange(len(sizes)), self.deadline)
        except OSError:  # somebody else has filled the disk
            return None
        finally:
            self.reading_seconds += time.perf_counter() - began

    def _make_room(self, size: int) -> bool:
        """Whether so many bytes may be stored; the least recently used activations are dropped to make room."""
        if size > min(STORED_BYTES, shutil.disk_usage(tempfile.gettempdir()).free // 2):
            return False
        while size + sum(kept.values.nbytes for kept in self._stored.values() if kept is not None) > STORED_BYTES:
            del self._stored[next(iter(self._stored))]
        return True


def activations(
    model: Model, depth: int | None, encoded: Encoded, positions: Array, deadline: float = math.inf
) -> PrefixCache:
    """Outputs of the frozen prefix for the rows at these positions.

    Written in order of length to an unlinked file, so nothing is left of it after a kill. Raises ValueError, or what
    the body raises, if its outputs are not one vector per token or per row; OutOfTime after the deadline.
    """
    model.eval()
    device = next(model.parameters()).device
    sizes = encoded.sizes()
    starts = np.zeros(len(sizes), dtype=np.int64)
    vectors, shape, tuple_length = 0, (0, 0), 0
    with tempfile.TemporaryFile() as file:
        for index in _batches(sizes[positions], device):
            check_deadline(deadline)
            rows = positions[index]
            inputs = {name: tensor.to(device) for name, tensor in encoded.batch(rows).items()}
            with torch.no_grad():
                given, tuple_length = (
                    (model.features(inputs), 0) if depth is None else forward_below(model.body, depth, inputs)
                )
            values = given.float().cpu().numpy()
            each = np.ones_like(rows) if values.ndim == 2 else sizes[rows]
            if values.shape[:-1] != (len(rows), each.max())[: values.ndim - 1]:
                raise ValueError(f"{tuple(values.shape)} is no vector for each token or row")
            shape = values.shape
            starts[rows] = vectors + np.cumsum(each) - each
            vectors += int(each.sum())
            kept = values if values.ndim == 2 else values[np.arange(shape[1]) < each[:, None]]
            file.write(kept.tobytes())
        file.flush()
        mapped = np.memmap(file, dtype=np.float32, mode="r", shape=(vectors, shape[-1]))
    lengths = None if len(shape) == 2 else sizes
    return PrefixCache(encoded, depth, tuple_length, np.asarray(mapped), starts, lengths)


def gives_the_same(model: Model, kept: PrefixCache, rows: Array) -> bool:
    """Whether the partial model gives the same outputs as the full one for these rows."""
    device = next(model.parameters()).device
    with torch.no_grad():
        whole = model.features({name: tensor.to(device) for name, tensor in kept.encoded.batch(rows).items()})
        with use_prefix_cache(model, kept):
            cut = model.features({name: tensor.to(device) for name, tensor in kept.batch(rows).items()})
    return bool((cut - whole).abs().max() <= TOLERANCE * max(1.0, whole.abs().max().item()))
