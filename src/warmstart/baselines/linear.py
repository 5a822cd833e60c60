"""Baselines: what does a rival cost that needs no network? The constant, and a linear model on word counts.

`linear` is TF-IDF with ridge regression (numbers) or one linear support-vector machine for each class (classes and
labels), scikit-learn's both. Margins become logits by one scale, learned where the rows were held out. On 57 classes
and 4,000 short texts this reached .650 in 1.2 s a fit, one-vs-rest logistic regression on the same features .648 in
6.0 s.
"""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from warmstart.data.rows.split import Rows
from warmstart.errors import MissingError
from warmstart.results.record import Trial
from warmstart.runtime.files import read_json, read_tensors, reading_ours, write_arrays, write_json
from warmstart.tasks.task import Task
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer


FACTS, WEIGHTS = "baseline.json", "baseline.safetensors"
TRAIN_AGAIN = "take a copy that is whole, or train again"

# Words of one letter count ("R package ..."), and so do runs of punctuation: every text that is not blank has a token.
TOKEN = r"(?u)\w+|[^\w\s]+"
MOST_TERMS = 50_000  # of each kind, the most frequent: bounds the model at (classes x 100,000) weights
MOST_CHARACTERS = 200  # mean length up to which pieces of words are tried; longer texts have words enough

TUNING_ROWS = 5_000  # the best strength was the same at 250, 1,000 and 4,000 rows: more only costs time
FEW_ROWS = 1_000  # below, 5 folds; from here on 3
STRENGTH_FACTOR = 3.0  # between neighbouring strengths
MIN_STRENGTH, MAX_STRENGTH = 0.1, 1000.0  # strengths; below 0.1 held-out gains were noise: .0003 of .74 at 250 rows
PASSES = 5_000  # most passes of a solver over the rows; a fit that needs more gets a caveat

NEVER = -10.0  # margin of a class that no training row has; margins that were learned stay within about -3..3
SHARPEST, BLUNTEST = 20.0, 0.5  # bounds for the scale from margin to logit

# Arithmetic on one stored count: a solver's pass multiplies and adds it twice for each output (row times weights, then
# weights plus row); predicting does so once. Weighing a count takes a logarithm, the idf, a square and a division.
# Cutting text into words is not arithmetic and counts nothing.
LEARNING, PREDICTING, WEIGHING = 4, 2, 4


class Baseline(Protocol):
    """A fitted model without a network: used like one."""

    @property
    def weights(self) -> int:
        """How many numbers were learned; all of them are trainable."""
        ...

    def outputs(self, texts: Sequence[str]) -> Array:
        """What a head gives for these texts, float32 [n, k]: a standardised value, or logits."""
        ...

    def flops(self, texts: Sequence[str]) -> float:
        """Analytic cost of `outputs`."""
        ...

    def save(self, folder: Path) -> None:
        """JSON and safetensors; `load_baseline` gives the same outputs to the bit."""
        ...


@dataclass(frozen=True)
class Fitted:
    """A baseline, how it was chosen, and what that cost."""

    baseline: Baseline
    trials: tuple[Trial, ...]
    flops: float  # of the fit itself
    tuning_flops: float
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Constant:
    """The same output for every text."""

    output: Array  # float32 [k]

    @property
    def weights(self) -> int:
        return len(self.output)

    def outputs(self, texts: Sequence[str]) -> Array:
        return np.tile(self.output, (len(texts), 1))

    def flops(self, texts: Sequence[str]) -> float:
        return 0.0

    def save(self, folder: Path) -> None:
        _save(folder, {"baseline": "constant"}, {"output": self.output})


