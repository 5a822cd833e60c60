"""New architecture: how is a model of a given size built, with its own tokenizer, without a base?"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from warmstart.data.encoding.inputs import Tokens
from warmstart.data.encoding.train_tokenizer import train_tokenizer, vocabulary_size
from warmstart.data.tables.strings import Texts
from warmstart.errors import UsageError
from warmstart.models.causal_lm import BaseKind
from warmstart.models.pretrained.base import Base, find_base
from warmstart.models.pretrained.sizes import SizedConfig, SpecialTokens, config_of_size


def new_architecture(
    folder: Path,
    kind: BaseKind,
    parameters: int,
    texts: Sequence[str],
    max_length: int,
    base: Base | None,
) -> Base:
    """Write the architecture for `scratch` to `folder`, once: config.json and a tokenizer, without weights.

    The tokenizer is that of `base`; None: one trained on the texts. Raises UsageError for a size too small for it.
    """
    if kind == "encoder-decoder":
        raise UsageError(
            "no encoder-decoder of a given size can be built.",
            "leave out --parameters, or name a base that is a decoder",
        )
    assert kind != "image", "networks for images are built elsewhere"
    if not (folder / "config.json").exists():
        if base is None:
            size = int(Texts.of(texts).sizes().sum())
            tokenizer = train_tokenizer(texts, size, vocabulary_size(size, parameters), max_length, folder)
        else:
            tokenizer = Tokens(base.location, max_length).tokenizer
            tokenizer.save_pretrained(folder)
        try:
            config_of_size(
                SizedConfig(kind, parameters, len(tokenizer), max_length, _special(tokenizer))
            ).save_pretrained(folder)
        except UsageError:
            shutil.rmtree(folder)  # nothing of it is of use
            raise
    return find_base(str(folder), max_length=max_length)


def _special(tokenizer: Any) -> SpecialTokens:
    return SpecialTokens(tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
