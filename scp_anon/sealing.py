"""Originals at rest: sealed by AES-256-GCM as they are written, and unsealed where they are read.

A sealed file is a head and chunks. The head has the format, the id of the sealing key, and a salt; the key of the file
is derived from both (HKDF-SHA-256). Each chunk holds 64 KiB of the original, the last one less or nothing, and its tag.
Its nonce is its number and whether it is the last one: chunks cannot be changed, moved, left out or cut off unnoticed.
And each can be read without the others, so that memory stays flat whatever the size.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from scp_anon.errors import Reason, Undecodable
from scp_anon.filesystem import Bytes, write_all

MAGIC: Final = b"scp-anon sealed\x01"
_ID: Final = 8
_SALT: Final = 16
HEAD: Final = len(MAGIC) + _ID + _SALT
CHUNK: Final = 1 << 16
TAG: Final = 16
_KEY: Final = 32
_BATCH: Final = 16  # chunks that are copied at once
# Memory that nobody touches is not counted: else an object larger than all memory could never be mapped.
_SPARSE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (0x4000 if sys.platform == "linux" else 0)  # MAP_NORESERVE
_nonce = struct.Struct(">QxxxB").pack


class Seal:
    """What seals and unseals, by one key."""

    def __init__(self, master_key: bytes) -> None:
        self._key = _derived(master_key, b"", b"scp-anon: spool at rest")
        self.key_id = _derived(self._key, b"", b"scp-anon: id")[:_ID]

    def writer(self) -> SealedWriter:
        """For one new file."""
        salt = os.urandom(_SALT)
        return SealedWriter(MAGIC + self.key_id + salt, self._of_file(salt))

    def open(self, descriptor: int) -> Sealed:
        """A sealed file that is open. Raises Undecodable where it was sealed with another key, or is damaged."""
        head = os.pread(descriptor, HEAD, 0)
        size = os.fstat(descriptor).st_size - HEAD
        if len(head) < HEAD or size < TAG:
            raise _damaged()
        if head[len(MAGIC) : -_SALT] != self.key_id:
            raise Undecodable(Reason.CANNOT_BE_UNSEALED, "another key")
        sealed = Sealed(descriptor, head, self._of_file(head[-_SALT:]), size)
        sealed.check()
        return sealed

    def _of_file(self, salt: bytes) -> AESGCM:
        return AESGCM(_derived(self._key, salt, b"scp-anon: file"))


class SealedWriter:
    """Seals what is written to one file, from its head to its last chunk."""

    def __init__(self, head: bytes, cipher: AESGCM) -> None:
        self._head, self._cipher = head, cipher
        self._number = 0
        self._rest = b""
        self._has_begun = False

    def sealed(self, parts: Sequence[Bytes]) -> Iterator[bytes]:
        """What is to be written to the file for these parts."""
        yield self._begin()
        for part in parts:
            left = memoryview(part)
            if self._rest:
                missing = CHUNK - len(self._rest)
                self._rest += left[:missing]
                left = left[missing:]
                if not left:
                    continue
                yield self._chunk(self._rest, False)
            # One that is full is kept back: it may be the last.
            while len(left) > CHUNK:
                yield self._chunk(left[:CHUNK], False)
                left = left[CHUNK:]
            self._rest = bytes(left)

    def last(self) -> bytes:
        """What is to be written at the end."""
        return self._begin() + self._chunk(self._rest, True)

    def _begin(self) -> bytes:
        """The head, once."""
        head = b"" if self._has_begun else self._head
        self._has_begun = True
        return head

    def _chunk(self, content: Bytes, is_last: bool) -> bytes:
        sealed = self._cipher.encrypt(_nonce(self._number, is_last), bytes(content), self._head)
        self._number += 1
        self._rest = b""
        return sealed


class Sealed:
    """A sealed file that is open. Used by one thread. `size`: of the original, in bytes."""

    def __init__(self, descriptor: int, head: bytes, cipher: AESGCM, sealed_size: int) -> None:
        self._descriptor, self._head, self._cipher = descriptor, head, cipher
        self._chunks = -(-sealed_size // (CHUNK + TAG))
        self._last = -1, b""  # the chunk that was read last: headers are read one after the other
        self.size = sealed_size - self._chunks * TAG

    def chunk(self, number: int) -> bytes:
        """One chunk of the original. Raises Undecodable where it is not what was sealed."""
        if self._last[0] != number:
            sealed = os.pread(self._descriptor, CHUNK + TAG, HEAD + number * (CHUNK + TAG))
            try:
                plain = self._cipher.decrypt(_nonce(number, number == self._chunks - 1), sealed, self._head)
            except (InvalidTag, ValueError):
                raise _damaged() from None
            self._last = number, plain
        return self._last[1]

    def check(self) -> None:
        """Raise Undecodable unless the file is whole: its last chunk says that it is the last."""
        self.chunk(self._chunks - 1)

    def read(self, start: int, stop: int) -> bytes:
        """A short range of the original. Raises Undecodable."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        first = start // CHUNK
        content = b"".join(map(self.chunk, range(first, (stop - 1) // CHUNK + 1)))
        return content[start - first * CHUNK : stop - first * CHUNK]

    def copy(self, target: int, start: int, stop: int) -> None:
        """Write a range of the original to an open file. Raises Undecodable, OSError."""
        while start < stop:
            end = min(stop, (start // CHUNK + _BATCH) * CHUNK)
            write_all(target, [self.read(start, end)])
            start = end

    def mapped(self, without: Sequence[tuple[int, int]] = ()) -> memoryview:
        """The original in memory; ranges in `without`, in rising order, which nobody reads there, take none.

        Raises Undecodable.
        """
        content = memoryview(mmap.mmap(-1, max(self.size, 1), flags=_SPARSE))[: self.size]
        start = 0
        for stop, following in (*without, (self.size, self.size)):
            while start < stop:
                end = min(stop, (start // CHUNK + 1) * CHUNK)
                content[start:end] = self.read(start, end)
                start = end
            start = following
        return content.toreadonly()


def is_sealed(descriptor: int) -> bool:
    """Whether an open file is a sealed one."""
    return os.pread(descriptor, len(MAGIC), 0) == MAGIC


def _derived(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), _KEY, salt or None, purpose).derive(key)


def _damaged() -> Undecodable:
    return Undecodable(Reason.CANNOT_BE_UNSEALED, "damaged")
