"""Do editors, notebooks and type checkers see every setting of the public functions, as it is declared?"""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import warmstart
from warmstart.request import keywords
from warmstart.request.request import Request
from warmstart.request.signatures import accepted, keyword_source, keywords_of
from warmstart.settings.groups import SETTINGS
from warmstart.settings.setting import Command

COMMANDS: tuple[Command, ...] = get_args(Command)
GOOD = """
import warmstart
study: object = warmstart.compare("a.csv", "price", "s", seeds=2, text=["a"], budget="10m", rows="auto", lr=None)
warmstart.check({"a": [1]}, "a", task="regression")
warmstart.plan("a.csv", "a", device="h100", max_length=64)
warmstart.fit("a.csv", "a", "full", "r", optimizer="sgd", max_size="50MB").test
warmstart.advise("a.csv", "a", "r", budget="5%", own={})
"""
WRONG = {
    'warmstart.compare("a.csv", "a", "s", seeds="x")': 'incompatible type "str"; expected "int"',
    'warmstart.compare("a.csv", "a", "s", sedes=2)': 'Unexpected keyword argument "sedes"',
    'warmstart.fit("a.csv", "a", "full", "s", optimizer="adamv")': "expected \"Literal['adamw', 'adam', 'sgd']\"",
    'warmstart.check("a.csv", "a", seeds=2)': 'Unexpected keyword argument "seeds"',
    'warmstart.plan("a.csv", "a", offline=2.5)': 'incompatible type "float"; expected "bool"',
}


def test_the_stated_keywords_are_those_that_are_declared() -> None:
    """If this fails: `python -m warmstart.request.signatures` writes them anew."""
    assert Path(keywords.__file__).read_text(encoding="utf-8") == keyword_source()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_function_shows_every_setting_with_its_default(command: Command) -> None:
    function = getattr(warmstart, command)
    parameters = inspect.signature(function).parameters
    known = keywords_of(command)
    assert set(known) <= set(parameters) and "settings" not in parameters
    own = [each for each in parameters if each not in known]
    assert set(own) <= {"data", "target", "regime", "out", "quiet", "own"}
    default = Request(("a.csv",), "price")
    for name in known:
        expected = "10%" if (command, name) == ("advise", "budget") else getattr(default, name)
        assert parameters[name].default == expected and parameters[name].annotation == accepted(known[name])
    assert all(f"\n{name} : " in function.__doc__ for name in known)
    stated = get_type_hints(getattr(keywords, f"{command.capitalize()}Settings"))
    assert set(stated) == set(known)


def test_a_type_checker_finds_wrong_settings_and_accepts_right_ones(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    lines = GOOD.splitlines() + list(WRONG)
    file = tmp_path / "typed.py"
    file.write_text("\n".join(lines) + "\n")
    options = ["--follow-imports=silent", "--ignore-missing-imports", "--no-site-packages", "--python-version=3.11"]
    out, err, _ = api.run([*options, f"--cache-dir={tmp_path}", str(file)])
    assert not err
    found = [line for line in out.splitlines() if line.startswith(str(file)) and ": error: " in line]
    assert len(found) == len(WRONG), out
    for line, said in zip(found, WRONG.values(), strict=True):
        assert said in line


@pytest.mark.parametrize(
    ("command", "settings", "says"),
    [
        ("compare", {"sedes": 2}, r"compare has no setting 'sedes'\.\nhint: did you mean 'seeds'\?"),
        ("check", {"seeds": 2, "txt": "a"}, r"check has no setting 'txt'\.\nhint: did you mean 'text'\?"),
        ("fit", {"noise_floor": 0.1}, r"fit has no setting 'noise_floor'\."),
        ("plan", {"seeds": "x"}, r"seeds is 'x'"),
    ],
)
def test_what_is_not_known_is_said(command: str, settings: dict[str, object], says: str, tmp_path: Path) -> None:
    more = {"compare": (tmp_path / "s",), "fit": ("full", tmp_path / "s")}.get(command, ())
    with pytest.raises(warmstart.UsageError, match=says):
        getattr(warmstart, command)("a.csv", "price", *more, **settings)
    assert not (tmp_path / "s").exists()


def test_none_is_the_default(tmp_path: Path) -> None:
    asked = dict.fromkeys(keywords_of("check"))
    with pytest.raises(warmstart.WarmstartError, match=r"there is no file 'none\.csv'"):
        warmstart.check("none.csv", "price", **asked)


def test_settings_load_nothing_heavy() -> None:
    code = "import sys, warmstart.request.request, warmstart.request.signatures; print(sorted({'torch', 'numpy',"
    code += " 'pyarrow', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_default_is_shown_as_it_is_typed() -> None:
    shown = {name: SETTINGS[name].help.partition("[")[2] for name in ("min_effect", "length", "seed", "text", "lr")}
    assert shown == {
        "min_effect": "default: 1%]",
        "length": "default: 1]",
        "seed": "default: 0]",
        "text": "repeatable; default: all usable columns]",
        "lr": "default: searched]",
    }
