"""Hooks on a real server: a connection's life, a message's, and what is published."""

import pytest

from chat.realtime import Hook, LayerUnavailable, RealtimeError, hook, hooks
from chat.realtime.hooks import HookContext, HookPoint, MessageContext
from tests.kit import RawSocket
from tests.test_consumer_server import url_of


async def watching(server, connect, room, path="reports"):
    client = await connect(url_of(server, f"{path}/{room}"), welcomed=False)
    await client.expect(type="ready")
    return client


async def hooked(server, connect, room, query="", **options):
    client = await connect(url_of(server, f"hooked/{room}{query}"), welcomed=False, **options)
    ready = await client.expect(type="ready")
    return client, ready["data"]


async def test_the_end_of_a_connection_is_told(app_server, connect, room):
    """Opened and closed: CONNECTED, DISCONNECTED with the code. Cut off: LOST before it. One hook's bug does
    not keep the others from hearing it."""
    reports = await watching(app_server, connect, room)
    client, _ = await hooked(app_server, connect, room)
    await reports.expect(type="report", data={"point": "connected"})
    await client.close(1000)
    await reports.expect(type="report", data={"point": "disconnected", "code": 1000})
    client, _ = await hooked(app_server, connect, room)
    await reports.expect(type="report", data={"point": "connected"})
    client.abort()
    await reports.expect(type="report", data={"point": "disconnected", "code": 1006})
    points = [frame["data"]["point"] for frame in reports.received if frame["type"] == "report"]
    assert points == ["connected", "disconnected", "connected", "lost", "disconnected"]


async def test_a_client_that_comes_back_is_told(app_server, connect, room):
    """``?previous=`` with the shape of a client id: RETURNED, with that id; anything else is ignored."""
    reports = await watching(app_server, connect, room)
    _, ready = await hooked(app_server, connect, room)
    await reports.expect(data={"point": "connected"})
    await hooked(app_server, connect, room, f"?previous={ready['id']}")
    await reports.expect(data={"point": "connected"})
    await reports.expect(data={"point": "returned", "previous": ready["id"]})
    for shape in ("x" * 32, ready["id"] + "0", "", ready["id"] + "%0a"):
        client, _ = await hooked(app_server, connect, room, f"?previous={shape}")
        await reports.expect(data={"point": "connected"})
        await client.close()
        await reports.expect(data={"point": "disconnected", "previous": None})
    assert [frame["data"]["point"] for frame in reports.received if frame["type"] == "report"].count(
        "returned"
    ) == 1


async def test_before_connect_refuses(app_server, connect, room):
    """A plain function with the ORM refuses the handshake, and the GET that asks, with its status."""
    app_server.create_room(room, closed=True)
    raw = await RawSocket.open(app_server.port)
    response = await raw.handshake(f"/test/hooked/{room}")
    await raw.close()
    assert (response.status, response.code) == (410, "topic_closed")
    assert app_server.get(f"/test/hooked/{room}")[0] == 410


async def test_hooks_around_a_message(app_server, connect, room):
    """They run in their order, change the message and the result, refuse it; a bug is ``internal``."""
    client, _ = await hooked(app_server, connect, room)
    await client.send({"type": "echo", "id": 1, "data": ["me"]})
    await client.expect(type="reply", id=1, data=["me", "first", "second", "after"])
    await client.send({"type": "renamed", "id": 2, "data": "x"})
    await client.expect(type="reply", id=2, data="x")
    await client.send({"type": "forbidden", "id": 3})
    await client.expect(type="error", data={"code": "forbidden", "ref": 3, "message": "Not that."})
    await client.send({"type": "bug", "id": 4})
    error = await client.expect(type="error", data={"code": "internal", "ref": 4})
    assert "secret" not in error["data"]["message"]
    other = await connect(url_of(app_server, f"counter/{room}"), welcomed=False)
    await other.send({"type": "add", "id": 5, "data": 1})
    await other.expect(type="sum", id=5, data=1)


