"""Words that say nothing about who a person is: the allow-list of the option Clean Descriptors (PS3.15 E.3.5).

The words are those of the standard (its concepts' meanings, as pydicom has them, and its attributes' names) and those
of our own lists in `words/`: body parts, protocol jargon, and plain words in some languages. Names that
are common anywhere are taken out again. Of these, `ambiguous.txt` has the few that descriptions cannot do
without, and `eponyms.txt` those that are good next to what bears the name: 'Baker cyst', but not 'Baker'.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final, cast

from pydicom._dicom_dict import DicomDictionary

from scp_anon.deid.accents import POSSESSIVE, as_written
from scp_anon.documents import read
from scp_anon.errors import ConfigError

# What Unicode does not decompose, and people write without the stroke or ligature.
_LETTERS: Final = str.maketrans(
    {"ø": "o", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "ł": "l", "\N{LATIN SMALL LETTER DOTLESS I}": "i", "þ": "th"}
)
_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_ZEROS: Final = re.compile(r"(?<![0-9])0+(?=[0-9])")
_UMLAUT: Final = re.compile(r"(?<=a)[ae]+|(?<=[ou])e+")
_MARKS: Final = re.compile(r"[\W_]+")
_LETTERS_ONLY: Final = re.compile(r"[^\W\d_]+")
# What is not listed here belongs to a word: what cannot be decoded, or is invisible, must not cut a name into pieces.
_BETWEEN: Final = r"\s!-/:-@\[-`{-~\xa1\xa7\xab\xb0\xb1\xb7\xbb\xbf\xd7\u2010-\u2026\u2039\u203a\u2212"
# A word; 'w/o' and '0.625' are one, and so is "patient's".
TOKEN: Final = re.compile(
    rf"[^{_BETWEEN}0-9]/[^{_BETWEEN}0-9](?![^{_BETWEEN}])"
    rf"|[^{_BETWEEN}]+(?:(?<=[0-9])[.,](?=[0-9])[^{_BETWEEN}]+)?(?:['\u2019][sS](?![^{_BETWEEN}]))?"
)
_CACHED: Final = 4096
_LONGEST_PHRASE: Final = 8
# Where a word that is glued from others comes apart: at a change of case, at digits, and before T1 and T2.
_PIECE: Final = re.compile(
    r"[0-9]+|(?:[A-Z]+?|[a-z]+?)(?=[Tt][12](?![0-9]))|[Tt](?=[12](?![0-9]))|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^A-Za-z0-9]+"
)
_N: Final = r"[0-9]{1,4}(?:[.,][0-9]{1,4})?"
_UNIT: Final = (
    "mm[23]?|cm[23]?|dm|um|μm|m|msec|ms|seconds|secs?|s|mins?|minutes|hrs?|h|k?hz|mhz|t|kvp?|kev|mas?|[kmg]?bq|[mu]ci"
    "|ml|cc|l|kg|mg|ug|μg|g|m?gy|cgy|u?gym2|msv|hu|deg|fps|bpm|px|iso|days?|d|weeks?|wks?|w|months?|mos?|mth|years?"
    "|yrs?|yo|y|x|p|st|nd|rd|th|ch|dirs?|pl|plane|echos?|echoes|views?|vws?|v|f|fr|vol|ph|phase"
)
# Numbers with a unit, matrices, vertebrae (L5, C2C4), and what is followed by its value (b1000, TE80).
_NUMERIC: Final = re.compile(
    rf"{_N}(?:{_UNIT})?|{_N}(?:x{_N}){{1,3}}(?:mm[23]?|cm|iso)?|(?:(?:th|[lbh]wk|[lb]w|[ctlsd])[0-9]{{1,2}}){{1,4}}"
    rf"|(?:b|te|tr|ti|td|fa|nex|nsa|iso|dir|vol|kv|ma|mas|hu|wl|ww|bvalue|bval){_N}"
)
# Kernels (Br40d), accelerations (p2), positions: too short to be an identifier, if they are not the instance's own.
_SHORT: Final = re.compile(r"[a-z]{1,2}[0-9]{1,3}[a-z]?")
_YEAR: Final = re.compile(r"(?:19|20)[0-9]{2}")
_ASCII_DIGITS: Final = "0123456789"
_SHORTEST: Final = 3  # a part of an identifier that is shorter says nothing
_FAR: Final = 6
_SHORT_TERM: Final = 5
_LONGEST_TERM: Final = 40
_TWO: Final = 2
_FEW_DIGITS: Final = 4
_LABELS: Final = frozenset("id mrn pid acc acn no nr num case fall tel fax ssn nhs pat room".split())
# The pieces of two letters that are no particle or name: 'AxT2', but not 'DeLong' or 'LiHead'.
_GLUED: Final = frozenset(
    "ax si ct mr us pa ap lr rl fs wo lt rt bh ir se gr pd ep mb pc ge pt nm ch sl th mm te tr ti".split()
)
_MONTHS: Final = frozenset("jan feb mar apr may mai jun jul aug sep oct okt nov dec dez".split())
# Breeds and their registries: thousands of places and persons, and rarely what a description is about.
_UNWANTED_GROUPS: Final = frozenset({7480, 7481, 7486, 7490})
# Peoples, places and brands among the concepts, and words that are mostly names or months outside of them.
_UNWANTED: Final = frozenset(
    """african alaska american ami asian aspen australian aborigine berlin bismark caucasian congo erie hawaiian
    hispanic india indian islander osaka pisa pittsburgh prussian sudan tokyo titan celestine charmed cam monte olinda
    son brother sister daughter aunt uncle cousin will mark dates email phone telephone address birth name
    january february march april may june july august september october november december
    jan feb mar apr jun jul aug sep sept oct nov dec mai juin juillet marz janvier fevrier mars avril aout
    white gray grey brown ray young king rose hope grace violet crystal page id mrn ssn"""
    .split()
)  # fmt: skip

# Colours that are names more often than colours, and what they are good next to.
_BOUND: Final = {
    "white": frozenset({"matter", "blood", "balance"}),
    "gray": frozenset({"matter", "scale", "level", "levels", "zone"}),
    "grey": frozenset({"matter", "scale", "level", "levels", "zone"}),
    "brown": frozenset({"fat", "adipose", "tumor", "tumour"}),
    "ray": frozenset({"x"}),
}


def fold(word: str) -> str:
    """A word as it is compared: lower case, without accents, and without a possessive's ending."""
    if not word.isascii():
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word).casefold())
        word = "".join(letter for letter in plain if not unicodedata.combining(letter)).translate(_LETTERS) or word
    word = word.lower()
    return word[:-2] if word.endswith(POSSESSIVE) and len(word) > len("'s") else word


