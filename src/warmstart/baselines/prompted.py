"""Prompted: which class, or about which number, does a base name after instructions and examples, unchanged?

An answer is scored by its log-likelihood, the sum or the mean over its tokens, and optionally minus its mean over
texts, because some answers are likely after anything (Zhou et al. 2024, batch calibration). Validation rows choose.
On 100 synopses of six sections, SmolLM2-135M was right in .38, .52 and .54 after 0, 4 and 16 examples that way; minus
the likelihood after "N/A" (Zhao et al. 2021) in .42, .39 and .42. Numbers are predicted through bins, each named by
its median.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted, save_baseline
from warmstart.baselines.few_shot import language_model_of
from warmstart.data.encoding.language_inputs import Conversations
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.rows.split import Rows
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.conversations import Turn, write_turns
from warmstart.errors import InputError, TrainingError
from warmstart.generation.kv_cache import ReadPrefix, shared_beginning
from warmstart.generation.label_scores import PROMPTS_AT_ONCE, LabelTree, label_scores
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.models.pretrained.base_reference import reference_to, referenced_base
from warmstart.results.bootstrap import mean_score
from warmstart.results.record import Trial
from warmstart.runtime.sampling import spread_places
from warmstart.tasks.task import Task
from warmstart.training.flops import Flops, flops
from warmstart.types import Array

PROMPT_EXAMPLES = (0, 4, 16)  # that are tried
PROMPT_CHOSEN_ON = 100  # validation rows that their number is chosen on
QUANTILE_BINS = 8  # of a number
MOST_CLASSES_NAMED = 100  # classes that the instruction lists: of more, it says only what they are classes of
SHARPNESS = (1.0, 0.3, 3.0)  # that the scores of bins are multiplied by
READINGS = ((False, True), (True, True), (True, False))  # (mean over tokens, minus that of all texts), usual one first
READOUTS = ("median", "mean")  # of the distribution over bins
MOST_SHOWN_TOKENS = 0.6  # of what the base reads, for examples


@dataclass(frozen=True)
class LabelPrompt:
    """What is asked, and which answers there are."""

    instruction: str
    labels: tuple[str, ...]  # the answers, as they are named
    examples: tuple[tuple[str, int], ...] = ()  # (text, its answer's place among the labels)

    def turns(self, text: str) -> str:
        """The conversation about a text, as JSON: the instruction comes once."""
        turns: list[Turn] = []
        for shown, place in self.examples:
            turns += [Turn("user", self._asked(shown, not turns)), Turn("assistant", self.labels[place])]
        return write_turns([*turns, Turn("user", self._asked(text, not turns))])

    def _asked(self, text: str, first: bool) -> str:
        return f"{self.instruction}\n\n{text}" if first else text


@dataclass(frozen=True, eq=False)
class Prompted:
    """A base that names a class, or a bin of a number."""

    base: Base
    prompt: LabelPrompt
    values: Array | None = None  # float64 [labels]: of a number, what each bin stands for, standardized
    sharpness: float = 1.0
    readout: str = "median"
    by_token: bool = False  # whether answers are compared by their mean over tokens
    usual: Array | None = None  # float32 [labels]: mean scores over texts, which are subtracted; None: nothing is
    loaded: Model | None = None  # the base, where it is in memory already
    known: dict[str, Array] | None = None  # scores by text, kept: validation rows are chosen by, then scored; None: not
    deadline: float = math.inf  # by time.perf_counter(): what is still being asked then is given up

    writer = None

    @property
    def weights(self) -> int:
        """None: nothing is learned."""
        return 0

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        """Float32 [n, classes]: logits; of a number [n, 1], standardized."""
        return self.read(self.scores(texts))

    def read(self, scores: Array) -> Array:
        """The outputs for texts whose answers have these scores [n, labels]."""
        found = scores if self.usual is None else scores - self.usual
        found = np.asarray(found / self.tree.lengths if self.by_token else found, dtype=np.float32)
        return found if self.values is None else read_number(found, self.values, self.sharpness, self.readout)

    def scores(self, texts: Sequence[str]) -> Array:
        """The log-likelihood of each answer after each text, in nats, float32 [n, labels]."""
        if not len(texts):
            return np.zeros((0, len(self.prompt.labels)), dtype=np.float32)
        known = {} if self.known is None else self.known
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            prompts = [self._tokens(text) for text in new]
            found = label_scores(self.model.body, self._head, prompts, self.tree, self._prefix, self.deadline)
            known |= zip(new, found, strict=True)
        return np.stack([known[text] for text in texts])

    def _tokens(self, text: str) -> Array:
        return np.array(self.inputs.prompt(self.prompt.turns(text)), dtype=np.int64)

    @cached_property
    def _prefix(self) -> ReadPrefix | None:
        """What every prompt begins with, read once and for all."""
        return ReadPrefix.of(self.model.body, self._shown)

    @cached_property
    def model(self) -> Model:
        return self.loaded or language_model_of(self.base)

    @property
    def _head(self) -> Any:
        return self.model.language_head

    @cached_property
    def inputs(self) -> Conversations:
        return prompt_inputs(self.base, self.prompt)

    @cached_property
    def tree(self) -> LabelTree:
        return label_tree(self.base, self.prompt.labels)

    @cached_property
    def cost(self) -> Flops:
        return flops(self.model, {})

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        """2 a weight and token, and attention: what all prompts begin with is read once for as many as go together."""
        if not len(texts):
            return 0.0
        nodes = len(self.tree.inner)
        sizes = np.array([len(self._tokens(text)) for text in texts])
        begin = min(len(self._shown), int(sizes.min()) - 1)
        each = self.cost.forward(sizes + nodes, 1.0 + nodes) - self.cost.forward(np.array([begin]), 0.0)
        batches = -(-len(texts) // PROMPTS_AT_ONCE)
        return float(each.sum() + batches * self.cost.forward(np.array([begin]), 0.0)[0])

    @cached_property
    def _shown(self) -> Array:
        """The tokens that every prompt begins with."""
        return shared_beginning(self._tokens("0"), self._tokens("N/A"))

    def alone(self) -> "Prompted":
        return replace(self, known=None)

    def save(self, folder: Path) -> None:
        """The base is named, not copied."""
        prompt = {"instruction": self.prompt.instruction, "labels": self.prompt.labels}
        facts: dict[str, object] = {"baseline": "prompted", "reference": reference_to(self.base), "prompt": prompt}
        facts |= {"examples": self.prompt.examples, "sharpness": self.sharpness, "readout": self.readout}
        facts |= {"by_token": self.by_token}
        known = {"values": self.values, "usual": self.usual}
        save_baseline(folder, facts, {name: np.zeros(0) if array is None else array for name, array in known.items()})


def prompted_from_json(facts: Mapping[str, Any], arrays: Mapping[str, Array], folder: Path) -> Prompted:
    """What `save` wrote. Raises MissingError where its base is not here, InputError where that has changed."""
    said = facts["prompt"]
    examples = tuple((str(text), int(place)) for text, place in facts["examples"])
    values, usual = (arrays[name] if len(arrays[name]) else None for name in ("values", "usual"))
    return Prompted(
        referenced_base(facts["reference"], f"{folder} prompts"),
        LabelPrompt(said["instruction"], tuple(said["labels"]), examples),
        values,
        float(facts["sharpness"]),
        str(facts["readout"]),
        bool(facts["by_token"]),
        usual,
    )


def read_number(scores: Array, values: Array, sharpness: float, readout: str) -> Array:
    """The median or the mean of the values [k] by their scores [n, k]: float32 [n, 1]."""
    sharp = sharpness * scores.astype(np.float64)
    shares = np.exp(sharp - sharp.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    if readout == "mean":
        found = shares @ values
    else:
        found = values[(shares.cumsum(axis=1) >= 0.5).argmax(axis=1)]
    return np.asarray(found[:, None], dtype=np.float32)


def prompt_inputs(base: Base, prompt: LabelPrompt) -> Conversations:
    """A text is read as far as without a prompt around it, within what the base reads."""
    tokens = base.inputs
    around = sum(base.inputs.count([prompt.instruction, *(f"{t}\n{prompt.labels[i]}" for t, i in prompt.examples)]))
    around += 16 * (1 + len(prompt.examples))  # what a template puts around each turn
    longest = min(base.reads, 4 * (tokens.max_length + around) // 3)
    return Conversations(tokens.folder, longest, prompt.instruction)


def label_tree(base: Base, labels: Sequence[str]) -> LabelTree:
    """The tokens of the labels as the base's template has them after a question."""
    return _label_tree(base.inputs.folder, max(base.inputs.max_length, 256), tuple(labels))


