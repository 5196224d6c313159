"""A profile, compiled: the rules of the project before the options, the options before the base (PS3.15 E.1).

For each tag there is one look-up. What depends on the instance or on the place is chosen by the rule that it leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from scp_anon.deid import actions, cleaning
from scp_anon.deid.actions import KEEP, REMOVE, REMOVE_NOTED, Rule
from scp_anon.deid.admission import Admission
from scp_anon.deid.allow_list import allow_list_rules
from scp_anon.deid.audit import audited
from scp_anon.deid.chain import OURS, Chain, Own, Step
from scp_anon.deid.character_sets import CharacterSets
from scp_anon.deid.cleaning import TextCleaner
from scp_anon.deid.conditions import compile_condition
from scp_anon.deid.custom import Custom, custom_rule
from scp_anon.deid.digest import digest
from scp_anon.deid.dummies import code
from scp_anon.deid.identity import KEY_BYTES, Identity
from scp_anon.deid.instance import (
    FACTS,
    PATIENT_ID,
    SOP_CLASS_UID,
    SPECIFIC_CHARACTER_SET,
    STUDY_INSTANCE_UID,
    Instance,
    Scope,
)
from scp_anon.deid.mmiv import Scheme
from scp_anon.deid.offsets import Offsets
from scp_anon.deid.patient_index import Sequential
from scp_anon.deid.patients import Fixed, Hashed, Patients, Table
from scp_anon.deid.private import PRIVATE_DATA_ELEMENT_CHARACTERISTICS, PrivateRules
from scp_anon.deid.promises import Promises
from scp_anon.deid.rules import DATES, Rulebook
from scp_anon.deid.settings import ALLOW_LIST, BASIC, FixedPatients, HashedPatients, ProfileFile, SequentialPatients
from scp_anon.deid.standard_rules import (
    FULL_DATES,
    MODIFIED_DATES,
    SAFE_PRIVATE,
    Decided,
    Options,
    standard_rules,
)
from scp_anon.deid.tables import EDITION, SafePrivate, method_codes, read_safe_private, safe_private
from scp_anon.deid.targets import parse_target
from scp_anon.deid.vocabulary import vocabulary
from scp_anon.dicom.dictionary import attributes, vr_of
from scp_anon.dicom.elements import DataSet
from scp_anon.dicom.finding import Rules
from scp_anon.errors import ConfigError

PATIENT_IDENTITY_REMOVED: Final = 0x00120062
DEIDENTIFICATION_METHOD: Final = 0x00120063
DEIDENTIFICATION_METHOD_CODE_SEQUENCE: Final = 0x00120064
LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED: Final = 0x00280303

# Options that clean text, and so need a vocabulary.
_CLEANING: Final = frozenset(
    (
        *("clean-descriptors", "clean-structured-content", "clean-graphics"),
        *("retain-safe-private", "retain-patient-characteristics"),
    )
)

# Groups that belong to commands, File Meta Information, directories and real-time streams (PS3.7, PS3.10, PS3.22):
# in a stored data set they are out of place, and are not passed on whatever the table says of them.
_FIRST_GROUP: Final = 0x0008
_LENGTH_TO_END: Final = 0x00080001  # retired, and wrong after any change


_NO_FUNCTIONS: Final[Mapping[str, Custom]] = {}


class Profile:
    """A compiled profile: `rules` for the pass, `required` for the attributes that every instance gets.

    `digest` tells one set of rules from another. What is in no dictionary, and by default curves, overlays and private
    attributes, all have the rule for other tags: they are removed. (An overlay without its data would be an invalid
    one, and its bits may be in the pixel data: so its whole group goes.)
    """

    def __init__(
        self, settings: ProfileFile, identity: Identity, version: str, custom: Mapping[str, Custom] = _NO_FUNCTIONS
    ) -> None:
        """Compile `settings`; the functions of `custom`, by keyword or tag, decide before all rules.

        Raises ConfigError for what cannot be meant; see `lint` for where.
        """
        self.settings = settings
        self.identity = identity
        self.digest = digest(settings)
        self.offsets = Offsets(settings.dates, identity)
        self.patients = _patients(settings, identity)
        self.sets = CharacterSets(settings.character_sets.absent, settings.character_sets.map)
        self.admission = Admission(settings)
        self.tool = Scheme(settings.uids.old_style) if settings.uids.scheme == "mmiv" else None
        self.cleaner = self._text_cleaner() if _CLEANING & set(settings.options) else None
        self.standard = (allow_list_rules if self.is_allow_list else standard_rules)(self._options())
        self.promises = Promises(self._options(), self.standard)
        self.own = tuple(self._own_rules())
        self._has_functions = bool(custom)
        self.chain = Chain(self.standard, self.own, dict(_functions(custom, self.promises)))
        self.created = self._created()
        self.private = self._private_rules()
        self.facts = FACTS | {STUDY_INSTANCE_UID} | self._fact_tags()
        required = {**self.created, **self._required(version)}
        # Where a set is assumed if none is declared, it is written as well.
        assumed = {SPECIFIC_CHARACTER_SET} if self.sets.absent is not None else set()
        self.required = tuple(sorted({*required, *assumed}))
        self.rules = self._compiled(required)

    @property
    def is_allow_list(self) -> bool:
        """Whether what no rule names is deleted."""
        return self.settings.base == ALLOW_LIST

    def new_sop_instance_uid(self, scope: Scope, original: bytes) -> bytes:
        """The new SOP Instance UID of an instance."""
        rule = self.rules.rules[0x00080018]
        while rule is not None:
            if rule.choose is not None:
                rule = rule.choose(scope)
            elif rule.act is None:
                break
            else:
                try:
                    value = rule.act(scope, original)
                except actions.Unfit:
                    rule = rule.otherwise
                else:
                    assert isinstance(value, bytes)  # of VR UI
                    return value.strip(b"\0 ")
        return original.strip(b"\0 ")

    # ---------------------------------------------------------------- the parts

    def _text_cleaner(self) -> TextCleaner:
        return TextCleaner(vocabulary(self.settings.vocabulary))

    def _options(self) -> Options:
        new_uid: Callable[[int], Rule] = self.tool.uid_rule if self.tool else lambda tag: actions.new_uid()
        return Options(self.settings.options, self.offsets, self.cleaner, new_uid)

    def rulebook(self, settings: ProfileFile) -> Rulebook:
        """What makes the rules of a profile file."""
        variables = {**settings.variables, "project": self.identity.project}
        return Rulebook(variables, self.offsets, self._cleaner_of_rules, self.tool, self.promises)

    def _own_rules(self) -> list[Own]:
        book = self.rulebook(self.settings)
        own = []
        for number, section in enumerate(self.settings.rules):
            condition = compile_condition(section.when) if section.when is not None else None
            own.append(Own(number, section, condition, book))
        return own

    def _cleaner_of_rules(self) -> TextCleaner:
        if self.cleaner is None:
            self.cleaner = self._text_cleaner()
        return self.cleaner

    def _fact_tags(self) -> frozenset[int]:
        tags = self.admission.tags.union(*(own.condition.tags for own in self.own if own.condition is not None))
        if self.private is not None:
            tags |= {PRIVATE_DATA_ELEMENT_CHARACTERISTICS}
        if self.offsets.anchor is not None:
            tags |= {self.offsets.anchor}
        return tags | cleaning.IDENTITY if self.cleaner is not None else tags

    def _private_rules(self) -> PrivateRules | None:
        own = {key: rule for one in self.own if not one.section.create for key, rule in one.private_rules()}
        is_on = SAFE_PRIVATE in self.settings.options
        if not own and not is_on:
            return None
        known = safe_private() if is_on else ()
        if is_on and self.settings.safe_private is not None:
            known += _own_safe_private(self.settings.safe_private)
        options = self._options()
        shift = {}
        if MODIFIED_DATES in options.names:
            shift = {vr: actions.shifted(vr, self.offsets).with_(options.bit(MODIFIED_DATES)) for vr in DATES}
        elif FULL_DATES in options.names:
            shift = {vr: actions.kept(vr).with_(options.bit(FULL_DATES)) for vr in DATES}
        clean = self._cleaner_of_rules().action("LO")
        written = {tag >> 16 for one in self.own for tag in one.written()}
        return PrivateRules(own, known, clean, shift, options.bit(SAFE_PRIVATE) if is_on else 0, written)

    def _created(self) -> dict[int, Rule]:
        """The attributes that rules add where they are missing, and Patient ID, which is of Type 2 in every IOD."""
        created: dict[int, Rule] = {PATIENT_ID: self.chain.rule(PATIENT_ID)}
        for own in self.own:
            if own.section.create and own.section.tag is not None:
                for tag in parse_target(own.section.tag).tags:
                    created[tag] = self.chain.rule(tag)
            created = {**own.written(), **created}
        return created

    def _required(self, version: str) -> dict[int, Rule]:
        """What an instance says of its de-identification; in items such attributes stay, unless they had to be listed.

        An allow-list lets what an earlier de-identification has said go as well: it may be any text.
        """
        beside = {"rules": bool(self.settings.rules), "functions": self._has_functions}
        base = " and ".join([self.settings.base, *(kind for kind, is_there in beside.items() if is_there)])
        methods = (f"scp-anon {version}", f"PS3.15 {EDITION} {base} {self.digest}", f"key {self.identity.key_id}")
        said = [method.encode("ascii") for method in methods]
        rules = {
            PATIENT_IDENTITY_REMOVED: actions.constant(PATIENT_IDENTITY_REMOVED, "CS", b"YES"),
            DEIDENTIFICATION_METHOD: actions.constant(DEIDENTIFICATION_METHOD, "LO", b"\\".join(said))
            if self.is_allow_list
            else actions.append_values("LO", *said),
            DEIDENTIFICATION_METHOD_CODE_SEQUENCE: Rule("SQ", descends=True, last=self._method_codes()),
            LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED: Rule("CS", last=_temporal_information),
        }
        inside = REMOVE if self.is_allow_list else KEEP
        return {tag: actions.at_top_level(rule, inside) for tag, rule in rules.items()}

    def _method_codes(self) -> Callable[[Instance], Rule]:
        """The codes of CID 7050 for what was really done to an instance, behind those of earlier de-identifications.

        An option is claimed if it was used, and if no rule of the project kept more than it promises.
        """
        options = self._options()

        @lru_cache(1024)
        def rule(done: int) -> Rule:
            used = [
                name
                for i, name in enumerate(options.names)
                if done & actions.FIRST_OPTION << i and not done & options.broken(name)
            ]
            if not done & actions.WEAKENED:
                used.insert(0, BASIC)
            items = tuple(sorted(map(_method_code, used)))
            if self.is_allow_list:
                return actions.constant(DEIDENTIFICATION_METHOD_CODE_SEQUENCE, "SQ", items) if items else REMOVE
            return actions.append_items(*items) if items else KEEP

        return lambda instance: rule(instance.done)

    def _compiled(self, required: Mapping[int, Rule]) -> Rules[Rule]:
        """One look-up a tag."""
        rules = {tag: self.chain.rule(tag) for tag in attributes() if self.chain.has(tag)}
        rules = {tag: rule for tag, rule in rules.items() if rule is not KEEP}
        for tag in self.facts | (audited() if self.settings.audit is not None else frozenset()):
            rule = rules.get(tag, KEEP)
            if rule is KEEP and vr_of(tag) is not None:
                rules[tag] = actions.keep()
            elif rule is REMOVE:
                rules[tag] = REMOVE_NOTED
        rules[SPECIFIC_CHARACTER_SET] = actions.check_character_set()
        # A class of the standard stays, as well-known UIDs do; whatever else is written there does not.
        rules[SOP_CLASS_UID] = actions.new_uid()
        rules.update(required)
        ruled = {tag: rule for tag, rule in rules.items() if tag >> 16 >= _FIRST_GROUP}
        kept = {tag for tag in _dictionary_of_data_sets() if tag not in ruled}
        return Rules(ruled, kept, REMOVE, KEEP, self.private)


def probe(settings: ProfileFile) -> Profile:
    """Compile a profile to see whether it can be; the key is any. Raises ConfigError."""
    variables = dict.fromkeys(settings.variables, "x")
    return Profile(settings.model_copy(update={"variables": variables}), Identity(bytes(KEY_BYTES), ""), "")


def _functions(custom: Mapping[str, Custom], promises: Promises) -> Iterator[tuple[int, Step]]:
    for name, function in custom.items():
        target = parse_target(str(name))
        for tag in target.tags:
            if tag in OURS:
                raise ConfigError(f"{name}: is written by scp-anon itself; no function is asked for it")
            rule = custom_rule(tag, vr_of(tag) or "UN", function, promises.broken("function", tag))
            decided = Decided(rule, "function", "function of the caller")
            yield tag, Step(decided, target, None)


def _dictionary_of_data_sets() -> frozenset[int]:
    """What stays if nothing is said of it: not curves and overlays, of which the table says something."""
    return frozenset(
        tag
        for tag in attributes()
        if tag >> 16 >= _FIRST_GROUP and tag != _LENGTH_TO_END and tag >> 24 not in (0x50, 0x60)
    )


def _temporal_information(instance: Instance) -> Rule:
    if instance.done & actions.DATES_KEPT:
        return _TEMPORAL["UNMODIFIED"]
    return _TEMPORAL["MODIFIED" if instance.done & actions.DATES_MOVED else "REMOVED"]


_TEMPORAL: Final = {
    term: actions.constant(LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, "CS", term.encode("ascii"))
    for term in ("REMOVED", "MODIFIED", "UNMODIFIED")
}


def _patients(settings: ProfileFile, identity: Identity) -> Patients:
    patients = settings.patients
    if isinstance(patients, HashedPatients):
        return Hashed(identity, patients)
    if isinstance(patients, SequentialPatients):
        return Sequential(identity, patients)
    return Fixed(identity, patients) if isinstance(patients, FixedPatients) else Table(identity, patients)


def _own_safe_private(path: Path) -> tuple[SafePrivate, ...]:
    try:
        return read_safe_private(path)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"safe_private: {path} is no such list ({type(error).__name__}); "
            "its columns are private_creator, group, element_offset, vr"
        ) from None


def _method_code(name: str) -> DataSet:
    """The item of CID 7050 De-identification Method for the Basic Profile or an option."""
    found = method_codes()[name]
    return code(found.value.encode("ascii"), found.scheme.encode("ascii"), found.meaning.encode("ascii"))
