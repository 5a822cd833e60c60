"""Linear features: what does a linear model read of a row? Terms, columns, and what a frozen base makes of its text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warmstart.baselines.embedder import Embedder
from warmstart.baselines.image_features import PictureFeatures
from warmstart.data.features.column_features import ColumnFeatures
from warmstart.data.features.reading import WORDS, Reading
from warmstart.data.features.terms import Terms, terms_from_json, terms_to_json
from warmstart.data.schema.cell_values import Values
from warmstart.models.pretrained.base import find_base
from warmstart.models.pretrained.image_base import image_base_from_json, image_base_to_json
from warmstart.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FeaturePart = Terms | ColumnFeatures | Embedder | PictureFeatures

# Arithmetic on one stored term: its logarithm, the idf, a square and a division. Cutting text into words is not
# arithmetic and counts nothing.
WEIGHING = 4


@dataclass(frozen=True)
class Features:
    """Parts side by side, each with its weight: what weighs more is held back less by the penalty on all."""

    terms: tuple[Terms, ...]
    reading: Reading = WORDS
    columns: ColumnFeatures | None = None
    columns_weight: float = 1.0
    embedder: Embedder | None = None
    embedding_weight: float = 1.0
    pictures: PictureFeatures | None = None
    pictures_weight: float = 1.0

    @property
    def parts(self) -> tuple[tuple[FeaturePart, float], ...]:
        """In the order of their columns."""
        found: list[tuple[FeaturePart, float]] = [(kind, 1.0) for kind in self.terms]
        if self.columns:
            found.append((self.columns, self.columns_weight))
        if self.pictures:
            found.append((self.pictures, self.pictures_weight))
        if self.embedder:
            found.append((self.embedder, self.embedding_weight))
        return tuple(found)

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen, for the record."""
        found: dict[str, Any] = {}
        if self.terms or not self.reading.named("image"):
            found["terms"] = ("none", "words", "words and characters")[len(self.terms)]
        if self.columns:
            found["columns"] = self.columns_weight
        if self.pictures:
            found["images"] = self.pictures.kind
            found |= {"weight of images": self.pictures_weight} if self.pictures_weight != 1.0 else {}
        return found | ({"embedding": self.embedding_weight} if self.embedder else {})

    def encode(self, texts: Sequence[str], columns: Mapping[str, Values]) -> "csr_matrix":
        """Sparse float32 [n, features]."""
        words = self.reading.words(texts, columns)
        return side_by_side([(encode_part(part, texts, words, columns), weight) for part, weight in self.parts])

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values], stored: int) -> float:
        """Of making the `stored` numbers of these texts: the base's reading included."""
        pictures = self.pictures.flops(len(texts)) if self.pictures else 0.0
        return float(WEIGHING * stored) + pictures + (self.embedder.flops(texts, columns) if self.embedder else 0.0)

    def to_json(self) -> tuple[dict[str, object], dict[str, Array]]:
        """(facts, arrays) for `features_from_json`. A base is named, not copied."""
        terms, arrays = terms_to_json(self.terms)
        facts: dict[str, object] = {"terms": terms, "reading": self.reading.to_json()}
        if self.columns:
            said, more = self.columns.to_json()
            facts["columns"] = said | {"weight": self.columns_weight}
            arrays |= more
        if self.embedder:
            base = self.embedder.base
            known: dict[str, Any] = {"base": base.lasting_name, "max_length": base.max_length}
            known |= {"images": image_base_to_json(base)} if base.kind == "image" else {}
            known |= {"texts_alone": True} if self.embedder.reads_texts_alone else {}
            facts["embedding"] = known | {"weight": self.embedding_weight}
        if self.pictures:
            facts["images"] = self.pictures.to_json() | {"weight": self.pictures_weight}
        return facts, arrays


def encode_part(
    part: FeaturePart, texts: Sequence[str], words: Sequence[str], columns: Mapping[str, Values]
) -> "csr_matrix":
    """Sparse float32 [n, columns]: a base reads the `texts` of rows, terms the `words` in their columns of text."""
    from scipy.sparse import csr_matrix

    if isinstance(part, Embedder):
        return csr_matrix(part.vectors(texts, columns))
    return part.read(words, columns)


def side_by_side(parts: Sequence[tuple["csr_matrix", float]]) -> "csr_matrix":
    """Matrices of as many rows, each times its weight."""
    from scipy.sparse import hstack

    return hstack([matrix if weight == 1.0 else matrix * weight for matrix, weight in parts], format="csr")


def features_from_json(facts: dict[str, Any], arrays: dict[str, Array]) -> Features:
    """Those that `to_json` wrote. Raises MissingError where the base that they name is not here."""
    terms = terms_from_json(facts["terms"], arrays)
    reading = Reading.from_json(facts.get("reading", ()))
    more: dict[str, Any] = {}
    if "columns" in facts:
        columns = ColumnFeatures.from_json(facts["columns"], arrays, reading)
        more |= {"columns": columns, "columns_weight": facts["columns"]["weight"]}
    if "embedding" in facts:
        said = facts["embedding"]
        seen = said.get("images")
        base = (
            image_base_from_json(said["base"], seen) if seen else find_base(said["base"], max_length=said["max_length"])
        )
        embedder = Embedder(base, reading=reading if said.get("texts_alone") else WORDS)
        more |= {"embedder": embedder, "embedding_weight": said["weight"]}
    if "images" in facts:
        more |= {"pictures": PictureFeatures.from_json(facts["images"])}
        more |= {"pictures_weight": facts["images"].get("weight", 1.0)}
    return Features(terms, reading, **more)
