"""What one worker counts: plain integers on the message path, read once a second by `metrics.py`.

Every dict here is keyed by words of the code's own, never by what a client typed, and has a bound besides.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TypeVar

from .codes import CloseCode

MAX_KEYS = 60  # labels of one counter; what comes beyond them counts as OTHER
OTHER = "other"

# Upper bounds in seconds; the last bucket is what takes longer.
LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_CLOSE_CODES = frozenset(CloseCode)
_OTHER = OTHER.encode()
_ID, _STRING_ID, _NOTIFICATION = b'{"id":', b'{"id":"', b'{"type":"notification",'
_TYPE_AFTER_STRING = b'","type":"'
_UUID_END = slice(7 + 36, 7 + 36 + len(_TYPE_AFTER_STRING))
_NESTED = (b"{", b"[")

Key = TypeVar("Key", str, bytes)


class Histogram:
    """Times in seconds, sorted into buckets: 0.3 µs an observation."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCIES) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(LATENCIES, seconds)] += 1
        self.total += seconds


class Counters:
    """Totals of one worker since its start."""

    __slots__ = (
        "accepted",
        "bytes_in",
        "bytes_out",
        "closes",
        "deaf",
        "delivery",
        "dropped",
        "drops",
        "errors",
        "handling",
        "messages_in",
        "messages_out",
        "outcomes",
        "rate_limited",
        "received",
        "refusals",
        "refused",
        "sent",
        "slow_closed",
    )

    def __init__(self) -> None:
        self.messages_in = self.messages_out = self.dropped = 0
        self.slow_closed = self.accepted = self.refused = self.deaf = 0
        self.rate_limited = 0  # messages that were refused for coming too fast
        self.bytes_in = 0  # of connections that are gone; open ones have their own
        self.bytes_out = 0  # of all
        self.received: dict[str, int] = {}  # messages by type: those that a handler was there for
        self.sent: dict[bytes, int] = {}  # messages by type
        self.outcomes: dict[str, int] = {}  # "type outcome" of messages, where MessageMetrics stands
        self.errors: dict[str, int] = {}  # `error` answers by code
        self.drops: dict[str, int] = {}  # messages that slow clients missed, by policy
        self.refusals: dict[str, int] = {}  # handshakes by code
        self.closes: dict[str, int] = {}  # open connections that ended, by close code
        self.handling: dict[str, Histogram] = {}  # handlers' times by message type
        self.delivery = Histogram()  # from publishing to the sockets of this worker

    def handled(self, kind: str, seconds: float) -> None:
        """A handler of this message type has ended."""
        histogram = self.handling.get(kind)
        if histogram is None:
            kind = kind if len(self.handling) < MAX_KEYS else OTHER
            histogram = self.handling.setdefault(kind, Histogram())
        histogram.observe(seconds)

    def gave(self, payload: bytes, times: int) -> None:
        """A message was handed to so many clients."""
        self.messages_out += times
        self.bytes_out += len(payload) * times
        self.sent_payload(payload, times)

    def sent_payload(self, payload: bytes, times: int) -> None:
        """A message went to so many clients."""
        kind = kind_of(payload)
        if kind in self.sent:
            self.sent[kind] += times
        else:
            add(self.sent, kind, times)


def add(counts: dict[Key, int], key: Key, times: int = 1) -> None:
    """Count under ``key``, or under OTHER where there are too many keys already."""
    if key not in counts and len(counts) >= MAX_KEYS:
        key = OTHER if isinstance(key, str) else _OTHER
    counts[key] = counts.get(key, 0) + times


def kind_of(payload: bytes) -> bytes:
    """The type of an envelope that this server encoded, without decoding it (0.3 µs), or OTHER.

    An envelope begins with its id, a UUID as a rule, or a client's text; then it says its type. Inside a
    JSON string every quote has a backslash before it, so what is looked for can't stand in a client's text.
    """
    if payload[:7] == _STRING_ID and payload[_UUID_END] == _TYPE_AFTER_STRING:
        return payload[_UUID_END.stop : payload.find(b'"', _UUID_END.stop)]
    if payload[: len(_NOTIFICATION)] == _NOTIFICATION:  # of a subscription: it has no id
        return _NOTIFICATION[9:21]
    if payload[:6] != _ID or payload[6:7] in _NESTED:
        return _OTHER
    start = payload.find(b',"type":"', 6, 600)
    if start < 0:
        return _OTHER
    return payload[start + 9 : payload.find(b'"', start + 9)]


def close_label(code: int) -> str:
    """A close code as a label: a client may choose from thousands."""
    return str(int(code)) if code in _CLOSE_CODES else OTHER
