"""What a message's ``data`` must be: a msgspec type, or a Django REST framework serializer.

A wrong one is an EnvelopeError ``invalid_message`` whose ``details`` name the fields:
``{"qty": ["Expected `int`, got `str`"], "lines[...].sku": [...]}``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from .database import in_database
from .errors import EnvelopeError

MAX_DETAILS = 50  # fields that one answer names
MAX_NAME = 64  # characters of a field's name that is told
_PLACE = re.compile(r"^(?P<words>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `([^`]+)`")

Details = dict[str, list[str]]


class Schema(Protocol):
    """A compiled schema."""

    def check(self, data: Any, consumer: Any) -> Any | Awaitable[Any]:
        """``data`` (UNSET where the client sent none) as what the handler gets, or an awaitable of it.

        Raises EnvelopeError.
        """


def compiled(schema: Any) -> Schema:
    """The schema of ``@on(..., schema=...)``. Raises TypeError for what is none."""
    if isinstance(schema, type) and callable(getattr(schema, "is_valid", None)):
        return SerializerSchema(schema)
    try:
        msgspec.inspect.type_info(schema)
    except Exception as error:
        raise TypeError(f"{schema!r} is no schema: give a msgspec type or a serializer class") from error
    return TypeSchema(schema)


class TypeSchema:
    """A ``msgspec.Struct``, or any other type that msgspec converts to."""

    def __init__(self, type: Any) -> None:
        self._type = type
        self._fields: tuple[msgspec.structs.FieldInfo, ...] = ()
        if hasattr(type, "__struct_fields__"):
            self._fields = msgspec.structs.fields(type)

    def check(self, data: Any, consumer: Any) -> Any:
        if data is UNSET and self._fields:
            data = {}
        try:
            return _convert(data, self._type)
        except msgspec.ValidationError as error:
            raise _refusal(self._explain(data) or _details(str(error))) from None

    def _explain(self, data: Any) -> Details:
        """What is wrong with each field; msgspec itself stops at the first."""
        found: Details = {}
        if not isinstance(data, dict):
            return found
        for field in self._fields[:MAX_DETAILS]:
            name = field.encode_name
            if name in data:
                try:
                    _convert(data[name], field.type)
                except msgspec.ValidationError as error:
                    found.update(_details(str(error), name))
            elif field.required:
                found[name] = ["This field is required."]
        return found


class SerializerSchema:
    """A serializer class: the handler gets ``validated_data``. It may ask the database, so it works on one of
    the database's threads; its ``context`` has ``consumer`` and ``user``."""

    def __init__(self, serializer: Any) -> None:
        self._serializer = serializer
        self._validate = in_database(self._validated)

    def check(self, data: Any, consumer: Any) -> Awaitable[Any]:
        return self._validate({} if data is UNSET else data, consumer)

    def _validated(self, data: Any, consumer: Any) -> Any:
        context = {"consumer": consumer, "user": getattr(consumer, "user", None)}
        serializer = self._serializer(data=data, context=context)
        if serializer.is_valid():
            return serializer.validated_data
        details: Details = {}
        for name, words in _flatten(serializer.errors, ""):
            if len(details) == MAX_DETAILS and name not in details:
                break
            details.setdefault(name, []).append(words)
        raise _refusal(details)


def _convert(data: Any, type: Any) -> Any:
    if data is UNSET:
        raise msgspec.ValidationError("Object missing required field `data`")
    return msgspec.convert(data, type, str_keys=True)


def _refusal(details: Details) -> EnvelopeError:
    return EnvelopeError("The message's data is not valid.", details=details)


def _details(text: str, field: str = "") -> Details:
    """msgspec's words ``Expected `int`, got `str` - at `$.lines[0].qty` `` by field."""
    match = _PLACE.match(text)
    words, path = (match["words"], match["path"] or "") if match else (text, "")
    missing = _MISSING.search(words)
    name = field + path.removeprefix("$")
    if missing is not None:
        name, words = f"{name}.{missing[1]}", "This field is required."
    if not name or name.startswith("["):
        name = f"data{name}"
    return {name.lstrip(".")[:MAX_NAME]: [words]}


def _flatten(errors: Any, name: str) -> Iterator[tuple[str, str]]:
    """A serializer's nested errors, one line each: ``("lines.0.qty", "A valid integer is required.")``."""
    if isinstance(errors, dict):
        for key, inner in errors.items():
            yield from _flatten(inner, f"{name}.{key}".lstrip(".")[:MAX_NAME])
    elif isinstance(errors, list):
        for number, inner in enumerate(errors):
            if isinstance(inner, dict):
                yield from _flatten(inner, f"{name}.{number}".lstrip("."))
            else:
                yield name or "data", str(inner)
