"""Starts: where do the weights of a model come from: a base, or random initialization?"""

import ast
import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, get_args

import torch
from torch import nn

from warmstart.data.encoding.inputs import Inputs
from warmstart.data.encoding.pixels import Pixels
from warmstart.data.features.column_inputs import FeaturesBeside, beside_columns, fit_columns
from warmstart.data.features.hashed_words import HashedWords
from warmstart.data.rows.split import Rows
from warmstart.data.schema.columns import Column
from warmstart.errors import UsageError
from warmstart.models.attention import attend_row_by_row
from warmstart.models.causal_lm import PAIRED, auto_class, new_output_layer
from warmstart.models.cnn import cnn_size
from warmstart.models.dnn import HashedNet, Size
from warmstart.models.encoder_decoder import EncoderDecoder
from warmstart.models.image_network import ImageNetworkConfig
from warmstart.models.lm_head import LanguageHead
from warmstart.models.pretrained.base import (
    Base,
    body_of,
    config_of,
    freeze_buffers,
    language_output,
    special_tokens,
    without_pooler,
)
from warmstart.models.pretrained.image_base import build_image_body, read_image_body
from warmstart.settings.choices import Init as Init
from warmstart.tasks.task import Task

INITS: tuple[Init, ...] = get_args(Init)


class Start(Protocol):
    """Inputs, a body, and how the body's hidden states are pooled."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def base(self) -> Base | None:
        """The base whose weights it starts from; None: random weights."""
        ...

    @property
    def build(self) -> Callable[[], nn.Module]:
        """Builds the body's architecture with random weights."""
        ...

    @property
    def hugging_face(self) -> bool:
        """Whether the body is a Hugging Face model, saved and loaded as such."""
        ...

    @property
    def size(self) -> Size | None:
        """Size of a deep network that can be searched; None: the size is fixed."""
        ...

    @property
    def inputs(self) -> Inputs: ...
    @property
    def columns(self) -> FeaturesBeside | None:
        """What the head reads beside the features of the body; None: nothing, or not fitted to rows yet."""
        ...

    @property
    def pooling(self) -> str: ...
    @property
    def head(self) -> Mapping[str, torch.Tensor] | None:
        """The weights that the head of a task begins with; None: random ones."""
        ...

    @property
    def dropout(self) -> float | None:
        """The requested dropout of body and head; None: their own."""
        ...

    def resized(self, size: Size) -> "Start":
        """The same start with a deep network of another size; itself if the size is fixed."""
        ...

    def fitted(self, task: Task, rows: Rows, columns: Sequence[Column]) -> "Start":
        """The start fitted to these training rows, if its inputs depend on them; otherwise itself."""
        ...

    def shortened(self, max_length: int) -> "Start":
        """The same start reading at most so many tokens of a text."""
        ...

    def body(self, seed: int) -> nn.Module: ...
    def language_head(self, body: nn.Module) -> nn.Module:
        """The head that scores the tokens, for this start's body."""
        ...


@dataclass(frozen=True)
class Pretrained:
    """The base's weights."""

    base: Base
    dropout: float | None = None  # None: the base's own
    columns: FeaturesBeside | None = None

    family = "fine-tuned"
    hugging_face = True
    size = None
    head = None

    @property
    def build(self) -> "Architecture":
        return Architecture(self.base, self.dropout)

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def inputs(self) -> Inputs:
        return beside_columns(self.base.inputs, self.columns)

    @property
    def pooling(self) -> str:
        return self.base.pooling

    def resized(self, size: Size) -> "Pretrained":
        return self

    def fitted(self, task: Task, rows: Rows, columns: Sequence[Column]) -> "Pretrained":
        """The same with the columns beside the text as these training rows have them; itself where it has been
        fitted."""
        if self.columns is not None or task.learns_language:
            return self
        found = fit_columns(self.base.inputs, rows, columns)
        return self if found is None else replace(self, columns=found)

    def shortened(self, max_length: int) -> "Pretrained":
        return replace(self, base=replace(self.base, max_length=max_length))

    def body(self, seed: int) -> nn.Module:
        """A new copy of the body. The seed affects only weights that the base lacks: the cross-attention of a joined
        encoder-decoder.
        """
        if self.base.kind == "image":
            return read_image_body(self.base)
        body = body_of(self.base, self.dropout)
        if not self.base.joined:
            return body
        with random_state(seed):
            return EncoderDecoder.tied(body, special_tokens(self.base))

    def language_head(self, body: nn.Module) -> nn.Module:
        """The base's own; a fresh one on its token table where its files hold none."""
        return LanguageHead.of(body, language_output(self.base, self.dropout))


