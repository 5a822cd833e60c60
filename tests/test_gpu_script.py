"""GPU script: does every part of benchmarks/gpu.py run, with tiny shapes on a CPU, whatever happens to the others?"""

import json
import math
import subprocess
from pathlib import Path

import pytest

import gpu
import gpu_parts


def numbers(found: object) -> list[float]:
    if isinstance(found, dict):
        return [number for value in found.values() for number in numbers(value)]
    return [float(found)] if isinstance(found, int | float) else []


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of torch's own, while it compiles
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing. is deprecated:FutureWarning")  # PEFT's and Trainer's
@pytest.mark.parametrize("name", [part.name for part in gpu.PARTS])
def test_every_part_runs_with_tiny_shapes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "qlora":
        pytest.importorskip("bitsandbytes")
    if name == "golden":  # the other process, which sees no GPU, would only repeat this one
        said = json.dumps(gpu_parts.golden_losses(True))
        monkeypatch.setattr(subprocess, "run", lambda call, **given: subprocess.CompletedProcess(call, 0, said, ""))
    found = gpu_parts.PARTS[name](True)
    assert json.loads(json.dumps(found)) == found
    assert all(map(math.isfinite, numbers(found)))
    if name == "packing":
        assert found["first_losses_differ_by"] < 1e-3
        assert (found["padded"]["lines"], found["packed"]["lines"]) == (6, 1)
    elif name == "compiling":
        assert found["compiled"]["first_loss"] == pytest.approx(found["plain"]["first_loss"])
    elif name == "lora":
        assert "error" not in found["Trainer and PEFT"], found
        assert found["ours"]["learned"] == found["Trainer and PEFT"]["learned"]
        assert found["ours"]["last_loss"] < found["ours"]["first_loss"]
    elif name in ("scratch", "qlora"):
        assert found["last_loss"] < found["first_loss"] and found["tflops"] > 0
    elif name == "finetune":
        assert found["times_faster"] > 0
    elif name == "golden":
        assert set(found["largest_difference"].values()) == {0.0}
    else:
        assert found["largest_difference"] == 0.0


def test_the_parts_end_within_nine_minutes() -> None:
    assert {part.name for part in gpu.PARTS} == set(gpu_parts.PARTS)
    assert gpu.LONGEST <= 9 * 60


def test_a_part_that_fails_or_hangs_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gpu_parts.py").write_text(
        "import sys, time, json\n"
        "if sys.argv[1] == 'scratch': sys.exit('out of memory')\n"
        "if sys.argv[1] == 'lora': time.sleep(60)\n"
        "if sys.argv[1] == 'qlora': print('no result')\n"
        "else: print(json.dumps({'size': sys.argv[2]}))\n"
    )
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    parts = [gpu.Part("scratch", 30), gpu.Part("lora", 0.5), gpu.Part("qlora", 30), gpu.Part("golden", 30)]
    found = gpu.run_parts(parts, tmp_path / "found.json", 540, tiny=True)["parts"]
    assert found["scratch"]["error"] == "out of memory"
    assert "longer than" in found["lora"]["error"]
    assert "printed no result" in found["qlora"]["error"]
    assert found["golden"]["size"] == "tiny"
    assert json.loads((tmp_path / "found.json").read_text())["parts"] == found
    assert len(capsys.readouterr().out.splitlines()) == 4, "each is printed as it is found"


def test_what_there_is_no_time_for_is_said(tmp_path: Path) -> None:
    found = gpu.run_parts([gpu.Part("golden", 60)], tmp_path / "found.json", 10, tiny=True)
    assert found["parts"]["golden"] == {"skipped": "there was no time left"}


def test_the_share_of_the_peak_counts_what_is_trained() -> None:
    config, model = gpu_parts.llama(gpu_parts.TINY_EVEN)
    weights = gpu_parts.weights_of(model)
    table = config.vocab_size * config.hidden_size
    assert weights == sum(p.numel() for p in model.parameters()) - table
    found = gpu_parts.speed({"tokens_per_second": 1e9}, weights, 6)
    assert found["tflops"] == pytest.approx(6 * weights * 1e9 / 1e12)
