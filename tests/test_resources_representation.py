"""The fast way from a row to what clients see gives what the serializer gives, for every kind of column."""

import datetime
import decimal
import json
import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from chat.models import Room
from chat.resources import ModelResource, messages
from chat.resources.representation import Representation
from tests.samples import ATTNAMES, Sample

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
VALUES = {
    "id": st.integers(1, 2**63 - 1),
    "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "whole": st.integers(-(2**31), 2**31 - 1),
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "exact": st.decimals(-999_999_999, 999_999_999, places=3),
    "flag": st.booleans(),
    "day": st.dates(),
    "moment": st.datetimes(timezones=st.just(datetime.UTC)),
    "time": st.times(),
    "span": st.timedeltas(datetime.timedelta(days=-100_000_000), datetime.timedelta(days=100_000_000)),
    "uuid": st.uuids(),
    "json": JSON,
}
ROWS = st.fixed_dictionaries(
    {name: values if name == "id" else st.none() | values for name, values in VALUES.items()}
)


class SampleSerializer(serializers.ModelSerializer):
    class Meta:
        model = Sample
        fields = list(VALUES)


SHAPE = Representation(Sample, SampleSerializer)


def as_json(value: Any) -> Any:
    return json.loads(messages.encode(value))


def test_every_column_is_here() -> None:
    assert set(VALUES) == set(ATTNAMES)
    assert SHAPE.plain


@settings(max_examples=150, derandomize=True)
@given(row=ROWS)
def test_the_fast_way_gives_the_same(row: dict[str, Any]) -> None:
    """From a tuple, a row as a dict and an instance, the JSON is the serializer's; nulls are null."""
    expected = json.loads(JSONRenderer().render(SampleSerializer(Sample(**row)).data))
    names = tuple(row)
    assert SHAPE.attnames_of(names) == list(names)
    assert as_json(SHAPE.tuple_renderer(names)([tuple(row.values())])) == [expected]
    assert as_json(SHAPE.renderer(names)(row)) == expected
    assert as_json(SHAPE.of_instance(Sample(**row), names, {})) == expected
    few = names[3:5]
    assert as_json(SHAPE.tuple_renderer(few)([(row[few[0]], row[few[1]])])) == [
        {name: expected[name] for name in few}
    ]


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/New_York"])
def test_times_are_in_utc(zone: str) -> None:
    """Whatever zone the server, or the admin, shows; on the fast way and through a serializer."""

    class Slow(SampleSerializer):
        def to_representation(self, instance: Any) -> Any:
            return super().to_representation(instance)

    moment = datetime.datetime(2025, 7, 1, 12, 0, 0, 120_000, tzinfo=datetime.UTC)
    slow = Representation(Sample, Slow)
    assert not slow.plain
    with timezone.override(zone):
        for given_moment in (moment, moment.astimezone(datetime.timezone(datetime.timedelta(hours=3)))):
            for shape in (SHAPE, slow):
                shown = as_json(shape.of_instance(Sample(moment=given_moment), ("moment",), {}))
                assert shown == {"moment": "2025-07-01T12:00:00.120000Z"}


def made(**overrides: Any) -> Representation:
    """The representation by a serializer with these members besides."""
    return Representation(Sample, type("Own", (SampleSerializer,), overrides))


def _upper(self: Any, value: Any) -> Any:
    return value.upper()


@pytest.mark.parametrize(
    "overrides",
    [
        {"to_representation": lambda self, instance: {}},
        {"get_fields": lambda self: serializers.ModelSerializer.get_fields(self)},
        {"__init__": lambda self, *args, **kw: serializers.ModelSerializer.__init__(self, *args, **kw)},
        {"data": property(lambda self: {})},
        {"text": serializers.SerializerMethodField(), "get_text": lambda self, row: "x"},
        {"text": type("Loud", (serializers.CharField,), {"to_representation": _upper})()},
        {"text": serializers.ReadOnlyField()},
        {"text": serializers.CharField(source="__str__")},
        {"text": serializers.CharField(source="json.text")},
        {"day": serializers.DateField(format="%d.%m.%Y")},
        {"moment": serializers.DateTimeField(format="%s")},
        {"time": serializers.TimeField(format="%H")},
        {"uuid": serializers.UUIDField(format="hex")},
        {"json": serializers.JSONField(binary=True)},
    ],
    ids=lambda overrides: next(iter(overrides)),
)
def test_a_serializer_with_a_will_of_its_own_is_asked(overrides: dict[str, Any]) -> None:
    """The fast way is taken only where it is known to give the same."""
    assert not made(**overrides).plain


def test_formats_of_fields_are_kept() -> None:
    """Of decimals as numbers, of durations, of renamed columns."""
    shape = made(
        exact=serializers.DecimalField(12, 3, coerce_to_string=False),
        span=serializers.DurationField(format="iso-8601"),
        text=serializers.UUIDField(source="uuid"),
    )
    assert shape.plain
    row = Sample(exact=decimal.Decimal("1.500"), span=datetime.timedelta(days=1), uuid=uuid.UUID(int=7))
    shown = shape.of_instance(row, ("exact", "span", "text"), {})
    assert shown == {"exact": decimal.Decimal("1.500"), "span": "P1DT00H00M00S", "text": uuid.UUID(int=7)}
    assert shape.attnames_of(("text",)) == ["uuid"]


def test_what_an_app_has_just_set_is_shown() -> None:
    """A row that was saved and not read again may hold texts and numbers where the database gives others."""
    shape = made(real=serializers.DecimalField(6, 2), whole=serializers.DecimalField(6, 2))
    row = Sample(exact="1.5", moment="2025-01-01T00:00:00Z", real=0.5, whole=3)
    shown = shape.of_instance(row, ("exact", "moment", "real", "whole"), {})
    assert shown == {"exact": "1.500", "moment": "2025-01-01T00:00:00Z", "real": "0.50", "whole": "3.00"}


def test_fields_may_depend_on_the_user() -> None:
    """A serializer that leaves a field out for some is asked each time, and what it leaves out is absent."""

    class Shy(SampleSerializer):
        def get_fields(self) -> Any:
            fields = super().get_fields()
            if not self.context.get("staff", True):
                del fields["whole"]
            return fields

    shape = Representation(Sample, Shy)
    row = Sample(text="a", whole=1)
    assert shape.of_instance(row, ("text", "whole"), {"staff": True}) == {"text": "a", "whole": 1}
    assert shape.of_instance(row, ("text", "whole"), {"staff": False}) == {"text": "a"}


def test_write_only_is_not_shown() -> None:
    """Nor may it be filtered by."""

    class Secret(serializers.ModelSerializer):
        class Meta:
            model = get_user_model()
            fields = ["id", "password"]
            extra_kwargs = {"password": {"write_only": True}}

    class Users(ModelResource):
        model = get_user_model()
        serializer_class = Secret

    users = Users("test", "users")
    assert users.representation.names == ("id",)
    with pytest.raises(LookupError):
        users.column("password")


def test_choices_and_keys_are_as_stored() -> None:
    """A choice is its value, a foreign key the key."""

    class Rooms(ModelResource):
        model = Room
        fields = ["id", "name", "access"]

    shape = Rooms("test", "rooms").representation
    assert shape.plain
    room = Room(id=1, name="tea", access="members")
    assert shape.of_instance(room, shape.names, {}) == {"id": 1, "name": "tea", "access": "members"}
