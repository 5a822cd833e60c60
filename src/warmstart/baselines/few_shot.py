"""Few-shot: what does a base answer, unchanged, that reads a few answered examples before each text?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted, save_baseline
from warmstart.data.encoding.language_inputs import Conversations
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.rows.split import Rows
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.conversations import write_prompt
from warmstart.errors import InputError, TrainingError
from warmstart.generation.answers import Writer
from warmstart.generation.kv_cache import ReadPrefix, shared_beginning
from warmstart.models.model import UNPOOLED, Model
from warmstart.models.pretrained.base import Base
from warmstart.models.pretrained.base_reference import reference_to, referenced_base
from warmstart.regimes.starts import Pretrained
from warmstart.results.bootstrap import mean_score
from warmstart.results.record import Trial
from warmstart.runtime.device import best_device
from warmstart.runtime.sampling import spread_places
from warmstart.tasks.task import GenerativeTask
from warmstart.training.flops import Flops, flops
from warmstart.types import Array

SHOTS = (1, 2, 4, 8)  # examples that are tried
FIRST_CHOSEN_ON = 16  # validation rows on which all numbers of examples are tried, and all but two left out
CHOSEN_ON = 48  # validation rows that the number of examples is chosen on: an answer may take a second
DRAWN_FROM = 200  # training rows, at most, that are looked at for examples short enough


@dataclass(frozen=True, eq=False)
class FewShot:
    """A base that answers after examples."""

    base: Base
    instruction: str
    examples: tuple[str, ...]  # conversations with their answers, as JSON turns
    answer_tokens: float = 0.0  # of a usual answer, which its cost is counted by
    loaded: Model | None = None  # the base, where it is in memory already
    deadline: float = math.inf  # by time.perf_counter(): what is still being answered then is given up

    @property
    def weights(self) -> int:
        """None: nothing is learned."""
        return 0

    @cached_property
    def writer(self) -> Writer:
        """What all prompts begin with, the examples, is read here, once and for all."""
        model, inputs = self.loaded or language_model_of(self.base), self.inputs
        one, other = (np.array(inputs.prompt(write_prompt(self.instruction, text))) for text in ("0", "N/A"))
        return Writer(model, inputs, ReadPrefix.of(model.body, shared_beginning(one, other)), self.deadline)

    @cached_property
    def inputs(self) -> Conversations:
        return prompted_inputs(self.base, self.instruction, self.examples)

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        """[n, 0]: how likely a text is, it is not asked."""
        return np.zeros((len(texts), 0), dtype=np.float32)

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        """Of answering: each prompt is read, what all of them begin with once for as many as are answered together."""
        if not len(texts):
            return 0.0
        sizes = np.array([len(prompt) for prompt in self.writer.prompts(texts)])
        shown = min(self._examples_size, int(sizes.min()) - 1)
        batches = -(-len(texts) // self.writer.answers_at_once)
        read = self.cost.forward(sizes + self.answer_tokens, self.answer_tokens).sum()
        saved = (len(texts) - batches) * self.cost.forward(np.array([shown]), 0.0)[0]
        return float(read - max(saved, 0.0))

    @cached_property
    def cost(self) -> Flops:
        return flops(self.writer.model, {})

    @cached_property
    def _examples_size(self) -> int:
        """Tokens of the examples, which every prompt begins with."""
        if not self.examples:
            return 0
        with_examples = self.inputs.prompt(write_prompt(self.instruction, "."))
        alone = prompted_inputs(self.base, self.instruction, ()).prompt(write_prompt(self.instruction, "."))
        return max(0, len(with_examples) - len(alone))

    def alone(self) -> "FewShot":
        return self

    def save(self, folder: Path) -> None:
        """The base is named, not copied."""
        facts: dict[str, object] = {"baseline": "few-shot", "reference": reference_to(self.base)}
        facts |= {"instruction": self.instruction, "examples": self.examples, "answer_tokens": self.answer_tokens}
        save_baseline(folder, facts, {"nothing": np.zeros(1, dtype=np.float32)})


def few_shot_from_json(facts: Mapping[str, Any], folder: Path) -> FewShot:
    """What `save` wrote. Raises MissingError where its base is not here, InputError where that has changed."""
    base = referenced_base(facts["reference"], f"{folder} prompts")
    return FewShot(base, facts["instruction"], tuple(facts["examples"]), float(facts["answer_tokens"]))


def language_model_of(base: Base) -> Model:
    """The base with its own output layer, in evaluation mode."""
    start = Pretrained(base)
    body = start.body(0)
    for parameter in body.parameters():
        parameter.requires_grad_(False)
    head = start.language_head(body)
    return Model(body, head, UNPOOLED).to(best_device()).eval()


def prompted_inputs(base: Base, instruction: str, examples: tuple[str, ...]) -> Conversations:
    """How a text is read after examples: as much of it as without them, within what the base reads."""
    tokens = base.inputs
    alone = Conversations(tokens.folder, tokens.max_length, instruction)
    if not examples:
        return alone
    shown = 4 * int(alone.encode(examples).sizes().sum()) // 3 + 1  # a prompt has three quarters of what is read
    return Conversations(tokens.folder, min(base.reads, tokens.max_length + shown), instruction, examples)


def fit_few_shot(data: FitData) -> Fitted:
    """Draw examples by the seed, and choose on validation rows how many are shown.

    Raises TrainingError where not one fits beside a text into what the base reads, OutOfTime after the deadline.
    """
    task, embedder = data.task.generative, data.embedder
    assert task is not None and embedder is not None, "only a base can be shown examples"
    base = embedder.base
    drawn = draw_examples(base, task, data.rows, data.seed)
    answers = [str(answer) for answer in data.rows.targets[:DRAWN_FROM]]
    usual = float(np.mean(base.inputs.count(answers))) + 1
    rows = data.rows if data.validation is None else data.validation
    some = rows.take(spread_places(CHOSEN_ON, len(rows)))
    model = language_model_of(base)
    tried = {
        n: FewShot(base, task.instruction, drawn[:n], usual, model, data.deadline) for n in SHOTS if n <= len(drawn)
    }
    found: dict[int, float] = {}
    spent = 0.0
    left = list(tried)
    for count in (FIRST_CHOSEN_ON, CHOSEN_ON):  # all of them on few rows, then the best two on more
        few = some.take(spread_places(count, len(some)))
        for shots in left:
            judged = task.judge(tried[shots].writer.answers(few.texts, task), few)
            assert judged.scores is not None
            found[shots] = mean_score(judged.scores)
            spent += tried[shots].flops(few.texts)
        left = sorted(sorted(left, key=lambda shots: -found[shots])[:2])
        if len(few) == len(some):
            break
    trials = tuple(Trial({"examples": shots}, steps=0, val=score) for shots, score in found.items())
    best = max(left, key=lambda shots: found[shots])  # of equals the fewest
    return Fitted(tried[best], trials, 0.0, spent)


def draw_examples(base: Base, task: GenerativeTask, rows: Rows, seed: int) -> tuple[str, ...]:
    """Answered conversations, in the order in which the seed draws them: as many as fit into what the base reads.

    Rows too long to be shown whole are skipped. Raises TrainingError if no row is left.
    """
    inputs = prompted_inputs(base, task.instruction, ())
    order = np.random.default_rng(seed).permutation(len(rows))[:DRAWN_FROM]
    room = 3 * (base.reads - inputs.max_length) // 4  # a quarter is for the answer
    found: list[str] = []
    for place in order:
        text = str(rows.texts[int(place)])
        try:
            row = inputs.encode([text])
        except InputError:  # it leaves no room for its answer
            continue
        size = int(row.sizes()[0])
        if row.lost[0] or size > room:
            continue
        room -= size
        found.append(text)
        if len(found) == max(SHOTS):
            break
    if not found:
        raise TrainingError(
            f"no example fits beside a text of {inputs.max_length:,} tokens into the {base.reads:,} that base "
            f"{base.name!r} reads",
            "lower --max-length, or name a base that reads more",
        )
    return tuple(found)