@dataclass(frozen=True)
class Terms:
    """Texts as weighted counts of words and word pairs, or of the pieces of words; each row of length 1."""

    analyzer: Literal["word", "char_wb"]
    lengths: tuple[int, int]  # shortest and longest n-gram
    vocabulary: tuple[str, ...]
    idf: Array = field(repr=False)  # float32 [terms]

    @classmethod
    def fit(cls, texts: Sequence[str], analyzer: Literal["word", "char_wb"], lengths: tuple[int, int]) -> "Terms":
        """The vocabulary and rarity of terms in these texts, of which at least one must not be blank."""
        counter = _counter(analyzer, lengths).fit(texts)
        vocabulary = tuple(sorted(counter.vocabulary_, key=counter.vocabulary_.__getitem__))
        return cls(analyzer, lengths, vocabulary, counter.idf_.astype(np.float32))

    @cached_property
    def _counter(self) -> "TfidfVectorizer":
        counter = _counter(self.analyzer, self.lengths, self.vocabulary)
        counter.idf_ = self.idf
        return counter

    def encode(self, texts: Sequence[str]) -> "csr_matrix":
        """Sparse float32 [n, terms]."""
        encoded: csr_matrix = self._counter.transform(texts)
        return encoded


def _counter(analyzer: str, lengths: tuple[int, int], vocabulary: Sequence[str] | None = None) -> "TfidfVectorizer":
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=lengths,
        vocabulary=vocabulary,
        token_pattern=TOKEN if analyzer == "word" else None,
        max_features=MOST_TERMS,
        sublinear_tf=True,
        dtype=np.float32,
    )


@dataclass(frozen=True)
class Linear:
    """Weights on terms: `outputs = counts @ weight + bias`."""

    terms: tuple[Terms, ...]
    weight: Array = field(repr=False)  # float32 [terms, k]
    bias: Array = field(repr=False)  # float32 [k]

    @property
    def weights(self) -> int:
        return self.weight.size + self.bias.size

    def outputs(self, texts: Sequence[str]) -> Array:
        if not len(texts):
            return np.zeros((0, len(self.bias)), dtype=np.float32)
        found: Array = encode(self.terms, texts) @ self.weight + self.bias
        return found

    def flops(self, texts: Sequence[str]) -> float:
        """Two for each stored count and output, four to weigh each count."""
        counts = encode(self.terms, texts).nnz if len(texts) else 0
        return float(counts * (PREDICTING * len(self.bias) + WEIGHING))

    def save(self, folder: Path) -> None:
        terms = [{"analyzer": t.analyzer, "lengths": t.lengths, "vocabulary": t.vocabulary} for t in self.terms]
        idf = {f"idf.{i}": t.idf for i, t in enumerate(self.terms)}
        _save(folder, {"baseline": "linear", "terms": terms}, {"weight": self.weight, "bias": self.bias} | idf)


def encode(terms: Sequence[Terms], texts: Sequence[str]) -> "csr_matrix":
    """Every kind of term side by side, sparse float32 [n, terms]."""
    from scipy.sparse import hstack

    return hstack([kind.encode(texts) for kind in terms], format="csr")


def load_baseline(folder: Path) -> Baseline:
    """The baseline that `save` wrote into this folder. Raises MissingError where there is none."""
    for name in (FACTS, WEIGHTS):
        if not (folder / name).is_file():
            raise MissingError(f"{folder} holds no baseline: {name} is not there", "give the folder of a finished run")
    facts = read_json(folder / FACTS, dict[str, Any], TRAIN_AGAIN)
    arrays = {name: tensor.numpy() for name, tensor in read_tensors(folder / WEIGHTS, TRAIN_AGAIN).items()}
    with reading_ours(folder / FACTS, TRAIN_AGAIN):
        if facts["baseline"] == "constant":
            return Constant(arrays["output"])
        terms = tuple(
            Terms(kind["analyzer"], tuple(kind["lengths"]), tuple(kind["vocabulary"]), arrays[f"idf.{i}"])
            for i, kind in enumerate(facts["terms"])
        )
        return Linear(terms, arrays["weight"], arrays["bias"])