@lru_cache(maxsize=8)
def _label_tree(folder: str, longest: int, labels: tuple[str, ...]) -> LabelTree:
    """Once, however often its scores are read: a tokenizer takes 0.2 s to load."""
    template = Conversations(folder, longest).template
    found = []
    for label in labels:
        turns = [{"role": "user", "content": "."}, {"role": "assistant", "content": label}]
        said = template.spoken(turns).answer
        found.append((said[:-1] if len(said) > 1 and said[-1] == template.closing else said).tolist())
    return LabelTree.of(found)


def fit_prompted(data: FitData) -> Fitted:
    """Draw examples by the seed, and choose on validation rows how many are shown.

    Raises TrainingError where the base does not read as much as the answers and a text take, OutOfTime after the
    deadline.
    """
    embedder = data.embedder
    assert embedder is not None, "only a base can be asked"
    rows = data.rows if data.validation is None or not len(data.validation) else data.validation
    some = rows.take(spread_places(PROMPT_CHOSEN_ON, len(rows)))
    prompt, values, places = prompt_for(data.task, data.rows)
    plain, order = Prompted(embedder.base, prompt, values), example_order(places, data.seed)
    plain = replace(plain, loaded=plain.model, deadline=data.deadline)
    turned = 1 if data.task.higher_is_better else -1
    tried: dict[int, tuple[float, Prompted]] = {}  # by the number of examples
    spent = 0.0
    for count in PROMPT_EXAMPLES:
        examples = _shown(plain, data.rows, places, order, count)
        if len(examples) in tried:  # no more of them fit
            continue
        asked = replace(plain, prompt=replace(plain.prompt, examples=examples), known={})
        try:
            scores = asked.scores(some.texts)
        except InputError as error:
            name = embedder.base.name
            raise TrainingError(f"no prompt fits into what base {name!r} reads: {error.message}") from error
        asked = replace(asked, usual=scores.mean(axis=0))
        spent += asked.flops(some.texts)
        each = [(_score(reading, scores, data.task, some), reading) for reading in _readings(asked)]
        tried[len(examples)] = max(each, key=lambda found: turned * found[0])  # of equals the usual one
    trials = tuple(Trial({"examples": count}, steps=0, val=score) for count, (score, _) in tried.items())
    _, best = max(tried.values(), key=lambda found: turned * found[0])  # of equals the fewest examples
    return Fitted(best, trials, 0.0, spent)


