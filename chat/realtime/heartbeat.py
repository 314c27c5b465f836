"""Who lives, how far away, and who takes too long: decided once a second for every connection.

Protocol pings (RFC 6455 section 5.5.2) are for our own server and need nothing of the client. Application
pings are envelopes, for clients that want to see them; they work on any ASGI server.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from . import config, envelope
from .connection import Connection, State
from .frames import Frame
from .hub import Hub
from .runtime import on_hub

GRACE = 1.0  # seconds that a ping gets to be answered, however long the peer was silent before


class Step(Enum):
    """What a silent peer has coming."""

    NOTHING = 0
    PING = 1
    GONE = 2


def decide(now: float, seen: float, asked: float, interval: float, timeout: float) -> Step:
    """``seen``: when the last sign of life came; ``asked``: when the last ping was sent; in seconds, as all.

    A peer is pinged each ``interval``, busy ones too: that is how the way there and back is measured. It is
    gone after ``timeout`` of silence, but never unasked: if it is we who stood still, it had nothing to
    answer.
    """
    unanswered = asked > seen
    if unanswered and now - seen >= timeout and now - asked >= min(GRACE, timeout / 4):
        return Step.GONE
    if now - asked >= interval and not unanswered:
        return Step.PING
    return Step.NOTHING


class ApplicationPings:
    """Sends ``ping`` envelopes to the connections of one hub whose consumers have ``application_pings``.

    Those of one second are a share of all, so that 10,000 clients are not asked in one moment.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def sweep(self, now: float) -> None:
        interval = config.current().app_ping_interval
        if not interval:
            return
        share = 1 + int(2 * len(self.hub.connections) / max(interval, 1.0))
        for connection in self.hub.connections.values():
            if connection.state is not State.OPEN or not getattr(
                connection.consumer, "application_pings", False
            ):
                continue
            if connection.asked is not None and now - connection.asked[1] < interval:
                continue
            ident, data = envelope.encode("ping", {}, room=connection.room)
            connection.asked = (ident, now)
            connection.push(Frame(data))
            share -= 1
            if not share:
                return


def answered(connection: Connection, ident: Any) -> None:
    """A client sent ``pong``: with the id of the last ``ping`` it tells how far away the client is."""
    asked = connection.asked
    if asked is not None and ident == asked[0]:
        now = connection.hub.loop.time()
        connection.rtt = now - asked[1]
        connection.asked = (None, asked[1])


def _attach(hub: Hub) -> None:
    hub.sweepers.append(ApplicationPings(hub).sweep)


on_hub.append(_attach)
