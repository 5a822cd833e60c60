"""ONNX graph: how does a trained network become one ONNX graph, with pooling, head and the target's scale?"""

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from warmstart.data.encoding.inputs import Inputs, Tokens
from warmstart.data.schema.class_values import class_value
from warmstart.data.schema.schema import Schema
from warmstart.data.tables import decode_image
from warmstart.errors import MissingError, UsageError
from warmstart.inference.export.onnx_baselines import BaselineGraph, BaselineParts, ColumnGraph, WideAndDeepGraph
from warmstart.inference.export.onnx_ensemble import MeanGraph
from warmstart.inference.export.onnx_networks import HashedGraph, ImageGraph, TokenGraph
from warmstart.inference.export.onnx_trees import TreeNodes, fill_trees
from warmstart.inference.model_store import Network, StoredModel
from warmstart.models.model import reads_columns
from warmstart.runtime.files import write_json, write_text

NEEDS = ("onnx", "onnxruntime", "onnxscript")
GRAPH, ONNX_FACTS, READER, VOCABULARY = "model.onnx", "onnx.json", "predict.py", "vocabulary.json"
IMAGE_DECODER = "decode_image.py"
TEXT_COLUMN_FACTS = {
    "kind": "text",
    "written": "text",
    "spelling": ("true", "false"),
    "day_only": False,
}  # a column of texts
MAX_POWER = 300.0  # of 10: as `tasks.regression` clips it
TRACED_ROWS, TRACED_TOKENS = 2, 7  # of the example that the graph is traced with


def has_graph(network: Network) -> bool:
    """Whether a graph can be written for what it reads."""
    inputs = network.inputs
    read = inputs.tokens is not None or inputs.of_body.reads_images
    return read or reads_hashed_words(network) or is_wide_and_deep(network)


def write_onnx(stored: StoredModel, out: Path, *, int8: bool) -> None:
    """Write graph, facts, tokenizer and reader into `out`. Raises MissingError without the packages of `[onnx]`."""
    _need(*NEEDS)
    task, schema = stored.task.to_json(), stored.schema
    traced = _of_model(stored, out, int8=int8)
    numbers = "classes" not in task
    finish = _Numbers(task, stored.calibration) if numbers else _Classes(task, stored.calibration)
    whole = _Whole(traced.graph, finish).eval()
    _export(whole, traced, ["outputs", *(finish.names if numbers else ["probabilities"])], out / GRAPH)
    if int8 and not stored.members:
        _quantize(out / GRAPH)
    if traced.trees is not None:
        fill_trees(out / GRAPH, traced.trees, len(stored.predictor.linear.bias))  # type: ignore[attr-defined]
    more = {"target": task["target"], "int8": int8, "labelled": schema.labelled}
    columns = [column.to_json() for column in schema.columns] or [
        TEXT_COLUMN_FACTS | {"name": name} for name in schema.text
    ]
    more["columns"] = [{name: column[name] for name in (*TEXT_COLUMN_FACTS, "name")} for column in columns]
    if not numbers:
        more |= {
            "classes": [class_value(name, schema.class_type) for name in task["classes"]],
            "multi_label": task["multi_label"],
            "threshold": stored.calibration.get("threshold", 0.5),
            "costs": task.get("costs", ()),
        }
    write_json(out / ONNX_FACTS, traced.facts | more)
    write_text(out / READER, Path(__file__).with_name("onnx_reader.py").read_text(encoding="utf-8"))
    if any(column["kind"] == "image" for column in columns):
        write_text(out / IMAGE_DECODER, Path(decode_image.__file__).read_text(encoding="utf-8"))


def _need(*packages: str) -> None:
    from importlib.util import find_spec

    for name in packages:
        if find_spec(name) is None:
            raise MissingError(f"an ONNX export needs the package {name!r}.", "pip install 'warmstart[onnx]'")


@dataclass(frozen=True)
class Traced:
    """What becomes a graph: the module, an example of its inputs, which of their sizes vary, what the reader knows."""

    graph: Any  # a module whose `reads` names its inputs
    example: tuple[Tensor, ...]
    dynamic: tuple[dict[int, Any], ...]
    facts: dict[str, Any]
    trees: TreeNodes | None = None


def is_wide_and_deep(network: Network) -> bool:
    """Whether it is a network on terms and columns, of which `WideAndDeepGraph` is made."""
    return hasattr(network.model.body, "wide") and hasattr(network.model.body, "deep")


def reads_hashed_words(network: Network) -> bool:
    """Whether it is a network on hashed words, of which `_Hashed` is made."""
    return hasattr(network.model.body, "blocks") and hasattr(network.model.body, "first")


def _of_model(stored: StoredModel, out: Path, *, int8: bool) -> Traced:
    if stored.members:
        return _of_members(stored, out, int8=int8)
    if stored.network:
        return _of_network(stored.network, stored.schema, out)
    return _traced(BaselineParts.of(stored.predictor), stored.schema, out)


