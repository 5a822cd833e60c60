"""Benchmarks on many rows: cells are measured once, and differences are paired by test row."""

from pathlib import Path

import numpy as np
import pytest

import catalog_800k
import many_rows
import releases
from many_rows import Cell, Parts, measure_cell, numbered, rows_of, run_cells, summary


def few(data: Path | None) -> Parts:
    names = ("tent", "sofa", "lamp", "drill")
    words = [f"{names[i % 4]} {names[i // 4 % 4]}" for i in range(240)]
    ages = np.array([10.0 ** (1 + i % 4 / 4) + i % 3 for i in range(240)])
    rows = rows_of(words, ages, [str(i // 2) for i in range(240)])
    return Parts(releases.AGE, rows.take(np.arange(160)), rows.take(np.arange(160, 240)))


def test_cells_are_measured_once_and_paired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell(name, 100, seed) for name in ("constant", "linear") for seed in (0, 1)]
    for cell in cells:
        measure_cell(cell, few, None, tmp_path)
    monkeypatch.setattr(many_rows.multiprocessing, "get_context", lambda _: pytest.fail("they are there already"))
    run_cells(cells, few, None, tmp_path)

    lines = summary(("constant", "linear", "scratch-dnn"), (100,), 2, tmp_path, numbered(few(None).test.keys))

    constant, linear = lines
    assert (constant["regime"], linear["regime"], linear["seeds"]) == ("constant", "linear", 2)
    assert linear["error"] < 0.1 < constant["error"]
    assert linear["less_constant"] == pytest.approx(linear["error"] - constant["error"], abs=1e-4)
    low, high = linear["less_constant_interval"]
    assert low < linear["less_constant"] < high < 0
    assert "less_linear" not in constant or constant["less_linear"] > 0
    assert linear["peak_bytes"] > 0 and len(linear["cpu_seconds"]) == 2


def test_the_catalog_is_the_same_every_time() -> None:
    parts = catalog_800k.read_parts(None, rows=300)
    assert len(parts.test) == catalog_800k.TEST_ROWS and len(parts.pool) == 300 + catalog_800k.VALIDATION_ROWS
    again = catalog_800k.read_parts(None, rows=300)
    assert list(again.test.texts[:3]) == list(parts.test.texts[:3])
    assert (again.pool.targets == parts.pool.targets).all() and (parts.pool.targets > 0).all()
    assert {len(title.split()) >= 2 for title in parts.pool.texts} == {True}
