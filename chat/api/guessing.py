"""A brake on guessing passwords: attempts are counted for all workers, in Django's cache (Redis)."""

from __future__ import annotations

from hashlib import blake2b

import redis
from django.core.cache import cache

from chat.realtime.errors import LayerUnavailable

WINDOW = 60  # seconds
PER_ADDRESS = 30  # attempts a window from one address, whatever becomes of them
PER_NAME = 10  # failures a window for one user name, from wherever


def attempt(address: str, name: str) -> int | None:
    """Count an attempt, before the password is looked at. Returns after how many seconds to come back.

    Raises LayerUnavailable while attempts can't be counted: nobody guesses meanwhile.
    """
    try:
        by_address, by_name = _count(_key("address", address)), _count(_key("name", name))
    except redis.exceptions.RedisError as error:
        raise LayerUnavailable() from error
    return WINDOW if by_address > PER_ADDRESS or by_name > PER_NAME else None


def succeeded(name: str) -> None:
    """The last attempt was no failure, so it does not count against the name."""
    try:
        cache.decr(_key("name", name))
    except (redis.exceptions.RedisError, ValueError):
        pass  # it is over in a minute anyway


def _count(key: str) -> int:
    """Atomic: of many at once each gets a number of its own."""
    cache.add(key, 0, WINDOW)
    try:
        return int(cache.incr(key))
    except ValueError:  # it ended between the two
        cache.add(key, 1, WINDOW)
        return 1


def _key(kind: str, text: str) -> str:
    """What people type never becomes a key of Redis."""
    return f"guessing.{kind}.{blake2b(text.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"
