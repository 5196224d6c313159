"""The rule engine as the rest of the house uses it: a file, bytes or a pydicom data set in, the same de-identified out.

Everything goes through the one splicing pass. What the pass cannot read as it is, is inflated or normalised first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from scp_anon.deid.actions import FoundRule
from scp_anon.deid.audit import Audit
from scp_anon.deid.cleaning import named
from scp_anon.deid.custom import Custom
from scp_anon.deid.identity import Identity
from scp_anon.deid.instance import FACTS, SOP_INSTANCE_UID, SPECIFIC_CHARACTER_SET, Instance, Scope
from scp_anon.deid.lint import ProfileSource, load_profile
from scp_anon.deid.patient_index import Sequential
from scp_anon.deid.private import PRIVATE_DATA_ELEMENT_CHARACTERISTICS as DECLARATIONS
from scp_anon.deid.private import declarations
from scp_anon.deid.profile import Profile
from scp_anon.deid.residual import Gate, Spliced
from scp_anon.deid.settings import BASIC
from scp_anon.deid.splice import Piece, splice
from scp_anon.deid.study_patients import StudyPatients
from scp_anon.deid.undeclared import declares_none, is_undeclared
from scp_anon.dicom.dictionary import LONG_VRS
from scp_anon.dicom.encoding import scan
from scp_anon.dicom.finding import Buffer, Irregular
from scp_anon.dicom.normalise import deflate, inflate, normalise
from scp_anon.dicom.part10 import FileMeta, encode_file_meta, read_file_meta
from scp_anon.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    MEDIA_STORAGE_DIRECTORY,
    TransferSyntax,
    storage_sop_classes,
    transfer_syntaxes,
)
from scp_anon.dicom.values import read_values
from scp_anon.errors import Filtered, NotAdmitted, Reason, Undecodable
from scp_anon.filesystem import copy_range, opened, write_all
from scp_anon.version import VERSION

# Ranges of a mapped file from this size on are copied by the kernel, not through our memory.
_KERNEL_COPY: Final = 1 << 20
_LONG: Final = frozenset(vr.encode("ascii") for vr in LONG_VRS)
# Of a value that conditions or pseudonyms look at; identifying attributes are far shorter.
_LONGEST_FACT: Final = 1 << 16


# Copies a range of the original to an open file: descriptor, start, stop.
Copy: TypeAlias = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A de-identified instance, not yet put together: `head` and `pieces`, whose ranges are of `buffer`."""

    meta: FileMeta
    buffer: Buffer
    pieces: list[Piece]
    copy: Copy | None = None
    """Copies a long range of the original to an open file, without its going through `buffer`."""
    made: Mapping[int, bytes] = field(default_factory=dict)
    """Tag → new element, of those that are new at the top level."""

    def parts(self) -> Iterator[Buffer]:
        """The DICOM file, in order; ranges of the original are views of it, not copies."""
        yield encode_file_meta(self.meta)
        original = memoryview(self.buffer)
        for piece in self.pieces:
            yield piece if isinstance(piece, bytes) else original[piece[0] : piece[1]]

    def to_bytes(self) -> bytes:
        """The DICOM file."""
        return b"".join(self.parts())

    def values(self, tags: Iterable[int]) -> dict[int, bytes] | None:
        """The new values of top-level attributes; None where one of them is not new, and so has to be looked for."""
        explicit = not transfer_syntaxes()[self.meta.transfer_syntax_uid].implicit_vr
        values = {}
        for tag in tags:
            element = self.made.get(tag)
            if element is None:
                return None
            values[tag] = element[12 if explicit and element[4:6] in _LONG else 8 :]
        return values

    def head(self, size: int) -> bytes:
        """The first bytes of the DICOM file."""
        taken: list[Buffer] = []
        for part in self.parts():
            taken.append(part[:size])
            size -= len(part)
            if size <= 0:
                break
        return b"".join(taken)

    def write(self, descriptor: int) -> None:
        """Write the DICOM file to an open file, from its present position on. Raises OSError."""
        pending: list[Buffer] = [encode_file_meta(self.meta)]
        original = memoryview(self.buffer)
        for piece in self.pieces:
            if isinstance(piece, bytes):
                pending.append(piece)
            elif self.copy is None or piece[1] - piece[0] < _KERNEL_COPY:
                pending.append(original[piece[0] : piece[1]])
            else:
                write_all(descriptor, pending)
                pending = []
                self.copy(descriptor, *piece)
        write_all(descriptor, pending)


class Read(NamedTuple):
    """An encoded data set that was read: inflated, and normalised if need be; and what the profile rules on in it."""

    buffer: Buffer
    start: int
    syntax: TransferSyntax
    found: list[FoundRule]


