"""Export: into which formats can a trained model go, and does it still score the same there?"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from warmstart.baselines.baseline import TRAIN_AGAIN
from warmstart.data.rows.split import Rows
from warmstart.errors import InputError, TrainingError, UsageError
from warmstart.inference.export import gguf_file, hugging_face, onnx_graph
from warmstart.inference.model_store import ModelFacts, StoredModel, load_model
from warmstart.models.model import reads_columns
from warmstart.results.bootstrap import mean_score
from warmstart.runtime.files import read_json, write_text
from warmstart.types import Array

Format = Literal["hf", "merged", "onnx", "gguf"]
EXPORT_FORMATS: tuple[Format, ...] = get_args(Format)
INT8_FORMATS: tuple[Format, ...] = ("onnx", "gguf")
EXPORT_TOLERANCE = 0.001  # of the metric, relative: what other order of additions may do
INT8_TOLERANCE = 0.01
RECORD_TOLERANCE = 0.01  # between the record and the same rows now: another machine or precision
GRAPH_ROWS = 1_000  # that an exported graph reads at a time
LANGUAGE_ROWS = 200  # test rows of a language model, whose every token is a prediction


@dataclass(frozen=True)
class Exported:
    """An export: its files, and its score beside the model's."""

    folder: Path
    format: Format
    int8: bool
    metric: str
    rows: int
    before: float  # by this package, on the test rows
    after: float  # by the export, on the same
    learned: bool = False  # whether the model was trained on these rows too: the scores only show that it is the same

    @property
    def drift(self) -> float:
        """Relative to the metric before."""
        return relative_drift(self.before, self.after)


def relative_drift(before: float, after: float) -> float:
    """Relative change of a score; the absolute change if the score before was 0."""
    return abs(after - before) / (abs(before) or 1.0)


def formats_of(stored: StoredModel) -> dict[Format, str]:
    """Every format, with why the model cannot go into it: "" where it can."""
    network = stored.network
    if network is None:
        none = "it averages several models" if stored.members else "it is no network"
        same = "it predicts the same for every row" if hasattr(stored.predictor, "output") else ""  # of a constant
        graph = same or (none if stored.task.writes else "")
        without = [f"its member {each.regime!r}: {why}" for each in stored.members if (why := formats_of(each)["onnx"])]
        graph = graph or "; ".join(without)
        return {"hf": none, "merged": none, "onnx": graph, "gguf": "it writes no text"}
    body = network.model.body
    graph = ""
    if network.model.language_head is not None:
        graph = "the graph would hold one step of writing, and nothing that samples"
    elif not onnx_graph.has_graph(network):
        graph = "no graph is written for what it reads"
    plain = "no class of transformers has this architecture" if not hasattr(body, "save_pretrained") else ""
    if reads_columns(network.model.head):
        plain = "it reads columns beside the text, and nothing of sentence-transformers does"
    return {
        "hf": plain,
        "merged": "" if hasattr(body, "peft_config") else "it has no adapters",
        "onnx": graph,
        "gguf": gguf_file.why_no_gguf(network),
    }


def check_format(stored: StoredModel, to: str, int8: bool) -> Format:
    """Raises UsageError for a format that the model does not exist in, naming one that works."""
    if to not in EXPORT_FORMATS:
        raise UsageError(f"there is no format {to!r}.", f"choose one of {', '.join(EXPORT_FORMATS)}")
    known = formats_of(stored)
    chosen: Format = next(each for each in EXPORT_FORMATS if each == to)
    works = [name for name, why in known.items() if not why]
    hint = f"use --to {' or --to '.join(works)}" if works else "use `warmstart predict` or `warmstart serve`"
    if known[chosen]:
        raise UsageError(f"a model of regime {stored.regime!r} does not exist as {to}: {known[chosen]}.", hint)
    if int8 and chosen not in INT8_FORMATS:
        others = [name for name in INT8_FORMATS if not known[name]]
        raise UsageError(
            f"--int8 is for --to {' and --to '.join(INT8_FORMATS)}.",
            f"use --to {others[0]}" if others else "leave it out",
        )
    if int8 and any(column.kind == "image" for column in stored.schema.columns):
        raise UsageError("a model of images is not stored in int8.", "leave out --int8")
    return chosen


