"""`variables --language`: names of months in the languages that were named, and only what cannot be mistaken."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from scp_anon import ConfigError
from scp_anon.months import Months
from tests.command import scp_anon
from tests.peers import require_package
from tests.test_variables import Folder


@pytest.fixture(autouse=True)
def extra() -> None:
    """All of this needs the package of the extra."""
    require_package("babel")


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        *(("nb", text, (2016, 5, 15)) for text in ("15. mai 2016", "15.mai.2016", "15 MAI 2016", "2016 mai 15")),
        *(("nb", text, (2016, 12, 1)) for text in ("1. desember 2016", "01.des.2016", "1-des-2016", "1 des. 2016")),
        *(("de", text, (2016, 3, 2)) for text in ("2. März 2016", "02.MÄRZ.2016", "2. Ma\u0308rz 2016")),
        *(("en", text, (2016, 1, 15)) for text in ("January 15, 2016", "15 Jan 2016", "15th January 2016")),
        *(("fr", text, (2016, 2, 1)) for text in ("1er février 2016", "1 févr. 2016")),
        ("es", "15 de enero de 2016", (2016, 1, 15)),
        ("pt-BR", "15 de março de 2016", (2016, 3, 15)),
        *(("ca", text, (2016, 4, 3)) for text in ("3 d'abril del 2016", "3 d\u2019abril del 2016", "3 abril 2016")),
        ("ru", "15 января 2016 г.", (2016, 1, 15)),  # noqa: RUF001 - Cyrillic is what is meant
        ("el", "15 Μαΐου 2016", (2016, 5, 15)),
        ("pl", "15 listopada 2016", (2016, 11, 15)),
        ("hr", "15. listopada 2016.", (2016, 10, 15)),
    ],
)
def test_dates(language: str, text: str, expected: tuple[int, int, int]) -> None:
    """Whole and short, with what the language puts between, in any order, case and composition."""
    assert Months([language]).date(text) == date(*expected)


@pytest.mark.parametrize(
    "text",
    [
        *("", "mai", "mai 2016", "15. mai", "15. mai 16", "15. mai 20166", "31. april 2016", "0. mai 2016"),
        *("15. mai 2016 kl", "15. mai juni 2016", "15. 16. mai 2016", "2015 mai 2016", "15. maius 2016", "15.5.2016"),
        *("15. January 2016", "Hansen 15. mai 2016", "15. mai 2559", "15. mai 0016", "mai 2016 er", "15. mai 2016 🙂"),
        *("১৫ mai 2016", "15_mai_2016", "15.mai2016.1", "-", "15 mai, er 2016"),
    ],
)
def test_what_is_none(text: str) -> None:
    """Another word, another language, another calendar, two readings, half a date."""
    assert Months(["nb"]).date(text) is None


def test_names_that_mean_two_months() -> None:
    """November for one and October for the other is neither; the others of both can be read."""
    both = Months(["pl", "hr"])
    assert both.date("15 listopada 2016") is None
    assert both.date("15 stycznia 2016") == both.date("15. siječnja 2016.") == date(2016, 1, 15)


@pytest.mark.parametrize("language", ["xx", "", "../nb", "nb_NO/../x", "norsk", "nb\0", "english"])
def test_no_such_language(language: str) -> None:
    """It is said before anything is read."""
    with pytest.raises(ConfigError, match="--language: there is no language"):
        Months([language])


def test_a_language_without_names() -> None:
    """Its months are numbers, which a form can say."""
    with pytest.raises(ConfigError, match="--language: ja: its months have no names"):
        Months(["ja"])


def test_command(tmp_path: Path) -> None:
    """Month and year, days between, moved dates; what cannot be read is left out and told, never by value."""
    folder = Folder(tmp_path)
    made = folder.run(
        "id;screening;diagnosis\n1;15. mai 2016;17.05.2016\n2;1. mai 2016;15. May 2016\n3;;\n",
        *("--delimiter", ";", "--language", "nb", "--person", "id", "--month-year", "screening"),
        *("--days", "diagnosis:screening"),
    )
    one, three = folder.pseudonym("1"), folder.pseudonym("3")
    assert made == f"id;screening;diagnosis\n{one};5-2016;2\n{three};;\n"
    assert (folder.status, folder.told) == (1, "in:3: column 3: is no date of a known form; left out\n")
    moved = folder.run(
        "id;date\n1;15. mai 2016\n1;2016-05-15\n",
        *("--delimiter", ";", "--language", "nb", "--language", "en", "--person", "id", "--shift-date", "date"),
    )
    rows = [line.split(";")[1] for line in moved.splitlines()[1:]]
    assert rows[0] == rows[1] != "2016-05-15"
    again = scp_anon("variables", str(tmp_path / "in.csv"), str(tmp_path / "o.csv"), "--person", "1", "--language", "x")
    assert (again.returncode, again.stderr) == (
        2,
        "scp-anon: --language: there is no language x; name one as nb, de or pt-BR\n",
    )
