"""Bench: which benchmarks are there, and how is each part of them run?

    python benchmarks/bench.py                                    # lists the parts
    python benchmarks/bench.py cheap --data FOLDER [--dry-run]    # runs one; `make bench PART=cheap DATA=FOLDER`

A part answers one question and ends within two hours: what is not finished by then is stopped, and goes on where it was
when the part is run again, if its script keeps what is measured. FOLDER holds `debian.parquet`, `releases.parquet` and
`licences.parquet`; some tables, images and weights come in packages that each script names.
"""

import argparse
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from real_tables import packaged

HERE = Path(__file__).parent
LONGEST = 2 * 3600.0  # seconds of a part


@dataclass(frozen=True)
class Part:
    """A part: its question, how many hours it takes on two idle cores, and its commands after `python benchmarks/`."""

    question: str
    hours: float
    commands: tuple[str, ...]
    resumable: bool = True  # whether what is measured is kept when it is stopped


DEBIAN, RELEASES, LICENCES = "{data}/debian.parquet", "{data}/releases.parquet", "{data}/licences.parquet"
PARTS: dict[str, Part] = {
    "fine-tuning": Part("how long does fine-tuning take beside the usual loops?", 1.5, (f"run.py c1 --data {DEBIAN}",)),
    "together": Part(
        "how long do many regimes take together, beside one after another?",
        1.2,
        (f"run.py c2 --data {DEBIAN}", "together.py"),
    ),
    "frozen": Part("what do frozen layers save?", 1.0, (f"run.py c3 --data {DEBIAN}",)),
    "loop": Part("what does the training loop cost?", 0.9, ("run.py c4", "run.py c6", "tax.py", "own_parts.py")),
    "language": Part(
        "how long do language models train?", 0.4, tuple(f"run.py {t} --data {DEBIAN}" for t in ("l1", "l2"))
    ),
    "start": Part("how soon is there an answer?", 0.2, (f"start.py {DEBIAN}", "memory_maps.py"), resumable=False),
    "quality": Part("do regimes reach careful scripts?", 1.0, (f"quality.py {DEBIAN} --work {{work}}",)),
    "cheap": Part(
        "how good are cheap regimes, beside the same recipes by hand?",
        1.0,
        (f"strong.py {DEBIAN} --releases {RELEASES}", f"reference.py {DEBIAN} --releases {RELEASES}"),
        resumable=False,
    ),
    "mixed": Part(
        "what do networks make of columns beside a text?", 0.5, (f"mixed.py {DEBIAN} --label after",), resumable=False
    ),
    "many-rows": Part(
        "what do 400,000 and 800,000 rows take and bring?",
        1.5,
        (
            f"releases.py {RELEASES} --cells {{work}}/releases --rows 50000 400000",
            "catalog_800k.py --cells {work}/catalog --rows 800000 --regimes linear scratch-dnn",
        ),
    ),
    "trees": Part("are our trees as good as tuned ones?", 0.2, ("diamonds.py {diamonds}",), resumable=False),
    "autogluon": Part("are winners as good as AutoGluon's?", 1.8, ("autogluon.py --peer {peer} --data {data}",)),
    "few-rows": Part(
        "does SetFit's recipe win on few rows?",
        1.0,
        (f"contrastive.py {DEBIAN} --licences {LICENCES}",),
        resumable=False,
    ),
    "images": Part(
        "how good are regimes for images beside plain scripts?",
        1.0,
        (
            "fashion_mnist.py {images} --rows 5000 --size 64 --regimes full discriminative scratch-cnn",
            "photo_catalog.py --rows 4000",
            "image_tax.py",
        ),
        resumable=False,
    ),
    "image-curve": Part(
        "when do fine-tuning and training from scratch cross?",
        1.5,
        ("image_curve.py {images} --rows 250,1000,4000,16000 --size 64 --budget 2h --work {work}/image-curve",),
    ),
    "serve": Part("how many requests a second?", 0.3, (f"serve.py {DEBIAN}",), resumable=False),
    "hybrid": Part(
        "does the language of the domain help first?",
        2.0,
        (f"hybrid.py --packages {DEBIAN} --licences {LICENCES} --work {{work}}/hybrid",),
    ),
    "forgetting": Part(
        "what is forgotten, and what helps?",
        0.7,
        (f"forgetting.py {DEBIAN} --work {{work}}/forgetting", f"pull.py {DEBIAN} --work {{work}}/pull"),
    ),
    "new-data": Part("keep, continue or retrain?", 1.0, (f"new_data.py {DEBIAN} --work {{work}}/new-data",)),
    "splits": Part("are intervals of repeated splits right?", 0.2, ("splits.py",), resumable=False),
    "budgets": Part(
        "are budgets kept, and do they change the verdict?", 9.0, ("budgets.py --data {data} --work {work}/budgets",)
    ),
    "advice": Part(
        "does `advise` find what running everything finds?",
        10.0,
        ("advice/measure.py --data {data} --work {work}/advice", "advice/replay.py"),
    ),
    "plan": Part("how close are the forecasts of `plan`?", 1.0, (f"plan_accuracy.py --packages {DEBIAN}",)),
    "memory": Part("how much memory do five million rows take?", 0.5, ("stream.py",), resumable=False),
    "ray": Part("what do two workers of Ray bring?", 0.3, ("ray_study.py",), resumable=False),
    "gpu": Part("how fast is a GPU used?", 0.2, ("gpu.py",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", help="none: list the parts")
    parser.add_argument("--data", type=Path, default=Path("."))
    parser.add_argument("--images", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--peer", default="python", help="of AutoGluon's environment")
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    given = parser.parse_args()
    if not given.part:
        print("\n".join(f"{name:<12} {part.hours:>4.1f} h  {part.question}" for name, part in PARTS.items()))
        return
    if given.part not in PARTS:
        sys.exit(f"there is no part {given.part!r}; there are: {', '.join(PARTS)}")
    names = {"data": given.data, "images": given.images, "work": given.work, "peer": given.peer}
    if given.part == "trees":
        names["diamonds"] = packaged("plotnine", "data/diamonds.csv")
    commands = [[sys.executable, *_words(command, names)] for command in PARTS[given.part].commands]
    if given.dry_run:
        print("\n".join(" ".join(command) for command in commands))
    elif not run(commands, LONGEST):
        again = "run it again to go on" if PARTS[given.part].resumable else "nothing of the last command was kept"
        sys.exit(f"{given.part}: stopped after {LONGEST / 3600:.0f} hours; {again}")


def _words(command: str, names: dict[str, object]) -> list[str]:
    script, *words = command.split()
    return [str(HERE / script), *(word.format(**names) for word in words)]


def _interruptible() -> None:
    """What a shell starts in the background ignores interrupts, and hands that on to its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(commands: list[list[str]], longest: float) -> bool:
    """One command after another; False if they were stopped after so many seconds. Exits where one fails."""
    end = time.monotonic() + longest
    for command in commands:
        print("$", " ".join(command), flush=True)
        process = subprocess.Popen(command, preexec_fn=_interruptible)
        try:
            code = process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
            return False
        if code:
            sys.exit(code)
    return True


if __name__ == "__main__":
    main()
