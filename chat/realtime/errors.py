"""Errors as data: a code for machines, a text for people, and whether to come back.

One tree. Raised in a handler, a hook or a middleware, any of these is answered with one ``error`` envelope
and the socket lives on; raised before the upgrade it refuses the handshake with ``status``. Any other
exception is a bug: ``internal``, with a number that the log has too.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any

from .codes import CloseCode, comes_back

# What an application's code raises by mistake. SystemExit is one: a library's `sys.exit()` (argparse,
# call_command) says that a task is done, and would end the worker with all its clients.
BUGS: tuple[type[BaseException], ...] = (Exception, SystemExit)
FAILURES: tuple[type[BaseException], ...] = (
    *BUGS,
    CancelledError,
)  # with those that a deadline, or it itself, made


class RealtimeError(Exception):
    """Something the other side is told.

    ``come_back``: whether the same may succeed later. ``retry_after``: in seconds, or None. ``details``: what
    is wrong with which field, ``{"qty": ["Expected `int`, got `str`"]}``, or None. ``status``: the HTTP
    status of a handshake that it refuses.
    """

    code = "internal"
    message = "Something went wrong on the server."
    status = 400
    come_back = False

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        if message is not None:
            self.message = message
        if code is not None:
            self.code = code
        if retry_after is not None:
            self.come_back = True
        self.retry_after = retry_after
        self.details = details
        super().__init__(self.message)


class EnvelopeError(RealtimeError):
    """A message was refused. It is answered with one ``error`` envelope; the socket lives on."""

    code = "invalid_message"
    message = "The message is not valid."


class InvalidToken(EnvelopeError):
    """A token that was sent does not count."""

    code = "unauthenticated"
    message = "The token is not valid."


class RateLimited(RealtimeError):
    """More came than a limit allows. ``retry_after``: when the next one would be accepted."""

    status = 429
    come_back = True
    code = "rate_limited"
    message = "You are sending too fast. Wait a moment."


class TooManyStreams(EnvelopeError):
    """This connection has as many streams under way as its consumer allows."""

    come_back = True
    code = "too_many_streams"
    message = "Too many streams at once: let one end, or cancel it."


class LayerUnavailable(RealtimeError):
    """The channel layer can't be reached: nothing was published."""

    status = 503
    come_back = True
    code = "unavailable"
    message = "The message could not be delivered: the server's message bus can't be reached. Try again."


class Disconnect(RealtimeError):
    """Raised while a message is worked on, it closes the socket, after what was sent, with a close code."""

    code = "closed"

    def __init__(self, close_code: int = CloseCode.NORMAL, reason: str | None = None) -> None:
        self.close_code = close_code
        self.reason = reason
        super().__init__(reason or "The connection was closed.")
        self.come_back = comes_back(close_code)


class Refused(RealtimeError):
    """A handshake was refused with an HTTP ``status`` before the upgrade (docs/protocol.md)."""

    status = 403
    code = "forbidden"
    message = "This connection is not allowed."

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        if status is not None:
            self.status = status
        super().__init__(message, code=code, retry_after=retry_after)

    @classmethod
    def of(cls, error: RealtimeError) -> Refused:
        """The refusal of a handshake that met ``error``."""
        if isinstance(error, Refused):
            return error
        if isinstance(error, LayerUnavailable):
            words = "The server's message bus can't be reached. Try again."
            return Unavailable(words, code=error.code, retry_after=2)
        status = error.status if error.status != RealtimeError.status else cls.status
        refusal = cls(error.message, code=error.code, status=status, retry_after=error.retry_after)
        refusal.come_back = error.come_back
        return refusal


class BadRequest(Refused):
    status, code, message = 400, "bad_request", "The request is not valid."


class Unauthenticated(Refused):
    status, code, message = 401, "unauthenticated", "Sign in first."


class Forbidden(Refused):
    status, code, message = 403, "forbidden", "You may not join."


class NotFound(Refused):
    status, code, message = 404, "not_found", "There is nothing at this address."


class Full(Refused):
    come_back = True
    status, code, message = 429, "room_full", "The room is full."


class TooManyConnections(Refused):
    come_back = True
    status, code = 429, "too_many_connections"
    message = "There are too many connections of yours. Close one, or try again later."


class ServerFull(Refused):
    come_back = True
    status, code, message = 503, "server_full", "The server has as many connections as it takes. Try again."


class Unavailable(Refused):
    come_back = True
    status, code, message = 503, "unavailable", "The server can't take this connection now. Try again."
