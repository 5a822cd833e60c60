"""Swaps: whole words, their case, and what is wrong with a file of pairs."""

from pathlib import Path

import numpy as np
import pytest

from warmstart.data.rows.term_swaps import TermPair, has_both, random_swap, read_pairs, swap_terms
from warmstart.errors import InputError

GENDER = TermPair("he", "she")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("he and He and HE", "she and She and SHE"),
        ("the head of there", None),  # no whole word
        ("she (SHE)", "he (HE)"),
        ("nothing of the kind", None),
        ("he knows what she says", None),  # both: no other side
        ("«he», he.", "«she», she."),
    ],
)
def test_whole_words_keep_their_case(text: str, expected: str | None) -> None:
    found = swap_terms(text, GENDER)
    assert (found.text if found else None) == expected
    assert has_both(text, GENDER) == ("knows" in text)


def test_terms_as_they_are_written() -> None:
    brands = TermPair("LaTeX", "Windows NT")
    assert getattr(swap_terms("a LaTeX class", brands), "text", None) == "a Windows NT class"
    assert getattr(swap_terms("a latex class", brands), "text", None) == "a windows nt class"
    found = swap_terms("for Windows NT only", brands)
    assert found is not None and found.text == "for LaTeX only" and not found.towards_right
    assert getattr(swap_terms("a+b (x)", TermPair("a+b", "c.d")), "text", None) == "c.d (x)"  # no pattern


def test_a_term_swapped_for_itself_changes_nothing() -> None:
    found = swap_terms("He was here, he said", TermPair("he", "he"))
    assert found is not None and found.text == "He was here, he said"


def test_random_words_leave_the_term_alone() -> None:
    random = np.random.default_rng(0)
    pool = np.array(["red", "green", "blue"])
    found = random_swap("He saw it and left", GENDER, 2, pool, random)
    assert found is not None and found.startswith("He ")
    changed = [(a, b) for a, b in zip(["He", "saw", "it", "and", "left"], found.split(), strict=True) if a != b]
    assert len(changed) == 2 and all(b in pool for _, b in changed)
    assert random_swap("he", GENDER, 1, pool, random) is None
    assert random_swap("he red", GENDER, 1, np.array(["red"]), random) is None


def _file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_pairs_of_a_file(tmp_path: Path) -> None:
    found = read_pairs(_file(tmp_path / "pairs.csv", '\ufeffhe,she\n\n"New  York",Rome\nhe,she\n'))
    assert found == (GENDER, TermPair("New York", "Rome"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("he\n", "line 1: 1 column, expected two"),
        ("he,she\na,b,c\n", "line 2: 3 columns, expected two"),
        ("he,she\nhis,\n", "line 2: a term is empty"),
        ("he,He\n", "line 1: 'he' would be swapped for itself"),
        ("\n", "holds no pair"),
        ('"he,she\n', "cannot be read as CSV"),
    ],
)
def test_wrong_files(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_pairs(_file(tmp_path / "pairs.csv", text))
    assert said in caught.value.message and "pairs.csv" in caught.value.message and "\n" not in caught.value.message


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_pairs(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path)
