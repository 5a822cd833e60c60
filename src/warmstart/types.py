"""Types: which type names do all packages share?"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
