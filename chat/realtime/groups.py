"""Names of channel-layer groups, derived from names that people choose.

A room's or a user's name never reaches the layer raw: a hash of it does, so nothing a client types can
address another group, and two names never share one.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

WORKERS = "realtime.workers"  # every worker listens
EVERYONE = "realtime.everyone"  # every connection is a member


@lru_cache(maxsize=4096)
def room_group(room: str) -> str:
    return "realtime.room." + blake2b(room.encode(), digest_size=20).hexdigest()


@lru_cache(maxsize=4096)
def topic_group(topic: str) -> str:
    """What workers tell each other about one subject, which no client is a member of."""
    return "realtime.topic." + blake2b(topic.encode(), digest_size=20).hexdigest()


@lru_cache(maxsize=4096)
def user_group(user_id: str) -> str:
    return "realtime.user." + blake2b(user_id.encode(), digest_size=20).hexdigest()
