"""Errors as data: a code for machines, a text for people, and what to do next."""

from __future__ import annotations


class RealtimeError(Exception):
    """Something the other side is told. ``retry_after`` is in seconds, or None."""

    code = "internal"
    message = "Something went wrong on the server."

    def __init__(
        self, message: str | None = None, *, code: str | None = None, retry_after: float | None = None
    ) -> None:
        if message is not None:
            self.message = message
        if code is not None:
            self.code = code
        self.retry_after = retry_after
        super().__init__(self.message)


class EnvelopeError(RealtimeError):
    """A message was refused. It is answered with one ``error`` envelope; the socket lives on."""

    code = "invalid_message"
    message = "The message is not valid."


class LayerUnavailable(RealtimeError):
    """The channel layer can't be reached: nothing was published."""

    code = "unavailable"
    message = "The message could not be delivered: the server's message bus can't be reached. Try again."


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


class BadRequest(Refused):
    status, code, message = 400, "bad_request", "The request is not valid."


class Unauthenticated(Refused):
    status, code, message = 401, "unauthenticated", "Sign in first."


class Forbidden(Refused):
    status, code, message = 403, "forbidden", "You may not join."


class NotFound(Refused):
    status, code, message = 404, "not_found", "There is nothing at this address."


class Full(Refused):
    status, code, message = 429, "room_full", "The room is full."


class Unavailable(Refused):
    status, code, message = 503, "unavailable", "The server can't take this connection now. Try again."
