"""Moving dates by whole days (PS3.15 E.3.6, the Modified Dates option).

All dates of a patient move by the same number of days, so that every interval stays what it was. Times of day stay,
and with them fractions of seconds and time zones. A date of only a year, or a year and a month, is taken for its first
day, moved, and written with the same precision.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, TypeAlias

# YYYYMMDD, and YYYY.MM.DD of ACR-NEMA, which PS3.5 6.2 says may be read; of DT the date may be shorter.
_DATE: Final = re.compile(rb"(\d{4})(\.?)(\d\d)\2(\d\d)")
_DATE_TIME: Final = re.compile(
    rb"(\d{4})(?:(\d\d)(?:(\d\d)((?:\d\d(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?)?))?)?((?:[+-]\d{4})?)"
)
# HHMMSS.FFFFFF, shorter from the end, and HH:MM:SS of ACR-NEMA; or a range of two.
_TIME: Final = rb"(\d\d(:?\d\d(:?\d\d(\.\d{1,6})?)?)?)?"
_TIMES: Final = re.compile(_TIME + rb"(-" + _TIME + rb")?")
_ZONE: Final = re.compile(rb"([+-]\d{4})?")
_AGE: Final = re.compile(rb"0?([0-9]{1,3})[ .]{0,2}([A-Za-z]{0,6})\.?")
_UNITS: Final = {
    b"": b"Y",
    **dict.fromkeys((b"d", b"day", b"days"), b"D"),
    **dict.fromkeys((b"w", b"wk", b"wks", b"week", b"weeks"), b"W"),
    **dict.fromkeys((b"m", b"mo", b"mos", b"mth", b"mths", b"month", b"months"), b"M"),
    **dict.fromkeys((b"y", b"yr", b"yrs", b"yo", b"year", b"years"), b"Y"),
}
_OLDEST: Final = 130  # years: a higher number without a unit is something else
_OLDEST_TOLD: Final = 89
_CACHED: Final = 1 << 14

_Shift: TypeAlias = Callable[[bytes, int], bytes]


class NoDate(ValueError):
    """A value that cannot be read as the date that its VR says it is."""


@lru_cache(_CACHED)
def shift_dates(value: bytes, days: int) -> bytes:
    """A DA value, of one date or several, or a range of them, moved by `days`. Raises NoDate."""
    return b"\\".join(_shift_range(part.strip(b" \0"), days, _shift_date) for part in value.split(b"\\"))


@lru_cache(_CACHED)
def shift_date_times(value: bytes, days: int) -> bytes:
    """A DT value, of one or several, or a range of them, moved by `days`. Raises NoDate."""
    return b"\\".join(_shift_range(part.strip(b" \0"), days, _shift_date_time) for part in value.split(b"\\"))


def whole_day(value: bytes, vr: str) -> date | None:
    """The day of a DA or DT value; None unless it is just one, with year, month and day."""
    match = (_DATE if vr == "DA" else _DATE_TIME).fullmatch(value.strip(b" \0"))
    if match is None:
        return None
    year, month, day = match.group(1, 3, 4) if vr == "DA" else match.group(1, 2, 3)
    try:
        return date(int(year), int(month), int(day)) if month and day else None
    except ValueError:
        return None


def are_times(value: bytes) -> bool:
    """Whether it is a TM value, of one time or several, or a range of them."""
    return all(_TIMES.fullmatch(part.strip(b" \0")) for part in value.split(b"\\"))


def is_zone(value: bytes) -> bool:
    """Whether it is an offset from UTC (PS3.3 C.12.1.1.8)."""
    return _ZONE.fullmatch(value.strip(b" \0")) is not None


def cap_age(value: bytes) -> bytes:
    """An AS value in the form of PS3.5 6.2, where an age of 90 years or more is 090Y (privacy rules see them as one).

    Raises NoDate for what is no age.
    """
    return b"\\".join(_cap_age(part.strip(b" \0")) for part in value.split(b"\\"))


def _cap_age(age: bytes) -> bytes:
    plain = _plain_age(age) if age else age
    # In days, weeks or months three digits reach no further than 83 years.
    return b"090Y" if plain[3:] == b"Y" and int(plain[:3]) > _OLDEST_TOLD else plain


def plain_ages(value: bytes) -> bytes:
    """The same AS value with each age as PS3.5 6.2 has it: 066Y for 66Y, 066 or 66 y. What is no age stays."""
    return b"\\".join(_plain_age_or_same(part) for part in value.split(b"\\"))


def _plain_age_or_same(age: bytes) -> bytes:
    try:
        return _plain_age(age.strip(b" \0"))
    except NoDate:
        return age


def _plain_age(age: bytes) -> bytes:
    """An age as three digits and D, W, M or Y; a number without a unit means years. Raises NoDate for what is none."""
    match = _AGE.fullmatch(age)
    unit = _UNITS.get(match[2].lower()) if match is not None else None
    if match is None or unit is None or (not match[2] and int(match[1]) > _OLDEST):
        raise NoDate
    return b"%03d%s" % (int(match[1]), unit)


def _shift_range(text: bytes, days: int, shift: _Shift) -> bytes:
    """One value, which in a query or a selector may be a range, or a range open at one end (PS3.5 6.2)."""
    if not text:
        return text
    try:
        return shift(text, days)
    except NoDate:
        # A DT has a minus in its time zone as well: the middle is where both sides can be read.
        for i, character in enumerate(text):
            if character == ord("-"):
                try:
                    return b"-".join(shift(side, days) if side else b"" for side in (text[:i], text[i + 1 :]))
                except NoDate:
                    continue
        raise


def _shift_date(text: bytes, days: int) -> bytes:
    match = _DATE.fullmatch(text)
    if match is None:
        raise NoDate
    year, separator, month, day = match.groups()
    moved = _moved(int(year), int(month), int(day), days)
    return separator.join((b"%04d" % moved.year, b"%02d" % moved.month, b"%02d" % moved.day))


def _shift_date_time(text: bytes, days: int) -> bytes:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise NoDate
    year, month, day, time, zone = match.groups()
    moved = _moved(int(year), int(month or 1), int(day or 1), days)
    result = b"%04d" % moved.year
    if month:
        result += b"%02d" % moved.month
    if day:
        result += b"%02d" % moved.day
    return result + (time or b"") + zone


def _moved(year: int, month: int, day: int, days: int) -> date:
    try:
        return date(year, month, day) + timedelta(days=days)
    except (ValueError, OverflowError):
        raise NoDate from None
