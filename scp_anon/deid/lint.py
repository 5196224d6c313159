"""Reading a profile, and finding what cannot be meant in it: a profile with a fault does not start anything.

A fault is an unknown keyword, a rule that can never decide, an action that does not fit its attribute, a condition
that nothing can meet. Each is told with file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, get_args

from scp_anon.deid.chain import OURS, Own
from scp_anon.deid.conditions import compile_condition
from scp_anon.deid.contradictions import contradiction
from scp_anon.deid.identity import check_root
from scp_anon.deid.offsets import anchor_of
from scp_anon.deid.private import ANY
from scp_anon.deid.profile import Profile, probe
from scp_anon.deid.rules import APPLIES_TO, LISTED, Rulebook, is_of_values, names_patient
from scp_anon.deid.settings import (
    BASIC,
    SHIPPED,
    AuditSection,
    Option,
    ProfileFile,
    RuleSection,
    SequentialPatients,
    TablePatients,
    UidsSection,
    shipped_profile_text,
)
from scp_anon.deid.targets import parse_target
from scp_anon.dicom.dictionary import attributes, keyword_of, vr_of
from scp_anon.documents import Document, read
from scp_anon.errors import ConfigError

ProfileSource: TypeAlias = "str | Path | Mapping[str, object] | ProfileFile"
Location: TypeAlias = "tuple[int | str, ...]"
Fault: TypeAlias = "tuple[Location, str]"

_LISTS: Final = frozenset(("values", "file", "terms"))
# Parameters of actions; none may be given to another, nor be missing.
_PARAMETERS: Final[dict[str, frozenset[str]]] = {
    "keep": _LISTS,
    "replace": frozenset(("value",)),
    "hash": frozenset(("length",)),
    "regex": frozenset(("pattern", "value")),
    "lookup": frozenset(("file", "match")),
}
_OPTIONAL: Final[dict[str, frozenset[str]]] = {
    "hash": frozenset(("length",)),
    "keep": _LISTS,
    "lookup": frozenset(("match",)),
}
_MAY_FAIL: Final = frozenset(("shift-date", "regex", "lookup", "clean-text"))
_MAY_CREATE: Final = frozenset(("replace", "empty", "dummy", "hash", "pseudonym"))
_SOP_INSTANCE_UID: Final = 0x00080018
_NEEDED: Final = frozenset((0x00080016, 0x0020000D, 0x0020000E))  # SOP Class, Study and Series Instance UID
_FIRST_GROUP: Final = 0x0008


def load_profile(source: ProfileSource) -> ProfileFile:
    """The settings of a profile: its name, a file's path, or what a file holds. Raises ConfigError for every fault."""
    if isinstance(source, ProfileFile):
        return source
    if isinstance(source, str) and source == BASIC:
        return ProfileFile()
    if isinstance(source, str) and source in SHIPPED:
        return _checked(Document(shipped_profile_text(source), f"{source}.yaml"), Path())
    if isinstance(source, Mapping):
        return _checked(_InMemory(source), Path())
    path = Path(source)
    if not path.exists():
        raise ConfigError(f"there is no profile {source!s}: name {', '.join((BASIC, *SHIPPED))}, or a profile file")
    return _checked(Document(read(path), str(path)), path.parent)


def with_changes(settings: ProfileFile, options: Iterable[str] = (), pixels: str | None = None) -> ProfileFile:
    """The settings with more options, or another `pixels`. Raises ConfigError."""
    for name in options:
        if name not in get_args(Option):
            near = get_close_matches(name, get_args(Option), 1)
            raise ConfigError(f"there is no option {name}{f'; did you mean {near[0]}?' if near else ''}")
    changes: dict[str, object] = {"options": (*settings.options, *(o for o in options if o not in settings.options))}
    if pixels is not None:
        changes["pixels"] = pixels
    return with_settings(settings, changes)


def with_settings(settings: ProfileFile, changes: Mapping[str, object]) -> ProfileFile:
    """The settings with others in the place of some. Raises ConfigError for what cannot be a setting.

    Rules are to be found without a fault before they are put in.
    """
    changed = _InMemory(settings.model_dump(exclude_unset=True) | dict(changes)).as_section(ProfileFile)
    for place, problem in _faults_of_blocks(changed.rules):
        if place[-1] == "private":  # of two values for an element the first one holds, as with all rules
            raise ConfigError(f"private: {problem}")
    return changed


def with_audit(settings: ProfileFile, path: Path | None) -> ProfileFile:
    """The settings with an audit in this file, or with none, whatever the profile says."""
    return settings.model_copy(update={"audit": AuditSection(file=path) if path is not None else None})


class _InMemory(Document):
    """A profile that was not read from a file."""

    def __init__(self, content: Mapping[str, object]) -> None:
        self.name = "profile"
        self.content = dict(content)
        self._root = None


def _checked(document: Document, folder: Path) -> ProfileFile:
    settings = _resolved(document.as_section(ProfileFile), folder)
    found = list(faults(settings))
    if found:
        lines = (f"{document.place(place)}: {'.'.join(map(str, place))}: {problem}" for place, problem in found)
        raise ConfigError("\n".join(lines))
    return settings