def _save(folder: Path, facts: dict[str, object], arrays: dict[str, Array]) -> None:
    """The JSON last: where it is, the weights are too."""
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / WEIGHTS, {name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_json(folder / FACTS, facts)


def fit_constant(task: Task, rows: Rows, seed: int = 0) -> Fitted:
    """The median, or the shares of the classes: the floor for every other row. The seed changes nothing."""
    return Fitted(Constant(task.constant(task.targets(rows)).astype(np.float32)), (), float(len(rows)), 0.0)


def fit_linear(task: Task, rows: Rows, seed: int = 0) -> Fitted:
    """A linear model whose terms and strength were chosen by cross-validation on these rows alone."""
    problem = _problem(task, rows)
    words = Terms.fit(rows.texts, "word", (1, 2))
    choices: list[tuple[Terms, ...]] = [(words,)]
    if np.mean([len(text) for text in rows.texts]) <= MOST_CHARACTERS:
        choices.append((words, Terms.fit(rows.texts, "char_wb", (2, 4))))

    search = _Search(task, problem, rows, seed)
    terms, best = search.choose(choices)
    counts = encode(terms, rows.texts)
    found = problem.solve(counts, problem.wanted, best.strength, seed)
    linear = Linear(terms, (found.weight * best.scale).astype(np.float32), (found.bias * best.scale).astype(np.float32))
    caveats = () if found.passes < PASSES else (f"the linear model was not solved after {PASSES:,} passes",)
    weighing = float(counts.nnz * WEIGHING)
    return Fitted(linear, tuple(search.trials), found.flops + weighing, search.flops, caveats)


FIT_BASELINE: dict[str, Callable[[Task, Rows, int], Fitted]] = {"constant": fit_constant, "linear": fit_linear}


@dataclass(frozen=True)
class _Solution:
    weight: Array  # [terms, k]
    bias: Array  # [k]
    passes: int
    flops: float


@dataclass(frozen=True)
class _Problem:
    """What is to be learned, as columns, and by which solver."""

    targets: Array  # as the task gives them
    wanted: Array  # [n, k]: the value, or 0/1 for each class
    parameter: str  # scikit-learn's name for the strength
    solve: Callable[["csr_matrix", Array, float, int], _Solution]
    scale: Callable[[Array, Array], float]  # held-out margins and their targets -> logits per margin


def _problem(task: Task, rows: Rows) -> _Problem:
    """Told by the targets: numbers, class numbers, or 0/1 for each label."""
    targets = task.targets(rows)
    if targets.ndim == 2:
        return _Problem(targets, targets, "C", _separate, _label_scale)
    if targets.dtype.kind == "f":
        return _Problem(targets, targets[:, None], "alpha", _ridge, lambda margins, targets: 1.0)
    classes = len(task.constant(targets))
    return _Problem(targets, np.eye(classes, dtype=np.float32)[targets], "C", _separate, _class_scale)


def _ridge(counts: "csr_matrix", wanted: Array, alpha: float, seed: int) -> _Solution:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=alpha, solver="lsqr", tol=1e-5, max_iter=PASSES).fit(counts, wanted)
    passes = int(np.max(model.n_iter_))
    weight = np.reshape(model.coef_, (wanted.shape[1], -1)).T
    return _Solution(weight, np.atleast_1d(model.intercept_), passes, float(passes * LEARNING * counts.nnz))


