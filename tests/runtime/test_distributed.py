"""Engine: do two processes come to what one comes to?"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from tests.cli_base import call, products
from tests.engine_worker import CHANGES, FIRST, JOBS, PLAIN, carried_out, facts_of, some, start
from tests.tiny import examples_of, model_of, save_tiny_base, stream_of
from warmstart.data.encoding.examples import BatchStream
from warmstart.errors import UsageError
from warmstart.models.fsdp import fully_sharded
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base, find_base
from warmstart.regimes.full import Full
from warmstart.regimes.starts import Pretrained
from warmstart.runtime.distributed import ALONE, Distributed
from warmstart.training.checkpoint import find_damage
from warmstart.training.config import TrainConfig
from warmstart.training.loop import State, start_training, train
from warmstart.training.run_data import RunData

ROOT = Path(__file__).parents[2]
CLOSE = 1e-5  # of losses, at dropout 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes see, with what one process has begun."""
    folder = tmp_path_factory.mktemp("engine")
    base = find_base(str(save_tiny_base(folder / "base")), max_length=32)
    products(folder / "products.csv")
    for name in CHANGES:
        some(start(JOBS[name], base, JOBS[name].config, folder / "begun by one" / name), FIRST)
    return folder


@pytest.fixture(scope="module")
def found(shared: Path) -> list[dict[str, Any]]:
    """What each of two processes found."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    torchrun += ["--rdzv-endpoint", "localhost:0", "--local-addr", "localhost"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, str(ROOT / "tests" / "engine_worker.py"), str(shared)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((shared / f"found-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def its_base(shared: Path) -> Base:
    return find_base(str(shared / "base"), max_length=32)


def alone(name: str, base: Base) -> dict[str, Any]:
    job = JOBS[name]
    return facts_of(*carried_out(start(job, base, job.alone or job.config)))


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_have_the_losses_of_one(name: str, found: list[dict[str, Any]], its_base: Base) -> None:
    expected = alone(name, its_base)
    for facts in (found[0][name], found[1][name]):
        for measured in ("losses", "looks"):
            assert facts[measured] == pytest.approx(expected[measured], abs=CLOSE, rel=0), measured
        assert facts["norms"] == pytest.approx(expected["norms"], rel=1e-4)  # Adam blows up gradients of 1e-9
    assert found[0][name] == found[1][name]  # weights and all, to the last bit


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_order_of_rows_is_the_same_for_any_number(processes: int, base: Base, regression: RunData) -> None:
    whole = stream_of(examples_of(regression, base), TrainConfig(steps=1, lr=1.0, batch_size=9))  # 84 = 9 * 9 + 3
    parts = [BatchStream(whole.examples, whole.order, world=Distributed(rank, processes)) for rank in range(processes)]
    for step in range(12):
        for at_most in (None, 2):
            pieces = [part.at(step, at_most) for part in parts]
            assert len({len(found) for found in pieces}) == 1  # who waits in a backward pass is waited for
            seen = [piece for found in pieces for piece in found if piece.share]
            (batch,) = whole.at(step)
            assert np.concatenate([piece.targets for piece in seen]).tolist() == batch.targets.tolist()
            assert sum(piece.share for piece in seen) == pytest.approx(processes)


@pytest.mark.parametrize("name", CHANGES)
def test_what_one_began_two_go_on_with(name: str, found: list[dict[str, Any]], its_base: Base) -> None:
    expected = alone(name, its_base)
    for facts in (found[0], found[1]):
        assert facts[f"{name}, gone on with"]["losses"] == pytest.approx(expected["losses"][FIRST:], abs=CLOSE)


@pytest.mark.parametrize("name", CHANGES)
def test_what_two_began_one_goes_on_with(name: str, found: list[dict[str, Any]], shared: Path, its_base: Base) -> None:
    folder = shared / "begun by two" / name
    (checkpoint,) = folder.iterdir()
    assert find_damage(checkpoint) is None
    files = sorted(entry.name for entry in checkpoint.glob("tensors*"))
    assert files == (["tensors-00001.safetensors", "tensors.safetensors"] if "sharded" in name else files[:1])
    config = JOBS[name].config
    steps, trained = carried_out(start(JOBS[name], its_base, config, folder))
    assert [step.loss for step in steps] == pytest.approx(alone(name, its_base)["losses"][FIRST:], abs=CLOSE)
    assert any("processes" in caveat for caveat in trained.caveats)


def test_a_lost_part_of_a_checkpoint_is_damage(shared: Path, found: list[dict[str, Any]], tmp_path: Path) -> None:
    (checkpoint,) = (shared / "begun by two" / "full, sharded").iterdir()
    copy = tmp_path / checkpoint.name
    copy.mkdir()
    for entry in checkpoint.iterdir():
        (copy / entry.name).write_bytes(entry.read_bytes())
    assert find_damage(copy) is None
    (copy / "tensors-00001.safetensors").unlink()
    assert find_damage(copy)


def test_a_signal_to_one_stops_both_after_the_same_step(found: list[dict[str, Any]]) -> None:
    assert found[0]["signal"] == found[1]["signal"] == {"steps": 3, "saved": ["0-0-00000003"]}


def test_memory_that_one_lacks_makes_the_pieces_of_both_smaller(found: list[dict[str, Any]], its_base: Base) -> None:
    assert found[0]["memory"]["losses"] == pytest.approx(alone("full", its_base)["losses"], abs=CLOSE)
    assert found[0]["memory"] == found[1]["memory"]


def test_ddp_gives_the_same_gradients(found: list[dict[str, Any]], its_base: Base) -> None:
    assert found[0]["ddp"]["losses"] == pytest.approx(alone("full", its_base)["losses"], abs=CLOSE)
    assert found[0]["ddp"] == found[1]["ddp"]


def test_evaluation_is_shared_and_gives_the_same(found: list[dict[str, Any]]) -> None:
    assert found[0]["evaluation"] == found[1]["evaluation"]
    assert found[0]["evaluation"]["same"] and found[0]["evaluation"]["batches"] % 2  # one has no last batch


def test_an_error_of_one_is_raised_by_all(found: list[dict[str, Any]]) -> None:
    for facts in found:
        assert facts["errors"] == {"said": ["only here."] * 2, "agreed": 0, "most": [1, 5]}


def test_fit_leaves_one_folder_and_one_voice(found: list[dict[str, Any]], shared: Path) -> None:
    main, other = found[0]["fit"], found[1]["fit"]
    assert main["code"] == other["code"] == 0, main["err"] + other["err"]
    assert main["out"] and not other["out"] and not other["err"]
    run = json.loads((shared / "run" / "run.json").read_text())
    assert run["environment"]["processes"] == 2 and run["trials"]
    assert not (shared / "run" / "checkpoint").exists()
    done = call("predict", shared / "run", shared / "products.csv", "--out", shared / "predicted.csv")
    assert done.code == 0, done.err
    again = found[0]["resume"]
    assert again["code"] == 0 and "nothing is left to train" in again["err"] and not found[1]["resume"]["err"]


def test_one_process_fits_the_same(found: list[dict[str, Any]], shared: Path) -> None:
    words = ("--regime", "full", "--length", "0.02", "--precision", "fp32", "--dropout", "0")
    done = call(
        "fit", shared / "products.csv", "--target", "price", "--base", shared / "base", "--out", shared / "one", *words
    )
    assert done.code == 0, done.err
    one, two = (json.loads((shared / name / "run.json").read_text()) for name in ("one", "run"))
    assert one["lr"] == two["lr"] and one["test"] == pytest.approx(two["test"], abs=CLOSE)


def test_fit_with_shards_leaves_a_whole_model(found: list[dict[str, Any]], shared: Path) -> None:
    assert found[0]["fit, sharded"]["code"] == 0, found[0]["fit, sharded"]["err"]
    done = call("predict", shared / "sharded", shared / "products.csv", "--out", shared / "by shards.csv")
    assert done.code == 0, done.err


def test_what_is_wrong_is_said_once(found: list[dict[str, Any]]) -> None:
    for case, words in (("there already", "already exists"), ("compare", "compare runs in one process, not in 2.")):
        main, other = found[0][case], found[1][case]
        assert main["code"] == other["code"] == 2
        assert words in main["err"] and not other["err"]


def test_one_process_is_alone_and_asks_nobody() -> None:
    assert ALONE.main and ALONE.gather(lambda: 3) == [3] and ALONE.on_main(lambda: 4) == 4
    assert ALONE.all_reduce_max(1, 0) == (1, 0) and ALONE.mean(0.5) == 0.5 and ALONE.mean(None) is None
    code = "import sys, warmstart.runtime.distributed as e; e.world();"
    code += "assert not {'torch', 'accelerate'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})


def test_memory_that_runs_out_while_others_wait_ends_this_process(regression: RunData, base: Base) -> None:
    """Recorded as a run that failed, it would wait for those that wait for it."""
    model, rates = model_of(Full(), Pretrained(base).body(0), regression.task)
    steps = train(
        start_training(model, rates, PLAIN), regression.task, stream_of(examples_of(regression, base), PLAIN), PLAIN
    )
    scarce = patch.object(Model, "forward", side_effect=MemoryError)
    with patch.object(State, "synchronizes", True), scarce, pytest.raises(OSError, match="--micro-batch") as raised:
        next(steps)
    assert raised.value.errno == errno.ENOMEM


def test_weights_in_4_bits_are_not_cut(regression: RunData, base: Base) -> None:
    model, _ = model_of(Full(), Pretrained(base).body(0), regression.task)
    model.body.packed = nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
    with (
        pytest.raises(UsageError, match=r"4 bits cannot be cut.*\nhint: leave --shard out"),
        fully_sharded(model, Distributed(0, 2)),
    ):
        pass


def test_plain_jobs_have_an_uneven_last_batch(regression: RunData) -> None:
    assert len(regression.splits.train) % PLAIN.batch_size == 4
