"""One thread for each process that tests, set before anything that makes threads is imported.

Models this small gain nothing by a second thread. Where two processes test at the same time (`pytest -n 2`), the second
threads of scikit-learn, SciPy and NumPy would wait for each other: the tests of intervals took ten times as long.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