def _of_members(stored: StoredModel, out: Path, *, int8: bool) -> Traced:
    """Of an ensemble: a folder with a graph for each member, and a graph that averages what they give."""
    weights: Any = getattr(stored.predictor, "weights", ())
    graph = MeanGraph(weights, stored.task.to_json())
    places = [f"members/{number}" for number in range(len(stored.members))]
    for place, member in zip(places, stored.members, strict=True):
        (out / place).mkdir(parents=True)
        write_onnx(member, out / place, int8=int8)
        for name in (READER, IMAGE_DECODER):  # the ensemble's reads them all
            (out / place / name).unlink(missing_ok=True)
    example = torch.rand(TRACED_ROWS, len(places), len(stored.task.to_json().get("classes", "1")))
    return Traced(
        graph, (example,), ({0: _rows()},), {"reads": ["members"], "members": places, "averaged": graph.averaged}
    )


def _of_network(network: Network, schema: Schema, out: Path) -> Traced:
    tokens = network.inputs.tokens
    body: Any = network.model.body
    if is_wide_and_deep(network):
        traced = _traced(BaselineParts.of_wide_and_deep(body, network.inputs), schema, out)
        return replace(traced, graph=WideAndDeepGraph(traced.graph, body))
    if reads_columns(network.model.head):
        return _beside_columns(network, schema, out)
    if network.inputs.reads_images:
        pixels: Any = network.inputs
        facts, example, varies = _reading_images(pixels.column, schema)
        return Traced(ImageGraph(network.model, pixels, facts["side"]), example, varies, facts)
    if tokens is None:
        count: int = body.size.features
        facts = {"reads": ["hashed words"], "features": count}
        return Traced(HashedGraph(body, network.model.head), (torch.rand(TRACED_ROWS, count),), ({0: _rows()},), facts)
    facts, example, varies = _reading_tokens(tokens, out)
    return Traced(TokenGraph(_traceable(network.model)), example, varies, facts)


def _beside_columns(network: Network, schema: Schema, out: Path) -> Traced:
    """Of a network that reads tokens or an image, and columns beside them."""
    inputs: Any = network.inputs
    parts, rows = BaselineParts.of_columns(network.model.head.columns, inputs.columns), _rows()
    given, facts = parts.example(TRACED_ROWS), parts.facts()
    graph: TokenGraph | ImageGraph
    if inputs.tokens is None:
        said, more, varies = _reading_images(inputs.of_body.column, schema, rows)
        graph = ImageGraph(network.model, inputs.of_body, said["side"])
        _write_vocabulary(parts, out)
    else:
        said, more, varies = _reading_tokens(inputs.tokens, out, rows)
        said["token_columns"] = _read_as_words(inputs.of_body)
        graph = TokenGraph(_traceable(network.model))
    facts = said | facts | {"reads": [*facts["reads"], *said["reads"]]}
    whole = ColumnGraph(BaselineGraph(parts, tuple(given), None), network.model, graph)
    return Traced(whole, (*given.values(), *more), (*({0: rows} for _ in given), *varies), facts)


def _read_as_words(inputs: Inputs) -> list[str] | None:
    """The columns of text that tokens are made of; None: of the whole row as a text."""
    reading = getattr(inputs, "reading", None)
    return None if reading is None else list(reading.named("text"))


def _traced(parts: BaselineParts, schema: Schema, out: Path) -> Traced:
    """Of what reads terms, columns and what a base makes of tokens or an image."""
    facts, given, rows = parts.facts(), parts.example(TRACED_ROWS), _rows()
    dynamic: tuple[dict[int, Any], ...] = tuple({0: rows} for _ in given)
    names, example = tuple(given), tuple(given.values())
    embed: TokenGraph | ImageGraph | None = None
    embedder, pictures = parts.linear.features.embedder, parts.linear.features.pictures
    if pictures is not None:
        said, more, varies = _reading_images(pictures.column, schema, rows)
        facts = said | facts | {"reads": [*facts["reads"], *said["reads"]]}
        names, example, dynamic = (*names, *ImageGraph.reads), (*example, *more), (*dynamic, *varies)
    if embedder is not None:
        inputs: Any = embedder.base.inputs
        if inputs.reads_images:
            said, more, varies = _reading_images(inputs.column, schema, rows)
            embed = ImageGraph(embedder.model.cpu(), inputs, said["side"])
        else:
            said, more, varies = _reading_tokens(inputs, out, rows)
            said["token_columns"] = _read_as_words(embedder.inputs)
            embed = TokenGraph(_traceable(embedder.model.cpu()))
        facts = said | facts | {"reads": [*facts["reads"], *said["reads"]]}
        names, example, dynamic = (*names, *embed.reads), (*example, *more), (*dynamic, *varies)
    _write_vocabulary(parts, out)
    return Traced(BaselineGraph(parts, names, embed), example, dynamic, facts, parts.trees)