def _separate(counts: "csr_matrix", wanted: Array, strength: float, seed: int) -> _Solution:
    """Each class against all others. A class that no row has, or every row, has a margin and no weights."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    weight = np.zeros((counts.shape[1], wanted.shape[1]))
    bias = np.where(wanted.any(0), -NEVER, NEVER)
    passes = []
    counts = counts.astype(np.float64)  # what the solver works in: converted once, not once for each class
    for j in np.flatnonzero(wanted.any(0) & ~wanted.all(0)):
        model = LinearSVC(C=strength, tol=1e-2, max_iter=PASSES, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told by the number of passes, as a caveat
            model.fit(counts, wanted[:, j] > 0)
        weight[:, j], bias[j] = model.coef_[0], model.intercept_[0]
        passes.append(int(model.n_iter_))
    return _Solution(weight, bias, max(passes, default=0), float(sum(passes) * LEARNING * counts.nnz))


def _class_scale(margins: Array, targets: Array) -> float:
    """The scale whose softmax gives held-out rows the best log loss; rows of classes unseen in training say nothing."""
    from scipy.special import log_softmax

    own = np.arange(len(targets))
    seen = margins[own, targets] != NEVER
    kept, truth = margins[seen], targets[seen]
    return _best_scale(lambda scale: -float(log_softmax(scale * kept, axis=1)[own[: len(kept)], truth].sum()))


def _label_scale(margins: Array, targets: Array) -> float:
    """The scale whose sigmoid gives held-out rows the best log loss; labels unseen in training say nothing."""
    seen = np.abs(margins) != -NEVER
    signed = np.where(targets > 0, margins, -margins)[seen]
    return _best_scale(lambda scale: float(np.logaddexp(0, -scale * signed).sum()))


def _best_scale(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(loss, bounds=(BLUNTEST, SHARPEST), method="bounded", options={"xatol": 0.05})
    return float(found.x)


@dataclass(frozen=True)
class _Choice:
    strength: float
    scale: float
    score: float  # higher is better


class _Search:
    """Cross-validation on training rows only; rows with the same key (a group) are never parted."""

    def __init__(self, task: Task, problem: _Problem, rows: Rows, seed: int):
        self.task, self.problem, self.seed = task, problem, seed
        self.sample, self.fold = _folds(rows.keys, seed)
        self.texts = [rows.texts[i] for i in self.sample]
        self.trials: list[Trial] = []
        self.flops = 0.0

    def choose(self, choices: Sequence[tuple[Terms, ...]]) -> tuple[tuple[Terms, ...], _Choice]:
        """The best terms at strength 1, then the best strength for them, uphill until it falls."""
        start = _Choice(1.0, 1.0, -np.inf)
        if not self.fold.any():  # one group: nothing can be held out
            return choices[0], start
        best, terms, counts = start, choices[0], encode(choices[0], self.texts)
        for tried in choices:
            tried_counts = encode(tried, self.texts)
            choice = self._try(tried, tried_counts, 1.0)
            if choice.score > best.score:
                best, terms, counts = choice, tried, tried_counts
        for factor in (STRENGTH_FACTOR, 1 / STRENGTH_FACTOR):
            climbed = self._climb(best, terms, counts, factor)
            if climbed is not best:
                return terms, climbed
        return terms, best

    def _climb(self, best: _Choice, terms: tuple[Terms, ...], counts: "csr_matrix", factor: float) -> _Choice:
        while MIN_STRENGTH <= (strength := best.strength * factor) <= MAX_STRENGTH:
            choice = self._try(terms, counts, strength)
            if choice.score <= best.score:
                break
            best = choice
        return best

    def _try(self, terms: tuple[Terms, ...], counts: "csr_matrix", strength: float) -> _Choice:
        """Margins for every row from a fit that did not see it, scored as the task is ranked."""
        problem, wanted = self.problem, self.problem.wanted[self.sample]
        margins, passes = np.zeros(wanted.shape), 0
        for fold in range(self.fold.max() + 1):
            held = self.fold == fold
            found = problem.solve(counts[~held], wanted[~held], strength, self.seed)
            margins[held] = counts[held] @ found.weight + found.bias
            passes = max(passes, found.passes)
            self.flops += found.flops + float(counts[held].nnz * PREDICTING * wanted.shape[1])
        targets = problem.targets[self.sample]
        scale = problem.scale(margins, targets)
        score = self._score(margins * scale, targets)
        settings = {
            "terms": "words and characters" if len(terms) > 1 else "words",
            problem.parameter: round(strength, 6),
        }
        self.trials.append(Trial(settings, passes, score))
        return _Choice(strength, scale, score if self.task.higher_is_better else -score)

    def _score(self, outputs: Array, targets: Array) -> float:
        scores = self.task.score(outputs, targets, self.task.calibrate(outputs, targets))
        return float(scores[:, 0].sum() / max(scores[:, 1].sum(), 1.0))


def _folds(keys: Sequence[str], seed: int) -> tuple[Array, Array]:
    """Positions of at most `TUNING_ROWS` rows, in the seed's hash order of their keys, and the fold of each."""
    hashed = [hashlib.sha256(f"{seed}:{key}".encode()).digest() for key in keys]
    order = sorted(range(len(keys)), key=lambda i: (hashed[i], i))[:TUNING_ROWS]
    rank: dict[bytes, int] = {}
    for i in order:
        rank.setdefault(hashed[i], len(rank))
    folds = min(5 if len(order) < FEW_ROWS else 3, len(rank))
    return np.array(order), np.array([rank[hashed[i]] % folds for i in order])
