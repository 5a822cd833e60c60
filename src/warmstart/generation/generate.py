"""Generate: how does a decoder continue a prompt token by token, alone or with an encoder that has read it?

With `generate` of transformers and its cache, in batches. Two things are added that it cannot do: prompts are read
without much padding (`kv_cache`), and a text that has ended leaves the batch. `generate` is then called again for the
others, so that one long answer does not cost as much as many.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.errors import InputError
from warmstart.generation.kv_cache import TOKENS_AT_ONCE, ReadPrefix, read_prompts, remembers_tokens, similar
from warmstart.models.causal_lm import causal_lm
from warmstart.models.lm_head import LanguageHead
from warmstart.models.pretrained.locate import positions
from warmstart.training.event import check_deadline
from warmstart.types import Array

TEXTS_AT_ONCE = 64


class TokenConstraint(Protocol):
    """What one answer may consist of, token by token."""

    def mask(self) -> Tensor:
        """Which tokens may come next, bool [vocabulary]."""
        ...

    def take(self, token: int) -> None:
        """The token that was chosen."""
        ...

    def closed(self, most: int) -> list[int]:
        """The answer, complete in at most so many tokens: one that was cut off is shortened until it can be ended."""
        ...


def generate(
    body: nn.Module,
    head: LanguageHead,
    prompts: Sequence[Array],
    *,
    stop: set[int],
    most: int,
    allowed: Callable[[], TokenConstraint] | None = None,
    opening: Sequence[int] = (),
    never: Sequence[int] = (),
    prefix: ReadPrefix | None = None,
    deadline: float = math.inf,
) -> list[list[int]]:
    """The greedy answer to each prompt: token ids, without the one of `stop` that ended them.

    Parameters
    ----------
    body : a decoder, or an encoder-decoder, in evaluation mode as `AutoModel` gives it
    prompts : token ids, int [tokens] each
    most : tokens of an answer, at most; with its prompt it has no more than the body can read
    allowed : gives a new constraint for each answer
    opening : of an encoder-decoder, the tokens that an answer is written after
    never : tokens that are not chosen
    prefix : what the body has read before of all prompts
    deadline : by `time.perf_counter()`; no batch is begun after it

    Raises InputError for a prompt that leaves no room for an answer, OutOfTime after the deadline.
    """
    rooms = [_room(body, prompt, i, most, opening) for i, prompt in enumerate(prompts)]
    answers: list[list[int]] = [[] for _ in prompts]
    model = _model(body, head)
    lengths = [len(prompt) for prompt in prompts]
    for some in _batches(lengths, rooms, alike=not opening and not remembers_tokens(body)):
        check_deadline(deadline)
        guides = [allowed() for _ in some] if allowed else None
        texts = _Texts(model, [prompts[i] for i in some], opening, never, prefix)
        for i, answer in zip(some, _answers(texts, [rooms[i] for i in some], stop, guides), strict=True):
            answers[i] = answer
    return answers


def stream_tokens(
    body: nn.Module,
    head: LanguageHead,
    prompt: Array,
    *,
    stop: set[int],
    most: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    opening: Sequence[int] = (),
    never: Sequence[int] = (),
) -> Iterator[int]:
    """Token ids one by one, as they are chosen: drawn from the seed, at temperature 0 the likeliest.

    `top_p`: only the likeliest tokens that make up this share of the probability are drawn from (Holtzman et al. 2020).
    """
    room = _room(body, prompt, 0, most, opening)
    texts = _Texts(_model(body, head), [prompt], opening, never)
    sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0} if temperature else {}
    seeds = torch.Generator().manual_seed(seed)
    for _ in range(room):
        with torch.random.fork_rng(devices=[texts.device] if texts.device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**62, (), generator=seeds)))
            [[token]] = texts.write(1, **sampling)
        if token in stop:
            return
        yield token


def decode_stream(tokenizer: Any, tokens: Iterable[int], before: Sequence[int] = ()) -> Iterator[str]:
    """The text of tokens that come after those `before`, in pieces, each as soon as its last character is complete.

    `tokenizer` is a fast one of transformers. Joined, the pieces are what it decodes from all tokens at once, special
    tokens left out.
    """
    # What a token spells depends on the one before it (a space at the start of a text is dropped), never on many more:
    # decode from the last finished piece on, and give what goes beyond it.
    before = list(before)
    pending: list[int] = []
    for token in tokens:
        pending.append(token)
        old, new = (tokenizer.decode(ids, skip_special_tokens=True) for ids in (before, before + pending))
        if new.endswith("\N{REPLACEMENT CHARACTER}") and len(pending) < 4:  # four bytes at most make a character
            continue
        if new[len(old) :]:
            yield new[len(old) :]
            before, pending = pending, []
    if pending:
        old, new = (tokenizer.decode(ids, skip_special_tokens=True) for ids in (before, before + pending))
        yield new[len(old) :]


def cache_bytes(body: nn.Module, head: LanguageHead, prompt: Array, opening: Sequence[int] = ()) -> float:
    """Bytes that stay of each token that is read until its answer is written: keys and values, an encoder's output."""
    texts = _Texts(_model(body, head), [prompt], opening)
    texts.write(1)
    return sum(tensor.nbytes for tensor in texts.kept()) / len(prompt)


