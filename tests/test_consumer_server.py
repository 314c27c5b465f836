"""Channels' habits on a real server with two workers: the same consumers, on the wire."""

import json

from tests.kit import ChatServer, Client, RawSocket


def url_of(server: ChatServer, path: str) -> str:
    return f"ws://127.0.0.1:{server.port}/test/{path}"


async def habits(server: ChatServer, connect, topic: str, count: int = 6) -> list[Client]:
    """Some consumers of the test app: enough that each worker has one, as good as surely."""
    clients = [await connect(url_of(server, f"habits/{topic}"), welcomed=False) for _ in range(count)]
    for client in clients:
        await client.expect(hello=topic)
    return clients


async def test_group_events_cross_workers(app_server, connect, room):
    """`group_send` on one worker is `my_event()` on all, once each; a discarded group is silent."""
    clients = await habits(app_server, connect, room)
    await clients[0].send({"group_send": f"test.{room}", "event": {"type": "my.event", "text": "hi"}})
    for client in clients:
        await client.expect(event="hi")
    await clients[1].send({"discard": f"test.{room}"})
    await clients[1].expect(discarded=f"test.{room}")
    await clients[0].send({"group_send": f"test.{room}", "event": {"type": "my.event", "text": "again"}})
    for client in (clients[0], *clients[2:]):
        await client.expect(event="again")
    await clients[1].send({"echo": 1})
    await clients[1].expect(echo=1)
    assert [frame for frame in clients[1].received if frame.get("event") == "again"] == []


async def test_channel_names_work_across_workers(app_server, connect, room):
    """Every consumer can be reached by its channel name from every other."""
    clients = await habits(app_server, connect, room)
    for number, client in enumerate(clients):
        await client.send({"channel": None})
        name = (await client.expect(type="channel"))["name"]
        for sender in clients:
            await sender.send({"send": name, "event": {"type": "my.event", "text": f"to {number}"}})
        await client.take(len(clients), event=f"to {number}")


async def test_a_shell_sends_to_groups(app_server, connect, room):
    """`async_to_sync(channel_layer.group_send)` in another process reaches the consumers."""
    clients = await habits(app_server, connect, room)
    await app_server.adjango(
        "from asgiref.sync import async_to_sync\n"
        "from channels.layers import get_channel_layer\n"
        "layer = get_channel_layer()\n"
        "async_to_sync(layer.group_send)(group, {'type': 'my.event', 'text': 'from a shell'})",
        group=f"test.{room}",
    )
    for client in clients:
        await client.expect(event="from a shell")


async def test_refusals_and_closes_of_habits_on_the_wire(app_server, connect, room):
    """Denied handshakes are a 403 with a body; a close after the accept is a close frame with its code."""
    for how in ("deny", "close"):
        raw = await RawSocket.open(app_server.port)
        response = await raw.handshake(f"/test/habits/{room}?how={how}")
        await raw.close()
        assert (response.status, response.code) == (403, "forbidden")
    client = await connect(url_of(app_server, f"habits/{room}?how=goodbye"), welcomed=False)
    await client.expect(said="goodbye")
    assert (await client.closed())[0] == 4001
    raw = await RawSocket.open(app_server.port)
    response = await raw.handshake(
        f"/test/habits/{room}?how=protocol", Sec_WebSocket_Protocol="other, chosen"
    )
    await raw.close()
    assert response.status == 101
    assert response.headers["sec-websocket-protocol"] == "chosen"
    assert response.headers["x-habit"] == "kept"


async def test_disconnect_on_the_wire(app_server, connect, room):
    """`disconnect(code)`: the client's own code, 1006 where the line was cut, ours where we closed."""
    watcher = (await habits(app_server, connect, room + "-w", 1))[0]
    await watcher.send({"add": f"test.left.{room}"})
    await watcher.expect(added=f"test.left.{room}")
    leaving = await habits(app_server, connect, room, 3)
    await leaving[0].close(4321)
    await watcher.expect(event="left with 4321")
    leaving[1].abort()
    await watcher.expect(event="left with 1006")
    await leaving[2].send({"close": 4005})
    await watcher.expect(event="left with 4005")


async def test_stock_consumers_on_the_wire(app_server, connect, room):
    """Channels' own consumers serve beside ours: text, binary, groups, JSON, close, and sync ones."""
    ada, bob = [await connect(url_of(app_server, f"stock/{room}"), welcomed=False) for _ in range(2)]
    for client in (ada, bob):
        assert await client.socket.recv() == "hello"
    await ada.send("hi")
    for client in (ada, bob):
        assert await client.socket.recv() == "hi"
    await ada.send(b"\x00\xff")
    assert await ada.socket.recv() == b"\x00\xff"
    await ada.send("")
    for client in (ada, bob):
        assert await client.socket.recv() == ""
    await bob.send("bye")
    assert (await bob.closed())[0] == 4003
    client = await connect(url_of(app_server, f"stock-json/{room}"), welcomed=False)
    await client.send({"a": 1})
    await client.expect(echo={"a": 1})
    client = await connect(url_of(app_server, f"stock-sync/{room}"), welcomed=False)
    assert await client.socket.recv() == "hello"
    await client.send("sync")
    assert await client.socket.recv() == "sync"


async def test_a_plain_get_on_a_stock_consumers_path_is_426(app_server, room):
    """An ordinary consumer knows nothing of plain requests: they are answered for it."""
    status, headers, body = app_server.get(f"/test/stock/{room}")
    assert (status, headers["sec-websocket-version"]) == (426, "13")
    assert json.loads(body)["error"]["code"] == "upgrade_required"
    assert "Traceback" not in app_server.recent_output()


async def test_a_bug_in_a_handler_is_logged_once_and_told_without_its_text(app_server, connect, room):
    """The client gets a number, the log has it with the traceback; the next message is served."""
    client = await connect(url_of(app_server, f"counter/{room}"), welcomed=False)
    await client.expect(type="ready")
    await client.send({"type": "fail", "id": "x"})
    error = await client.expect(type="error", data={"code": "internal", "ref": "x"})
    number = error["data"]["message"].split("error ")[1].rstrip(").")
    assert "secret" not in json.dumps(error)
    output = app_server.recent_output()
    assert output.count(number) == 1
    assert "a handler's bug" in output
    await client.send({"type": "add", "data": 1})
    await client.expect(type="sum")
