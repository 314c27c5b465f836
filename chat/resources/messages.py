"""The resource protocol's wire unit: one JSON object a frame, checked once at the door.

docs/resources.md, "Messages". ``decode`` turns a text frame into a ``Request``; the functions below it build
what the server says.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from chat.realtime.envelope import MAX_DEPTH, MAX_ID_LENGTH, check_depth, check_numbers, timestamp
from chat.realtime.envelope import Incoming as Envelope

from .errors import ResourceError

MAX_WORD = 200  # characters of an operation's, schema's, entity's or subscription's name
MAX_KEY = 1000  # characters of a record's key

Ident = str | int | None


class Request(Envelope):
    """A client's message. ``data`` is what the client sent, UNSET where it sent none."""

    operation: str = ""
    schema: str | None = None
    entity: str = ""
    record_id: str | int | None = None
    options: dict[str, Any] | None = None
    subscription_id: str | None = None


class Response(Struct, omit_defaults=True):
    """The answer to a request. ``id`` is the request's, as it came."""

    id: Ident | UnsetType
    type: str
    success: bool
    data: Any = UNSET
    error: dict[str, Any] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    timestamp: str = ""


class Notification(Struct):
    """A change of a row that a subscription follows: ``operation`` is create, update or delete."""

    type: str
    operation: str
    subscription_id: str
    schema: str
    entity: str
    record_id: Any
    data: Any
    timestamp: str


_decoder = msgspec.json.Decoder(Request)


def _plain(value: Any) -> Any:
    """JSON for what serializers and hooks give beyond JSON's own types: lazy texts, sets of errors."""
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    return str(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def decode(text: str | bytes) -> Request:
    """Check one frame's text. Raises ResourceError ``invalid_message``."""
    try:
        message = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise ResourceError(_explain(error)) from None
    except RecursionError:
        raise ResourceError(f"The message is nested deeper than {MAX_DEPTH} levels.") from None
    except (msgspec.DecodeError, UnicodeError):
        raise ResourceError("The message is not valid JSON.") from None
    check_depth(text)
    check_numbers([message.data if message.data is not UNSET else None, message.options])
    _check_ident(message)
    return message


def _check_ident(message: Request) -> None:
    ident, key = message.id, message.record_id
    if ident is not UNSET and ident is not None:
        if type(ident) is int:
            check_numbers(ident)
        elif type(ident) is not str:
            raise ResourceError("id must be a text or a whole number.", details={"id": "text or number"})
        elif len(ident) > MAX_ID_LENGTH:
            raise ResourceError(
                f"id may have at most {MAX_ID_LENGTH} characters.", details={"id": "too long"}
            )
    if type(key) is int:
        check_numbers(key)
    elif type(key) is str and len(key) > MAX_KEY:
        raise ResourceError("record_id is too long.", details={"record_id": "too long"})
    for name in ("operation", "schema", "entity", "subscription_id"):
        word = getattr(message, name)
        if word is not None and len(word) > MAX_WORD:
            raise ResourceError(f"{name} is too long.", details={name: "too long"})


def _explain(error: msgspec.ValidationError) -> str:
    """Words for what is wrong, without any of the client's text but a key's place."""
    text = str(error)
    if "missing required field `type`" in text:
        return "The message has no type."
    if "out of range" in text:
        return "The message holds a number beyond 64 bits."
    what, _, place = text.partition(" - at `$")
    where = place.rstrip("`").lstrip(".")
    return f"{where or 'The message'}: {what[:1].lower()}{what[1:]}."


def response(ident: Any, data: Any, metadata: dict[str, Any] | None = None) -> bytes:
    """A request went well."""
    made = Response(
        None if ident is UNSET else ident,
        "response",
        True,
        data=data,
        metadata=UNSET if metadata is None else metadata,
        timestamp=timestamp(),
    )
    return _encoder.encode(made)


def failure(ident: Any, code: str, message: str, details: dict[str, Any] | None = None) -> bytes:
    """A request was refused, or went wrong."""
    error: dict[str, Any] = {"code": code, "message": message, "details": details or {}}
    made = Response(None if ident is UNSET else ident, "response", False, error=error, timestamp=timestamp())
    return _encoder.encode(made)


def pong(ident: Any, data: Any) -> bytes:
    """The answer to a client's ping: the same id and data."""
    made: dict[str, Any] = {"id": None if ident is UNSET else ident, "type": "pong"}
    if data is not UNSET:
        made["data"] = data
    made["timestamp"] = timestamp()
    return _encoder.encode(made)


def notification(
    operation: str, subscription: str, schema: str, entity: str, record_id: Any, data: Any
) -> bytes:
    made = Notification("notification", operation, subscription, schema, entity, record_id, data, timestamp())
    return _encoder.encode(made)


def encode(value: Any) -> bytes:
    """Any value as JSON."""
    return _encoder.encode(value)


def plain(value: Any) -> Any:
    """A value as JSON's own types: what clients get, for code that looks at it."""
    return msgspec.to_builtins(value, enc_hook=_plain)
