"""A profile file: YAML → typed, frozen sections. docs/profiles.md says what each means, `lint` what cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import yaml
from pydantic import Field, RootModel, model_validator

from scp_anon.deid import character_sets
from scp_anon.deid.identity import LONGEST_HASH, PSEUDONYM_LENGTH
from scp_anon.documents import Document, Section, misplaced
from scp_anon.links import Matching

BASIC: Final = "basic"
SHIPPED: Final = ("mmiv",)  # the profiles in `profiles/`, by name
ALLOW_LIST: Final = "allow-list"

Option: TypeAlias = Literal[
    "retain-safe-private",
    "retain-uids",
    "retain-device-identity",
    "retain-institution-identity",
    "retain-patient-characteristics",
    "retain-longitudinal-full-dates",
    "retain-longitudinal-modified-dates",
    "clean-descriptors",
    "clean-structured-content",
    "clean-graphics",
    "clean-pixel-data",
    "clean-recognizable-visual-features",
]
# Options of PS3.15 E.3 that need the pixels changed, which nobody here does.
_OF_PIXELS: Final = ("clean-pixel-data", "clean-recognizable-visual-features")
_DATES: Final = ("retain-longitudinal-full-dates", "retain-longitudinal-modified-dates")

ActionName: TypeAlias = Literal[
    "keep",
    "remove",
    "empty",
    "dummy",
    "replace",
    "hash",
    "uid",
    "shift-date",
    "pseudonym",
    "regex",
    "lookup",
    "clean-text",
]
Otherwise: TypeAlias = Literal["quarantine", "remove", "empty", "dummy", "keep", "next"]
Terms: TypeAlias = Literal["body-part-examined"]
HeldTest: TypeAlias = Literal["patient-protocol", "screen-save", "burned-in", "converters"]
When: TypeAlias = dict[str, Any]
Modality: TypeAlias = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]


class DatesSection(Section):
    """How modified dates are modified."""

    window: int | None = Field(default=None, ge=1, le=36500)
    days: int | None = Field(default=None, ge=-36500, le=36500)
    anchor: str | None = None
    becomes: date = date(1970, 1, 1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.days == 0:
            raise ValueError("days: 0 would leave every date as it is; use the option retain-longitudinal-full-dates")
        if sum(one is not None for one in (self.window, self.days, self.anchor)) > 1:
            raise ValueError("one of window, days and anchor, not more")
        if "becomes" in self.model_fields_set and self.anchor is None:
            raise ValueError("becomes is what the date of an anchor becomes: anchor is missing")
        return self


class HashedPatients(Section):
    """Pseudonyms by keyed hash."""

    scheme: Literal["hash"] = "hash"
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9 _.-]{0,12}$")
    length: int = Field(default=PSEUDONYM_LENGTH, ge=8, le=LONGEST_HASH)
    issuer: bool = False
    placeholders: tuple[str, ...] | None = None


class FixedPatients(Section):
    """The same Patient ID and Patient's Name for all."""

    scheme: Literal["fixed"]
    id: str = Field(min_length=1, max_length=64, pattern=r"^[ -\[\]-~]+$")
    name: str | None = Field(default=None, min_length=1, max_length=64, pattern=r"^[ -\[\]-~]+$")


class TablePatients(Section):
    """Pseudonyms from a CSV table; who is not in it waits."""

    scheme: Literal["table"]
    file: Path
    issuer: bool = False
    placeholders: tuple[str, ...] | None = None


class SequentialPatients(Section):
    """Numbers, one after the other, which a file remembers."""

    scheme: Literal["sequential"]
    file: Path
    start: int = Field(default=1, ge=1, le=10**12)
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9 _.-]{0,12}$")
    issuer: bool = False
    placeholders: tuple[str, ...] | None = None


class PreviewedPatients(SequentialPatients):
    """The same where nothing may be written: what `previewed` makes of it."""


class UidsSection(Section):
    """What new UIDs are made of."""

    scheme: Literal["keyed", "mmiv"] = "keyed"
    root: str = "2.25"
    old_style: bool = False


class RuleSection(Section):
    """One rule: a target, an action and its parameters, and conditions."""

    tag: str | None = None
    private: str | None = Field(default=None, min_length=1, max_length=64)
    group: str | None = Field(default=None, pattern=r"^[0-9A-Fa-f]{3}[13579BbDdFf]$")
    element: str | None = Field(default=None, pattern=r"^([xX]{2})?[0-9A-Fa-f]{2}$")
    vr: str | None = None
    action: ActionName
    value: str | None = None
    pattern: str | None = None
    all: bool = False
    file: Path | None = None
    values: tuple[str, ...] | None = Field(default=None, min_length=1)
    terms: Terms | None = None
    length: int | None = Field(default=None, ge=4, le=LONGEST_HASH)
    match: Matching | None = None
    otherwise: Otherwise = "quarantine"
    create: bool = False
    when: When | None = None