def faults(settings: ProfileFile) -> Iterator[Fault]:
    """What cannot be meant, and where."""
    simple = [*_faults_of_settings(settings)]
    for i, section in enumerate(settings.rules):
        simple.extend((("rules", i, *place), problem) for place, problem in _faults_of_rule(section))
    simple.extend(_faults_of_blocks(settings.rules))
    yield from simple
    if not simple:
        yield from _faults_of_profile(settings)


def _faults_of_settings(settings: ProfileFile) -> Iterator[Fault]:
    yield from _tried(("uids", "root"), lambda: check_root(settings.uids.root))
    if (anchor := settings.dates.anchor) is not None:
        yield from _tried(("dates", "anchor"), lambda: anchor_of(anchor))
    for i, admit in enumerate(settings.admit):
        yield from _faults_of_condition(("admit", i, "when"), admit.when)
    for i, held in enumerate(settings.pixel_rules or ()):
        yield from _faults_of_condition(("pixel_rules", i, "when"), held.when)
    if settings.uids.scheme == "mmiv" and settings.uids.root != UidsSection().root:
        yield ("uids", "root"), "the scheme mmiv has a root of its own"
    if settings.uids.scheme != "mmiv" and settings.uids.old_style:
        yield ("uids", "old_style"), "is of the scheme mmiv"
    if "project" in settings.variables:
        yield ("variables", "project"), "is the project of the route, or of the command line"
    for name in ("vocabulary", "safe_private"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            yield (name,), f"there is no file {path}"
    if settings.audit is not None and not settings.audit.file.parent.is_dir():
        yield ("audit", "file"), f"there is no folder {settings.audit.file.parent}"
    if isinstance(settings.patients, TablePatients) and not settings.patients.file.is_file():
        yield ("patients", "file"), f"there is no file {settings.patients.file}"
    if isinstance(settings.patients, SequentialPatients) and settings.patients.file.is_dir():
        yield ("patients", "file"), f"{settings.patients.file} is a folder"


def _faults_of_blocks(rules: Iterable[RuleSection]) -> Iterator[Fault]:
    """A group that is written has one block, and one value for each element."""
    creators: dict[str, str | None] = {}
    elements: set[tuple[str, str]] = set()
    for i, section in enumerate(rules):
        if section.private is None or not section.create or section.group is None or section.element is None:
            continue
        group, element = section.group.upper(), section.element[-2:].upper()
        if creators.setdefault(group, section.private) != section.private:
            yield ("rules", i, "private"), f"group {group} is written with the creator {creators[group]} already"
        elif section.private == ANY.decode():
            yield ("rules", i, "private"), "a creator is needed for what is written"
        elif (group, element) in elements:
            yield ("rules", i, "element"), "is written by a rule before it"
        elements.add((group, element))


def _faults_of_rule(section: RuleSection) -> Iterator[Fault]:
    targets = [name for name in ("tag", "private", "vr") if getattr(section, name) is not None]
    if targets not in (["tag"], ["private"], ["vr"], ["private", "vr"]):
        yield (), "must have one target: tag, private or vr"
        return
    yield from _faults_of_parameters(section)
    if section.when is not None:
        yield from _faults_of_condition(("when",), section.when)
    if section.private is None:
        if section.group is not None or section.element is not None:
            yield (), "group and element are of private attributes"
        yield from _faults_of_target(section)
    elif (section.action not in ("keep", "remove") or is_of_values(section)) and section.vr is None:
        yield ("action",), "needs to know the VR to write: add vr, or use keep or remove"


def _faults_of_parameters(section: RuleSection) -> Iterator[Fault]:
    known = _PARAMETERS.get(section.action, frozenset())
    for name in ("value", "pattern", "file", "length", "values", "terms", "match"):
        is_given = getattr(section, name) is not None
        if is_given and name not in known:
            yield (name,), f"the action {section.action} has no {name}"
        elif not is_given and name in known - _OPTIONAL.get(section.action, frozenset()):
            yield ("action",), f"the action {section.action} needs {name}"
    if sum(getattr(section, name) is not None for name in _LISTS) > 1:
        yield ("action",), "either values or file or terms: keep goes by one list"
    if section.all and section.action != "regex":
        yield ("all",), f"the action {section.action} has no all"
    is_never_unfit = section.action not in _MAY_FAIL and not is_of_values(section) and not names_patient(section)
    if "otherwise" in section.model_fields_set and is_never_unfit:
        yield ("otherwise",), f"the action {section.action} can always be applied"
    if section.otherwise == "next" and section.private is not None:
        yield ("otherwise",), "no rule comes behind that of a private attribute: use remove"
    if section.private is not None and section.create:
        if section.action != "replace" or section.when or None in (section.group, section.element):
            yield ("create",), "only replace of a group and an element, without when, can create a private attribute"
    elif section.create and (section.action not in _MAY_CREATE or section.tag is None):
        yield ("create",), f"only {', '.join(sorted(_MAY_CREATE))} of a tag can create"


def _faults_of_target(section: RuleSection) -> Iterator[Fault]:
    if section.vr is not None:
        tags = frozenset(tag for tag, vrs in attributes().items() if vrs[0] == section.vr)
        if not tags:
            yield ("vr",), f"no attribute has the VR {section.vr}"
            return
    else:
        try:
            target = parse_target(section.tag or "")
        except ConfigError as error:
            yield ("tag",), str(error)
            return
        tags = target.tags
        if section.create and (target.path or len(tags) > 1):
            yield ("create",), "only one attribute at the top level can be created"
    yield from _faults_of_tags(section, tags)


def _faults_of_tags(section: RuleSection, tags: frozenset[int]) -> Iterator[Fault]:
    place = ("vr",) if section.vr is not None else ("tag",)
    if tags <= OURS:
        yield place, f"{keyword_of(min(tags))} is written by scp-anon itself"
    elif _SOP_INSTANCE_UID in tags and section.action not in ("uid", "keep"):
        yield place, "SOPInstanceUID must stay unique: only uid and keep can be its action"
    elif section.action in ("remove", "empty") and (needed := tags & _NEEDED) and section.when is None:
        yield place, f"every instance needs {keyword_of(min(needed))}: it cannot be removed or emptied"
    elif all(tag >> 16 < _FIRST_GROUP for tag in tags):
        yield place, "never decides: groups below 0008 are removed in any case"
    fitting = LISTED if is_of_values(section) else APPLIES_TO[section.action]
    if fitting is not None and (unfit := [tag for tag in tags if vr_of(tag) not in fitting]):
        yield ("action",), f"{section.action} does not fit {keyword_of(min(unfit))}, which is of VR {vr_of(min(unfit))}"


def _faults_of_condition(place: Location, when: Mapping[str, object]) -> Iterator[Fault]:
    found = list(_tried(place, lambda: compile_condition(when)))
    yield from found
    if not found and (problem := contradiction(when)):
        yield place, problem


def _faults_of_profile(settings: ProfileFile) -> Iterator[Fault]:
    """Faults that show only when all rules are seen together."""
    try:
        without = probe(settings.model_copy(update={"rules": ()}))
    except ConfigError as error:
        yield (), str(error)
        return
    book = without.rulebook(settings)
    found = [
        fault for i in range(len(settings.rules)) for fault in _tried(("rules", i), partial(_make, book, settings, i))
    ]
    yield from found
    if not found:
        yield from _undecided(probe(settings))


def _make(book: Rulebook, settings: ProfileFile, number: int) -> None:
    """Make a rule for every attribute that it names. Raises ConfigError where one does not fit."""
    own = Own(number, settings.rules[number], None, book)
    for tag in own.tags:
        own.decided(tag)
    for _ in own.private_rules():
        pass


def _undecided(profile: Profile) -> Iterator[Fault]:
    """Rules that never decide: those before them leave nothing, or where they are is not passed on."""
    before: dict[int, list[Own]] = {}
    for own in profile.own:
        if own.section.private is not None:
            continue
        shadows = [next((other for other in before.get(tag, ()) if _covers(other, own)), None) for tag in own.tags]
        if shadows and None not in shadows:
            before_it = sorted({f"rules.{other.number}" for other in shadows if other is not None})
            yield ("rules", own.number), f"never decides: {', '.join(before_it)} always does, before it"
        elif problem := _dead_end(profile, own):
            yield ("rules", own.number), problem
        for tag in own.tags:
            before.setdefault(tag, []).append(own)


def _covers(first: Own, second: Own) -> bool:
    """Whether the first rule decides wherever the second one would."""
    if first.passes_on:
        return False
    if first.condition is not None and (second.condition is None or first.condition.text != second.condition.text):
        return False
    one, two = first.target, second.target
    if one.anchored:
        return two.anchored and one.path == two.path
    return not one.path or two.path[-len(one.path) :] == one.path


def _dead_end(profile: Profile, own: Own) -> str:
    """Which sequence of the path is never passed on."""
    for sequence in own.target.path:
        steps = profile.chain.steps(sequence)
        if all(step.decided.action in ("X", "Z", "D", "remove", "empty", "dummy") for step in steps):
            return f"never decides: {keyword_of(sequence)} is not passed on ({steps[-1].decided.origin})"
    return ""


def _tried(place: Location, work: Callable[[], object]) -> Iterator[Fault]:
    try:
        work()
    except ConfigError as error:
        yield place, str(error)


def _resolved(settings: ProfileFile, folder: Path) -> ProfileFile:
    """The settings with paths relative to the profile's folder made whole."""
    changes: dict[str, object] = {
        name: folder / path for name in ("vocabulary", "safe_private") if (path := getattr(settings, name)) is not None
    }
    if isinstance(settings.patients, TablePatients | SequentialPatients):
        changes["patients"] = settings.patients.model_copy(update={"file": folder / settings.patients.file})
    if settings.audit is not None:
        changes["audit"] = AuditSection(file=folder / settings.audit.file)
    changes["rules"] = tuple(
        rule.model_copy(update={"file": folder / rule.file}) if rule.file is not None else rule
        for rule in settings.rules
    )
    return settings.model_copy(update=changes)
