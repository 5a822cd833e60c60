"""Model store: how is a trained model saved in a folder that other tools can read, and loaded again?

    model.json          what it predicts and how: task, columns, calibration, pooling
    body/               config.json, model.safetensors, tokenizer: for AutoModel and AutoTokenizer
    adapter/            instead, for adapters: PEFT's own format; the base is named, not copied
    body.safetensors    instead, for architectures that are not Hugging Face's
    head.safetensors    of a language model only beside adapters for a base that has no output layer
    columns/            what the head reads of columns beside the text, where it reads any
    baseline/           instead of all of these, for what learns without the training loop
    members/            instead of all of these, for an ensemble: a folder like this one for each of its models

Nothing here is ever unpickled, and no code in the folder is ever run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Required

import torch
from pydantic import ConfigDict, TypeAdapter
from torch import nn
from typing_extensions import TypedDict

from warmstart.baselines.baseline import TRAIN_AGAIN
from warmstart.baselines.baselines import load_baseline
from warmstart.data.encoding.examples import Examples
from warmstart.data.encoding.inputs import Answers, Inputs, Tokens
from warmstart.data.encoding.language_inputs import Conversations, Documents, Masked
from warmstart.data.encoding.seq2seq import Seq2Seq
from warmstart.data.features.column_inputs import beside_columns, load_columns, save_columns
from warmstart.data.features.hashed_words import HashedWords
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.schema.cell_values import Values
from warmstart.data.schema.schema import Schema
from warmstart.errors import InputError, MissingError, UsageError, shorten
from warmstart.generation.answers import AnswerWriter, Writer
from warmstart.inference.ensemble import AveragedModels, Predictor
from warmstart.inference.image_store import IMAGE_NETWORK, load_image_network, save_image_network
from warmstart.inference.wide_and_deep_store import TERMS, WIDE_AND_DEEP, load_wide_and_deep, save_wide_and_deep
from warmstart.models.causal_lm import causal_lm
from warmstart.models.dnn import Size
from warmstart.models.evaluate import outputs
from warmstart.models.lm_head import LanguageHead
from warmstart.models.model import UNPOOLED, Model, body_width, is_head
from warmstart.models.pretrained.base import Base, find_base, generation, language_output
from warmstart.models.pretrained.base_reference import require_unchanged
from warmstart.regimes.lora import linear_names, load_adapter, merge_adapters, save_adapter
from warmstart.regimes.quantization import quantize
from warmstart.regimes.starts import HashedNetwork, Pretrained, Start, from_file
from warmstart.runtime.files import (
    damaged,
    digest,
    digests,
    find_portable,
    portable_path,
    read_json,
    read_tensors,
    reading_ours,
    require_plain_name,
    write_json,
    write_tensors,
)
from warmstart.runtime.load_pretrained import fingerprint
from warmstart.tasks.head import sized_column_head, sized_head
from warmstart.tasks.task import Task
from warmstart.tasks.tasks import task_from_json
from warmstart.types import Array

MODEL_FORMAT = 1
COLUMN_FOLDER = "columns"
READ_ENDINGS = (".json", ".jinja", ".safetensors", ".txt", ".model")  # endings of files that a library may read


class ModelFacts(TypedDict, total=False):
    """What `model.json` holds. What belongs to one kind of task, inputs or body is checked where that is built."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    format: Required[int]
    regime: Required[str]
    task: Required[dict[str, Any]]
    schema: Required[dict[str, Any]]
    calibration: Required[dict[str, float]]
    baseline: str  # of a baseline; of an ensemble the weights of its members by their folders; else the four below
    members: dict[str, float]
    pooling: str
    inputs: dict[str, Any]
    width: int | None
    body: dict[str, Any]
    columns: bool  # whether the head reads columns beside the text
    files: dict[str, str]  # SHA-256 of each file of the model; not in models of before 0.2


