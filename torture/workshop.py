"""Workshop: what do the tests work with? Tiny commands, what they leave behind, and each one's uninterrupted run."""

import hashlib
import json
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torture.faults import CountLines, Stop
from torture.processes import Ended, Fault, Strike, call

LENGTH = ("--epochs", "4", "--batch-size", "16")  # 21 steps of 16 rows
TWO_STAGES = "probe-then-all"  # a regime made for this: the head first, then everything


class BrokenError(Exception):
    """Something is not as it was promised."""


@dataclass(frozen=True)
class Case:
    """A command whose every step is known."""

    words: tuple[str, ...]


def fit(regime: str, *flags: str, lr: str = "1e-3") -> Case:
    return Case(("fit", "--regime", regime, "--lr", lr, *LENGTH, *flags))


def search(regime: str) -> Case:
    """A fit that searches its rate first."""
    return Case(("fit", "--regime", regime, "--trials", "2", *LENGTH))


def study(*regimes: str) -> Case:
    return Case(("compare", "--regimes", ",".join(regimes), "--lr", "1e-3", "--seeds", "1", *LENGTH))


@dataclass(frozen=True)
class Reference:
    """A command that nothing has interrupted."""

    folder: Path
    digest: str
    seconds: float  # from its request to its record
    steps: int


@dataclass
class Workshop:
    """A folder to work in."""

    folder: Path
    references: dict[tuple[Case, tuple[Fault, ...]], Reference] = field(default_factory=dict)
    made: int = 0
    _stopped: dict[Case, Path] = field(default_factory=dict)
    _saves: dict[Case, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expect(call("materials", self.folder), 0)

    def vacant(self) -> Path:
        """A name for a folder that is not there yet."""
        self.made += 1
        return self.folder / f"run-{self.made}"

    def words(self, case: Case, out: Path) -> list[str]:
        command, *flags = case.words
        table, base = str(self.folder / "products.csv"), str(self.folder / "base")
        columns = ["--target", "price", "--text", "title"]
        return [command, table, *columns, "--base", base, *flags, "--out", str(out), "--quiet"]

    def run(self, case: Case, out: Path, faults: Sequence[Fault] = (), strike: Strike | None = None) -> Ended:
        return call("command", *self.words(case, out), faults=faults, strike=strike)

    def run_waited_for(self, case: Case, out: Path, faults: Sequence[Fault] = ()) -> Ended:
        """In a process for which another one waits."""
        return call("waited_for", *self.words(case, out), faults=faults)

    def resume(self, case: Case, out: Path, faults: Sequence[Fault] = (), strike: Strike | None = None) -> Ended:
        """Go on, as a person would: where not even the request was written, by the same command."""
        words = ["resume", str(out), "--quiet"] if (out / "request.json").exists() else self.words(case, out)
        return call("command", *words, faults=faults, strike=strike)

    def reference(self, case: Case, faults: tuple[Fault, ...] = ()) -> Reference:
        """The command without interruption; run once."""
        if (case, faults) not in self.references:
            out = self.vacant()
            expect(self.run(case, out, faults), 0)
            record = next(out.rglob("run.json"))
            self.references[case, faults] = Reference(
                out,
                digest(out),
                record.stat().st_mtime - (out / "request.json").stat().st_mtime,
                json.loads(record.read_text())["steps"],
            )
        return self.references[case, faults]

    def saves(self, case: Case) -> tuple[int, ...]:
        """The number of points in each save of the command at which a fault can strike."""
        if case not in self._saves:
            out, points = self.vacant(), self.folder / "points"
            expect(self.run(case, out, [CountLines(points)]), 0)
            self._saves[case] = tuple(map(int, points.read_text().split()))
            shutil.rmtree(out)
        return self._saves[case]

    def expect_same(self, case: Case, out: Path, faults: tuple[Fault, ...] = ()) -> None:
        """Resumed, it must end as the command without interruption did. Removes the folder then."""
        expect(self.resume(case, out, faults), 0)
        if digest(out) != self.reference(case, faults).digest:
            other = differing(out, self.reference(case, faults).folder)
            raise BrokenError(f"not as without interruption: {other}")
        shutil.rmtree(out)

    def stopped(self, case: Case) -> Path:
        """A run that was killed in its middle, checkpoints and all. Not to be touched."""
        if case not in self._stopped:
            out = self._stopped[case] = self.vacant()
            stop = Stop(self.reference(case).steps // 2, signal.SIGKILL, out / "plan.json")
            expect(self.run(case, out, [stop]), -signal.SIGKILL)
        return self._stopped[case]

    def newest(self, run: Path) -> str | None:
        """The checkpoint that `resume` would go on from."""
        found = expect(call("print_newest", run / "checkpoint"), 0).strip()
        return None if found == "None" else found

    def expect_finite(self, folder: Path) -> None:
        found = expect(call("print_not_finite", folder), 0)
        if found:
            raise BrokenError(f"weights that are no numbers: {found}")


def expect(ended: Ended, code: int) -> str:
    """What a command printed, if it ended with this code."""
    if ended.code != code:
        raise BrokenError(f"exit code {ended.code} instead of {code}: {ended.printed.strip()[-1500:]}")
    return ended.printed


def record(folder: Path) -> dict[str, Any]:
    """What run.json of a single fit holds."""
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def digest(folder: Path) -> str:
    """One hash of every weight and every score that a command left."""
    return hashlib.sha256(json.dumps(results(folder), sort_keys=True).encode()).hexdigest()


def results(folder: Path) -> dict[str, object]:
    """What must not depend on interruptions: the hash of each file of weights, and each record without its seconds."""
    found: dict[str, object] = {}
    for path in folder.rglob("*.safetensors"):
        if "checkpoint" in path.relative_to(folder).parts:
            continue
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in folder.rglob("run.json"):
        record = json.loads(path.read_text())
        points = [{key: value for key, value in point.items() if key != "seconds"} for point in record["points"]]
        kept = {key: record[key] for key in ("val", "test", "train", "lr", "steps", "best_step", "failed", "converged")}
        found[str(path.relative_to(folder))] = kept | {"points": points}
    return found


def differing(folder: Path, other: Path) -> str:
    mine, theirs = results(folder), results(other)
    return ", ".join(sorted(name for name in mine | theirs if mine.get(name) != theirs.get(name)))
