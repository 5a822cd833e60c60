"""Licenses: is a base's license the one that its weights are said to have?"""

import json
import sys
from pathlib import Path

import pytest

from warmstart.models.pretrained.licenses import licenses_of, normalize_license, on_card

CARD = "---\nlanguage: en\nlicense: apache-2.0  # of the weights\ntags:\n- x\n---\n# A model\nlicense: gpl\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CARD, ("apache-2.0",)),
        ("---\r\nlicense: 'mit'\r\n---\r\n", ("mit",)),
        ("---\nlicense:\n- mit\n  - cc-by-4.0\ntags:\n- x\n---\n", ("mit", "cc-by-4.0")),
        ("---\nlicense: [mit, cc-by-4.0]\n---\n", ("mit", "cc-by-4.0")),
        ("---\nlicense: other\nlicense_name: llama-3\n---\n", ("llama-3",)),
        ("---\ntags:\n- license: mit\n---\n", ()),
        ("# license: mit\n", ()),
        ("---\nlicense: mit\n", ()),
        ("", ()),
    ],
)
def test_a_card_says_it_between_its_first_lines(text: str, found: tuple[str, ...]) -> None:
    assert on_card(text) == found


@pytest.mark.parametrize(
    ("name", "same"),
    [("Apache-2.0", "apache-2.0"), ("Apache License, Version 2.0", "apache-2.0"), (" MIT License", "mit"), ("x", "x")],
)
def test_names_are_compared_in_one_form(name: str, same: str) -> None:
    assert normalize_license(name) == same


def test_the_card_goes_before_the_configuration(tmp_path: Path) -> None:
    location = str(tmp_path)
    assert licenses_of(location, location) == ()
    (tmp_path / "config.json").write_text(json.dumps({"license": "MIT"}))
    assert licenses_of(location, location) == ("mit",)
    (tmp_path / "README.md").write_text(CARD)
    assert licenses_of(location, location) == ("apache-2.0",)
    (tmp_path / "README.md").write_text("no front matter")
    (tmp_path / "config.json").write_text("{")
    assert licenses_of(location, location) == ()


def package(folder: Path, name: str, *lines: str) -> None:
    (folder / name / "model").mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    facts = folder / f"{name}-1.0.dist-info"
    facts.mkdir()
    said = "\n".join(["Metadata-Version: 2.1", f"Name: {name.replace('_', '-')}", "Version: 1.0", *lines])
    (facts / "METADATA").write_text(f"{said}\n\nA description\n")


def test_a_package_says_it_where_nothing_beside_the_weights_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "base_one", "License: MIT")
    package(
        tmp_path,
        "base_two",
        "License: Here is\n  all of the text",
        "Classifier: License :: OSI Approved :: MIT License",
    )
    package(tmp_path, "base_three")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    location = {name: str(tmp_path / name / "model") for name in ("base_one", "base_two", "base_three")}
    assert licenses_of("base_one", location["base_one"]) == ("mit",)
    assert licenses_of("base_two", location["base_two"]) == ("mit",)
    assert licenses_of("base_three", location["base_three"]) == ()
    (tmp_path / "base_one" / "model" / "README.md").write_text(CARD)
    assert licenses_of("base_one", location["base_one"]) == ("apache-2.0",), "of the weights, not of the package"


def test_a_hub_id_that_was_never_downloaded_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert licenses_of("org/name", "org/name") == ()
