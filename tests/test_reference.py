"""Do docs/commands.md, settings.md and api.md have the commands, settings and names of today?"""

import runpy
from pathlib import Path
from typing import Any

import pytest
import typer

import warmstart
from warmstart.cli.app import app
from warmstart.errors import flag
from warmstart.settings.groups import SETTINGS

DOCS = Path(__file__).parents[1] / "docs"
WRITE: dict[str, Any] = runpy.run_path(str(DOCS / "write_reference.py"))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    found: dict[str, str] = WRITE["pages"]()
    return found


@pytest.mark.parametrize("name", ["commands.md", "settings.md", "api.md"])
def test_the_committed_page_is_that_of_the_code(name: str, pages: dict[str, str]) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pages[name], "run `python docs/write_reference.py`"


def test_every_command_option_and_setting_is_there(pages: dict[str, str]) -> None:
    known = typer.main.get_group(app).commands
    for name, command in known.items():
        section = pages["commands.md"].partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        options = {word for each in command.params for word in each.opts if word.startswith("--")} - {"--help"}
        assert not {word for word in options if f"`{word}" not in section}, name
    assert not [name for name in SETTINGS if f"| `{flag(name)}`" not in pages["settings.md"] and name != "data"]


def test_a_setting_says_what_can_be_typed(pages: dict[str, str]) -> None:
    lines = {line.split("`")[1]: line for line in pages["settings.md"].splitlines() if line.startswith("| `")}
    assert "| whole number, 1 to 100 |" in lines["--seeds"] and "| 3 |" in lines["--seeds"]
    assert "`fp32`, `bf16`" in lines["--precision"]
    assert "`10m`" in lines["--budget"] and "30m" in lines["--budget"]
    assert "repeatable" in lines["--text"] and lines["--regime"].endswith("| fit |")
    assert "`--no-pretrained`" in lines["--pretrained"]


def test_every_public_name_is_there(pages: dict[str, str]) -> None:
    assert not [name for name in warmstart.__all__ if f"\n| `{name}` | " not in pages["api.md"]]
    assert pages["api.md"].count("<!-- site: ") == len(warmstart.__all__)
