"""How much one client may send: messages and bytes a second, docs/limits.md.

What a connection sends is decided by its worker alone, from two numbers and the time (0.4 µs). What a user
sends is counted in Redis, over all connections and workers: one question a message, asked only where that
limit is set, on the connection that publishes.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from . import config
from .groups import user_group
from .hub import Hub
from .layers import LoopLayer
from .ratelimit import Rate, Table
from .redis_link import settle
from .redis_publisher import script
from .runtime import on_hub

BYTES_BURST = 10  # seconds' worth of bytes at once; at least one message of the largest size
# Of a connection, so many messages are refused in a window with an answer each; one more, and it is closed.
MOST_REFUSED = 100
WINDOW = 10.0  # seconds, from the first that was refused
NO_LIMIT = (0.0, math.inf)  # the cost and depth of a rate that lets everything through

# KEYS: a user's state. ARGV: microseconds that one message takes to come back, and that a whole burst takes.
# Returns 0, or the microseconds to wait: `Rate.spend` with Redis' clock and memory.
_SPEND = script("""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = tonumber(redis.call('GET', KEYS[1]) or 0)
local after = math.max(state, now) + ARGV[1]
local late = after - now - ARGV[2]
if late > 0 then return math.ceil(late) end
redis.call('SET', KEYS[1], string.format('%.2f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return 0
""")


class Meter:
    """How fast messages came of late, and how many were refused."""

    __slots__ = ("_messages", "_refused", "_since")

    def __init__(self) -> None:
        self._messages = self._since = 0.0
        self._refused = 0

    def spend(self, rate: Rate, now: float) -> float:
        """A message came: 0 where it is within the rate, else the seconds to wait; then it does not count."""
        state = rate.spend(self._messages, now)
        if state < 0:
            return -state
        self._messages = state
        return 0.0

    def refuse(self, now: float) -> int:
        """Count one message that is refused; returns the how manieth it is in its window."""
        if now - self._since > WINDOW:
            self._since, self._refused = now, 0
        self._refused += 1
        return self._refused


class Allowance(Meter):
    """What one connection may still send by the settings' limits."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0.0

    def take(self, size: int, now: float) -> float:
        """A message of ``size`` bytes came: 0 where it is within the limits, else the seconds to wait; then
        it counts for neither of them."""
        cost, depth, byte_cost, byte_depth = _limits
        messages = (self._messages if self._messages > now else now) + cost  # noqa: FURB136 (as `Rate.spend`)
        late = messages - now - depth
        if late > 0:
            return late
        data = (self._bytes if self._bytes > now else now) + size * byte_cost  # noqa: FURB136
        late = data - now - byte_depth
        if late > 0:
            return late
        self._messages, self._bytes = messages, data
        return 0.0

    def owe(self, size: int, now: float) -> None:
        """Bytes came that can't be refused any more: those after them wait the longer."""
        self._bytes = max(self._bytes, now) + size * _limits[2]


def in_force() -> bool:
    """Whether there is a limit for a connection's messages or bytes."""
    return _limits[0] > 0 or _limits[2] > 0


def told(wait: float) -> float:
    """Seconds as a client is told them: whole milliseconds, never too few (and floats lose a little)."""
    return math.ceil(wait * 1000 + 0.01) / 1000


async def spend_of_user(hub: Hub, user_id: Any) -> float:
    """Count a message of a user on all connections and workers: 0, or the seconds to wait.

    While Redis can't say, nobody is held up: what is published is refused then anyway.
    """
    rate = _user_rate
    if rate is None:
        return 0.0
    name = user_group(str(user_id))
    layer = hub.layer
    if not isinstance(layer, LoopLayer):
        return _users[hub].spend(name, rate, hub.loop.time())
    link = layer.link_of(name)
    if not link.up:
        return 0.0
    answer: asyncio.Future[int] = hub.loop.create_future()
    cost = 1_000_000 / rate.per_second
    link.command(
        "EVALSHA",
        _SPEND,
        1,
        f"{layer.prefix}:rate:{name}",
        cost,
        (rate.burst + 0.01) * cost,
        done=lambda result: settle(answer, result),
    )
    try:
        return await answer / 1_000_000
    except (OSError, TimeoutError):
        return 0.0


def user_limit() -> bool:
    """Whether there is a limit for a user's messages."""
    return _user_rate is not None


def _changed(new: config.Config) -> None:
    global _limits, _user_rate
    messages = data = NO_LIMIT
    if new.message_rate:
        rate = Rate(new.message_rate, max(new.message_burst, 1))
        messages = (rate.cost, rate.depth)
    if new.bytes_rate:
        rate = Rate(new.bytes_rate, max(new.bytes_rate * BYTES_BURST, new.max_message_bytes))
        data = (rate.cost, rate.depth)
    _limits = (*messages, *data)
    _user_rate = None
    if new.user_message_rate:
        _user_rate = Rate(new.user_message_rate, max(new.user_message_burst, 1))


def _attach(hub: Hub) -> None:
    for old in [known for known in _users if known.loop.is_closed()]:
        del _users[old]
    _users[hub] = Table()


_limits = (*NO_LIMIT, *NO_LIMIT)  # cost and depth, of messages and of bytes
_user_rate: Rate | None = None
_users: dict[Hub, Table] = {}  # how fast each user sends, where there is no Redis
_changed(config.current())
config.on_change(_changed)
on_hub.append(_attach)
