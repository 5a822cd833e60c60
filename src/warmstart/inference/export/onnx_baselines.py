"""ONNX baselines: how do linear models, wide and deep networks, frozen features and trees become an ONNX graph?

What is read of a row comes as counts of terms, numbers, places of categories, and tokens for a base. The graph does
the rest as `baselines` does it: weights of terms, deviations from the mean, sums, and trees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.baselines.boosted import MOST_SAID, Boosted
from warmstart.baselines.linear import Linear
from warmstart.baselines.linear_features import Features
from warmstart.data.features.column_features import MOST_DEVIATIONS, ColumnFeatures
from warmstart.data.features.column_inputs import FeaturesBeside
from warmstart.data.features.count_terms import TOKEN
from warmstart.data.features.terms import Terms
from warmstart.inference.export.onnx_trees import TreeNodes
from warmstart.types import Array

NUMERIC = ("number", "boolean", "datetime")
UNKNOWN_CATEGORY = 1  # the place of a category that is not known; 0: of a missing one; after it those that are known
TREES = "ai.onnx.ml::TreeEnsembleRegressor"
TREES_VERSION = 3  # of the operators `ai.onnx.ml`: the first that compares in 64 bits


@dataclass(frozen=True)
class BaselineParts:
    """What a graph is made of, and what its reader must know."""

    linear: Linear
    boosted: Boosted | None
    categories: dict[str, tuple[str, ...]]  # all that the linear model or the trees know, by column
    trees: TreeNodes | None

    @classmethod
    def of(cls, model: Any) -> "BaselineParts":
        boosted = model if hasattr(model, "linear") else None
        linear = model.linear if boosted else model
        columns = linear.features.columns
        known: dict[str, tuple[str, ...]] = dict(columns.categories) if columns else {}
        if boosted:
            for name, values in boosted.table.categories.items():
                known[name] = tuple(dict.fromkeys((*known.get(name, ()), *values)))
        names = linear.features.reading.named("category")
        return cls(linear, boosted, {name: known.get(name, ()) for name in names}, _trees(boosted))

    @classmethod
    def of_wide_and_deep(cls, body: Any, inputs: Any) -> "BaselineParts":
        """The sums of both paths side by side, as a linear model of [outputs + width of the deep path]."""
        tables = [torch.cat([body.wide.weight, body.deep.weight], 1)[: inputs.term_count]]
        if inputs.columns:
            tables.append(torch.cat([body.wide_columns.weight, body.deep_columns.weight], 1))
        weight = torch.cat(tables).detach().numpy()
        features = Features(inputs.terms, inputs.reading, inputs.columns)
        return cls.of(Linear("scratch-dnn", features, weight, np.zeros(weight.shape[1], dtype=np.float32)))

    @classmethod
    def of_columns(cls, network: Any, beside: FeaturesBeside) -> "BaselineParts":
        """The sums of both tables of a `column_head.ColumnNetwork`, as a linear model of [hidden + outputs]."""
        weight = torch.cat([network.table.weight, network.direct.weight], 1).detach().numpy()
        columns = beside.columns.width
        weight = np.concatenate([weight[columns : beside.width], weight[:columns]])  # terms first
        bias = np.zeros(weight.shape[1], dtype=np.float32)
        bias[: len(network.bias)] = network.bias.detach().numpy()
        return cls.of(Linear("columns", Features(beside.terms, beside.reading, beside.columns), weight, bias))

    def facts(self) -> dict[str, Any]:
        """For `onnx_reader`."""
        reading = self.linear.features.reading
        found: dict[str, Any] = {"reads": [], "words": list(reading.named("text")) if reading.typed else None}
        if self.terms:
            found["reads"].append("terms")
        if reading.typed:
            found["reads"].append("columns")
            found["categories"] = {name: list(values) for name, values in self.categories.items()}
            found["numbers"] = [[column.name, column.kind] for column in reading.columns if column.kind in NUMERIC]
        return found

    @property
    def terms(self) -> tuple[Terms, ...]:
        """The kinds of terms that are counted: of the linear model, then of the one that reads the text alone."""
        words = self.boosted.words if self.boosted else None
        return (*self.linear.features.terms, *(words.features.terms if words else ()))

    def vocabulary(self) -> list[dict[str, Any]]:
        """The terms of each kind, and how they are cut."""
        return [
            {
                "analyzer": kind.analyzer,
                "lengths": list(kind.lengths),
                "vocabulary": {term: i for i, term in enumerate(kind.vocabulary)},
                "token_pattern": TOKEN if kind.analyzer == "word" else None,
            }
            for kind in self.terms
        ]

    def example(self, rows: int) -> dict[str, Tensor]:
        """Inputs of the right kinds and sizes, by name, without tokens."""
        found: dict[str, Tensor] = {}
        reading = self.linear.features.reading
        if self.terms:
            found["counts"] = torch.zeros(rows, sum(len(kind.vocabulary) for kind in self.terms))
            found["counts"][:, :3] = 1.0
        if reading.typed:
            width = sum(1 if column.kind != "datetime" else 6 for column in reading.columns if column.kind in NUMERIC)
            if width:
                found["numbers"] = torch.ones(rows, width, dtype=torch.float64)
            if self.categories:
                found["categories"] = torch.zeros(rows, len(self.categories), dtype=torch.int64)
        return found


class BaselineGraph(nn.Module):
    """Outputs [n, k] from what was read; `reads` names the inputs, in order."""

    def __init__(self, parts: BaselineParts, reads: tuple[str, ...], embed: Any):
        """`embed`: an `onnx_networks` module of a base's features, or None."""
        super().__init__()
        self.reads = reads
        linear, features = parts.linear, parts.linear.features
        weight, start = torch.tensor(linear.weight), 0
        self.bias = nn.Parameter(torch.tensor(linear.bias))
        self.outputs = len(linear.bias)

        def rows(count: int, times: float = 1.0) -> Tensor:
            nonlocal start
            start += count
            return weight[start - count : start] * times

        self.terms = _TermSums(features.terms, rows) if features.terms else None
        self.columns: nn.Module | None = None
        if features.columns:
            self.columns = _ColumnSums(
                features.columns, parts.categories, rows(features.columns.width, features.columns_weight)
            )
        self.pictures = features.pictures
        if features.pictures:
            self.seen = nn.Parameter(rows(features.pictures.width, features.pictures_weight))
        self.embed = embed
        if features.embedder:
            self.embedding = nn.Parameter(rows(features.embedder.width, features.embedding_weight))
        self.trees = _TreeSums(parts.boosted, parts.trees, parts.categories) if parts.boosted and parts.trees else None
        self.own_terms = sum(len(kind.vocabulary) for kind in features.terms)
        words = parts.boosted.words if parts.boosted and parts.trees else None
        self.words = None
        if words:
            self.words = _TermSums(words.features.terms, lambda _: torch.tensor(words.weight))
            self.words_bias = nn.Parameter(torch.tensor(words.bias))

    def forward(self, *inputs: Tensor) -> Tensor:
        given = dict(zip(self.reads, inputs, strict=True))
        said: Tensor = self.bias
        if self.terms is not None:
            said = said + self.terms(given["counts"][:, : self.own_terms])
        if self.columns is not None:
            said = said + self.columns(given.get("numbers"), given.get("categories"))
        if self.pictures is not None:
            said = said + self.pictures.features(given["images"]) @ self.seen
        if self.embed is not None:
            vectors = self.embed(*(given[name] for name in self.embed.reads))
            length = (vectors * vectors).sum(1, keepdim=True).sqrt().clamp(min=1e-12)
            said = said + (vectors / length) @ self.embedding
        if self.trees is None:
            return said
        of_words = None if self.words is None else self.words_bias + self.words(given["counts"][:, self.own_terms :])
        found: Tensor = self.trees(given.get("numbers"), given.get("categories"), said, of_words)
        return found


