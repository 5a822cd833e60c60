"""ONNX trees: how do LightGBM's trees become the attributes of one node of an ONNX graph?

ONNX's trees compare a column with a threshold, and nothing else. Where LightGBM asks whether a category is in a set,
the graph looks that up beforehand, as a column of zeros and ones.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from warmstart.baselines.lightgbm_trees import Ensemble
from warmstart.errors import UsageError
from warmstart.types import Array

CATEGORICAL, DEFAULT_LEFT, MISSING_SHIFT = 1, 2, 2  # bits of LightGBM's `decision_type`
MISSING_NONE, MISSING_NAN = 0, 2  # its kinds of missing values: read as zero; go to the default side
SET_WORD_BITS = 32  # of a word of a set of categories


@dataclass
class TreeNodes:
    """Trees as the lists that ONNX keeps them in, a place in each list for each node, and for each leaf.

    What they read: the columns of LightGBM's table after those of categories, then one for each of `sets`.
    """

    categorical: int  # the first columns of LightGBM's table
    plain: int  # the columns after them: numbers, and what linear models say
    numbers: int  # how many of those are numbers
    sets: list[dict[frozenset[int], int]] = field(default_factory=list)  # of each categorical column, in order
    nodes: dict[str, list[Any]] = field(default_factory=dict)
    leaves: dict[str, list[Any]] = field(default_factory=dict)
    trees: int = 0

    def __post_init__(self) -> None:
        self.sets = [{} for _ in range(self.categorical)]
        names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
        self.nodes = {name: [] for name in (*names, "missing_value_tracks_true")}
        self.leaves = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}

    def add(self, ensemble: Ensemble, share: float, shift: int = 0) -> None:
        """The trees of an ensemble, whose leaves count `share` of what they say.

        `shift`: how many places further than in LightGBM's table the outputs of a linear model are.
        """
        header, *parts = ensemble.model.split("\nTree=")
        together = int(_fields(header).get("num_tree_per_iteration", "1"))
        for i, part in enumerate(parts):
            self._add_tree(_fields(part.split("\nend of trees")[0]), ensemble.first + i % together, share, shift)

    def _add_tree(self, tree: dict[str, str], output: int, share: float, shift: int) -> None:
        values = [float(each) * share for each in tree["leaf_value"].split()]
        inner = len(values) - 1  # nodes that ask
        if inner:
            asked = [[int(each) for each in tree[name].split()] for name in ("split_feature", "decision_type")]
            ways = [_places(tree[name], inner) for name in ("left_child", "right_child")]
            thresholds = [float(each) for each in tree["threshold"].split()]
            for i, (column, kind, left, right) in enumerate(zip(*asked, *ways, strict=True)):
                if kind & CATEGORICAL:  # 0 or 1, of which 1 is LightGBM's left
                    known = self.sets[column]
                    place = known.setdefault(_members(tree, int(thresholds[i])), len(known))
                    self._node(i, (column, place), 0.5, "BRANCH_LEQ", right, left, False)
                else:
                    follows = _missing_goes_left(kind, thresholds[i])
                    place = column - self.categorical
                    place += shift if place >= self.numbers else 0
                    self._node(i, place, thresholds[i], "BRANCH_LEQ", left, right, follows)
        for i, value in enumerate(values):
            self._node(inner + i, 0, 0.0, "LEAF", 0, 0, False)
            for name, each in zip(self.leaves, (self.trees, inner + i, output, value), strict=True):
                self.leaves[name].append(each)
        self.trees += 1

    def _node(
        self, i: int, column: int | tuple[int, int], value: float, mode: str, true: int, false: int, missing: bool
    ) -> None:
        facts = (self.trees, i, column, value, mode, true, false, int(missing))
        for name, each in zip(self.nodes, facts, strict=True):
            self.nodes[name].append(each)

    def columns(self) -> list[int]:
        """What each node reads, by its place: first the plain columns, then the sets of each categorical one."""
        starts = np.cumsum([self.plain, *map(len, self.sets)]).tolist()
        asked = self.nodes["featureids"]
        return [each if isinstance(each, int) else starts[each[0]] + each[1] for each in asked]

    def lookup(self, column: int, numbers: Array) -> Array:
        """Whether the categories with these numbers are in the sets of a column: 0 or 1, float32 [numbers, sets]."""
        found = [np.isin(numbers, list(members)) for members in self.sets[column]]
        return np.stack(found, axis=1).astype(np.float32) if found else np.zeros((len(numbers), 0), dtype=np.float32)


def fill_trees(path: Any, trees: TreeNodes, outputs: int) -> None:
    """Give the node of trees in the graph at `path` its attributes: numbers in 64 bits, as LightGBM compares them."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(path)
    (node,) = (each for each in model.graph.node if each.op_type == "TreeEnsembleRegressor")
    del node.attribute[:]
    for prefix, lists in (("nodes", trees.nodes), ("target", trees.leaves)):
        for name, values in lists.items():
            values = trees.columns() if name == "featureids" else values
            if name in ("values", "weights"):
                tensor = helper.make_tensor(name, TensorProto.DOUBLE, [len(values)], values)
                node.attribute.append(helper.make_attribute(f"{prefix}_{name}_as_tensor", tensor))
            else:
                node.attribute.append(helper.make_attribute(f"{prefix}_{name}", values))
    node.attribute.append(helper.make_attribute("n_targets", outputs))
    node.attribute.append(helper.make_attribute("post_transform", "NONE"))
    onnx.save(model, path)


def _fields(part: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in part.splitlines())


def _places(children: str, inner: int) -> list[int]:
    """Numbers of nodes, in which LightGBM writes leaf j as -1 - j."""
    return [each if each >= 0 else inner - 1 - each for each in map(int, children.split())]


def _members(tree: dict[str, str], place: int) -> frozenset[int]:
    """The categories of a set, from the bits of its words."""
    bounds = [int(each) for each in tree["cat_boundaries"].split()]
    words = [int(each) for each in tree["cat_threshold"].split()][bounds[place] : bounds[place + 1]]
    return frozenset(
        SET_WORD_BITS * i + bit for i, word in enumerate(words) for bit in range(SET_WORD_BITS) if word >> bit & 1
    )


def _missing_goes_left(kind: int, threshold: float) -> bool:
    missing = kind >> MISSING_SHIFT & 3
    if missing == MISSING_NONE:
        return threshold >= 0.0
    if missing == MISSING_NAN:
        return bool(kind & DEFAULT_LEFT)
    raise UsageError("these trees read zeros as missing, which no ONNX graph does.", "use `warmstart serve`")
