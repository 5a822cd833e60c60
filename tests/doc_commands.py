"""Commands of the documents: which lines of README and docs/ are commands, and which of them can only be parsed?"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACEHOLDERS = ("DIR", "RUN", "COMMAND", "STUDY")  # stand for something in a command that is named in a sentence

# Not run by `make docs-test`, by document and beginning of the command, and why.
PARSED_ONLY = {
    ("cluster.md", "warmstart compare prices.csv --target price --on ray"): "the extra ray",
    ("cluster.md", "warmstart resume study "): "the extra ray",
    ("export.md", "warmstart push model someone/prices "): "the network: it uploads",
    ("search.md", "warmstart compare data.csv --target price --search 10m"): "ten minutes for each of ten regimes",
    ("tracking.md", "warmstart compare data.csv --target price --track mlflow"): "the extra mlflow",
    ("tracking.md", "warmstart compare data.csv --target price --track tensorboard"): "the extra tensorboard",
    ("tracking.md", "warmstart compare data.csv --target price --track wandb"): "the extra wandb",
}


@dataclass(frozen=True)
class DocumentCommand:
    """A line that begins with `warmstart`, or with `torchrun` and starts it."""

    document: str
    words: tuple[str, ...]  # as a shell would pass them, without what is redirected
    written_to: str | None  # the file behind `>`

    @property
    def line(self) -> str:
        return " ".join(self.words)

    @property
    def launcher(self) -> tuple[str, ...]:
        """What stands before `warmstart`, of a command that torchrun starts."""
        return self.words[: self.words.index("warmstart")]

    @property
    def name(self) -> str:
        """The command of warmstart, such as `fit`."""
        return self.words[len(self.launcher) + 1]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows it."""
        return self.words[len(self.launcher) + 2 :]

    @property
    def only_parsed(self) -> str | None:
        """Why it is not run; None: it is."""
        places = PARSED_ONLY.items()
        return next((why for (name, begin), why in places if self.document == name and self.matches(begin)), None)

    def matches(self, begin: str) -> bool:
        """Whether the line begins like this; a space at its end: and has nothing more."""
        return self.line == begin.rstrip() if begin.endswith(" ") else self.line.startswith(begin)


def commands_of(document: Path) -> Iterator[DocumentCommand]:
    """The commands that stand in lines of their own, in their order. A backslash continues one."""
    text = re.sub(r"^```text$.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)  # usage, output
    text = text.replace("\\\n", " ")
    for line in re.findall(r"^(?:warmstart|torchrun) .*$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        where = words.index(">") if ">" in words else len(words)
        redirected = words[where + 1] if where < len(words) else None
        yield DocumentCommand(document.name, tuple(words[:where]), redirected)


def commands_in_sentences(document: Path) -> Iterator[list[str]]:
    """Words of the commands that a sentence quotes: `warmstart resume study --budget 1h`."""
    text = document.read_text(encoding="utf-8")
    for quoted in re.findall(r"`warmstart ([a-z][^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        words = shlex.split(quoted.replace("\n", " "))
        if words[0] != "COMMAND":
            yield words