def spellings(word: str) -> set[str]:
    """The folded forms of a word: the accents left out (muller), and the letters written out (mueller)."""
    composed = unicodedata.normalize("NFC", word).casefold()
    return {fold(word), fold(composed.translate(_UMLAUTS))}


@lru_cache(_CACHED)
def canonical(word: str) -> str:
    """A folded word in the one form that all its spellings have: mueller and muller; 007 and 7."""
    word = _UMLAUT.sub("", word)
    return _ZEROS.sub("", word) if "0" in word else word


def keys_of(text: str) -> list[str]:
    """The words of a text in the form in which they are compared with others."""
    return [canonical(fold(word)) for word in TOKEN.findall(text)]


def joined(words: Iterable[str]) -> str:
    """Words in one, without what separates them."""
    return _MARKS.sub("", "".join(words))


class Vocabulary:
    """The words, and phrases of several words, that a text may keep.

    `words` are folded; one that holds a blank is a phrase, whose words are good only together. `written` are words
    with their accents: a word of a text that has some is good only if it has these.
    """

    def __init__(self, words: Collection[str], written: Collection[str] = ()) -> None:
        self.written = frozenset(written)
        self.words = frozenset(word for word in words if " " not in word)
        self.phrases: dict[str, list[tuple[str, ...]]] = {}
        for phrase in sorted(word for word in words if " " in word):
            parts = tuple(phrase.split())
            self.phrases.setdefault(parts[0], []).append(parts)

    def knows(self, word: str) -> bool:
        """Whether `word`, in any case, with its accents or without any, is one of the words or phrases."""
        if not all(map(self.is_as_written, word.split())):
            return False
        if " " not in word:
            return fold(word) in self.words
        parts = tuple(fold(part) for part in word.split())
        return bool(parts) and parts in self.phrases.get(parts[0], ())

    def is_as_written(self, word: str) -> bool:
        """Whether a word has no accents, or those that a list has it with: 'Schädel', but neither 'Schàdel' nor 'Çt'.

        It says nothing of what the word means: names are in lists too.
        """
        if word.isascii():
            return True
        written = as_written(word)
        return written.isascii() or written in self.written or written == fold(word)

    def accepts(self, word: str) -> bool:
        """Whether `word` is known, or is a short technical term: '5mm', '0.625', 'L5', 'AxT2', 'HeadNeckCTA'."""
        if not self.is_as_written(word):
            return False
        folded = fold(word)
        if folded in self.words:
            return True
        if _NUMERIC.fullmatch(folded) or (folded[1:2] == "/" and {folded[0], folded[2]} <= self.words):
            return True
        pieces = pieces_of(word) if len(folded) <= _LONGEST_TERM else ()
        if len(pieces) < 2 or (pieces[0] in _LABELS and pieces[1][0].isdigit()):
            return False
        if len(folded) <= _SHORT_TERM and _SHORT.fullmatch(folded):
            return pieces[0] not in _MONTHS
        return (
            all(self._good(piece, len(pieces)) for piece in pieces)
            and sum(map(len, filter(str.isdigit, pieces))) <= _FEW_DIGITS
        )

    def accepts_at(self, words: Sequence[str], folded: Sequence[str], index: int) -> bool:
        """Whether a word of a text is accepted where it is: a year only as a measure, an eponym at what bears it."""
        if _YEAR.fullmatch(folded[index]):
            return _is_measure(folded, index)
        return self.accepts(words[index]) or (self.is_as_written(words[index]) and _is_bound(folded, index))

    def in_phrases(self, folded: Sequence[str]) -> set[int]:
        """Which of the words of a text, folded, are part of a phrase."""
        found: set[int] = set()
        for index, word in enumerate(folded):
            for phrase in self.phrases.get(word, ()):
                if tuple(folded[index : index + len(phrase)]) == phrase:
                    found.update(range(index, index + len(phrase)))
        return found

    def _good(self, piece: str, among: int) -> bool:
        """Whether one of `among` parts of a word is known, and not one that might as well be a part of a name."""
        if piece[0] in _ASCII_DIGITS or len(piece) == 1:
            return piece[0] in _ASCII_DIGITS or piece in self.words
        if piece not in self.words or piece in _MONTHS:
            return False
        return piece in _GLUED if len(piece) == _TWO else among > _TWO or piece not in listed("ambiguous")


