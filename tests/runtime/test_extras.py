"""Extras: does everything import where no optional package is installed, so that whoever lacks one reads a message?"""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPTIONAL = ("fastapi", "uvicorn", "gguf", "llguidance", "mlflow", "onnx", "onnxruntime", "onnxscript", "optuna",
            "python_calamine", "bitsandbytes", "datasets", "tensorboard", "wandb", "xlsxwriter")  # fmt: skip
STANDS_ALONE = "warmstart.inference.export.onnx_reader"  # copied beside a graph, and run without warmstart
IMPORT_ALL = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({OPTIONAL!r}))  # importing None fails
import warmstart
for module in pkgutil.walk_packages(warmstart.__path__, "warmstart."):
    if not module.name.endswith("__main__") and module.name != {STANDS_ALONE!r}:
        importlib.import_module(module.name)
"""


def test_every_module_imports_without_the_extras() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_no_optional_package_is_required() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert not {name for name in required if name.partition(">")[0].replace("-", "_") in OPTIONAL}


def test_an_export_without_its_package_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.cli_base import call, write_csv

    rows = [(f"lamp of {word} {i}", i % 7 + 0.5) for i, word in enumerate(["oak", "steel", "glass"] * 20)]
    data = write_csv(tmp_path / "t.csv", ("text", "price"), rows)
    assert call("fit", data, "--target", "price", "--regime", "linear", "--out", tmp_path / "run").code == 0
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    answer = call("export", tmp_path / "run", "--to", "onnx", "--out", tmp_path / "out")
    assert answer.code == 2 and "needs the package 'onnxruntime'" in answer.err and "Traceback" not in answer.err
