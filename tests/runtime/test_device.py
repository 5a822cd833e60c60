"""Device: is what it says about this machine true, and is a wrong wish refused?"""

import numpy as np
import pytest

from warmstart.errors import UsageError
from warmstart.runtime import device
from warmstart.runtime.environment import current_environment, version


def test_precision_is_what_was_asked_for_or_what_the_hardware_has() -> None:
    assert device.precision("fp32") == "fp32" and device.precision() in device.PRECISIONS
    with pytest.raises(UsageError, match=r"precision 'fp8' is not known.\nhint: use auto, fp32 or bf16"):
        device.precision("fp8")


def test_bf16_is_refused_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    assert device.precision("auto") == "fp32"
    with pytest.raises(UsageError, match="no bf16 arithmetic"):
        device.precision("bf16")


def test_the_environment_names_what_results_depend_on() -> None:
    found = current_environment("fp32")
    assert found.precision == "fp32" and found.cores >= 1 and found.memory_bytes > 2**28
    assert found.torch[0].isdigit() and found.transformers[0].isdigit() and found.date.endswith("+00:00")
    assert version("no-such-package") == "not installed"


def test_the_peak_grows_with_what_is_held() -> None:
    device.reset_peak_memory()
    before = device.peak_memory()
    if before is None:
        pytest.skip("this system does not tell its peak")
    held = np.ones(25_000_000)  # 200 MB, written to
    after = device.peak_memory()
    assert after is not None and after - before > 0.9 * held.nbytes
