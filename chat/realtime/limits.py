"""Who may open how many connections, and how fast: docs/limits.md.

Counts that hold across workers are places in the census, all asked for in one question; what one worker can
decide alone it decides alone, before anything else is looked at.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from . import config
from .census import Arrival, Place, census_of
from .connection import Connection
from .errors import Refused, ServerFull, TooManyConnections
from .groups import user_group
from .hub import Hub
from .ratelimit import Rate, Table
from .runtime import on_hub

CONNECT_BURST = 10  # seconds' worth of handshakes that one address may begin at once
AGAIN = 10  # seconds after which a client that was one too many may try again
OTHER_WORKER = 2  # the same where another worker may take it
EVERYBODY = "realtime.everybody"  # the count of all connections


def places(address: str | None, user_id: object | None) -> list[Place]:
    """The counts that a connection takes part in on all workers: those with a limit in force."""
    limits = config.current()
    found = []
    if limits.max_connections:
        found.append(Place(EVERYBODY, limits.max_connections, _server_full))
    if limits.max_connections_per_address and address:
        found.append(Place(address_count(address), limits.max_connections_per_address, _too_many))
    if user_id is not None:
        found += places_of_user(user_id)
    return found


def places_of_user(user_id: object) -> list[Place]:
    """What a connection is counted in because it is a user's."""
    limit = config.current().max_connections_per_user
    return [Place(user_group(str(user_id)), limit, _too_many)] if limit else []


def check_worker(hub: Hub) -> None:
    """Raise ServerFull where this worker has as many connections as it may have."""
    limit = config.current().max_connections_per_worker
    if limit and len(hub.connections) >= limit:
        raise ServerFull("This worker has as many connections as it takes.", retry_after=OTHER_WORKER)


def check_connect_rate(hub: Hub, address: str | None) -> None:
    """Count one handshake of an address on this worker; raises TooManyConnections where they come too fast.

    It comes before all else: most of a flood is refused without a question to Redis. Exact over all workers
    is ``arrival``, which those that get further are asked about.
    """
    counted = arrival(address)
    if counted is None:
        return
    wait = _tables[hub].spend(counted.name, counted.rate, hub.loop.time())
    if wait:
        raise _too_fast(wait)


def arrival(address: str | None) -> Arrival | None:
    """A handshake of the address as all workers count it; None without a limit."""
    rate = config.current().connect_rate
    if not rate or not address:
        return None
    return Arrival(address_count(address), _connect_rate(rate), _too_fast)


@lru_cache(maxsize=4)
def _connect_rate(rate: int) -> Rate:
    return Rate(rate, rate * CONNECT_BURST)


@lru_cache(maxsize=4096)
def address_count(address: str) -> str:
    """The name of an address's count: a hash. Of an IPv6 address its network of 64 bits counts: that is what
    one customer is given, with 2^64 addresses to choose from."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        pass  # a proxy's word for it
    else:
        if isinstance(found, ipaddress.IPv6Address):
            mapped = found.ipv4_mapped
            found = mapped or ipaddress.IPv6Address(int(found) >> 64 << 64)
        address = str(found)
    return "realtime.address." + blake2b(address.encode(), digest_size=20).hexdigest()


# --- a limit that was not there before --------------------------------------------------------------------


def adopt(hub: Hub) -> None:
    """Count the open connections for limits that were not in force when they came."""
    missing = [name for connection in hub.connections.values() for name in _adopted(connection)]
    if missing:
        census = census_of(hub)
        census.adopt(missing)
        census.write()


def _adopted(connection: Connection) -> Iterable[str]:
    held = getattr(connection.consumer, "counted_in", None)
    if held is None:
        return ()  # its handshake is under way
    wanted = places(connection.address, connection.user and connection.user["id"])
    names = [place.name for place in wanted if place.name not in held]
    connection.consumer.counted_in = (*held, *names)
    return names


def _changed(new: config.Config) -> None:
    global _counting
    before, _counting = _counting, _counts(new)
    if any(now and not was for was, now in zip(before, _counting, strict=True)):
        for hub in list(_tables):
            if not hub.loop.is_closed():
                hub.loop.call_soon_threadsafe(adopt, hub)


def _counts(limits: config.Config) -> tuple[bool, ...]:
    """Which connections are counted on all workers."""
    return (
        bool(limits.max_connections),
        bool(limits.max_connections_per_address),
        bool(limits.max_connections_per_user),
    )


def _attach(hub: Hub) -> None:
    for old in [known for known in _tables if known.loop.is_closed()]:
        del _tables[old]
    _tables[hub] = Table()


_counting = _counts(config.current())
_tables: dict[Hub, Table] = {}  # how fast each address came of late
config.on_change(_changed)
on_hub.append(_attach)


def _too_fast(wait: float) -> Refused:
    return TooManyConnections("Connections from your address come too fast.", retry_after=math.ceil(wait))


def _too_many() -> Refused:
    return TooManyConnections(retry_after=AGAIN)


def _server_full() -> Refused:
    return ServerFull(retry_after=AGAIN)
