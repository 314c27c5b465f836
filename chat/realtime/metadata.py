"""What an application notes on a connection: plain data, bounded, there for conditions and operators."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from .errors import RealtimeError

MOST_KEYS = 32
LONGEST_KEY = 64  # characters
LARGEST = 4096  # bytes of all of it as JSON

NOTHING: Mapping[str, Any] = MappingProxyType({})


class InvalidMetadata(RealtimeError, ValueError):
    """What was to be noted is too much, or nothing that JSON can say; what was noted before holds."""

    code = "invalid_message"
    message = "This can't be noted on a connection."


def checked(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """A copy of ``values`` as plain data; None where there are none. Raises InvalidMetadata."""
    if not values:
        return None
    if len(values) > MOST_KEYS:
        raise InvalidMetadata(f"A connection has at most {MOST_KEYS} metadata keys.")
    for key in values:
        if not isinstance(key, str) or not key or len(key) > LONGEST_KEY or "." in key:
            raise InvalidMetadata(f"A metadata key is a text of 1 to {LONGEST_KEY} characters without a dot.")
    try:
        encoded = msgspec.json.encode(dict(values))
        plain: dict[str, Any] = msgspec.json.decode(encoded)
        msgspec.msgpack.encode(plain)  # operators ask over Redis, where a number has 64 bits
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidMetadata("Metadata is what JSON can say.") from error
    if len(encoded) > LARGEST:
        raise InvalidMetadata(f"A connection's metadata is at most {LARGEST:,} bytes as JSON.")
    return plain
