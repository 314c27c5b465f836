"""Conditions on connections: what they say, what they may not say, and how they are evaluated."""

import math
import time
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.realtime import InvalidCondition, RealtimeError, predicate, where
from chat.realtime.connection import Connection, State


def connection(**given: object) -> Connection:
    """A connection on no socket."""
    transport = SimpleNamespace(ready=True)
    made = Connection("9be4c7d1a0", SimpleNamespace(worker="9be4c7d1"), transport)
    made.room, made.state, made.address = "lobby", State.OPEN, "10.0.0.7"
    made.user = {"id": 7, "username": "ada"}
    for name, value in given.items():
        setattr(made, name, value)
    return made


def holds(condition: dict, **given: object) -> bool:
    """Whether it holds, after it has crossed Redis."""
    crossed = msgspec.msgpack.decode(msgspec.msgpack.encode(where.check(condition)))
    return where.matcher(crossed)(connection(**given))


@pytest.mark.parametrize(
    "condition",
    [
        {"id": "9be4c7d1a0"},
        {"worker": "9be4c7d1"},
        {"state": "open"},
        {"room": "lobby"},
        {"rooms": {"contains": "tea"}},
        {"user.id": 7},
        {"user.id": "7"},
        {"user.id": {"in": [7, 8]}},
        {"user.username": {"startswith": "a", "endswith": "da"}},
        {"address": {"startswith": "10."}},
        {"user_agent": {"icontains": "firefox"}},
        {"metadata.plan": "pro"},
        {"metadata.plan": {"neq": "free"}},
        {"metadata.org.id": 3},
        {"claims.role": "admin"},
        {"metadata.tags": {"contains": "vip"}},
        {"metadata.nothing": None},
        {"metadata.nothing": {"is_null": True}},
        {"metadata.plan": {"is_null": False}},
        {"metadata.weight": {"gt": 4, "lte": 5}},
        {"metadata.weight": {"between": (5, 6)}},
        {"age": {"lt": 60}, "idle": {"gte": 0}},
        {"connected_at": {"lt": datetime(2100, 1, 1, tzinfo=UTC)}},
        {"queue_depth": 0, "messages_in": 0, "messages_out": 0, "bytes_in": 0, "bytes_out": 0, "dropped": 0},
        {"any": [{"room": "tea"}, {"room": "lobby"}]},
        {"all": [{"room": "lobby"}, {"user.id": 7}]},
        {"not": {"room": "tea"}},
        {"not": {"any": [{"room": "tea"}, {"user.id": {"gt": "8"}}]}, "room": "lobby"},
    ],
    ids=str,
)
def test_what_holds_for_a_connection(condition):
    """Each field and each operator."""
    described = {"plan": "pro", "weight": 5, "org": {"id": 3}, "tags": ["vip", 1]}
    given = {"metadata": described, "rooms": {"tea": None}, "user_agent": "Mozilla Firefox/140"}
    given["claims"] = {"role": "admin"}
    assert holds(condition, **given)
    assert not holds({"not": condition}, **given)


@pytest.mark.parametrize(
    "condition",
    [
        {"metadata.plan": "pro"},
        {"metadata.weight": {"gt": 0}},
        {"metadata.plan.deeper": "pro"},
        {"user.id": 7},
        {"user.username": {"icontains": "ADA"}},
        {"rtt": {"lt": 1}},
        {"room": {"between": [1, 2]}},
        {"room": {"contains": 1}},
        {"rooms": {"contains": "lobby"}},
    ],
    ids=str,
)
def test_what_is_not_there_or_can_not_be_compared_does_not_hold(condition):
    """No metadata, no user, no room; a number against a text: false, never an error."""
    assert not holds(condition, metadata=None, user=None, room=None)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({}, "empty condition would match everybody"),
        ([], "A condition is a mapping, not list"),
        ("room", "A condition is a mapping, not str"),
        ({"rom": "lobby"}, "no field 'rom': id, worker"),
        ({"metadata": {"plan": "pro"}}, "no field 'metadata'"),
        ({"metadata.": 1}, "no field 'metadata.'"),
        ({"__class__": 1}, "no field '__class__'"),
        ({"session_key": "x"}, "no field 'session_key'"),
        ({"user.password": "x"}, "no field 'user.password'"),
        ({7: 1}, "keys are texts, not int"),
        ({"room": {"regex": "x"}}, "no operator 'regex': eq, neq"),
        ({"room": {}}, "says nothing"),
        ({"room": ["lobby"]}, "not list"),
        ({"room": object()}, "not object"),
        ({"room": b"lobby"}, "not bytes"),
        ({"room": {"in": "lobby"}}, '"in" takes a list'),
        ({"room": {"in": 7}}, '"in" takes a list'),
        ({"room": {"in": [[]]}}, "not list"),
        ({"room": {"in": range(1001)}}, "at most 1,000 values"),
        ({"age": {"between": [1]}}, "the lowest and the highest"),
        ({"room": {"startswith": 1}}, "takes a text"),
        ({"room": {"is_null": 1}}, "takes true or false"),
        ({"age": {"gt": math.nan}}, "a finite number"),
        ({"age": {"gt": 2**63}}, "a finite number"),
        ({"room": "x" * 1025}, "at most 1,024 characters"),
        ({"any": []}, "at least one condition"),
        ({"any": {"room": "x"}}, "takes a list of conditions"),
        ({"any": [{}]}, "empty condition"),
        ({"not": {}}, "empty condition"),
        ({"not": [{"room": "x"}]}, "a mapping, not list"),
        ({"any": [{"room": "x"}] * 101}, "at most 100 parts"),
        ({"@nobody_knows": 1}, "There is no predicate 'nobody_knows'"),
        ({"@": 1}, "There is no predicate ''"),
        ({"@test.even": object()}, "nothing that JSON can say"),
        ({"@test.even": "x" * 5000}, "larger than 4,096 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # an object's own text is another each time
)
def test_a_wrong_condition_is_refused_where_it_is_written(condition, words, even):
    """A misspelt name, an operator that there is not, a predicate that is not registered, too much."""
    with pytest.raises(InvalidCondition) as raised:
        where.check(condition)
    assert words in str(raised.value)
    assert isinstance(raised.value, RealtimeError)
    assert isinstance(raised.value, ValueError)
    assert raised.value.code == "invalid_message"


