"""Trials: what is done to a command, and what must be left of it? A row of the table for each.

A trial raises BrokenError where a promise is broken. It is made from its number and its dice alone, so that one that
failed can be repeated.
"""

import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torture.faults import (
    PLACES,
    AfterSeconds,
    BadRow,
    DiskFull,
    NotANumber,
    OutOfMemory,
    PowerCut,
    SaveEvery,
    Stop,
    StopInSave,
)
from torture.processes import Ended, Strike, call
from torture.workshop import (
    TWO_STAGES,
    BrokenError,
    Case,
    Workshop,
    differing,
    digest,
    expect,
    fit,
    record,
    search,
    study,
)

CLOSE = 1e-6  # between weights with and without a step that ran out of memory

FULL, LORA, FROZEN, NETWORK = fit("full"), fit("lora"), fit("frozen"), fit("scratch-dnn")
DISCRIMINATIVE = fit("discriminative", "--word-dropout", "0.2")
KILLED = (search("full"), LORA, DISCRIMINATIVE, FROZEN, NETWORK)
STUDY = study("constant", "frozen", "full")
REGIMES = (
    *("full", "lora", "discriminative", "frozen", "top-layers", "scratch", "scratch-dnn"),
    *(TWO_STAGES, "hybrid", "self-pretrained"),
)
GRID = tuple(
    (fit(regime, "--word-dropout", words, *pieces), share)
    for words, pieces, share, regime in itertools.product(
        ("0", "0.2"), ((), ("--micro-batch", "5")), (0.1, 0.5, 0.95), REGIMES
    )
)
EXACT = tuple(
    fit(name, "--dropout", "0", "--precision", "fp32", lr="1e-4")
    for name in ("full", "discriminative", "lora", "frozen")
)


@dataclass(frozen=True)
class Trials:
    """One row of the table."""

    name: str
    asked: int
    goal: str
    trial: Callable[[Workshop, int, random.Random], None]


def kill(shop: Workshop, number: int, generator: random.Random) -> None:
    """At a random moment; every other run is killed a second time, while it is being resumed."""
    case = KILLED[number % len(KILLED)]
    out = shop.vacant()
    struck(shop, case, out, signal.SIGKILL, generator.uniform(0, shop.reference(case).seconds))
    if number % 2:
        strike = Strike(signal.SIGKILL, generator.uniform(0, shop.reference(case).seconds), out)
        shop.resume(case, out, strike=strike)
    shop.expect_same(case, out)


def kill_in_save(shop: Workshop, number: int, generator: random.Random) -> None:
    """At a random line of a random save; every other time the power is gone too."""
    case = KILLED[number % len(KILLED)]
    saves = shop.saves(case)
    save = generator.randrange(len(saves))
    out = shop.vacant()
    line = generator.randrange(saves[save])
    fault = PowerCut(save, line, out) if number % 2 else StopInSave(save, line, signal.SIGKILL)
    expect(shop.run(case, out, [fault]), -signal.SIGKILL)
    shop.expect_same(case, out)


def kill_study(shop: Workshop, number: int, generator: random.Random) -> None:
    """Runs that are finished must not be repeated."""
    out = shop.vacant()
    struck(shop, STUDY, out, signal.SIGKILL, generator.uniform(0, shop.reference(STUDY).seconds))
    finished = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/run.json")}
    expect(shop.resume(STUDY, out), 0)
    repeated = [path.parent.name for path, when in finished.items() if path.stat().st_mtime_ns != when]
    if repeated:
        raise BrokenError(f"done twice: {', '.join(repeated)}")
    shop.expect_same(STUDY, out)


def kill_waited_for(shop: Workshop, number: int, generator: random.Random) -> None:
    """It must go on by itself. Every third time the one that waits is killed: then the other one must stop."""
    out, tally = shop.vacant(), shop.folder / "tally"
    after, who_waits = generator.uniform(0, shop.reference(STUDY).seconds), number % 3 == 2
    while True:
        ended = shop.run_waited_for(STUDY, out, [AfterSeconds(after, tally, who_waits)])
        if tally.exists():
            break
        expect(ended, 0)  # it was quicker than expected
        shutil.rmtree(out)
        after *= 0.8
    tally.unlink()
    printed = expect(ended, -signal.SIGKILL if who_waits else 0)
    if who_waits and "stopped; finished work is kept" not in printed:
        raise BrokenError(f"nobody waits any more, and it did not stop: {printed}")
    if not who_waits and digest(out) != shop.reference(STUDY).digest:
        raise BrokenError(f"not as without interruption: {differing(out, shop.reference(STUDY).folder)}")
    shop.expect_same(STUDY, out)


