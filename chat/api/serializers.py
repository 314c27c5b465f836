"""What callers send, checked at the door."""

from __future__ import annotations

from typing import Any

import msgspec
from rest_framework import serializers

from chat.operator import MAX_LISTED, TARGETS
from chat.realtime.config import LARGEST_MESSAGE
from chat.realtime.envelope import decode
from chat.realtime.errors import EnvelopeError
from chat.realtime.where import InvalidCondition, check
from chat.validators import ROOM_NAME_LENGTH, validate_room_name

MAX_REASON = 120  # bytes in UTF-8; a close frame has room for 123 (RFC 6455 section 5.5)
MAX_USER = 150  # characters: Django's longest user name
MAX_CONNECTION_ID = 64  # characters
MAX_CONDITION = 4096  # characters


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know: a misspelt `room` must not reach everybody."""

    def to_internal_value(self, data: Any) -> Any:
        values = super().to_internal_value(data)
        unknown = {name: ["There is no such field."] for name in data if name not in self.fields}
        if unknown:
            raise serializers.ValidationError(unknown)
        return values


class TextField(serializers.CharField):
    """A JSON string; REST framework's own field makes strings of numbers too."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class RoomField(TextField):
    def __init__(self, **options: Any) -> None:
        super().__init__(
            max_length=ROOM_NAME_LENGTH, trim_whitespace=False, validators=[validate_room_name], **options
        )


class BroadcastSerializer(StrictSerializer):
    """`{"room"?, "type": "notification"|"system", "data": {...}}`; no room, or null: everybody."""

    room = RoomField(required=False, allow_null=True, default=None)
    type = serializers.ChoiceField(choices=["notification", "system"])
    # REST framework sets declared fields apart, so that this one does not hide Serializer.data.
    data = serializers.DictField(  # type: ignore[assignment]
        error_messages={"not_a_dict": "Must be a JSON object."}
    )

    def validate_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """As large and as deep as a client's message may be, and readable by every client."""
        try:
            if len(msgspec.json.encode(data)) > LARGEST_MESSAGE:
                raise serializers.ValidationError(
                    f"Must not be larger than {LARGEST_MESSAGE:,} bytes as JSON."
                )
            decode(msgspec.json.encode({"type": "notification", "data": data}))
        except (OverflowError, msgspec.MsgspecError) as error:
            raise serializers.ValidationError("Holds a number beyond 64 bits.") from error
        except RecursionError as error:
            raise serializers.ValidationError("Is nested too deep.") from error
        except EnvelopeError as error:
            raise serializers.ValidationError(error.message) from error
        return data


class ReasonField(TextField):
    """Words that the client sees in the close frame."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, allow_blank=True, default="", **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        reason = super().run_validation(data)
        if len(reason.encode()) > MAX_REASON:
            raise serializers.ValidationError(f"Must not be longer than {MAX_REASON} bytes.")
        return reason


class CloseSerializer(StrictSerializer):
    """`{"room" | "user" | "username" | "connection" | "all": true, "reason"?}`: exactly one of the five."""

    room = RoomField(required=False)
    user = TextField(required=False, max_length=MAX_USER)
    username = TextField(required=False, max_length=MAX_USER)
    connection = TextField(required=False, max_length=MAX_CONNECTION_ID)
    all = serializers.BooleanField(required=False)
    reason = ReasonField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        target = {key: attrs[key] for key in TARGETS if attrs.get(key)}
        if len(target) != 1:
            raise serializers.ValidationError(f"Name exactly one of {', '.join(TARGETS)}.")
        return {"target": target, "reason": attrs["reason"]}


class LimitSerializer(serializers.Serializer[Any]):
    limit = serializers.IntegerField(default=MAX_LISTED, min_value=1, max_value=MAX_LISTED)


class ConnectionsQuerySerializer(LimitSerializer):
    """`?room=&user=&username=&where=&limit=`; `where`: a condition as JSON (docs/broadcasting.md)."""

    room = RoomField(required=False)
    user = TextField(required=False, max_length=MAX_USER)
    username = TextField(required=False, max_length=MAX_USER)
    where = TextField(required=False, max_length=MAX_CONDITION)

    def validate_where(self, text: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = msgspec.json.decode(text)
            check(found)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise serializers.ValidationError("Must be a JSON object.") from error
        except InvalidCondition as error:
            raise serializers.ValidationError(str(error)) from error
        return found


class DeleteQuerySerializer(serializers.Serializer[Any]):
    """`?reason=`"""

    reason = ReasonField()
