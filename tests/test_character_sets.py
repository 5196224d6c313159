"""Specific Character Set: what cannot be read for sure stays in no cleaned text, and misspelt terms are corrected."""

from __future__ import annotations

import itertools
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from scp_anon import Deidentifier, Reason, Undecodable
from scp_anon.deid import load_profile
from scp_anon.deid.character_sets import CODECS, MEANT, STANDARD, CharacterSets, fault
from scp_anon.deid.cleaning import TextCleaner
from scp_anon.deid.descriptors import OwnIdentity, clean
from scp_anon.deid.difference import differences
from scp_anon.deid.explain import explain
from scp_anon.deid.reading import condensed, readable
from scp_anon.deid.text import decode, encode
from scp_anon.deid.vocabulary import vocabulary
from scp_anon.errors import ConfigError
from tests import samples, trees, wire
from tests.wire import Element, Item

WORDS = vocabulary()
CLEANER = TextCleaner(WORDS)
NOBODY = OwnIdentity()
CHARACTER_SET, STUDY_DESCRIPTION, PATIENT_NAME = 0x00080005, 0x00081030, 0x00100010
DERIVATION, SHARED_GROUPS = 0x00082111, 0x52009229
UIDS = (Element(0x00080016, "UI", trees.SOP_CLASS), Element(0x00080018, "UI", b"2.999.1\0"))

