"""Every refusal of the API has one shape: `{"error": {"code", "message", "details"?}}`.

`code` is for machines, `message` for people; `details` names the fields that are wrong.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import status
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    MethodNotAllowed,
    NotAcceptable,
    NotAuthenticated,
    NotFound,
    ParseError,
    Throttled,
    UnsupportedMediaType,
    ValidationError,
)
from rest_framework.exceptions import PermissionDenied as Forbidden
from rest_framework.response import Response
from rest_framework.views import exception_handler

from chat.realtime.errors import LayerUnavailable
from chat.realtime.layers import get_layer

RETRY_AFTER = 1  # seconds

CODES: dict[type[APIException], str] = {
    ParseError: "invalid_json",
    ValidationError: "invalid_request",
    NotAuthenticated: "unauthenticated",
    AuthenticationFailed: "unauthenticated",
    Forbidden: "forbidden",
    NotFound: "not_found",
    MethodNotAllowed: "method_not_allowed",
    NotAcceptable: "not_acceptable",
    UnsupportedMediaType: "unsupported_media_type",
    Throttled: "too_many_attempts",
}


class InvalidRoom(APIException):
    status_code = status.HTTP_404_NOT_FOUND
    default_code = "invalid_room"
    default_detail = "There is no room of that name: a name has 1 to 128 characters of A-Z a-z 0-9 . _ : -"


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = "The request's body is too large."


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "The workers can't be reached: the message bus (Redis) does not answer. Try again."


class Draining(Unavailable):
    default_code = "draining"
    default_detail = "This worker is shutting down."


def body(code: str, message: str, details: Any = None) -> dict[str, Any]:
    """The body of a refusal."""
    error = {"code": code, "message": message}
    return {"error": error | {"details": details} if details is not None else error}


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Django REST framework's EXCEPTION_HANDLER of the API's views. None: a bug, which Django reports."""
    if isinstance(error, LayerUnavailable):
        error = Unavailable() if get_layer().kind == "redis" else Unavailable(error.message)
    elif isinstance(error, Http404):
        error = NotFound()
    elif isinstance(error, PermissionDenied):
        error = Forbidden()
    response = exception_handler(error, context)  # sets Allow, WWW-Authenticate and the like
    if response is None or not isinstance(error, APIException):
        return response
    code = CODES.get(type(error), error.default_code)
    if isinstance(error, ValidationError):
        response.data = body(code, _summary(error.detail), error.detail)
    else:
        response.data = body(code, str(error.detail))
    if response.status_code == status.HTTP_503_SERVICE_UNAVAILABLE:
        response["Retry-After"] = str(RETRY_AFTER)
    return response


def _summary(details: Any) -> str:
    """The first thing that is wrong, in words: `room: ...`."""
    if not isinstance(details, dict):
        return str(details[0])
    field, messages = next(iter(details.items()))
    first = messages[0] if isinstance(messages, list) else messages
    return str(first) if field == "non_field_errors" else f"{field}: {first}"
