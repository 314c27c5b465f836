"""What an operator can ask of all workers, and tell them: one set of calls, two roads to the workers.

`Workers` goes over the channel layer; the HTTP API, the admin and, with Redis, the management commands use
it. `Server` goes over a running server's HTTP API; the commands use it where the in-memory layer, which
reaches one process only, is in force. Both give what the HTTP API answers (docs/operating.md).
"""

from __future__ import annotations

from chat.operator.calls import MAX_LISTED, TARGETS, Body, Operator, Unreachable
from chat.operator.server import Server, server_url
from chat.operator.signature import SCHEME, TOKEN_AGE, is_signed, sign
from chat.operator.workers import Workers
from chat.realtime.layers import get_layer

__all__ = [
    "MAX_LISTED",
    "SCHEME",
    "TARGETS",
    "TOKEN_AGE",
    "Body",
    "Operator",
    "Server",
    "Unreachable",
    "Workers",
    "is_signed",
    "reach",
    "server_url",
    "sign",
]


def reach() -> Operator:
    """The road to the workers from a process that serves nothing. Raises Unreachable for a bad URL."""
    return Workers() if get_layer().kind == "redis" else Server(server_url())
