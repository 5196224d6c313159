"""The exception tree, and every reason for which an instance is quarantined.

    ScpAnonError
    ├── ConfigError            a setting, a file or a command line is wrong: exit code 2
    ├── Undecodable            the engine cannot rule on this input: quarantine, with a `Reason`
    │   └── NotAdmitted        a profile has the sender refused, where it can still be told: 0124H
    ├── Filtered               a profile has this instance dropped
    ├── Refused                a C-STORE cannot be accepted: its `status` is the answer
    │   └── SpoolFull          0xA700: below the disk reserve, or the disk said no
    ├── AssociationError       an association cannot be opened, or has ended
    │   ├── Rejected           the peer (or we) said A-ASSOCIATE-RJ
    │   ├── Aborted            A-ABORT or A-P-ABORT, sent or received
    │   └── Closed             the connection is gone, or silent for too long
    ├── Transient              a delivery failed for now: try again later
    └── Permanent              a delivery failed for good: quarantine, with a `Reason`

No message ever holds a value of the original data set: a tag, a file of ours, a setting or a code at most.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an instance is in quarantine. `docs/quarantine.md` explains each, and what to do about it."""

    EMPTY = "empty"
    NOT_DICOM = "not-dicom"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    NESTED_TOO_DEEPLY = "nested-too-deeply"
    TOO_MANY_ELEMENTS = "too-many-elements"
    INFLATES_TOO_FAR = "inflates-too-far"
    TOO_LARGE_TO_NORMALISE = "too-large-to-normalise"
    UNKNOWN_CHARACTER_SET = "unknown-character-set"
    UNKNOWN_TRANSFER_SYNTAX = "unknown-transfer-syntax"
    UNKNOWN_SOP_CLASS = "unknown-sop-class"
    DICOMDIR = "dicomdir"
    MISSING_UID = "missing-uid"
    PIXELS_MAY_IDENTIFY = "pixels-may-identify"
    NOT_ADMITTED = "not-admitted"
    AWAITING_MAPPING = "awaiting-mapping"
    STUDY_OF_TWO_PATIENTS = "study-of-two-patients"
    RULE_NOT_APPLICABLE = "rule-not-applicable"
    RESIDUAL_VALUE = "residual-value"
    CANNOT_BE_UNSEALED = "cannot-be-unsealed"
    UNEXPECTED_ERROR = "unexpected-error"
    UNKNOWN_ROUTE = "unknown-route"
    DUPLICATE_UID = "duplicate-uid"
    TOO_MANY_ATTEMPTS = "too-many-attempts"
    REFUSED_BY_DESTINATION = "refused-by-destination"
    NOT_COMMITTED = "not-committed"
    NO_ACCEPTED_CONTEXT = "no-accepted-context"
    UNREADABLE_RESULT = "unreadable-result"


class ScpAnonError(Exception):
    """The root of everything that scp-anon raises on purpose."""


class ConfigError(ScpAnonError):
    """Wrong usage or configuration; the message says where, what, and what would be right."""


class Undecodable(ScpAnonError):
    """The engine cannot read, or may not pass on, this input.

    `reason` is the quarantine reason; `detail` narrows it down by a tag, a UID's name or an error's type.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class NotAdmitted(Undecodable):
    """A profile's `admit` refuses this instance; where nobody is left to be told, it is quarantined."""

    def __init__(self) -> None:
        super().__init__(Reason.NOT_ADMITTED)


class Filtered(ScpAnonError):
    """A profile's `admit` has this instance dropped: it was taken, and goes no further."""


class Refused(ScpAnonError):
    """A C-STORE request is answered by this failure `status` (PS3.4 B.2.3, PS3.7 Annex C)."""

    def __init__(self, status: int, comment: str = "") -> None:
        super().__init__(f"status {status:04X}H" + (f": {comment}" if comment else ""))
        self.status = status
        self.comment = comment


class SpoolFull(Refused):
    """The spool takes nothing more: A700H, Refused: Out of Resources."""

    def __init__(self, comment: str) -> None:
        super().__init__(0xA700, comment)


class AssociationError(ScpAnonError):
    """An association could not be opened, or has ended before its time."""


class Rejected(AssociationError):
    """A-ASSOCIATE-RJ: result, source and reason/diagnostic as in PS3.8 9.3.4."""

    def __init__(self, result: int, source: int, diagnostic: int) -> None:
        super().__init__(f"association rejected {result}/{source}/{diagnostic}")
        self.result, self.source, self.diagnostic = result, source, diagnostic


class Aborted(AssociationError):
    """A-ABORT or A-P-ABORT: source and reason as in PS3.8 9.3.8; `why` is for the log."""

    def __init__(self, source: int, diagnostic: int, why: str) -> None:
        super().__init__(why)
        self.source, self.diagnostic = source, diagnostic


class Closed(AssociationError):
    """The connection was closed, broken, or silent for longer than the timeout."""


class Transient(ScpAnonError):
    """A delivery failed for now: the entry stays in the queue and is tried again later.

    `of_destination`: it is the destination that is in trouble, whatever the instance.
    """

    def __init__(self, why: str, of_destination: bool = False) -> None:
        super().__init__(why)
        self.of_destination = of_destination


class Permanent(ScpAnonError):
    """A delivery failed for good: the entry goes to quarantine with this `reason` and `detail`."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else str(reason))
        self.reason = reason
        self.detail = detail
