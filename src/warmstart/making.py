"""Making: an architecture of a size of one's own, with a tokenizer for its texts, where no base is to be copied."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from warmstart.data.inputs import Tokens
from warmstart.data.texts import Texts
from warmstart.data.tokenizer import train_tokenizer, vocabulary_size
from warmstart.errors import UsageError
from warmstart.models.sized import Sized, Special, sized
from warmstart.models.whole import Kind
from warmstart.weights import Base, find_base


def made(
    folder: Path,
    kind: Kind,
    parameters: int,
    texts: Sequence[str],
    max_length: int,
    base: Base | None,
) -> Base:
    """What `scratch` is built like: config.json and a tokenizer in `folder`, and no weights; made once.

    The tokenizer is that of `base`; None: one trained on the texts. Raises UsageError for a size too small for it.
    """
    if kind == "encoder-decoder":
        raise UsageError(
            "no encoder-decoder of a given size can be built.",
            "leave out --parameters, or name a base that is a decoder",
        )
    if not (folder / "config.json").exists():
        if base is None:
            size = int(Texts.of(texts).sizes().sum())
            tokenizer = train_tokenizer(texts, size, vocabulary_size(size, parameters), max_length, folder)
        else:
            tokenizer = Tokens(base.location, max_length).tokenizer
            tokenizer.save_pretrained(folder)
        try:
            sized(Sized(kind, parameters, len(tokenizer), max_length, _special(tokenizer))).save_pretrained(folder)
        except UsageError:
            shutil.rmtree(folder)  # nothing of it is of use
            raise
    return find_base(str(folder), max_length=max_length)


def _special(tokenizer: Any) -> Special:
    return Special(tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
