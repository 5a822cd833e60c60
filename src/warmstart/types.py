"""Types: which type names do all packages share?"""

from typing import Any, TypeVar

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Value = TypeVar("Value")  # what a generator or a function gives
