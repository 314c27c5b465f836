"""The realtime layer: what any Django app needs to speak with browsers over WebSockets.

    from chat.realtime import RealtimeConsumer, on, broadcast_room

docs/extending.md shows its use.
"""

from __future__ import annotations

from . import control, heartbeat  # noqa: F401 (they register what workers answer and do each second)
from .auth import Identity
from .authenticators import Authenticator, JWTAuthenticator, SessionAuthenticator
from .codes import CloseCode
from .consumer import RealtimeConsumer
from .database import in_database
from .envelope import Incoming, MessageType
from .errors import (
    BadRequest,
    Disconnect,
    EnvelopeError,
    Forbidden,
    InvalidToken,
    LayerUnavailable,
    NotFound,
    RateLimited,
    RealtimeError,
    Refused,
    Unauthenticated,
    Unavailable,
)
from .frames import Frame, FrameType
from .handlers import on
from .hooks import Hook, hook
from .metadata import InvalidMetadata
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
from .roster import (
    Closed,
    Found,
    aclose_all_connections,
    aconnection_count,
    afind_connections,
    aset_metadata,
    close_all_connections,
    connection_count,
    find_connections,
    set_metadata,
)
from .shipped import (
    AuthenticationRequired,
    MessageLogging,
    MessageMetrics,
    SchemaValidation,
    Timing,
)
from .signin import SignInConsumer
from .state import IllegalMove
from .throttle import RateLimit
from .where import InvalidCondition, predicate

__all__ = [
    "AuthenticationRequired",
    "Authenticator",
    "BadRequest",
    "CloseCode",
    "Closed",
    "Disconnect",
    "EnvelopeError",
    "Forbidden",
    "Found",
    "Frame",
    "FrameType",
    "Hook",
    "Identity",
    "IllegalMove",
    "Incoming",
    "InvalidCondition",
    "InvalidMetadata",
    "InvalidToken",
    "JWTAuthenticator",
    "LayerUnavailable",
    "MessageLogging",
    "MessageMetrics",
    "MessageType",
    "NotFound",
    "RateLimit",
    "RateLimited",
    "RealtimeConsumer",
    "RealtimeError",
    "Receipt",
    "Refused",
    "SchemaValidation",
    "SessionAuthenticator",
    "SignInConsumer",
    "Timing",
    "Unauthenticated",
    "Unavailable",
    "WorkerReport",
    "abroadcast_all",
    "abroadcast_room",
    "aclose_all_connections",
    "aconnection_count",
    "afind_connections",
    "asend_to_connection",
    "asend_to_user",
    "aset_metadata",
    "broadcast_all",
    "broadcast_room",
    "close_all_connections",
    "connection_count",
    "control",
    "find_connections",
    "hook",
    "in_database",
    "on",
    "predicate",
    "send_to_connection",
    "send_to_user",
    "set_metadata",
]