class WideAndDeepGraph(nn.Module):
    """`wide_and_deep.WideAndDeep` on the sums of its tables."""

    def __init__(self, sums: BaselineGraph, body: Any):
        super().__init__()
        self.reads, self.sums = sums.reads, sums
        self.layers, self.output = body.layers, body.output
        self.sizes, self.scale = [body.width, body.bag_width - body.width], body.scale

    def forward(self, *inputs: Tensor) -> Tensor:
        wide, deep = torch.split(self.sums(*inputs), self.sizes, dim=1)
        found: Tensor = (wide + self.output(self.layers(deep))) * self.scale
        return found


class ColumnGraph(nn.Module):
    """`column_head.ColumnHead` on the sums of its tables, and on what a body makes of tokens or an image."""

    def __init__(self, sums: BaselineGraph, model: Any, read: Any):
        """`read`: the `onnx_networks` module of the model."""
        super().__init__()
        self.reads, self.sums, self.model, self.read = (*sums.reads, *read.reads), sums, model, read
        network = model.head.columns
        self.layers, self.output = network.layers, network.output
        self.sizes = [network.table.embedding_dim, network.direct.embedding_dim]

    def forward(self, *inputs: Tensor) -> Tensor:
        given = dict(zip(self.reads, inputs, strict=True))
        hidden, direct = torch.split(self.sums(*(given[name] for name in self.sums.reads)), self.sizes, dim=1)
        features = self.model.features(self.read.inputs(*(given[name] for name in self.read.reads)))
        found: Tensor = self.model.head.answer(features) + self.output(self.layers(hidden)) + direct
        return found


