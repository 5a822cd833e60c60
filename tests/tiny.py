"""Tiny: a base, tables and models so small that a test trains them in a blink."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.examples import BatchStream, Examples
from warmstart.data.rows.split import Rows, Splits, split
from warmstart.data.schema.schema import Schema
from warmstart.models.model import Model, body_width
from warmstart.models.pretrained.base import Base
from warmstart.planning.problem import Problem
from warmstart.regimes.method import Method, Rates
from warmstart.tasks.task import Task
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event, Step
from warmstart.training.frozen_prefix import SharedData
from warmstart.training.loop import start_training, train
from warmstart.training.run_data import RunData
from warmstart.training.stages import TrainedStages

MATERIALS = {"oak": 40.0, "pine": 12.0, "steel": 25.0, "glass": 18.0, "plastic": 4.0}
THINGS = {"table": 8.0, "chair": 3.0, "lamp": 2.0, "shelf": 5.0, "bowl": 0.6, "clock": 1.4}
COLORS = ("red", "green", "blue", "white", "black", "grey")
SIZES = {"small": 0.6, "medium": 1.0, "large": 1.8}
ROOMS = {"table": "kitchen", "bowl": "kitchen", "chair": "office", "shelf": "office", "lamp": "hall", "clock": "hall"}

REGRESSION = Schema("regression", "price", ("title",), False, None, {}, "log10", False, None)
CLASSES = Schema("classification", "room", ("title",), False, None, {}, "linear", False, None)
LABELS = replace(CLASSES, target="tags", multi_label=True)
SCHEMAS = {"regression": REGRESSION, "classification": CLASSES, "labels": LABELS}
STEPS = TrainConfig(steps=5, lr=1e-3, batch_size=8, weight_decay=0.0)


def tiny_rows(schema: Schema, n: int = 120) -> Rows:
    """Titles from which the price, the room and the tags follow, the price with some noise."""
    generator = np.random.default_rng(0)
    texts: list[str] = []
    targets = np.empty(n, dtype=object)
    for i in range(n):
        size, color, material, thing = (
            str(generator.choice(list(words))) for words in (SIZES, COLORS, MATERIALS, THINGS)
        )
        more = " of the finest kind, made by hand" * int(generator.integers(2))
        texts.append(f"{size} {color} {thing}, {material}{more} {i}")
        price = round(SIZES[size] * MATERIALS[material] * THINGS[thing] * float(np.exp(generator.normal(0, 0.1))), 2)
        targets[i] = (color, material) if schema.multi_label else ROOMS[thing]
        if schema.task == "regression":
            targets[i] = price
    if schema.task == "regression":
        targets = targets.astype(np.float64)
    return Rows(tuple(texts), targets, np.arange(1, n + 1), tuple(map(str, range(n))))


def tiny_splits(schema: Schema, n: int = 120) -> Splits:
    return split(tiny_rows(schema, n), schema)


def tiny_draw(schema: Schema, seed: int = 0, n: int = 120) -> RunData:
    splits = tiny_splits(schema, n)
    return RunData(splits, schema, SharedData(splits), seed)


def tiny_problem(schema: Schema, base: Base, n: int = 120) -> Problem:
    return Problem(tiny_splits(schema, n), schema, (base,))


def save_tiny_base(folder: Path) -> Path:
    """A BERT of two layers and width 16 with dropout, and the WordPieces of these texts, as `AutoModel` loads them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.:-"
    words = [*MATERIALS, *THINGS, *COLORS, *SIZES, *["of", "the", "finest", "kind", "made", "by", "hand"]]
    words += [f"##{ending}" for ending in ("er", "ing", "ed", "es", "en", "th", "st", "ly")]
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    wordpiece = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    wordpiece.normalizer = normalizers.BertNormalizer()
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    wordpiece.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=wordpiece,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.2,  # at 0.02 a net this narrow gives nearly the same vector for every text
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


class Tower(nn.Module):
    """Three blocks that have everything a frozen layer must hold still: dropout and running statistics."""

    width = 16

    def __init__(self, vocabulary: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 16)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Tanh()) for _ in range(3)
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        x: Tensor = (self.embed(input_ids) * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        for block in self.blocks:
            x = block(x)
        return x


def examples_of(run_data: RunData, base: Base) -> Examples:
    return run_data.shared.examples(base.inputs, run_data.splits.train, run_data.task.targets(run_data.splits.train))


def stream_of(examples: Examples, config: TrainConfig = STEPS) -> BatchStream:
    return BatchStream(examples, examples.order(config.batch_size, config.seed))


def a_batch(run_data: RunData, base: Base, rows: int = 8) -> Batch:
    return examples_of(run_data, base).take(np.arange(rows))


def model_of(method: Method, body: nn.Module, task: Task, seed: int = 0) -> tuple[Model, Rates]:
    """The body as the method prepares it, with the task's head. Adapters are drawn from torch's own random state."""
    torch.manual_seed(seed)
    prepared, head = method.prepare(body), task.head(body_width(body), seed)
    assert head is not None
    model = Model(prepared, head)
    return model, method.rates(model)


def train_steps(
    model: Model, rates: Rates, run_data: RunData, base: Base, config: TrainConfig = STEPS
) -> Sequence[Step]:
    return list(
        train(
            start_training(model, rates, config), run_data.task, stream_of(examples_of(run_data, base), config), config
        )
    )


def carried_out(steps: Generator[Event, None, TrainedStages]) -> tuple[list[Step], TrainedStages]:
    """Every step of a training, and what comes of it."""
    taken = []
    while True:
        try:
            event = next(steps)
            assert event.step is not None
            taken.append(event.step)
        except StopIteration as stop:
            return taken, stop.value
