"""The rules of the standard: Table E.1-1 under the options that are on, for one attribute after the other.

A row's code is that of the options, which override the Basic Profile; where two disagree the one that cleans (C)
holds over the one that keeps (K). A conditional code is resolved by SOP class and place, with the shipped types of
attributes; so is an X that would remove what an IOD needs (PS3.15 E.1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from scp_anon.deid import actions, content, graphics
from scp_anon.deid.actions import KEEP, REMOVE, Rule
from scp_anon.deid.cleaning import TextCleaner
from scp_anon.deid.instance import PATIENT_ID, PATIENT_NAME, Scope
from scp_anon.deid.settings import BASIC
from scp_anon.deid.tables import Concept, Row, attribute_rows, iod_actions, unlisted_rows
from scp_anon.dicom.dictionary import vr_of

FULL_DATES: Final = "retain-longitudinal-full-dates"
MODIFIED_DATES: Final = "retain-longitudinal-modified-dates"
GRAPHICS: Final = "clean-graphics"
DESCRIPTORS: Final = "clean-descriptors"
CONTENT: Final = "clean-structured-content"
SAFE_PRIVATE: Final = "retain-safe-private"

_TEXTS: Final = frozenset("LO LT SH ST UC UT".split())
# A conditional code where the attribute is not of the IOD, and where the IOD is not known.
_NOT_OF_IOD: Final = {"Z/D": "Z", "X/Z": "X", "X/D": "X", "X/Z/D": "X", "X/Z/U*": "X"}
_STRICTEST: Final = {"Z/D": "D", "X/Z": "Z", "X/D": "D", "X/Z/D": "D", "X/Z/U*": "Z"}
_UNLISTED: Final = "a reference; no row in PS3.15 Table E.1-1"
_REFERENCED_SERIES: Final = 0x00081115
# Responsible Person and Organization: Type 2C of a patient who is no human, which the species tells (PS3.3 C.7.1.1).
_OF_ANIMALS: Final = frozenset((0x00102297, 0x00102299))
_SPECIES: Final = (0x00102201, 0x00102202)
_DECLARATIONS: Final = 0x00080300  # Private Data Element Characteristics Sequence, which names private creators
_REFERENCES: Final = {"X": "X", "Z": "U*", "U*": "U*"}
_CONTENT_DATES: Final = (content.DATE_TIME, content.DATE, content.TIME)
_CONTENT_TEXTS: Final = {content.TEXT: "UT", content.ANNOTATION_TEXT: "ST"}
_CODE_MEANING: Final = 0x00080104
# Schemes whose codes and meanings are published: they identify nobody (PS3.16 chapter 8).
_PUBLISHED: Final = frozenset(
    b"DCM SCT SRT SNM3 99SDM LN UCUM RADLEX FMA MDC NCIt UMLS ICD10 I10 I9 I9C C4 C5 HPC BI RFC5646 NYUMCCG "
    b"ISO3166_1 ITIS_TSN PUBCHEM_CID IBSI DCMUID NCDR".split()
)


class Decided(NamedTuple):
    """A rule, and what to tell of it: the action, and who says so.

    `promised`: the bits of the options that promise to clean the attribute, as `Options.broken` has them.
    """

    rule: Rule
    action: str
    origin: str
    promised: int = 0


@dataclass(frozen=True)
class Options:
    """The options that are on, and what they need."""

    names: tuple[str, ...]
    days: actions.Days
    cleaner: TextCleaner | None
    new_uid: Callable[[int], Rule]

    def bit(self, name: str) -> int:
        """The bit of `Instance.done` that says that the option was used."""
        bit = actions.FIRST_OPTION << self.names.index(name)
        if name == FULL_DATES:
            return bit | actions.DATES_KEPT
        return bit | actions.DATES_MOVED if name == MODIFIED_DATES else bit

    def broken(self, name: str) -> int:
        """The bit of `Instance.done` that says that a rule of the project kept more than the option does."""
        return actions.FIRST_OPTION << len(self.names) + self.names.index(name)

    def promised(self, codes: Mapping[str, str]) -> int:
        """The bits of all options that clean what a row is about."""
        return sum(self.broken(name) for name in self.names if codes.get(name) == "C")

    def code(self, basic: str, codes: Mapping[str, str]) -> tuple[str, str]:
        """The action code of a row, and the option that says so, or "basic"."""
        on = [(codes[name], name) for name in self.names if name in codes]
        for wanted in ("C", "K"):
            for code, name in on:
                if code == wanted:
                    return code, name
        return basic, BASIC


def standard_rules(options: Options) -> dict[int, Decided]:
    """Tag → what the standard has become of it, for every attribute that it says something of."""
    rules = {row.tag: _decided(row, options)._replace(promised=_promised(row, options)) for row in attribute_rows()}
    for row in unlisted_rows():
        decided = _decided(row, options)
        rules[row.tag] = decided if decided.origin.startswith("option") else decided._replace(origin=_UNLISTED)
    for tag in (_REFERENCED_SERIES, *_SPECIES):
        rules.setdefault(tag, Decided(actions.keep(), "keep", "no row in PS3.15 Table E.1-1"))
    if SAFE_PRIVATE not in options.names:
        rules[_DECLARATIONS] = Decided(REMOVE, "remove", "it is about private attributes, which do not stay")
    if GRAPHICS in options.names:
        rules.update(_graphics(options))
    if options.cleaner is not None:
        rules.update(_codes(options, frozenset(_cleaned_sequences(rules))))
    if CONTENT in options.names:
        rules.update(_content(options, rules))
    return rules


def _decided(row: Row, options: Options) -> Decided:
    base = _basic(row, options)
    code, option = options.code(row.basic, row.options)
    if option == BASIC:
        return base
    rule = _kept(row, option, options, base.rule) if code == "K" else _cleaned(row, option, options, base.rule)
    return Decided(rule, code, f"option {option}") if rule is not base.rule else base


def _promised(row: Row, options: Options) -> int:
    """The options that clean an attribute; of a sequence none, as what is in it is ruled on whoever keeps it."""
    return options.promised(row.options) if vr_of(row.tag) != "SQ" else 0


def _basic(row: Row, options: Options) -> Decided:
    """The Basic Profile's rule."""
    vr = vr_of(row.tag) or "UN"
    origin = "PS3.15 Table E.1-1"
    if row.tag == PATIENT_ID:
        return Decided(actions.patient_id(), "pseudonym", origin)
    if row.tag == PATIENT_NAME:
        return Decided(actions.patient_name(), "pseudonym", origin)
    if row.tag in _OF_ANIMALS:
        return Decided(_if_animal(row.tag, vr), row.basic, f"{origin}; empty for an animal")
    places = _places(row.tag)
    codes = {code for by_iod in places.values() for code in by_iod.values()}
    if row.basic in _NOT_OF_IOD:
        branches = {code: by_code(code, row.tag, vr, options) for code in codes | {*row.basic.split("/")}}
        if "U*" in branches:
            # Of references, an IOD has a Type 2 sequence as it has a Type 1 one elsewhere (Common Instance Reference):
            # they are of use only together, and with new UIDs they tell nothing.
            places = {place: {iod: _REFERENCES[code] for iod, code in by.items()} for place, by in places.items()}
            branches["X"] = _if_referenced(branches["U*"])
        strictest, other = branches[_STRICTEST[row.basic]], branches[_NOT_OF_IOD[row.basic]]
        return Decided(by_iod(places, branches, strictest, other), row.basic, f"{origin}, by IOD")
    rule = by_code(row.basic, row.tag, vr, options)
    if places:
        branches = {code: by_code(code, row.tag, vr, options) for code in codes}
        return Decided(by_iod(places, branches, rule, rule), row.basic, f"{origin}; filled where an IOD needs it")
    return Decided(rule, row.basic, origin)


