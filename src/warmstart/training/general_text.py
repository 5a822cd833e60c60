"""General text: which text measures forgetting, and which is replayed, if the user has provided none?

Samples from the base's own distribution: no other text is needed, and the fine-tuned model is tested on what the base
knew best. Sampled once per base and kept in a file.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from warmstart.errors import UsageError
from warmstart.models.lm_head import LogitsHead
from warmstart.models.model import Model
from warmstart.models.partial_forward import prefix_fingerprint
from warmstart.runtime.distributed import world
from warmstart.runtime.files import read_json, write_json
from warmstart.runtime.lock import locked

TEXTS, TOKENS = 32, 64  # sampled at once, each of so many tokens: both models read them to measure
GENERAL_TEXT_SEED = 20240607  # any fixed number: the same base is asked about the same text
MOST_SAMPLED = 16  # times that many texts, for replay


def replay_text(base: Model, tokenizer: Any, folder: Path, rows: int) -> list[str]:
    """Enough sampled text for `rows` rows, but at most `MOST_SAMPLED` times `TEXTS`.

    It shares nothing with the text that `sampled_text` returns for measuring: replayed text cannot test forgetting.
    """
    draws = min(MOST_SAMPLED, max(1, -(-rows // TEXTS)))
    found = [
        text for i in range(draws) for text in sampled_text(base, tokenizer, folder, seed=GENERAL_TEXT_SEED + 1 + i)
    ]
    measured = set(sampled_text(base, tokenizer, folder))
    return [text for text in dict.fromkeys(found) if text not in measured]


def sampled_text(
    base: Model, tokenizer: Any, folder: Path, texts: int = TEXTS, tokens: int = TOKENS, seed: int = GENERAL_TEXT_SEED
) -> list[str]:
    """Text sampled from the base: `texts` times `tokens` tokens, split where the base ended a text.

    `folder` caches it by the content of the base. Only the main process samples, once.
    """
    asked = f"{prefix_fingerprint(base, None)} {texts} {tokens} {seed}"
    path = folder / f"sampled-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"

    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if first is None:
        raise UsageError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no token that begins a text: nothing can be sampled.",
            "give general text with --general-text FILE",
        )

    def said() -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait=True):  # of two studies that begin together one samples
            return known()

    def known() -> list[str]:
        if not path.exists():
            rows = sample_from_base(base, first, texts, tokens, seed)
            pieces = [piece for row in rows for piece in _cut(row, tokenizer.eos_token_id)]
            decoded = [tokenizer.decode(piece, skip_special_tokens=True) for piece in pieces]
            write_json(path, [text for text in decoded if text.strip()])
        return read_json(path, list[str], "delete it: it is made again")

    return world().on_main(said)


@torch.no_grad()
def sample_from_base(
    base: Model, first: int, texts: int, tokens: int, seed: int = GENERAL_TEXT_SEED
) -> list[list[int]]:
    """Token ids of so many texts, each of so many tokens after `first`.

    Ancestral sampling from the base's own distribution: temperature 1, no truncation. Deterministic for a seed.
    """
    base.eval()
    head = cast(LogitsHead, base.head)
    generator = torch.Generator().manual_seed(seed)
    newest = torch.full((texts, 1), first, device=next(base.parameters()).device)
    past, read, said = None, newest, []
    for _ in range(tokens):
        found: Any = base.body(input_ids=read, past_key_values=past, use_cache=True)
        past = getattr(found, "past_key_values", None)
        chances = head.logits(found.last_hidden_state[:, -1]).float().softmax(-1)
        newest = torch.multinomial(chances.cpu(), 1, generator=generator).to(newest.device)
        said.append(newest.cpu())
        read = torch.cat([read, newest], dim=1) if past is None else newest  # recurrent bodies remember in another way
    return cast(list[list[int]], torch.cat(said, dim=1).tolist())


def _cut(row: Sequence[int], end: int | None) -> list[list[int]]:
    """A row split into texts, without their end tokens; what follows an end token starts the next text."""
    pieces: list[list[int]] = [[]]
    for number in row:
        if number == end:
            pieces.append([])
        else:
            pieces[-1].append(number)
    return [piece for piece in pieces if piece]
