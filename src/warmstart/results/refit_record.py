"""Refit: which rows was the final model of a study trained on, and what is its score?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from warmstart.runtime.files import read_json

REFIT, REFIT_FILE = "refit", "refit.json"  # the folder in a study, and the record beside the model
PARTS = {"train": "training", "val": "validation", "test": "test"}


class RefitFacts(TypedDict):
    """What `refit.json` holds."""

    run: str
    regime: str
    parts: list[str]
    rows: int
    seconds: float
    score: float | None
    rejected: str


@dataclass(frozen=True)
class Refit:
    """A model trained again with the settings of a run, on that run's training rows and those held out from it."""

    run: str  # the run whose settings it has, and whose scores are those of the comparison
    regime: str
    parts: tuple[str, ...]  # of the split: "train", "val" and perhaps "test"
    rows: int
    seconds: float
    score: float | None  # of the metric on the test rows; None where they were trained on
    rejected: str = ""  # why the run's own model is handed over instead; empty: it is not

    @property
    def described(self) -> str:
        """'all 1,920 training and validation rows'"""
        *first, last = (PARTS[part] for part in self.parts)
        return f"all {self.rows:,} {', '.join(first)} and {last} rows"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"parts": list(self.parts)}


def load_refit(folder: Path) -> Refit | None:
    """The record in the folder of a model, or of the refit of a study; None where there is none."""
    path = folder / REFIT_FILE
    if not path.exists():
        return None
    remedy = f"delete {path.parent}, and continue with: warmstart resume {path.parent.parent}"
    found = read_json(path, RefitFacts, remedy)
    held = found["parts"]
    return Refit(
        found["run"], found["regime"], tuple(held), found["rows"], found["seconds"], found["score"], found["rejected"]
    )
