"""Boosted fit: how are boosted trees fitted to a table: on what, in how many, and added to what?

Trees read what a linear model says of rows that it did not see (out of fold), so that it is as wrong there as on new
rows. They are tried in two ways and as the mean of both: added to the linear model, and alone, beside what a linear
model of the text alone says. On a table with a synopsis, a category and numbers the error of log10(size) at 1,000 rows,
three draws and 3,000 other rows, was .1475, .1528 and .1521 added, and .1459, .1490 and .1491 as the mean of both;
where those that stood alone read the linear model of everything, .1468, .1509 and .1512.

Of many rows without a text trees that stand alone read the columns only: what a linear model says of these misleads
them. On 37,500 diamonds the error with it as a column was .0258, after 1,893 trees, and without it .0254, after 931.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from warmstart.baselines.baseline import FitData, Fitted
from warmstart.baselines.boosted import MOST_SAID, Boosted, TreeTable, raise_by
from warmstart.baselines.lightgbm_trees import MANY_ROWS, Ensemble, Target, TreeSettings, fit_flops, fit_trees
from warmstart.baselines.linear import Chosen, Linear, choose_linear, fit_chosen, fit_nothing
from warmstart.baselines.linear_features import Features
from warmstart.data.features.reading import Reading
from warmstart.data.features.terms import term_choices
from warmstart.regimes.search_space import TREE_SPACE, Sampler
from warmstart.results.metrics import SQUARED_ERRORS
from warmstart.results.record import SettingsSearch, Trial
from warmstart.runtime.files import read_json, write_json
from warmstart.types import Array

OUT_OF_FOLD_PARTS, FEWER_FOLDS = 5, 3
# Of many rows a tenth is held out, and only this often. On 41,600 diamonds, scored on 8,300 others, the error of trees
# on nine tenths was .0577, on two thirds .0595; of the mean of two with nine tenths .0569, of three with two thirds
# .0573.
SMALLER_PARTS, MOST_GROWN = 10, 2
# Tried in this order on one fold; another must do better. Of many rows the smallest only where the largest does not:
# it takes the most trees.
LEAVES, MANY_LEAVES = (15, 7, 63), (63, 127, 15)
FEWER_COLUMNS = 0.7  # share, tried on one fold: it helped on 3 of 8 tables, and cost 4 to 10 % on one of formulas
# Of the score, by which one way must do better on held-out rows than the mean of both: on new rows the mean did better
# where these said .6 % and 1 % worse.
LEAST_GAIN_ALONE = 0.01
LEAST_MEAN_GAIN = 0.005  # of the score on the first fold, for which many rows are learned in two ways
MOST_LABELS = 50  # of label sets, the most common: the others are as the linear model says
LEAST_TREE_GAIN = 0.01  # of the score, for settings that a search found to replace the usual ones
MIN_HELD_OUT_ROWS = 20  # below, nothing can be held out to say when to stop


_Grown = tuple[str, dict[str, list[tuple[Ensemble, ...]]], float]  # the best way, what was grown each way, its score


def fit_boosted(data: FitData) -> Fitted:
    """A linear model and trees on these rows alone: features, strength, leaves and way by held-out rows.

    The linear model reads images with a base, where one is given.
    """
    chosen = choose_linear(data, data.embedder)
    if chosen is None:
        return fit_nothing(data)
    fitted = fit_chosen("linear", data, chosen)
    linear = fitted.baseline
    assert isinstance(linear, Linear)
    folds = fold_of_rows(data.rows.keys, data.seed)
    many = len(folds) >= MANY_ROWS
    unread = not data.reading.typed or data.reading.named("text", "image")
    table = TreeTable.fit(data.reading, data.rows.columns, reads_linear=bool(unread) or not many)
    caveat = ""
    if len(folds) < MIN_HELD_OUT_ROWS or not folds.any():
        caveat = "no trees were fitted: too few rows, or groups, to hold some out"
    elif not data.reading.typed and linear.weight.shape[1] > MOST_SAID:
        caveat = f"no trees were fitted: beside the text there is no column, and more than {MOST_SAID} classes"
    if caveat:
        boosted = Boosted(linear, None, table, 1, (), ())
        return Fitted(boosted, fitted.trials, fitted.flops, fitted.tuning_flops, (*fitted.caveats, caveat))
    parts = folds % FEWER_FOLDS if many else folds
    said, spent = said_out_of_fold(chosen, parts, data.seed)
    read = table.encode(data.rows.columns, said)
    growing = _Growing(data, {"added": read, "alone": read}, table.categorical, folds, said, chosen)
    words: Fitted | None = None
    if growing.alone and (of_text := choose_text(data)):
        words = fit_chosen("linear", data, of_text)
        of_words, more = said_out_of_fold(of_text, parts, data.seed)
        growing.tables["alone"] = table.encode(data.rows.columns, of_words)
        spent += more + words.flops
    boosted = growing.best(linear, words.baseline if words else None, table)  # type: ignore[arg-type]  # both linear
    spent += fitted.flops + growing.flops
    searched = growing.search.flops if growing.search else 0.0
    tuning = fitted.tuning_flops + searched + (words.tuning_flops if words else 0.0)
    tried = [replace(each, settings=each.settings | {"of": "the text"}) for each in (words.trials if words else ())]
    trials = (*fitted.trials, *tried, *growing.trials)
    return Fitted(boosted, trials, spent - searched, tuning, fitted.caveats, growing.search)


def choose_text(data: FitData) -> Chosen | None:
    """A linear model on the columns of text alone; None where there are none, or no other columns beside them."""
    texts = data.reading.named("text")
    if not texts or len(texts) == len(data.reading.columns):
        return None
    reading = Reading(tuple(column for column in data.reading.columns if column.kind == "text"))
    words = reading.words(data.rows.texts, data.rows.columns)
    if not any(text.strip() for text in words):
        return None
    return choose_linear(data, None, [Features(kinds, reading) for kinds in term_choices(words)])


def fold_of_rows(keys: Sequence[str], seed: int) -> Array:
    """int64 [n]: rows with the same key (a group) are never parted."""
    hashed = [hashlib.sha256(f"boosted {seed}:{key}".encode()).digest() for key in keys]
    place = {digest: i for i, digest in enumerate(sorted(set(hashed)))}
    count = min(SMALLER_PARTS if len(keys) >= MANY_ROWS else OUT_OF_FOLD_PARTS, len(place))
    return np.array([place[digest] % count for digest in hashed], dtype=np.int64)


def said_out_of_fold(chosen: Chosen, folds: Array, seed: int) -> tuple[Array, float]:
    """The linear model's outputs for each row from fits that did not see it, float64 [n, outputs], and their FLOPs."""
    said, spent = np.zeros(chosen.problem.wanted.shape), 0.0
    for fold in range(folds.max() + 1):
        held = folds == fold
        found = chosen.solve(np.flatnonzero(~held), seed)
        said[held] = (chosen.matrix[held] @ found.weight + found.bias) * chosen.choice.scale
        spent += found.flops
    return said, spent


