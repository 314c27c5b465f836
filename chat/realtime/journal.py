"""What the log says of connections: refused, opened, ended.

A line for each connection would be noise at 10,000 of them: ``opened`` and ``closed`` are DEBUG. What
somebody asks about afterwards is told at INFO or above: refusals, and ends that the server chose.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from . import log
from .codes import REASONS, CloseCode

logger = logging.getLogger("chat.realtime.connections")

_ENDS = {
    int(CloseCode.SLOW_CONSUMER): logging.WARNING,
    int(CloseCode.CREDENTIALS_ENDED): logging.INFO,
    int(CloseCode.ACCESS_WITHDRAWN): logging.INFO,
    int(CloseCode.CLOSED_BY_ADMINISTRATOR): logging.INFO,
}


def opened(connection: Any, path: str) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        where = {"path": path, "address": connection.address, "agent": connection.user_agent or None}
        log.event(logger, logging.DEBUG, "opened", connection=connection, **where)


def closed(connection: Any) -> None:
    """It is gone; its numbers are complete."""
    if logger.isEnabledFor(logging.DEBUG):
        log.event(
            logger,
            logging.DEBUG,
            "closed",
            connection=connection,
            code=connection.close_code,
            seconds=round(time.time() - connection.connected_at, 1),
            messages_in=connection.messages_in,
            messages_out=connection.messages_out,
            rtt=getattr(connection, "rtt", None),
        )


def ending(connection: Any, code: int) -> None:
    """The server closes it."""
    level = _ENDS.get(code)
    if level is not None:
        reason, dropped = REASONS.get(code), connection.dropped or None
        log.event(
            logger, level, "closing", connection=connection, code=int(code), reason=reason, dropped=dropped
        )


def refused(code: str, status: int, path: str | None, address: str | None) -> None:
    """A handshake was. ``path``: without its query."""
    log.event(logger, logging.INFO, "refused", code=code, status=status, path=path, address=address)
