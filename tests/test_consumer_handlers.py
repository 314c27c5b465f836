"""Consumers our way: handlers of checked messages, rooms, errors, who may connect; in Channels' test kit."""

from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, User

from chat.realtime import config
from tests.app.kit import application, said, silent


async def test_handlers_of_types_get_checked_messages(communicate):
    """`@on(type)` methods get the decoded message; replies have the envelope's keys and the message's id."""
    ada = await communicate("/test/counter/c")
    assert (await said(ada))["type"] == "ready"
    for number, total in ((1, 1), (2, 3), (3, 6)):
        await ada.send_json_to({"type": "add", "id": f"m{number}", "data": number})
        answer = await said(ada)
        assert (answer["type"], answer["id"], answer["data"]) == ("sum", f"m{number}", total)


async def test_a_room_that_was_joined_is_what_broadcast_room_reaches(communicate):
    """`join` and `leave` name what `broadcast_room` names."""
    ada, bob = await communicate("/test/counter/c"), await communicate("/test/counter/c")
    for client in (ada, bob):
        await said(client)
    await ada.send_json_to({"type": "tell", "data": "news"})
    heard = [await said(ada), await said(ada)]
    assert {frame["type"] for frame in heard} == {"told", "receipt"}
    assert next(frame for frame in heard if frame["type"] == "receipt")["data"]["workers"] == 1
    frame = await said(bob)
    assert (frame["type"], frame["room"], frame["data"]) == ("told", "counter/c", "news")
    await bob.send_json_to({"type": "leave"})
    assert (await said(bob))["type"] == "left"
    await ada.send_json_to({"type": "tell", "data": "more"})
    assert {(await said(ada))["type"], (await said(ada))["type"]} == {"told", "receipt"}
    await bob.send_json_to({"type": "add", "data": 1})
    assert (await said(bob))["type"] == "sum"


async def test_errors_of_handlers_are_answered(communicate, caplog):
    """A RealtimeError is the client's to know; any other is `internal`, with a number that is in the log."""
    ada = await communicate("/test/counter/c")
    await said(ada)
    await ada.send_json_to({"type": "buy", "id": "b1"})
    assert (await said(ada))["data"] == {
        "code": "out_of_stock",
        "message": "There is none left.",
        "ref": "b1",
        "retry_after": 60,
    }
    assert caplog.records == []
    for kind in ("fail", "tell-sync"):
        await ada.send_json_to({"type": kind, "id": "f1"})
        data = (await said(ada))["data"]
        assert (data["code"], data["ref"]) == ("internal", "f1")
        assert "secret" not in data["message"]
        number = data["message"].split("error ")[1].rstrip(").")
        assert number in caplog.records[-1].getMessage()


async def test_a_handler_that_takes_too_long_is_ended(communicate, monkeypatch, caplog):
    """After the time limit of handlers the client is told `internal`, and the next message is served."""
    monkeypatch.setattr(config, "_current", config.Config(handler_timeout=0.1))
    ada = await communicate("/test/habits/tea")
    await said(ada)
    await ada.send_json_to({"slow": 30})
    assert (await said(ada))["data"]["code"] == "internal"
    await silent(ada)


async def test_a_consumer_may_require_a_user(layer):
    """`auth = "required"` and `authorize()` decide before the upgrade."""
    for user, welcome in (
        (AnonymousUser(), False),
        (User(pk=1, username="stranger"), False),
        (User(pk=2, username="ada"), True),
    ):
        communicator = WebsocketCommunicator(application, "/test/members")
        communicator.scope["user"] = user
        connected, _ = await communicator.connect(timeout=5)
        assert connected is welcome
        await communicator.disconnect()
