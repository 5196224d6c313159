"""Finding an original among candidates: what each of them would become is made anew, by the key, and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from scp_anon.deid.identity import LONGEST_HASH, Identity
from scp_anon.deid.profile import Profile
from scp_anon.errors import Undecodable

_SHORTEST_HASH: Final = 4


class Match(NamedTuple):
    """A candidate that becomes the value that was looked for, and as what."""

    candidate: str
    kind: str


def matches(profile: Profile, identity: Identity, value: str, candidates: Iterable[str]) -> Iterator[Match]:
    """The candidates that `value` was made of, by this profile and key. Memory stays flat.

    A candidate is a Patient ID (with its issuer behind a tabulator, if the profile's pseudonyms count it), a Patient's
    Name, a UID, or any value that the action `hash` was applied to.
    """
    for candidate in candidates:
        for kind, made in _made(profile, identity, candidate, len(value)):
            if made == value:
                yield Match(candidate, kind)


def _made(profile: Profile, identity: Identity, candidate: str, length: int) -> Iterator[tuple[str, str]]:
    """What a candidate would become, and as what."""
    patients = profile.patients
    patient_id, _, issuer = candidate.partition("\t")
    for kind, key in (
        ("Patient ID", patients.key(patient_id, issuer, "")),
        ("Patient's Name", patients.key("", "", candidate)),
    ):
        try:
            yield kind, patients.find(key).decode("ascii")
        except Undecodable:
            continue  # who is not in the table has no pseudonym
    if not candidate.strip("0123456789."):
        if profile.tool is not None:
            yield from (("UID", uid) for uid in profile.tool.uids_of(candidate, identity.project))
        else:
            yield "UID", identity.uid(candidate.encode("ascii")).decode("ascii")
    if _SHORTEST_HASH <= length <= LONGEST_HASH:
        yield "hash", identity.hash(candidate, length).decode("ascii")
