"""Store: a trained model in a folder that other tools read, and back.

    model.json          what it predicts and how: task, columns, calibration, pooling
    body/               config.json, model.safetensors, tokenizer: for AutoModel and AutoTokenizer
    adapter/            instead, for adapters: PEFT's own format; the base is named, not copied
    body.safetensors    instead, for architectures that are not Hugging Face's
    head.safetensors    of a language model only beside adapters for a base that has no output layer
    baseline/           instead of all of these, for `constant` and `linear`

Nothing here is ever unpickled, and no code in the folder is ever run.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import nn

from warmstart.baselines.linear import load_baseline
from warmstart.data.encoding.examples import Examples
from warmstart.data.encoding.inputs import Answers, HashedWords, Inputs, Tokens
from warmstart.data.encoding.language import Conversations, Documents, Masked
from warmstart.data.encoding.seq2seq import Seq2Seq
from warmstart.data.schema.schema import Schema
from warmstart.errors import InputError, MissingError, UsageError
from warmstart.generation.answers import Writer
from warmstart.models.causal_lm import causal_lm
from warmstart.models.dnn import Size
from warmstart.models.evaluate import outputs
from warmstart.models.lm_head import LanguageHead
from warmstart.models.model import UNPOOLED, Model, body_width
from warmstart.models.pretrained.base import Base, find_base, generation, language_output
from warmstart.regimes.lora import linear_names, load_adapter, merge_adapters, save_adapter
from warmstart.regimes.quantization import quantize
from warmstart.regimes.starts import HashedNetwork, Pretrained, Start, from_file
from warmstart.runtime.files import write_json, write_tensors
from warmstart.tasks.task import Task
from warmstart.tasks.tasks import task_from_json
from warmstart.types import Array

MODEL_FORMAT = 1


class Predictor(Protocol):
    """What turns texts into a task's outputs, [n, k]: a network or a baseline."""

    def outputs(self, texts: Sequence[str]) -> Array: ...


@dataclass(frozen=True)
class Network:
    """A trained network with what it reads by."""

    model: Model
    inputs: Inputs

    @property
    def writer(self) -> Writer | None:
        """The same writing answers; None where nothing is written."""
        prompts = self.inputs.prompts
        return None if prompts is None else Writer(self.model, prompts)

    def outputs(self, texts: Sequence[str]) -> Array:
        import numpy as np

        encoded = self.inputs.encode(texts)
        n = len(texts)
        return outputs(self.model, Examples(encoded, np.arange(n), torch.zeros(n), np.arange(n)))


@dataclass(frozen=True)
class StoredModel:
    """A model as it was saved, with all that predicting takes."""

    predictor: Predictor
    network: Network | None  # the predictor itself; None for a baseline
    task: Task
    schema: Schema
    calibration: dict[str, float]
    regime: str


def save_network(folder: Path, model: Model, start: Start, task: Task) -> dict[str, Any]:
    """Write the weights; give the facts that `model.json` needs to read them."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = task.reads(start.inputs)
    facts: dict[str, Any] = {
        "pooling": model.pooling,
        "inputs": inputs.to_json(),
        "width": body_width(model.body),
    }
    head, base = model.language_head, start.base
    if head is not None:
        return facts | {"body": save_language_model(folder, model, head, base, inputs)}
    _save_head(folder, model.head)
    if base is None and hasattr(model.body, "peft_config"):
        model.body = merge_adapters(model.body)  # adapters for random weights would fit no base that anybody has
    if base is not None and hasattr(model.body, "peft_config"):
        save_adapter(model.body, base.location, folder / "adapter")
        start.inputs.save(folder / "adapter")
        return facts | {"body": _adapter(model.body, base)}
    if start.hugging_face:
        model.body.save_pretrained(folder / "body")  # type: ignore[operator]
        start.inputs.save(folder / "body")
        return facts | {"body": {"kind": "transformers"}}
    write_tensors(folder / "body.safetensors", {k: v.contiguous() for k, v in model.body.state_dict().items()})
    if start.size is not None:
        return facts | {"body": {"kind": "hashed network", "size": asdict(start.size)}}
    start.inputs.save(folder / "tokenizer")
    function = getattr(start.build, "func", start.build)  # a partial has no name of its own
    return facts | {"body": {"kind": "code", "name": getattr(function, "__name__", start.name)}}


def save_language_model(
    folder: Path, model: Model, head: LanguageHead, base: Base | None, inputs: Inputs
) -> dict[str, Any]:
    """Body and output layer as one model of the family's own class; adapters as PEFT has them for that class."""
    adapted = hasattr(model.body, "peft_config")
    if adapted and base is not None and not base.joined:  # which nobody else has
        save_adapter(model.body, base.location, folder / "adapter", language=True)
        inputs.save(folder / "adapter")
        if head.fresh:
            _save_head(folder, head)
        return _adapter(model.body, base)
    body = merge_adapters(model.body) if adapted else model.body
    full = causal_lm(body, head.output())
    ends = None if base is None else generation(base)
    if ends is not None:
        full.generation_config = ends
    if inputs.prompts is not None and not full.config.is_encoder_decoder:  # whose own end is the one it learned
        full.generation_config.eos_token_id = sorted(inputs.prompts.stop)
    full.save_pretrained(folder / "body")
    inputs.save(folder / "body")
    return {"kind": "transformers"}


def _save_head(folder: Path, head: nn.Module) -> None:
    write_tensors(folder / "head.safetensors", {k: v.contiguous() for k, v in head.state_dict().items()})


def save_model(folder: Path, facts: dict[str, Any], task: Task, schema: Schema, calibration: dict[str, float]) -> None:
    """Write `model.json`, last: a folder that has it is complete."""
    kept = {"format": MODEL_FORMAT, "task": task.to_json(), "schema": schema.to_json(), "calibration": calibration}
    write_json(folder / "model.json", kept | facts)


