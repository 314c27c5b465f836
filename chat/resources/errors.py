"""What a client of the resource protocol is told when its request fails.

The code is for machines, the message for people, the details say where.
"""

from __future__ import annotations

from chat.realtime.errors import RealtimeError


class ResourceError(RealtimeError):
    """Becomes the ``error`` of a response: code, message, details. Never holds a text of the database's."""

    code = "invalid_message"
    message = "The message is not valid."


class InvalidQuery(ResourceError):
    """An unknown column, operator, relation or direction, or a value that does not fit; details name it."""

    code = "invalid_query"
    message = "The options can't be understood."


class NotFound(ResourceError):
    """The row is not there, or not this user's: both look the same."""

    code = "not_found"
    message = "There is no such record."


class Invalid(ResourceError):
    """The data does not fit the resource; ``details`` has field → messages."""

    code = "validation_error"
    message = "The data is not valid."


class Unauthorized(ResourceError):
    """This user may not do that."""

    code = "unauthorized"
    message = "You may not do this."