def struck(shop: Workshop, case: Case, out: Path, number: signal.Signals, after: float) -> Ended:
    """How a command ended that was sent a signal on the way. One that was quicker than expected is begun again."""
    while True:
        ended = shop.run(case, out, strike=Strike(number, after, out / "request.json"))
        if ended.struck and (ended.code or unfinished(out, ended.struck)):
            return ended
        expect(ended, 0)
        shutil.rmtree(out)
        after *= 0.8


def unfinished(out: Path, when: float) -> bool:
    """Whether a run was not recorded yet at that time."""
    return any(path.stat().st_mtime > when for path in out.rglob("run.json"))


def grid(shop: Workshop, number: int, generator: random.Random) -> None:
    """Stopped after a certain step."""
    case, share = GRID[number]
    out = shop.vacant()
    step = max(1, round(share * shop.reference(case).steps))
    expect(shop.run(case, out, [Stop(step, signal.SIGKILL, out / "plan.json")]), -signal.SIGKILL)
    shop.expect_same(case, out)


def flip(shop: Workshop, number: int, generator: random.Random) -> None:
    """One bit of one file of the newest checkpoint."""

    def flipped(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)

    damage(shop, number, generator, flipped)


def truncate(shop: Workshop, number: int, generator: random.Random) -> None:
    """One file of the newest checkpoint, from a random byte on."""
    damage(shop, number, generator, lambda path: os.truncate(path, generator.randrange(path.stat().st_size)))


def damage(shop: Workshop, number: int, generator: random.Random, harm: Callable[[Path], None]) -> None:
    """The one before must be used instead; every 25th run is resumed as well."""
    case = (FROZEN, FULL, LORA, NETWORK)[number % 4]
    out = shop.vacant()
    shutil.copytree(shop.stopped(case), out)
    before, newest = sorted((out / "checkpoint").iterdir())
    path = generator.choice(sorted(newest.iterdir()))
    harm(path)
    found = shop.newest(out)
    if found != before.name:
        raise BrokenError(f"{path.name} was damaged, and {found} was taken, not {before.name}")
    shop.expect_same(case, out) if number % 25 == 0 else shutil.rmtree(out)


def disk_full(shop: Workshop, number: int, generator: random.Random) -> None:
    """No file can grow beyond a size: none at first, in the end nearly enough.

    From the beginning of a random save on; every fifth time after the last save, when only the model is to be written.
    """
    case = (FROZEN, FULL, LORA, NETWORK)[number % 4]
    saves = shop.saves(case)
    out = shop.vacant()
    save, line = (len(saves) - 1, saves[-1] - 1) if number % 5 == 4 else (generator.randrange(1, len(saves)), 0)
    pattern = "head.safetensors" if line else "tensors.safetensors"
    folder = shop.reference(case).folder if line else shop.stopped(case)
    largest = next(folder.rglob(pattern)).stat().st_size
    size = largest * (number % 30) // 30
    printed = expect(shop.run(case, out, [DiskFull(save, line, size)]), 1)
    if len(re.findall("^error: ", printed, re.MULTILINE)) != 1 or "Traceback" in printed:
        raise BrokenError(f"not one message: {printed}")
    if shop.newest(out) is None:
        raise BrokenError(f"no checkpoint is left where files of {size} bytes fill the disk")
    shop.expect_same(case, out)


