"""Dates that are moved: precision, ranges, time zones, and that intervals hold."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scp_anon.deid.dates import NoDate, cap_age, plain_ages, shift_date_times, shift_dates
from scp_anon.deid.identity import Identity
from tests import samples

DAYS = st.integers(-36500, 36500)
DATES = st.dates(date(1000, 1, 1) + timedelta(40000), date(9000, 1, 1))


def da(day: date) -> bytes:
    """A date as DA."""
    return f"{day:%Y%m%d}".rjust(8, "0").encode()


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        (b"20240228", b"20240229"),
        (b"20241231 ", b"20250101"),
        (b"20240228\\20230228", b"20240229\\20230301"),
        (b"20240101-20240131", b"20240102-20240201"),
        (b"20240101-", b"20240102-"),
        (b"-20240101", b"-20240102"),
        (b"2024.01.31", b"2024.02.01"),
        (b"20240101\\\\20240102", b"20240102\\\\20240103"),
        (b"", b""),
    ],
)
def test_dates(value: bytes, moved: bytes) -> None:
    """One day later, in the form that it was in."""
    assert shift_dates(value, 1) == moved


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        (b"20240228101500", b"20240229101500"),
        (b"20240228101500.123456+0130", b"20240229101500.123456+0130"),
        (b"2024022810-0800", b"2024022910-0800"),
        (b"20240228", b"20240229"),
        (b"202412", b"202412"),
        (b"2024", b"2024"),
        (b"20240228-20240301", b"20240229-20240302"),
        (b"20240228120000-0500-20240301120000-0500", b"20240229120000-0500-20240302120000-0500"),
        (b"-20240228", b"-20240229"),
        (b"20240228\\20241231235959.9 ", b"20240229\\20250101235959.9"),
    ],
)
def test_date_times(value: bytes, moved: bytes) -> None:
    """One day later; time, fraction and zone stay, and so does the precision."""
    assert shift_date_times(value, 1) == moved


@pytest.mark.parametrize("days", [31, -31, 400])
def test_partial_dates_move_by_their_first_day(days: int) -> None:
    """A month moves from its first day, a year from its first day."""
    assert shift_date_times(b"202401", days) == f"{date(2024, 1, 1) + timedelta(days):%Y%m}".encode()
    assert shift_date_times(b"2024", days) == f"{date(2024, 1, 1) + timedelta(days):%Y}".encode()


@pytest.mark.parametrize(
    "value", [b"20240230", b"2024", b"CANARY", b"1.1.2024", b"20240101 10", b"00000000", b"2024-01-01"]
)
def test_no_dates(value: bytes) -> None:
    """What is no DA is not guessed at."""
    with pytest.raises(NoDate):
        shift_dates(value, 1)


@pytest.mark.parametrize(
    "value", [b"2024022", b"20240228246", b"202402281015.5", b"CANARY", b"20240228+1", b"99991231"]
)
def test_no_date_times(value: bytes) -> None:
    """What is no DT, or leads beyond the calendar, is not guessed at."""
    with pytest.raises(NoDate):
        shift_date_times(value, 1)


@given(DATES, DATES, DAYS)
def test_intervals_hold(first: date, second: date, days: int) -> None:
    """Whatever the offset, the interval between two dates is what it was, in DA as in DT."""
    one, two = (shift_dates(da(day), days).decode() for day in (first, second))
    apart = date.fromisoformat(f"{two[:4]}-{two[4:6]}-{two[6:]}") - date.fromisoformat(
        f"{one[:4]}-{one[4:6]}-{one[6:]}"
    )
    assert apart == second - first
    assert shift_date_times(da(first) + b"1200", days) == one.encode() + b"1200"


@given(DATES, DAYS)
def test_moved_back(day: date, days: int) -> None:
    """Moving back is the inverse."""
    assert shift_dates(shift_dates(da(day), days), -days) == da(day)


@given(st.text(max_size=20), st.integers(1, 4000))
def test_offsets_of_patients(patient: str, window: int) -> None:
    """Never zero, never beyond the window, the same again, and another one in another project."""
    days = Identity(samples.KEY, "one").days(patient, window)
    assert 1 <= abs(days) <= window
    assert Identity(samples.KEY, "one").days(patient, window) == days


def test_offsets_reach_all_of_the_window() -> None:
    """Each number of days is as likely as the next."""
    identity = Identity(samples.KEY, "one")
    assert {identity.days(str(i), 3) for i in range(200)} == {-3, -2, -1, 1, 2, 3}
    other = Identity(samples.KEY, "two")
    assert any(identity.days(str(i), 1000) != other.days(str(i), 1000) for i in range(10))


@pytest.mark.parametrize(
    ("age", "told"),
    [(b"089Y", b"089Y"), (b"090Y", b"090Y"), (b"091Y", b"090Y"), (b"103Y", b"090Y"), (b"999M", b"999M"), (b"", b"")],
)
def test_ages(age: bytes, told: bytes) -> None:
    """Beyond 89 years there is one age."""
    assert cap_age(age) == told


@pytest.mark.parametrize(
    ("age", "told"),
    [
        (b"66Y", b"066Y"),
        (b"6M", b"006M"),
        (b"066", b"066Y"),
        (b"66", b"066Y"),
        (b"66 Y", b"066Y"),
        (b"066y", b"066Y"),
        (b"3W", b"003W"),
        (b"10D", b"010D"),
        (b" 66Y", b"066Y"),
        (b"0066Y", b"066Y"),
        (b"66 years", b"066Y"),
        (b"6 mths", b"006M"),
        (b"18 MO", b"018M"),
        (b"66YR", b"066Y"),
        (b"1 wk.", b"001W"),
        (b"91", b"090Y"),
        (b"95Y", b"090Y"),
        (b"104 y", b"090Y"),
        (b"0", b"000Y"),
        (b"6m\\066Y\\", b"006M\\066Y\\"),
    ],
)
def test_ages_as_senders_write_them(age: bytes, told: bytes) -> None:
    """They are read, and told as PS3.5 6.2 has them."""
    assert cap_age(age) == told
    assert cap_age(told) == told
    assert cap_age(age + b"\0 ") == told


def test_plain_ages() -> None:
    """Only the form changes; what is no age stays."""
    assert plain_ages(b"95y") == b"095Y"
    assert plain_ages(b"66 \\1957\\") == b"066Y\\1957\\"


@pytest.mark.parametrize(
    "age",
    [b"1957", b"131", b"Y66", b"066X", b"66.5Y", b"1200D", b"-6Y", b"066Y-", b"0x3Y", b"Y", b"?", b"66Y 6M", b"9999"],
)
def test_no_age(age: bytes) -> None:
    """An age that is none is not kept: a year of birth is not, nor is more than three digits hold."""
    with pytest.raises(NoDate):
        cap_age(age)
