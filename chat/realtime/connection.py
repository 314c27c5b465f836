"""One socket's state, its bounded send buffer, and the only road to its transport.

Everything that leaves for a client goes through ``push`` (broadcasts: never waits) or ``send``
(replies to that client: waits for room), so the order on the socket is total. The transport below
is our server's protocol (``protocol.py``) or any ASGI server's ``send`` (``transports.py``).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol

from . import config, journal
from .codes import REASONS, CloseCode
from .counters import add, close_label
from .frames import Frame
from .metadata import NOTHING, checked
from .state import State, moved

__all__ = ["Connection", "State", "Transport"]

# After this long without any byte taken, a close frame behind a full buffer is given up. Seconds.
CLOSE_TIMEOUT = 1.0


class Transport(Protocol):
    """What a connection needs of the socket below it."""

    limits_messages: bool  # whether it refuses a message above ``max_message_bytes`` itself
    ready: bool  # takes another frame now; when it becomes True, ``connection.resume()`` is called

    def attach(self, connection: Connection) -> None: ...
    def write_frame(self, frame: Frame) -> None: ...
    def write_frames(self, frames: list[Frame]) -> None: ...
    def write_rest(self, data: bytes) -> None: ...
    def close_now(self, code: int, reason: str, give_up_after: float | None = None) -> None: ...


class Connection:
    """A client's socket, as the hub knows it. Made when the handshake is allowed."""

    __slots__ = (
        "_backlog",
        "_metadata",
        "_waiters",
        "address",
        "asked",
        "busy_since",
        "bytes_in",
        "claims",
        "clear",
        "close_code",
        "connected_at",
        "consumer",
        "dropped",
        "expires_at",
        "groups",
        "hub",
        "id",
        "last_activity",
        "messages_in",
        "own_bytes_out",
        "own_messages_out",
        "room",
        "rooms",
        "rtt",
        "send_bytes",
        "state",
        "transport",
        "user",
        "user_agent",
        "window",
    )

    def __init__(self, ident: str, hub: Any, transport: Transport) -> None:
        self.id = ident
        self.hub = hub
        self.transport = transport
        self.state = State.CONNECTING
        # While ``clear``, the socket is open, and nothing waits for it to take more: who has a frame's bytes
        # may give them to ``send_bytes``, the socket's own send, and what it leaves to the transport's
        # ``write_rest``. None where there is no plain socket below. Its groups know of each change.
        self.clear = False
        self.send_bytes: Callable[[bytes], int] | None = None
        # The largest window that a compressed frame for it may need (``Frame.window``); 0: it takes none.
        self.window = 0
        self.consumer: Any = None
        self.rtt: float | None = None  # seconds to the client and back, by the last ping that it answered
        self.asked: tuple[str | None, float] | None = None  # the last application ping: its id, its time
        self.user: dict[str, Any] | None = None  # {"id", "username"} or None
        self.claims: dict[str, Any] | None = None  # what the user's token says beside; None without one
        self.expires_at: float | None = None  # when that token ends, seconds since the epoch
        self.room: str | None = None  # its endpoint's own, while it is in there
        self.rooms: dict[str, None] | None = None  # those that it joined besides; most join none
        self.groups: list[str] = []  # kept by the hub
        self._metadata: dict[str, Any] | None = None
        self.address: str | None = None
        self.user_agent = ""
        self.connected_at = self.last_activity = time.time()
        self.messages_in = self.bytes_in = self.dropped = 0
        self.own_messages_out = self.own_bytes_out = 0  # while ``clear``, its groups add theirs
        self.busy_since: float | None = None  # loop time at which the running handler began
        self.close_code: int | None = None
        self._backlog: deque[Frame] | None = None  # made when the transport first says "not now"
        self._waiters: list[asyncio.Future[None]] | None = None

    # --- outgoing ---------------------------------------------------------------------------------

    def push(self, frame: Frame) -> bool:
        """Queue one frame and return at once; False when the connection's policy dropped it."""
        taken = self.take(frame)
        if taken:
            self.hub.counters.gave(frame.payload, 1)
        return taken

    def take(self, frame: Frame) -> bool:
        """``push`` for a frame of many receivers, which the hub counts."""
        if self.state is not State.OPEN:
            return False
        if self.clear:
            self.write_now(frame.wire_for(self.window))
        elif self._backlog is None and self.transport.ready:
            self.transport.write_frame(frame)
        elif not self._queue(frame):
            return False
        self.count(1, len(frame.payload))
        return True

    def push_all(self, frames: list[Frame]) -> tuple[int, int]:
        """``take`` for several frames: one write where the socket is free. Returns how many were taken, and
        their bytes of payload."""
        if len(frames) > 1 and self.state is State.OPEN and self._backlog is None and self.transport.ready:
            size = sum([len(frame.payload) for frame in frames])
            if self.clear:
                window = self.window
                self.write_now(b"".join([frame.wire_for(window) for frame in frames]))
            else:
                self.transport.write_frames(frames)
            self.count(len(frames), size)
            return len(frames), size
        taken = [len(frame.payload) for frame in frames if self.take(frame)]
        return len(taken), sum(taken)

    def write_now(self, data: bytes) -> None:
        """Bytes straight to the socket; only while ``clear``, and the caller counts."""
        try:
            taken = self.send_bytes(data)  # type: ignore[misc]  # it is there while ``clear``
        except OSError:
            taken = 0  # full, or broken: then the reactor meets the error in its turn
        if taken != len(data):
            self.transport.write_rest(data[taken:])

    async def send(self, frame: Frame) -> None:
        """Queue a reply; while the buffer is full, wait for this client to read (only its own handler
        waits). Returns silently when the connection closes meanwhile."""
        while self.full:
            await self._next_wake()
        self.push(frame)

    async def writable(self) -> None:
        """Wait until nothing waits for this client to read, or the connection is not open any more."""
        while self.state is State.OPEN and (self._backlog is not None or not self.transport.ready):
            await self._next_wake()

    async def _next_wake(self) -> None:
        if self._waiters is None:
            self._waiters = []
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def resume(self) -> None:
        """The transport takes frames again: hand over what waits, oldest first."""
        backlog = self._backlog
        if backlog is not None:
            while backlog and self.transport.ready:
                self.transport.write_frame(backlog.popleft())
            if not backlog:
                self._backlog = None
        self._look()
        self._wake()

    def pause(self) -> None:
        """The transport takes no more for now."""
        self._turn(False)

    @property
    def queue_depth(self) -> int:
        """Messages that wait for this client to read."""
        return 0 if self._backlog is None else len(self._backlog)

    def _look(self) -> None:
        self._turn(
            self.send_bytes is not None
            and self.state is State.OPEN
            and self._backlog is None
            and self.transport.ready
        )

    def _turn(self, clear: bool) -> None:
        if clear is not self.clear:
            self.clear = clear
            for group in self.groups:
                self.hub.groups[group].turned(self)

    def _queue(self, frame: Frame) -> bool:
        backlog = self._backlog
        if backlog is None:
            backlog = self._backlog = deque()
        settings = config.current()
        if len(backlog) < settings.send_buffer:
            backlog.append(frame)
            return True
        self.dropped += 1
        self.hub.counters.dropped += 1
        add(self.hub.counters.drops, settings.slow_consumer_policy)
        if settings.slow_consumer_policy == "drop_oldest":
            backlog.popleft()
            backlog.append(frame)
            return True
        if settings.slow_consumer_policy == "close":
            self.hub.counters.slow_closed += 1
            self.close(CloseCode.SLOW_CONSUMER)
        return False

    @property
    def full(self) -> bool:
        """Whether a reply has to wait for this client to read."""
        return (
            self.state is State.OPEN
            and self._backlog is not None
            and len(self._backlog) >= config.current().send_buffer
        )

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    # --- life -------------------------------------------------------------------------------------

    def opened(self) -> None:
        """The handshake was answered. Raises IllegalMove."""
        self.state = moved(self.state, State.OPEN)
        self._look()
        if self.close_code is not None:  # somebody closed it while the answer was under way
            self.close(self.close_code)

    def close(self, code: int = CloseCode.NORMAL, reason: str | None = None) -> None:
        """Send what waits, then a close frame. Waiting frames are given up where the code says that the
        client can't read them (slow consumer, no heartbeat). One that is closing or closed stays as it is."""
        if self.state is State.CONNECTING:
            self.close_code = code  # the handshake is refused when it comes to its end
        if self.state is not State.OPEN:
            return
        self.state = moved(self.state, State.CLOSING)
        self._turn(False)
        self.close_code = code
        lost = code in (CloseCode.SLOW_CONSUMER, CloseCode.HEARTBEAT_MISSED)
        if not lost and self._backlog:
            self.transport.write_frames(list(self._backlog))
        self._backlog = None
        self._wake()
        journal.ending(self, code)
        text = REASONS.get(code, "") if reason is None else reason
        self.transport.close_now(code, text, CLOSE_TIMEOUT if lost else None)

    def closed(self, code: int) -> None:
        """The socket is gone. Raises IllegalMove when it was before."""
        before, self.state = self.state, moved(self.state, State.CLOSED)
        if self.close_code is None:
            self.close_code = code
        if before is not State.CONNECTING:
            add(self.hub.counters.closes, close_label(self.close_code))
        self._turn(False)
        self._backlog = None
        self._wake()

    def abandon(self) -> None:
        """The transport is gone; the server is about to tell the consumer. Nobody waits for it any more."""
        if self.state is State.OPEN:
            self.state = moved(self.state, State.CLOSING)
        self._turn(False)
        self._backlog = None
        self._wake()

    # --- rooms ------------------------------------------------------------------------------------

    def in_room(self, room: str) -> bool:
        return room == self.room or (self.rooms is not None and room in self.rooms)

    def all_rooms(self) -> list[str]:
        """The endpoint's own room first, then the others in the order in which they were joined."""
        own = [] if self.room is None else [self.room]
        return own if self.rooms is None else [*own, *self.rooms]

    def add_room(self, room: str) -> None:
        """Note a room that was joined; whoever calls this makes it a member of the group."""
        if self.rooms is None:
            self.rooms = {}
        self.rooms[room] = None

    def discard_room(self, room: str) -> None:
        if room == self.room:
            self.room = None
        elif self.rooms is not None:
            self.rooms.pop(room, None)
            if not self.rooms:
                self.rooms = None

    # --- metadata ---------------------------------------------------------------------------------

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the application noted: to read; ``set`` and ``unset`` change it, or an assignment of all."""
        return NOTHING if self._metadata is None else MappingProxyType(self._metadata)

    @metadata.setter
    def metadata(self, values: Mapping[str, Any] | None) -> None:
        self._metadata = checked(values or NOTHING)

    def get(self, key: str, default: Any = None) -> Any:
        return default if self._metadata is None else self._metadata.get(key, default)

    def set(self, **values: Any) -> None:
        """Note some values beside the others. Raises InvalidMetadata, and then nothing has changed."""
        self._metadata = checked({**self.metadata, **values})

    def unset(self, *keys: str) -> None:
        self._metadata = checked({key: value for key, value in self.metadata.items() if key not in keys})

    # --- counting ---------------------------------------------------------------------------------

    @property
    def messages_out(self) -> int:
        """Messages for the client that were handed on or wait here."""
        if not self.clear:
            return self.own_messages_out
        groups = self.hub.groups
        return self.own_messages_out + sum([groups[name].messages for name in self.groups])

    @property
    def bytes_out(self) -> int:
        """Their payload."""
        if not self.clear:
            return self.own_bytes_out
        groups = self.hub.groups
        return self.own_bytes_out + sum([groups[name].bytes for name in self.groups])

    def count(self, messages: int, size: int) -> None:
        """Count messages for the client, with ``size`` bytes of payload in all."""
        self.own_messages_out += messages
        self.own_bytes_out += size

    def received(self, size: int) -> None:
        """Count one message of ``size`` bytes from the client."""
        self.messages_in += 1
        self.bytes_in += size
        self.last_activity = time.time()
        self.hub.counters.messages_in += 1

    def describe(self) -> dict[str, Any]:
        """Its state and metadata, as operators see them."""
        return {
            "id": self.id,
            "worker": self.hub.worker,
            "room": self.room,
            "rooms": self.all_rooms(),
            "user": self.user,
            "name": self.get("name"),
            "metadata": dict(self.metadata),
            "address": self.address,
            "user_agent": self.user_agent,
            "connected_at": _iso(self.connected_at),
            "last_activity": _iso(self.last_activity),
            "queue_depth": self.queue_depth,
            "rtt": None if self.rtt is None else round(self.rtt, 4),
            "messages_in": self.messages_in,
            "messages_out": self.messages_out,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "dropped": self.dropped,
            "state": self.state.name.lower(),
        }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
