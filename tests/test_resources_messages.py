"""What a client may say at all: each refusal's code, shape and order, whatever the frame holds."""

import json
import re
from typing import Any

import pytest

from tests.kit import ChatServer
from tests.resource_kit import Open

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
DEEP = "[" * 33 + "]" * 33


def made(**keys: Any) -> str:
    return json.dumps({"id": "m", "type": "request", "operation": "read", "entity": "users", **keys})


def subscription(**keys: Any) -> str:
    return made(**{"type": "subscription", "operation": "subscribe", **keys})


def with_data(text: str) -> str:
    """A request whose data is this text, which Python's JSON would not write."""
    return made(data="?").replace('"?"', text)


# text, code, what comes back as the id
REFUSED: list[tuple[str | bytes, str, Any]] = [
    # 1. It is JSON.
    ("", "invalid_message", None),
    ("{", "invalid_message", None),
    (b'{"type": "ping"}', "invalid_message", None),
    (with_data("NaN"), "invalid_message", None),
    (with_data("-Infinity"), "invalid_message", None),
    (with_data("1e400"), "invalid_message", None),
    (with_data("1" + "0" * 400), "invalid_message", "m"),
    (with_data("1" + "0" * 5000), "invalid_message", None),
    (with_data(r'"\ud800"'), "invalid_message", None),
    (with_data(r'{"\udc00": 1}'), "invalid_message", None),
    (with_data(DEEP), "invalid_message", "m"),
    (with_data("[" * 20_000 + "]" * 20_000), "invalid_message", None),
    # 2. It has the shape of a message.
    ("null", "invalid_message", None),
    ("[]", "invalid_message", None),
    ('"request"', "invalid_message", None),
    ("{}", "invalid_message", None),
    (made(type=None), "invalid_message", "m"),
    (made(type=1), "invalid_message", "m"),
    (made(id=1.5), "invalid_message", None),
    (made(id=True), "invalid_message", None),
    (made(id={}), "invalid_message", None),
    (made(id="x" * 129), "invalid_message", None),
    (made(id=2**64), "invalid_message", None),
    (made(operation=None), "invalid_message", "m"),
    (made(operation={}), "invalid_message", "m"),
    (made(operation="x" * 201), "invalid_message", "m"),
    (made(entity={}), "invalid_message", "m"),
    (made(entity=["users"]), "invalid_message", "m"),
    (made(schema=1), "invalid_message", "m"),
    (made(record_id=True), "invalid_message", "m"),
    (made(record_id=1.5), "invalid_message", "m"),
    (made(record_id=[1]), "invalid_message", "m"),
    (made(record_id=10**30), "invalid_message", "m"),
    (made(record_id="x" * 1001), "invalid_message", "m"),
    (made(options=[]), "invalid_message", "m"),
    (made(options="limit"), "invalid_message", "m"),
    (made(options={"limit": 10**400}), "invalid_message", "m"),
    (subscription(subscription_id=7), "invalid_message", "m"),
    # The shape goes before the type, the type before the model, the model before the operation.
    (made(type="nope", entity={}), "invalid_message", "m"),
    (made(type="nope", entity="nope"), "invalid_message_type", "m"),
    (made(type="response"), "invalid_message_type", "m"),
    (made(type="notification"), "invalid_message_type", "m"),
    (made(id=7, type="Request"), "invalid_message_type", 7),
    (made(entity="nope", operation="nope"), "model_not_found", "m"),
    (made(entity=""), "model_not_found", "m"),
    (made(entity="Users"), "model_not_found", "m"),
    (made(entity="public.users"), "model_not_found", "m"),
    (made(entity="people"), "invalid_model", "m"),
    (made(schema="nope"), "model_not_found", "m"),
    (made(schema="archive"), "model_not_found", "m"),
    (made(operation="nope"), "invalid_operation", "m"),
    (made(operation=""), "invalid_operation", "m"),
    (made(operation="READ"), "invalid_operation", "m"),
    (made(operation="subscribe"), "invalid_operation", "m"),
    (made(operation="unsubscribe"), "invalid_operation", "m"),
    (made(entity="words", operation="create"), "invalid_operation", "m"),
    (made(operation="update", data={}), "invalid_message", "m"),
    (made(operation="delete", record_id=None), "invalid_message", "m"),
    # The operation goes before the user's rights, and those before the options.
    (made(entity="words", operation="delete"), "invalid_operation", "m"),
    (made(entity="tags", operation="create"), "unauthorized", "m"),
    (made(entity="notes", options={"limit": -1}), "unauthorized", "m"),
    (made(entity="drafts", operation="meta"), "unauthorized", "m"),
    (made(options={"limit": -1}), "invalid_query", "m"),
    (subscription(operation="read"), "invalid_subscription_operation", "m"),
    (subscription(operation="", entity="nope"), "invalid_subscription_operation", "m"),
    (subscription(entity="nope"), "model_not_found", "m"),
    (subscription(entity="people"), "invalid_model", "m"),
    (subscription(entity="words"), "invalid_operation", "m"),
    (subscription(entity="notes"), "unauthorized", "m"),
    (subscription(options={"filters": [{"column": "password"}]}), "invalid_query", "m"),
    (subscription(operation="unsubscribe"), "missing_subscription_id", "m"),
    (subscription(operation="unsubscribe", subscription_id=""), "missing_subscription_id", "m"),
    (subscription(operation="unsubscribe", subscription_id="x"), "subscription_not_found", "m"),
    ('{"type": "auth", "id": "m", "data": {}}', "invalid_message", "m"),
    ('{"type": "auth", "id": "m", "data": {"token": "x"}}', "unauthenticated", "m"),
]


