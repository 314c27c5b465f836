"""The realtime layer: what any Django app needs to speak with browsers over WebSockets.

    from chat.realtime import RealtimeConsumer, on, broadcast_room

docs/extending.md shows its use.
"""

from __future__ import annotations

from . import control  # registers the workers' answers
from .codes import CloseCode
from .consumer import RealtimeConsumer
from .envelope import Incoming
from .errors import (
    BadRequest,
    Disconnect,
    EnvelopeError,
    Forbidden,
    LayerUnavailable,
    NotFound,
    RealtimeError,
    Refused,
    Unauthenticated,
    Unavailable,
)
from .handlers import on
from .publish import (
    Receipt,
    WorkerReport,
    abroadcast_all,
    abroadcast_room,
    asend_to_connection,
    asend_to_user,
    broadcast_all,
    broadcast_room,
    send_to_connection,
    send_to_user,
)
from .where import InvalidCondition, predicate

__all__ = [
    "BadRequest",
    "CloseCode",
    "Disconnect",
    "EnvelopeError",
    "Forbidden",
    "Incoming",
    "InvalidCondition",
    "LayerUnavailable",
    "NotFound",
    "RealtimeConsumer",
    "RealtimeError",
    "Receipt",
    "Refused",
    "Unauthenticated",
    "Unavailable",
    "WorkerReport",
    "abroadcast_all",
    "abroadcast_room",
    "asend_to_connection",
    "asend_to_user",
    "broadcast_all",
    "broadcast_room",
    "control",
    "on",
    "predicate",
    "send_to_connection",
    "send_to_user",
]
