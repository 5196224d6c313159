"""Clean Descriptors: words of the vocabulary that are names too, told by their company; the own name in all forms."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from scp_anon.deid.descriptors import OwnIdentity, clean, own_identity
from scp_anon.deid.vocabulary import fold, namesakes, vocabulary

WORDS = vocabulary()
NOBODY = OwnIdentity()
NAMESAKES = sorted(word for word in namesakes() if len(word) > 2 and word not in ("knee", "ward"))

COMPANY = """
J. {} knee
knee J. {}
knee J.{}
J.R. {} knee
J {} MRI
{}, Jennifer knee
MRI {}, Jennifer
{} Jennifer
Jennifer {}
Jennifer M. {} knee
MR knee for {}
MR knee for {}, T1
MR knee from {}
reported by {}
ward of {}
ward of {} knee
mother of {} knee
per {}
c/o {}
cc {}
cc: {} knee
attn {}
Attn: {}
ref {}
Dr {} knee
Dr. {}
Dr. J. {}
{}, J.
{}, J. knee
{} J.
{}, MD
Prof. {}
Mrs {} knee
Patient: {}
Patient {}
seen by {}
Mr. {}
for Dr {}
{}/Jennifer knee
{};Jennifer
{}^Jennifer
Mary-Jo {}
{} (MD)
{}, Dr
for the {} family
nurse: {}
knee, pour {}
Knie, für {}
Knie, von {}
kne, fra {}
""".strip().split("\n")


def words(text: str) -> list[str]:
    """The words of a text, folded."""
    return [fold(word) for word in re.findall(r"[^\W_]+", text)]


@pytest.mark.parametrize("case", [str.title, str.upper], ids=["title", "capitals"])
@pytest.mark.parametrize("company", COMPANY)
def test_names_are_told_by_their_company(company: str, case: Callable[[str], str]) -> None:
    """Of all words that may be names, Head, Hand, Long, Stone and Crane among them."""
    assert {"head", "hand", "foot", "long", "stone", "crane", "brown", "field"} - {"brown"} <= set(NAMESAKES)
    left = {}
    for word in NAMESAKES:
        if word in words(company):
            continue
        text = company.format(case(word))
        if word in words(cleaned := clean(text, NOBODY, WORDS)):
            left[text] = cleaned
    assert not left


@pytest.mark.parametrize("word", ["crane", "long", "stone", "head", "young", "bone"])
@pytest.mark.parametrize(
    "company", ["j. {} knee", "{}, jennifer", "jennifer {}", "mr knee for {}", "ward of {}", "dr {} knee"]
)
def test_names_in_small_letters(word: str, company: str) -> None:
    """Where a region in small letters is no region of the text."""
    if company in ("{}, jennifer", "jennifer {}") and word in ("head", "bone"):
        pytest.skip("a region beside a given name that is written small is a region")
    assert word not in words(clean(company.format(word), NOBODY, WORDS))


@pytest.mark.parametrize(
    "text",
    [
        "for contrast",
        "from L1 to S1",
        "by protocol",
        "for stone protocol",
        "for stones protocol",
        "for field mapping",
        "for head and neck",
        "for Head, Neck and Chest",
        "from head to toe",
        "from Head to Thigh",
        "for long bone survey",
        "from small bowel series",
        "for white matter",
        "Head, Neck",
        "HEAD, NECK, CHEST",
        "Hand, Foot",
        "C. spine",
        "T. Spine",
        "C. Spine, T. Spine, L. Spine",
        "L hip",
        "R. knee",
        "R. Hand",
        "L. Foot",
        "R HAND",
        "HAND R",
        "Hand L",
        "Foot, L",
        "Hand, R.",
        "HEAD, C-SPINE",
        "HEAD, C SPINE",
        "Head, T spine",
        "HEAD/C-SPINE",
        "B Field map",
        "T wave",
        "V/Q",
        "M mode",
        "DR LONG LEG",
        "DR HAND",
        "MR HEAD",
        "MR KNEE",
        "Long axis",
        "Short axis",
        "Stone protocol",
        "Patient position",
        "patient arm up",
        "Patient head first",
        "by hand injection",
        "Gram's stain",
        "Baker's cyst",
        "Head first",
        "post contrast",
    ],
)
def test_what_is_said_of_regions_and_images_stays(text: str) -> None:
    """The same words without a person in sight."""
    assert clean(text, NOBODY, WORDS) == text


PATIENT = own_identity(["Quackenbush^Thaddeus^Milo^Dr"], ["P950874426"], ["19570412"], [], [])


@pytest.mark.parametrize(
    "form",
    """Quackenbush, Thaddeus|QUACKENBUSH^THADDEUS|Thaddeus Quackenbush|T. Quackenbush|Quackenbush T.|Quackenbush, T.M.
    T.M. Quackenbush|TMQuackenbush|quackenbushthaddeus|ThaddeusQuackenbush|QuackenbushT|Quackenbush's|Quackenbushs
    Quacken-bush|Quac kenbush|q.u.a.c.k.e.n.b.u.s.h|QuAcKeNbUsH|Quàckenbüsh|Qu\u00e4ckenbush|QUATHA|QuackThad|thaqua
    Quackenbush_Thaddeus_M|Thaddeus-Quackenbush|Quackenbush/Thaddeus|Dr. Quackenbush|Thaddeus M. Quackenbush
    mr quackenbush|QUACKENBUSH|thaddeus|Milo|Quackenbush\u2019s|QUACKENBUSH,T|Thad""".replace("\n", "|").split("|"),
)
@pytest.mark.parametrize("text", ["MR knee {}", "{} MR knee", "MR knee, {}, T1", "MR_{}_knee", "knee ({}) MR"])
def test_the_own_name_goes_in_all_forms(form: str, text: str) -> None:
    """Reversed, glued, cut, possessive, hyphenated, with accents, in any case."""
    left = set(words(clean(text.format(form.strip()), PATIENT, WORDS)))
    assert left <= {"mr", "knee", "t1"}


@pytest.mark.parametrize("name", ["Head^John", "Stone^Art", "Long^Max", "Hand^Young", "Contrast^Axial"])
@pytest.mark.parametrize(
    "text",
    ["{0} knee", "knee {0}'s", "knee {0}s", "{1} {0}", "{0}{1}", "{0}_{1}", "{1}.{0}", "{0}, {1} knee", "{0}KNEE"],
)
def test_the_own_name_goes_whatever_else_it_means(name: str, text: str) -> None:
    """A name that every description has goes from those of its bearer."""
    own = own_identity([name], [], [], [], [])
    family, given = name.split("^")
    left = words(clean(text.format(family, given), own, WORDS))
    assert not [word for word in left if fold(family) in word or fold(given) in word]