@dataclass
class _Growing:
    """Fits trees, and keeps what was tried and spent."""

    data: FitData
    tables: dict[str, Array]  # way -> what its trees read
    categorical: list[int]
    folds: Array
    said: Array  # by the linear model, out of fold
    chosen: Chosen

    def __post_init__(self) -> None:
        self.trials: list[Trial] = []
        self.flops = 0.0
        self.search: SettingsSearch | None = None
        self.many = len(self.folds) >= MANY_ROWS
        self.grown_folds = min(int(self.folds.max()) + 1, MOST_GROWN if self.many else OUT_OF_FOLD_PARTS)
        self._first: dict[tuple[str, TreeSettings], tuple[Ensemble, ...]] = {}  # grown for the first fold

    def best(self, linear: Linear, words: Linear | None, table: TreeTable) -> Boosted:
        """The way that does best on held-out rows."""
        starts = {"added": self.said}
        if self.alone:
            starts["alone"] = np.zeros_like(self.said)
        settings = self._settings(self.said)
        if self.many and len(starts) > 1:
            starts = self._promising(starts, settings)
        way, grown, score = self._every_way(starts, settings)
        if self.data.effort.trials:
            other = self._search(settings)
            if other is not None:
                way, grown, score = self._checked((way, grown, score), self._every_way(starts, other), other)
        ways = ("added", "alone") if way == "mean" else (way,)
        kept = {each: tuple(tree for fold in grown[each] for tree in fold) for each in ways}
        words = words if "alone" in ways else None
        return Boosted(linear, words, table, self.grown_folds, kept.get("added", ()), kept.get("alone", ()))

    @property
    def alone(self) -> bool:
        """Whether trees may stand alone: each of many classes would need trees of its own."""
        return self.said.shape[1] <= MOST_SAID and not self._labels

    @property
    def _labels(self) -> bool:
        return self.chosen.problem.targets.ndim == 2

    def _every_way(self, starts: Mapping[str, Array], settings: TreeSettings) -> "_Grown":
        """The way that does best with these settings on every fold, what was grown each way, and the score."""
        grown = {way: self._every_fold(way, start, settings) for way, start in starts.items()}
        shown = self.folds < self.grown_folds
        held = {way: self._held_out(way, grown[way], start) for way, start in starts.items()}
        if len(held) > 1:
            held["mean"] = np.mean(list(held.values()), axis=0)
        noted = _noted(settings)
        scores = {each: self._note({"trees": each, **noted}, outputs[shown], shown) for each, outputs in held.items()}
        way = max(scores, key=lambda each: scores[each])
        if "mean" in scores and scores[way] - scores["mean"] <= LEAST_GAIN_ALONE * abs(scores["mean"]):
            way = "mean"
        return way, grown, scores[way]

    def _search(self, usual: TreeSettings) -> TreeSettings | None:
        """Better settings on the first fold, of those that Optuna suggests; None: there are none.

        A finished trial is kept in `data.trials`, and read back after a stop.
        """
        began, first, effort, data = self.flops, len(self.trials), self.data.effort, self.data
        higher = data.task.higher_is_better
        sampler = Sampler(TREE_SPACE, data.seed, effort.trials, higher_is_better=higher)
        best, score, seconds = None, self._on_first_fold(usual), 0.0
        while effort.goes_on(len(self.trials) - first - 1, seconds):
            suggested = sampler.ask()
            settings = TreeSettings(**suggested.settings)  # type: ignore[arg-type]  # as its space says
            path = data.trials / f"{len(self.trials) - first}.json" if data.trials else None
            facts = read_json(path, dict[str, Any]) if path and path.exists() else {}
            if facts.get("settings") != asdict(settings):
                clock, spent = time.perf_counter(), self.flops
                self._on_first_fold(settings)
                score_now, flops, self.flops = self.trials.pop().val, self.flops - spent, spent
                facts = {"settings": asdict(settings), "score": score_now, "flops": flops}
                facts["seconds"] = time.perf_counter() - clock
                if path:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_json(path, facts)
            self.trials.append(Trial(facts["settings"], 0, facts["score"]))
            self.flops += facts["flops"]
            seconds += facts["seconds"]
            sampler.tell(suggested, facts["score"], pruned=False)
            found = facts["score"] if higher else -facts["score"]
            if found > score:
                best, score = settings, found
        tried = tuple(self.trials[first:])
        del self.trials[first:]
        self.search = SettingsSearch(tried, 0, {}, None, None, 0.0, self.flops - began, seconds)
        return best

    def _on_first_fold(self, settings: TreeSettings) -> float:
        held = self.folds == 0
        outputs = self._on_fold(0, "added", self._grow("added", self.said, held, settings), self.said)
        return self._note(asdict(settings), outputs, held)

    def _checked(self, usual: "_Grown", other: "_Grown", settings: TreeSettings) -> "_Grown":
        """The better of both on all held-out rows; the usual one where the difference does not matter."""
        before, after = usual[2], other[2]
        gain = after - before if after - before >= LEAST_TREE_GAIN * abs(before) else 0.0
        turn = 1 if self.data.task.higher_is_better else -1
        kept = asdict(settings) if gain else {}
        assert self.search is not None
        self.search = replace(self.search, settings=kept, default=turn * before, found=turn * after, gain=gain)
        return other if gain else usual

    def _settings(self, start: Array) -> TreeSettings:
        """How large trees do best on the first fold, and whether each should read fewer columns."""
        sizes = MANY_LEAVES if self.many else LEAVES
        learning = int((self.folds != 0).sum())
        best = TreeSettings(sizes[0])
        if start.shape[1] > MOST_SAID:
            self._try("added", start, best)
            return best
        score = self._try("added", start, best)
        fewer = [TreeSettings(leaves) for leaves in sizes[1:] if leaves <= max(sizes[0], learning // 20)]
        for each in fewer:
            found = self._try("added", start, each)
            if found > score:
                best, score = each, found
                if self.many:
                    break
        if self.many:
            other = replace(best, columns=FEWER_COLUMNS)
            best = other if self._try("added", start, other) > score else best
        return best

    def _promising(self, starts: Mapping[str, Array], settings: TreeSettings) -> dict[str, Array]:
        """The way that does better on the first fold; both where their mean does better by as much as matters."""
        held = self.folds == 0
        scores = {way: self._try(way, start, settings) for way, start in starts.items()}
        outputs = [self._on_fold(0, way, self._first[way, settings], start) for way, start in starts.items()]
        mean = self._note({"trees": "mean", **_noted(settings), "folds": 1}, np.mean(outputs, axis=0), held)
        way = max(scores, key=lambda each: scores[each])
        return dict(starts) if mean - scores[way] > LEAST_MEAN_GAIN * abs(scores[way]) else {way: starts[way]}

    def _try(self, way: str, start: Array, settings: TreeSettings) -> float:
        """The score on the first fold of trees from the others; they are kept."""
        held = self.folds == 0
        known = (way, settings) in self._first
        if not known:
            self._first[way, settings] = self._grow(way, start, held, settings)
        outputs = self._on_fold(0, way, self._first[way, settings], start)
        score = self._note({"trees": way, **_noted(settings), "folds": 1}, outputs, held)
        if known:
            self.trials.pop()
        return score

    def _every_fold(self, way: str, start: Array, settings: TreeSettings) -> list[tuple[Ensemble, ...]]:
        first = self._first.get((way, settings)) or self._grow(way, start, self.folds == 0, settings)
        return [first, *(self._grow(way, start, self.folds == fold, settings) for fold in range(1, self.grown_folds))]

    def _on_fold(self, fold: int, way: str, ensembles: Sequence[Ensemble], start: Array) -> Array:
        """Outputs for the rows of a fold, from trees that did not see it."""
        held = self.folds == fold
        return raise_by(ensembles, 1, self.tables[way][held], start[held])

    def _held_out(self, way: str, grown: Sequence[tuple[Ensemble, ...]], start: Array) -> Array:
        outputs = np.zeros_like(start)
        for fold, ensembles in enumerate(grown):
            outputs[self.folds == fold] = self._on_fold(fold, way, ensembles, start)
        return outputs

    def _grow(self, way: str, start: Array, held: Array, settings: TreeSettings) -> tuple[Ensemble, ...]:
        """Trees for every output, or for the most common labels, from the rows that are not held out."""
        found = []
        for first, target in self._targets(start, held):
            found.append(fit_trees(self.tables[way], self.categorical, target, held, settings, self.data.seed, first))
            rows, columns = int((~held).sum()), self.tables[way].shape[1]
            self.flops += fit_flops(rows, columns, found[-1].trees, settings.leaves)
        return tuple(found)

    def _targets(self, start: Array, held: Array) -> list[tuple[int, Target]]:
        """What is learned, each with the first output that it is for."""
        targets = self.chosen.problem.targets
        if self._labels:
            counts = targets[~held].sum(0)
            commonest = np.argsort(-counts, kind="stable")[:MOST_LABELS]
            both = [int(j) for j in sorted(commonest) if 0 < counts[j] < (~held).sum()]
            weights = self.data.task.row_weights(targets)
            each = {j: None if weights is None else weights[:, j] for j in both}
            return [(j, Target("binary", targets[:, j], start[:, j : j + 1], each[j])) for j in both]
        squared = self.data.task.metric in SQUARED_ERRORS
        kind = ("regression" if squared else "regression_l1") if targets.dtype.kind == "f" else "multiclass"
        return [(0, Target(kind, targets, start, self.data.task.row_weights(targets)))]

    def _note(self, settings: dict[str, object], outputs: Array, rows: Array | None = None) -> float:
        """The score of these outputs, higher is better; recorded as a trial."""
        task = self.data.task
        targets = self.chosen.problem.targets if rows is None else self.chosen.problem.targets[rows]
        scores = task.score(outputs, targets, task.calibrate(outputs, targets))
        score = float(scores[:, 0].sum() / max(scores[:, 1].sum(), 1.0))
        self.trials.append(Trial(settings, 0, score))
        return score if task.higher_is_better else -score


def _noted(settings: TreeSettings) -> dict[str, object]:
    """Settings as a trial keeps them: those that are not as usual."""
    usual = asdict(TreeSettings(settings.leaves))
    return {name: value for name, value in asdict(settings).items() if name == "leaves" or value != usual[name]}
