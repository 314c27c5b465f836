"""A consumer's limits on what its client sends: `allowance` decides, here it is told or closed."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from . import allowance, log
from .codes import CloseCode
from .connection import State
from .errors import Disconnect, RateLimited
from .events import EventsConsumer

logger = logging.getLogger("chat.realtime")

Part = tuple[int, bool] | None  # of a message that comes in pieces: its number, and whether it is the last


class LimitedConsumer(EventsConsumer):
    """``limited = False`` takes a consumer out of the settings' limits on messages and bytes a second."""

    limited: ClassVar[bool] = True
    _allowance: allowance.Allowance | None = None
    _dropping = False  # the rest of a message whose first piece was refused

    def _within_limits(self, text: str | None, size: int, piece: Part) -> bool:
        """Count a message against the connection's limits; what is beyond them is refused.

        Of a message in pieces the first decides; what the others bring is counted all the same.
        """
        if not allowance.in_force():
            return True
        if self._allowance is None:
            self._allowance = allowance.Allowance()
        if text is not None and not text.isascii():
            size = len(text.encode())
        if piece is not None and piece[0] > 0:
            self._allowance.owe(size, self.hub.loop.time())
            return not self._dropping
        wait = self._allowance.take(size, self.hub.loop.time())
        self._dropping = bool(wait) and piece is not None
        return not wait or self._refuse_message(wait, text)

    async def _within_user_limit(self, text: str | None, piece: Part) -> bool:
        """The same against the user's limit, on all workers."""
        user = self.connection.user
        if user is None or (piece is not None and piece[0] > 0):
            return not self._dropping
        wait = await allowance.spend_of_user(self.hub, user["id"])
        self._dropping = bool(wait) and piece is not None
        if wait:
            self._refuse_message(wait, text)
        return not wait and self.connection.state is State.OPEN

    def _refuse_message(self, wait: float, text: str | None) -> bool:
        """Answer a message beyond a limit; close a connection that goes on all the same. Returns False."""
        if self._allowance is None:
            self._allowance = allowance.Allowance()
        self.hub.counters.rate_limited += 1
        refused = self._allowance.refuse(self.hub.loop.time())
        if refused == 1:
            log.event(logger, logging.INFO, "rate_limited", connection=self.connection)
        if refused <= allowance.MOST_REFUSED:
            self._failed(RateLimited(retry_after=allowance.told(wait)), text, False)
        else:
            log.event(logger, logging.INFO, "rate_exceeded", connection=self.connection)
            self._failed(Disconnect(CloseCode.RATE_EXCEEDED), text, False)
        return False

    def _failed(self, error: BaseException, text: str | None, overdue: bool) -> Any:
        """Answer a failure."""
        raise NotImplementedError