def by_code(code: str, tag: int, vr: str, options: Options) -> Rule:
    """The rule for an action code that has no conditions: X, Z, D, U, and U* for a sequence of references."""
    match code:
        case "X":
            return REMOVE
        case "Z":
            return actions.empty(tag, vr)
        case "D":
            return options.new_uid(tag) if vr == "UI" else actions.dummy(tag, vr)
        case "U":
            return options.new_uid(tag)
        case "U*":
            return KEEP  # the items stay, and the UIDs in them are replaced
    raise AssertionError(f"action code {code}")


def _places(tag: int) -> dict[int, dict[str, str]]:
    return {enclosing: by_iod for (of, enclosing), by_iod in iod_actions().items() if of == tag}


def by_iod(places: Mapping[int, Mapping[str, str]], branches: Mapping[str, Rule], unknown: Rule, other: Rule) -> Rule:
    """The rule by SOP class and innermost enclosing sequence; `unknown`: where the IOD is not known."""

    def choose(scope: Scope) -> Rule:
        iod = scope.instance.iod
        if not iod:
            return unknown
        by_iod = places.get(scope.path[-1] if scope.path else 0)
        if by_iod is None:
            return other
        code = by_iod.get(iod) or by_iod.get("*")
        return branches[code] if code is not None else other

    return Rule("UN", choose=choose, descends=True)


