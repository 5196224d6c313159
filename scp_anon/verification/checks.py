"""One result, one original, one study: what is checked of each, in any of several processes.

What is said of them is kinds and tags. No value of an original leaves a check, but for UIDs under the key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_bytes
from typing import Final, NamedTuple, TypeAlias

from scp_anon.batch.files import files_in
from scp_anon.batch.manifest import NAME as MANIFEST
from scp_anon.deid import Deidentifier, ProfileFile
from scp_anon.deid.engine import Read
from scp_anon.deid.identity import KEY_BYTES
from scp_anon.deid.instance import PATIENT_ID, STUDY_INSTANCE_UID
from scp_anon.deid.iods import Plain, damage, plain
from scp_anon.deid.recheck import changes
from scp_anon.deid.residual import LONG, Content, Kept, Known, Place, Sought, Spliced
from scp_anon.deid.study_patients import NamedOwner, StudySeal
from scp_anon.destinations.folder import TEMPORARIES
from scp_anon.dicom.dictionary import attributes, tag_text
from scp_anon.dicom.finding import Buffer, Irregular
from scp_anon.dicom.part10 import read_file_meta
from scp_anon.dicom.uids import MEDIA_STORAGE_DIRECTORY
from scp_anon.dicom.walk import PIXELS, FoundElement, Leaf, elements, leaves
from scp_anon.errors import Reason, Undecodable
from scp_anon.filesystem import opened
from scp_anon.verification.comparison import BINARY, Encoded, differences
from scp_anon.verification.head import SOP_CLASS_UID, SOP_INSTANCE_UID, faults

_NO_INSTANCE: Final = frozenset((Reason.NOT_DICOM, Reason.EMPTY))
_BULK: Final = LONG >> 4
_OURS: Final = frozenset((MANIFEST, TEMPORARIES))  # what is beside results, and is none
_SUFFIX: Final = ".dcm"  # what is called so is to be an instance
_PATH: Final = "name of the file or a folder"
_HEAD: Final = "preamble or File Meta Information"
_HASH: Final = 26  # letters and digits: 130 bits

# What an instance is itself, and what it says of others: tag → level.
_SERIES_INSTANCE_UID: Final = 0x0020000E
_OWN: Final = {
    SOP_INSTANCE_UID: "instance",
    STUDY_INSTANCE_UID: "study",
    _SERIES_INSTANCE_UID: "series",
    0x00200052: "frame",
}
_TOLD: Final = frozenset((SOP_CLASS_UID, PATIENT_ID, *_OWN))
_REFERENCES: Final = {0x00081155: "instance", 0x30060024: "frame", 0x300600C2: "frame"}


class Finding(NamedTuple):
    """Something that is not as it should be: `kind` as docs/commands.md has it, and the tags that lead to it.

    Of a residual, `path` is where the original had the value, and `where` where the result has it. `detail` is the type
    of an attribute, or a reason.
    """

    kind: str
    path: str = ""
    where: str = ""
    detail: str = ""


class Uid(NamedTuple):
    """A UID, and what it is of: `instance`, `series`, `study` or `frame` (of reference)."""

    level: str
    uid: str


class Whole(NamedTuple):
    """A study or series, and what it is of: a patient, under the key, or a study."""

    level: str
    uid: str
    of: str


class Checked(NamedTuple):
    """A result: `sop_instance_uid` is empty where it is no instance. `references`: by the path that they are at."""

    relative: str
    findings: tuple[Finding, ...] = ()
    sop_instance_uid: str = ""
    own: tuple[Uid, ...] = ()
    references: tuple[tuple[Uid, str], ...] = ()
    wholes: tuple[Whole, ...] = ()


class Original(NamedTuple):
    """An original: the UIDs that its result has, and what its own are under the key. No study: it cannot be read."""

    relative: str
    sop_instance_uid: str = ""
    study: str = ""
    new: tuple[Uid, ...] = ()
    hashed: tuple[Uid, ...] = ()


# Results and what was found in them; originals with their results, None for one that has none.
Findings: TypeAlias = list[tuple[str, Finding]]
Pairs: TypeAlias = Sequence[tuple[str, str | None]]


@dataclass(frozen=True)
class Job:
    """What is checked. Without a `key` nothing is told that needs one. `mirror`: results are where originals were.

    `salt`: the key of this run, where there is no other.
    """

    key: bytes | None
    project: str
    profile: ProfileFile
    output: Path
    against: Path | None = None
    mirror: bool = False
    salt: bytes = field(default_factory=partial(token_bytes, KEY_BYTES), repr=False)

    @property
    def compares(self) -> bool:
        """Whether originals can be de-identified again, and results compared with that."""
        return self.against is not None and self.key is not None


class Checker:
    """One process's engine, and what it is asked."""

    def __init__(self, job: Job) -> None:
        self._job = job
        key, policy = job.key or job.salt, job.profile.study_patients
        # A node, or a profile, may have given an instance the patient that another one of its study names.
        self._owner = NamedOwner(StudySeal(key, job.project)) if policy in (None, "first") else None
        self._engine = Deidentifier(key, job.project, job.profile, studies=self._owner)
        self._kept = Kept.of(self._engine.profile)
        self._asked: Pairs = ()
        self._named: dict[str, None] = {}

    def result(self, relative: str) -> Checked:
        """Check a result by itself."""
        try:
            with opened(self._job.output / relative) as (buffer, _):
                return self._result(relative, buffer)
        except Undecodable as undecodable:
            if undecodable.reason in _NO_INSTANCE and not relative.lower().endswith(_SUFFIX):
                return Checked(relative)
            return Checked(relative, (Finding("unreadable", detail=str(undecodable.reason)),), "?")
        except OSError as error:
            return Checked(relative, (Finding("unreadable", detail=error.strerror or type(error).__name__),), "?")
        except Exception as error:
            # A fault of ours that this file brings out; the message may hold a value, so only its type is told.
            return Checked(relative, (Finding("unreadable", detail=type(error).__name__),), "?")

    def _result(self, relative: str, buffer: Buffer) -> Checked:
        read, syntax = self._read(buffer)
        found, values = _values(read)
        # A rule may depend on what only the original tells: where there is one, that decides.
        findings = [] if self._job.compares else [finding for finding, _ in self._changes(read, syntax)]
        if self._job.against is None:
            findings += _damaged(plain(found, read.buffer), None)
        uids = {leaf.tag: _uid(read.buffer, leaf) for leaf in values if not leaf.path and leaf.tag in _TOLD}
        findings += (Finding(kind, path) for kind, path in faults(buffer, uids))
        references: dict[tuple[Uid, str], None] = {}
        for leaf in values:
            level = _REFERENCES.get(leaf.tag) or (_OWN.get(leaf.tag) if leaf.path else None)
            if level is not None and (uid := _uid(read.buffer, leaf)):
                references[Uid(level, uid), path_text(leaf.place)] = None
        own = tuple(Uid(level, uids[tag]) for tag, level in _OWN.items() if tag in uids)
        study, patient = uids.get(STUDY_INSTANCE_UID, ""), self.hashed(uids.get(PATIENT_ID, ""))
        wholes = (Whole("study", study, patient), Whole("series", uids.get(_SERIES_INSTANCE_UID, ""), study))
        instance = uids.get(SOP_INSTANCE_UID) or "?"
        return Checked(relative, tuple(findings), instance, own, tuple(references), wholes)

    def without_original(self, result: str) -> Findings:
        """Tell of a result that no original is known of what the profile would still change in it."""
        return [(result, finding) for finding in (Finding("no-original"), *self._alone(result))]

    def _alone(self, result: str) -> list[Finding]:
        """What the profile would still change in a result that cannot be compared, if that has not been told yet."""
        if not self._job.compares:
            return []
        try:
            with opened(self._job.output / result) as (buffer, _):
                return [finding for finding, _ in self._changes(*self._read(buffer))]
        except Exception:
            return []  # whatever it is, `result` has told of it

    def _changes(self, read: Read, syntax: str) -> Iterator[tuple[Finding, Place]]:
        """What the profile would still change in a result, and where."""
        try:
            for change in changes(self._engine, read, syntax, self._job.key is not None):
                yield Finding(change.kind, path_text(change.place)), change.place
        except Undecodable as undecodable:
            # It would be quarantined. What can be seen without the profile is checked all the same.
            yield Finding("unreadable", detail=str(undecodable.reason)), ()

    def original(self, relative: str) -> Original:
        """Tell which result an original has."""
        try:
            with self._opened(relative) as (buffer, _):
                spliced = self._spliced(buffer)
                values = [leaf for leaf in spliced.leaves() if leaf.tag in _OWN and not leaf.path]
                raw = {leaf.tag: _uid(spliced.buffer, leaf) for leaf in values}
        except Exception:
            return Original(relative)  # whatever it is, it is no original that can be compared; `study` says so
        new = {tag: _made(spliced, tag) or uid for tag, uid in raw.items()}
        hashed = tuple(Uid(_OWN[tag], self.hashed(uid)) for tag, uid in raw.items())
        renewed = tuple(Uid(_OWN[tag], uid) for tag, uid in new.items())
        return Original(relative, spliced.meta.sop_instance_uid, new.get(0x0020000D) or "-", renewed, hashed)

    def hashed(self, uid: str) -> str:
        """A UID as one may write it down: under the key."""
        return self._engine.profile.identity.hash(f"verify:{uid}", _HASH).decode("ascii")

    def study(self, pairs: Pairs) -> Findings:
        """Compare the originals of a study with their results, None for one that has none: result and finding."""
        known = Known()
        compared: dict[str, list[Finding]] = {}
        for original, result in pairs:
            with suppress(Exception):  # whatever it is: it has not been compared
                found = self._learnt(known, original, result, pairs)
                # Two originals may have the same UID: then a result is that of one of them.
                if result is not None and (result not in compared or len(found) < len(compared[result])):
                    compared[result] = found
        sought = known.sought()
        findings: Findings = []
        for result in dict.fromkeys(result for _, result in pairs if result is not None):
            told = compared.get(result)
            if told is None:
                told = [Finding("not-compared"), *self._alone(result)]
            try:
                told += self._residuals(known, sought, result)
            except Exception:  # likewise
                told.append(Finding("not-compared"))
            findings += ((result, finding) for finding in dict.fromkeys(told))
        return findings

    def _learnt(self, known: Known, original: str, result: str | None, pairs: Pairs) -> list[Finding]:
        """Add to what is known of the originals of a study; compares one with its result."""
        with self._opened(original) as (buffer, _):
            spliced = self._spliced(buffer)
            known.add(spliced, self._kept)
            if result is None:
                return []
            found = self._compared(spliced, result)
            if found and self._owner is not None:
                for patient in self._patients(pairs, self._owner):
                    with self._owner.being(patient):
                        found = min(found, self._compared(self._spliced(buffer), result), key=len)
            return found

    def _patients(self, pairs: Pairs, owner: NamedOwner) -> tuple[str, ...]:
        """Return the keys of the patients whom the originals of a study name: any of them may be that of all."""
        if self._asked is not pairs:
            self._asked, self._named = pairs, {}
            for original, _ in pairs:
                with suppress(Exception), self._opened(original) as (buffer, _):  # whatever it is, it names nobody
                    self._spliced(buffer)
                    if owner.key is not None:
                        self._named[owner.key] = None
        return tuple(self._named) if len(self._named) > 1 else ()

    def _compared(self, spliced: Spliced, result: str) -> list[Finding]:
        """What a result lacks for its IOD that its original had, and where it is not what its original becomes."""
        explicit = not spliced.syntax.implicit_vr
        before = plain(elements(spliced.buffer, spliced.start, len(spliced.buffer), explicit), spliced.buffer)
        with opened(self._job.output / result) as (buffer, _):
            read, syntax = self._read(buffer)
            found = _damaged(plain(_values(read)[0], read.buffer), before)
            told = {finding.path for finding in found}
            if self._job.compares:
                found += (each for each in self._different(spliced, read, syntax) if each.path not in told)
        return found

    def _different(self, spliced: Spliced, read: Read, syntax: str) -> Iterator[Finding]:
        """Where a result is not what its original becomes: what would be changed there, if that can be told."""
        places = differences(spliced, Encoded(read.buffer, read.start, not read.syntax.implicit_vr))
        if not places:
            return
        told = {}
        for finding, place in self._changes(read, syntax):
            about = [each for each in places if each == place[: len(each)] or place == each[: len(place)]]
            if about:
                yield finding
                told.update(dict.fromkeys(about))
        yield from (Finding("differs", path_text(place)) for place in places if place not in told)

    def _residuals(self, known: Known, sought: Sought, result: str) -> Iterator[Finding]:
        """The values of originals that a result still holds."""
        with opened(self._job.output / result) as (buffer, _):
            read, _ = self._read(buffer)
            _, values = _values(read)
            # What was deflated, or had to be normalised, is looked at as it was read, every byte of it.
            content = memoryview(read.buffer)
            hits = set()
            head = bytes(buffer[: read_file_meta(buffer)[1]])
            name = os.fsencode(result)
            text: list[Buffer] = [name, head]
            position = read.start
            for leaf in (leaf for leaf in values if _kind(leaf) != "text"):
                text.append(content[position : leaf.start])
                hits |= sought.found(content[leaf.start : leaf.stop], _kind(leaf))
                position = leaf.stop
            hits |= sought.found(b"\n".join([*text, content[position:]]))
            for hit in sorted(hits):
                only = Sought((hit,))
                holding = (leaf for leaf in values if only.found(content[leaf.start : leaf.stop], _kind(leaf)))
                places = [path_text(leaf.place) for leaf in holding]
                places += [place for place, part in ((_HEAD, head), (_PATH, name)) if only.found(part)]
                for place in dict.fromkeys(places or [""]):
                    yield Finding("residual", path_text(known.by[hit]), place)

    def _opened(self, relative: str) -> AbstractContextManager[tuple[bytes | memoryview, int | None]]:
        against = self._job.against
        assert against is not None  # nobody asks for originals else
        return opened(against / relative if relative else against)

    def _read(self, buffer: Buffer) -> tuple[Read, str]:
        meta, start = read_file_meta(buffer)
        if meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            raise Undecodable(Reason.DICOMDIR)
        return self._engine.read(buffer, meta.transfer_syntax_uid, start), meta.transfer_syntax_uid

    def _spliced(self, buffer: Buffer) -> Spliced:
        meta, start = read_file_meta(buffer)
        return self._engine.spliced(buffer, meta.transfer_syntax_uid, start)


