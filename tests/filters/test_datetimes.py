"""Spellings of points in time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb.model.datetimes import datetime_micros, format_micros, parse_datetime

NOON_MICROS = 1_420_115_400_000_000  # 2015-01-01T12:30:00Z


@pytest.mark.parametrize(
    "text",
    [
        "2015-01-01T12:30:00Z",
        "2015-01-01t12:30:00z",
        "2015-01-01 12:30:00Z",
        "2015-01-01T12:30:00",
        "2015-01-01 12:30:00",
        "2015-01-01T12:30",
        "2015-01-01 12:30",
        "2015-1-1 12:30",
        "2015-01-01T12:30:00.000000000Z",
        "2015-01-01T14:30:00+02:00",
        "2015-01-01T14:30:00+0200",
        "2015-01-01T14:30:00+02",
        "2015-01-01 14:30:00 +02:00",
        "2015-01-01T07:00:00-05:30",
    ],
)
def test_spellings_of_one_moment_are_one_number(text: str) -> None:
    assert parse_datetime(text) == NOON_MICROS


def test_a_date_alone_is_its_midnight() -> None:
    assert parse_datetime("1970-01-02") == 86_400_000_000


def test_fractions_are_kept_to_microseconds() -> None:
    assert parse_datetime("1970-01-01T00:00:00.5") == 500_000
    assert parse_datetime("1970-01-01T00:00:00.1234567891Z") == 123_456
    assert parse_datetime("1969-12-31T23:59:59.999999Z") == -1


@pytest.mark.parametrize(
    "text",
    [
        *["", "nonsense", "2015", "2015-01", "20150101", "1420070400", "Thu, 01 Jan 2015 00:00:00 GMT", "2015-02-30"],
        *["2015-01-01T12", "2015-01-01T24:00:00", "2015-01-01T12:30Z", "2015-01-01Z", "2015-01-01T12:30:00.Z"],
        *["10000-01-01", "0000-01-01", "2015-01-01T12:30:00+25:00", "2015-01-01T12:30:00+02:75", "2015-W01-1"],
        *["٢٠١٥-٠١-٠١", "2015-01-01\0", " " * 100 + "2015-01-01"],
    ],
)
def test_what_is_no_datetime_is_refused_and_named(text: str) -> None:
    assert datetime_micros(text) is None
    with pytest.raises(ValueError, match="is not a datetime"):
        parse_datetime(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_survives_its_spelling(moment: datetime) -> None:
    micros = parse_datetime(moment.isoformat())
    assert parse_datetime(format_micros(micros)) == micros