@dataclass(frozen=True)
class Network:
    """A trained network with its inputs."""

    model: Model
    inputs: Inputs

    @property
    def writer(self) -> Writer | None:
        """The same model as a generator of answers; None if it generates no text."""
        prompts = self.inputs.prompts
        return None if prompts is None else Writer(self.model, prompts)

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        import numpy as np

        encoded = self.inputs.encode_rows(texts, columns)
        n = len(texts)
        return outputs(self.model, Examples(encoded, np.arange(n), torch.zeros(n), np.arange(n)))


@dataclass(frozen=True)
class StoredModel:
    """A saved model, with everything needed to predict."""

    predictor: Predictor
    network: Network | None  # the predictor itself; None for a baseline
    task: Task
    schema: Schema
    calibration: dict[str, float]
    regime: str
    members: tuple["StoredModel", ...] = ()  # of an ensemble, in the order of its weights

    @property
    def writer(self) -> AnswerWriter | None:
        """Generates the model's answers; None if it generates no text."""
        found: AnswerWriter | None = self.network.writer if self.network else getattr(self.predictor, "writer", None)
        return found


def save_network(folder: Path, model: Model, start: Start, task: Task) -> dict[str, Any]:
    """Save the weights; returns the facts that `model.json` needs to load them."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = task.reads(start.inputs)
    facts: dict[str, Any] = {"pooling": model.pooling, "inputs": inputs.to_json(), "width": body_width(model.body)}
    head, base = model.language_head, start.base
    if head is not None:
        return facts | {"body": save_language_model(folder, model, head, base, inputs)}
    if is_head(model.body):
        return facts | {"body": save_wide_and_deep(folder, model.body, inputs)}
    _save_head(folder, model.head)
    if start.columns is not None:
        save_columns(folder / COLUMN_FOLDER, start.columns)
        facts[COLUMN_FOLDER] = True
    if (pictured := save_image_network(folder, model.body, base)) is not None:
        return facts | {"body": pictured}
    if base is None and hasattr(model.body, "peft_config"):
        model.body = merge_adapters(model.body)  # adapters for random weights would fit no base that anybody has
    if base is not None and hasattr(model.body, "peft_config"):
        save_adapter(model.body, _base_name(folder, base), folder / "adapter")
        start.inputs.save(folder / "adapter")
        return facts | {"body": _adapter(folder, model.body, base)}
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
        save_adapter(model.body, _base_name(folder, base), folder / "adapter", language=True)
        inputs.save(folder / "adapter")
        if head.fresh:
            _save_head(folder, head)
        return _adapter(folder, model.body, base)
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
    """Write `model.json`, last: a folder that has it is complete. It holds the SHA-256 of each of the model's files."""
    kept = {"format": MODEL_FORMAT, "task": task.to_json(), "schema": schema.to_json(), "calibration": calibration}
    write_json(
        folder / "model.json",
        kept | facts | {"files": {name: known for name, known in digests(folder).items() if name != "model.json"}},
    )


def load_model(
    folder: Path, *, code: str | None = None, build: Callable[[], nn.Module] | None = None, full_precision: bool = False
) -> StoredModel:
    """The model in `folder`. A model whose architecture is somebody's own code needs that code named or given.

    `full_precision`: the base of adapters is not quantized, so that they can be merged into it.
    Raises InputError where there is none, where it is damaged, or where its files are not those that were saved.
    """
    path = folder / "model.json"
    try:
        kind = read_json(path, dict[str, Any], TRAIN_AGAIN).get("format")
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} holds no trained model (no model.json).", "name the folder of a finished run or study"
        ) from error
    if kind is not None and kind != MODEL_FORMAT:
        raise InputError(
            f"{folder} was written by another version (format {shorten(kind)}).",
            f"this one reads format {MODEL_FORMAT}",
        )
    facts = read_json(path, ModelFacts, TRAIN_AGAIN)
    _check_files(folder, facts.get("files"))
    if full_precision and facts.get("body", {}).get("quantize"):
        facts["body"]["quantize"] = None
    with reading_ours(path, TRAIN_AGAIN):
        schema = TypeAdapter(Schema).validate_python(asdict(Schema.from_json(facts["schema"])))
        task = task_from_json(facts["task"])
        solved = "baseline" in facts or "members" in facts
        network = None if solved else _network(folder, facts, code, build)
    members = _members(folder, facts["members"], code) if "members" in facts else ()
    predictor = network or (
        _averaged(facts["members"], members, task) if members else load_baseline(folder / "baseline")
    )
    return StoredModel(predictor, network, task, schema, facts["calibration"], facts["regime"], members)


