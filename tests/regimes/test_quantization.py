"""bitsandbytes is loaded without asking the Hub for anything and without a word."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from warmstart.regimes.quantization import load_bitsandbytes
package = load_bitsandbytes()
assert package.nn.Linear4bit and load_bitsandbytes() is package
assert "kernels" not in sys.modules
"""


def test_loading_says_nothing_and_looks_for_no_kernel(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    (tmp_path / "kernels.py").write_text("print('asked for a kernel')\n")  # stands for the package that fetches them
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
