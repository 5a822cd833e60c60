"""Baselines: by which name is each of them fitted, and what does a saved one come back as?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from warmstart.baselines.baseline import FACTS, TRAIN_AGAIN, WEIGHTS, Baseline, FitData, Fitted
from warmstart.baselines.boosted import boosted_from_json
from warmstart.baselines.boosted_fit import fit_boosted
from warmstart.baselines.constant import Constant, fit_constant
from warmstart.baselines.extractive import extractive_from_json, fit_extractive
from warmstart.baselines.few_shot import few_shot_from_json, fit_few_shot
from warmstart.baselines.linear import Linear, fit_embedded, fit_linear
from warmstart.baselines.linear_features import features_from_json
from warmstart.baselines.prompted import fit_prompted, prompted_from_json
from warmstart.baselines.prompted_endpoint import endpoint_from_json, fit_prompted_endpoint
from warmstart.errors import MissingError
from warmstart.runtime.files import read_json, read_tensors, reading_ours

FIT_BASELINE: dict[str, Callable[[FitData], Fitted]] = {
    "constant": fit_constant,
    "linear": fit_linear,
    "boosted": fit_boosted,
    "embedded": fit_embedded,
    "extractive": fit_extractive,
    "few-shot": fit_few_shot,
    "prompted": fit_prompted,
    "prompted-endpoint": fit_prompted_endpoint,
}
BASELINE_DESCRIPTIONS = {
    "constant": "the median, or the most common class, for every row",
    "linear": "a linear model on TF-IDF, or on edges and colors of images",
    "boosted": "boosted trees on the columns and on what a linear model says of the text",
    "embedded": "a linear model on the base's frozen features, beside TF-IDF of texts",
    "extractive": "the leading sentences, the source itself, or the most common value of each field",
    "few-shot": "the base as it is, after a few examples in its prompt",
    "previous": "the earlier model as it is",
    "prompted": "the likelihood of each answer, after instructions and examples",
    "prompted-endpoint": "the answers of a chat model elsewhere, after instructions and examples",
}


def load_baseline(folder: Path) -> Baseline:
    """The baseline that `save` wrote into this folder. Raises MissingError where there is none, or no base of it."""
    for name in (FACTS, WEIGHTS):
        if not (folder / name).is_file():
            raise MissingError(f"{folder} holds no baseline: {name} is not there", "give the folder of a finished run")
    facts = read_json(folder / FACTS, dict[str, Any], TRAIN_AGAIN)
    arrays = {name: tensor.numpy() for name, tensor in read_tensors(folder / WEIGHTS, TRAIN_AGAIN).items()}
    with reading_ours(folder / FACTS, TRAIN_AGAIN):
        if facts["baseline"] == "constant":
            return Constant(arrays["output"])
        if facts["baseline"] == "extractive":
            return extractive_from_json(facts)
        if facts["baseline"] == "few-shot":
            return few_shot_from_json(facts, folder)
        if facts["baseline"] == "prompted":
            return prompted_from_json(facts, arrays, folder)
        if facts["baseline"] == "prompted-endpoint":
            return endpoint_from_json(facts, arrays, folder)
        try:
            features = features_from_json(facts, arrays)
        except MissingError as error:
            base = facts["embedding"]["base"]
            raise MissingError(
                f"{folder} reads texts with the base {base!r}, which is not here.", error.hint
            ) from error
        linear = Linear(facts["baseline"], features, arrays["weight"], arrays["bias"])
        return boosted_from_json(facts, arrays, linear) if facts["baseline"] == "boosted" else linear
