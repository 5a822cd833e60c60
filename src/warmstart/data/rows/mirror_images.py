"""Mirror images: do mirror images have the same targets, so that they can be trained on, too?

If they do not (digits, arrows, shoes that all point to the left), a linear model on small gray images scores worse on
mirrored rows than on the original ones. It is fitted on one half of some training rows and evaluated on the other.
"""

import numpy as np

from warmstart.data.rows.split import Rows
from warmstart.types import Array

_ROWS = 2_000  # training rows looked at, at most
_SIDE = 16  # pixels of each side of what the model sees
_LOSS = 0.1  # share of what the model knows beyond chance, from which on mirrored images say something else
_NOISE = 2.0  # standard errors of the difference, which it must exceed as well
_PENALTY = 1.0  # of the ridge, on standardized pixels, per row


def mirrored_alike(rows: Rows) -> bool:
    """Whether training images may be mirrored; True if the linear model learns nothing, as with most photographs."""
    images = rows.columns.images
    if images is None or len(rows) < 20:
        return False
    some = np.arange(len(rows))[:: max(1, len(rows) // _ROWS)][:_ROWS]
    seen = _gray(images.at(some))
    wanted = _wanted(rows.targets[some])
    fitted, asked = np.arange(len(some)) % 2 == 0, np.arange(len(some)) % 2 == 1
    mean, deviation = seen[fitted].mean(0), seen[fitted].std() or 1.0
    inputs = (seen.reshape(len(seen), -1) - mean.reshape(-1)) / deviation
    mirrored = (seen[:, :, ::-1].reshape(len(seen), -1) - mean.reshape(-1)) / deviation
    center = wanted[fitted].mean(0)
    matrix = inputs[fitted]
    gram = matrix.T @ matrix + _PENALTY * len(matrix) * np.eye(matrix.shape[1])
    weight = np.linalg.solve(gram, matrix.T @ (wanted[fitted] - center))
    truth = wanted[asked] - center
    own, other = (_errors(part[asked] @ weight, truth) for part in (inputs, mirrored))
    nothing = _errors(np.zeros_like(truth), truth)
    known = float((nothing - own).mean())
    lost = other - own
    noise = _NOISE * float(lost.std()) / max(1.0, len(lost) ** 0.5)
    return known <= 0 or float(lost.mean()) <= max(_LOSS * known, noise)


def _gray(pixels: Array) -> Array:
    """float64 [n, _SIDE, _SIDE], the mean of each block of pixels."""
    gray = pixels.mean(3)
    side = gray.shape[1]
    edges = np.unique(np.linspace(0, side, min(_SIDE, side) + 1).astype(int))
    summed = np.add.reduceat(np.add.reduceat(gray, edges[:-1], axis=1), edges[:-1], axis=2)
    sizes = np.diff(edges)
    found: Array = summed / (sizes[:, None] * sizes[None, :])
    return found


def _wanted(targets: Array) -> Array:
    """[n, k]: a standardized number, or 0 and 1 for each class."""
    if targets.dtype.kind == "f":
        return np.asarray(((targets - targets.mean()) / (targets.std() or 1.0))[:, None])
    sets = [set(target) if isinstance(target, tuple) else {target} for target in targets.tolist()]
    classes = sorted(set().union(*sets), key=str)
    return np.array([[float(each in found) for each in classes] for found in sets])


def _errors(guess: Array, truth: Array) -> Array:
    """Squared error of each row."""
    found: Array = ((guess - truth) ** 2).mean(1)
    return found