def terminate(shop: Workshop, number: int, generator: random.Random) -> None:
    """By turns at a random moment, in a save, and in a step after which none is due: only the signal makes one."""
    case = KILLED[1:][number // 3 % 4]
    reference = shop.reference(case)
    out, step = shop.vacant(), 0
    if number % 3 == 0:
        ended = struck(shop, case, out, signal.SIGTERM, generator.uniform(0, 0.9 * reference.seconds))
    elif number % 3 == 1:
        saves = shop.saves(case)
        save = len(saves) - 1 if number % 2 else generator.randrange(len(saves))  # the last one, after the last step
        ended = shop.run(case, out, [StopInSave(save, generator.randrange(saves[save]), signal.SIGTERM)])
    else:
        step = generator.randrange(1, reference.steps)
        ended = shop.run(case, out, [Stop(step, signal.SIGTERM, out / "plan.json"), SaveEvery(3600)])
    expect(ended, 143)
    saved = sorted(path.name for path in (out / "checkpoint").glob("*-*"))
    newest = shop.newest(out)
    if newest != (saved[-1] if saved else None):
        raise BrokenError(f"of {', '.join(saved)}, {newest} would be used")
    if step and (newest is None or int(newest.rpartition("-")[2]) != step):
        raise BrokenError(f"stopped in step {step}, saved {newest}")
    shop.expect_same(case, out)


def not_a_number(shop: Workshop, number: int, generator: random.Random) -> None:
    """For one step, two, three in a row, for ever, or for one row in all epochs; stopped on the way and resumed."""
    case = KILLED[1:][number % 4]
    place = PLACES[number // 4 % 2]
    out = shop.vacant()
    plan = out / "plan.json"
    first = generator.randrange(1, shop.reference(case).steps // 2)
    count = (1, 2, 3, 1000, 0)[number % 5]
    if not count:
        expect(shop.run(case, out, [BadRow(place), Stop(first, signal.SIGKILL, plan)]), -signal.SIGKILL)
        shop.expect_finite(out)
        shop.expect_same(case, out, (BadRow(place),))
        return
    fault = NotANumber(first, count, generator.choice([float("nan"), float("inf"), -float("inf")]), place, plan)
    expect(shop.run(case, out, [fault]), 1 if count == 1000 else 0)
    shop.expect_finite(out)
    if count == 1000:
        return
    caveats = " ".join(record(out)["caveats"])
    if "rows" not in caveats or ("went back" in caveats) != (count == 3):
        raise BrokenError(f"{count} bad steps, and run.json says: {caveats}")
    whole = digest(out)
    shutil.rmtree(out)
    expect(shop.run(case, out, [fault, Stop(first, signal.SIGTERM, plan)]), 143)  # the first step that is fine again
    expect(shop.resume(case, out), 0)
    if digest(out) != whole:
        raise BrokenError(f"{count} bad steps from step {first} on, resumed: not as without interruption")


def out_of_memory(shop: Workshop, number: int, generator: random.Random) -> None:
    """More than some rows do not fit from some step on, without dropout."""
    case = EXACT[number % len(EXACT)]
    reference = shop.reference(case)
    out = shop.vacant()
    first = 1 + generator.randrange(record(reference.folder)["best_step"])
    place = PLACES[number // 4 % 2]
    fault = OutOfMemory(first, generator.choice([1, 3, 5, 8]), place, bool(number // 8 % 2), out / "plan.json")
    expect(shop.run(case, out, [fault]), 0)
    difference = float(expect(call("print_difference", out, reference.folder), 0))
    if not difference <= CLOSE:
        raise BrokenError(f"weights differ by {difference}")
    shutil.rmtree(out)


def same_hash(shop: Workshop, number: int, generator: random.Random) -> None:
    """A fresh interpreter with another hash seed."""
    out = shop.vacant()
    program = "import sys; from torture.children import command; command(*sys.argv[1:])"
    words = [sys.executable, "-c", program, *shop.words(DISCRIMINATIVE, out)]
    hash_seed = {"PYTHONHASHSEED": str(number)}
    done = subprocess.run(words, env=os.environ | hash_seed, capture_output=True, text=True)
    expect(Ended(done.returncode, done.stdout + done.stderr, 0.0), 0)
    if digest(out) != shop.reference(DISCRIMINATIVE).digest:
        raise BrokenError(f"another hash with PYTHONHASHSEED={number}")
    shutil.rmtree(out)


TABLE = (
    Trials("kill -9 at a random moment, resume", 70, "bit-identical", kill),
    Trials("kill -9 inside a save, resume", 30, "bit-identical", kill_in_save),
    Trials("kill -9 in a study, resume", 10, "bit-identical, none twice", kill_study),
    Trials("killed in a study, supervised", 10, "goes on, bit-identical", kill_waited_for),
    Trials("resume grid", len(GRID), "bit-identical", grid),
    Trials("a bit of a checkpoint flipped", 500, "found, one before used", flip),
    Trials("a checkpoint truncated", 100, "found, one before used", truncate),
    Trials("disk full", 30, "last checkpoint loads", disk_full),
    Trials("SIGTERM", 50, "saved, exit 143", terminate),
    Trials("NaN or infinity", 50, "no weight not finite", not_a_number),
    Trials("out of memory", 20, "weights within 1e-6", out_of_memory),
    Trials("same command, other hash seed", 10, "one hash", same_hash),
)
