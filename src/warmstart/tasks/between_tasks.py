"""Between tasks: what are the outputs of a model of one task as outputs of another, with the same target?"""

import numpy as np

from warmstart.models.output_change import OutputChange
from warmstart.tasks.task import Task


def output_change(old: Task, new: Task) -> OutputChange:
    """Logits of the new task's classes from those of the old one's; or a standardized number by its new mean and
    deviation.

    Both have the same kind and scale, and every class of `new` is one of `old`.
    """
    before, after = old.to_json(), new.to_json()
    if "classes" in after:
        places = {name: place for place, name in enumerate(before["classes"])}
        matrix = np.zeros((len(after["classes"]), len(places)))
        for row, name in enumerate(after["classes"]):
            matrix[row, places[name]] = 1.0
        return OutputChange(matrix, np.zeros(len(matrix)))
    assert before["scale"] == after["scale"], "the target is read by the schema of the old model"
    factor = before["deviation"] / after["deviation"]
    shift = (before["mean"] - after["mean"]) / after["deviation"]
    return OutputChange(np.array([[factor]]), np.array([shift]))
