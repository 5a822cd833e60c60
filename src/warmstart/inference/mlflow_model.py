"""MLflow model: how does `mlflow models serve` use the winner of a study?

MLflow imports this module by its name and calls `_load_pyfunc`; the model is read from our own files.
"""

from collections.abc import Mapping
from typing import Any

from warmstart.inference.predict import TrainedModel, load_model_for_prediction


class PyfuncModel:
    """What MLflow asks for predictions."""

    def __init__(self, trained: TrainedModel):
        self.trained = trained

    def predict(self, rows: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """A dict for each row of a pandas DataFrame, as `warmstart.load(folder).predict` gives it.

        `params` is not used.
        """
        return list(self.trained.predict(rows))


def _load_pyfunc(data_path: str) -> PyfuncModel:
    """The model in the folder that was logged."""
    return PyfuncModel(load_model_for_prediction(data_path))