class _TermSums(nn.Module):
    """`terms.Terms` from counts: TF-IDF with the logarithm of counts, each kind of term of length 1; then weights."""

    def __init__(self, terms: tuple[Terms, ...], rows: Any):
        super().__init__()
        self.sizes = [len(kind.vocabulary) for kind in terms]
        self.idf = nn.ParameterList(torch.tensor(kind.idf) for kind in terms)
        self.weight = nn.Parameter(rows(sum(self.sizes)))

    def forward(self, counts: Tensor) -> Tensor:
        weighed = []
        for part, idf in zip(torch.split(counts, self.sizes, dim=1), self.idf, strict=True):
            terms = torch.where(part > 0, 1 + part.clamp(min=1).log(), torch.zeros_like(part)) * idf
            weighed.append(terms / (terms * terms).sum(1, keepdim=True).sqrt().clamp(min=1e-30))
        return torch.cat(weighed, 1) @ self.weight


class _ColumnSums(nn.Module):
    """`columns.ColumnFeatures` and its weights. A category's one-hot times weights is a row of them."""

    def __init__(self, columns: ColumnFeatures, known: Mapping[str, tuple[str, ...]], weight: Tensor):
        super().__init__()
        numbers = len(columns.mean) - len(columns.logs)
        self.numbers, self.logs = numbers, list(columns.logs)
        self.mean, self.deviation = _constant(columns.mean), _constant(columns.deviation)
        first = len(columns.mean)
        self.values, self.missing = nn.Parameter(weight[:first]), nn.Parameter(weight[first : first + numbers])
        start, tables = first + numbers, []
        for name, values in known.items():
            own = columns.categories.get(name, ())
            place = {value: start + i for i, value in enumerate(own)}
            start += len(own) + columns.unseen
            table = torch.zeros(UNKNOWN_CATEGORY + 1 + len(values), weight.shape[1])
            if columns.unseen:
                table[UNKNOWN_CATEGORY:] = weight[start - 1]
            for i, value in enumerate(values, UNKNOWN_CATEGORY + 1):
                if value in place:
                    table[i] = weight[place[value]]
            tables.append(nn.Parameter(table))
        self.tables = nn.ParameterList(tables)
        edges = columns.edges or (np.zeros(1),)
        self.of_piece = [i for i, each in enumerate(edges) for _ in each[1:]]
        self.low = _constant(np.concatenate([each[:-1] for each in edges]))
        self.span = _constant(np.concatenate([np.diff(each) for each in edges]))
        self.pieces = nn.Parameter(weight[start:])

    def forward(self, numbers: Tensor | None, categories: Tensor | None) -> Tensor:
        found: Any = 0.0
        if numbers is not None:
            logs = [torch.log1p(numbers[:, i : i + 1].clamp(min=0.0)) for i in self.logs]
            values = torch.cat([numbers, *logs], 1)
            spread = torch.where(self.deviation > 0, self.deviation, torch.ones_like(self.deviation))
            values = torch.nan_to_num((values - self.mean) / spread, nan=0.0)
            values = values.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS) * (self.deviation > 0)
            found = found + values.float() @ self.values + torch.isnan(numbers).float() @ self.missing
            if self.of_piece:
                share = torch.nan_to_num((numbers[:, self.of_piece] - self.low) / self.span, nan=0.0)
                found = found + share.clamp(0.0, 1.0).float() @ self.pieces
        if categories is not None:
            for i, table in enumerate(self.tables):
                found = found + table[categories[:, i]]
        result: Tensor = found
        return result


