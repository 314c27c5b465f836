"""What a worker counts, and how it keeps that small."""

import pytest

from chat.realtime import envelope
from chat.realtime.codes import CloseCode
from chat.realtime.counters import LATENCIES, MAX_KEYS, OTHER, Counters, Histogram, add, close_label, kind_of
from chat.realtime.testing.workers import ask
from chat.resources import messages


@pytest.mark.parametrize(
    "ident",
    [None, 7, "n-1", "", 'x","type":"junk","y', "\\", "ü" * 128, '{"id":"x","type":"junk"'],
)
def test_the_type_of_what_the_server_encodes_is_read(ident):
    """Whatever a client's id holds, the type is the server's own."""
    assert kind_of(envelope.encode("pong", {"type": "junk"}, id=ident)[1]) == b"pong"


def test_a_notification_of_a_subscription_is_one():
    """It has no id, and begins with its type; another type in this place is a client's word."""
    told = messages.notification("create", "sub-1", "public", "users", 1, {"type": "junk"})
    assert kind_of(told) == b"notification"
    assert kind_of(told.replace(b"notification", b"zanzibarzanz", 1)) == OTHER.encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'{"news":{"id":"x","type":"junk"}}',
        b'{"id":{"type":"junk"},"type":"pong"}',
        b'{"id":["' + b"a" * 33 + b'","type":"junk"],"type":"pong"}',
        b'{"id":{"' + b"a" * 33 + b'":"","type":"junk"},"type":"pong"}',
        b'{"id":"x","content":"no type"}',
    ],
)
def test_anything_else_is_other(payload):
    """What is no envelope, or begins with a nested id, names no type."""
    assert kind_of(payload) == OTHER.encode()


def test_a_counter_has_a_bounded_number_of_keys():
    """However many types there are, a counter holds so many of them and counts the rest as other."""
    counters = Counters()
    for number in range(1000):
        counters.sent_payload(envelope.encode(f"kind.{number}", None)[1], 2)
        counters.handled(f"kind.{number}", 0.1)
        add(counters.received, f"kind.{number}")
    for counts in (counters.sent, counters.received, counters.handling):
        assert len(counts) == MAX_KEYS + 1
    assert sum(counters.sent.values()) == 2000
    assert counters.received[OTHER] == 1000 - MAX_KEYS
    assert sum(counters.handling[OTHER].buckets) == 1000 - MAX_KEYS


def test_a_histogram_sorts_times_into_its_buckets():
    """A time counts in the first bucket whose bound it does not exceed, in the last where it exceeds all."""
    histogram = Histogram()
    for seconds in (0.0, LATENCIES[0], LATENCIES[0] * 1.01, 3600.0):
        histogram.observe(seconds)
    assert histogram.buckets[:2] == [2, 1]
    assert histogram.buckets[-1] == 1
    assert histogram.total == pytest.approx(3600 + LATENCIES[0] * 2.01)


def test_only_known_close_codes_are_labels():
    """A client closes with any of two thousand codes; those that are ours are told apart."""
    assert {close_label(code) for code in range(3000, 5000)} <= {
        OTHER,
        *(str(int(code)) for code in CloseCode),
    }
    assert close_label(1001) == "1001"


async def test_answers_count_as_sent(redis, start_server, connect):
    """A worker's ``messages_out`` has what it answers too: a welcome and three pongs are four messages."""
    server = start_server(f"{redis.url.removesuffix('/0')}/9", workers=1)
    client = await connect(server.ws())
    for _ in range(3):
        await client.socket.send('{"type": "ping"}')
    await client.take(3, type="pong")
    worker = (await ask(server, "stats"))[0]
    assert (worker["messages_in"], worker["messages_out"]) == (3, 4)
