"""Generation time: how long will a model take to write its answers? Measured on a few prompts and tokens."""

import time
from collections.abc import Sequence

import numpy as np

from warmstart.data.rows.split import Rows
from warmstart.data.schema.conversations import document
from warmstart.generation.answers import Writer
from warmstart.generation.generate import padded_batches
from warmstart.generation.long_documents import summaries
from warmstart.runtime.sampling import spread_places
from warmstart.tasks.task import GenerativeTask
from warmstart.types import Array

READING_BATCH_TOKENS = 4096  # tokens of questions, about: a model of the size of BERT reads them in one to ten seconds
BEGINNING = 16  # tokens of each question that stand for all, while answers are written: what is read is kept
ANSWER_TOKENS = 8  # tokens of each answer


def seconds_per_answer(writer: Writer, task: GenerativeTask, rows: Rows) -> float:
    """Seconds per answer for these rows, if answers become as long as the references.

    Texts that have ended leave their batch. So half the cost of a token is assumed to depend on the texts that remain,
    and half to stay until the longest answer has ended.
    """
    prompts = writer.prompts(rows.texts)
    tokens = sum(map(len, prompts))
    some = _read(prompts)
    reading = _seconds(writer, some, 1) / sum(map(len, some)) * tokens / len(prompts)
    at_once = len(padded_batches([len(prompt) for prompt in prompts], task.most_tokens)[0])
    batch = [prompt[:BEGINNING] for prompt in _spread(prompts, at_once)]
    begun, further = (_seconds(writer, batch, most) for most in (1, 1 + ANSWER_TOKENS))
    lengths = _written(writer, task, rows)
    written = (max(lengths) + float(np.mean(lengths))) / 2
    once = reading + max(0.0, further - begun) / ANSWER_TOKENS * written / len(batch)
    return once * _times(writer, task, rows.texts)


def bytes_unread(writer: Writer, task: GenerativeTask, rows: Rows) -> int:
    """Bytes of keys and values in the largest batch, beyond those that were in use while the time was measured."""
    prompts = writer.prompts(rows.texts)
    lengths = _written(writer, task, rows)
    most = max(
        _held(batch, prompts, lengths) for batch in padded_batches([len(prompt) for prompt in prompts], max(lengths))
    )
    some = _read(prompts)
    seen = max(_held(batch, some, [0]) for batch in padded_batches([len(prompt) for prompt in some], 1))
    return round(max(0, most - seen) * writer.kept_bytes(some[0]))


def _held(batch: Sequence[int], prompts: Sequence[Array], lengths: Sequence[int]) -> int:
    """The most tokens, padding included, that a batch of prompts holds at a time: some of its answers have ended by
    then.
    """
    longest = len(prompts[batch[0]])
    spread = np.quantile(lengths, np.linspace(1, 0, len(batch)))
    return int((np.arange(1, len(batch) + 1) * (longest + spread)).max())


def _read(prompts: Sequence[Array]) -> list[Array]:
    """The prompts whose reading time is measured."""
    return _spread(prompts, max(1, READING_BATCH_TOKENS * len(prompts) // sum(map(len, prompts))))


def _written(writer: Writer, task: GenerativeTask, rows: Rows) -> list[int]:
    """Tokens of each answer."""
    return [min(task.most_tokens, writer.tokens_of(str(answer))) for answer in rows.targets]


def _spread(prompts: Sequence[Array], count: int) -> list[Array]:
    """This many prompts, evenly spaced, or all."""
    return [prompts[i] for i in spread_places(count, len(prompts))]


def _seconds(writer: Writer, prompts: Sequence[Array], most: int) -> float:
    began = time.perf_counter()
    writer.endless(prompts, most)
    return time.perf_counter() - began


def _times(writer: Writer, task: GenerativeTask, texts: Sequence[str]) -> float:
    """Generated answers per final answer: a document summarized in chunks needs a summary of each and one of these."""
    chunks = writer.inputs.chunks
    if task.long != "chunks" or chunks is None:
        return 1.0
    tokens = [len(chunks.ends(document(text, task.instruction))) for text in texts]
    return float(np.mean([summaries(count, chunks.room) for count in tokens]))