FAMILIES = "张 王 李 陳 林 黃 佐藤 表 能登 十河 渡邊 ソニア 김 박 최"
GIVEN = "伟 芳 秀英 小龍 俊杰 申一 構太 ポチ 민준 서연 浩 洋子"
LATIN = "Schröder Müller Kühne Åsedotter Bjørnlund Čapková Němcová Łukasik Ōtani Gonçalvez Peñalosa Façonnier Désirée"
OTHERS = "Иванчикова Щербакович Παπαδοπουλάκη Θεοχάρης אברהמוב חיימסון ياسمينة عبدالقادري สมหญิงใจ ณรงค์ฤทธิ์"
NAMES = [
    *("".join(pair) for pair in itertools.product(FAMILIES.split(), GIVEN.split())),
    *(f"{name}{mark}{other}" for name in LATIN.split() for mark, other in (("", ""), ("-", "Märta"), ("^", "Jörg"))),
    *OTHERS.split(),
]
ENCODINGS = (
    *("gbk", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "iso2022_jp", "iso2022_kr", "hz", "utf-8", "utf-16"),
    *("utf-16-le", "utf-16-be", "cp1250", "cp1251", "cp1252", "cp1253", "cp1255", "cp1256", "koi8_r", "cp874"),
    *("latin-1", "iso8859_2", "iso8859_5", "iso8859_7", "mac_roman", "cp437", "cp850", "cp932", "johab"),
)
DECLARED = (
    *("", "ISO_IR 6", "ISO_IR 100", "ISO_IR 101", "ISO_IR 13", "ISO_IR 144", "ISO_IR 166", "ISO_IR 192", "GB18030"),
    *("GBK", "\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "ISO 2022 IR 100\\ISO 2022 IR 87", "ISO_IR 192\\ISO_IR 100"),
)
UNDECLARED = ("", "ISO_IR 6")


def dicom(*elements: Element, terms: bytes | None = None) -> bytes:
    """A DICOM file of these elements in explicit VR little endian, with its Specific Character Set."""
    own = () if terms is None else (Element(CHARACTER_SET, "CS", trees.padded("CS", terms)),)
    data_set = wire.encode(trees.in_order([*UIDS, *own, *elements]))
    meta = wire.encode((Element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0"),))
    length = wire.encode((Element(0x00020000, "UL", len(meta).to_bytes(4, "little")),))
    return bytes(128) + b"DICM" + length + meta + data_set


def text(tag: int, value: bytes, vr: str = "LO") -> Element:
    """A text as it is encoded."""
    return Element(tag, vr, trees.padded(vr, value))


def engine(**profile: Any) -> Deidentifier:
    """An engine that cleans descriptions."""
    return Deidentifier(samples.KEY, "project", {"options": ["clean-descriptors"], **profile})


ENGINE = engine()


def raw(file: bytes, tag: int) -> bytes | None:
    """The value of a top-level attribute, without its padding."""
    body = file[samples.data_set_start(file) :]
    found = [element.value for element in wire.decode(body, True, "<") if element.tag == tag]
    assert all(isinstance(value, bytes) for value in found)
    return bytes(found[0]).rstrip(b" ") if found else None  # type: ignore[arg-type]  # a text, as was just seen


def cleaned(value: bytes, terms: str) -> str:
    """What clean-descriptors leaves of a text."""
    sets = STANDARD.terms(terms.encode())
    return CLEANER._clean(readable(value, sets), NOBODY, True)


def encoded(name: str) -> list[tuple[str, bytes]]:
    """A name in every encoding that has its letters."""
    found = []
    for encoding in ENCODINGS:
        try:
            found.append((encoding, name.encode(encoding)))
        except UnicodeError:
            continue
    return found


# ---------------------------------------------------------------- what cannot be read goes


@pytest.mark.parametrize("terms", DECLARED)
def test_no_letters_of_a_name_survive(terms: str) -> None:
    """Whatever it is encoded in, and whatever is declared: not two ASCII letters of it, nor a byte that is none."""
    assert len(NAMES) > 200
    checked = 0
    for name in NAMES:
        for encoding, value in encoded(name):
            if value.isascii() and not any(mark in value for mark in (b"\x1b", b"\x0e", b"~{")):
                continue  # some names in UTF-16 cannot be told from a word in ASCII
            if encoding.startswith("utf-16-") and terms not in UNDECLARED:
                continue  # nor from one in a set that has all of its bytes
            for line in (b"CT " + value + b" Thorax", value + b" CT", b"Thorax, " + value):
                rest = cleaned(line, terms)
                assert set(re.findall(r"[A-Za-z]{2,}", rest)) <= {"CT", "Thorax"}, (name, value, terms, rest)
                assert rest.isascii(), (name, value, terms, rest)
                checked += 1
    assert checked > 3000


@pytest.mark.parametrize(
    "value",
    [
        b"Schr\xf6der",  # Latin-1
        b"\xd5\xc5CT",  # GBK with letters behind
        b"\x81\x7cder",  # its second bytes may be marks
        b"\x95\x5cder",  # in Shift-JIS a backslash
        b"\x81@der\x81\x5b\x81\x5dvon",
        b"\x81\x30\x81\x30der",  # or digits
        b"Knut\xd8d",
        b"J\xf8rn-Erik",
        b"O'Br\xefan",
        b"\xc4lva^Maria=der",
        b"der\x1b$B;3ED\x1b(Bvon",  # an escape sequence that is not declared
        b"der\x1b",
        b"\x0ehand\x0fknee",  # shifts, with all that is behind them
        b"~{<:Ky~}hand",  # HZ
        "Schröder".encode("utf-16"),
        "Schröder von".encode("utf-16-be"),
        b"Schr&ouml;der",
        b"Schr&#246;der",
        b"Schr=F6der",
        b"Schr%C3%B6der",
        b"Schr?der",
        b"M?ller",
        b"der\x80",
        b"der\x7f",
    ],
)
def test_the_whole_run_goes(value: bytes) -> None:
    """Up to a character that ends a word in every encoding; nothing is declared."""
    assert cleaned(b"Thorax " + value, "").strip() in ("Thorax", "")
    assert cleaned(value, "") == ""


@pytest.mark.parametrize("declared", ["ISO_IR 100", "ISO_IR 101", "ISO_IR 148"])
@pytest.mark.parametrize("name", ["François", "Raphaël", "Niccolà", "Nuñez", "Málaga", "Benoîte", "Væver", "Håkon"])
def test_utf8_declared_as_latin(name: str, declared: str) -> None:
    """Half of its letters look like symbols, at which the name would fall to pieces."""
    assert cleaned(f"Thorax {name}von der".encode(), declared) in ("Thorax der", "Thorax")


def test_what_is_readable_stays() -> None:
    """In its own language and with its own accents, with the symbols of measures."""
    for line, terms, codec in (
        ("MRT Schädel nativ", "ISO_IR 100", "latin-1"),
        ("MRT Schädel nativ", "ISO_IR 192", "utf-8"),
        ("Head 20°C ±5mm 2µm 3cm²", "ISO_IR 100", "latin-1"),
        ("TAC de tórax con contraste", "ISO 2022 IR 100\\ISO 2022 IR 87", "latin-1"),
        ("«Schädel» mass?cyst", "ISO_IR 100", "latin-1"),
        ("Thorax (20°\u201330°)", "ISO_IR 192", "utf-8"),
        ("\uff23\uff34 head", "ISO_IR 192", "utf-8"),
    ):
        assert cleaned(line.encode(codec), terms) == line
    assert cleaned(b"MRT Sch\xe4del nativ, links", "") == "MRT nativ, links"


@pytest.mark.parametrize("word", ["Çt", "mŕ", "hêad", "ḱnee", "Çhèst", "ħead", "Rìght", "c̸t", "ﬀt", "ªº"])
def test_accents_never_accept_a_word(word: str) -> None:
    """A word is not that which it is without them."""
    assert clean(f"Thorax {word}", NOBODY, WORDS) == "Thorax"
    assert not WORDS.accepts(word)


def test_the_name_is_found_without_its_accents() -> None:
    """Declared as UTF-8, declared as nothing, or declared as something else."""
    for terms in (b"ISO_IR 192", b"ISO_IR 100", None):
        result = ENGINE.bytes(
            dicom(
                text(PATIENT_NAME, "Bäker^Öl".encode(), "PN"),
                text(STUDY_DESCRIPTION, b"Thorax Baker cyst"),
                terms=terms,
            )
        )
        assert raw(result, STUDY_DESCRIPTION) == b"Thorax cyst", terms


@pytest.mark.parametrize("case", ["none", "latin1"])
def test_the_case_of_gbk(case: str) -> None:
    """A Chinese name in Study Description: with no character set, and with a wrong one."""
    terms = {"none": None, "latin1": b"ISO_IR 100"}[case]
    for family, given in itertools.product("张王李陈赵周徐孙马朱胡郭何高林罗", "伟芳娜秀敏静丽强磊军洋勇艳杰娟涛"):
        source = dicom(text(STUDY_DESCRIPTION, f"{family}{given} CT".encode("gbk")), terms=terms)
        assert raw(ENGINE.bytes(source), STUDY_DESCRIPTION) == b"CT"


def test_values_are_not_split_within_a_character() -> None:
    """A backslash behind a byte of an unknown set may be the second half of a character."""
    assert cleaned(b"\x95\\hand\\Thorax", "") == "\\Thorax"
    assert cleaned(b"Kn\xe6 hand\\Thorax", "") == "hand\\Thorax"


def test_condensing_takes_no_longer_for_longer_runs() -> None:
    """One pass, whatever is in the text."""
    for piece in ("\udcff", "a\udcff\\", "\xc3\xa4", "&ouml", "=C3", "%C3", "?", "\x1b", "a?"):
        assert len(condensed(piece * 100_000)) <= 100_000 * len(piece)


# ---------------------------------------------------------------- terms

MISSPELT = {
    "ISO_IR 100": "ISO-IR 100|ISO_IR_100|ISO IR 100|iso_ir 100|ISOIR100|ISO-8859-1|ISO8859-1|ISO_8859-1|LATIN1|latin-1|"
    "ISO_IR  100|ISO_IR-100|Iso_Ir100|ISO/IR 100|IR 100|8859-1|ISO 8859-1|ISO-IR-100",
    "ISO_IR 192": "UTF-8|UTF8|utf_8|ISO-IR 192|ISO_IR_192|ISO 2022 IR 192|ISO 10646 UTF-8",
    "ISO_IR 101": "ISO-8859-2|LATIN2|ISO IR 101",
    "ISO_IR 148": "ISO-8859-9|LATIN5",
    "ISO_IR 144": "ISO-8859-5|cyrillic",
    "ISO_IR 166": "ISO-8859-11|TIS-620|TIS620",
    "ISO_IR 203": "ISO-8859-15|LATIN9|ISO-IR 203",
    "ISO_IR 13": "ISO-IR 13|ISO_IR_13",
    "ISO_IR 6": "ISO-IR 6|US-ASCII|ASCII",
    "ISO 2022 IR 100": "ISO 2022 IR100|ISO_2022_IR_100|ISO-2022-IR-100|ISO2022IR100",
    "ISO 2022 IR 87": "ISO-2022-IR-87|ISO_IR 87|ISO 2022 IR87",
    "ISO 2022 IR 6": "ISO_IR 2022 IR 6|ISO-2022-IR-6",
    "ISO 2022 IR 149": "ISO_IR 149|ISO2022-IR-149|KS X 1001",
    "ISO 2022 IR 58": "ISO 2022 58|ISO_IR 58",
    "GB18030": "GB 18030|GB-18030|gb18030|GB18030-2000",
    "GBK": "gbk|CP936|GB2312|ISO 2022 GBK",
}


@pytest.mark.parametrize(("defined", "spellings"), MISSPELT.items())
def test_misspelt_terms_are_corrected(defined: str, spellings: str) -> None:
    """The result has the defined term, at the top level and in items; the text is read by it."""
    for spelling in spellings.split("|"):
        inner = Item((Element(CHARACTER_SET, "CS", trees.padded("CS", spelling.encode())),))
        source = dicom(text(STUDY_DESCRIPTION, b"CT"), Element(SHARED_GROUPS, "SQ", (inner,)), terms=spelling.encode())
        result = ENGINE.bytes(source)
        assert raw(result, CHARACTER_SET) == defined.encode(), spelling
        assert result.count(defined.encode()) == 2
        assert STANDARD.terms(spelling.encode()) == (defined,)


def test_misspelt_texts_are_read() -> None:
    """By the set that is meant: words stay, names go, and the text is encoded in it."""
    source = dicom(text(STUDY_DESCRIPTION, "Schädel Schröder nativ".encode()), terms=b"UTF-8")
    assert raw(ENGINE.bytes(source), STUDY_DESCRIPTION) == "Schädel nativ".encode()


@pytest.mark.parametrize("term", sorted(CODECS.keys() - {"ISO 2022 GBK", "ISO 2022 58", ""}))
def test_defined_terms_stay(term: str) -> None:
    """To the letter."""
    assert raw(ENGINE.bytes(dicom(terms=term.encode())), CHARACTER_SET) == term.encode()
    assert STANDARD.proper(term.encode()) is None
    assert fault(term) == ""


@pytest.mark.parametrize(
    ("written", "proper"),
    [
        (b"ISO_IR 100\\ISO 2022 IR 87", b"ISO 2022 IR 100\\ISO 2022 IR 87"),
        (b"ISO-IR 6\\ISO-2022-IR-87", b"ISO 2022 IR 6\\ISO 2022 IR 87"),
        (b"\\ISO-IR 149", b"\\ISO 2022 IR 149"),
        (b"\\ISO 2022 IR 87", b"\\ISO 2022 IR 87"),
        (b"ISO_IR 192\\ISO 2022 IR 100", b"ISO_IR 192\\ISO 2022 IR 100"),
    ],
)
def test_several_terms(written: bytes, proper: bytes) -> None:
    """Beside others each is one with code extensions; of what stands alone nobody knows what was meant."""
    assert raw(ENGINE.bytes(dicom(terms=written)), CHARACTER_SET) == proper


@pytest.mark.parametrize(
    "term",
    [
        *(
            "ISO_IR 999",
            "UTF-16",
            "Shift_JIS",
            "BIG5",
            "cp1252",
            "windows-1251",
            "unicode_escape",
            "ISO_IR",
            "100",
            "NONE",
        ),
        *("ISO_IR\0100", "ISO_IR 1000", "LATIN", "ISO 8859", "ISO_IR 100\\CANARY", "ISO_IR 10O", "utf-7", "KOI8-R"),
    ],
)
def test_unknown_terms_are_held(term: str) -> None:
    """Nothing is guessed."""
    for file in (
        dicom(terms=term.encode()),
        dicom(Element(SHARED_GROUPS, "SQ", (Item((text(CHARACTER_SET, term.encode(), "CS"),)),))),
    ):
        with pytest.raises(Undecodable) as caught:
            ENGINE.bytes(file)
        assert caught.value.reason == Reason.UNKNOWN_CHARACTER_SET
        assert "CANARY" not in str(caught.value)


def test_the_table_is_sound() -> None:
    """It is found by letters and digits alone, and leads to what is defined."""
    assert all(re.fullmatch("[A-Z0-9]+", name) for name in MEANT)
    assert set(MEANT.values()) <= CODECS.keys()
    assert all(STANDARD.terms(term.encode()) == (term,) for term in MEANT.values())


def test_latin_9() -> None:
    """ISO_IR 203 is of the standard, and newer than pydicom."""
    assert decode(b"\xa4uro \xbduvre", ("ISO_IR 203",)) == "€uro œuvre"
    assert encode("œuvre", ("ISO_IR 203",)) == b"\xbduvre"
    assert readable(b"\x1b-b\xbd", ("", "ISO 2022 IR 203")) == "œ"


@pytest.mark.parametrize(
    ("value", "terms", "read"),
    [
        (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"),
        (b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        (b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "\\ISO 2022 IR 149", "Hong=洪^吉洞"),
        (b"\x1b-F\xe4\xe9\xef", "\\ISO 2022 IR 126", "διο"),
        (b"\x1b-A\xe4^\xe4", "\\ISO 2022 IR 100", "ä^\udce4"),  # each component begins anew
        (b"\xe4", "ISO 2022 IR 100\\ISO 2022 IR 87", "ä"),
        (b"\xe4", "\\ISO 2022 IR 100", "\udce4"),
        (b"\xd4\x83\x5c", "ISO_IR 13", "ﾔ\udc83\\"),
        (b"\x80\xe4", "ISO_IR 100", "\x80ä"),
        (b"\xe4", "", "\udce4"),
        (b"\xc3\xa4\xff", "ISO_IR 192", "ä\udcff"),
    ],
)
def test_what_is_read(value: bytes, terms: str, read: str) -> None:
    """By the letter of PS3.5 6.1.2; whatever is not of a declared set is a lone surrogate."""
    assert readable(value, tuple(terms.split("\\"))) == read


# ---------------------------------------------------------------- what a profile says

GERMAN = "Schädel Schröder nativ"


def test_absent() -> None:
    """The set is assumed and declared where a text needs it, and nowhere else."""
    assuming = engine(character_sets={"absent": "ISO_IR 192"})
    source = dicom(text(STUDY_DESCRIPTION, GERMAN.encode()))
    result = assuming.bytes(source)
    assert raw(result, CHARACTER_SET) == b"ISO_IR 192"
    assert raw(result, STUDY_DESCRIPTION) == "Schädel nativ".encode()
    assert raw(ENGINE.bytes(source), STUDY_DESCRIPTION) == b"nativ"
    assert (
        raw(assuming.bytes(dicom(text(STUDY_DESCRIPTION, GERMAN.encode()), terms=b"")), CHARACTER_SET) == b"ISO_IR 192"
    )
    assert raw(assuming.bytes(dicom(text(STUDY_DESCRIPTION, b"CT"))), CHARACTER_SET) is None
    declared = dicom(text(STUDY_DESCRIPTION, GERMAN.encode("latin-1")), terms=b"ISO_IR 100")
    assert raw(assuming.bytes(declared), CHARACTER_SET) == b"ISO_IR 100"
    assert raw(assuming.bytes(declared), STUDY_DESCRIPTION) == "Schädel nativ".encode("latin-1")


def test_absent_and_items() -> None:
    """A text of an item counts, unless the item declares its own set; an item without one has the assumed one."""
    assuming = engine(character_sets={"absent": "ISO_IR 192"})
    words = text(STUDY_DESCRIPTION, GERMAN.encode())
    own = text(CHARACTER_SET, b"UTF-8", "CS")
    inside = assuming.bytes(dicom(Element(SHARED_GROUPS, "SQ", (Item((words,)),))))
    assert raw(inside, CHARACTER_SET) == b"ISO_IR 192"
    assert "Schädel nativ".encode() in inside
    declared = assuming.bytes(dicom(Element(SHARED_GROUPS, "SQ", (Item((own, words)),))))
    assert raw(declared, CHARACTER_SET) is None
    assert b"ISO_IR 192" in declared
    assert "Schädel nativ".encode() in declared


def test_several_terms_where_none_is_declared() -> None:
    """With code extensions as well."""
    assuming = engine(character_sets={"absent": "ISO 2022 IR 100\\ISO 2022 IR 87"})
    result = assuming.bytes(dicom(text(STUDY_DESCRIPTION, GERMAN.encode("latin-1"))))
    assert raw(result, CHARACTER_SET) == b"ISO 2022 IR 100\\ISO 2022 IR 87"
    assert raw(result, STUDY_DESCRIPTION) == "Schädel nativ".encode("latin-1")


@pytest.mark.parametrize(
    ("sender", "meaning", "written", "codec"),
    [
        ("ISO_IR 999", "ISO_IR 100", "ISO_IR 999", "latin-1"),
        ("Latin-CHU", "ISO_IR 101", "LATIN CHU", "iso8859_2"),
        ("ISO_IR 100", "ISO_IR 192", "ISO_IR 100", "utf-8"),  # who declares Latin-1 and writes UTF-8
        ("ISO_IR 100\\ISO_IR 999", "ISO_IR 192", "ISO_IR 100\\ISO_IR 999", "utf-8"),
    ],
)
def test_own_terms(sender: str, meaning: str, written: str, codec: str) -> None:
    """They go before the standard and its misspellings, at every depth."""
    mapped = engine(character_sets={"map": {sender: meaning}})
    words = text(STUDY_DESCRIPTION, GERMAN.encode(codec))
    terms = written.encode()
    inner = Item((text(CHARACTER_SET, terms, "CS"), words))
    result = mapped.bytes(dicom(words, Element(SHARED_GROUPS, "SQ", (inner,)), terms=terms))
    assert raw(result, CHARACTER_SET) == meaning.encode()
    assert raw(result, STUDY_DESCRIPTION) == "Schädel nativ".encode(codec)
    assert result.count("Schädel nativ".encode(codec)) == 2
    assert result.count(meaning.encode()) == 2


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("absent: UTF-8", "did you mean ISO_IR 192"),
        ("absent: ISO_IR 999", "no defined term"),
        ("absent: ISO_IR 6", "default repertoire"),
        ("absent: ''", "default repertoire"),
        ("absent: ISO_IR 192\\ISO_IR 100", "stands alone"),
        ("absent: ISO_IR 100\\ISO 2022 IR 87", "code extensions: ISO 2022 IR 100"),
        ("map: {X: utf8}", "did you mean ISO_IR 192"),
        ("map: {X: windows-1252}", "no defined term"),
        ("map: {'': ISO_IR 100}", "say absent"),
        ("map: {'Gräz': ISO_IR 100}", "ASCII"),
        ("default: ISO_IR 100", "unknown key"),
    ],
)
def test_faults(tmp_path: Path, section: str, problem: str) -> None:
    """With file, line and setting."""
    path = tmp_path / "profile.yaml"
    path.write_text(f"base: basic\ncharacter_sets:\n  {section}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    assert problem in str(caught.value)
    assert f"{path}:3: character_sets." in str(caught.value)


def test_explained() -> None:
    """What the profile says of it is told."""
    (line,) = explain(engine().profile, "SpecificCharacterSet")
    assert line.startswith("(0008,0005) SpecificCharacterSet CS: kept, misspelt terms corrected; refused")
    sets = {"absent": "ISO_IR 192", "map": {"ISO_IR 999": "ISO_IR 100"}}
    (line,) = explain(engine(character_sets=sets).profile, "SpecificCharacterSet")
    assert line.endswith("; ISO_IR 192 where it is absent and a text has bytes above 7FH; ISO_IR 999 means ISO_IR 100")


def test_conditions_read_by_it() -> None:
    """What a condition asks for is read by the assumed set as well."""
    rule = {"tag": "StudyDescription", "action": "replace", "value": "found", "when": {"StudyDescription": GERMAN}}
    assuming = engine(character_sets={"absent": "ISO_IR 192"}, rules=[rule])
    assert raw(assuming.bytes(dicom(text(STUDY_DESCRIPTION, GERMAN.encode()))), STUDY_DESCRIPTION) == b"found"


def test_a_result_is_read_by_pydicom() -> None:
    """As a receiver would."""
    source = dicom(text(STUDY_DESCRIPTION, GERMAN.encode("latin-1")), terms=b"ISO-8859-1")
    assert dcmread(BytesIO(ENGINE.bytes(source))).StudyDescription == "Schädel nativ"


@pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")  # says pydicom of the original
@pytest.mark.parametrize("terms", [None, b"Unicode UTF-8"])
def test_differences_are_read_as_meant(terms: bytes | None) -> None:
    """What stays to the byte is no change, and the original is shown as it was meant, in items as well."""
    assuming = engine(character_sets={"absent": "ISO_IR 192"})
    maker = text(0x00080070, "Gerätebau".encode())
    source = dicom(maker, Element(SHARED_GROUPS, "SQ", (Item((maker,)),)), terms=terms)
    found = {(each.path, each.tag): each for each in differences(source, assuming.bytes(source))}
    fates = [each.fate for each in found.values() if each.keyword == "Manufacturer"]
    assert fates == ["kept", "kept"]
    assert found["", "(0008,0070)"].before == "'Gerätebau'"
    assert found["", "(0008,0005)"].fate == ("added" if terms is None else "changed")


def test_two_profiles_do_not_share_terms() -> None:
    """What one profile knows is unknown to another."""
    assert CharacterSets(None, {"X Y": "ISO_IR 100"}).terms(b"x-y") == ("ISO_IR 100",)
    with pytest.raises(Undecodable):
        STANDARD.terms(b"X Y")


def test_a_condition_reads_ages() -> None:
    """In the form that DICOM has for them, whatever the sender writes."""
    rule = {"tag": "StudyDescription", "action": "replace", "value": "found", "when": {"PatientAge": "066Y"}}
    by = engine(rules=[rule])
    for age in (b"66Y ", b"066y", b"66", b"066Y"):
        source = dicom(text(STUDY_DESCRIPTION, b"CT"), Element(0x00101010, "AS", trees.padded("AS", age)))
        assert raw(by.bytes(source), STUDY_DESCRIPTION) == b"found", age
