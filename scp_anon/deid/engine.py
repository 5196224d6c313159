"""The rule engine as the rest of the house uses it: a file, bytes or a pydicom data set in, the same de-identified out.

Everything goes through the one splicing pass. What the pass cannot read as it is, is inflated or normalised first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from scp_anon.deid.actions import Instance
from scp_anon.deid.identity import Identity
from scp_anon.deid.profile import BASIC, Profile, compile_profile
from scp_anon.deid.splice import Piece, splice
from scp_anon.dicom.encoding import Buffer, Irregular
from scp_anon.dicom.normalise import deflate, inflate, normalise
from scp_anon.dicom.part10 import FileMeta, encode_file_meta, read_file_meta
from scp_anon.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    MEDIA_STORAGE_DIRECTORY,
    TransferSyntax,
    storage_sop_classes,
    transfer_syntaxes,
)
from scp_anon.errors import Reason, Undecodable
from scp_anon.filesystem import copy_range, opened, write_all
from scp_anon.version import VERSION

# Ranges of a mapped file from this size on are copied by the kernel, not through our memory.
_KERNEL_COPY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A de-identified instance, not yet put together: `head` and `pieces`, whose ranges are of `buffer`."""

    meta: FileMeta
    buffer: Buffer
    pieces: list[Piece]
    source: int | None = None
    """The open file that `buffer` is a map of: long ranges are copied from it inside the kernel."""

    def parts(self) -> Iterator[Buffer]:
        """The DICOM file, in order; ranges of the original are views of it, not copies."""
        yield encode_file_meta(self.meta)
        original = memoryview(self.buffer)
        for piece in self.pieces:
            yield piece if isinstance(piece, bytes) else original[piece[0] : piece[1]]

    def to_bytes(self) -> bytes:
        """The DICOM file."""
        return b"".join(self.parts())

    def write(self, descriptor: int) -> None:
        """Write the DICOM file to an open file, from its present position on. Raises OSError."""
        pending: list[Buffer] = [encode_file_meta(self.meta)]
        original = memoryview(self.buffer)
        for piece in self.pieces:
            if isinstance(piece, bytes):
                pending.append(piece)
            elif self.source is None or piece[1] - piece[0] < _KERNEL_COPY:
                pending.append(original[piece[0] : piece[1]])
            else:
                write_all(descriptor, pending)
                pending = []
                copy_range(self.source, descriptor, *piece)
        write_all(descriptor, pending)


class Deidentifier:
    """De-identifies by one profile for one project. Safe to share between threads; keeps no state but caches."""

    def __init__(self, key: bytes, project: str = "", profile: str = BASIC) -> None:
        """`key`: the master key, see `load_key`. Raises ConfigError for a short key or an unknown profile."""
        self._identity = Identity(key, project)
        self._profile: Profile = compile_profile(profile, self._identity.key_id, VERSION)

    @property
    def key_id(self) -> str:
        """Eight digits that tell this key from another, without telling the key."""
        return self._identity.key_id

    def deidentify(self, buffer: Buffer) -> Deidentified:
        """De-identify the DICOM file in `buffer`. Raises Undecodable, with the reason for quarantine."""
        meta, start = read_file_meta(buffer)
        if meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            raise Undecodable(Reason.DICOMDIR)
        return self.encoded(buffer, meta.transfer_syntax_uid, start)

    def encoded(self, buffer: Buffer, transfer_syntax_uid: str, start: int = 0) -> Deidentified:
        """De-identify the encoded data set that `buffer` holds from `start` on. Raises Undecodable."""
        try:
            syntax = transfer_syntaxes()[transfer_syntax_uid]
        except KeyError:
            raise Undecodable(Reason.UNKNOWN_TRANSFER_SYNTAX) from None
        if syntax.deflated:
            return self._deflated(buffer, start, syntax)
        return self._data_set(buffer, start, syntax)

    @contextmanager
    def opened(self, path: str | Path) -> Iterator[Deidentified]:
        """De-identify the file at `path`, which is open for the time of the block. Raises Undecodable, OSError."""
        with opened(path) as (buffer, mapped):
            result = self.deidentify(buffer)
            yield replace(result, source=mapped) if mapped is not None and result.buffer is buffer else result

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

    def _deflated(self, buffer: Buffer, start: int, syntax: TransferSyntax) -> Deidentified:
        inflated = inflate(memoryview(buffer)[start:])
        result = self._data_set(inflated, 0, syntax)
        original = memoryview(result.buffer)
        data_set = b"".join(p if isinstance(p, bytes) else original[p[0] : p[1]] for p in result.pieces)
        meta = result.meta._replace(transfer_syntax_uid=DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
        return Deidentified(meta, b"", [deflate(data_set)])

    def _data_set(self, buffer: Buffer, start: int, syntax: TransferSyntax) -> Deidentified:
        """De-identify an encoded data set: strictly if it can be read so, else normalised."""
        try:
            if not syntax.little_endian or (len(buffer) - start) % 2:
                # Some writers leave values unpadded; stock receivers abort on a data set of odd length.
                raise Irregular(Reason.MALFORMED)
            pieces, instance = splice(buffer, start, len(buffer), syntax, self._profile, self._identity)
        except Irregular:
            buffer, syntax = normalise(memoryview(buffer)[start:], syntax)
            try:
                pieces, instance = splice(buffer, 0, len(buffer), syntax, self._profile, self._identity)
            except Irregular as irregular:
                raise irregular.as_undecodable() from None
        return Deidentified(self._new_meta(instance, syntax), buffer, pieces)

    def _new_meta(self, instance: Instance, syntax: TransferSyntax) -> FileMeta:
        """The File Meta Information of the result. Raises Undecodable for what is no instance of a storage class."""
        if instance.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            raise Undecodable(Reason.DICOMDIR)
        if instance.sop_class_uid not in storage_sop_classes():
            raise Undecodable(Reason.UNKNOWN_SOP_CLASS)
        new = self._identity.uid(instance.sop_instance_uid).decode("ascii")
        return FileMeta(instance.sop_class_uid, new, syntax.uid)
