"""Rates with a burst, decided from values: no clock, no server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.realtime import config
from chat.realtime.allowance import MOST_REFUSED, WINDOW, Allowance, told
from chat.realtime.limits import address_count
from chat.realtime.ratelimit import Rate, Table


@pytest.fixture
def limits():
    """Set limits for this test alone."""
    before = config.current()
    yield config.apply
    config.apply(**{name: getattr(before, name) for name in ("message_rate", "message_burst", "bytes_rate")})


@given(
    st.integers(1, 1_000_000),
    st.integers(1, 2_000),
    st.floats(1e-3, 1e9),
)
def test_a_burst_is_exactly_that_many(per_second, burst, now):
    """In one moment a whole burst is accepted and the next one is not, whatever the rate and the time."""
    rate, state = Rate(per_second, burst), 0.0
    # What doubles can still tell apart at this time must be less than one message's share.
    if now * 1e-15 * burst > 0.0005 / per_second:
        return
    for _ in range(burst):
        state = rate.spend(state, now)
        assert state > 0
    assert rate.spend(state, now) < 0


@given(st.integers(1, 1000), st.integers(1, 100))
def test_who_waits_as_told_is_accepted(per_second, burst):
    """The seconds to wait are enough, and half of them are not."""
    rate, state, now = Rate(per_second, burst), 0.0, 100.0
    for _ in range(burst):
        state = rate.spend(state, now)
    wait = -rate.spend(state, now)
    assert 0 < wait <= 1 / per_second
    assert rate.spend(state, now + wait / 2) < 0
    assert rate.spend(state, now + told(wait)) > 0


def test_the_long_run_is_the_rate():
    """Whoever always sends gets the burst, and then the rate."""
    rate, state, taken = Rate(20, 100), 0.0, 0
    for tick in range(100_000):  # 100 seconds by the millisecond
        found = rate.spend(state, 1000 + tick / 1000)
        if found > 0:
            state, taken = found, taken + 1
    assert 100 + 20 * 100 - 1 <= taken <= 100 + 20 * 100 + 1


def test_a_refused_one_takes_nothing():
    """Asking again and again does not make the wait longer."""
    rate = Rate(1, 1)
    state = rate.spend(0.0, 50.0)
    assert [rate.spend(state, 50.5) for _ in range(3)] == [rate.spend(state, 50.5)] * 3


@pytest.mark.parametrize(
    ("text", "per_second", "burst"),
    [("10/s", 10, 10), ("120/min", 2, 120), ("7200 / hour", 2, 7200), ("1/second", 1, 1)],
)
def test_a_rate_in_words(text, per_second, burst):
    """A number and a unit; the burst is the number unless it is given."""
    assert (Rate.parse(text).per_second, Rate.parse(text).burst) == (per_second, burst)
    assert Rate.parse(text, 3).burst == 3


@pytest.mark.parametrize("text", ["", "10", "10/", "/s", "0/s", "-1/s", "1.5/s", "10/day", "10/s/s", "٣/s"])
def test_a_rate_in_wrong_words(text):
    """Anything else is refused where it is written, in words that show how it is written."""
    with pytest.raises(ValueError, match='A rate is like "10/s"'):
        Rate.parse(text)


@pytest.mark.parametrize(("per_second", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_an_impossible_rate(per_second, burst):
    """A rate of nothing would let nothing through for ever."""
    with pytest.raises(ValueError, match="above 0"):
        Rate(per_second, burst)


def test_a_table_is_bounded():
    """However many keys come, only the most recently used ones are kept; each has a bucket of its own."""
    table, rate = Table(most=100), Rate(1, 2)
    for number in range(1000):
        assert table.spend(str(number), rate, 10.0) == 0
    assert len(table) == 100
    assert table.spend("999", rate, 10.0) == 0
    assert table.spend("999", rate, 10.0) == pytest.approx(1, abs=0.01)
    assert table.spend("998", rate, 10.0) == 0


def test_a_flood_is_not_forgotten_while_it_is_refused():
    """A key that is asked for again and again stays, refused, however many others come meanwhile."""
    table, rate = Table(most=100), Rate(1, 2)
    for _ in range(2):
        assert table.spend("flood", rate, 10.0) == 0
    for number in range(1000):
        assert table.spend(str(number), rate, 10.0) == 0
        assert table.spend("flood", rate, 10.0) > 0
    assert len(table) == 100


def test_messages_and_bytes(limits):
    """Either limit refuses; a refused message counts for neither; 0 is no limit."""
    limits(message_rate=10, message_burst=3, bytes_rate=10_000, max_message_bytes=65_536)
    allowance = Allowance()
    assert [allowance.take(10, 5.0) > 0 for _ in range(4)] == [False, False, False, True]
    allowance = Allowance()
    assert allowance.take(60_000, 5.0) == 0
    assert allowance.take(40_001, 5.0) == pytest.approx(0.0001, abs=0.001)
    assert allowance.take(40_000, 5.0) == 0  # a hundred thousand bytes: ten seconds' worth
    limits(message_rate=0, bytes_rate=0)
    assert not any(allowance.take(65_536, 5.0) for _ in range(1000))


def test_a_message_of_the_largest_size_is_always_possible(limits):
    """A bytes rate below one message's size makes them rare, not impossible."""
    limits(message_rate=0, bytes_rate=100)
    allowance = Allowance()
    assert allowance.take(65_536, 5.0) == 0
    wait = allowance.take(65_536, 5.0)
    assert wait == pytest.approx(655, rel=0.01)
    assert allowance.take(65_536, 5.0 + wait) == 0


def test_refusals_are_counted_in_windows():
    """The count begins anew a while after its first."""
    allowance = Allowance()
    assert [allowance.refuse(100.0) for _ in range(MOST_REFUSED)] == list(range(1, MOST_REFUSED + 1))
    assert allowance.refuse(100.0 + WINDOW) == MOST_REFUSED + 1
    assert allowance.refuse(100.1 + WINDOW) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:DB8:0:0::1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("unknown", "nobody", False),
    ],
)
def test_which_addresses_are_one(one, other, same):
    """IPv4 by the address, IPv6 by its network of 64 bits; the name tells neither."""
    assert (address_count(one) == address_count(other)) is same
    assert one not in address_count(one)
