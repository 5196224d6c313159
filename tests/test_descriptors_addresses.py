"""Clean Descriptors: addresses of many countries, built from syllables and plain words, leave no fragment."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from scp_anon.deid.descriptors import OwnIdentity, clean
from scp_anon.deid.vocabulary import keys_of, vocabulary

WORDS = vocabulary()
NOBODY = OwnIdentity()
COUNT = 150  # of each country
SYLLABLES = "bra do fel gri hul jor kes lum mor nat pol rus sel tav vor wim zel ost ek quin thar bel dun".split()
PLAIN = ["Head", "Hand", "Stone", "Cross", "Long", "Field", "Bridge", "Black", "Bone", "New", "Lung"]
GERMAN = ["Stein", "Kopf", "Bein", "Hand", "Hals"]
FRENCH = ["Main", "Tête", "Os", "Pied"]
DUTCH = ["Been", "Hand", "Nek"]


def made(choose: random.Random, plain: list[str] | None = None) -> str:
    """A word of syllables, or now and then a plain one."""
    if plain and choose.random() < 0.4:
        return choose.choice(plain)
    return "".join(choose.choices(SYLLABLES, k=choose.randint(2, 3))).capitalize()


def digits(choose: random.Random, count: int) -> str:
    """So many digits."""
    return str(choose.randint(10 ** (count - 1), 10**count - 1))


def american(choose: random.Random) -> list[str]:
    """A house number, a street, perhaps an apartment; a town, a state, a ZIP code."""
    kind = choose.choice(
        ["Street", "St", "St.", "Avenue", "Ave", "Road", "Rd", "Lane", "Ln", "Drive", "Dr", "Blvd", "Ct"]
    )
    street = f"{choose.randint(1, 19999)} {choose.choice(['', 'N ', 'SW ', 'West '])}{made(choose, PLAIN)} {kind}"
    flat = choose.choice(["", ", Apt 4B", " Apt. 12", ", Suite 200", ", Unit 3", ", Floor 12", ", Apartment 33"])
    town = choose.choice(["", "New ", "Port ", "St. ", "Fort "]) + made(choose)
    state = choose.choice("CA NY TX IL MA PA OR CT ME LA MT VA WA OH MN".split())
    zip_code = f"{choose.randint(10000, 99999)}{choose.choice(['', '-1234'])}"
    if choose.random() < 0.1:
        street, flat = choose.choice(["PO Box ", "P.O. Box ", "Box "]) + digits(choose, 3), ""
    return [street + flat, f"{town}, {state} {zip_code}"]


def british(choose: random.Random) -> list[str]:
    """A number and a street; a town; a postcode."""
    kind = choose.choice(["Street", "Road", "Close", "Lane", "Grove", "Crescent", "Terrace", "Gardens", "Avenue"])
    flat = choose.choice(["", "Flat 2, ", "Flat 14, "])
    code = choose.choice(["SW1A 1AA", "M1 1AE", "B33 8TH", "CR2 6XH", "DN55 1PT", "EC1A 1BB", "W1A 0AX"])
    return [f"{flat}{choose.randint(1, 240)} {made(choose, PLAIN)} {kind}", made(choose), code]


def german(choose: random.Random) -> list[str]:
    """A street and a house number, or a preposition; a postcode and a town."""
    name = choose.choice(
        [
            made(choose, GERMAN) + choose.choice("straße strasse str. weg gasse platz allee ring".split()),
            f"{made(choose, GERMAN)}-{made(choose)}-{choose.choice(['Straße', 'Weg', 'Platz', 'Ring', 'Allee'])}",
            f"{choose.choice(['Am', 'Im', 'An der', 'Auf dem', 'Zum', 'Hinter der', 'In der'])} {made(choose, GERMAN)}",
            f"{choose.choice(['Lange', 'Alte', 'Neue', 'Große'])} {choose.choice(['Straße', 'Gasse', 'Allee'])}",
        ]
    )
    house = f"{choose.randint(1, 250)}{choose.choice(['', '', 'a', ' b', '-14', '/3'])}"
    town = made(choose) + choose.choice(["", "", " am Main", " an der Rus", "-Belfel"])
    street = (
        choose.choice([f"{name} {house}", f"Postfach {digits(choose, 4)}"])
        if choose.random() < 0.3
        else f"{name} {house}"
    )
    return [street, f"{choose.choice(['', 'D-'])}{digits(choose, 5)} {town}"]


def austrian(choose: random.Random) -> list[str]:
    """As German ones, with stairs and doors, and postcodes of four digits."""
    house = f"{choose.randint(1, 99)}{choose.choice(['', '/2/14', ', Stiege 2, Tür 14', ', Top 12', '/14'])}"
    return [
        f"{made(choose, GERMAN)}{choose.choice(['gasse', 'straße', 'weg'])} {house}",
        f"{digits(choose, 4)} {made(choose)}",
    ]


def french(choose: random.Random) -> list[str]:
    """A house number, a kind of street and a name; a postcode and a town."""
    kind = choose.choice(["rue", "avenue", "boulevard", "place", "chemin", "impasse", "allée", "quai", "Rue", "Avenue"])
    link = choose.choice(["", "de ", "de la ", "du ", "des ", "de l'"])
    house = f"{choose.randint(1, 199)}{choose.choice(['', '', ' bis', ' ter', ','])}"
    town = made(choose) + choose.choice(["", "", "-sur-Mor", "-les-Bel", " Cedex", " Cedex 04"])
    flat = choose.choice(["", "", ", Bât. B", ", Appt 12", ", Escalier 3"])
    street = f"{house} {kind} {link}{made(choose, FRENCH)}{flat}"
    return [f"BP {digits(choose, 3)}" if choose.random() < 0.1 else street, f"{digits(choose, 5)} {town}"]


def dutch(choose: random.Random) -> list[str]:
    """A street, a house number with what is added to it; a postcode with letters and a town."""
    name = made(choose, DUTCH) + choose.choice(["straat", "laan", "weg", "gracht", "kade", "plein", "dijk", "singel"])
    house = f"{choose.randint(1, 250)}{choose.choice(['', 'A', '-II', '-12', ' hs', '-3', ' bis'])}"
    letters = choose.choice("GC AB MM ML TP XK".split())
    return [f"{name} {house}", f"{digits(choose, 4)}{choose.choice(['', ' '])}{letters} {made(choose)}"]


def scandinavian(choose: random.Random) -> list[str]:
    """A street and a house number, perhaps a floor or a flat; a postcode and a town."""
    ends = [
        "gata",
        "gaten",
        "veien",
        "vei",
        "gade",
        "vej",
        "gatan",
        "vägen",
        "plass",
        "torget",
        "stien",
        "allé",
        "bakken",
    ]
    added = choose.choice(["", "B", " C", ", 2. tv", ", lgh 1201", ", H0201", ", 3. sal", ", st. th."])
    house = f"{choose.randint(1, 250)}{added}"
    code = choose.choice([digits(choose, 4), f"{digits(choose, 3)} {digits(choose, 2)}", f"0{digits(choose, 3)}"])
    street = f"{made(choose)}{choose.choice(ends)} {house}"
    if choose.random() < 0.1:
        street = choose.choice(["Postboks ", "Box ", "Postbox "]) + digits(choose, 3)
    return [street, f"{choose.choice(['', '', 'N-', 'DK-', 'SE-'])}{code} {made(choose)}"]


def spanish(choose: random.Random) -> list[str]:
    """A kind of street, a name and a house number; a postcode and a town."""
    kind = choose.choice(["Calle", "Avenida", "Plaza", "Paseo", "C/", "Avda."])
    flat = choose.choice(["", ", 3º B", ", Piso 2", ", planta 4"])
    street = f"{kind} {choose.choice(['', 'de ', 'de la ', 'del '])}{made(choose)}, {choose.randint(1, 199)}{flat}"
    return [street, f"{digits(choose, 5)} {made(choose)}"]


def italian(choose: random.Random) -> list[str]:
    """A kind of street, a name and a house number; a postcode, a town and a province."""
    kind = choose.choice(["Via", "Viale", "Piazza", "Corso", "Largo", "Vicolo"])
    name = choose.choice(["", "della ", "del "]) + made(choose)
    street = f"{kind} {name}{choose.choice([' ', ', '])}{choose.randint(1, 199)}"
    return [street, f"{digits(choose, 5)} {made(choose)} {choose.choice(['', '(MI)', '(SP)', '(LC)'])}".strip()]


COUNTRIES = [american, british, german, austrian, french, dutch, scandinavian, spanish, italian]


@pytest.mark.parametrize("case", [str, str.upper], ids=["as written", "capitals"])
@pytest.mark.parametrize("country", COUNTRIES, ids=lambda country: country.__name__)
def test_addresses_leave_no_fragment(country: Callable[[random.Random], list[str]], case: Callable[[str], str]) -> None:
    """No word of two letters or more, and no number of two digits or more, in any layout."""
    choose = random.Random(country.__name__)  # noqa: S311 - addresses to try, no secrets
    left = {}
    for _ in range(COUNT):
        address = case(choose.choice([", ", " ", "\n", "; ", ",", "  "]).join(country(choose)))
        before, after = (
            choose.choice(["", "CT chest ", "MR knee, ", "CT chest - "]),
            choose.choice(["", ", T1", "; T1", "\nT1"]),
        )
        cleaned = clean(before + address + after, NOBODY, WORDS)
        rest = [word for word in keys_of(cleaned) if len(word) > 1 and word not in ("ct", "chest", "mr", "knee", "t1")]
        if rest:
            left[before + address + after] = cleaned
    assert not left


@pytest.mark.parametrize(
    "text",
    [
        "12 Head Street",
        "Head Street",
        "Am Stein 4",
        "An der Hand 12",
        "12 rue de la Main",
        "Storgata 5B",
        "Kerkstraat 12-II",
        "Lange Straße 5",
        "PO Box 77",
        "Postfach 12 34",
        "221B Baker Street",
        "Flat 3, 12 Long Lane",
        "c/o Stone, Hand Road 12",
        "Via Mano 12",
    ],
)
def test_streets_of_plain_words_go(text: str) -> None:
    """Without a town that would give them away."""
    left = keys_of(clean(f"MR knee, {text}", NOBODY, WORDS))
    assert not set(left) & {word for word in keys_of(text) if len(word) > 1}


@pytest.mark.parametrize(
    "text",
    [
        "2 view chest CT",
        "3 phase liver CT",
        "4 Chamber View",
        "12 lead ECG, rest",
        "3 PLANE LOC",
        "2 Views Hand",
        "Head CT 5 mm",
        "am Knie 2 mm",
        "in phase 2",
        "In Phase",
        "Circle of Willis",
        "Long Axis View",
        "flat panel",
        "T2 3PL",
        "Room 2",
        "Level L4 L5",
        "Stage 2",
        "TR 2000 TE 30",
        "b1000 AX",
        "Box fusion 2",
        "Track 1",
        "Cross section 3",
        "Drive 2",
        "T1 CA 5 mm",
    ],
)
def test_what_looks_like_an_address_stays(text: str) -> None:
    """Short forms of kinds of streets are words of descriptions as well."""
    assert clean(text, NOBODY, WORDS) == text


def test_there_are_thousands() -> None:
    """And plain words among them."""
    assert len(COUNTRIES) * COUNT * 2 > 2000
    assert all(re.fullmatch(r"[^\W\d_]+", word) and WORDS.knows(word) for word in (*PLAIN, *GERMAN, *FRENCH, *DUTCH))
