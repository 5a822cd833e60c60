"""Hostile: a part of `make hostile` that is quick, one case or two of each kind."""

import subprocess
import sys
from pathlib import Path

import pytest

from hostile.cases import CASES
from hostile.trial import ROOT, start_server, try_case

QUICK = (
    "model folder: code, y on stdin",
    "model folder: tokenizer that makes 10^8 of one",
    "table: Parquet of 4 KB that unpacks to 4 GB",
    "table: 200,000 columns",
    "study folder: report.html is a link",
    "study folder: a run outside",
    "surroundings: a width of 0",
    "surroundings: a locale that is not UTF-8",
    "surroundings: a full disk for the output",
)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    start_server()
    subprocess.run([sys.executable, "-m", "hostile.make", str(folder)], check=True, cwd=ROOT)
    return folder


@pytest.mark.timeout(600)  # the first one waits until everything is imported
@pytest.mark.parametrize("name", QUICK)
def test_nothing_of_a_stranger_does_harm(name: str, material: Path) -> None:
    case = next(case for case in CASES if f"{case.kind}: {case.name}" == name)
    assert try_case(case, material).wrong == ()
