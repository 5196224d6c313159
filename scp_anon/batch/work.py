"""One file through the engine, in one of the processes of a run.

The input is never changed. An output is written aside and renamed into its place, so that what is there is whole.
Only in a mirror is the place that of this input alone. Anywhere else it stays aside, and the parent process renames it:
in the order of the inputs, so that it is the same in each run which of two comes first.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

from scp_anon import log
from scp_anon.batch.contents import content_of
from scp_anon.batch.files import LINK_NOT_FOLLOWED, Input, is_link_to_no_file
from scp_anon.batch.manifest import NAME, Names
from scp_anon.batch.originals import KEYWORDS, Original
from scp_anon.deid import Deidentified, Deidentifier, ProfileFile
from scp_anon.deid.identity import subkey
from scp_anon.deid.study_patients import NamedOwner, Owner, StudyPolicy, StudySeal
from scp_anon.destinations.fields import LayoutFields
from scp_anon.destinations.layout import FOLDER, NUMBER, Layout, filled, values_of
from scp_anon.dicom.finding import Buffer
from scp_anon.errors import Filtered, Permanent, Reason, Undecodable
from scp_anon.filesystem import copy_range, opened
from scp_anon.version import VERSION

MIRROR: Final = "mirror"
# Found on the way through a folder, these are no instances that anybody would miss.
_NO_INSTANCE: Final = frozenset((Reason.NOT_DICOM, Reason.EMPTY, Reason.DICOMDIR))
_UIDS: Final = frozenset(KEYWORDS)
_REMEMBERED: Final = 1 << 16  # UIDs and tags that need not be told again
_HEAD: Final = 1 << 16
T = TypeVar("T")
TEMPORARY: Final = re.compile(r"\.\d+-\d+\.tmp")
"""The names of what is written aside, in the output folder itself."""

Status = Literal["delivered", "filtered", "quarantined", "failed", "skipped"]


class Outcome(NamedTuple):
    """What became of an input: `output` is under the output folder, `reason` a quarantine reason or an error's name.

    As a process yields it, the output still is to be given its number, and `folder`, that of the input: `temporary` is
    where it is until then. `content`: the hash of that of the input, if it counts. `detail` narrows the reason down.
    `copy`: where the input was copied to in the quarantine folder. `uids`: keyword, old and new value, and `tags`:
    names, of which this process has not told yet. `owner`: the study and the patient that the input names, where the
    run minds that a study is of one patient.
    """

    source: str
    status: Status
    output: str | None
    reason: str | None
    size: int
    mtime_ns: int = 0
    detail: str = ""
    temporary: str | None = None
    copy: str | None = None
    folder: str = ""
    content: str | None = None
    uids: tuple[tuple[str, str, str], ...] = ()
    tags: tuple[str, ...] = ()
    owner: Owner | None = None


@dataclass(frozen=True)
class Job:
    """What is done with each input: shared by all processes.

    `quarantine`: the folder for copies of what cannot be ruled on. `dry_run`: nothing is written.
    `mapping`, `drift`: UIDs and tags of the originals are told. `fields`: the file of those that the layout may have of
    originals. `once`: of inputs with the same content one is done.
    """

    key: bytes
    project: str
    profile: ProfileFile
    layout: str
    output: Path
    quarantine: Path | None = None
    dry_run: bool = False
    mapping: bool = False
    drift: bool = False
    fields: Path | None = None
    once: bool = False

    @property
    def study_policy(self) -> StudyPolicy:
        """What becomes of an input that names another patient than the inputs of its study before it."""
        return self.profile.study_patients or "hold"

    @cached_property
    def names(self) -> Names:
        """The keyed hashes of this project."""
        return Names(subkey(self.key, "manifest", self.project))

    def folder_of(self, file: Input) -> str:
        """The folder of an input, as far as the layout has it."""
        return os.path.dirname(file.relative) if FOLDER in self.layout else ""

    def told(self, outcome: Outcome) -> str | None:
        """The place of an output as the manifest tells it.

        The place in a mirror, or a folder, is that of the source, which is not for the manifest to tell.
        """
        if outcome.output is None or self.layout == MIRROR:
            return None
        if FOLDER not in self.layout:
            return outcome.output
        return outcome.output.replace(FOLDER, self.names.of_folder(outcome.folder))

    def placed(self, outcome: Outcome, number: int | None) -> str:
        """The place of an output, with its number and its folder."""
        place = outcome.output or ""
        return place if self.layout == MIRROR else filled(place, number, outcome.folder)


class Worker:
    """One process's engine."""

    current: Worker

    def __init__(self, job: Job) -> None:
        """Raises ConfigError for a profile or a layout that cannot be meant."""
        self._job = job
        self._owner = NamedOwner(StudySeal(job.key, job.project)) if job.study_policy != "separate" else None
        self._deidentifier = Deidentifier(job.key, job.project, job.profile, studies=self._owner)
        self._fields = LayoutFields(job.layout, job.fields) if job.fields is not None else None
        self._layout = None if job.layout == MIRROR or self._fields else Layout(job.layout, numbers=True)
        self._output = str(job.output)
        self._content_key = subkey(job.key, "content", job.project)
        self._numbers = count()
        self._told: set[object] = set()  # UIDs and tags

    @classmethod
    def start(cls, job: Job) -> None:
        """Make the engine of this process, unless it has it already; and let libraries be silent."""
        log.silence_libraries()
        _is_below.cache_clear()  # of an earlier run: links may lead elsewhere now
        if not hasattr(cls, "current") or cls.current._job is not job:
            cls.current = cls(job)
            gc.freeze()  # what has been compiled stays: the collector need not look at it again and again

    @property
    def is_numbered(self) -> bool:
        """Whether places have a number to be given."""
        return NUMBER in self._job.layout

    def head(self) -> Mapping[str, str]:
        """By what the outputs are made."""
        profile = self._deidentifier.profile
        return {
            "profile": profile.digest,
            "key": profile.identity.key_id,
            "project": _digest(self._job.project),
            "layout": _digest(self._job.layout + (self._fields.content if self._fields else "")),
            "version": VERSION,
        }

    def outcome(self, file: Input) -> Outcome:
        """De-identify one file."""
        size = mtime = 0
        detail = ""
        status: Status = "quarantined"
        try:
            if not file.given and is_link_to_no_file(file.path):
                return Outcome(file.path, "filtered", None, LINK_NOT_FOLLOWED, 0)
            found = os.stat(file.path)
            size, mtime = found.st_size, found.st_mtime_ns
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")  # to open a pipe waits for somebody who writes
            return self._deidentify(file, Outcome(file.path, "delivered", None, None, size, mtime))
        except Undecodable as undecodable:
            reason, detail = str(undecodable.reason), undecodable.detail
            if undecodable.reason in _NO_INSTANCE and not file.given:
                status = "filtered"
        except Filtered:
            status, reason = "filtered", str(Reason.NOT_ADMITTED)
        except Permanent as permanent:
            reason, detail = str(permanent.reason), permanent.detail
        except OSError as error:
            status, reason = "failed", error.strerror or type(error).__name__
        except Exception as error:
            # A fault of ours that this file brings out: nothing is written, and the others go on.
            reason, detail = str(Reason.UNEXPECTED_ERROR), type(error).__name__
        return self.set_aside(Outcome(file.path, status, None, reason, size, mtime, detail))

    def of_study(self, outcome: Outcome, first: Owner) -> Outcome:
        """De-identify an input again as that of its study's patient, or quarantine it, by the policy of the job.

        `outcome`: what became of it as the patient's that it names, which stays if both are one.
        """
        assert self._owner is not None  # or nobody would ask
        assert outcome.owner is not None  # likewise
        try:
            key = self._owner.decided(self._job.study_policy, first, outcome.owner, self._deidentifier.profile.patients)
        except Undecodable as undecodable:
            _discard(outcome.temporary)
            found = outcome._replace(status="quarantined", output=None, temporary=None)
            return self.set_aside(found._replace(reason=str(undecodable.reason), detail=undecodable.detail))
        if key is None:
            return outcome
        _discard(outcome.temporary)
        with self._owner.being(key):
            relative = (outcome.output or "") if self._job.layout == MIRROR else f"{outcome.folder}/_".lstrip("/")
            return self.outcome(Input(outcome.source, relative, True))

    def names_patient(self, owner: Owner) -> bool:
        """Return whether an input names its patient, so that its study is known to be that one's."""
        return self._owner is not None and self._owner.is_named(owner)

    def set_aside(self, outcome: Outcome) -> Outcome:
        """Copy an input that is quarantined to the quarantine folder, if there is one; it has failed if that does."""
        if outcome.status != "quarantined" or self._job.quarantine is None or self._job.dry_run:
            return outcome
        copy = f"{outcome.reason}/{self._job.names.of(outcome.source)}"
        try:
            _copy(outcome.source, f"{self._job.quarantine}/{copy}")
        except OSError as error:
            return outcome._replace(status="failed", reason=error.strerror or type(error).__name__)
        return outcome._replace(copy=copy)

    def _deidentify(self, file: Input, outcome: Outcome) -> Outcome:
        """De-identify into the output folder, if anything is to be written; returns the outcome with its place."""
        if self._owner is not None:
            self._owner.found = None
        if self._job.dry_run:
            with opened(file.path) as (buffer, mapped):
                outcome = self._with_content(outcome, buffer, mapped)
                return self._placed(file, outcome, buffer, self._deidentifier.mapped(buffer, None))
        temporary = f"{self._output}/.{os.getpid()}-{next(self._numbers)}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            with opened(file.path) as (buffer, mapped):
                copy = partial(copy_range, mapped) if mapped is not None else None
                result = self._deidentifier.mapped(buffer, copy)
                outcome = self._placed(file, self._with_content(outcome, buffer, mapped), buffer, result)
                result.write(descriptor)
            _check_unchanged(outcome)
            if self._job.layout != MIRROR or self._job.once or self._owner is not None:
                return outcome._replace(temporary=temporary)
            put(temporary, self._output, self._job.placed(outcome, None))
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        finally:
            os.close(descriptor)
        return outcome

    def _with_content(self, outcome: Outcome, buffer: Buffer, mapped: int | None) -> Outcome:
        """The outcome with the hash of the content, if that counts."""
        return outcome._replace(content=content_of(self._content_key, buffer, mapped)) if self._job.once else outcome

    def _placed(self, file: Input, outcome: Outcome, buffer: Buffer, result: Deidentified) -> Outcome:
        """The outcome with the place of the result, and with what is to be told of the original."""
        layout = self._fields.layout_of(file.path) if self._fields else self._layout
        place = layout.place_of(result) if layout else file.relative
        owner = self._owner.found if self._owner is not None else None
        outcome = outcome._replace(output=place, folder=self._job.folder_of(file), owner=owner)
        if self._job.mapping:
            pairs = zip(KEYWORDS.values(), _uids(Original(buffer).values(_UIDS)), _new_uids(result), strict=True)
            outcome = outcome._replace(uids=tuple(self._untold(pair for pair in pairs if all(pair))))
        if self._job.drift:
            with contextlib.suppress(Undecodable):  # the engine has read what it needs
                outcome = outcome._replace(tags=tuple(self._untold(Original(buffer).tags())))
        return outcome

    def _untold(self, found: Iterable[T]) -> Iterator[T]:
        if len(self._told) > _REMEMBERED:
            self._told.clear()
        for each in found:
            if each not in self._told:
                self._told.add(each)
                yield each