def padded_batches(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Which prompts of these lengths are answered together, if an answer has at most so many tokens; longest first."""
    return list(_batches(lengths, [most] * len(lengths)))


def context_length(body: nn.Module) -> int:
    """Tokens that the body can read, prompt and answer together."""
    parts: Any = [getattr(body.config, name, None) for name in ("encoder", "decoder")]
    known = (body.config, *parts) if all(parts) else (body.config,)
    return min(
        positions(config.model_type, int(getattr(config, "max_position_embeddings", None) or 1_000_000))
        for config in known
    )


class _Texts:
    """Some prompts, the longest first, and what was written after them so far: a row each."""

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Array],
        opening: Sequence[int] = (),
        never: Sequence[int] = (),
        prefix: ReadPrefix | None = None,
    ):
        self.model, self.never = model, list(never) or None
        self.device = next(model.parameters()).device
        self.keeps_all = bool(opening) or remembers_tokens(model.base_model)
        self.cache: Any = None
        self.source: Tensor | None = None
        self._read(prompts, opening, prefix)

    @torch.inference_mode()
    def _read(self, prompts: Sequence[Array], opening: Sequence[int], prefix: ReadPrefix | None) -> None:
        """All of the prompts but what `generate` is to read: their last tokens, or the opening."""
        if opening:
            self.source, self.source_mask = self._encoded(prompts)
            self.ids = torch.tensor(opening, device=self.device).repeat(len(prompts), 1)
            self.mask = torch.ones_like(self.ids)
        elif self.keeps_all:
            self.cache, read = read_prompts(self.model.base_model, prompts, prefix)
            self.mask = nn.functional.pad(read, (0, 1), value=1)
            self.ids = torch.zeros_like(self.mask)  # of what is in the cache, nothing but the number is asked
            self.ids[:, -1] = torch.tensor([int(prompt[-1]) for prompt in prompts], device=self.device)
        else:  # equally long ones
            self.ids = torch.from_numpy(np.stack(prompts).astype(np.int64)).to(self.device)
            self.mask = torch.ones_like(self.ids)

    def _encoded(self, prompts: Sequence[Array]) -> tuple[Tensor, Tensor]:
        """Hidden states of the encoder, [n, longest, d], and their mask."""
        lengths = [len(prompt) for prompt in prompts]
        tokens, mask = np.zeros((2, len(prompts), lengths[0]), dtype=np.int64)
        for i, prompt in enumerate(prompts):
            tokens[i, : len(prompt)], mask[i, : len(prompt)] = prompt, 1
        ids, seen = torch.from_numpy(tokens).to(self.device), torch.from_numpy(mask).to(self.device)
        found = []
        for part in similar(lengths, self.device):
            width = lengths[part.start]
            read = self.model.get_encoder()(input_ids=ids[part, :width], attention_mask=seen[part, :width])
            found.append(nn.functional.pad(read.last_hidden_state, (0, 0, 0, lengths[0] - width)))
        return torch.cat(found), seen

    @torch.inference_mode()
    def write(self, most: int, ends: Any = None, constraint: Any = None, **sampling: Any) -> list[list[int]]:
        """At most so many tokens after each text, until `ends` says so; the texts then contain them."""
        from transformers import GenerationConfig

        before = self.ids.shape[1]
        settings = GenerationConfig(
            max_new_tokens=most,
            pad_token_id=0,
            suppress_tokens=self.never,
            decoder_start_token_id=None if self.source is None else int(self.ids[0, 0]),
            return_dict_in_generate=True,
            **sampling,
        )
        found = self.model.generate(
            **self._given(),
            generation_config=settings,
            stopping_criteria=[ends] if ends else [],
            logits_processor=[constraint] if constraint else [],
        )
        self.ids = found.sequences
        self.mask = nn.functional.pad(self.mask, (0, self.ids.shape[1] - before), value=1)
        self.cache = found.past_key_values if self.keeps_all else None
        written: list[list[int]] = self.ids[:, before:].tolist()
        return written

    def _given(self) -> dict[str, Any]:
        past = {} if self.cache is None else {"past_key_values": self.cache}
        if self.source is None:
            return {"input_ids": self.ids, "attention_mask": self.mask, **past}
        from transformers.modeling_outputs import BaseModelOutput

        return {
            "encoder_outputs": BaseModelOutput(last_hidden_state=self.source),
            "attention_mask": self.source_mask,
            "decoder_input_ids": self.ids,
            "decoder_attention_mask": self.mask,
            **past,
        }

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets all texts but these."""
        index = torch.tensor(rows, device=self.device)
        self.ids, self.mask = self.ids[index], self.mask[index]
        if self.cache is not None:
            self.cache.batch_select_indices(index)
        if self.source is not None:
            self.source, self.source_mask = self.source[index], self.source_mask[index]

    def kept(self) -> list[Tensor]:
        """What is remembered of what was read."""
        if self.cache is None:
            return []
        pair = self.source is not None
        parts = (self.cache.self_attention_cache, self.cache.cross_attention_cache) if pair else (self.cache,)
        found = [tensor for part in parts for layer in part.layers for tensor in (layer.keys, layer.values)]
        return found if self.source is None else [self.source, *found]


def _answers(
    texts: _Texts, rooms: Sequence[int], stop: set[int], guides: Sequence[TokenConstraint] | None
) -> list[list[int]]:
    """Of one batch, until every text has ended."""
    answers: list[list[int]] = [[] for _ in rooms]
    growing = list(range(len(rooms)))
    while growing:
        some = [guides[i] for i in growing] if guides else []

        def ends(ids: Tensor, scores: Tensor, some: Sequence[TokenConstraint] = some) -> Tensor:
            tokens = ids[:, -1].tolist()
            for guide, token in zip(some, tokens, strict=False):
                if token not in stop:
                    guide.take(token)
            return torch.full((len(tokens),), any(token in stop for token in tokens), device=ids.device)

        def constraint(ids: Tensor, scores: Tensor, some: Sequence[TokenConstraint] = some) -> Tensor:
            may = torch.stack([guide.mask() for guide in some]).to(scores.device)
            may = nn.functional.pad(may, (0, scores.shape[1] - may.shape[1]))  # vocabularies are padded to round sizes
            return scores.masked_fill(~may, -torch.inf)

        most = min(rooms[i] - len(answers[i]) for i in growing)
        written = texts.write(most, ends, constraint if some else None)
        going = []
        for place, (i, tokens) in enumerate(zip(growing, written, strict=True)):
            answers[i] += tokens[:-1] if tokens[-1] in stop else tokens
            if tokens[-1] not in stop and len(answers[i]) < rooms[i]:
                going.append(place)
        if going and len(going) < len(growing):
            texts.keep(going)
        growing = [growing[place] for place in going]
    return [guide.closed(room) for guide, room in zip(guides, rooms, strict=True)] if guides else answers


def _model(body: nn.Module, head: LanguageHead) -> Any:
    """Both as one model of transformers that shares their weights. Its settings for generation are ours alone."""
    from transformers import GenerationConfig

    assert not body.training, "with dropout every answer is another"
    model = causal_lm(body, head.output())
    model.generation_config = GenerationConfig()
    return model


def _room(body: nn.Module, prompt: Array, i: int, most: int, opening: Sequence[int]) -> int:
    """Tokens that the answer may have."""
    reads = context_length(body)
    if opening:  # what is read takes no room from what is written
        return min(most, reads - len(opening))
    if not 0 < len(prompt) < reads:
        raise InputError(
            f"prompt {i + 1} has {len(prompt):,} tokens: the model reads 1 to {reads - 1:,} and needs room to answer.",
            "shorten the text, or let long documents be cut",
        )
    return min(most, reads - len(prompt))


def _batches(lengths: Sequence[int], rooms: Sequence[int], alike: bool = False) -> Iterator[list[int]]:
    """Which texts go together: the longest prompts first, at most so many texts and so many tokens at once.

    `alike`: only prompts of the same length.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        room = max(rooms[i] for i in order[:TEXTS_AT_ONCE])
        count = min(TEXTS_AT_ONCE, max(1, TOKENS_AT_ONCE // (lengths[order[0]] + room)))
        if alike:
            count = min(count, sum(lengths[i] == lengths[order[0]] for i in order))
        yield order[:count]
        order = order[count:]
