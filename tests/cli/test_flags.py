"""Flags: does every key of a request have its words, and does every command show and read the flags that it takes?"""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import jsonschema
import pytest
import yaml

from tests.cli_base import call
from warmstart import api
from warmstart.data.schema.schema import TaskName
from warmstart.errors import UsageError, flag
from warmstart.request.request import Request
from warmstart.request.serialize import commented_yaml
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
        command in ("compare", "advise", "plan"),
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


def completed(words: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What bash offers at the end of these words."""
    parts = words.split(" ")
    environment = {"_WARMSTART_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1)}
    command = [sys.executable, "-m", "warmstart"]
    found = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert not found.stderr
    return found.stdout.split()


def test_a_shell_completes_commands_flags_and_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed("warmstart com", monkeypatch) == ["compare"]
    assert {"--seeds", "--seed", "--search"} <= set(completed("warmstart compare --se", monkeypatch))
    assert completed("warmstart compare --optimizer adam", monkeypatch) == ["adamw", "adam"]


def test_the_schema_takes_what_init_writes_and_nothing_else(tmp_path: Path) -> None:
    answer = call("config-schema")
    schema = json.loads(answer.out)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    written = yaml.safe_load(commented_yaml(Request(data=("x.csv",), target="price")))
    assert not list(validator.iter_errors(written))
    fine = {"data": "a.csv,b.csv", "rows": "auto", "budget": "10m", "max-size": "50MB", "seeds": 3, "lora_rank": None}
    assert not list(validator.iter_errors(fine))
    for wrong in ({"sedes": 3}, {"seeds": "three"}, {"seeds": 0}, {"optimizer": "adan"}, {"regimes": 3}):
        assert list(validator.iter_errors(wrong)), wrong
    described = schema["properties"]["seeds"]
    assert described["description"].startswith("Number of seeds.") and set(schema["properties"]) == set(SETTINGS)


def test_what_is_typed_twice_is_joined_or_refused(tmp_path: Path) -> None:
    words = ("--target", "price", "--regimes", "linear", "--regimes", "frozen,full", "--out", tmp_path)
    with patch.object(api, "start", side_effect=UsageError("enough")) as begin:
        call("compare", "x.csv", *words)
    assert begin.call_args.args[0].regimes == ("linear", "frozen", "full")
    twice = call("compare", "x.csv", *words, "--target", "size")
    assert twice.code == 2 and "--target is given 2 times: 'price', 'size'" in twice.err
    pair = call("compare", "x.csv", "target=price", "target=size", "--out", tmp_path)
    assert pair.code == 2 and "target is given more than once" in pair.err