def _if_referenced(references: Rule) -> Rule:
    """Removed; but Referenced Series Sequence at the top level would be wrong without the references that it lists."""

    def choose(scope: Scope) -> Rule:
        return references if not scope.path and scope.has(_REFERENCED_SERIES) else REMOVE

    return Rule("SQ", descends=True, choose=choose)


def _if_animal(tag: int, vr: str) -> Rule:
    """Removed; but empty where the data set names a species, as the attribute is Type 2C then."""
    emptied = actions.empty(tag, vr)
    return Rule(vr, descends=True, choose=lambda scope: emptied if any(map(scope.has, _SPECIES)) else REMOVE)


def _kept(row: Row, option: str, options: Options, base: Rule) -> Rule:
    """K: the attribute stays, if it is of its VR; an age is capped."""
    bit = options.bit(option)
    vr = vr_of(row.tag) or "UN"
    if vr == "AS":
        return actions.capped_age().with_(bit, base)
    # Of the dates options, SH is the offset from UTC; of others, it is any text.
    if vr != "SH" or option == FULL_DATES:
        return actions.kept(vr).with_(bit, base)
    return actions.keep(bit)


def _cleaned(row: Row, option: str, options: Options, base: Rule) -> Rule:
    """C: what it means depends on the VR; what cannot be cleaned is as in the Basic Profile."""
    bit = options.bit(option)
    vr = vr_of(row.tag) or "UN"
    if option == MODIFIED_DATES:
        # Times of day and the offset of a time zone stay: whole days are moved. A binary timestamp cannot be.
        return base if vr == "OB" else actions.shifted(vr, options.days, row.tag).with_(bit, base)
    if vr == "SQ":
        return actions.keep(bit)
    if vr == "AE":
        return actions.application_entity().with_(bit, base)
    if vr in _TEXTS and options.cleaner is not None:
        return Rule(vr, options.cleaner.action(vr), otherwise=base, done=bit)
    return base


def _graphics(options: Options) -> Iterable[tuple[int, Decided]]:
    bit = options.bit(GRAPHICS)
    cleaner = options.cleaner
    assert cleaner is not None  # whoever builds Options sees to it
    clean = Rule("LT", cleaner.action("LO"), otherwise=REMOVE, done=bit)
    for tag, rule in graphics.graphics_rules(clean, bit).items():
        yield tag, Decided(rule, "C" if rule is not REMOVE else "X", f"option {GRAPHICS}", options.broken(GRAPHICS))
    unformatted = Rule("ST", cleaner.action("ST"), otherwise=actions.dummy(0x00700006, "ST"), done=bit)
    yield 0x00700006, Decided(unformatted, "C", f"option {GRAPHICS}", options.broken(GRAPHICS))