def test_nesting_has_a_bound():
    """Eight deep is read, nine is refused, a million costs nothing more."""
    condition: dict = {"room": "lobby"}
    for _ in range(8):
        condition = {"not": condition}
    assert holds(condition)
    with pytest.raises(InvalidCondition, match="at most 8 deep"):
        where.check({"not": condition})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda children: (
            st.lists(children) | st.dictionaries(st.text() | st.sampled_from(["any", "room"]), children)
        ),
    )
)
def test_nothing_but_a_condition_gets_through(anything):
    """Whatever is given: a condition that can be sent, or InvalidCondition."""
    try:
        checked = where.check(anything)
    except InvalidCondition:
        return
    where.matcher(msgspec.msgpack.decode(msgspec.msgpack.encode(checked)))(connection())


def test_values_become_what_can_be_sent():
    """Dates become seconds, UUIDs and decimals texts, user ids are compared as texts."""
    key = uuid.uuid4()
    assert where.check({"user.id": key}) == ["eq", "user.id", str(key)]
    moment = datetime(2025, 1, 31, tzinfo=UTC)
    assert where.check({"connected_at": {"gt": moment}}) == ["gt", "connected_at", moment.timestamp()]


def test_a_thousand_connections_take_milliseconds():
    """A condition is taken apart once a message, not once a connection: 0.1 to 1 µs each."""
    matches = where.matcher(where.check({"metadata.plan": {"in": ["pro", "team"]}, "not": {"room": "tea"}}))
    one = connection(metadata={"plan": "pro"})
    began = time.perf_counter()
    assert all(matches(one) for _ in range(1000))
    assert time.perf_counter() - began < 0.1


# --- predicates -------------------------------------------------------------------------------------------


@pytest.fixture
def even():
    """A predicate for one test."""

    @predicate("test.even")
    def is_even(connection: Connection, divisor: int) -> bool:
        return (connection.metadata or {})["weight"] % divisor == 0

    yield is_even
    del where._predicates["test.even"]


def test_a_predicate_is_asked_with_its_argument(even):
    """`{"@name": argument}` holds where the function says so."""
    assert holds({"@test.even": 2}, metadata={"weight": 4})
    assert not holds({"@test.even": 2}, metadata={"weight": 5})
    assert holds({"@test.even": 2, "room": "lobby"}, metadata={"weight": 4})


def test_a_predicate_that_fails_matches_nobody(even, caplog):
    """An application's bug is logged with a number, and keeps nobody else from the message."""
    assert not holds({"@test.even": 2}, metadata=None)
    assert caplog.records[-1].event == "predicate_failed"
    assert caplog.records[-1].fields["predicate"] == "test.even"


def test_a_predicate_that_the_worker_lacks_matches_nobody(caplog):
    """During a rolling update a sender may know more than a worker: nobody gets what was meant for some."""
    assert not where.matcher(["is", "test.new", 1])(connection())
    assert caplog.records[-1].event == "predicate_unknown"


@pytest.mark.parametrize("name", ["", "Plan", "a b", "x" * 65, "né", "@plan"])
def test_predicates_have_plain_names(name):
    """Small letters, digits, dots, dashes."""
    with pytest.raises(ValueError, match="no predicate's name"):
        predicate(name)


def test_a_name_has_one_predicate(even):
    """A second one would make it a matter of import order who is asked."""
    with pytest.raises(ValueError, match="already"):
        predicate("test.even")
