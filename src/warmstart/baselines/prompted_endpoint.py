"""Prompted endpoint: which class, or about which number, does a chat model behind an API name after examples?

The API gives words, no likelihoods, so its answer is parsed: the class that it names, or the bin of the number. An
answer that names none counts as the most common class, or as the median, and how many did is a caveat.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted, save_baseline
from warmstart.baselines.prompted import (
    PROMPT_CHOSEN_ON,
    PROMPT_EXAMPLES,
    LabelPrompt,
    example_order,
    prompt_for,
    read_number,
)
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.schema.cell_values import Values
from warmstart.results.bootstrap import mean_score
from warmstart.results.record import Trial
from warmstart.runtime.endpoint import Endpoint, Message
from warmstart.runtime.sampling import spread_places
from warmstart.types import Array

NAMED_LOGIT = 4.0  # nats for the answer that was named: validation rows correct it by their temperature
LONGEST_TEXT = 4_000  # characters of a text that are sent
LABEL_TOKENS_ALLOWED = 16  # tokens of an answer, and one for each 2 characters of the longest name
ANSWERS = "answers.jsonl"


@dataclass(frozen=True, eq=False)
class PromptedEndpoint:
    """A chat model that names a class, or a bin of a number."""

    endpoint: Endpoint
    prompt: LabelPrompt
    shares: Array  # float64 [labels]: of the training rows, which an answer that names no label counts as
    values: Array | None = None  # float64 [labels]: of a number, what each bin stands for, standardized
    again: bool = False  # whether what was answered before is asked again

    writer = None
    weights = 0  # nothing is learned

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        """Float32 [n, classes]: logits; of a number [n, 1], standardized."""
        places = self.places(texts)
        found = np.tile(self.shares if self.values is None else np.zeros_like(self.shares), (len(places), 1))
        named = np.flatnonzero(places >= 0)
        found[named, places[named]] += NAMED_LOGIT
        return found.astype(np.float32) if self.values is None else read_number(found, self.values, 1.0, "median")

    def places(self, texts: Sequence[str]) -> Array:
        """The place of the label that each answer names, int64 [n]; -1: none."""
        longest = LABEL_TOKENS_ALLOWED + max(map(len, self.prompt.labels)) // 2
        answers = self.endpoint.ask([self._chat(text) for text in texts], longest, self.again)
        numbers = self.values is not None
        return np.array([named_label(answer, self.prompt.labels, numbers) for answer in answers], dtype=np.int64)

    def _chat(self, text: str) -> list[Message]:
        said: list[Message] = []
        for shown, place in (*self.prompt.examples, (text, -1)):
            asked = shown[:LONGEST_TEXT] if said else f"{self.prompt.instruction}\n\n{shown[:LONGEST_TEXT]}"
            said.append({"role": "user", "content": asked})
            if place >= 0:
                said.append({"role": "assistant", "content": self.prompt.labels[place]})
        return said

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        """Unknown: they are another machine's."""
        return 0.0

    def alone(self) -> "PromptedEndpoint":
        return replace(self, again=True)

    def save(self, folder: Path) -> None:
        """The prompt, the address, and the answers so far, by hashes of what was asked."""
        facts: dict[str, object] = {"baseline": "prompted-endpoint", "url": self.endpoint.url}
        facts |= {"model": self.endpoint.model, "most_tokens": self.endpoint.most_tokens}
        facts |= {"instruction": self.prompt.instruction, "labels": self.prompt.labels}
        facts |= {"examples": self.prompt.examples}
        save_baseline(
            folder, facts, {"shares": self.shares, "values": np.zeros(0) if self.values is None else self.values}
        )
        journal = self.endpoint.journal
        if journal is not None and journal.exists() and journal != folder / ANSWERS:
            shutil.copyfile(journal, folder / ANSWERS)


def endpoint_from_json(facts: Mapping[str, Any], arrays: Mapping[str, Array], folder: Path) -> PromptedEndpoint:
    """What `save` wrote. It asks what it has not asked before only where the variable of the key is set."""
    endpoint = Endpoint(
        facts["url"], facts["model"], int(facts["most_tokens"]), journal=folder / ANSWERS, appends=False, by_flag=False
    )
    examples = tuple((str(text), int(place)) for text, place in facts["examples"])
    prompt = LabelPrompt(facts["instruction"], tuple(facts["labels"]), examples)
    return PromptedEndpoint(endpoint, prompt, arrays["shares"], arrays["values"] if len(arrays["values"]) else None)


def named_label(answer: str, labels: Sequence[str], numbers: bool = False) -> int:
    """The place of the label that an answer names; -1: none, or several.

    >>> named_label("The section is **Libs**.", ["libs", "lib", "doc"]), named_label("no idea", ["libs", "doc"])
    (0, -1)
    >>> named_label("about 1,100", ["10", "100", "1000"], numbers=True)
    2
    """
    said = answer.strip().strip("\"'`*.").casefold()
    folded = [label.casefold() for label in labels]
    if folded.count(said) == 1:
        return folded.index(said)
    if numbers:
        found = re.search(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", said.replace(",", ""))
        return -1 if found is None else int(np.argmin([abs(float(label) - float(found[0])) for label in labels]))
    inside = [i for i, label in enumerate(folded) if re.search(rf"(?<!\w){re.escape(label)}(?!\w)", said)]
    longest = [i for i in inside if not any(folded[i] in folded[other] and other != i for other in inside)]
    return longest[0] if len(longest) == 1 else -1


def fit_prompted_endpoint(data: FitData) -> Fitted:
    """Draw examples by the seed, and choose on validation rows how many are sent with each text.

    Raises TrainingError where the bound of tokens is reached, InputError where the endpoint does not answer.
    """
    assert data.endpoint is not None, "the request names an endpoint"
    rows = data.rows if data.validation is None or not len(data.validation) else data.validation
    some = rows.take(spread_places(PROMPT_CHOSEN_ON, len(rows)))
    prompt, values, places = prompt_for(data.task, data.rows)
    shares = np.bincount(places, minlength=len(prompt.labels)) / max(len(places), 1)
    order = example_order(places, data.seed)
    turned = 1 if data.task.higher_is_better else -1
    tried: dict[int, tuple[float, PromptedEndpoint]] = {}
    for count in PROMPT_EXAMPLES:
        examples = tuple((str(data.rows.texts[row]), int(places[row])) for row in order[:count])
        asked = PromptedEndpoint(data.endpoint, replace(prompt, examples=examples), shares, values)
        outputs, targets = asked.outputs(some.texts), data.task.exact_targets(some)
        score = mean_score(data.task.score(outputs, targets, data.task.calibrate(outputs, targets)))
        tried[len(examples)] = score, asked
    trials = tuple(Trial({"examples": count}, steps=0, val=score) for count, (score, _) in tried.items())
    _, best = max(tried.values(), key=lambda found: turned * found[0])  # of equals the fewest examples
    unread = int((best.places(some.texts) < 0).sum())
    instead = "the most common class" if values is None else "the median"
    said = f"{unread:,} of {len(some):,} answers to validation rows named no answer that was offered: they count as"
    return Fitted(best, trials, 0.0, 0.0, (f"{said} {instead}.",) if unread else ())