def reads_table(stored: StoredModel) -> bool:
    """Whether the values of several columns are read, and not just a text that is made of them."""
    of_rows = stored.network is None or stored.network.inputs.of_rows
    return of_rows and len(stored.schema.columns) > 1


def export_model(
    folder: Path,
    rows: Rows,
    out: Path,
    to: str,
    *,
    int8: bool = False,
    code: str | None = None,
    recorded: float | None = None,
    learned: bool = False,
    card: Callable[[Exported], str],
) -> Exported:
    """Write the model in `folder` into `out`, score both on `rows`, and keep it only if they agree.

    `recorded`: what the run scored on these rows. `learned`: whether it was trained on them. `card`: the text of
    README.md. Raises UsageError for a format that does not exist, InputError for other rows, TrainingError where the
    export scores otherwise.
    """
    stored = load_model(folder, code=code)
    chosen = check_format(stored, to, int8)
    quantized = _is_quantized(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} already exists.", "choose another folder with --out")
    if stored.task.learns_language or stored.task.writes:
        rows = rows.take(np.arange(min(LANGUAGE_ROWS, len(rows))))
        recorded = None  # by answers that were written, or by more rows
    before = _score(stored, stored.predictor.outputs(rows.texts, rows.columns), rows)
    if recorded is not None and relative_drift(recorded, before) > RECORD_TOLERANCE:
        raise InputError(
            f"the run scored {recorded:.5g} on its test rows, but {before:.5g} on these.",
            "name the data that it was trained on with --data",
        )
    staging = out.with_name(f".{out.name}.export")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        whole = load_model(folder, code=code, full_precision=True) if quantized else stored
        outputs = _written(chosen, whole, folder, staging, rows, int8)
        done = Exported(
            out, chosen, int8, stored.task.metric, len(rows), before, _score(stored, outputs, rows), learned
        )
        allowed = INT8_TOLERANCE if int8 or quantized else EXPORT_TOLERANCE
        if not done.drift <= allowed:
            raise TrainingError(
                f"the export scores {done.after:.5g} where the model scores {before:.5g} on {len(rows):,} test rows: "
                f"off by {100 * done.drift:.2g} %, and {100 * allowed:g} % is allowed. Nothing was kept.",
                "export without --int8" if int8 else "use another format, or `warmstart serve`",
            )
        write_text(staging / "README.md", card(done))
        if out.is_dir():
            out.rmdir()
        staging.replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return done


def _is_quantized(folder: Path) -> bool:
    """Whether the model in `folder` is adapters on a base in four bits."""
    return bool(read_json(folder / "model.json", ModelFacts, TRAIN_AGAIN).get("body", {}).get("quantize"))


def _written(to: Format, stored: StoredModel, folder: Path, out: Path, rows: Rows, int8: bool) -> Array:
    """Write one format; returns the export's outputs for the rows, [n, k]."""
    if to == "onnx":
        onnx_graph.write_onnx(stored, out, int8=int8)
        return _outputs_of_graph(out, rows)
    network: Any = stored.network
    if to == "merged":
        hugging_face.write_merged(folder, network, out)
        return load_model(out).predictor.outputs(rows.texts, rows.columns)
    if to == "gguf":
        merged = out / "merged"
        hugging_face.write_merged(folder, network, merged)
        gguf_file.write_gguf(merged / "body", out, int8=int8)
        gguf_file.read_back(merged, out)
        found = load_model(merged).predictor.outputs(rows.texts)
        shutil.rmtree(merged)
        return found
    if network.model.language_head is not None:
        hugging_face.write_merged(folder, network, out)
        found = load_model(out).predictor.outputs(rows.texts)
        hugging_face.keep_body(out)
        return found
    return hugging_face.write_sentence_transformer(stored, network, out, rows.texts)


def _outputs_of_graph(folder: Path, rows: Rows) -> Array:
    """Some rows at a time: images of many would take much memory."""
    from warmstart.inference.export.onnx_reader import OnnxModel

    model, found = OnnxModel(folder), []
    for start in range(0, len(rows), GRAPH_ROWS):
        some = rows.take(np.arange(start, min(start + GRAPH_ROWS, len(rows))))
        found.append(model.outputs(some.texts, some.columns.cells())["outputs"])
    return np.concatenate(found)


def _score(stored: StoredModel, outputs: Array, rows: Rows) -> float:
    return mean_score(stored.task.score(outputs, stored.task.targets(rows), stored.calibration))
