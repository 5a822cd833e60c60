"""Earlier model: how is a model that was saved before used, unchanged, on a new table with the same target?"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from warmstart.baselines.baseline import TRAIN_AGAIN, Baseline, Fitted
from warmstart.data.features.column_inputs import FeaturesBeside, load_columns
from warmstart.data.rows.read_columns import NO_COLUMNS
from warmstart.data.schema.cell_values import Values
from warmstart.inference.ensemble import AveragedModels, Predictor
from warmstart.inference.model_store import COLUMN_FOLDER, Network, StoredModel, load_model
from warmstart.models.dnn import Size
from warmstart.models.model import Model
from warmstart.models.output_change import OutputChange
from warmstart.regimes.lora import merge_adapters
from warmstart.runtime.files import digests, find_portable, portable_path, read_json, write_json
from warmstart.tasks.between_tasks import output_change
from warmstart.tasks.task import Task
from warmstart.training.flops import flops
from warmstart.types import Array


@dataclass(frozen=True, eq=False)
class EarlierModel:
    """A saved model of a table, as it is."""

    folder: Path  # that holds its model.json

    @cached_property
    def stored(self) -> StoredModel:
        return load_model(self.folder)

    @property
    def is_network(self) -> bool:
        """Whether it is a network, so that its training can continue."""
        return self.stored.network is not None

    def network(self) -> Model:
        """A new copy of the network, with adapters merged into their base."""
        found = load_model(self.folder, full_precision=True).network
        assert found is not None
        if hasattr(found.model.body, "peft_config"):
            found.model.body = merge_adapters(found.model.body)
        return found.model

    @property
    def columns(self) -> FeaturesBeside | None:
        """Columns that the network's head reads besides the text."""
        there = (self.folder / COLUMN_FOLDER).is_dir()
        return load_columns(self.folder / COLUMN_FOLDER, TRAIN_AGAIN) if there else None

    @property
    def body_kind(self) -> str:
        """How the body of the network is stored: "transformers", "adapter", "wide and deep" and others."""
        return str(self._body["kind"])

    @property
    def hashed_size(self) -> Size | None:
        """Of a network on hashed words; None for every other."""
        return TypeAdapter(Size).validate_python(self._body["size"]) if "size" in self._body else None

    @property
    def _body(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / "model.json", dict[str, Any])["body"]
        return found

    def fitted(self, task: Task) -> Fitted:
        """As a baseline that learned nothing, with outputs of this task."""
        return Fitted(UnchangedModel(self.stored.predictor, output_change(self.stored.task, task)), (), 0.0, 0.0)

    def copy_to(self, folder: Path, regime: str, other_names: Mapping[str, str]) -> None:
        """Write the model as it is: with its own task and calibration. Files are hard links where possible.

        `other_names`: of columns in new tables -> the names that the model knows.
        """
        facts = read_json(self.folder / "model.json", dict[str, Any], TRAIN_AGAIN)
        for name in facts.get("files") or digests(self.folder):
            if name != "model.json":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                _link(self.folder / name, folder / name)
        body = facts.get("body", {})
        found = find_portable(str(body["base"]), self.folder) if "base" in body else None
        if found is not None:  # adapters name a base that lies in a folder by the way to it
            facts["body"] = body | {"base": portable_path(found, folder)}
        schema = facts["schema"] | {"other_names": dict(other_names)}
        write_json(folder / "model.json", facts | {"regime": regime, "schema": schema})


@dataclass(frozen=True, eq=False)
class UnchangedModel:
    """A saved model with the outputs of another task, used like a baseline."""

    predictor: Predictor
    change: OutputChange

    writer = None
    weights = 0  # none is learned

    def outputs(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> Array:
        return self.change.of(self.predictor.outputs(texts, columns))

    def flops(self, texts: Sequence[str], columns: Mapping[str, Values] = NO_COLUMNS) -> float:
        return _flops(self.predictor, texts, columns)

    def alone(self) -> "UnchangedModel":
        return self

    def save(self, folder: Path) -> None:
        raise AssertionError("it is copied as it is: `EarlierModel.copy_to`")


def _flops(predictor: Predictor, texts: Sequence[str], columns: Mapping[str, Values]) -> float:
    """Analytic cost of its outputs for these rows."""
    if isinstance(predictor, AveragedModels):
        return sum(_flops(member, texts, columns) for member in predictor.members)
    if isinstance(predictor, Network):
        encoded = predictor.inputs.encode_rows(texts, columns)
        return float(flops(predictor.model, {}).forward(encoded.sizes(), encoded.loss_weights()).sum())
    return cast(Baseline, predictor).flops(texts, columns)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
