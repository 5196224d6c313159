"""The keyed functions: what replaces an identity, the same for the same key, project and value, for ever.

One master key, from a file. From it HMAC-SHA-256 derives a subkey for each (purpose, project), so that projects, and
UIDs and pseudonyms within one, are independent of each other. No state, no clock, no randomness: a second part of a
study that arrives next year at another node lands in the same study. Nobody without the key can go back, nor try
out candidates, as they can with a plain hash (PS3.15 E.1.1).
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import stat
from functools import lru_cache
from pathlib import Path
from typing import Final

from scp_anon.dicom.uids import well_known_uids
from scp_anon.errors import ConfigError
from scp_anon.filesystem import make_directory, sync_directory

KEY_BYTES: Final = 32
PSEUDONYM_LENGTH: Final = 16  # characters of base32: 80 bits, and short enough for every system's Patient ID
LONGEST_HASH: Final = 52  # characters of base32 that the 256 bits of a digest make
# A UID has at most 64 characters (PS3.5 9.1): a dot and 39 digits of ours, behind the root.
_LONGEST_ROOT: Final = 24
_ROOT: Final = re.compile(r"[012](\.(0|[1-9][0-9]*))+")
_DICOM_ROOT: Final = "1.2.840.10008"
_BASE32: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_CACHED: Final = 1 << 16  # results: the UIDs of a study, and its patient, come again and again


def generate_key(path: Path) -> None:
    """Write a new random key to `path`, readable by its owner only. Raises ConfigError if the file is there already."""
    try:
        make_directory(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        if path.exists():
            raise ConfigError(f"{path}: a file is there already; a key is never overwritten") from None
        raise ConfigError(f"{path}: cannot write the key: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError as error:
        path.unlink()  # half a key would be in the way of a whole one
        raise ConfigError(f"{path}: cannot write the key: {error.strerror}") from None


def load_key(path: Path) -> bytes:
    """Read a key: 64 or more hexadecimal digits, or 32 or more bytes of any other kind.

    Raises ConfigError if it is missing, too short, or readable by anyone but its owner.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            raw = file.read(65536)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such key; make one with: scp-anon keygen {path}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the key: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigError(f"{path}: the key is open to others (mode {mode:04o}); make it 0600 or 0400")
    try:
        key = bytes.fromhex(raw.decode("ascii"))
    except ValueError:
        key = raw
    if len(key) < KEY_BYTES:
        raise ConfigError(f"{path}: the key has {len(key)} bytes; it needs {KEY_BYTES} or more")
    return key


def check_root(root: str) -> None:
    """Raises ConfigError for what cannot be the root of new UIDs."""
    if not _ROOT.fullmatch(root) or len(root) > _LONGEST_ROOT or root.startswith(_DICOM_ROOT):
        raise ConfigError(f"{root!r} is no UID root of one's own, of at most {_LONGEST_ROOT} characters")


class Identity:
    """The keyed functions of one project."""

    def __init__(self, key: bytes, project: str, root: str = "2.25") -> None:
        """`key`: the master key, at least 32 bytes. `project`: names whose result is independent of all others'.

        `root`: what new UIDs begin with, at most 24 characters. Raises ConfigError.
        """
        if len(key) < KEY_BYTES:
            raise ConfigError(f"the key has {len(key)} bytes; it needs {KEY_BYTES} or more")
        check_root(root)
        self.project = project
        self.key_id = subkey(key, "key id", "")[:4].hex()
        self._patient_key = subkey(key, "patient", project)
        self._uid_key = subkey(key, "uid", project)
        self._date_key = subkey(key, "date", project)
        self._hash_key = subkey(key, "hash", project)
        self._token_key = subkey(key, "patient token", project)
        self._root = root.encode("ascii")
        self._well_known = well_known_uids()
        self.uid = lru_cache(_CACHED)(self._uid)
        self.pseudonym = lru_cache(_CACHED)(self._pseudonym)
        self.hash = lru_cache(_CACHED)(self._hash)
        self.days = lru_cache(_CACHED)(self._days)

    def token(self, patient: str) -> bytes:
        """What stands in files of ours for the patient whom `patient` identifies: 32 hexadecimal digits."""
        return hmac.digest(self._token_key, _encoded(patient), "sha256")[:16].hex().encode("ascii")

    def _uid(self, uid: bytes) -> bytes:
        """The new UID for `uid` (a single value without padding); a well-known UID stays what it is.

        `2.25.` and a UUID of version 8 as a decimal number (PS3.5 B.2, RFC 9562 5.8): at most 44 characters. Under
        another root the number is the same.
        """
        if uid in self._well_known:
            return uid
        number = int.from_bytes(hmac.digest(self._uid_key, uid, "sha256")[:16], "big")
        number = number & ~(0xF << 76) & ~(0x3 << 62) | (0x8 << 76) | (0x2 << 62)
        return b"%b.%d" % (self._root, number)

    def is_new_uid(self, uid: bytes) -> bool:
        """Whether a UID may be a new one, of whatever key: well-known, or of our root and form."""
        number = uid[len(self._root) + 1 :]
        if not (uid.startswith(self._root + b".") and number.isdigit()):
            return uid in self._well_known
        value = int(number)
        return not value or (value >> 76 & 0xF == 8 and value >> 62 & 0x3 == 2 and value < 1 << 128)

    def _pseudonym(self, patient: str, length: int = PSEUDONYM_LENGTH) -> bytes:
        """The pseudonym, of so many letters and digits, of the patient whom `patient` identifies."""
        return _letters(self._patient_key, patient, length)

    def _hash(self, value: str, length: int) -> bytes:
        """Letters and digits in place of a value that identifies something else than a patient."""
        return _letters(self._hash_key, value, length)

    def _days(self, patient: str, window: int) -> int:
        """By how many days the dates of the patient whom `patient` identifies are moved: 1 to `window`, or back."""
        digest = hmac.digest(self._date_key, _encoded(patient), "sha256")
        days = int.from_bytes(digest, "big") % (2 * window) - window
        return days if days < 0 else days + 1


def is_hash(value: bytes, length: int) -> bool:
    """Whether a value may be a keyed hash or pseudonym of at most so many letters and digits, or is empty."""
    return len(value) <= length and not value.strip(_BASE32)


def _letters(key: bytes, text: str, length: int) -> bytes:
    return base64.b32encode(hmac.digest(key, _encoded(text), "sha256"))[:length]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def subkey(key: bytes, purpose: str, project: str) -> bytes:
    """The key for one purpose in one project: it tells nothing of the master key, nor of any other."""
    return hmac.digest(key, b"\0".join((b"scp-anon/1", purpose.encode(), project.encode())), "sha256")
