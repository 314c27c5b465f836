"""The one settings object of the realtime layer: heartbeat, limits, policies, deadlines.

An application replaces it while the server runs (``apply``); every worker reads ``current()``
at the moment of use, so a change takes effect without a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

Policy = Literal["close", "drop_oldest", "drop_newest"]

# The largest message that the wire contract knows, in bytes (docs/protocol.md, "Limits").
LARGEST_MESSAGE = 65_536


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes in bytes or messages, times in seconds."""

    max_message_bytes: int = LARGEST_MESSAGE
    send_buffer: int = 256  # messages that wait for one slow connection
    slow_consumer_policy: Policy = "close"
    heartbeat_interval: float = 25.0  # silence after which a peer is pinged
    heartbeat_timeout: float = 60.0  # silence after which a peer is gone
    handler_timeout: float = 30.0  # how long one handler may work on one message
    handshake_timeout: float = 15.0  # from the first byte to the answered upgrade
    redis_timeout: float = 3.0  # how long a Redis call may take
    query_timeout: float = 5.0  # how long a database question may hold up a handshake
    read_timeout: float = 60.0  # how long a message, or a piece of a large one, may take to come in
    write_timeout: float = 60.0  # how long a client may take nothing of what was written to it
    socket_send_buffer: int = 0  # bytes of the system's buffer for what is sent; 0: as the system sees fit
    socket_receive_buffer: int = 0  # the same for what is received
    app_ping_interval: float = 0.0  # between two application pings to a client that answers them; 0: none
    compression: bool = True  # whether permessage-deflate is agreed on with clients that offer it
    compression_threshold: int = 512  # bytes below which a message is sent as it is
    compression_level: int = 1  # zlib's: 1 is the fastest, 9 the smallest
    compression_window: int = 0  # 2 ** n bytes (9 to 15) of what a client sent stay to refer to; 0: none

    # Limits; 0: none. docs/limits.md tells what each means, and what a client sees beyond it.
    max_connections: int = 0  # on all workers
    max_connections_per_worker: int = 0
    max_connections_per_address: int = 0  # on all workers
    max_connections_per_user: int = 0  # on all workers
    connect_rate: int = 0  # handshakes a second of one address, on all workers
    max_rooms: int = 0  # of one connection, its endpoint's own among them
    message_rate: int = 0  # messages a second of one connection
    message_burst: int = 100  # messages at once
    user_message_rate: int = 0  # messages a second of one user, on all workers
    user_message_burst: int = 200  # messages at once
    bytes_rate: int = 0  # bytes of messages a second of one connection


_current = Config()
_pinned: dict[str, Any] = {}
_listeners: list[Callable[[Config], None]] = []


def current() -> Config:
    """The settings in force."""
    return _current


def apply(**changes: Any) -> Config:
    """Replace some settings from now on, in this process, but for pinned ones. Raises TypeError for an
    unknown name."""
    global _current
    _current = replace(_current, **{**changes, **_pinned})
    for listener in _listeners:
        listener(_current)
    return _current


def pin(**changes: Any) -> Config:
    """Fix some settings for this process: what the command line says goes before what is applied later."""
    _pinned.update(changes)
    return apply()


def on_change(listener: Callable[[Config], None]) -> None:
    """Call ``listener(config)`` after every change, on the thread that made it."""
    _listeners.append(listener)