def _members(folder: Path, weights: Mapping[str, float], code: str | None) -> tuple[StoredModel, ...]:
    """Raises InputError where a member is an ensemble itself, or is missing."""
    places = [folder / "members" / require_plain_name(folder / "model.json", name) for name in weights]
    for place in places:
        if (place / "members").exists():
            raise damaged(folder / "model.json", f"{place.name!r} is an ensemble in an ensemble", TRAIN_AGAIN)
    return tuple(load_model(place, code=code) for place in places)


def _averaged(weights: Mapping[str, float], members: Sequence[StoredModel], task: Task) -> AveragedModels:
    calibrations = tuple(each.calibration for each in members)
    return AveragedModels(task, tuple(each.predictor for each in members), calibrations, tuple(weights.values()))


def _check_files(folder: Path, known: dict[str, str] | None) -> None:
    """Raises InputError where a file of the model is not as it was saved, is missing, or came later."""
    if known is None:  # of an earlier version
        return
    for name, expected in known.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise damaged(folder / "model.json", f"it names {shorten(name)}, which is not in its folder", TRAIN_AGAIN)
        if not path.is_file():
            raise InputError(f"{path} is not there: the model is not whole.", TRAIN_AGAIN)
        if digest(path) != expected:
            raise InputError(f"{path} is not the file that was saved: its SHA-256 differs.", TRAIN_AGAIN)
    for part in ("body", "adapter", "tokenizer", "baseline", TERMS, COLUMN_FOLDER):
        for path in (folder / part).rglob("*"):
            if path.suffix in READ_ENDINGS and path.relative_to(folder).as_posix() not in known:
                raise InputError(f"{path} is no file of the model that was saved.", "remove it")


def _network(folder: Path, facts: ModelFacts, code: str | None, build: Callable[[], nn.Module] | None) -> Network:
    if facts["body"]["kind"] == WIDE_AND_DEEP:
        whole, terms = load_wide_and_deep(folder, facts["body"])
        return Network(Model(whole, nn.Identity(), facts["pooling"]).eval(), terms)
    body, inputs = _body(folder, facts, code, build)
    if facts["pooling"] == UNPOOLED and inputs.tokens is not None:
        return _writer(folder, facts, body, inputs.tokens)
    columns = load_columns(folder / COLUMN_FOLDER, TRAIN_AGAIN) if facts.get("columns") else None
    weights = read_tensors(folder / "head.safetensors", TRAIN_AGAIN)
    with reading_ours(folder / "head.safetensors", TRAIN_AGAIN):
        head = sized_head(weights) if columns is None else sized_column_head(weights, columns.width, columns.most)
        _fill(head, folder / "head.safetensors", weights)
    return Network(Model(body, head, facts["pooling"]).eval(), beside_columns(inputs, columns))