def _write_vocabulary(parts: BaselineParts, out: Path) -> None:
    """The terms that are counted, where there are any."""
    if parts.terms:
        (out / VOCABULARY).write_text(json.dumps(parts.vocabulary(), ensure_ascii=False), encoding="utf-8")


def _rows() -> Any:
    return torch.export.Dim("rows")


def _traceable(model: nn.Module) -> nn.Module:
    attention: Any = getattr(model.body, "set_attn_implementation", None)
    if attention is not None:
        attention("sdpa")  # ours takes each row by itself, which no graph can
    return model


def _reading_tokens(
    inputs: Tokens, out: Path, rows: Any = None
) -> tuple[dict[str, Any], tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
    """Write the tokenizer; give what its reader knows, an example of token ids and mask, and which sizes vary."""
    inputs.save(out)
    ids = torch.arange(TRACED_ROWS * TRACED_TOKENS).view(TRACED_ROWS, TRACED_TOKENS) % 5
    mask = torch.ones_like(ids)
    mask[1, TRACED_TOKENS // 2 :] = 0
    varies = {0: rows or _rows(), 1: torch.export.Dim("tokens", max=inputs.max_length)}
    facts = {
        "reads": ["tokens"],
        "max_length": inputs.max_length,
        "pad": inputs.tokenizer.pad_token_id,
        "truncation": inputs.tokenizer.truncation_side,
    }
    return facts, (ids, mask), (varies, varies)


def _reading_images(
    name: str, schema: Schema, rows: Any = None
) -> tuple[dict[str, Any], tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
    """What the reader knows, an example of decoded images, and which of their sizes varies."""
    side = next(column.image_size for column in schema.columns if column.name == name)
    example = torch.randint(0, 256, (TRACED_ROWS, side, side, 3), dtype=torch.uint8)
    return {"reads": ["images"], "image": name, "side": side}, (example,), ({0: rows or _rows()},)


def _export(whole: "_Whole", traced: Traced, names: list[str], path: Path) -> None:
    """Raises UsageError for an architecture that cannot be traced."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)  # that torchvision is not installed is of no interest
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                whole,
                traced.example,
                path,
                dynamo=True,
                input_names=list(whole.scorer.reads),
                output_names=names,
                dynamic_shapes=(traced.dynamic,),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = next((line for line in str(error.__cause__ or error).splitlines() if line.strip()), "")
        raise UsageError(
            f"this architecture cannot be written as one graph: {reason[:200]}", "use --to hf, or `warmstart serve`"
        ) from error
    finally:
        log.setLevel(before)


def _quantize(path: Path) -> None:
    """Weights of matrix products as int8; what is computed from a row is scaled to int8 row by row as it comes."""
    from onnxruntime.quantization import quantize_dynamic

    whole = path.with_suffix(".fp32")
    path.replace(whole)
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # asks for a pre-processing that gained nothing here
    try:
        quantize_dynamic(whole, path, per_channel=True)
    finally:
        root.setLevel(before)
        whole.unlink()


# --- the parts of a graph ---------------------------------------------------------------------------------------------


class _Whole(nn.Module):
    def __init__(self, graph: Any, finish: nn.Module):
        super().__init__()
        self.scorer, self.finish = graph, finish  # `graph` is a name that torch.export takes

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.scorer(*inputs)
        return (outputs, *self.finish(outputs))


class _Numbers(nn.Module):
    """Outputs in deviations to the target's own units, with the bounds of the 90 % interval."""

    def __init__(self, task: Mapping[str, Any], calibration: Mapping[str, float]):
        super().__init__()
        self.mean, self.deviation, self.scale = task["mean"], task["deviation"], task["scale"]
        self.width = calibration.get("quantile")
        self.names = ["prediction"] + ([] if self.width is None else ["low", "high"])

    def forward(self, outputs: Tensor) -> tuple[Tensor, ...]:
        center = outputs[:, 0].double()
        shifts = (0.0,) if self.width is None else (0.0, -self.width, self.width)
        return tuple(self._own((center + shift) * self.deviation + self.mean) for shift in shifts)

    def _own(self, scaled: Tensor) -> Tensor:
        if self.scale == "linear":
            return scaled
        own = torch.pow(torch.tensor(10.0, dtype=torch.float64), scaled.clamp(-MAX_POWER, MAX_POWER))
        return own if self.scale == "log10" else (own - 1).clamp(min=0)


class _Classes(nn.Module):
    """Logits to probabilities, by the temperature that validation rows taught."""

    names = ("probabilities",)

    def __init__(self, task: Mapping[str, Any], calibration: Mapping[str, float]):
        super().__init__()
        self.several, self.temperature = task["multi_label"], calibration.get("temperature", 1.0)

    def forward(self, outputs: Tensor) -> tuple[Tensor, ...]:
        logits = outputs / self.temperature
        return (logits.sigmoid() if self.several else logits.softmax(-1),)
