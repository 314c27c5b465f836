"""Channels' habits on our base consumer, and its own consumers on our layer, in Channels' test kit."""

import asyncio
import json
import logging

import pytest
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User

from chat.realtime import config
from chat.realtime.runtime import get_hub
from tests.app.kit import application, said, silent
from tests.kit import eventually


async def test_connect_receive_and_send_as_in_channels(communicate):
    """`connect` accepts, `self.scope` has route and user, `receive_json` answers with `send_json`."""
    ada = await communicate("/test/habits/tea", user=User(username="ada"))
    assert await said(ada) == {"hello": "tea", "user": "ada"}
    for value in (None, 1, "ü", [1, {"a": None}], {}):
        await ada.send_json_to({"echo": value})
        assert await said(ada) == {"echo": value}


async def test_any_json_reaches_receive_json(communicate, caplog):
    """The Channels way takes any JSON; what is none, and a bug, is answered with `error`."""
    ada = await communicate("/test/habits/tea")
    await said(ada)
    for text, code in (
        ("{", "invalid_json"),
        ("[" * 30_000, "invalid_json"),
        ("9" * 5_000, "invalid_json"),
        ("[1]", "internal"),
        ('{"x":1}', "internal"),
    ):
        await ada.send_input({"type": "websocket.receive", "text": text})  # send_to refuses ""
        answer = await said(ada)
        assert (answer["type"], answer["data"]["code"]) == ("error", code)
        assert "secret" not in json.dumps(answer)
    assert len([record for record in caplog.records if record.exc_info]) == 2
    await silent(ada)


async def test_group_send_becomes_a_method_call(communicate):
    """`groups` of the class, and groups added in `connect`, get `group_send` events as `my_event()`."""
    ada, bob = await communicate("/test/habits/tea"), await communicate("/test/habits/coffee")
    for client in (ada, bob):
        await said(client)
    layer = get_channel_layer()
    await layer.group_send("test.everybody", {"type": "my.event", "text": "all"})
    for client in (ada, bob):
        assert await said(client) == {"event": "all"}
    await layer.group_send("test.tea", {"type": "my.event", "text": "tea"})
    assert await said(ada) == {"event": "tea"}
    await silent(bob)


async def test_groups_are_joined_and_left(communicate):
    """`group_add` and `group_discard` with `self.channel_name`, twice too, do what they say."""
    ada, bob = await communicate("/test/habits/tea"), await communicate("/test/habits/tea")
    for client in (ada, bob):
        await said(client)
    for _ in range(2):
        await ada.send_json_to({"add": "test.extra"})
        assert await said(ada) == {"added": "test.extra"}
    await bob.send_json_to({"group_send": "test.extra", "event": {"type": "my.event", "text": "once"}})
    assert await said(ada) == {"event": "once"}
    await silent(ada)
    for _ in range(2):
        await ada.send_json_to({"discard": "test.extra"})
        assert await said(ada) == {"discarded": "test.extra"}
    await bob.send_json_to({"group_send": "test.extra", "event": {"type": "my.event", "text": "never"}})
    await silent(bob)
    await silent(ada)


async def test_a_channel_name_is_an_address(communicate):
    """`channel_layer.send(channel_name, event)` reaches that one consumer."""
    ada, bob = await communicate("/test/habits/tea"), await communicate("/test/habits/tea")
    for client in (ada, bob):
        await said(client)
    await ada.send_json_to({"channel": None})
    channel = (await said(ada))["name"]
    await bob.send_json_to({"send": channel, "event": {"type": "my.event", "text": "psst"}})
    assert await said(ada) == {"event": "psst"}
    await silent(bob)
    await get_channel_layer().send(channel, {"type": "my.event", "text": "from outside"})
    assert await said(ada) == {"event": "from outside"}


async def test_an_event_never_interrupts_a_handler(communicate):
    """Handlers of one connection take turns: events wait for the message at work, messages for the event."""
    ada = await communicate("/test/habits/tea")
    await said(ada)
    await ada.send_json_to({"slow": 0.05})
    await asyncio.sleep(0)
    await get_channel_layer().group_send("test.tea", {"type": "slow.event"})
    await ada.send_json_to({"echo": "after"})
    heard = [await said(ada) for _ in range(4)]
    assert sorted(map(str, heard)) == sorted(
        map(
            str,
            [{"slow": "done"}, {"slow event": "begins"}, {"slow event": "ends"}, {"echo": "after"}],
        )
    )
    begins = heard.index({"slow event": "begins"})
    assert heard[begins + 1] == {"slow event": "ends"}


async def test_a_failing_event_is_logged_and_the_socket_lives(communicate, caplog):
    """An event handler's bug, and an event without a handler, cost a log entry each."""
    ada = await communicate("/test/habits/tea")
    await said(ada)
    with caplog.at_level(logging.ERROR):
        for kind in ("failing.event", "no.such.event"):
            await get_channel_layer().group_send("test.tea", {"type": kind})
        await get_channel_layer().group_send("test.tea", {"type": "my.event", "text": "after"})
        assert await said(ada) == {"event": "after"}
    assert len(caplog.records) == 2


