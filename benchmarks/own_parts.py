"""Own parts: are dropout and writing, which are ours, faster than torch's and transformers' own?

    python benchmarks/own_parts.py

Pairs, interleaved, fp32 on both sides; the ratio is the library's time over ours, the median of the pairs counts.
Weights are random: they change neither time. Both sides write the same number of tokens, greedily.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from harness import RESULTS
from warmstart.generation.generate import generate
from warmstart.models.causal_lm import OutputLayer
from warmstart.models.dropout import dropout
from warmstart.models.lm_head import LanguageHead
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json

PAIRS = 7
ATTENTION = (32, 12, 256, 256)  # rows, heads, tokens, tokens: of one layer of MiniLM
PROMPTS, LONGEST, WRITTEN = 16, 128, 48


def main() -> None:
    rows = [
        measured("dropout of attention, 32 rows of 256 tokens", torch_dropout, own_dropout),
        *writing(),
    ]
    write_json(RESULTS / "own_parts.json", rows)


def measured(name: str, theirs: Callable[[], object], ours: Callable[[], object]) -> dict[str, object]:
    theirs(), ours()
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(PAIRS)]
    ratio = statistics.median(their / our for their, our in pairs)
    facts = {"test": name, "ratio": ratio, "seconds": statistics.median(our for _, our in pairs)}
    print(f"{name}: {ratio:.2f} times as fast", flush=True)
    return facts | {"environment": asdict(current_environment("fp32"))}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def torch_dropout() -> object:
    return functional.dropout(torch.ones(ATTENTION), 0.1)


def own_dropout() -> object:
    return dropout(torch.ones(ATTENTION), 0.1)


def writing() -> list[dict[str, object]]:
    """A decoder of the shape of SmolLM2-135M answers prompts of different lengths."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1_536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        pad_token_id=0,
        eos_token_id=None,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    head = LanguageHead.of(model.model, OutputLayer(model.lm_head.weight))
    random = np.random.default_rng(0)
    prompts = [random.integers(1, 49_152, int(random.integers(16, LONGEST))) for _ in range(PROMPTS)]
    padded = torch.zeros(PROMPTS, max(map(len, prompts)), dtype=torch.int64)
    mask = torch.zeros_like(padded)
    for i, prompt in enumerate(prompts):
        padded[i, -len(prompt) :], mask[i, -len(prompt) :] = torch.from_numpy(prompt), 1
    plain = {"do_sample": False, "max_new_tokens": WRITTEN, "min_new_tokens": WRITTEN}

    def theirs() -> object:
        with torch.inference_mode():
            return model.generate(padded, attention_mask=mask, **plain)

    def ours() -> object:
        return generate(model.model, head, prompts, stop={-1}, most=WRITTEN)

    return [measured(f"writing {WRITTEN} tokens after {PROMPTS} prompts of 16 to {LONGEST} tokens", theirs, ours)]


if __name__ == "__main__":
    main()
