"""By how many days the dates of an instance move: as many for all, as its patient's, or as bring one of them to a day.

The last needs no state: whatever instance of a study has the same date there, its dates move by the same days.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from scp_anon.deid.actions import Unfit
from scp_anon.deid.dates import whole_day
from scp_anon.deid.identity import Identity
from scp_anon.deid.instance import Scope
from scp_anon.deid.settings import DatesSection
from scp_anon.deid.targets import parse_target
from scp_anon.dicom.dictionary import vr_of
from scp_anon.errors import ConfigError

_WINDOW: Final = 365
_ANCHORS: Final = ("DA", "DT")
# What systems write where they know no date: from such a day all others could be counted back to what they were.
_PLACEHOLDERS: Final = (date(1, 1, 1), date(1900, 1, 1), date(1970, 1, 1))


class Offsets:
    """The days of instances, by the `dates` of a profile."""

    def __init__(self, dates: DatesSection, identity: Identity) -> None:
        """Raises ConfigError for an anchor that is no date of the standard."""
        self._dates = dates
        self._identity = identity
        self.anchor = anchor_of(dates.anchor) if dates.anchor is not None else None
        self._vr = (vr_of(self.anchor) or "") if self.anchor is not None else ""

    @property
    def always(self) -> bool:
        """Whether every instance has such a number."""
        return self.anchor is None

    def __call__(self, scope: Scope) -> int:
        """The days of an instance. Raises Unfit for one whose anchor is missing, or is no date that anything is from.

        Nor can it be the day that it is to become: every date would stay as it is.
        """
        if self.anchor is None:
            return self.of(scope.instance.patient_key)
        day = whole_day(scope.instance.facts.get(self.anchor, b""), self._vr)
        if day is None or day in _PLACEHOLDERS or day == self._dates.becomes:
            raise Unfit
        return (self._dates.becomes - day).days

    def of(self, patient_key: str) -> int:
        """The days of a patient by what tells them from others. Raises ConfigError where each instance has its own."""
        if self.anchor is not None:
            raise ConfigError(f"dates: they move by {self._dates.anchor} of each instance: a person has no days of it")
        if self._dates.days is not None:
            return self._dates.days
        return self._identity.days(patient_key, self._dates.window or _WINDOW)

    def may_be(self, tag: int, scope: Scope, value: bytes) -> bool:
        """Whether a date may be one that was moved: that of the anchor has become the one that it had to."""
        return tag != self.anchor or bool(scope.path) or whole_day(value, self._vr) == self._dates.becomes


def anchor_of(name: str) -> int:
    """The tag of an anchor, by keyword or tag. Raises ConfigError for what is not one date of the standard."""
    target = parse_target(name)
    if len(target.tags) != 1 or target.path:
        raise ConfigError("must be one attribute of the top level")
    (tag,) = target.tags
    if vr_of(tag) not in _ANCHORS:
        raise ConfigError(f"must be a date: of VR {' or '.join(_ANCHORS)}")
    return tag
