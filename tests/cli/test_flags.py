"""Flags: does every key of a request have its words, and does every command show and read the flags that it takes?"""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import pytest

from tests.cli_base import call
from warmstart import api
from warmstart.data.schema.schema import TaskName
from warmstart.errors import UsageError, flag
from warmstart.request.request import Request
from warmstart.settings.groups import SETTINGS, settings_of_command
from warmstart.settings.setting import Command

OTHERS = {  # flags that are no keys of a request
    "check": {"--config", "--json", "--help"},
    "plan": {"--config", "--json", "--quiet", "--help"},
    "compare": {"--config", "--json", "--quiet", "--help", "--out", "--dry-run"},
    "advise": {"--config", "--json", "--quiet", "--help", "--out", "--dry-run"},
    "fit": {"--config", "--json", "--quiet", "--help", "--out", "--dry-run"},
}


def test_every_key_of_a_request_is_declared_once() -> None:
    assert set(SETTINGS) == {field.name for field in fields(Request)} - {"command", "noise_floor"}
    assert {command for each in SETTINGS.values() for command in each.commands} == set(get_args(Command))
    assert SETTINGS["task"].choices == get_args(TaskName)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_has_a_sentence_of_help(name: str) -> None:
    text = SETTINGS[name].setting.help
    assert re.fullmatch(r"[A-Z].*\.", text) and not re.match("The |A |An ", text)


def squeezed(text: str) -> str:
    """Lines are broken anywhere, at hyphens too."""
    return "".join(text.split())


@pytest.mark.parametrize("command", get_args(Command))
def test_help_lists_the_flags_that_a_command_takes(command: Command) -> None:
    answer = call(command, "--help")
    listed = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", answer.out, re.MULTILINE))
    assert (
        answer.code == 0
        and listed == {flag(key) for key in settings_of_command(command) if key != "data"} | OTHERS[command]
    )
    words = squeezed(answer.out)
    assert all(
        squeezed(SETTINGS[key].help if key != "data" else SETTINGS[key].setting.help) in words
        for key in settings_of_command(command)
    )
    assert ("--no-examples" in answer.out, "--no-log" in answer.out) == (
        command in ("compare", "advise"),
        "log" in settings_of_command(command),
    )


def test_numbers_are_said_to_be_numbers() -> None:
    out = call("compare", "--help").out
    assert re.search(r"--lr <float>", out) and re.search(r"--batch-size <int>", out) and re.search(r"--rows <str>", out)


def test_flags_become_values(tmp_path: Path) -> None:
    words = ("--lr", "1e-3", "--seeds", "2", "--no-log", "--offline", "--text", "a", "--text", "b", "--rows", "30,60")
    with patch.object(api, "start", side_effect=UsageError("enough")) as begin:
        call("compare", "x.csv", "--target", "price", *words, "--out", tmp_path)
    asked = Request(("x.csv",), "price", lr=1e-3, seeds=2, log=False, offline=True, text=("a", "b"), rows=(30, 60))
    assert begin.call_args.args[0] == asked
