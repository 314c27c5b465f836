"""A brake on guessing users' passwords: attempts are counted for all workers, in Django's cache (Redis)."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import redis
from django.core.cache import BaseCache, cache
from django.core.cache.backends.locmem import LocMemCache

from chat.realtime.errors import LayerUnavailable
from chat.realtime.handshake import forwarded_address
from chat.realtime.limits import address_count

WINDOW = 60  # seconds
PER_ADDRESS = 30  # attempts a window from one address, whatever becomes of them
PER_NAME_AND_ADDRESS = 10  # failures a window for one user name from one address
PER_NAME = 100  # the same from all addresses: so many that strangers hardly lock anybody out by the name

# The count of this process alone, for those who may sign in while Redis is away.
_here = LocMemCache("guessing", {"OPTIONS": {"MAX_ENTRIES": 10_000}})


def attempt(address: str, name: str, *, also_alone: bool = False) -> int | None:
    """Count an attempt, before the password is looked at. Returns after how many seconds to come back.

    While Redis is away each worker counts alone if ``also_alone``, or else it raises LayerUnavailable.
    """
    try:
        return _attempt(cache, address, name)
    except redis.exceptions.RedisError as error:
        if not also_alone:
            raise LayerUnavailable() from error
        return _attempt(_here, address, name)


def succeeded(address: str, name: str) -> None:
    """The last attempt was no failure, so it does not count against the name."""
    try:
        _give_back(cache, address, name)
    except redis.exceptions.RedisError:
        _give_back(_here, address, name)


def address_of_request(meta: Mapping[str, Any]) -> str:
    """The client's address, by a Django request's ``META``."""
    forwarded = [part.strip() for part in meta.get("HTTP_X_FORWARDED_FOR", "").split(",") if part]
    return forwarded_address(meta.get("REMOTE_ADDR"), forwarded) or ""


def _attempt(counts: BaseCache, address: str, name: str) -> int | None:
    """The widest comes last: what one address sends beyond its own limits uses up nothing of a name's."""
    limits = [(_address(address), PER_ADDRESS), *_limits_of_name(address, name)]
    return None if all(_count(counts, key) <= most for key, most in limits) else WINDOW


def _limits_of_name(address: str, name: str) -> list[tuple[str, int]]:
    return [
        (_key("both", f"{_address(address)}\0{name}"), PER_NAME_AND_ADDRESS),
        (_key("name", name), PER_NAME),
    ]


def _count(counts: BaseCache, key: str) -> int:
    """Atomic: of many at once each gets a number of its own."""
    counts.add(key, 0, WINDOW)
    try:
        count = int(counts.incr(key))
    except ValueError:  # it ended between the two
        counts.add(key, 1, WINDOW)
        return 1
    if count == 1:
        counts.touch(key, WINDOW)  # where it ended within `incr`, which then makes one without an end
    return count


def _give_back(counts: BaseCache, address: str, name: str) -> None:
    for key, _ in _limits_of_name(address, name):
        try:
            if int(counts.decr(key)) < 0:
                counts.delete(key)  # it ended within `decr`, as above
        except ValueError:
            pass  # it ended


def _address(address: str) -> str:
    """An IPv6 network of 64 bits is one address."""
    return _key("address", address_count(address))


def _key(kind: str, text: str) -> str:
    """What people type never becomes a key of Redis."""
    return f"guessing.{kind}.{blake2b(text.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"