async def test_what_is_wrong_has_its_code(app_server: ChatServer, resources: Open) -> None:
    """Each bad frame gets one error, of the one shape, and the next frame is served."""
    client = await resources(app_server)
    for text, code, ident in REFUSED:
        await client.socket.send(text)
        answer = await client.next()
        assert set(answer) == {"id", "type", "success", "error", "timestamp"}, text[:200]
        assert (answer["id"], answer["error"]["code"]) == (ident, code), text[:200]
        assert type(answer["id"]) is type(ident)
        assert (answer["type"], answer["success"]) == ("response", False)
        assert MOMENT.fullmatch(answer["timestamp"])
        assert set(answer["error"]) == {"code", "message", "details"}
        assert answer["error"]["message"].endswith(".")
        assert isinstance(answer["error"]["details"], dict)


async def test_what_is_too_big_closes(app_server: ChatServer, resources: Open) -> None:
    """A filter by a hundred thousand keys is more than a message may be: 1009."""
    client = await resources(app_server)
    values = {"column": "id", "operator": "in", "value": list(range(100_000))}
    await client.send(made(options={"filters": [values]}))
    await client.expect_close(1009)


@pytest.mark.parametrize("ident", ["a", "", "é🙂", 0, -1, 2**53 + 1, 2**64 - 1, None])
async def test_the_id_comes_back(app_server: ChatServer, resources: Open, ident: Any) -> None:
    """As it was sent, a text as a text and a number as a number; in answers, errors and pongs."""
    client = await resources(app_server)
    for text in (made(id=ident, options={"limit": 0}), made(id=ident, entity="nope")):
        await client.send(text)
        assert (await client.next())["id"] == ident
    await client.send({"id": ident, "type": "ping", "data": {"a": [1, None]}})
    pong = await client.next()
    assert MOMENT.fullmatch(pong.pop("timestamp"))
    assert pong == {"id": ident, "type": "pong", "data": {"a": [1, None]}}


async def test_what_nobody_asked_for_is_ignored(app_server: ChatServer, resources: Open) -> None:
    """Further keys are not looked at, a schema may be left out or empty, options may be null."""
    client = await resources(app_server)
    for keys in (
        {"success": True, "error": 1, "metadata": [], "timestamp": 0, "subscription_id": None},
        {"schema": None},
        {"schema": ""},
        {"schema": "public"},
        {"options": None},
        {"options": {}},
        {"options": {"filters": None, "columns": None, "sort": None, "preload": None, "limit": None}},
        {"options": {"customSqlWhere": "1=1", "cursor": {"a": 1}, "filters": []}},
        {"record_id": None, "data": {"a": 1}},
    ):
        answer = await client.ask("read", "users", **keys)
        assert answer["success"] is True, (keys, answer)
        assert set(answer) == {"id", "type", "success", "data", "metadata", "timestamp"}
    await client.send({"type": "pong"})
    await client.round_trip()
    assert client.unread == []


async def test_the_same_message_without_a_type_is_refused(app_server: ChatServer, resources: Open) -> None:
    """The page's examples all have one."""
    client = await resources(app_server)
    await client.send({"id": "m", "operation": "read", "entity": "users"})
    error = (await client.next())["error"]
    assert error == {"code": "invalid_message", "message": "The message has no type.", "details": {}}
