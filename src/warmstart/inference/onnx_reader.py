"""ONNX reader: how is an exported ONNX model used without this package? Each export holds a copy of this file.

Needs numpy, onnxruntime, and what reads the texts: tokenizers for networks that read tokens, else scikit-learn.

    python predict.py "a text" "another text"
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

ROWS_AT_A_TIME = 32


class OnnxModel:
    """The model in a folder: `outputs` for arrays, `predict` for people."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.facts: dict[str, Any] = json.loads((self.folder / "onnx.json").read_text(encoding="utf-8"))
        self.session = onnxruntime.InferenceSession(str(self.folder / "model.onnx"), providers=["CPUExecutionProvider"])
        self.read = {"tokens": self._tokens, "terms": self._terms, "hashed words": self._hashed}[self.facts["reads"]]()

    def outputs(self, texts: Sequence[str]) -> dict[str, Any]:
        """Every output of the graph, an array with a row for each text."""
        names = [each.name for each in self.session.get_outputs()]
        parts = [
            self.session.run(names, self.read(list(texts[start : start + ROWS_AT_A_TIME])))
            for start in range(0, len(texts), ROWS_AT_A_TIME)
        ]
        return {name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """One dict for each text: 'prediction', and how sure."""
        found = self.outputs(texts)
        if "probabilities" not in found:
            names = [name for name in ("prediction", "low", "high") if name in found]
            return [{name: float(found[name][i]) for name in names} for i in range(len(texts))]
        classes, rows = self.facts["classes"], found["probabilities"].tolist()
        if not self.facts["multi_label"]:
            return [{"prediction": classes[int(np.argmax(row))], "probability": max(row)} for row in rows]
        chosen = [[i for i, share in enumerate(row) if share >= self.facts["threshold"]] for row in rows]
        return [
            {"prediction": [classes[i] for i in some], "probability": [row[i] for i in some]}
            for row, some in zip(rows, chosen, strict=True)
        ]

    def _tokens(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.encode_special_tokens = True  # special tokens inside a text are plain text
        tokenizer.enable_truncation(self.facts["max_length"], direction=self.facts["truncation"])
        tokenizer.no_padding()

        def read(texts: list[str]) -> dict[str, Any]:
            rows = [each.ids or [self.facts["pad"]] for each in tokenizer.encode_batch(texts)]
            longest = max(map(len, rows))
            ids = [row + [self.facts["pad"]] * (longest - len(row)) for row in rows]
            mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
            return {"input_ids": np.array(ids, dtype=np.int64), "attention_mask": np.array(mask, dtype=np.int64)}

        return read

    def _terms(self) -> Any:
        from sklearn.feature_extraction.text import CountVectorizer

        known = json.loads((self.folder / "vocabulary.json").read_text(encoding="utf-8"))
        counters = [
            CountVectorizer(
                analyzer=kind["analyzer"],
                ngram_range=tuple(kind["lengths"]),
                vocabulary=kind["vocabulary"],
                token_pattern=kind["token_pattern"],
                dtype=np.float32,
            )
            for kind in known
        ]
        return lambda texts: {"counts": np.hstack([each.transform(texts).toarray() for each in counters])}

    def _hashed(self) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        hashing = HashingVectorizer(
            n_features=self.facts["features"], stop_words="english", binary=True, norm="l2", dtype=np.float32
        )
        return lambda texts: {"features": hashing.transform(texts).toarray()}


if __name__ == "__main__":
    for row in OnnxModel(Path(__file__).parent).predict(sys.argv[1:]):
        print(json.dumps(row, ensure_ascii=False))