def _fill(module: nn.Module, path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Raises InputError where the file lacks weights that the module has, or has others."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise damaged(path, " ".join(str(error).split("\n")[1:2]).strip() or str(error), TRAIN_AGAIN) from error


LANGUAGE_INPUTS: dict[str, Any] = {"conversations": Conversations, "documents": Documents, "masked": Masked}


def _writer(folder: Path, facts: ModelFacts, body: nn.Module, tokens: Tokens) -> Network:
    """A body with the output layer that lies beside its weights, or that of the base that its adapters are for.

    Where that base has none, it is the one that learned with the adapters.
    """
    known = dict(facts["inputs"])
    kind, length = known.pop("kind"), known.pop("max_length")
    said = facts["body"]
    own = folder / "body" if said["kind"] == "transformers" else None
    base = find_base(str(own), max_length=length) if own else base_of_adapters(folder, said, length)
    head = LanguageHead.of(body, language_output(base))
    if head.fresh:
        if not (folder / "head.safetensors").exists():
            raise InputError(
                f"{folder} lacks the output layer that its adapters were trained with: earlier versions left it out.",
                "train again",
            )
        _fill(head, folder / "head.safetensors", read_tensors(folder / "head.safetensors", TRAIN_AGAIN))
    inputs: Inputs
    if kind == "pairs":
        answers = {**known["answers"], "never": tuple(known["answers"]["never"])}
        inputs = Seq2Seq(tokens.folder, length, Answers(**answers), known["without"])
    else:
        inputs = LANGUAGE_INPUTS[kind](tokens.folder, length, **known)
    return Network(Model(body, head, UNPOOLED).eval(), inputs)


def _adapter(folder: Path, body: nn.Module, base: Base) -> dict[str, Any]:
    """What adapters are for, with the SHA-256 of its files: on another base they would give other numbers."""
    quantized = any(type(module).__name__ == "Linear4bit" for module in body.modules())
    quantize = "nf4" if quantized else None
    return {
        "kind": "adapter",
        "base": _base_name(folder, base),
        "quantize": quantize,
        "files": fingerprint(base.location),
    }


def _base_name(folder: Path, base: Base) -> str:
    """As the user named it; a path as one that holds wherever run and base are moved together."""
    return portable_path(Path(base.name), folder) if Path(base.name).exists() else base.name


def base_of_adapters(folder: Path, said: dict[str, Any], length: int) -> Base:
    """The base that the adapters in `folder` were trained on. Raises MissingError where it is not here, InputError
    where it is no longer what it was.
    """
    name = str(said["base"])
    try:
        base = find_base(str(find_portable(name, folder) or name), max_length=length)
    except MissingError as error:
        raise MissingError(f"{folder} holds adapters for the base {name!r}, which is not here.", error.hint) from error
    require_unchanged(base, said.get("files") or {}, name, f"the adapters in {folder} were trained on")
    return base


def _body(
    folder: Path, facts: ModelFacts, code: str | None, build: Callable[[], nn.Module] | None
) -> tuple[nn.Module, Inputs]:
    said = facts["body"]
    length = facts["inputs"].get("max_length", 0)
    if said["kind"] == "transformers":
        base = find_base(str(folder / "body"), max_length=length)
        return Pretrained(base).body(0), Tokens(base.location, length)
    if said["kind"] == IMAGE_NETWORK:
        return load_image_network(folder, said, facts["inputs"])
    if said["kind"] == "adapter":
        base = base_of_adapters(folder, said, length)
        bare = Pretrained(base).body(0)
        if said["quantize"]:
            quantize(bare, linear_names(bare))
        return load_adapter(bare, folder / "adapter"), Tokens(base.location, length)
    if said["kind"] == "hashed network":
        size = TypeAdapter(Size).validate_python(said["size"])
        weights = read_tensors(folder / "body.safetensors", TRAIN_AGAIN)
        if size.depth > len(weights):  # before anything is built
            raise damaged(folder / "model.json", f"it announces {size.depth:,} blocks", TRAIN_AGAIN)
        with torch.device("meta"):  # without memory: model.json may announce what no file holds
            planned = HashedNetwork(size)().state_dict()
        if {n: t.shape for n, t in planned.items()} != {n: t.shape for n, t in weights.items()}:
            raise damaged(folder / "body.safetensors", "its weights are not of the size in model.json", TRAIN_AGAIN)
        own: nn.Module = HashedNetwork(size)()
        own.load_state_dict(weights)
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
        own.load_state_dict(read_tensors(folder / "body.safetensors", TRAIN_AGAIN))
    except RuntimeError as error:
        raise UsageError(
            f"the weights in {folder} do not fit the given code: {str(error).splitlines()[1].strip()}",
            "name the code that it was trained with",
        ) from error
    return own, inputs
