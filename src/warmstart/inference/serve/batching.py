"""Batching: how do requests that come at the same time share one pass through the model?"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from warmstart.inference.predict import NewRows

Predict = Callable[[NewRows], list[dict[str, Any]]]


class QueueFullError(Exception):
    """The queue has no room for these rows."""


@dataclass
class _Waiting:
    rows: NewRows
    work: Predict | None = None  # None: predicted together with others
    answer: "Future[list[dict[str, Any]]]" = field(default_factory=Future)


class Batcher:
    """Predicts in one thread: all rows that arrived during a batch form the next one.

    A request that comes alone waits for nothing. One that fails is tried by itself, so that it fails alone.
    """

    def __init__(self, predict: Predict, *, batch_rows: int, queued_rows: int):
        self._predict, self._batch_rows, self._queued_rows = predict, batch_rows, queued_rows
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="predict", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Rows that wait."""
        return self._rows

    def submit(self, rows: NewRows, work: Predict | None = None) -> "Future[list[dict[str, Any]]]":
        """A future of the predictions, or of the result of `work` on these rows alone.

        Raises QueueFullError.
        """
        waiting = _Waiting(rows, work)
        with self._changed:
            if self._closed or self._rows + len(waiting.rows.texts) > self._queued_rows:
                raise QueueFullError
            self._waiting.append(waiting)
            self._rows += len(waiting.rows.texts)
            self._changed.notify()
        return waiting.answer

    def close(self, seconds: float = 10.0) -> None:
        """Accept no more rows, and answer those that wait."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = self._take()
            self._answer([each for each in batch if each.answer.set_running_or_notify_cancel()])

    def _take(self) -> list[_Waiting]:
        """The longest waiting requests that fit into a batch, at least one; all have the same columns."""
        batch = [self._waiting.popleft()]
        rows, columns = len(batch[0].rows.texts), batch[0].rows.columns.keys()
        while (
            self._waiting
            and batch[0].work is self._waiting[0].work is None
            and rows + len(self._waiting[0].rows.texts) <= self._batch_rows
            and self._waiting[0].rows.columns.keys() == columns
        ):
            batch.append(self._waiting.popleft())
            rows += len(batch[-1].rows.texts)
        self._rows -= rows
        return batch

    def _answer(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            work = batch[0].work or self._predict
            found = work(NewRows.joined([each.rows for each in batch]))
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:
                for each in batch:
                    self._answer([each])
            return
        start = 0
        for each in batch:
            end = start + len(each.rows.texts)
            each.answer.set_result(found[start:end])
            start = end


class Metrics:
    """Counts and times, in the text format of Prometheus."""

    BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = {}
        self._slower = [0] * (len(self.BUCKETS) + 1)
        self._seconds, self._rows = 0.0, 0
        self._began = time.time()

    def add(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        with self._lock:
            self._requests[path, status] = self._requests.get((path, status), 0) + 1
            self._seconds += seconds
            self._slower[sum(seconds > bound for bound in self.BUCKETS)] += 1

    def add_rows(self, rows: int) -> None:
        """Count predicted rows."""
        with self._lock:
            self._rows += rows

    def text(self, queued: int) -> str:
        """All counts and times."""
        with self._lock:
            lines = ["# TYPE warmstart_requests_total counter"]
            for (path, status), count in sorted(self._requests.items()):
                lines.append(f'warmstart_requests_total{{path="{path}",status="{status}"}} {count}')
            lines += ["# TYPE warmstart_request_seconds histogram"]
            total = 0
            for bound, count in zip((*map(str, self.BUCKETS), "+Inf"), self._slower, strict=True):
                total += count
                lines.append(f'warmstart_request_seconds_bucket{{le="{bound}"}} {total}')
            lines += [f"warmstart_request_seconds_sum {self._seconds:.6f}", f"warmstart_request_seconds_count {total}"]
            for name, kind, value in (
                ("predicted_rows_total", "counter", self._rows),
                ("queued_rows", "gauge", queued),
                ("start_time_seconds", "gauge", self._began),
            ):
                lines += [f"# TYPE warmstart_{name} {kind}", f"warmstart_{name} {value}"]
        return "\n".join(lines) + "\n"
