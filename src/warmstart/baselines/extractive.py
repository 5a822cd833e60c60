"""Extractive: what do answers score that are taken from the text, not written? The floor of tasks that write.

Summaries are the leading sentences, translations the source itself, JSON objects the most common value of each field.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted, save_baseline
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.rows.split import Rows
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.conversations import Turn, document, write_turns
from warmstart.data.schema.structured import dump_json, misfit
from warmstart.results.bootstrap import mean_score
from warmstart.results.record import Trial
from warmstart.runtime.sampling import spread_places
from warmstart.tasks.language import MAX_JUDGED_ROWS
from warmstart.tasks.task import GenerativeTask
from warmstart.tasks.text_metrics import ROUGES, rouge
from warmstart.types import Array

MOST_SENTENCES = 8  # of a summary
# A sentence ends at a mark before a space, at a mark of a script without spaces, or at an empty line.
ENDS = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[」』”’）]*|\n\s*\n")
# After these a full stop ends no sentence; nor does it after a single letter, as in "e.g." or "J. S. Bach".
ABBREVIATIONS = frozenset({"approx", "cf", "dr", "etc", "fig", "inc", "jr", "ltd", "mr", "mrs", "ms", "prof", "vs"})


@dataclass(frozen=True)
class Extractive:
    """Answers without a model: the first sentences of each text, all of it, or the same for every text."""

    sentences: int | None = None  # leading ones; None: all of the text
    answer: str | None = None  # the same for every text; None: it is taken from the text
    instruction: str = ""  # that stands before each text in its prompt

    answers_at_once = 2_000

    @property
    def weights(self) -> int:
        """What was chosen: the number of sentences, or the fields."""
        return 1 if self.answer is None else len(json.loads(self.answer))

    @property
    def writer(self) -> "Extractive":
        return self

    def answers(self, texts: Sequence[str], task: GenerativeTask) -> list[str]:
        """The answer to each conversation."""
        return [self._answer(text) for text in texts]

    def check_room(self, texts: Sequence[str]) -> None:
        """Nothing: there is room for a text of any length."""

    def words(self, said: str) -> str:
        return said.strip()

    def stream(self, turns: Sequence[Turn], most: int, temperature: float, top_p: float, seed: int) -> Iterator[str]:
        """The answer, whole: there is only one."""
        yield self._answer(write_turns(turns))

    def _answer(self, text: str) -> str:
        if self.answer is not None:
            return self.answer
        source = document(text, self.instruction).strip()
        return source if self.sentences is None else leading_sentences(source, self.sentences)

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        """[n, 0]: how likely a text is, it does not say."""
        return np.zeros((len(texts), 0), dtype=np.float32)

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        return 0.0

    def alone(self) -> "Extractive":
        return self

    def save(self, folder: Path) -> None:
        facts: dict[str, object] = {"baseline": "extractive", "sentences": self.sentences, "answer": self.answer}
        save_baseline(folder, facts | {"instruction": self.instruction}, {"nothing": np.zeros(1, dtype=np.float32)})


def extractive_from_json(facts: Mapping[str, Any]) -> Extractive:
    """What `save` wrote."""
    return Extractive(facts["sentences"], facts["answer"], facts["instruction"])


def fit_extractive(data: FitData) -> Fitted:
    """The number of sentences that is best on validation rows; the values that are most common in training rows."""
    task = data.task.generative
    assert task is not None, "only tasks that write have sources"
    if task.name == "structured":
        answer = commonest_object([json.loads(str(target)) for target in data.rows.targets], task.json_schema or {})
        return Fitted(Extractive(answer=answer), (), 0.0, 0.0)
    if task.name == "translate":
        return Fitted(Extractive(instruction=task.instruction), (), 0.0, 0.0)
    rows = data.rows if data.validation is None else data.validation
    trials = _sentence_trials(task, rows.take(spread_places(MAX_JUDGED_ROWS, len(rows))))
    best = max(trials, key=lambda trial: trial.val or 0.0)  # of equals the fewest
    return Fitted(Extractive(best.settings["sentences"], instruction=task.instruction), trials, 0.0, 0.0)


def _sentence_trials(task: GenerativeTask, rows: Rows) -> tuple[Trial, ...]:
    """The metric of one sentence, of two and so on."""
    sources = [document(text, task.instruction) for text in rows.texts]
    references = [str(target) for target in rows.targets]
    found = []
    for count in range(1, MOST_SENTENCES + 1):
        said = [leading_sentences(source, count) for source in sources]
        scores = rouge(said, references).get(task.metric) if task.metric in ROUGES else task.judge(said, rows).scores
        assert scores is not None, "what is ranked by writing has scores of what is written"
        found.append(Trial({"sentences": count}, steps=0, val=mean_score(scores)))
    return tuple(found)


def leading_sentences(text: str, count: int) -> str:
    """The first sentences of a text, at most so many, as they stand there.

    >>> leading_sentences("It costs 2.50, e.g. in Rome. Buy it! Or not.", 2)
    'It costs 2.50, e.g. in Rome. Buy it!'
    >>> leading_sentences("東京は広い。人が多い。", 1), leading_sentences("no end", 3)
    ('東京は広い。', 'no end')
    """
    text, left = text.strip(), count
    for end in ENDS.finditer(text):
        if not _goes_on(text, end.start(), end.end()):
            left -= 1
            if left == 0:
                return text[: end.end()].strip()
    return text


def _goes_on(text: str, start: int, end: int) -> bool:
    """Whether a mark from `start` to `end` ends no sentence: it is an abbreviation's, or what follows begins small."""
    if text[start:end] != ".":
        return False
    word = re.search(r"\w+$", text[max(0, start - 20) : start])
    short = word is not None and ((len(word[0]) == 1 and word[0].isalpha()) or word[0].lower() in ABBREVIATIONS)
    return short or text[end:].lstrip()[:1].islower()


def commonest_object(objects: Sequence[Any], json_schema: dict[str, Any]) -> str:
    """The most common value of each field that most objects have, as JSON; if invalid, the most common object.

    >>> commonest_object([{"a": 1, "b": {"c": 2}}, {"a": 3, "b": {"c": 2}}, {"a": 3, "b": {}}, {"a": 1, "d": 0}], {})
    '{"a": 1, "b": {"c": 2}}'
    """
    found = _commonest(objects)
    if misfit(json_schema)(found) is not None:
        found = _most_frequent(objects)
    return dump_json(found, json_schema)


def _commonest(values: Sequence[Any]) -> Any:
    if not all(isinstance(value, dict) for value in values):
        return _most_frequent(values)
    known = dict.fromkeys(name for value in values for name in value)
    each = {name: [value[name] for value in values if name in value] for name in known}
    return {name: _commonest(said) for name, said in each.items() if 2 * len(said) > len(values)}


def _most_frequent(values: Sequence[Any]) -> Any:
    """Of equally frequent ones the first."""
    often = Counter(json.dumps(value, sort_keys=True, ensure_ascii=False) for value in values)
    return json.loads(often.most_common(1)[0][0])