async def test_hooks_around_publishing(app_server, connect, room):
    """What the chat says and any code broadcasts passes them: changed, refused, told with its receipt."""
    reports = await watching(app_server, connect, room)
    ada, bob = await connect(app_server.ws(room)), await connect(app_server.ws(room))
    await ada.send_chat("swear", id="m-1", data={"report": f"reports/{room}"})
    for client in (ada, bob):
        await client.expect(type="chat", data={"content": "****"})
    await ada.expect(type="ack", data={"ref": "m-1"})
    told = await reports.expect(type="published")
    assert told["data"] == {"room": room, "sender": ada.id, "workers": told["data"]["workers"]}
    assert told["data"]["workers"] >= 1
    await ada.send_chat("unsayable", id="m-2")
    await ada.expect(type="error", data={"code": "forbidden", "ref": "m-2"})
    await ada.send_chat("fine", id="m-3")
    assert (await bob.expect(type="chat"))["data"]["content"] == "fine"
    shell = "from chat.realtime import broadcast_room, send_to_connection\n"
    await app_server.adjango(
        shell + "broadcast_room(room, 'notification', {'content': 'swear'})\n"
        "send_to_connection(bob, 'notification', {'content': 'swear', 'to': 'bob'})",
        room=room,
        bob=bob.id,
    )
    await ada.expect(type="notification", data={"content": "****"})
    await bob.expect(type="notification", data={"content": "****", "to": "bob"})
    with pytest.raises(RuntimeError, match="That can't be said"):
        await app_server.adjango(
            shell + "broadcast_room(room, 'notification', {'content': 'unsayable'})", room=room
        )


async def test_the_chosen_subprotocol(app_server, connect, room):
    """The first of the consumer's own that the client offers, answered and visible; a token is never sent
    back; without one in common the socket opens without, or is refused where one is required."""
    for offered, chosen in (
        (["v1", "v2"], "v2"),
        (["bearer.abc", "v1"], "v1"),
        (["other"], None),
        (["bearer.abc"], None),
        (None, None),
    ):
        client, ready = await hooked(app_server, connect, room, subprotocols=offered)
        assert ready["subprotocol"] == client.socket.subprotocol == chosen
    for headers, status in (
        ({}, 400),
        ({"Sec_WebSocket_Protocol": "other, bearer.abc"}, 400),
        ({"Sec_WebSocket_Protocol": "bearer.abc, strict.v1"}, 101),
    ):
        raw = await RawSocket.open(app_server.port)
        response = await raw.handshake("/test/strict", **headers)
        await raw.close()
        assert response.status == status
        if status == 400:
            assert response.code == "no_subprotocol"
        else:
            assert response.headers["sec-websocket-protocol"] == "strict.v1"
    assert app_server.get("/test/strict")[0] == 426


# --- the mechanism --------------------------------------------------------------------------------


class OtherPoint(HookPoint):
    """As a layer above makes its own."""

    BEFORE_UPDATE = "before_update"


async def test_a_temporary_hook_is_there_while_its_block_runs():
    """And what the message path looks at goes on and off with it."""
    seen = []

    async def see(context):
        seen.append(context.point)

    assert not hooks.handling
    with hooks.temporary(Hook.AFTER_HANDLE, see):
        assert hooks.handling
        await hooks.run(Hook.AFTER_HANDLE, MessageContext(consumer=None, message=None))
    assert not hooks.handling
    await hooks.run(Hook.AFTER_HANDLE, MessageContext(consumer=None, message=None))
    assert seen == [Hook.AFTER_HANDLE]


async def test_order_scope_and_refusal():
    """By order, then as registered; those of other scopes are left out; an error ends it."""
    ran = []

    def note(name, error=None):
        async def run(context):
            ran.append(name)
            if error is not None:
                raise error

        return run

    with (
        hooks.temporary(OtherPoint.BEFORE_UPDATE, note("c"), order=5),
        hooks.temporary(OtherPoint.BEFORE_UPDATE, note("a")),
        hooks.temporary(OtherPoint.BEFORE_UPDATE, note("b"), scope="orders"),
        hooks.temporary(OtherPoint.BEFORE_UPDATE, note("never"), scope="shops"),
    ):
        await hooks.run(OtherPoint.BEFORE_UPDATE, HookContext(), "orders")
        assert ran == ["a", "b", "c"]
        ran.clear()
        await hooks.run(OtherPoint.BEFORE_UPDATE, HookContext())
        assert ran == ["a", "c"]
        ran.clear()
        refusal = LayerUnavailable()
        with hooks.temporary(OtherPoint.BEFORE_UPDATE, note("no", refusal), order=1):
            with pytest.raises(RealtimeError):
                await hooks.run(OtherPoint.BEFORE_UPDATE, HookContext())
            assert ran == ["a", "no"]


def test_a_misspelt_point_fails_where_it_is_written():
    """A text is no point, and the enum knows no other names."""
    with pytest.raises(TypeError):
        hook("connected")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        hook(Hook.CONECTED)  # type: ignore[attr-defined]
