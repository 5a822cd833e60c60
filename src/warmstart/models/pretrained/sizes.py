"""Sizes: which width and depth give a model from scratch the requested number of weights?"""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from warmstart.errors import UsageError

HEAD_WIDTH = 64  # wide; Llama's, GPT-2's and BERT's small models have the same
SHAPE = 64  # width / depth aimed at: GPT-2's 124M have 768 / 12
SHALLOWEST = 4  # blocks, where the weights suffice: under that, width helps less than depth
FEED_FORWARD_RATIO = {
    "decoder": 8 / 3,
    "encoder": 4.0,
}  # times the width in the feed-forward part: three matrices of it, or two


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that pad, begin and end a text, as in `data.encoding.train_tokenizer`."""

    pad: int | None = 0
    begin: int | None = 1
    end: int | None = 2


@dataclass(frozen=True)
class SizedConfig:
    """Builds a decoder of Llama's kind or an encoder of BERT's, with random weights as these families draw them.

    `parameters` counts all weights, the token table once: it is shared with the output layer, as in most models under
    3 billion. At 10 million weights a table of its own would cost a quarter of them.
    """

    kind: Literal["decoder", "encoder"]
    parameters: int
    vocabulary: int
    max_length: int = 512
    special: SpecialTokens = SpecialTokens()

    def __call__(self) -> nn.Module:
        from transformers import AutoModel

        body: nn.Module = AutoModel.from_config(config_of_size(self), trust_remote_code=False)
        body.pooler = None  # type: ignore[assignment]
        return body.float()


def config_of_size(wanted: SizedConfig) -> Any:
    """The configuration with the number of weights closest to the requested one, within 5 %.

    Width is a multiple of 64 (heads are 64 wide); width and depth are the pair whose ratio is closest to 64, with at
    least four blocks if the weights allow. The feed-forward part then absorbs the rounding, so that it is 8/3 (Llama)
    or 4 (BERT) times the width to within a third. Raises UsageError if the embedding table alone leaves nothing for
    blocks.
    """
    from transformers import BertConfig, LlamaConfig

    found = [shape for width in range(HEAD_WIDTH, 16 * 1024, HEAD_WIDTH) if (shape := _shape(wanted, width))]
    if not found:
        smallest = HEAD_WIDTH * (wanted.vocabulary + wanted.max_length)
        raise UsageError(
            f"{wanted.parameters:,} weights are too few: a vocabulary of {wanted.vocabulary:,} takes {smallest:,} "
            "of them at the least width.",
            f"ask for more, such as --parameters {smallest + 24 * HEAD_WIDTH**2}",
        )
    width, depth, hidden = min(found, key=_preference)
    common: dict[str, Any] = {
        "vocab_size": wanted.vocabulary,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": width // HEAD_WIDTH,
        "intermediate_size": hidden,
        "max_position_embeddings": wanted.max_length,
        "tie_word_embeddings": True,
        "pad_token_id": wanted.special.pad,
        "bos_token_id": wanted.special.begin,
        "eos_token_id": wanted.special.end,
    }
    if wanted.kind == "encoder":
        return BertConfig(**common, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return LlamaConfig(**common, num_key_value_heads=width // HEAD_WIDTH)


def _preference(shape: tuple[int, int, int]) -> tuple[bool, float]:
    width, depth, _ = shape
    ratio = width / depth / SHAPE
    return depth < SHALLOWEST, max(ratio, 1 / ratio)


def _shape(wanted: SizedConfig, width: int) -> tuple[int, int, int] | None:
    """(width, depth, feed-forward width) of about the requested size; None if there is none."""
    matrices = 3 if wanted.kind == "decoder" else 2
    left = wanted.parameters - _around(wanted, width)
    depth = round(left / (width * width * (4 + matrices * FEED_FORWARD_RATIO[wanted.kind])))
    if depth < 1:
        return None
    step = 16 if width < 512 else 64  # matrix multiplication likes multiples
    hidden = step * round((left / depth - _attention(wanted, width)) / (matrices * width * step))
    count = _around(wanted, width) + depth * (_attention(wanted, width) + matrices * width * hidden)
    fits = abs(count / wanted.parameters - 1) < 0.05
    usual = FEED_FORWARD_RATIO[wanted.kind] * width
    return (width, depth, hidden) if fits and 2 / 3 * usual <= hidden <= 4 / 3 * usual else None


def _around(wanted: SizedConfig, width: int) -> int:
    """Weights outside the blocks: the embedding table and the last norm; positions and two segments in BERT."""
    positions = wanted.max_length + 2 if wanted.kind == "encoder" else 0
    return width * (wanted.vocabulary + positions + 2)


def _attention(wanted: SizedConfig, width: int) -> int:
    """Weights of a block without the feed-forward part: four matrices and the norms, with biases in BERT."""
    return 4 * width * width + (2 if wanted.kind == "decoder" else 13) * width
