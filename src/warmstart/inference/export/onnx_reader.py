"""ONNX reader: how is an exported ONNX model used without this package? Each export holds a copy of this file.

Needs numpy, onnxruntime, and what reads a row: tokenizers for networks that read tokens, scikit-learn for terms, Pillow
for images.

    python predict.py "a text" "another text"
    python predict.py photo.jpg
    python predict.py '{"title": "a text", "weight": 2.5, "sold": "2024-05-31"}'
"""

import base64
import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

ROWS_AT_A_TIME = 32
_TRUE, _FALSE = ("true", "yes", "y", "t", "on", "1"), ("false", "no", "n", "f", "off", "0")
_MISSING = ("", "na", "n/a", "nan", "null", "none")
_EXACT = 2**53  # from here on float64 leaves whole numbers out


class OnnxModel:
    """The model in a folder: `predict` for people, `outputs` for arrays."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.facts: dict[str, Any] = json.loads((self.folder / "onnx.json").read_text(encoding="utf-8"))
        self.session = onnxruntime.InferenceSession(str(self.folder / "model.onnx"), providers=["CPUExecutionProvider"])
        self.asked = {each.name for each in self.session.get_inputs()}
        self.members = [OnnxModel(self.folder / place) for place in self.facts.get("members", ())]
        known = {"tokens": self._tokens, "terms": self._terms, "columns": self._columns, "hashed words": self._hashed}
        known |= {"members": self._of_members, "images": self._images}
        self.read = [known[name]() for name in self.facts["reads"]]

    def predict(self, rows: Sequence[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One dict for each row: 'prediction', and how sure. A row is a text, or a mapping of columns to cells.

        An image is the path of a file or its content as bytes; where nothing else is read, it is a row. A row with
        nothing to read has None as its prediction. Raises ValueError for a cell that is not of its column's kind, and
        where a column is not there.
        """
        texts, columns = self.read_rows(rows)
        there = [i for i, text in enumerate(texts) if text.strip()]
        some = {name: [cells[i] for i in there] for name, cells in columns.items()}
        predicted = self._predicted([texts[i] for i in there], some) if there else []
        answers = dict(zip(there, predicted, strict=True))
        nothing = {"prediction": None, "reason": "there is nothing to read"}
        return [answers.get(i, nothing) for i in range(len(rows))]

    def _predicted(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        found, rows = self.outputs(texts, columns), texts
        if "probabilities" not in found:
            names = [name for name in ("prediction", "low", "high") if name in found]
            return [{name: float(found[name][i]) for name in names} for i in range(len(rows))]
        classes, shares = self.facts["classes"], found["probabilities"].tolist()
        if not self.facts["multi_label"]:
            costs = self.facts.get("costs")  # [true][predicted]; the lowest expected cost counts
            known = found["probabilities"].astype(np.float64)
            guess = (known @ np.array(costs)).argmin(axis=1) if costs else known.argmax(axis=1)
            return [
                {"prediction": classes[place], "probability": row[place]}
                for place, row in zip(guess.tolist(), shares, strict=True)
            ]
        chosen = [[i for i, share in enumerate(row) if share >= self.facts["threshold"]] for row in shares]
        return [
            {"prediction": [classes[i] for i in some], "probability": [row[i] for i in some]}
            for row, some in zip(shares, chosen, strict=True)
        ]

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]] | None = None) -> dict[str, Any]:
        """Every output of the graph, an array with a row for each text; `columns` as `read_rows` gives them."""
        names = [each.name for each in self.session.get_outputs()]
        parts = []
        for start in range(0, len(texts), ROWS_AT_A_TIME):
            end = start + ROWS_AT_A_TIME
            some = {name: values[start:end] for name, values in (columns or {}).items()}
            given: dict[str, Any] = {}
            for read in self.read:
                given |= read(list(texts[start:end]), some)
            parts.append(self.session.run(names, {name: each for name, each in given.items() if name in self.asked}))
        return {name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}

    def read_rows(self, rows: Sequence[str | Mapping[str, Any]]) -> tuple[list[str], dict[str, Any]]:
        """The texts of rows, and their columns: numbers, seconds since 1970 for dates, 0 and 1 for false and true.

        Errors are those of `predict`.
        """
        known = self.facts["columns"]
        if [column["kind"] for column in known] == ["image"]:
            rows = [row if isinstance(row, Mapping) else {known[0]["name"]: row} for row in rows]
        texts = [row for row in rows if isinstance(row, str)]
        reads = {name for model in (self, *self.members) for name in model.facts["reads"]}
        if texts and ("columns" in reads or len(texts) < len(rows)):
            raise ValueError(f"give each row as a mapping of {', '.join(column['name'] for column in known)}")
        if texts or not known or not rows:
            return texts, {}
        for column in known:
            if any(column["name"] not in row for row in rows):
                names = ", ".join(each["name"] for each in known)
                raise ValueError(f"a row has no column {column['name']!r}; the model reads: {names}")
        found: dict[str, Any] = {}
        spelled: list[list[str]] = []
        for column in known:
            cells = [row[column["name"]] for row in rows if not isinstance(row, str)]
            kind = column["kind"]
            if kind == "image":
                words = ["" if _is_empty(cell) else "image" for cell in cells]
                found[column["name"]] = cells
            elif kind in ("text", "category"):
                words = [_respelled(cell, column) for cell in cells]
                found[column["name"]] = words
            else:
                values = [_value(cell, column, kind) for cell in cells]
                found[column["name"]] = np.array(values, dtype=np.float64)
                words = [_spelled(value, column, kind) for value in values]
            spelled.append([f"{column['name']}: {word}" if self.facts["labelled"] else word for word in words])
            spelled[-1] = [line if word else "" for line, word in zip(spelled[-1], words, strict=True)]
        texts = ["\n".join(filter(None, lines)) for lines in zip(*spelled, strict=True)]
        for column in known:
            if column["kind"] == "image":  # without it, nothing of the row is read
                cells = found[column["name"]]
                texts = ["" if _is_empty(cell) else text for cell, text in zip(cells, texts, strict=True)]
        return texts, found

    def _tokens(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.encode_special_tokens = True  # special tokens inside a text are plain text
        tokenizer.enable_truncation(self.facts["max_length"], direction=self.facts["truncation"])
        tokenizer.no_padding()
        names = self.facts.get("token_columns")

        def read(texts: list[str], columns: Mapping[str, Any]) -> dict[str, Any]:
            texts = _words(texts, columns, names)
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
        names = self.facts.get("words")

        def read(texts: list[str], columns: Mapping[str, Any]) -> dict[str, Any]:
            texts = _words(texts, columns, names)
            return {"counts": np.hstack([each.transform(texts).toarray() for each in counters])}

        return read

    def _columns(self) -> Any:
        places = {
            name: {"": 0} | {value: i for i, value in enumerate(values, 2)}
            for name, values in self.facts["categories"].items()
        }

        def read(texts: list[str], columns: Mapping[str, Any]) -> dict[str, Any]:
            numbers: list[Any] = []
            for name, kind in self.facts["numbers"]:
                values = np.asarray(columns[name], dtype=np.float64)
                numbers.append(np.where(np.isfinite(values), values, np.nan))
                numbers += _date_parts(numbers[-1]) if kind == "datetime" else []
            chosen = [[place.get(str(cell), 1) for cell in columns[name]] for name, place in places.items()]
            return {
                "numbers": np.stack(numbers, axis=1) if numbers else None,
                "categories": np.array(chosen, dtype=np.int64).T,
            }

        return read

    def _images(self) -> Any:
        name, side = self.facts["image"], self.facts["side"]

        def read(texts: list[str], columns: Mapping[str, Any]) -> dict[str, Any]:
            return {"images": np.stack([_pixels(cell, side) for cell in columns[name]])}

        return read

    def _of_members(self) -> Any:
        name = self.facts["averaged"]

        def read(texts: list[str], columns: Mapping[str, Any]) -> dict[str, Any]:
            found = [member.outputs(texts, columns)[name].astype(np.float32) for member in self.members]
            return {"members": np.stack(found, axis=1)}

        return read

    def _hashed(self) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        hashing = HashingVectorizer(
            n_features=self.facts["features"], stop_words="english", binary=True, norm="l2", dtype=np.float32
        )
        return lambda texts, columns: {"features": hashing.transform(texts).toarray()}


def _is_empty(cell: Any) -> bool:
    """Whether there is no image in a cell."""
    return cell is None or (isinstance(cell, str | bytes) and not cell.strip())


def _pixels(cell: Any, side: int) -> Any:
    """An image as uint8 [side, side, 3]: decoded already, bytes, a `data:` URI or a path. Raises ValueError."""
    if isinstance(cell, np.ndarray):
        return cell
    if isinstance(cell, str) and cell.startswith("data:"):
        cell = base64.b64decode(cell.partition(",")[2])
    try:
        from warmstart.data.tables.decode_image import decode_image
    except ImportError:
        from decode_image import decode_image  # type: ignore[import-not-found,no-redef]  # the copy beside this file
    return decode_image(cell if isinstance(cell, bytes) else Path(cell), side)


def _words(texts: list[str], columns: Mapping[str, Any], names: Sequence[str] | None) -> list[str]:
    """The columns of text of each row; without names its whole text."""
    if names is None:
        return texts
    return ["\n".join(filter(None, some)) for some in zip(*(list(columns[name]) for name in names), strict=True)]


def _value(cell: Any, column: Mapping[str, Any], kind: str) -> float:
    """A cell as a number, NaN where it is missing. Raises ValueError."""
    word = str(cell).strip().lower()
    if cell is None or word in _MISSING:
        return math.nan
    try:
        if kind == "datetime":
            if not isinstance(cell, date):
                cell = datetime.fromisoformat(str(cell).strip())
            moment = cell if isinstance(cell, datetime) else datetime(cell.year, cell.month, cell.day)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if kind == "boolean":
            yes, no = (each.lower() for each in column["spelling"])
            if word in (*_TRUE, yes, *_FALSE, no):
                return float(word in (*_TRUE, yes))
            raise ValueError
        if str(cell) in ("True", "False"):
            raise ValueError
        value = float(cell)
    except (TypeError, ValueError):
        wanted = {"datetime": "a date (2024-05-31)", "boolean": "true or false", "number": "a plain number"}[kind]
        raise ValueError(f"column {column['name']!r}: {cell!r} is not {wanted}") from None
    return value if math.isfinite(value) else math.nan


def _spelled(value: float, column: Mapping[str, Any], kind: str) -> str:
    """A value as it stands in the texts, "" where it is missing."""
    if value != value:
        return ""
    if kind == "boolean":
        return str(column["spelling"][0 if value else 1])
    if kind == "datetime":
        text = str(np.datetime64(math.floor(value), "s"))
        return text[:10] if column["day_only"] else text.replace("T", " ")
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT else f"{value:.10g}"


def _respelled(cell: Any, column: Mapping[str, Any]) -> str:
    """A cell of texts or categories; numbers and dates among them are spelled as they are elsewhere."""
    text = "" if cell is None or cell != cell else str(cell)
    if column["written"] == "text" or not text.strip():
        return text if text.strip() else ""
    try:
        return _spelled(_value(cell, column, column["written"]), column, column["written"])
    except ValueError:
        return text.strip()


def _date_parts(seconds: Any) -> list[Any]:
    """Year, month, day of the month, day of the week (Monday is 0) and hour; NaN where there is no date."""
    missing = np.isnan(seconds)
    whole = np.where(missing, 0, seconds).astype("datetime64[s]")
    years, months, days = (whole.astype(f"datetime64[{unit}]") for unit in "YMD")
    parts = [
        years.astype(np.int64) + 1970,
        (months - years.astype("datetime64[M]")).astype(np.int64) + 1,
        (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        (days.astype(np.int64) + 3) % 7,
        (whole - days.astype("datetime64[s]")).astype(np.int64) // 3600,
    ]
    return [np.where(missing, np.nan, part.astype(np.float64)) for part in parts]


if __name__ == "__main__":
    model = OnnxModel(Path(__file__).parent)
    several = len(model.facts["columns"]) > 1
    for row in model.predict([json.loads(each) if several else each for each in sys.argv[1:]]):
        print(json.dumps(row, ensure_ascii=False))