def load_model(
    folder: Path,
    *,
    code: str | None = None,
    build: Callable[[], nn.Module] | None = None,
    full_precision: bool = False,
) -> StoredModel:
    """The model in `folder`. A model whose architecture is somebody's own code needs that code named or given.

    `full_precision`: the base of adapters is not quantized, so that they can be merged into it.
    """
    try:
        facts = json.loads((folder / "model.json").read_text())
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} holds no trained model (no model.json).", "name the folder of a finished run or study"
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{folder / 'model.json'} is damaged: {error}.", "train again, or take a copy that is whole"
        ) from error
    if facts.get("format") != MODEL_FORMAT:
        raise InputError(
            f"{folder} was written by another version (format {facts.get('format')}).",
            f"this one reads format {MODEL_FORMAT}",
        )
    if full_precision and facts.get("body", {}).get("quantize"):
        facts["body"]["quantize"] = None
    schema = Schema.from_json(facts["schema"])
    network = None if "baseline" in facts else _network(folder, facts, code, build)
    predictor = network or load_baseline(folder / "baseline")
    return StoredModel(predictor, network, task_from_json(facts["task"]), schema, facts["calibration"], facts["regime"])


def is_quantized(folder: Path) -> bool:
    """Whether the model in `folder` is adapters on a base in four bits."""
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return bool(facts.get("body", {}).get("quantize"))


def _network(folder: Path, facts: dict[str, Any], code: str | None, build: Callable[[], nn.Module] | None) -> Network:
    body, inputs = _body(folder, facts, code, build)
    if facts["pooling"] == UNPOOLED and inputs.tokens is not None:
        return _writer(folder, facts, body, inputs.tokens)
    weights = load_file(folder / "head.safetensors")
    head = _head(weights)
    head.load_state_dict(weights)
    return Network(Model(body, head, facts["pooling"]).eval(), inputs)


LANGUAGE_INPUTS: dict[str, type[Conversations] | type[Documents] | type[Masked]] = {
    "conversations": Conversations,
    "documents": Documents,
    "masked": Masked,
}


def _writer(folder: Path, facts: dict[str, Any], body: nn.Module, tokens: Tokens) -> Network:
    """A body with the output layer that lies beside its weights, or that of the base that its adapters are for.

    Where that base has none, it is the one that learned with the adapters.
    """
    known = dict(facts["inputs"])
    kind, length = known.pop("kind"), known.pop("max_length")
    said = facts["body"]
    base = find_base(str(folder / "body") if said["kind"] == "transformers" else said["base"], max_length=length)
    head = LanguageHead.of(body, language_output(base))
    if head.fresh:
        if not (folder / "head.safetensors").exists():
            raise InputError(
                f"{folder} lacks the output layer that its adapters were trained with: earlier versions left it out.",
                "train again",
            )
        head.load_state_dict(load_file(folder / "head.safetensors"))
    inputs: Inputs
    if kind == "pairs":
        answers = {**known["answers"], "never": tuple(known["answers"]["never"])}
        inputs = Seq2Seq(tokens.folder, length, Answers(**answers), known["without"])
    else:
        inputs = LANGUAGE_INPUTS[kind](tokens.folder, length, **known)
    return Network(Model(body, head, UNPOOLED).eval(), inputs)


def _adapter(body: nn.Module, base: Base) -> dict[str, Any]:
    """What adapters are for. A base that was named by a path is found from any folder."""
    quantized = any(type(module).__name__ == "Linear4bit" for module in body.modules())
    name = str(Path(base.name).resolve()) if Path(base.name).exists() else base.name
    return {"kind": "adapter", "base": name, "quantize": "nf4" if quantized else None}


def _head(weights: dict[str, torch.Tensor]) -> nn.Module:
    """The head of `tasks.head.linear_head`, of the size of these weights."""
    outputs, width = weights["1.weight"].shape
    return nn.Sequential(nn.Dropout(0.0), nn.Linear(width, outputs))


def _body(
    folder: Path, facts: dict[str, Any], code: str | None, build: Callable[[], nn.Module] | None
) -> tuple[nn.Module, Inputs]:
    said = facts["body"]
    length = facts["inputs"].get("max_length", 0)
    if said["kind"] == "transformers":
        base = find_base(str(folder / "body"), max_length=length)
        return Pretrained(base).body(0), Tokens(base.location, length)
    if said["kind"] == "adapter":
        try:
            base = find_base(said["base"], max_length=length)
        except MissingError as error:
            raise MissingError(
                f"{folder} holds adapters for the base {said['base']!r}, which is not here.", error.hint
            ) from error
        bare = Pretrained(base).body(0)
        if said["quantize"]:
            quantize(bare, linear_names(bare))
        return load_adapter(bare, folder / "adapter"), Tokens(base.location, length)
    if said["kind"] == "hashed network":
        size = Size(**said["size"])
        own: nn.Module = HashedNetwork(size)()
        own.load_state_dict(load_file(folder / "body.safetensors"))
        return own, HashedWords(size.features)
    inputs = Tokens(str(folder / "tokenizer"), length)
    if build is None:
        if code is None:
            raise UsageError(
                f"the model in {folder} has an architecture of its own ({said['name']}); its code is not stored.",
                f"name the code that it was trained with: --model file.py:{said['name']}",
            )
        build = from_file(code, len(inputs.tokenizer))
    own = build()
    try:
        own.load_state_dict(load_file(folder / "body.safetensors"))
    except RuntimeError as error:
        raise UsageError(
            f"the weights in {folder} do not fit the given code: {str(error).splitlines()[1].strip()}",
            "name the code that it was trained with",
        ) from error
    return own, inputs
