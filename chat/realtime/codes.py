"""The close codes of a WebSocket connection, and who may come back after which.

Source: RFC 6455 section 7.4.1 for 1000 to 2999; 4000 to 4999 are ours (docs/protocol.md).
"""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a connection was closed. 4000–4499 may come back, 4500–4999 may not."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005  # never on the wire: the peer's close frame carried no code
    ABNORMAL = 1006  # never on the wire: the line broke without a close frame
    INVALID_PAYLOAD = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    HEARTBEAT_MISSED = 4408
    SLOW_CONSUMER = 4413
    RATE_EXCEEDED = 4429
    CREDENTIALS_ENDED = 4501
    ACCESS_WITHDRAWN = 4503
    CLOSED_BY_ADMINISTRATOR = 4510


REASONS: dict[int, str] = {
    CloseCode.NORMAL: "goodbye",
    CloseCode.GOING_AWAY: "the server is restarting",
    CloseCode.TOO_BIG: "message too big",
    CloseCode.INTERNAL_ERROR: "internal error",
    CloseCode.HEARTBEAT_MISSED: "no sign of life",
    CloseCode.SLOW_CONSUMER: "too slow to keep up",
    CloseCode.RATE_EXCEEDED: "too many messages",
    CloseCode.CREDENTIALS_ENDED: "signed out",
    CloseCode.ACCESS_WITHDRAWN: "access to the room withdrawn",
    CloseCode.CLOSED_BY_ADMINISTRATOR: "closed by an administrator",
}

_COME_BACK = frozenset({1001, 1005, 1006, 1011, 1012, 1013, 1014})


def comes_back(code: int) -> bool:
    """Whether a client that was closed with ``code`` should connect again (docs/protocol.md, client.js)."""
    return code in _COME_BACK or 4000 <= code <= 4499


def may_send(code: int) -> bool:
    """Whether ``code`` may stand in a close frame that an application sends (RFC 6455 section 7.4)."""
    return code in (1000, 1001, 1002, 1003, *range(1007, 1015)) or 3000 <= code <= 4999


class Violation(Exception):
    """A peer broke the WebSocket protocol: its socket is closed with ``code``, and ``reason`` for people."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = int(code)
        self.reason = reason