async def test_a_flood_of_events_ends_the_connection_that_cannot_follow(communicate):
    """More events than the send buffer while a handler is at work: 4413, and no more is kept."""
    ada = await communicate("/test/habits/tea")
    await said(ada)
    await ada.send_json_to({"slow": 30})
    connection = next(iter(get_hub().connections.values()))
    await eventually(lambda: connection.busy_since is not None)
    for _ in range(config.current().send_buffer + 50):
        await get_channel_layer().group_send("test.tea", {"type": "my.event", "text": "x"})
    assert (await ada.receive_output(timeout=5))["code"] == 4413


async def test_events_may_close(communicate):
    """`self.close(code, reason)` in an event handler."""
    ada = await communicate("/test/habits/tea")
    await said(ada)
    await get_channel_layer().group_send("test.tea", {"type": "closing.event"})
    assert await ada.receive_output(timeout=5) == {
        "type": "websocket.close",
        "code": 4002,
        "reason": "as an event asked",
    }


async def test_disconnect_is_called_with_the_code_after_the_groups_were_left(communicate):
    """`disconnect(code)` gets the client's code; the connection is in no group any more, and forgotten."""
    ada, bob = await communicate("/test/habits/tea"), await communicate("/test/habits/watcher")
    for client in (ada, bob):
        await said(client)
    await bob.send_json_to({"add": "test.left.tea"})
    await said(bob)
    assert len(get_hub().connections) == 2
    await ada.disconnect(code=1001)
    assert await said(bob) == {"event": "left with 1001"}
    hub = get_hub()
    assert len(hub.connections) == 1
    assert "test.tea" not in hub.groups


async def test_close_sends_what_was_sent_before(communicate):
    """`close(code)` after `send_json`: the frame, then the close."""
    ada = await communicate("/test/habits/tea")
    await said(ada)
    await ada.send_json_to({"close": 4005})
    assert await said(ada) == {"last": "word"}
    assert (await ada.receive_output(timeout=5))["code"] == 4005


@pytest.mark.parametrize("code", [1005, 1006, 999, 5000])
async def test_a_code_that_can_not_be_sent_is_a_bug_that_is_told(communicate, caplog, code):
    """Closing with a code that is none is an error of the handler, not a broken socket."""
    ada = await communicate("/test/habits/tea")
    await said(ada)
    await ada.send_json_to({"close": code})
    assert await said(ada) == {"last": "word"}
    assert (await said(ada))["data"]["code"] == "internal"
    await silent(ada)


@pytest.mark.parametrize("how", ["deny", "close"])
async def test_a_connection_is_denied_as_in_channels(layer, how):
    """`DenyConnection`, or `close()` before `accept()`, refuses the handshake and leaves nothing behind."""
    communicator = WebsocketCommunicator(application, f"/test/habits/tea?how={how}")
    connected, _ = await communicator.connect(timeout=5)
    assert not connected
    assert get_hub().connections == {}
    assert get_hub().groups == {}


async def test_a_connection_is_accepted_as_in_channels(layer):
    """`accept(subprotocol, headers)`, or `AcceptConnection`."""
    communicator = WebsocketCommunicator(application, "/test/habits/tea?how=accept")
    assert await communicator.connect(timeout=5) == (True, None)
    await communicator.disconnect()
    communicator = WebsocketCommunicator(
        application, "/test/habits/tea?how=protocol", subprotocols=["other", "chosen"]
    )
    assert await communicator.connect(timeout=5) == (True, "chosen")
    await communicator.disconnect()


async def test_sending_and_closing_in_connect(communicate):
    """A consumer may accept, say something and close, all in `connect`."""
    ada = await communicate("/test/habits/tea?how=goodbye")
    assert await said(ada) == {"said": "goodbye"}
    assert (await ada.receive_output(timeout=5))["code"] == 4001


async def test_binary_and_what_is_no_json(communicate, caplog):
    """`send(bytes_data=...)` is a binary frame; what JSON can't say is an error of the handler."""
    ada = await communicate("/test/habits/tea")
    await said(ada)
    await ada.send_json_to({"binary": 3})
    assert await ada.receive_from(timeout=5) == bytes(3)
    await ada.send_json_to({"unsendable": None})
    assert (await said(ada))["data"]["code"] == "internal"


# --- Channels' own consumers on our layer -------------------------------------------------------------


async def test_stock_consumers_use_the_layer(communicate):
    """AsyncWebsocketConsumer with groups, group_add and group_send, nothing of ours above the layer."""
    ada, bob = await communicate("/test/stock/tea"), await communicate("/test/stock/tea")
    for client in (ada, bob):
        assert await client.receive_from(timeout=5) == "hello"
    await ada.send_to(text_data="to all")
    for client in (ada, bob):
        assert await client.receive_from(timeout=5) == "to all"
    await get_channel_layer().group_send("test.stock", {"type": "my.event", "text": "stock"})
    for client in (ada, bob):
        assert await client.receive_from(timeout=5) == "stock"


async def test_stock_and_own_consumers_share_groups(communicate):
    """One group may have members of both kinds."""
    stock, own = await communicate("/test/stock/tea"), await communicate("/test/habits/tea")
    await stock.receive_from(timeout=5)
    await said(own)
    await own.send_json_to({"group_send": "test.tea", "event": {"type": "my.event", "text": "both"}})
    assert await stock.receive_from(timeout=5) == "both"
    assert await said(own) == {"event": "both"}
