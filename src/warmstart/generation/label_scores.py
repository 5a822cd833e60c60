"""Label scores: how likely is each of a few answers after a prompt?

What the prompts begin with is read once, and so is what labels begin with: their tokens form a tree, all of whose
branches are read side by side after each prompt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from warmstart.errors import UsageError
from warmstart.generation.generate import context_length
from warmstart.generation.kv_cache import TOKENS_AT_ONCE, ReadPrefix, read_branches, remembers_tokens
from warmstart.models.lm_head import LOGIT_BYTES, LogitsHead
from warmstart.training.event import check_deadline
from warmstart.types import Array

PROMPTS_AT_ONCE = 64


@dataclass(frozen=True)
class LabelTree:
    """The tokens of some labels, each prefix once. Only tokens that another follows have to be read."""

    tokens: Array  # int64 [nodes]
    parents: Array  # int64 [nodes]; -1: the prompt
    paths: tuple[tuple[int, ...], ...]  # of each label, its nodes from the first to the last

    @classmethod
    def of(cls, labels: Sequence[Sequence[int]]) -> "LabelTree":
        """Of labels of one token at least."""
        nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node
        paths = []
        for label in labels:
            path: list[int] = []
            for token in label:
                key = (path[-1] if path else -1, int(token))
                path.append(nodes.setdefault(key, len(nodes)))
            paths.append(tuple(path))
        parents, tokens = np.array(list(nodes), dtype=np.int64).reshape(-1, 2).T
        return cls(tokens, parents, tuple(paths))

    @property
    def lengths(self) -> Array:
        """Tokens of each label, int64 [labels]."""
        return np.array([len(path) for path in self.paths])

    @property
    def inner(self) -> Array:
        """The nodes that another follows, in order: those that are read, int64 [m]."""
        found: Array = np.unique(self.parents[self.parents >= 0])
        return found

    @property
    def sees(self) -> Array:
        """bool [m, m]: for each inner node which of them come before it, itself included."""
        inner = self.inner.tolist()
        place = {node: i for i, node in enumerate(inner)}
        found = np.zeros((len(inner), len(inner)), dtype=bool)
        for node in inner:
            at = node
            while at >= 0:
                found[place[node], place[at]] = True
                at = int(self.parents[at])
        return found


@torch.inference_mode()
def label_scores(
    body: Any,
    head: LogitsHead,
    prompts: Sequence[Array],
    tree: LabelTree,
    prefix: ReadPrefix | None = None,
    deadline: float = math.inf,
) -> Array:
    """The log-probability of each label after each prompt, in nats, float32 [n, labels].

    `body` is a decoder in evaluation mode; `prefix`: what it has read before of all prompts. Raises UsageError for one
    that remembers more than tokens (recurrent layers), or where a prompt and a label are longer than it reads;
    OutOfTime after the deadline, by `time.perf_counter()`.
    """
    if not remembers_tokens(body):
        raise UsageError("labels cannot be scored by a base with recurrent layers.", "name another base")
    longest = max(map(len, prompts), default=0) + max(map(len, tree.paths), default=0)
    if longest > context_length(body):
        raise UsageError(
            f"a prompt with its label has {longest:,} tokens; the base reads {context_length(body):,}.",
            "lower --max-length",
        )
    found = np.zeros((len(prompts), len(tree.paths)), dtype=np.float32)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    while order:
        check_deadline(deadline)
        count = max(1, TOKENS_AT_ONCE // (len(prompts[order[0]]) + len(tree.inner)))
        some, order = order[: min(count, PROMPTS_AT_ONCE)], order[min(count, PROMPTS_AT_ONCE) :]
        found[some] = _scores(body, head, [prompts[i] for i in some], tree, prefix)
    return found


def _scores(body: Any, head: LogitsHead, prompts: Sequence[Array], tree: LabelTree, prefix: ReadPrefix | None) -> Array:
    """Scores of some prompts, sorted by length, the longest first: [n, labels]."""
    inner = tree.inner
    # [n, 1 + m, d]: after the prompt, after each inner node
    states = read_branches(body, prompts, tree.tokens[inner], tree.sees, prefix)
    place = {int(node): i + 1 for i, node in enumerate(inner)} | {-1: 0}
    before = torch.tensor([place[int(parent)] for parent in tree.parents], device=states.device)
    tokens = torch.from_numpy(tree.tokens).to(states.device)
    each = torch.stack([_of_nodes(head, row, before, tokens) for row in states]).double().cpu().numpy()
    return np.stack([each[:, list(path)].sum(axis=1) for path in tree.paths], axis=1)


def _of_nodes(head: LogitsHead, states: Tensor, before: Tensor, tokens: Tensor) -> Tensor:
    """The log-probability of each node's token, [nodes], from the states [1 + m, d] of one prompt."""
    found = torch.empty(len(tokens), dtype=torch.float32, device=states.device)
    vocabulary = head.logits(states[:1]).shape[1]
    size = max(1, LOGIT_BYTES // (4 * vocabulary))
    for start in range(0, len(states), size):
        logs = torch.log_softmax(head.logits(states[start : start + size]).float(), dim=1)
        mine = torch.nonzero((before >= start) & (before < start + len(logs)))[:, 0]
        found[mine] = logs[before[mine] - start, tokens[mine]]
    return found
