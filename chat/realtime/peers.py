"""Which other workers live: each says so every two seconds, to all and so to itself.

A worker that is killed takes no leave. The others notice that it has gone silent, and what it left behind in
their books can go. A worker that does not hear itself, although Redis has taken what it said, is deaf: it
judges nobody, is not ready, says so, and subscribes anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from . import control, log
from .groups import WORKERS
from .hub import CONTROL, Hub
from .runtime import on_hub

logger = logging.getLogger("chat.realtime.peers")

SAY_EVERY = 2.0  # seconds
DEAF_AFTER = 2.0  # seconds after saying something that Redis took
GONE_AFTER = 6.0  # seconds of silence

Lost = Callable[[Hub, str], None]

on_lost: list[Lost] = []  # called with (hub, worker id)
_peers: dict[Hub, Peers] = {}


class Peers:
    """One worker's view of the others."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.heard: dict[str, float] = {}  # worker → loop time
        self._said = 0.0
        self._unheard: float | None = None  # when it first said what Redis took and it has not heard
        self._ticked = hub.loop.time()
        hub.sweepers.append(self.tick)

    def beat(self, worker: str, now: float) -> None:
        """A worker said that it lives."""
        if worker == self.hub.worker:
            self._unheard = None
            if self.hub.deaf:
                self.hub.deaf = False
                log.event(logger, logging.INFO, "worker_hears", worker=worker)
        if worker == self.hub.worker and now - self.heard.get(worker, now) > GONE_AFTER / 2:
            # We were deaf: nobody could be heard, so everybody begins anew.
            self.heard = dict.fromkeys(self.heard, now)
        self.heard[worker] = now

    def tick(self, now: float) -> None:
        """Once a second: speak, and look who has not spoken."""
        if now - self._said >= SAY_EVERY:
            self._said = now
            beat = {
                "type": CONTROL,
                "ask": "beat",
                "args": {"worker": self.hub.worker},
                "reply_to": "",
                "ref": "",
            }
            self.hub.layer.publish(WORKERS, beat, lambda result: self._taken(now, result))
        self._look_for_deafness(now)
        if now - self.heard.get(self.hub.worker, float("-inf")) > GONE_AFTER / 2:
            return
        for worker, heard in list(self.heard.items()):
            if now - heard > GONE_AFTER:
                del self.heard[worker]
                for listener in on_lost:
                    listener(self.hub, worker)

    def _taken(self, said: float, result: Any) -> None:
        """Redis answered to a beat."""
        heard = self.heard.get(self.hub.worker, float("-inf"))
        if not isinstance(result, Exception) and heard < said and self._unheard is None:
            self._unheard = said

    def _look_for_deafness(self, now: float) -> None:
        """Subscribe anew when what Redis took did not come back; again as long as it does not."""
        stood_still, self._ticked = now - self._ticked > DEAF_AFTER, now
        if stood_still:  # what it has heard meanwhile is still to be read
            self._unheard = None
        if self._unheard is None or now - self._unheard <= DEAF_AFTER:
            return
        self._unheard = None
        self.hub.deaf = True
        self.hub.counters.deaf += 1
        log.event(logger, logging.ERROR, "worker_deaf", worker=self.hub.worker)
        self.hub.layer.resubscribe()


def heard_of(hub: Hub, worker: str) -> None:
    """Something came from a worker: it is missed from now on, even if it dies before its first beat."""
    _peers[hub].heard.setdefault(worker, hub.loop.time())


@control.command("beat")
def _beat(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    _peers[hub].beat(args["worker"], hub.loop.time())
    return {}


def _attach(hub: Hub) -> None:
    for old in [known for known in _peers if known.loop.is_closed()]:
        del _peers[old]
    _peers[hub] = Peers(hub)


on_hub.append(_attach)