@lru_cache(_CACHED)
def pieces_of(word: str) -> tuple[str, ...]:
    """What a word is glued from, folded: 'HeadNeckCTA' is head, neck, cta; 't1mprage' is t, 1, mprage."""
    return tuple(piece.lower() for piece in _PIECE.findall(word if word.isascii() else fold(word)))


@cache
def listed(name: str) -> frozenset[str]:
    """The folded words of our own list `words/<name>.txt`."""
    return frozenset(form for line in _lines(name) for form in spellings(line))


def _lines(name: str) -> list[str]:
    text = files("scp_anon.deid").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _is_bound(folded: Sequence[str], index: int) -> bool:
    """Whether a word of a text is an eponym or a colour next to what bears it: 'Baker cyst', 'white matter'."""
    word = folded[index]
    if word in _BOUND:
        return not _BOUND[word].isdisjoint((*folded[max(0, index - 1) : index], *folded[index + 1 : index + 2]))
    eponyms, bearers = listed("eponyms"), listed("bearers")
    if word not in eponyms:
        return False
    # Blalock-Taussig shunt, circle of Willis, Morbus Crohn
    after = next((other for other in folded[index + 1 : index + _FAR] if other not in eponyms), "")
    before = folded[max(0, index - _FAR) : index][::-1]
    return (
        after in bearers
        or next((one for one in before if one not in eponyms and one not in ("of", "de", "von")), "") in bearers
    )


