"""GGUF import: how does a GGUF file become a folder that `from_pretrained` loads? Converted once and kept.

Reading a GGUF file of 98 MB takes 40 s, the converted folder one second. Weights are stored in fp32: in 4-bit blocks
they could be neither trained nor saved.
"""

import functools
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

from warmstart.errors import MissingError, UsageError, join_phrases, shorten
from warmstart.models.pretrained.gguf import Header, install_hint, read_header
from warmstart.runtime.files import cache_folder, sync
from warmstart.runtime.load_pretrained import load_gguf
from warmstart.runtime.lock import locked

CONVERSION_VERSION = 1  # raised when the same file would give another folder


def convert(file: Path) -> Path:
    """The folder with config.json, model.safetensors and tokenizer for this GGUF file, created if needed.

    Raises InputError for a damaged file, MissingError without the package `gguf`, UsageError for a model that is no
    decoder or whose folder cannot be written.
    """
    status = file.stat()
    folder = (
        cache_folder()
        / "bases"
        / f"{file.stem}-{CONVERSION_VERSION}-{_digest(file, status.st_size, status.st_mtime_ns)[:16]}"
    )
    if folder.exists():
        return folder
    header = read_header(file)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent, wait=True):
            if not folder.exists():  # another process may have made it meanwhile
                _make(file, header, folder)
    except OSError as error:
        raise UsageError(
            f"{file} could not be converted into {folder.parent}: {error}",
            "make room there, or name another folder in the variable XDG_CACHE_HOME",
        ) from error
    return folder


@functools.cache
def _digest(file: Path, size: int, changed: int) -> str:
    """Digest of the file's content: other files may have the same name and size."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _make(file: Path, header: Header, folder: Path) -> None:
    """Write the folder under a temporary name, sync it, then rename it: a folder with the final name is complete."""
    print(f"Converting {file.name} into {folder} (once, about a minute)", file=sys.stderr, flush=True)
    staging = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir()
    try:
        _write(file, header, staging)
        for path in (*staging.iterdir(), staging):
            sync(path)
        staging.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(file: Path, header: Header, folder: Path) -> None:
    from safetensors import SafetensorError

    try:
        model, missing, tokenizer = load_gguf(file)
    except ImportError as error:
        raise MissingError(f"{file} could not be read: {str(error).splitlines()[0]}", install_hint()) from error
    except Exception as error:  # a wrong value in the file raises anything
        kind = header.facts.get("general.architecture")
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"{file} holds a model of kind {shorten(kind)} that could not be read: {said[:500]}",
            "name a decoder of a kind that transformers reads from GGUF, or a folder with safetensors",
        ) from error
    if missing:
        raise UsageError(
            f"{file} lacks weights that its model needs: {join_phrases(missing, 3)}.",
            "take another copy, or a folder with safetensors",
        )
    tokenizer.model_max_length = model.config.max_position_embeddings
    split_as_said(tokenizer, header)
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # a full disk is an error of its own there
        raise OSError(str(error)) from error


def split_as_said(tokenizer: Any, header: Header) -> None:
    """Make SmolLM's tokenizer split off digits first; transformers mistakes it for GPT-2's, which does not.

    That matters where several spaces come before a number. (`tokenizer.ggml.pre` in the file: "smollm".)
    """
    from tokenizers import pre_tokenizers

    if header.facts.get("tokenizer.ggml.pre") == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