def _cleaned_sequences(rules: Mapping[int, Decided]) -> Iterable[int]:
    """The sequences that stay because they are cleaned, and those of content items."""
    yield from content.SEQUENCES
    for tag, decided in rules.items():
        if decided.action == "C" and vr_of(tag) == "SQ":
            yield tag


def _codes(options: Options, sequences: frozenset[int]) -> Iterable[tuple[int, Decided]]:
    """Local codes inside cleaned sequences: value and meaning may be anything (PS3.15 E.3.5)."""
    cleaner = options.cleaner
    assert cleaner is not None  # as above
    meaning = Rule("LO", cleaner.action("LO"), otherwise=actions.constant(_CODE_MEANING, "LO", b"De-identified"))
    origin = "local codes in cleaned sequences"
    promised = options.promised({name: "C" for row in attribute_rows() for name in row.options if _cleans(row, name)})

    def local(rule: Rule) -> Rule:
        def choose(scope: Scope) -> Rule:
            if sequences.isdisjoint(scope.path):
                return KEEP
            scheme = (scope.value(content.CODING_SCHEME) or b"").strip(b" \0")
            return KEEP if scheme in _PUBLISHED else rule

        return Rule("SQ", descends=True, choose=choose)

    yield content.CODING_SCHEME, Decided(actions.keep(), "keep", origin)
    yield content.CODE_VALUE, Decided(local(actions.hashed("SH", 16)), "hash", origin, promised)
    yield _CODE_MEANING, Decided(local(meaning), "clean-text", origin, promised)


def _cleans(row: Row, option: str) -> bool:
    return vr_of(row.tag) == "SQ" and row.options[option] == "C"


def _content(options: Options, rules: Mapping[int, Decided]) -> Iterable[tuple[int, Decided]]:
    """The rules for content items, and those that have what names them noted."""
    bit = options.bit(CONTENT)
    cleaner = options.cleaner
    assert cleaner is not None  # as above
    origin = f"option {CONTENT}"
    dummies: dict[int, Rule] = {
        tag: actions.dummy(tag, vr_of(tag) or "UN") for tag in (*_CONTENT_DATES, *_CONTENT_TEXTS, content.PERSON_NAME)
    } | {content.UID: options.new_uid(content.UID)}
    dates = {tag: _date(tag, options, dummies[tag]) for tag in _CONTENT_DATES}
    texts = {tag: Rule(vr, cleaner.action(vr), otherwise=dummies[tag]) for tag, vr in _CONTENT_TEXTS.items()}
    by_code = content.value_rules(dummies, texts, dates)

    def code(concept: Concept) -> str:
        return {"X/D": "D"}.get(chosen := options.code(concept.basic, concept.options)[0], chosen)

    of_items = content.ContentRules(code, by_code).for_item
    for tag in content.NOTED:
        if tag not in rules:
            yield tag, Decided(actions.keep(), "keep", origin)
    for tag in content.SEQUENCES:
        rule = Rule("SQ", descends=True, done=bit, items=of_items)
        yield tag, Decided(rule, "C", origin, options.broken(CONTENT))
    for tag in (content.SPECIMEN_PREPARATION,):
        yield tag, Decided(actions.keep(bit), "C", origin)
    for tag in dummies:
        if tag not in rules:
            yield tag, Decided(actions.keep(), "keep", origin)


def _date(tag: int, options: Options, dummy: Rule) -> Rule:
    vr = vr_of(tag) or "DT"
    if FULL_DATES in options.names:
        return actions.kept(vr).with_(options.bit(FULL_DATES), dummy)
    if MODIFIED_DATES in options.names:
        return actions.shifted(vr, options.days).with_(options.bit(MODIFIED_DATES), dummy)
    return dummy
