"""Features: what does a linear model read of a row? Terms, and beside them what a frozen base makes of its text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warmstart.baselines.embedder import Embedder
from warmstart.baselines.terms import Terms
from warmstart.models.pretrained.base import find_base
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Part = Terms | Embedder

# Arithmetic on one stored term: its logarithm, the idf, a square and a division. Cutting text into words is not
# arithmetic and counts nothing.
WEIGHING = 4


@dataclass(frozen=True)
class Features:
    """Parts side by side, each with its weight: what weighs more is held back less by the penalty on all."""

    terms: tuple[Terms, ...]
    embedder: Embedder | None = None
    embedding_weight: float = 1.0

    @property
    def parts(self) -> tuple[tuple[Part, float], ...]:
        """In the order of their columns."""
        terms = tuple((kind, 1.0) for kind in self.terms)
        return (*terms, (self.embedder, self.embedding_weight)) if self.embedder else terms

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen, for the record."""
        found: dict[str, Any] = {"terms": "words and characters" if len(self.terms) > 1 else "words"}
        return found | ({"embedding": self.embedding_weight} if self.embedder else {})

    def encode(self, texts: Sequence[str]) -> "csr_matrix":
        """Sparse float32 [n, features]."""
        return side_by_side([(encode_part(part, texts), weight) for part, weight in self.parts])

    def flops(self, texts: Sequence[str], stored: int) -> float:
        """Of making the `stored` numbers of these texts: the base's reading included."""
        return float(WEIGHING * stored) + (self.embedder.flops(texts) if self.embedder else 0.0)

    def to_json(self) -> tuple[dict[str, object], dict[str, Array]]:
        """(facts, arrays) for `features_from_json`. A base is named, not copied."""
        facts: dict[str, object] = {
            "terms": [{"analyzer": t.analyzer, "lengths": t.lengths, "vocabulary": t.vocabulary} for t in self.terms]
        }
        if self.embedder:
            base = self.embedder.base
            facts["embedding"] = {"base": base.lasting_name, "weight": self.embedding_weight}
            facts["embedding"] |= {"max_length": base.max_length}  # type: ignore[operator]
        return facts, {f"idf.{i}": t.idf for i, t in enumerate(self.terms)}


def encode_part(part: Part, texts: Sequence[str]) -> "csr_matrix":
    """Sparse float32 [n, columns]."""
    from scipy.sparse import csr_matrix

    return csr_matrix(part.vectors(texts)) if isinstance(part, Embedder) else part.encode(texts)


def side_by_side(parts: Sequence[tuple["csr_matrix", float]]) -> "csr_matrix":
    """Matrices of as many rows, each times its weight."""
    from scipy.sparse import hstack

    return hstack([matrix if weight == 1.0 else matrix * weight for matrix, weight in parts], format="csr")


def features_from_json(facts: dict[str, Any], arrays: dict[str, Array]) -> Features:
    """Those that `to_json` wrote. Raises MissingError where the base that they name is not here."""
    terms = tuple(
        Terms(kind["analyzer"], tuple(kind["lengths"]), tuple(kind["vocabulary"]), arrays[f"idf.{i}"])
        for i, kind in enumerate(facts["terms"])
    )
    if "embedding" not in facts:
        return Features(terms)
    said = facts["embedding"]
    return Features(terms, Embedder(find_base(said["base"], max_length=said["max_length"])), said["weight"])
