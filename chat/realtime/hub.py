"""The heart: one hub per process (and event loop) gives each message to its local members.

A group is subscribed once per process, a message is received once, framed once, and the same bytes
go to every member. The hub knows groups and connections; it knows no room, no user, no Redis.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from . import config, log
from .compression import NEVER
from .connection import Connection, Transport
from .counters import Counters
from .frames import Frame
from .group import Group, give_each
from .work import Work

logger = logging.getLogger("chat.realtime")

# Every connection's messages come through these two kinds of layer message; all others are events
# for consumers, as in Channels.
FRAME = "realtime.frame"
CONTROL = "realtime.control"

RATE_WINDOW = 10  # seconds


class Hub:
    """Groups and connections of one event loop. ``layer`` carries messages between hubs."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.loop = asyncio.get_running_loop()
        # The id starts each connection id, so that a message for one connection finds its worker.
        self.worker = secrets.token_hex(4)
        self.pid = os.getpid()
        self.started_at = time.time()
        self.counters = Counters()
        self.connections: dict[str, Connection] = {}
        self.groups: dict[str, Group] = {}
        self.works: dict[Work, None] = {}  # what runs beside connections' inboxes
        self.listening: set[str] = set()  # groups that it hears as a worker
        self.draining = False
        self.deaf = False  # it does not hear through the layer what it says itself (peers.py)
        self.on_control: Callable[[Hub, dict[str, Any]], None] | None = None
        self.sweepers: list[Callable[[float], None]] = []  # called once a second with the loop's time
        self.on_note: list[Callable[[Hub, dict[str, Any]], None]] = []
        self._subscribing: dict[str, asyncio.Future[None]] = {}
        self._history: deque[tuple[float, int, int]] = deque(maxlen=RATE_WINDOW + 1)
        self._tick()

    # --- connections and groups -------------------------------------------------------------------

    def register(self, transport: Transport) -> Connection:
        """A new connection, not open yet."""
        connection = Connection(self.worker + secrets.token_hex(12), self, transport)
        self.connections[connection.id] = connection
        transport.attach(connection)
        return connection

    def unregister(self, connection: Connection) -> None:
        """Forget a connection and leave its groups."""
        if self.connections.pop(connection.id, None) is not None:
            self.counters.bytes_in += connection.bytes_in
        for group in list(connection.groups):
            self.leave(group, connection)

    def listen(self, group: str) -> asyncio.Future[None]:
        """Receive a group's messages as a worker, without a member."""
        self.listening.add(group)
        answer: asyncio.Future[None] = self.layer.subscribe(group)
        return answer

    def unlisten(self, group: str) -> None:
        """End ``listen``."""
        self.listening.discard(group)
        if group not in self.groups:
            self.layer.unsubscribe(group)

    async def join(self, group: str, connection: Connection) -> None:
        """Make a connection a member; returns when messages to the group reach it from now on.

        Raises LayerUnavailable when the layer does not confirm the subscription in time.
        """
        members = self.groups.get(group)
        if members is None:
            members = self.groups[group] = Group()
            answer = self._subscribing[group] = self.layer.subscribe(group)
            answer.add_done_callback(lambda done: self._subscribed(group, done))
        if connection not in members:
            members.add(connection)
            connection.groups.append(group)
        waiting = self._subscribing.get(group)
        if waiting is None:
            return
        try:
            await asyncio.shield(waiting)
        except BaseException:
            self.leave(group, connection)
            raise

    def _subscribed(self, group: str, answer: asyncio.Future[None]) -> None:
        """An answer came; a later subscription of the same group may still wait for its own."""
        if self._subscribing.get(group) is answer:
            del self._subscribing[group]

    def leave(self, group: str, connection: Connection) -> None:
        """End a membership; the last member's leaving ends the process's subscription."""
        members = self.groups.get(group)
        if members is None or connection not in members:
            return
        members.remove(connection)
        connection.groups.remove(group)
        if not members:
            del self.groups[group]
            if group not in self.listening:
                self.layer.unsubscribe(group)

    # --- delivery ---------------------------------------------------------------------------------

    def deliver(self, batch: list[tuple[str, dict[str, Any]]]) -> None:
        """Give what one loop turn brought to the members, in order.

        Two messages or more for one connection become one write: a system call is 4 µs.
        """
        if len(batch) == 1:
            group, message = batch[0]
            if message.get("type") == FRAME:
                if "note" in message:
                    self._take_note(message)
                self.give(self.groups.get(group, ()), Frame(message["data"]), message.get("except"))
                if "at" in message:
                    self._timed(group, message["at"])
                return
        elif self._give_run(batch):
            return
        outbox: dict[Connection, list[Frame]] = {}
        stamped: list[tuple[str, float]] = []
        for group, message in batch:
            if message.get("type") == FRAME:
                frame = Frame(message["data"])
                if "note" in message:
                    self._take_note(message)
                if "at" in message:
                    stamped.append((group, message["at"]))
                without = message.get("except")
                members = self.groups.get(group)
                if members is None:
                    continue
                self.counters.sent_payload(frame.payload, len(members) - len(self._among(members, without)))
                for connection in members:
                    if without is None or connection.id not in without:
                        frames = outbox.get(connection)
                        if frames is None:
                            outbox[connection] = [frame]
                        else:
                            frames.append(frame)
            else:
                self._flush(outbox)
                try:
                    self._deliver_event(group, message)
                except Exception as error:  # noqa: BLE001 (one bad message must not take its batch with it)
                    log.failure(logger, "layer_event_failed", error)
        self._flush(outbox)
        for group, published in stamped:
            self._timed(group, published)

    def _timed(self, group: str, published: float) -> None:
        """A message that its publisher had stamped has reached this worker's sockets."""
        self.counters.delivery.observe(max(0.0, self.layer.now(group) - published))

    def _take_note(self, message: dict[str, Any]) -> None:
        """Its publisher put a note for the workers beside the frame for their clients."""
        for listener in self.on_note:
            listener(self, message)

    def give(self, members: Iterable[Connection], frame: Frame, without: list[str] | None = None) -> None:
        """One frame to many. Fastest for a group, which keeps the ways to its members' sockets."""
        if isinstance(members, Group) and frame.window == NEVER:
            sent, _ = members.give([frame], self._among(members, without))
        else:
            sent = give_each(members, frame, without or ())
        if sent:
            self.counters.gave(frame.payload, sent)

    def _among(self, members: Group, idents: list[str] | None) -> dict[Connection, None]:
        """Those members that a message leaves out."""
        found = [self.connections.get(ident) for ident in idents or ()]
        return {one: None for one in found if one is not None and one in members}

    def _give_run(self, batch: list[tuple[str, dict[str, Any]]]) -> bool:
        """Several plain frames for all of one group, joined once; False where they are anything else."""
        group = batch[0][0]
        for name, message in batch:
            if name != group or message.get("type") != FRAME or "except" in message or "note" in message:
                return False
        members = self.groups.get(group)
        frames = [Frame(message["data"]) for _, message in batch]
        if members is None or any(frame.window != NEVER for frame in frames):
            return False
        sent, size = members.give(frames)
        self.counters.messages_out += sent
        self.counters.bytes_out += size
        for frame in frames:
            self.counters.sent_payload(frame.payload, len(members))
        for _, message in batch:
            if "at" in message:
                self._timed(group, message["at"])
        return True

    def _flush(self, outbox: dict[Connection, list[Frame]]) -> None:
        for connection, frames in outbox.items():
            sent, size = connection.push_all(frames)
            self.counters.messages_out += sent
            self.counters.bytes_out += size
        outbox.clear()

    def _deliver_event(self, group: str, message: dict[str, Any]) -> None:
        """A control message for this worker, or a Channels event for the members' consumers."""
        if message["type"] == CONTROL:
            if self.on_control is not None:
                self.on_control(self, message)
            return
        for connection in list(self.groups.get(group, ())):
            if connection.consumer is not None:
                # Each its own, as in Channels: handlers change what they get.
                connection.consumer.take_event(deepcopy(message))

    def deliver_to_connection(self, ident: str, message: dict[str, Any]) -> bool:
        """Give a message to one local connection; False when it is not here."""
        connection = self.connections.get(ident)
        if connection is None:
            return False
        if message["type"] == FRAME:
            connection.push(Frame(message["data"]))
        elif connection.consumer is not None:
            connection.consumer.take_event(message)
        return True

    # --- once a second ----------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = self.loop.call_later(1.0, self._tick)
        now = self.loop.time()
        self._history.append((now, self.counters.messages_in, self.counters.messages_out))
        log.flush()
        limit = config.current().handler_timeout
        for connection in self.connections.values():
            if connection.busy_since is not None and now - connection.busy_since > limit:
                connection.consumer.overdue()
        for work in list(self.works):
            work.check(now, limit)
        for sweep in self.sweepers:
            try:
                sweep(now)
            except Exception as error:  # noqa: BLE001 (heartbeats, settings, deadlines hang on this clock)
                log.failure(logger, "sweep_failed", error)

    def rates(self) -> dict[str, float]:
        """Messages a second over the last ten seconds: ``{"in", "out"}``."""
        then, was_in, was_out = self._history[0]
        elapsed = self.loop.time() - then
        if elapsed < 0.5:
            return {"in": 0.0, "out": 0.0}
        return {
            "in": round((self.counters.messages_in - was_in) / elapsed, 1),
            "out": round((self.counters.messages_out - was_out) / elapsed, 1),
        }

    def stop(self) -> None:
        """End the hub's timer (its loop is closing)."""
        self._timer.cancel()
