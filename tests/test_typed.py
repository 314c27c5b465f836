"""Typed messages on a real server: schemas, replies, binary frames."""

import pytest
from rest_framework import serializers

from chat.realtime import EnvelopeError
from chat.realtime.schema import MAX_DETAILS, compiled
from tests.test_consumer_server import url_of


async def typed(server, connect):
    return await connect(url_of(server, "typed"), welcomed=False)


async def test_a_struct_schema_gives_the_handler_an_object(app_server, connect):
    """The handler gets a checked Struct; its value is a ``reply`` with the request's id."""
    client = await typed(app_server, connect)
    order = {"address": "Rue 1", "lines": [{"sku": "a", "quantity": 2}, {"sku": "b"}], "unknown": "ignored"}
    await client.send({"type": "order", "id": "o-1", "data": order})
    reply = await client.expect(type="reply", id="o-1")
    assert reply["data"] == {"type": "OrderIn", "items": 3}
    await client.send({"type": "numbers", "id": 7, "data": [1, 2, 3]})
    await client.expect(type="reply", id=7, data=6)


async def test_wrong_data_names_every_wrong_field(app_server, connect):
    """``invalid_message`` with ``details``: each field's own words; the next message is served."""
    client = await typed(app_server, connect)
    for data, wrong in (
        ({}, {"address", "lines"}),
        (None, {"data"}),
        ({"address": 1, "lines": [], "express": "yes"}, {"address", "lines", "express"}),
        ({"address": "", "lines": [{"sku": "a", "quantity": 100}]}, {"lines[0].quantity"}),
        ({"address": "", "lines": [{"quantity": 1}]}, {"lines[0].sku"}),
        ({"address": "", "lines": [{"sku": "", "<b>": 1}]}, {"lines[0]"}),
    ):
        await client.send({"type": "order", "id": "o", "data": data})
        error = await client.expect(type="error", data={"code": "invalid_message", "ref": "o"})
        assert set(error["data"]["details"]) == wrong
        assert all(words for words in error["data"]["details"].values())
    await client.send({"type": "order", "id": "o"})
    error = await client.expect(type="error", data={"code": "invalid_message"})
    assert set(error["data"]["details"]) == {"address", "lines"}
    await client.send({"type": "numbers", "id": "n"})
    await client.expect(
        type="error", data={"code": "invalid_message", "details": {"data": ["This field is required."]}}
    )
    await client.send({"type": "numbers", "id": "n", "data": []})
    await client.expect(type="reply", id="n", data=0)


async def test_a_serializer_checks_on_a_database_thread(app_server, connect):
    """A DRF serializer that asks the database: validated data, or details by field."""
    client = await typed(app_server, connect)
    app_server.create_room("order-5")
    await client.send({"type": "note", "id": "n-1", "data": {"text": " hello ", "order": "4"}})
    await client.expect(type="reply", id="n-1", data={"note": {"text": "hello", "order": 4}, "of": "n-1"})
    await client.send({"type": "note", "id": "n-2", "data": {"text": "x" * 21, "order": 5}})
    error = await client.expect(type="error", data={"code": "invalid_message", "ref": "n-2"})
    assert set(error["data"]["details"]) == {"text", "order"}
    assert error["data"]["details"]["order"] == ["There is one already."]
    await client.send({"type": "note", "data": 4})
    await client.expect(type="error", data={"code": "invalid_message"})


async def test_values_that_are_no_json_are_a_bug(app_server, connect):
    """A handler that returns what can't be sent is answered ``internal``; a plain method is a handler too."""
    client = await typed(app_server, connect)
    await client.send({"type": "unsendable", "id": "u"})
    await client.expect(type="error", data={"code": "internal", "ref": "u"})
    await client.send({"type": "plain", "id": "p"})
    await client.expect(type="reply", id="p", data="plain")


async def test_binary_frames_reach_consumers_that_take_them(app_server, connect, room):
    """``@on.binary`` gets the bytes; bytes that it returns are a binary frame. Others refuse them."""
    client = await typed(app_server, connect)
    await client.socket.send(b"\x00abc")
    assert await client.socket.recv() == b"cba\x00"
    await client.socket.send(b"json")
    await client.expect(type="reply", data={"size": 4})
    other = await connect(url_of(app_server, f"guarded/{room}"), welcomed=False)
    await other.socket.send(b"\x00abc")
    await other.expect(type="error", data={"code": "invalid_message"})


def test_details_are_bounded():
    """However much is wrong, an answer names so many fields and no more."""

    class Row(serializers.Serializer):
        value = serializers.IntegerField()

    schema = compiled(Row)
    schema._serializer = lambda data, context: Row(data=data, many=True, context=context)
    with pytest.raises(EnvelopeError) as refused:
        schema._validated([{}] * 200, None)
    assert len(refused.value.details or ()) == MAX_DETAILS
