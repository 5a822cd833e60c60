"""Train tokenizer: how does a model from scratch get a tokenizer for its own texts?"""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from warmstart.errors import InputError

SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|mask|>")  # their numbers are 0 to 3
MAX_VOCABULARY = 32_768  # tokens; beyond that small models pay more for the table than longer tokens are worth
MIN_VOCABULARY = 512  # the 256 bytes, and some
CORPUS_BYTES_PER_TOKEN = 400  # of corpus for each: about 100 occurrences on average
WEIGHTS_PER_TOKEN = 1_500  # of the model for each: so that the table is at most about a third of it
SAMPLE = 256 << 20  # bytes of text; merges hardly change beyond, and every different word is held in memory
PIECE = 1 << 16  # characters of a text at a time: a line of 100 MB without a space would be one word

# Turns between the token that begins a text and one that ends each turn.
CHAT = (
    "{{ '<|begin|>' }}{% for message in messages %}"
    "{{ message['role'] + '\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant\\n' }}{% endif %}"
)


def vocabulary_size(corpus_bytes: int, parameters: int | None = None) -> int:
    """How many tokens suit a corpus, and a model of so many weights: a multiple of 64 from 512 to 32,768.

    >>> vocabulary_size(2_000_000), vocabulary_size(200 * 10**9), vocabulary_size(200 * 10**9, 10_000_000)
    (4992, 32768, 6656)
    """
    size = corpus_bytes // CORPUS_BYTES_PER_TOKEN
    if parameters is not None:
        size = min(size, parameters // WEIGHTS_PER_TOKEN)
    return min(MAX_VOCABULARY, max(MIN_VOCABULARY, size // 64 * 64))


def train_tokenizer(texts: Iterable[str], corpus_bytes: int, vocabulary: int, max_length: int, folder: Path) -> Any:
    """Train byte-level BPE on the texts and save it for `AutoTokenizer`; returns the tokenizer.

    Any text can be encoded, and decoded byte for byte. The same texts in any order give the same files. From a corpus
    of more than 256 MB, a sample determined by the texts is used. Raises InputError if there is no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    # Digits alone: numbers of any length are then spelled in one way.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    sample = _Sample(texts, corpus_bytes)
    backend.train_from_iterator(iter(sample), trainer)
    if not sample.read:
        raise InputError("the corpus has no text to make a tokenizer of.", "name files with text in them")
    pad, begin, end, mask = SPECIAL
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=pad,
        bos_token=begin,
        eos_token=end,
        mask_token=mask,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return tokenizer


class _Sample:
    """Pieces of sampled texts: whether a text is in the sample depends on the text alone."""

    def __init__(self, texts: Iterable[str], corpus_bytes: int):
        self._texts = texts
        self._limit = (1 << 32) * min(1.0, SAMPLE / max(1, corpus_bytes))
        self.read = 0  # characters so far

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            if zlib.crc32(text.encode("utf-8", errors="surrogatepass")) < self._limit:
                self.read += len(text)
                yield from (text[at : at + PIECE] for at in range(0, len(text), PIECE))