@dataclass(frozen=True)
class Scratch:
    """Random weights, drawn from the seed, in any architecture.

    `build` makes the body: a module that is called with a batch of `reads` and returns features [n, d] or hidden
    states [n, t, d]; it has an int `width` = d, or a `config.hidden_size`.
    """

    build: Callable[[], nn.Module]
    reads: Inputs
    pooling: str = "mean"
    init: Init = "default"
    name: str = "random weights"
    dropout: float | None = None  # of the head; the body's is the matter of `build`
    columns: FeaturesBeside | None = None

    family = "scratch"
    base = None
    head = None

    @property
    def hugging_face(self) -> bool:
        return isinstance(self.build, Architecture)

    @property
    def size(self) -> Size | None:
        return self.build.size if isinstance(self.build, HashedNetwork) else None

    def resized(self, size: Size) -> "Scratch":
        return self if self.size is None else replace(self, build=HashedNetwork(size))

    @property
    def inputs(self) -> Inputs:
        return beside_columns(self.reads, self.columns)

    def fitted(self, task: Task, rows: Rows, columns: Sequence[Column]) -> "Scratch":
        """As `Pretrained.fitted`."""
        if self.columns is not None or task.learns_language:
            return self
        found = fit_columns(self.reads, rows, columns)
        return self if found is None else replace(self, columns=found)

    def shortened(self, max_length: int) -> "Scratch":
        tokens = self.reads.tokens
        if tokens is None:
            return self
        return replace(self, reads=replace(tokens, max_length=min(tokens.max_length, max_length)))

    def body(self, seed: int) -> nn.Module:
        with random_state(seed):
            body = self.build()
            initialize(body, self.init)
        attend_row_by_row(body)
        return body

    def language_head(self, body: nn.Module) -> nn.Module:
        """As the architecture's own code draws it."""
        config = getattr(body, "config", None)
        if config is None:
            raise UsageError(
                f"{self.name} cannot be trained as a language model: it is no architecture of Hugging Face's.",
                "use a regime with the base's own architecture, such as scratch",
            )
        return LanguageHead.of(body, new_output_layer(config))


@dataclass(frozen=True)
class Architecture:
    """Builds the base's own architecture with random weights, as its own code initializes them."""

    base: Base
    dropout: float | None = None
    layers: float = 1.0  # share of the base's layers

    def __call__(self) -> nn.Module:
        from transformers import AutoModel

        if self.base.kind == "image":
            return build_image_body(self.base)
        config = config_of(self.base, self.dropout)
        if config.model_type == PAIRED:
            return EncoderDecoder.of(auto_class("encoder-decoder").from_config(config, trust_remote_code=False).float())
        if self.layers < 1.0:
            config.num_hidden_layers = max(1, round(self.layers * config.num_hidden_layers))
            if getattr(config, "layer_types", None):  # one for each, as in Llama's configuration
                config.layer_types = config.layer_types[: config.num_hidden_layers]
        body: nn.Module = AutoModel.from_config(config, trust_remote_code=False)
        return freeze_buffers(without_pooler(body).float())


@dataclass(frozen=True)
class HashedNetwork:
    """Builds the residual network on hashed words."""

    size: Size = field(default_factory=Size)

    def __call__(self) -> nn.Module:
        return HashedNet(self.size)


def dnn(size: Size) -> Scratch:
    """The residual network on hashed words, from random weights."""
    return Scratch(HashedNetwork(size), HashedWords(size.features), pooling="mean")


def small_cnn(inputs: Pixels, rows: int, init: Init, dropout: float | None) -> Scratch:
    """A residual network for images with random weights, sized for so many training rows."""
    size = cnn_size(rows, inputs.size)
    config = ImageNetworkConfig("small cnn", size.side, {"width": size.width, "blocks": size.blocks})
    return Scratch(config.build, inputs, "mean", init, dropout=dropout)


@contextlib.contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Context in which torch's random numbers come from `seed`; the previous state is restored afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def initialize(body: nn.Module, init: Init) -> None:
    """Reinitialize the weight matrices: Xavier (Glorot and Bengio 2010), He (He et al. 2015) or normal with sd 0.02.

    'default' keeps the architecture's own. Vectors (biases, norms) are not changed.
    """
    draw: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "xavier": nn.init.xavier_uniform_,
        "he": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
        "normal": lambda w: nn.init.normal_(w, std=0.02),
    }
    if init == "default":
        return
    for parameter in body.parameters():
        if parameter.ndim > 1:
            draw[init](parameter)


def named_in_file(spec: str, vocabulary: int) -> Callable[[], nn.Module]:
    """Check a `file.py:name` like `from_file` for a request: the code is parsed, not run, and nothing can be built."""
    path, function = _file_and_function(spec)
    try:
        names = {part.id if isinstance(part, ast.Name) else getattr(part, "name", "") for part in _named(path)}
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid Python: {error}.", "correct it") from error
    if function not in names:
        raise _no_function(path, function)

    def build() -> nn.Module:
        raise AssertionError("a look at a request builds nothing")

    return build


def _named(path: str) -> list[ast.AST]:
    """Every name bound anywhere in a file: by definitions, assignments, imports."""
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Name, ast.alias)
    return [part for part in ast.walk(ast.parse(Path(path).read_bytes())) if isinstance(part, kinds)]


def _file_and_function(spec: str) -> tuple[str, str]:
    path, _, function = spec.partition(":")
    if not function or not Path(path).is_file():
        raise UsageError(f"--model {spec!r} does not name a file and a function.", "write it as path/to/file.py:build")
    return path, function


def _no_function(path: str, function: str) -> UsageError:
    return UsageError(f"{path} has no function {function!r}.", "name a function that returns a torch.nn.Module")


def from_file(spec: str, vocabulary: int) -> Callable[[], nn.Module]:
    """`file.py:build`: a function that is called with the vocabulary's size and gives a body. Runs that file's code."""
    path, function = _file_and_function(spec)
    module_spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    build = getattr(module, function, None)
    if not callable(build):
        raise _no_function(path, function)
    return functools.partial(build, vocabulary)
