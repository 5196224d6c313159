"""UIDs and hashes as the mmiv-center DICOMAnonymizer makes them, for archives that must go on matching.

They are hashes without a key: whoever has a candidate can try it out. And one in eight new UIDs is not legal, as a
component may begin with a zero; in the old style nearly none is. Bit-exact means that all of it stays so.
"""

from __future__ import annotations

import hashlib
from typing import Final

from scp_anon.deid.actions import LONGEST, Rule
from scp_anon.deid.instance import STUDY_INSTANCE_UID, Scope, unpadded
from scp_anon.dicom.uids import well_known_uids

_ROOT: Final = b"1.3.6.1.4.1.45037."
_DIGITS: Final = bytes.maketrans(b"abcdef", b"012345")
_DECIMAL: Final = b"0123456789"
_HEXADECIMAL: Final = b"0123456789abcdef"
_UID_LENGTH: Final = 63
_HASH_LENGTH: Final = 64
_STUDY_ID: Final = 0x00200010

# The UIDs that its table hashes without project and root.
_BARE: Final = frozenset(
    (
        *(0x00080014, 0x00080058, 0x0008010D, 0x00081195, 0x00083010, 0x00089123, 0x00200200, 0x00209161),
        *(0x00209164, 0x00281199, 0x00281214, 0x00404023, 0x0040A124, 0x0040DB0C, 0x0040DB0D, 0x0070031A),
        *(0x00880140, 0x300A0013),
    )
)


class Scheme:
    """What the tool makes of values: of digits only, or in its old style, `--oldstyleuid`, of hexadecimal ones.

    Letters are no characters of a UID: what the old style makes is not legal.
    """

    def __init__(self, old_style: bool) -> None:
        self._table = bytes(range(256)) if old_style else _DIGITS
        self._characters = _HEXADECIMAL if old_style else _DECIMAL

    def uid_rule(self, tag: int) -> Rule:
        """The rule for a UID: each value hashed as it is stored, its padding included, but Study Instance UID."""

        def act(scope: Scope, value: bytes) -> bytes:
            project = scope.instance.identity.project.encode("utf-8")
            parts = value.split(b"\\")
            return b"\\".join(self._new_uid(tag, part, project) for part in parts)

        return Rule("UI", act, made=lambda scope, value: all(map(self._may_be_new, value.split(b"\\"))))

    def uids_of(self, uid: str, project: str) -> list[str]:
        """The new UIDs of a UID: as a Study Instance UID or unpadded, padded, and as one hashed without a root."""
        values = [uid.encode("ascii"), uid.encode("ascii") + b"\0"][: 1 + len(uid) % 2]
        tags = (STUDY_INSTANCE_UID, 0x00080018, min(_BARE))
        made = {self._new_uid(tag, value, project.encode("utf-8")).decode("ascii") for tag in tags for value in values}
        return sorted(made)

    def hash_rule(self, tag: int, vr: str) -> Rule:
        """The rule for a `hash` of its table; Study ID is made of Study Instance UID and the project."""
        longest = LONGEST.get(vr, _HASH_LENGTH)

        def act(scope: Scope, value: bytes) -> bytes:
            if tag == _STUDY_ID:
                study = unpadded(scope.instance.facts.get(STUDY_INSTANCE_UID, b""))
                value = study + scope.instance.identity.project.encode("utf-8")
            return self._digits(value)[: LONGEST.get(vr)]

        def made(scope: Scope, value: bytes) -> bool:
            return len(value) in (0, min(longest, _HASH_LENGTH)) and self._is_of_digits(value)

        return Rule(vr, act, made=made)

    def _digits(self, value: bytes) -> bytes:
        """SHA-256 as 64 digits: each hexadecimal one that is a letter becomes one of 0 to 5, but in the old style."""
        return hashlib.sha256(value).hexdigest().encode("ascii").translate(self._table)

    def _is_of_digits(self, value: bytes) -> bool:
        return not value.strip(self._characters)

    def _may_be_new(self, part: bytes) -> bool:
        """Whether a UID may be a new one, by its form."""
        uid = unpadded(part)
        if uid.startswith(_ROOT):
            return len(uid) == _UID_LENGTH and self._is_of_digits(uid[len(_ROOT) :])
        return not uid or uid in well_known_uids() or (len(uid) == _HASH_LENGTH and self._is_of_digits(uid))

    def _new_uid(self, tag: int, value: bytes, project: bytes) -> bytes:
        original = unpadded(value)
        if not original or original in well_known_uids():
            return original
        if tag in _BARE:
            return self._digits(value)
        return (_ROOT + self._digits((original if tag == STUDY_INSTANCE_UID else value) + project))[:_UID_LENGTH]