def prompt_for(task: Task, rows: Rows) -> tuple[LabelPrompt, Array | None, Array]:
    """Instructions alone, of a number what its bins stand for, and the place of each row's answer among the labels."""
    classes = tuple(task.to_json().get("classes", ()))
    what = task.to_json().get("target", "") or "class"
    if classes:
        listed = f" Answer with one of: {', '.join(classes)}." if len(classes) <= MOST_CLASSES_NAMED else ""
        instruction = f"Say which {what} the text belongs to.{listed}"
        return LabelPrompt(instruction, classes), None, np.asarray(task.targets(rows), dtype=np.int64)
    values, labels, places = number_bins(task, rows)
    instruction = f"Estimate the {what} of what the text describes. Answer with one of: {', '.join(labels)}."
    return LabelPrompt(instruction, labels), values, places


def number_bins(task: Task, rows: Rows) -> tuple[Array, tuple[str, ...], Array]:
    """Quantile bins of a number: the median of each, standardized [k], as it is written, and each row's bin [n]."""
    targets = task.exact_targets(rows)
    edges = np.unique(np.quantile(targets, np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1]))
    places = np.searchsorted(edges, targets, side="right")
    named: dict[str, list[int]] = {}
    for place in np.unique(places):
        middle = float(np.median(targets[places == place]))
        named.setdefault(written_number(float(task.truths(np.array([middle]))[0])), []).append(int(place))
    merged = np.zeros(len(edges) + 1, dtype=np.int64)
    for number, parts in enumerate(named.values()):
        merged[parts] = number
    places = merged[places]
    values = np.array([np.median(targets[places == number]) for number in range(len(named))])
    return values, tuple(named), places


def written_number(value: float) -> str:
    """To three digits, without an exponent.

    >>> written_number(12345.6), written_number(0.012345), written_number(-7.0)
    ('12300', '0.0123', '-7')
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:.0f}" if rounded == int(rounded) else np.format_float_positional(rounded, trim="-")


def example_order(places: Array, seed: int) -> list[int]:
    """Rows in the order in which they are shown: drawn by the seed, first one of each answer, then a second ..."""
    drawn = np.random.default_rng(seed).permutation(len(places))
    seen: dict[int, int] = {}
    keyed = []
    for rank, row in enumerate(drawn.tolist()):
        often = seen[int(places[row])] = seen.get(int(places[row]), 0) + 1
        keyed.append((often, rank, row))
    return [row for _, _, row in sorted(keyed)]


def _shown(plain: Prompted, rows: Rows, places: Array, order: Sequence[int], count: int) -> tuple[tuple[str, int], ...]:
    """The first rows of the order that fit into a part of what the base reads, at most so many."""
    inputs = plain.base.inputs
    found: list[tuple[str, int]] = []
    room = MOST_SHOWN_TOKENS * plain.base.reads - sum(inputs.count([plain.prompt.instruction])) - inputs.max_length
    for row in order[: 4 * count]:
        if len(found) == count:
            break
        text = str(rows.texts[row])
        size = sum(inputs.count([f"{text}\n{plain.prompt.labels[int(places[row])]}"])) + 16
        if size <= min(room, inputs.max_length):
            room -= size
            found.append((text, int(places[row])))
    return tuple(found)


def _readings(asked: Prompted) -> list[Prompted]:
    """How its scores may be read, the usual way first."""
    found = [replace(asked, by_token=mean, usual=asked.usual if less else None) for mean, less in READINGS]
    if asked.values is None:
        return found
    return [replace(one, sharpness=sharp, readout=how) for one in found for how in READOUTS for sharp in SHARPNESS]


def _score(asked: Prompted, scores: Array, task: Task, rows: Rows) -> float:
    """The metric on these rows, whose answers have these scores."""
    outputs = asked.read(scores)
    targets = task.exact_targets(rows)
    return mean_score(task.score(outputs, targets, task.calibrate(outputs, targets)))