class CharacterSetsSection(Section):
    """How Specific Character Set is read where it is absent, or says what the standard does not define."""

    absent: str | None = None
    map: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        place = "character_sets"
        if self.absent is not None and (problem := character_sets.fault(self.absent)):
            raise misplaced((place, "absent"), problem)
        if self.absent is not None and not set(self.absent.split("\\")) - {"", "ISO_IR 6", "ISO 2022 IR 6"}:
            raise misplaced((place, "absent"), "the default repertoire has no bytes above 7FH; name a set that does")
        for term, meaning in self.map.items():
            if not term.isascii():
                raise misplaced((place, "map", term), "a term is written in ASCII")
            if not term.strip(" \\"):
                raise misplaced((place, "map", term), "of a value that is missing, say absent")
            if problem := character_sets.fault(meaning):
                raise misplaced((place, "map", term), problem)
        return self


class AdmitSection(Section):
    """What becomes of instances that meet a condition."""

    when: When
    then: Literal["accept", "refuse", "filter", "quarantine"]


class PixelRule(Section):
    """Instances whose pixels may hold text."""

    when: When
    why: str


class AuditSection(Section):
    """Where it is written down which original has become what."""

    file: Path


Patients: TypeAlias = Annotated[
    HashedPatients | FixedPatients | TablePatients | SequentialPatients, Field(discriminator="scheme")
]


class ProfileFile(Section):
    """The content of a profile file."""

    base: Literal["basic", "allow-list"] = BASIC
    options: tuple[Option, ...] = ()
    dates: DatesSection = DatesSection(window=365)
    patients: Patients = HashedPatients()
    study_patients: Literal["hold", "first", "separate"] | None = None
    uids: UidsSection = UidsSection()
    rules: tuple[RuleSection, ...] = ()
    admit: tuple[AdmitSection, ...] = ()
    modalities: tuple[Modality, ...] | None = Field(default=None, min_length=1)
    pixels: Literal["hold", "pass"] = "hold"
    pixel_rules: tuple[PixelRule, ...] | None = Field(default=None, min_length=1)
    hold: tuple[HeldTest, ...] = ()
    vocabulary: Path | None = None
    character_sets: CharacterSetsSection = CharacterSetsSection()
    safe_private: Path | None = None
    audit: AuditSection | None = None
    variables: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_base(self) -> Self:
        if self.base != ALLOW_LIST:
            return self
        if self.options:
            raise misplaced(("options", 0), "with base: allow-list only rules say what stays; there is no option of it")
        if not self.rules:
            raise misplaced(("base",), "nothing would stay: with base: allow-list, rules say what does")
        for i, rule in enumerate(self.rules):
            if rule.private is not None:
                raise misplaced(("rules", i), "with base: allow-list private attributes never stay")
        return self

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        for i, option in enumerate(self.options):
            if option in _OF_PIXELS:
                raise misplaced(("options", i), f"{option} is not there yet: pixels are not changed; see pixels: hold")
            if option in self.options[:i]:
                raise misplaced(("options", i), f"{option} is there twice")
        for i, name in enumerate(self.hold):
            if name in self.hold[:i]:
                raise misplaced(("hold", i), f"{name} is there twice")
        if all(option in self.options for option in _DATES):
            raise misplaced(("options",), f"{' and '.join(_DATES)} exclude each other")
        return self


def previewed(settings: ProfileFile) -> ProfileFile:
    """The same profile for a look at what it would do: it writes nothing, not even the numbers of new patients."""
    if not isinstance(settings.patients, SequentialPatients):
        return settings
    return settings.model_copy(update={"patients": PreviewedPatients(**settings.patients.model_dump())})


class _PixelRules(Section):
    pixel_rules: tuple[PixelRule, ...]


class _Held(RootModel[dict[HeldTest, tuple[PixelRule, ...]]]):
    """The tests of `held.yaml`, by their names."""


def held_tests(names: Iterable[HeldTest]) -> Iterator[PixelRule]:
    """The shipped tests of these names, which hold an instance also where pixels may pass."""
    tests = _Held.model_validate(yaml.safe_load((files(__package__) / "held.yaml").read_text(encoding="utf-8"))).root
    for name in names:
        yield from tests[name]


def shipped_pixel_rules() -> tuple[PixelRule, ...]:
    """The list of what may carry text in its pixels that `pixels: hold` goes by."""
    return Document(pixel_rules_text(), "pixel-rules.yaml").as_section(_PixelRules).pixel_rules


def pixel_rules_text() -> str:
    """The same list, as a part of a profile file that can be changed and used."""
    return (files(__package__) / "pixel-rules.yaml").read_text(encoding="utf-8")


def shipped_profile_text(name: str) -> str:
    """One of the profiles that come with us, as a profile file."""
    return (files(__package__) / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
