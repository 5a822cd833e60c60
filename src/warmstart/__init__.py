"""warmstart: train from scratch, fine-tune, or both? Find out on your own data, then ship the winner."""

import os
from typing import TYPE_CHECKING, Any

# Read by the OpenMP library when torch loads it. Threads that wait spin for milliseconds by default; on 2 cores
# of which something else used one, that made small matrix products 9 times slower. Idle machines lose nothing.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from warmstart.api import (
        advise,
        blind,
        check,
        compare,
        export,
        fit,
        load,
        plan,
        probe,
        read,
        report,
        resume,
        table_of,
        vote,
    )
    from warmstart.data.rows.check import CheckResult
    from warmstart.data.tables.read import Table
    from warmstart.errors import InputError, MissingError, TrainingError, UsageError, WarmstartError
    from warmstart.estimators import WarmstartClassifier, WarmstartRegressor
    from warmstart.inference.predict import TrainedModel
    from warmstart.planning.forecast import PlanResult
    from warmstart.results.comparison import Comparison
    from warmstart.results.record import Run
    from warmstart.study.study import Study


__all__ = [
    "CheckResult",
    "Comparison",
    "InputError",
    "MissingError",
    "PlanResult",
    "Run",
    "Study",
    "Table",
    "TrainedModel",
    "TrainingError",
    "UsageError",
    "WarmstartClassifier",
    "WarmstartError",
    "WarmstartRegressor",
    "advise",
    "blind",
    "check",
    "compare",
    "export",
    "fit",
    "load",
    "plan",
    "probe",
    "read",
    "report",
    "resume",
    "table_of",
    "vote",
]

# Where other classes stand; errors and functions are found by their names.
_CLASS_MODULES = {
    "CheckResult": "warmstart.data.rows.check",
    "Comparison": "warmstart.results.comparison",
    "PlanResult": "warmstart.planning.forecast",
    "Run": "warmstart.results.record",
    "Study": "warmstart.study.study",
    "Table": "warmstart.data.tables.read",
    "TrainedModel": "warmstart.inference.predict",
    "WarmstartClassifier": "warmstart.estimators",
    "WarmstartRegressor": "warmstart.estimators",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `import warmstart` takes no time, torch comes when something is trained."""
    if name not in __all__:
        raise AttributeError(f"module 'warmstart' has no attribute {name!r}")
    from importlib import import_module

    usual = "warmstart.errors" if name.endswith("Error") else "warmstart.api"
    return getattr(import_module(_CLASS_MODULES.get(name, usual)), name)


def __dir__() -> list[str]:
    """What an editor completes, without importing it."""
    return [*globals(), *__all__]