class Deidentifier:
    """De-identifies by one profile for one project. Safe to share between threads; keeps no state but caches."""

    def __init__(
        self,
        key: bytes,
        project: str = "",
        profile: ProfileSource = BASIC,
        rules: Mapping[str, Custom] | None = None,
        residual: bool = False,
        studies: StudyPatients | None = None,
    ) -> None:
        """`key`: the master key, see `load_key`.

        `profile`: "basic", the path of a profile file, or what such a file holds (docs/profiles.md). `rules`: keyword
        or tag → a function of yours, which decides before all other rules (see `Attribute`). `residual`: a result that
        still holds a value that its original is known by is Undecodable. `studies`: decides where the instances of one
        study name two patients; without it each gets the patient that it names. Raises ConfigError for a short key,
        for a profile that cannot be meant, and for an audit that others may read.
        """
        settings = load_profile(profile)
        self._identity = Identity(key, project, settings.uids.root)
        self._profile = Profile(settings, self._identity, VERSION, rules or {})
        if isinstance(self._profile.patients, Sequential):
            self._profile.patients.check()
        self._audit = Audit(settings.audit.file, project, self.key_id) if settings.audit is not None else None
        self._gate = Gate(self._profile) if residual else None
        self._studies = studies

    @property
    def key_id(self) -> str:
        """Eight digits that tell this key from another, without telling the key."""
        return self._identity.key_id

    @property
    def profile(self) -> Profile:
        """The compiled profile, which can tell what it does."""
        return self._profile

    def deidentify(self, buffer: Buffer, context: Mapping[str, str] | None = None) -> Deidentified:
        """De-identify the DICOM file in `buffer`. `context`: what conditions may ask for besides attributes.

        Raises Undecodable, with the reason for quarantine, or Filtered; OSError if there is an audit that cannot be
        written.
        """
        meta, start = read_file_meta(buffer)
        if meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            raise Undecodable(Reason.DICOMDIR)
        return self.encoded(buffer, meta.transfer_syntax_uid, start, context)

    def encoded(
        self, buffer: Buffer, transfer_syntax_uid: str, start: int = 0, context: Mapping[str, str] | None = None
    ) -> Deidentified:
        """De-identify the encoded data set that `buffer` holds from `start` on. Raises as `deidentify` does."""
        spliced = self.spliced(buffer, transfer_syntax_uid, start, context)
        if self._gate is not None:
            self._gate.check(spliced)
        if not transfer_syntaxes()[transfer_syntax_uid].deflated:
            return Deidentified(spliced.meta, spliced.buffer, spliced.pieces, made=spliced.made)
        meta = spliced.meta._replace(transfer_syntax_uid=DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
        return Deidentified(meta, b"", [deflate(b"".join(spliced.parts()))])

    def spliced(
        self, buffer: Buffer, transfer_syntax_uid: str, start: int = 0, context: Mapping[str, str] | None = None
    ) -> Spliced:
        """What an encoded data set becomes, in the encoding in which it is ruled on. Raises as `deidentify` does."""
        read = self.read(buffer, transfer_syntax_uid, start)
        known = {**(context or {}), "TransferSyntaxUID": transfer_syntax_uid}
        instance = self._instance(read, known)
        explicit = not read.syntax.implicit_vr
        pieces, made = splice(read.buffer, read.start, len(read.buffer), explicit, instance, read.found)
        if self._audit is not None:
            self._audit.record(read.buffer, read.found, made, explicit, instance.character_sets)
        meta = self._new_meta(instance, read.syntax, read.buffer, read.found)
        return Spliced(meta, read.buffer, read.start, read.syntax, pieces, made)

    def read(self, buffer: Buffer, transfer_syntax_uid: str, start: int = 0) -> Read:
        """Find what the profile rules on in an encoded data set. Raises Undecodable."""
        try:
            syntax = transfer_syntaxes()[transfer_syntax_uid]
        except KeyError:
            raise Undecodable(Reason.UNKNOWN_TRANSFER_SYNTAX) from None
        if syntax.deflated:
            buffer, start = inflate(memoryview(buffer)[start:]), 0
        return self._read(buffer, start, syntax)

    def refuses(self, data_set: Buffer, transfer_syntax_uid: str, context: Mapping[str, str]) -> bool:
        """Whether the profile has the sender of this encoded data set refused, as far as that can be told so early."""
        admission = self._profile.admission
        syntax = transfer_syntaxes().get(transfer_syntax_uid)
        if not admission.refuses or syntax is None or syntax.deflated or not syntax.little_endian:
            return False
        known = {**context, "TransferSyntaxUID": transfer_syntax_uid}
        try:
            facts = read_values(data_set, 0, len(data_set), syntax, admission.tags | FACTS)
            sets = self._profile.sets
            if sets.absent is not None and declares_none(facts):
                facts[SPECIFIC_CHARACTER_SET] = sets.absent
            admission.check(Instance(self._identity, self._profile.patients, facts, known, sets))
        except NotAdmitted:
            return True
        except (Irregular, Undecodable, Filtered):
            pass  # what cannot be read here, or is not to be passed on, is so when it is its turn
        return False

    @contextmanager
    def opened(self, path: str | Path, context: Mapping[str, str] | None = None) -> Iterator[Deidentified]:
        """De-identify the file at `path`, open for the time of the block. Raises as `deidentify`, and OSError."""
        with opened(path) as (buffer, mapped):
            yield self.mapped(buffer, partial(copy_range, mapped) if mapped is not None else None, context)

    def mapped(self, buffer: Buffer, copy: Copy | None, context: Mapping[str, str] | None = None) -> Deidentified:
        """De-identify the DICOM file in `buffer`, whose long values are copied by `copy`. Raises as `deidentify`.

        Where there is a `copy`, long values of pixel data need not be in the buffer (`dicom.skim`).
        """
        result = self.deidentify(buffer, context)
        return replace(result, copy=copy) if result.buffer is buffer else result

    def file(self, source: str | Path, target: Path) -> FileMeta:
        """De-identify the file `source` into the new file `target`; returns the new File Meta Information.

        Raises Undecodable, in which case there is no `target`, or OSError (FileExistsError if it is there already).
        """
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with self.opened(source) as result:
                result.write(descriptor)
                return result.meta
        except BaseException:
            target.unlink()
            raise
        finally:
            os.close(descriptor)

    def bytes(self, data: Buffer) -> bytes:
        """De-identify a DICOM file in memory. Raises Undecodable."""
        return self.deidentify(data).to_bytes()

    def dataset(self, data_set: Dataset) -> Dataset:
        """De-identify a pydicom data set; returns a new one, with File Meta Information. Raises Undecodable."""
        encoded = BytesIO()
        try:
            if hasattr(data_set, "file_meta") and data_set.file_meta.get("TransferSyntaxUID"):
                dcmwrite(encoded, data_set)
            elif "PixelData" in data_set and data_set["PixelData"].is_undefined_length:
                raise Undecodable(Reason.UNKNOWN_TRANSFER_SYNTAX)
            else:
                dcmwrite(encoded, data_set, implicit_vr=False, little_endian=True)
        except Undecodable:
            raise
        except Exception as error:
            # pydicom raises whatever its parts do, with values of the original in the text: only the type is told.
            raise Undecodable(Reason.MALFORMED, type(error).__name__) from None
        return dcmread(BytesIO(self.bytes(encoded.getvalue())), force=True)

    def _read(self, buffer: Buffer, start: int, syntax: TransferSyntax) -> Read:
        """Read an encoded data set: strictly if it can be read so, else normalised."""
        try:
            if not syntax.little_endian or (len(buffer) - start) % 2:
                # Some writers leave values unpadded; stock receivers abort on a data set of odd length.
                raise Irregular(Reason.MALFORMED)
            return Read(buffer, start, syntax, self._scan(buffer, start, syntax))
        except Irregular:
            buffer, syntax = normalise(memoryview(buffer)[start:], syntax)
            try:
                return Read(buffer, 0, syntax, self._scan(buffer, 0, syntax))
            except Irregular as irregular:
                raise irregular.as_undecodable() from None

    def _scan(self, buffer: Buffer, start: int, syntax: TransferSyntax) -> list[FoundRule]:
        """Find what the profile rules on. Raises Irregular or Undecodable."""
        rules, required = self._profile.rules, self._profile.required
        found = scan(buffer, start, len(buffer), syntax, rules, required)
        private = self._profile.private
        if private is not None and any(tag == DECLARATIONS for _, tag, *_ in found):
            declared = declarations(buffer, start, len(buffer), syntax)
            if declared:
                rules = rules.with_private(private.with_declared(declared))
                found = scan(buffer, start, len(buffer), syntax, rules, required)
        return found

    def _instance(self, read: Read, context: Mapping[str, str]) -> Instance:
        """What is known of the instance. Raises Undecodable or Filtered for one that is not to be passed on."""
        profile, buffer, found = self._profile, read.buffer, read.found
        facts = {
            tag: bytes(buffer[value : end if end - value < _LONGEST_FACT else value + _LONGEST_FACT])
            for _, tag, start, value, end, _ in found
            if tag in profile.facts and end > start
        }
        absent = profile.sets.absent
        if absent is not None and is_undeclared(facts, buffer, read.start, not read.syntax.implicit_vr):
            facts[SPECIFIC_CHARACTER_SET] = absent
        instance = Instance(self._identity, profile.patients, facts, context, profile.sets)
        if instance.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            raise Undecodable(Reason.DICOMDIR)
        if instance.sop_class_uid not in storage_sop_classes():
            raise Undecodable(Reason.UNKNOWN_SOP_CLASS)
        profile.admission.check(instance)
        instance.find_patient(self._studies)
        if profile.cleaner is not None:
            instance.own = profile.cleaner.own(named(found, buffer, instance.character_sets, profile.sets))
        return instance

    def _new_meta(self, instance: Instance, syntax: TransferSyntax, buffer: Buffer, found: list[FoundRule]) -> FileMeta:
        """The File Meta Information of the result."""
        scope = Scope(instance, (), instance.character_sets, buffer, found)
        new = self._profile.new_sop_instance_uid(scope, instance.facts[SOP_INSTANCE_UID])
        return FileMeta(instance.sop_class_uid, new.decode("ascii", "replace"), syntax.uid)
