"""The door: what a client's text becomes, for all texts there are; and what the server writes."""

import json
import math
import re
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from chat.realtime import envelope
from chat.realtime.errors import EnvelopeError

CODES = {"invalid_json", "invalid_message"}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def decoded(text: str | bytes) -> envelope.Incoming | EnvelopeError:
    """What ``decode`` returns, or the one kind of error that it may raise."""
    try:
        return envelope.decode(text)
    except EnvelopeError as error:
        return error


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


# --- decode: all texts --------------------------------------------------------------------------------


@given(st.text() | st.binary())
@example("")
@example("\ufeff{}")
@example("\ud800")
@example(b"\xff")
@example('{"type":"\\ud800"}')
@example("[" * 100_000)
@example('{"type":"x","data":' + "[" * 100_000)
@example('{"type":"x","data":' + '{"a":' * 5_000 + "1" + "}" * 5_001)
@example('{"type":"x","data":1' + "0" * 5_000 + "}")
@example('{"type":"x","data":-1e' + "9" * 5_000 + "}")
@example('{"type":"x","id":{"a":[' + "9" * 400 + "]}}")
@example('{"type":"x","room":"\x00"}')
def test_any_text_is_a_message_or_a_known_error(text):
    """Whatever comes, ``decode`` returns an Incoming or raises EnvelopeError with a code of the contract."""
    message = decoded(text)
    if isinstance(message, EnvelopeError):
        assert message.code in CODES
        assert message.message.endswith(".")
    else:
        assert isinstance(message.type, str)
        assert message.room is None or isinstance(message.room, str)


@given(
    st.dictionaries(
        st.sampled_from(["type", "id", "room", "data", "from", "user", "extra"]), values, max_size=6
    )
    | values
)
def test_any_json_is_a_message_or_a_known_error(value):
    """JSON with right and wrong types at each key: accepted exactly when it has the contract's shape."""
    text = json.dumps(value)
    right = (
        isinstance(value, dict)
        and isinstance(value.get("type"), str)
        and isinstance(value.get("room"), str | None)
        and depth_of(value) <= 32
    )
    message = decoded(text)
    if isinstance(message, EnvelopeError):
        assert not right, text
        return
    assert right, text
    assert message.type == value["type"]
    assert message.room == value.get("room")
    assert message.data == value.get("data", UNSET)
    assert message.id == value.get("id", UNSET)


@given(values)
def test_data_is_passed_on_as_it_came(value):
    """What was decoded and encoded again is the same JSON value."""
    message = envelope.decode(json.dumps({"type": "chat", "data": value}))
    assert json.loads(envelope.encode("chat", message.data)[1])["data"] == value


@given(st.integers())
@example(2**64 - 1)
@example(2**64)
@example(-(2**63))
@example(-(2**63) - 1)
def test_whole_numbers_have_64_bits(number):
    """Numbers from -2**63 to 2**64 - 1 are passed on exactly, all others refused: in data and in the id."""
    fits = -(2**63) <= number < 2**64
    for text in (
        f'{{"type":"x","data":{number}}}',
        f'{{"type":"x","data":{{"a":[{number}]}}}}',
        f'{{"type":"x","id":{number}}}',
        f'{{"type":"x","id":[{{"a":{number}}}]}}',
    ):
        if fits:
            assert f"{number}" in str(envelope.decode(text))
        else:
            with pytest.raises(EnvelopeError):
                envelope.decode(text)


@given(st.integers(1, 40), st.sampled_from(["[", '{"a":']), st.text('"\\[{', max_size=40))
def test_nesting_is_counted_and_not_guessed(levels, opening, noise):
    """32 levels are accepted and 33 not, however many brackets stand in texts."""
    closing = ("]" if opening == "[" else "}") * levels
    inner = opening * levels + "1" + closing
    text = f'{{"type":"x","data":[{json.dumps(noise)},{inner}]}}'
    if levels + 2 <= 32:
        envelope.decode(text)
        return
    with pytest.raises(EnvelopeError) as refused:
        envelope.decode(text)
    assert refused.value.code == "invalid_message"


@given(st.text())
@example('<script>"')
def test_an_error_repeats_nothing_of_the_client(noise):
    """The words of an error are ours alone."""
    for value in ({"type": 7, noise: noise}, {"type": noise, "room": [noise]}, {noise: noise}, [noise]):
        error = decoded(json.dumps(value))
        if len(noise) > 20 and isinstance(error, EnvelopeError):
            assert noise not in error.message


@given(st.text() | st.binary())
def test_an_errors_ref_is_found_or_none(text):
    """``peek_id`` never raises."""
    found = envelope.peek_id(text)
    assert found is None or isinstance(found, str | int)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ('{"id":"a"}', "a"),
        ('{"id":"' + "x" * 128 + '"}', "x" * 128),
        ('{"id":"' + "x" * 129 + '"}', None),
        ('{"id":7}', 7),
        ('{"id":true}', None),
        ('{"id":1.5}', None),
        (f'{{"id":{2**64}}}', None),
        ('["id"]', None),
        ('{"id":"a"', None),
        ("[" * 100_000, None),
    ],
)
def test_a_ref_is_a_short_text_or_a_number(text, ref):
    """A bad message's id is echoed where it is a text of up to 128 characters or a 64-bit number."""
    assert envelope.peek_id(text) == ref


# --- encode -------------------------------------------------------------------------------------------


def test_a_message_has_the_contracts_keys_in_its_order():
    """id, type, room, from, data, timestamp; `user` only where there is one."""
    ident, payload = envelope.encode("chat", {"content": "ü"}, room="tea", sender="c1")
    assert list(json.loads(payload)) == ["id", "type", "room", "from", "data", "timestamp"]
    assert json.loads(payload)["id"] == ident
    user = {"id": 1, "username": "ada"}
    _, payload = envelope.encode("chat", {}, user=user, id="mine")
    assert json.loads(payload)["user"] == user
    assert json.loads(payload)["id"] == "mine"
    assert json.loads(payload)["room"] is None
    assert json.loads(payload)["from"] is None


def test_an_error_message_says_what_to_do():
    """`data` has code, message, ref; `retry_after` only where it helps."""
    plain = json.loads(envelope.error("unknown_type", "No."))
    assert plain["data"] == {"code": "unknown_type", "message": "No.", "ref": None}
    later = json.loads(envelope.error("unavailable", "No.", ref="a", retry_after=1))
    assert later["data"] == {"code": "unavailable", "message": "No.", "ref": "a", "retry_after": 1}


def test_ids_are_random_uuids():
    """Version 4, variant 1, and no two the same."""
    made = {envelope.new_id() for _ in range(1000)}
    assert len(made) == 1000
    pattern = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(pattern.fullmatch(ident) for ident in made)


def test_the_time_is_utc_and_moves_on():
    """Formatted once a second, never stale."""
    with mock.patch("chat.realtime.envelope.time.time", return_value=1705314600.9):
        assert envelope.timestamp() == "2024-01-15T10:30:00Z"
    with mock.patch("chat.realtime.envelope.time.time", return_value=1705314601.0):
        assert envelope.timestamp() == "2024-01-15T10:30:01Z"


def test_what_json_can_not_say_is_the_callers_error():
    """``dumps`` and ``encode`` raise TypeError for objects without a JSON form; never half a message."""
    for function in (envelope.dumps, lambda value: envelope.encode("x", value)):
        with pytest.raises(TypeError):
            function(object())
    assert json.loads(envelope.dumps({"a": math.pi})) == {"a": math.pi}