def path_text(place: Place) -> str:
    """A place as tags, those of private attributes, of repeating groups and of group lengths among them."""
    return ">".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" if _is_told(tag) else tag_text(tag) for tag in place)


def _is_told(tag: int) -> bool:
    return bool(tag >> 16 & 1) or not tag & 0xFFFF or tag in attributes()


def files_below(folder: Path) -> Iterator[str]:
    """The files in a folder by their relative paths, in the order of their names; a file itself has none."""
    if not folder.is_dir():
        yield ""
        return
    for path in files_in(str(folder), with_links=True):
        relative = path[len(str(folder)) :].lstrip("/")
        if relative.split("/")[0] not in _OURS:
            yield relative


def _values(read: Read) -> tuple[list[FoundElement], list[Leaf]]:
    explicit = not read.syntax.implicit_vr
    try:
        found = elements(read.buffer, read.start, len(read.buffer), explicit)
    except Irregular as irregular:
        raise irregular.as_undecodable() from None
    return found, list(leaves(found, read.buffer, explicit))


def _damaged(result: Plain, original: Plain | None) -> list[Finding]:
    return [Finding(each.loss, path_text(each.place), detail=f"Type {each.type}") for each in damage(result, original)]


def _kind(leaf: Leaf) -> Content:
    """As what a value is looked at."""
    if leaf.stop - leaf.start <= _BULK:
        return "text"
    if leaf.tag in PIXELS:
        return "pixels"
    return "binary" if leaf.vr in BINARY else "text"


def _uid(buffer: Buffer, leaf: Leaf) -> str:
    return bytes(buffer[leaf.start : leaf.stop]).strip(b" \0").decode("latin-1")


def _made(spliced: Spliced, tag: int) -> str:
    """The new value of a UID at the top level, "" where it has not changed."""
    return spliced.made.get(tag, b"")[8:].strip(b" \0").decode("latin-1")
