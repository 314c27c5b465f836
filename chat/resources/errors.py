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


class InvalidMessageType(ResourceError):
    """There is no such message for a client to send."""

    code = "invalid_message_type"
    message = 'The type must be "request", "subscription", "ping" or "auth".'


class ModelNotFound(ResourceError):
    """The entity is not registered."""

    code = "model_not_found"
    message = "There is no such entity."


class InvalidModel(ResourceError):
    """The entity does not say which model is meant."""

    code = "invalid_model"
    message = "The entity is not clear."


class InvalidOperation(ResourceError):
    """Not one of the operations, or none of this resource's."""

    code = "invalid_operation"
    message = "There is no such operation."


class InvalidSubscriptionOperation(ResourceError):
    code = "invalid_subscription_operation"
    message = 'A subscription message\'s operation is "subscribe" or "unsubscribe".'


class MissingSubscription(ResourceError):
    code = "missing_subscription_id"
    message = "Name the subscription that is to end: subscription_id."


class SubscriptionNotFound(ResourceError):
    code = "subscription_not_found"
    message = "This connection has no such subscription."


class TooManySubscriptions(ResourceError):
    """This connection has as many as it may, or one follows more rows than it may."""

    code = "too_many_subscriptions"
    message = "This connection has as many subscriptions as it may have. End one first."


class HookError(ResourceError):
    """A hook refused, or failed. ``raise HookError("email is required")`` says why to the client."""

    code = "hook_error"
    message = "A hook refused this."


class OperationError(ResourceError):
    """The operation failed for a reason of the server's or the data's: ``read_error``, ``create_error``, …"""

    code = "read_error"
    message = "The operation failed."

    @classmethod
    def of(cls, operation: str, message: str) -> OperationError:
        return cls(message, code=f"{operation}_error")