def _is_measure(folded: Sequence[str], index: int) -> bool:
    """Whether a number of a text that might be a year is a measure: 'TI 1900', '2000 ms', 'b1000_2000'."""
    before, after = folded[index - 1] if index else "", folded[index + 1] if index + 1 < len(folded) else ""
    listing = folded[index] == "2000" and before[-2:] in ("00", "50")
    listing = listing and not listed("valued").isdisjoint(folded[max(0, index - _FAR) : index])
    return listing or before in listed("valued") or after in listed("units")


def is_measure(folded: str) -> bool:
    """Whether a folded word is a number, with a unit or without."""
    return _NUMERIC.fullmatch(folded) is not None


@cache
def namesakes() -> frozenset[str]:
    """Words of the vocabulary that are also names of persons, folded: their company tells which of both is meant."""
    return (listed("surnames") | listed("ambiguous")) - listed("no-names")


@cache
def names() -> frozenset[str]:
    """Common family and given names, folded."""
    return listed("family-names") | listed("given-names")


def _of_the_standard() -> Iterator[str]:
    # The concepts take a quarter of a second and some memory to load: only who cleans text pays for them.
    from pydicom.sr._concepts_dict import concepts

    for scheme in concepts.values():
        for codes in cast("dict[str, dict[str, tuple[str, list[int]]]]", scheme).values():
            for meaning, groups in codes.values():
                if not _UNWANTED_GROUPS.issuperset(groups):
                    yield meaning
    for _, _, name, _, _ in DicomDictionary.values():
        yield name


@cache
def _own() -> frozenset[str]:
    """The words that we bring."""
    standard = {word.lower() for text in _of_the_standard() for word in _LETTERS_ONLY.findall(text)}
    known = {fold(word) for word in standard if len(word) > 1} - listed("eponyms") - _UNWANTED
    plain = listed("body-parts") | listed("plain")
    known |= plain | listed("protocol") | listed("other-languages")
    known |= {word + "s" for word in plain - listed("ambiguous") if len(word) > _SHORTEST}
    return frozenset(known - (names() - listed("ambiguous")))


@cache
def _written() -> frozenset[str]:
    """The words with accents that we bring, as they are written."""
    lists = ("accents", "body-parts", "eponyms", "other-languages", "plain", "protocol")
    words = (word for name in lists for word in _lines(name))
    standard = (word for text in _of_the_standard() for word in _LETTERS_ONLY.findall(text))
    return frozenset(as_written(word) for word in (*words, *standard) if not word.isascii())


def _extra(path: Path) -> Iterator[list[str]]:
    """The words of each word or phrase in a file. Raises ConfigError, with the line."""
    for number, line in enumerate(read(path).split("\n"), 1):
        text = line.partition("#")[0].strip()
        parts = TOKEN.findall(text)
        sound = 0 < len(parts) <= _LONGEST_PHRASE and _LETTERS_ONLY.search(text) and text.isprintable()
        if text and not (sound and set(TOKEN.sub("", text)) <= set(" -_/^.+&")):
            raise ConfigError(f"{path}:{number}: expected a word, or a phrase of up to {_LONGEST_PHRASE} words")
        if parts:
            yield parts


@cache
def vocabulary(extra: Path | None = None) -> Vocabulary:
    """The words that we bring, and those of the file `extra`: one word or phrase per line, `#` begins a comment.

    The file's own words are taken as they are, even if they are names. Raises ConfigError with the file and line for
    a file that cannot be read, or a line that is neither word nor phrase.
    """
    if extra is None:
        return Vocabulary(_own(), _written())
    added = list(_extra(extra))
    words = {" ".join(choose(spellings(part)) for part in parts) for parts in added for choose in (min, max)}
    return Vocabulary(_own() | words, _written().union(as_written(part) for parts in added for part in parts))
