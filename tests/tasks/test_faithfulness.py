"""Faithfulness: what is found in a text, and what counts as standing in its source."""

import pytest

from warmstart.tasks.faithfulness import claims, faithfulness


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "It cost Ada Lovelace 1,200 € on 3 May 1842.",
            {"Ada Lovelace": "name", "1,200": "number", "3 May 1842": "date"},
        ),
        ("In Paris, John Smith's dog ran. The end.", {"Paris": "name", "John Smith": "name"}),
        ("GPLv2 and GitHub's API, v2.0.1.", {"GPLv2": "name", "GitHub": "name", "API": "name"}),
        ("It says “no Warranty 5” (Bob). - Tools for 12.", {"no Warranty 5": "name", "Bob": "name", "12": "number"}),
        (
            "1 000 000 or 3.5 or 2.0.1 at 10:30 in 2020",
            dict.fromkeys(["1 000 000", "3.5", "2.0.1", "10:30", "2020"], "number"),
        ),
        ("am 12. März 2020", {"12. März 2020": "date"}),
        (
            "1842-05-03, 03/05/1842 and May 3rd, 1842",
            dict.fromkeys(["1842-05-03", "03/05/1842", "May 3rd, 1842"], "date"),
        ),
        ("Nothing to look up, I think.", {}),
        ("", {}),
    ],
)
def test_numbers_dates_and_names_are_found(text: str, found: dict[str, str]) -> None:
    assert claims(text) == found


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("1,200", "1200 of them"),
        ("1.200", "1,200 of them"),
        ("1 200 000", "1'200'000"),
        ("2.50", "2,5"),
        ("on 3 May 1842", "1842-05-03"),
        ("on 03/05/1842", "March 5, 1842"),
        ("am 12. März 2020", "le 12 mars 2020"),
        ("on 3 August 1842", "It began on 3 Auguſt 1842."),
        ("12 April 2020", "12 APRİL 2020"),
        ("by Ada  Lovelace", "ADA LOVELACE's work"),
        ("the “free software”", "of Free Software, that is"),
    ],
)
def test_what_stands_in_the_source_in_another_form_stands(said: str, source: str) -> None:
    scores, missing = faithfulness([said], [source])
    assert missing == [()]
    assert scores[0, 0] == scores[0, 1] > 0


@pytest.mark.parametrize(
    ("said", "source", "missing"),
    [
        ("12 of them", "112 or 1.2 or 120", ("12",)),
        ("on 3 May 1842", "on 4 May 1842, 3 May 1843", ("3 May 1842",)),
        ("on 3 May 1842", "on 3 June 1842", ("3 May 1842",)),
        ("on 31 April 1842", "30 April 1842", ("31 April 1842",)),
        ("by Ada Byron", "Ada Lovelace, Lord Byron", ("Ada Byron",)),
        ("for Linux", "Linuxes", ("Linux",)),
    ],
)
def test_what_does_not_stand_there_is_listed(said: str, source: str, missing: tuple[str, ...]) -> None:
    scores, found = faithfulness([said], [source])
    assert found == [missing]
    assert scores.tolist() == [[0, 1]]


def test_a_text_without_anything_to_look_up_has_no_weight() -> None:
    scores, _ = faithfulness(["nothing here", "made by Bob in 2020"], ["", "Bob"])
    assert scores.tolist() == [[0, 0], [1, 2]]
