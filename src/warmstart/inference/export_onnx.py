"""Export to ONNX: how does a trained model become one graph, with pooling, head and the target's scale inside it?"""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from warmstart.baselines.terms import TOKEN
from warmstart.errors import MissingError, UsageError
from warmstart.inference import onnx_reader as reader_source
from warmstart.inference.model_store import StoredModel
from warmstart.runtime.files import write_json, write_text

NEEDS = ("onnx", "onnxruntime", "onnxscript")
GRAPH, ONNX_FACTS, READER = "model.onnx", "onnx.json", "predict.py"
MAX_POWER = 300.0  # of 10: as `tasks.regression` clips it
TRACED_ROWS, TRACED_TOKENS = 2, 7  # of the example that the graph is traced with


def write_onnx(stored: StoredModel, out: Path, *, int8: bool) -> None:
    """Write graph, facts, tokenizer and reader into `out`. Raises MissingError without the packages of `[onnx]`."""
    _need(*NEEDS)
    graph, example, dynamic, facts = _parts(stored, out)
    task = stored.task.to_json()
    numbers = "classes" not in task
    finish = _Numbers(task, stored.calibration) if numbers else _Classes(task, stored.calibration)
    whole = _Whole(graph, finish).eval()
    names = ["outputs", *(["probabilities"] if not numbers else finish.names)]
    _export(whole, example, dynamic, names, out / GRAPH)
    if int8:
        _quantize(out / GRAPH)
    more = {"target": task["target"], "int8": int8}
    if not numbers:
        more |= {
            "classes": list(task["classes"]),
            "multi_label": task["multi_label"],
            "threshold": stored.calibration.get("threshold", 0.5),
        }
    write_json(out / ONNX_FACTS, facts | more)
    write_text(out / READER, Path(str(reader_source.__file__)).read_text(encoding="utf-8"))


def _need(*packages: str) -> None:
    from importlib.util import find_spec

    for name in packages:
        if find_spec(name) is None:
            raise MissingError(f"an ONNX export needs the package {name!r}.", "pip install 'warmstart[onnx]'")


Parts = tuple[nn.Module, tuple[Tensor, ...], tuple[Any, ...], dict[str, Any]]


def _parts(stored: StoredModel, out: Path) -> Parts:
    """The graph up to the head's outputs, an example of its inputs, which sizes vary, and how texts are read."""
    rows = torch.export.Dim("rows")
    network = stored.network
    if network is None:
        linear: Any = stored.predictor
        known = [
            {
                "analyzer": kind.analyzer,
                "lengths": list(kind.lengths),
                "vocabulary": {term: i for i, term in enumerate(kind.vocabulary)},
                "token_pattern": TOKEN if kind.analyzer == "word" else None,
            }
            for kind in linear.features.terms
        ]
        (out / "vocabulary.json").write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")
        counts = torch.zeros(TRACED_ROWS, len(linear.weight))
        counts[:, :3] = 1.0
        return _Terms(linear), (counts,), ({0: rows},), {"reads": "terms"}
    inputs = network.inputs.tokens
    if inputs is None:
        body: Any = network.model.body
        count: int = body.size.features
        features, facts = torch.rand(TRACED_ROWS, count), {"reads": "hashed words", "features": count}
        return _Hashed(body, network.model.head), (features,), ({0: rows},), facts
    attention = getattr(network.model.body, "set_attn_implementation", None)
    if attention is not None:
        attention("sdpa")  # ours takes each row by itself, which no graph can
    tokenizer = inputs.tokenizer
    inputs.save(out)
    ids = torch.arange(TRACED_ROWS * TRACED_TOKENS).view(TRACED_ROWS, TRACED_TOKENS) % 5
    mask = torch.ones_like(ids)
    mask[1, TRACED_TOKENS // 2 :] = 0
    varies = {0: rows, 1: torch.export.Dim("tokens", max=inputs.max_length)}
    facts = {
        "reads": "tokens",
        "max_length": inputs.max_length,
        "pad": tokenizer.pad_token_id,
        "truncation": tokenizer.truncation_side,
    }
    return _Tokens(network.model), (ids, mask), (varies, varies), facts


def _export(whole: "_Whole", example: tuple[Tensor, ...], dynamic: Any, names: list[str], path: Path) -> None:
    """Raises UsageError for an architecture that cannot be traced."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)  # that torchvision is not installed is of no interest
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                whole,
                example,
                path,
                dynamo=True,
                input_names=list(whole.scorer.reads),
                output_names=names,
                dynamic_shapes=(dynamic,),
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


class _Tokens(nn.Module):
    reads = ("input_ids", "attention_mask")

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found: Tensor = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        return found


class _Hashed(nn.Module):
    """`dnn.HashedNet` on the whole row of weights: the same sums, without an EmbeddingBag."""

    reads = ("features",)

    def __init__(self, body: Any, head: nn.Module):
        super().__init__()
        self.first, self.blocks, self.head = body.first, body.blocks, head

    def forward(self, features: Tensor) -> Tensor:
        x: Tensor = self.first.rest(features @ self.first.bag.weight + self.first.bias)
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.head(x)
        return found


class _Terms(nn.Module):
    """`terms.Terms` and `linear.Linear` from counts: TF-IDF with the logarithm of counts, rows of length 1."""

    reads = ("counts",)

    def __init__(self, linear: Any):
        super().__init__()
        self.sizes = [len(kind.vocabulary) for kind in linear.features.terms]
        self.idf = nn.ParameterList(torch.tensor(kind.idf) for kind in linear.features.terms)
        self.weight, self.bias = nn.Parameter(torch.tensor(linear.weight)), nn.Parameter(torch.tensor(linear.bias))

    def forward(self, counts: Tensor) -> Tensor:
        weighed = []
        parts: Sequence[Tensor] = torch.split(counts, self.sizes, dim=1)
        for part, idf in zip(parts, self.idf, strict=True):
            terms = torch.where(part > 0, 1 + part.clamp(min=1).log(), torch.zeros_like(part)) * idf
            weighed.append(terms / (terms * terms).sum(1, keepdim=True).sqrt().clamp(min=1e-30))
        return torch.cat(weighed, 1) @ self.weight + self.bias


class _Numbers(nn.Module):
    """Outputs in deviations to the target's own units, with the bounds of the 90 % interval."""

    def __init__(self, task: Mapping[str, Any], calibration: Mapping[str, float]):
        super().__init__()
        self.mean, self.deviation, self.scale = task["mean"], task["deviation"], task["scale"]
        self.width = calibration.get("quantile")
        self.names = ["prediction"] + ([] if self.width is None else ["low", "high"])

    def forward(self, outputs: Tensor) -> tuple[Tensor, ...]:
        centre = outputs[:, 0].double()
        shifts = (0.0,) if self.width is None else (0.0, -self.width, self.width)
        return tuple(self._own((centre + shift) * self.deviation + self.mean) for shift in shifts)

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
