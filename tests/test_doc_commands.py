"""Can every command in README and docs/ be typed as it stands there? `make docs-test` also runs them."""

from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from tests.doc_commands import (
    DOCUMENTS,
    PARSED_ONLY,
    PLACEHOLDERS,
    DocumentCommand,
    commands_in_sentences,
    commands_of,
)
from warmstart.cli.app import app
from warmstart.cli.flags import CONFIG, request_from_flags
from warmstart.settings.groups import SETTINGS
from warmstart.settings.setting import Command

KNOWN = typer.main.get_group(app).commands


def parsed(name: str, words: list[str]) -> dict[str, Any]:
    """What the command would be called with. An unknown or missing option is an error, and so is a setting's value."""
    command: Any = KNOWN[name]
    given: dict[str, Any] = command.make_context(name, words).params
    if name in get_args(Command):
        typed = {key: value for key, value in given.items() if key in SETTINGS or key == CONFIG}
        if not typed.get(CONFIG):
            request_from_flags({"data": None} | typed, name)  # type: ignore[arg-type]
    return given


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_can_be_typed(document: Path) -> None:
    for command in commands_of(document):
        assert command.name in KNOWN, command.line
        assert parsed(command.name, list(command.arguments)) is not None, command.line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_sentences_and_their_flags_exist(document: Path) -> None:
    for name, *words in commands_in_sentences(document):
        assert name in KNOWN, name
        flags = {flag for each in KNOWN[name].params for flag in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if word.startswith("--") and word.strip(".") != "--"} - flags <= {"--help"}, (
            words
        )
        if words and not any(word in PLACEHOLDERS or word.startswith("--") for word in words):
            assert parsed(name, [*words, *needed(name)]) is not None, words


def needed(name: str) -> list[str]:
    """Options without which a command cannot be: a sentence may leave them out."""
    return [word for each in KNOWN[name].params if each.required and each.opts[0].startswith("--")
            for word in (each.opts[0], "x")]  # fmt: skip


def test_each_command_that_is_only_parsed_is_in_the_documents() -> None:
    every = [command for document in DOCUMENTS for command in commands_of(document)]
    for name, begin in PARSED_ONLY:
        assert any(each.document == name and each.matches(begin) for each in every), begin
    assert sum(each.only_parsed is None for each in every) > 80


def test_a_command_is_read_as_a_shell_reads_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        'warmstart check "a/*.csv" --target x   # a remark\n'
        "torchrun --nproc-per-node 2 -m warmstart fit a.csv \\\n    --out b\n"
        "```text\nwarmstart fit [OPTIONS]\n```\nwarmstart config-schema > c.json\n    warmstart indented\n"
    )
    check, fit, schema = commands_of(page)
    assert check == DocumentCommand("page.md", ("warmstart", "check", "a/*.csv", "--target", "x"), None)
    assert (fit.launcher[0], fit.name, fit.arguments) == ("torchrun", "fit", ("a.csv", "--out", "b"))
    assert (schema.name, schema.arguments, schema.written_to) == ("config-schema", (), "c.json")
