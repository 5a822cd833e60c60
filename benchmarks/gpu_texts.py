"""GPU texts: which made-up rows and which network with random weights does a machine without a network train on?"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import texts
from warmstart.data.rows.split import Rows, split
from warmstart.data.schema.schema import Schema
from warmstart.models.pretrained.base import find_base
from warmstart.regimes.full import Full
from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
from warmstart.regimes.starts import Pretrained
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.config import TrainConfig
from warmstart.training.stages import TrainedStages, train_stages

CLASSES, WORDS, LENGTH = 20, 5_000, 128
SCHEMA = Schema("classification", "topic", ("text",), False, None, {}, "linear", False, None)


def problem(folder: Path, count: int, *, tiny: bool) -> texts.Problem:
    """Texts of words that depend on their class, and a MiniLM with random weights that reads them."""
    random = np.random.default_rng(0)
    topics = [random.choice(WORDS, 50, replace=False) for _ in range(CLASSES)]
    targets, written = np.empty(count, dtype=object), []
    for i in range(count):
        topic = int(random.integers(CLASSES))
        length = int(np.clip(random.lognormal(3.0, 0.7), 4, LENGTH - 2))
        own = random.random(length) < 0.3
        numbers = np.where(own, random.choice(topics[topic], length), random.integers(0, WORDS, length))
        written.append(" ".join(f"w{n}" for n in numbers))
        targets[i] = f"topic {topic}"
    rows = Rows(tuple(written), targets, np.arange(1, count + 1), tuple(map(str, range(count))))
    splits = split(rows, SCHEMA)
    return texts.Problem(
        replace(splits, val=splits.val.take(np.arange(min(32, len(splits.val))))), SCHEMA, base(folder, tiny)
    )


def base(folder: Path, tiny: bool) -> str:
    """A folder that `AutoModel` loads: MiniLM's shape, or a tiny one, with a tokenizer of the made-up words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = {word: i for i, word in enumerate([*special, *(f"w{n}" for n in range(WORDS))])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names: dict[str, Any] = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    width, layers, heads = (16, 2, 2) if tiny else (384, 6, 12)
    shape: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    shape["intermediate_size"] = 4 * width
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(known), **shape)).save_pretrained(folder)
    return str(folder)


def stopped_and_continued(tiny: bool) -> dict[str, Any]:
    """How far the weights of a training that was stopped in the middle are from those of one that was not: 0."""
    with tempfile.TemporaryDirectory() as folder:
        given = problem(Path(folder) / "base", 48 if tiny else 2_000, tiny=tiny)
        steps = 6 if tiny else 60
        config = TrainConfig(steps=steps, lr=1e-3, batch_size=8 if tiny else 32)
        regime = Regime("full", Pretrained(find_base(given.base)), (Stage(Full()),), DEFAULTS["full"])

        def weights(checkpoints: Checkpoints | None, stop: int | None = None) -> dict[str, torch.Tensor] | None:
            training = train_stages(regime, config, given.run_data(0), 1, checkpoints)
            taken = 0
            while True:
                try:
                    event = next(training)
                except StopIteration as stopped:
                    trained: TrainedStages = stopped.value
                    return {name: tensor.cpu() for name, tensor in trained.model.state_dict().items()}
                taken += event.step is not None
                if stop is not None and taken == stop:
                    training.close()
                    return None

        whole = weights(None)
        kept = Checkpoints(Path(folder) / "kept", "a training that is stopped")
        assert weights(kept, stop=steps // 2) is None
        again = weights(kept)
        assert whole is not None and again is not None
        apart = max(float((whole[name].float() - again[name].float()).abs().max()) for name in whole)
        return {"stopped_at": steps // 2, "largest_difference": apart}
