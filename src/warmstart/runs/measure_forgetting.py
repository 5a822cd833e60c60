"""Measure forgetting: how much did a trained model forget of what its base could do?"""

import numpy as np

from warmstart.data.encoding.examples import Examples
from warmstart.data.encoding.language_inputs import Documents
from warmstart.data.rows.split import Rows
from warmstart.models.encoder_decoder import is_joined
from warmstart.models.model import Model
from warmstart.regimes.starts import Start
from warmstart.runs.forgetting_measures import (
    MAX_RETENTION_TEXTS,
    Retention,
    drift,
    features,
    language_retention,
    nothing_forgotten,
)
from warmstart.runtime.distributed import world
from warmstart.runtime.files import cache_folder
from warmstart.runtime.sampling import spread_places
from warmstart.training.build_model import head_for
from warmstart.training.general_text import sampled_text
from warmstart.training.replay import replay_rows
from warmstart.training.run_data import RunData
from warmstart.training.stages import TrainedStages

LANGUAGE_TEXTS = 32  # of the task's: both models read them


def measure_forgetting(trained: TrainedStages, start: Start, run_data: RunData) -> Retention | None:
    """Forgetting of a language model by its likelihoods, of others by how far features moved. None without a base."""
    if start.base is None:
        return None
    test = run_data.splits.test
    if start.base.joined or start.base.kind == "image" or not trained.steps:
        return None  # what two copies of an encoder say before they have learned to write is nothing to be kept
    if has_language_head(trained.model):
        return _language_forgotten(trained, start, run_data)
    if not trained.body_learned:
        return nothing_forgotten(min(MAX_RETENTION_TEXTS, len(test)))
    examples = rows_as_read(test, start, run_data)
    device = next(trained.model.parameters()).device
    before = run_data.shared.of_base(
        f"{start.name} {start.pooling} {start.inputs.key} {len(examples)} test rows",
        lambda: features(start.body(run_data.seed).to(device), start.pooling, examples, world()),
    )
    return drift(before, features(trained.model.body, start.pooling, examples, world()))


def has_language_head(model: Model) -> bool:
    """Whether forgetting is measured by likelihoods: not if the output layer started from random weights, unless it is
    a joined encoder-decoder.
    """
    head = model.language_head
    return head is not None and (is_joined(model.body) or not head.fresh)


def _language_forgotten(trained: TrainedStages, start: Start, run_data: RunData) -> Retention:
    """Compare with the base itself: on some test rows, and on general text."""
    base = load_base_model(trained.model, start, run_data)
    asked = sample_rows_evenly(run_data.splits.test, start, run_data)
    return language_retention(base, trained.model, asked, general_examples(base, start, run_data), world=world())


def load_base_model(model: Model, start: Start, run_data: RunData) -> Model:
    """The language model as it was before fine-tuning, head included."""
    body = start.body(run_data.seed)
    return Model(body, *head_for(body, start, run_data.task, run_data.seed)).to(next(model.parameters()).device).eval()


def sample_rows_evenly(rows: Rows, start: Start, run_data: RunData, most: int = LANGUAGE_TEXTS) -> Examples:
    """Some of the study's rows as the task reads them, from the whole file, which is often sorted."""
    some = rows.take(spread_places(most, len(rows)))
    return run_data.shared.examples(run_data.task.reads(start.inputs), some, run_data.task.targets(some))


def rows_as_read(rows: Rows, start: Start, run_data: RunData) -> Examples:
    """Some of the rows, encoded as the body reads them, independent of the task."""
    some = rows.take(spread_places(MAX_RETENTION_TEXTS, len(rows)))
    return run_data.shared.examples(start.inputs, some, np.zeros(len(some), dtype=np.float32))


def general_examples(base: Model, start: Start, run_data: RunData) -> Examples | None:
    """General text: the user's, else sampled from the base; None for a base that generates no text."""
    if start.base is None or start.base.kind != "decoder":
        return None
    documents = Documents(start.base.location, start.base.inputs.max_length)
    texts = run_data.general or sampled_text(base, documents.tokenizer, cache_folder() / "sampled")
    return replay_rows(documents, texts)