class _TreeSums(nn.Module):
    """`boosted.Boosted`: what trees add to the linear model's outputs, or say without it, or halfway between the two.

    The node of trees is empty; `fill_trees` gives it its attributes.
    """

    def __init__(self, boosted: Boosted, trees: TreeNodes, known: Mapping[str, tuple[str, ...]]):
        super().__init__()
        self.share = _linear_share(boosted)
        self.outputs = len(boosted.linear.bias)
        self.reads_linear = _outputs_read(boosted) > 0
        tables = []
        for i, (name, values) in enumerate(known.items()):
            place = {value: number for number, value in enumerate(boosted.table.categories.get(name, ()))}
            numbers = np.array([-1, -1, *(place.get(value, -1) for value in values)])
            tables.append(nn.Parameter(torch.tensor(trees.lookup(i, numbers))))
        self.tables = nn.ParameterList(tables)

    def forward(
        self, numbers: Tensor | None, categories: Tensor | None, said: Tensor, of_words: Tensor | None
    ) -> Tensor:
        parts = [] if numbers is None else [numbers]
        if self.reads_linear:
            parts += [each.double() for each in (said, of_words) if each is not None]
        if categories is not None:
            parts += [table[categories[:, i]].double() for i, table in enumerate(self.tables) if table.shape[1]]
        table = torch.cat(parts, 1)
        added = torch.onnx.ops.symbolic(
            TREES, (table,), dtype=torch.float32, shape=(table.shape[0], self.outputs), version=TREES_VERSION
        )
        return said * self.share + added


def _linear_share(boosted: Boosted) -> float:
    """How much of the linear model's outputs is in the result."""
    return 0.0 if not boosted.added and boosted.alone_ else 0.5 if boosted.added and boosted.alone_ else 1.0


def _trees(boosted: Boosted | None) -> TreeNodes | None:
    if boosted is None or not (boosted.added or boosted.alone_):
        return None
    kinds = bool(boosted.added) + bool(boosted.alone_)
    reading = boosted.table.reading
    said, words = _outputs_read(boosted), boosted.words is not None
    numbers = sum(1 if column.kind != "datetime" else 6 for column in reading.columns if column.kind in NUMERIC)
    trees = TreeNodes(len(boosted.table.categorical), numbers + said * (1 + words), numbers)
    for ensembles, shift in ((boosted.added, 0), (boosted.alone_, said if words else 0)):
        for ensemble in ensembles:
            trees.add(ensemble, 1 / (boosted.folds * kinds), shift)
    return trees


def _outputs_read(boosted: Boosted) -> int:
    """How many outputs of a linear model each tree reads."""
    outputs = len(boosted.linear.bias)
    return outputs if boosted.table.reads_linear and outputs <= MOST_SAID else 0


def _constant(values: Array) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values), requires_grad=False)
