"""Types shared by all packages."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
