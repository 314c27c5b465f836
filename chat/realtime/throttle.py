"""``RateLimit``: a middleware that bounds how fast one connection may send to one consumer."""

from __future__ import annotations

from typing import Any

from . import allowance
from .codes import CloseCode
from .errors import Disconnect, RateLimited
from .ratelimit import Rate


class RateLimit:
    """``middleware = [RateLimit("10/s", burst=30)]``: messages of one connection, beside the limits in force.

    What is beyond is answered with ``error`` ``rate_limited`` and ``retry_after``; of a client that goes on
    all the same the connection is closed with 4429, as for the settings' limits. ``rate`` is like ``10/s``,
    ``100/min`` or ``500/hour``; ``burst``, so many at once, is its number unless given. Only messages that
    could be read are counted: others never come to a middleware. Raises ValueError.
    """

    def __init__(self, rate: str | Rate, burst: int | None = None) -> None:
        self.rate = rate if isinstance(rate, Rate) else Rate.parse(rate, burst)

    def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        now = consumer.hub.loop.time()
        meter = consumer.storage.get(self)
        if meter is None:
            meter = consumer.storage[self] = allowance.Meter()
        wait = meter.spend(self.rate, now)
        if not wait:
            return next(message)
        consumer.hub.counters.rate_limited += 1
        if meter.refuse(now) > allowance.MOST_REFUSED:
            raise Disconnect(CloseCode.RATE_EXCEEDED)
        raise RateLimited(retry_after=allowance.told(wait))