def _discard(temporary: str | None) -> None:
    if temporary is not None:
        with contextlib.suppress(OSError):  # what is left is removed at the end
            os.unlink(temporary)


def _check_unchanged(outcome: Outcome) -> None:
    """Raise OSError where an input is not what it was when it was begun with.

    A copy of it may not have come to its end; and of a large one the parts that stay are copied after the scan.
    """
    with contextlib.suppress(FileNotFoundError):  # it was read as a whole, and there may be no other chance
        found = os.stat(outcome.source)
        if (found.st_size, found.st_mtime_ns) != (outcome.size, outcome.mtime_ns):
            raise OSError(errno.EBUSY, "changed while it was read")


def put(temporary: str, folder: str, place: str) -> None:
    """Rename a whole file to its place in a folder. Raises OSError, also for a place that is not its own."""
    if place == NAME or TEMPORARY.fullmatch(place):
        raise FileExistsError(errno.EEXIST, "the name is one of ours")
    target = f"{folder}/{place}"
    parent = os.path.dirname(target)
    if not _is_below(parent, folder):
        raise OSError(errno.EXDEV, "a link leads out of the output folder")
    try:
        os.rename(temporary, target)
    except FileNotFoundError:
        os.makedirs(parent, exist_ok=True)
        os.rename(temporary, target)


@lru_cache(1024)
def _is_below(directory: str, folder: str) -> bool:
    """Whether a directory is really in a folder, or would be: what a link leads to may be an input."""
    return (os.path.realpath(directory) + os.sep).startswith(os.path.realpath(folder).rstrip(os.sep) + os.sep)


def _new_uids(result: Deidentified) -> Iterator[str]:
    """The UIDs of the result."""
    values = result.values(_UIDS)
    return _uids(values_of(result.head(_HEAD), _UIDS) if values is None else values)


def _uids(values: Mapping[int, bytes]) -> Iterator[str]:
    """The UIDs of a mapping, in its order."""
    return (values.get(tag, b"").strip(b" \0").decode("ascii", "replace") for tag in KEYWORDS)


def _copy(source: str, target: str) -> None:
    """Copy a file for its owner's eyes only, whole or not at all. Raises OSError."""
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    temporary = f"{target}.{os.getpid()}.tmp"
    original = os.open(source, os.O_RDONLY)
    try:
        copy = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            copy_range(original, copy, 0, os.fstat(original).st_size)
            os.rename(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(copy)
    finally:
        os.close(original)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
